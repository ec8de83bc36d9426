"""Leases: no data key leaves a gateway before one was granted here and written down, in the transaction of its event.

Who asks is an agent that is about to hand out the keys of one version, to a process of a run, a person, or another site's
gateway. Whether they may is decided here, each time anew: a grant that was good when it was issued may have ended since.
"""

from __future__ import annotations

from datetime import timedelta

from federation import ports
from federation.core import columns, errors, grants, ids, job, kinds, leases
from federation.core.authorization import Denied
from federation.crypto import hpke
from federation.services import access, authorization, datasets, personal, runs, sites, transfers
from federation.services.context import Context


def answer(tx: ports.Transaction, ctx: Context, at: str, asked: leases.Asked) -> leases.Lease | errors.FederationError:
    """The lease, or why it is refused. A refusal is told in the log: it must be committed, so it is no exception here."""
    try:
        return issue(tx, ctx, at, asked)
    except errors.FederationError as refused:
        if isinstance(refused, Denied) and refused.decision is not None:
            authorization.note(tx, refused.decision)
        told = leases.Refusal(
            use=asked.use,
            site=at,
            dataset=asked.dataset,
            version=asked.version,
            grant=asked.grant,
            run=asked.run,
            reader_key=asked.reader_key,
            reason=refused.reason,
            detail=refused.message,
        )
        tx.emit("lease.refused", f"leases/{leases.name(asked.nonce)}", told)
        refused.in_log = True
        return refused


def issue(tx: ports.Transaction, ctx: Context, at: str, asked: leases.Asked) -> leases.Lease:
    """Grants a lease to whoever site `at` is about to hand keys to, and writes it down. The same call again is answered alike.

    FailedPrecondition (LEASE_REPLAYED) for a nonce that was used, (GRANT_UNKNOWN, GRANT_CLOSED, RUN_SUPERSEDED) for whoever may
    not read any more, (VERSION_ERASED, DATASET_DELETED) for what may not be read; PermissionDenied (LEASE_FOREIGN) where site,
    run, version or dataset are not the grant's, (READER_KEY_FOREIGN) for another key than the reading site's,
    (COLUMN_CLASS_CLOSED) for a column class that was not granted.
    """
    leases.check(asked)
    known = tx.get(leases.Lease, leases.name(asked.nonce))
    if known is not None:
        return _repeated(tx, at, asked, known)
    record = _grant(tx, at, asked) if asked.grant else None
    run = _run(tx, at, asked, record)
    stored = datasets.usable_dataset(tx, ids.dataset(asked.dataset))
    generations = asked.generations
    if asked.version:
        generations = datasets.readable_version(tx, ids.VersionName(stored.name, asked.version)).generations
    _require(asked.generations == generations, asked, "the version has other key generations")
    beside = _classes(tx, asked, record)
    reader_site = _reader(tx, asked, record)
    principal = record.principal if record else _principal(tx, run)
    # Grants last for hours, a run's as long as the run: whoever reads is asked about anew.
    if run is not None and asked.use is leases.Use.READ:
        authorization.release_key(
            tx, ctx, runs.get_job(tx, run.job), stored, sites.get_site(tx, run.site), column_classes=beside
        )
    if record is not None:
        personal.require_still(tx, ctx, record, stored, asked)
    if record is not None and record.transfer:
        transfers.require_still(tx, ctx, transfers.get(tx, record.transfer), beside)
    lease = tx.insert(
        leases.Lease(
            lease=leases.name(asked.nonce),
            use=asked.use,
            site=at,
            dataset=stored.name.short,
            dataset_uid=stored.uid,
            version=asked.version,
            generations=asked.generations,
            sensitivities=asked.sensitivities,
            principal=principal,
            grant=asked.grant,
            run=run.run if run else "",
            attempt=run.attempt if run else 0,
            transfer=record.transfer if record else "",
            reader_site=reader_site,
            reader_key=asked.reader_key,
            nonce=asked.nonce,
            call=asked.call,
            issue_time=tx.now,
            expire_time=tx.now + timedelta(seconds=ctx.key_lease_seconds),
        )
    )
    tx.emit("lease.granted", f"leases/{lease.lease}", lease)
    return lease


def _classes(tx: ports.Transaction, asked: leases.Asked, record: kinds.GrantRecord | None) -> tuple[str, ...]:
    """The column classes that are asked for beside `default`; to be read, each must be the grant's and the version's.

    What a person writes has whichever they name; what a run writes, those of its job (`_run`).
    """
    _require(asked.sensitivities == columns.wanted(asked.sensitivities), asked, "its classes are not told in order")
    beside = asked.sensitivities[1:]
    if asked.use is leases.Use.WRITE or not beside:
        return beside
    allowed = record.column_classes if record else ()
    closed = sorted(set(beside) - set(allowed))
    if closed:
        raise errors.PermissionDenied(
            f"no lease to read {asked.short}: its column class {closed[0]!r} is not among those that were granted",
            reason="COLUMN_CLASS_CLOSED",
            help="Name it when you ask: `--input ALIAS=DATASET,classes=CLASS`, or `--column-class CLASS`.",
            metadata={"class": closed[0], "dataset": asked.dataset, "version": str(asked.version)},
        )
    version = datasets.get_version(tx, ids.VersionName(ids.dataset(asked.dataset), asked.version))
    columns.require_known(version.name.short, version.column_classes, beside)
    return beside


def _repeated(tx: ports.Transaction, at: str, asked: leases.Asked, known: leases.Lease) -> leases.Lease:
    """The lease again, if its agent asks the very same question because it heard no answer, and in time."""
    if known.site != at or not known.answers(asked):
        raise errors.FailedPrecondition(
            f"the nonce of lease {known.lease} was used already",
            reason="LEASE_REPLAYED",
            help="A nonce is good for one lease: choose another.",
            metadata={"lease": known.lease},
        )
    if known.expire_time <= tx.now:
        raise expired(known)
    return known


def expired(lease: leases.Lease) -> errors.FailedPrecondition:
    """The refusal of a lease whose time is over."""
    return errors.FailedPrecondition(
        f"lease {lease.lease} ran out at {lease.expire_time.isoformat()}",
        reason="LEASE_EXPIRED",
        help="Ask for a new one.",
        metadata={"lease": lease.lease},
    )


def _grant(tx: ports.Transaction, at: str, asked: leases.Asked) -> kinds.GrantRecord:
    """The grant under which it is asked, while it opens anything, and only for what it names."""
    record = tx.get(kinds.GrantRecord, asked.grant)
    if record is None:
        raise errors.FailedPrecondition(
            f"the catalog knows no grant {asked.grant}",
            reason="GRANT_UNKNOWN",
            help="The catalog was restored from before it was issued; ask for a new one.",
            metadata={"grant": asked.grant},
        )
    _require(at in (record.source_site, record.reader_site), asked, f"grant {record.grant} is not for this site")
    _require(
        (record.namespace, record.dataset) == tuple(ids.dataset(asked.dataset)), asked, f"grant {record.grant} is for another"
    )
    if record.access is grants.Access.READ:
        _require(asked.use is leases.Use.READ, asked, f"grant {record.grant} lets read alone")
        _require(record.version == asked.version, asked, f"grant {record.grant} is for another version")
    if access.ended(record, tx.now):
        raise errors.FailedPrecondition(
            f"grant {record.grant} is over",
            reason="GRANT_CLOSED",
            help="Ask the catalog for a new one.",
            metadata={"grant": record.grant},
        )
    return record


def _run(tx: ports.Transaction, at: str, asked: leases.Asked, record: kinds.GrantRecord | None) -> job.Run | None:
    """The run on whose behalf it is asked, which must be current; None for a person and for a transfer."""
    name = asked.run or (record.run if record else "")
    if not name:
        _require(record is not None, asked, "it names neither a grant nor a run")
        return None
    _require(record is None or record.run == name, asked, f"the grant is not that of {name}")
    run = runs.get(tx, name)
    if asked.run:
        _require(run.site == at, asked, f"{name} is not a run of this site")
    current = runs.get_job(tx, run.job)
    if run.state not in runs.LIVE or current.run != run.run or (record is not None and record.attempt != run.attempt):
        raise runs.superseded(run)
    if current.cancel_requested:
        raise errors.FailedPrecondition(
            f"run {run.run} is being cancelled",
            reason="RUN_SUPERSEDED",
            help="It is given nothing more.",
            metadata={"run": run.run, "state": str(run.state)},
        )
    if record is None:
        _require(asked.use is leases.Use.WRITE, asked, "a run reads under its inputs' grants")
        declared = next((spec.column_classes for spec in current.request.outputs if spec.dataset == asked.dataset), None)
        _require(declared is not None, asked, f"it is not an output of {name}")
        _require(asked.sensitivities == columns.names(declared or ()), asked, f"its classes are not those that {name} declares")
    return run


def _reader(tx: ports.Transaction, asked: leases.Asked, record: kinds.GrantRecord | None) -> str:
    """The other site to whose gateway the keys go; its sealing key is the one that they must be sealed to."""
    if record is None or not record.reader_site or asked.run:
        return ""
    reader = sites.get_site(tx, record.reader_site)
    if hpke.fingerprint(bytes.fromhex(reader.sealing_key)) != asked.reader_key:
        raise errors.PermissionDenied(
            f"grant {record.grant} hands keys to site {reader.site} alone, and this is not its sealing key",
            reason="READER_KEY_FOREIGN",
            metadata={"grant": record.grant, "reader_site": reader.site},
        )
    return reader.site


def _principal(tx: ports.Transaction, run: job.Run | None) -> str:
    assert run is not None  # `_run` has required a grant or a run
    return runs.get_job(tx, run.job).request.principal


def _require(fits: bool, asked: leases.Asked, why: str) -> None:
    if not fits:
        raise errors.PermissionDenied(
            f"no lease to {asked.use} {asked.short}: {why}",
            reason="LEASE_FOREIGN",
            help="A lease is for one run or grant, one version, and the site that serves it.",
            metadata={"dataset": asked.dataset, "version": str(asked.version)},
        )
