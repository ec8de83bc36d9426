"""Erasures: a version is refused to everybody at once, its keys are destroyed at every site, and then it is certified.

What is destroyed is the secret of each of its generations, in the key connector of each site that ever had its keys: what was
copied before, of the catalog, of the tables or of the store, opens nothing any more. A site that is down keeps it PENDING.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable

from federation import ports
from federation.core import authorization as authorization_values
from federation.core import dataset, erasure, errors, ids, job, kinds, leases, policy, site, transfer
from federation.core.authorization import Action
from federation.crypto import erasure as signed
from federation.services import access, authorization, carrying, datasets, disclosure, runs, scan, sites
from federation.services.context import Context
from federation.services.disclosure import Disclosure

REASON_CHARS_MAX = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Downstream:
    """What lineage says was made of a version: names, those of models, and whether that is all."""

    versions: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    complete: bool = True


def request(  # noqa: PLR0917 - who, what, why, and what came of it
    tx: ports.Transaction,
    ctx: Context,
    principal: policy.Principal,
    version: str,
    reason: str,
    downstream: Downstream = Downstream(),
) -> erasure.Erasure:
    """Erases a version: from this transaction on nobody is granted it. Its sites are told, and confirm.

    The policy is asked for DESTROY, and its yes is told before anything is destroyed: PermissionDenied (POLICY_DENIED)
    otherwise. A legal hold stands whatever the policies say: FailedPrecondition (LEGAL_HOLD),
    as (ERASURE_SHARED) where another version has files of the same generations, and (VERSION_ERASED) where it was done already.
    """
    if not reason.strip() or len(reason) > REASON_CHARS_MAX:
        raise errors.InvalidArgument(
            "an erasure needs a reason, which its certificate will tell",
            reason="REASON_MISSING",
            help='Say it: --reason "...".',
            violations={"reason": f"must have 1 to {REASON_CHARS_MAX} characters"},
        )
    name = ids.version(version)
    stored = datasets.get_dataset(tx, name.dataset)
    if stored.legal_hold:
        raise errors.FailedPrecondition(
            f"{name.dataset.short} is under a legal hold: nothing of it is destroyed",
            reason="LEGAL_HOLD",
            help="Have the hold lifted first.",
            metadata={"dataset": name.dataset.short},
        )
    asked = authorization.question(tx, authorization_values.subject(principal), Action.DESTROY, stored)
    authorization.require(tx, ctx, asked)
    found = datasets.readable_version(tx, name)
    _require_alone(tx, found)
    erased = tx.replace(dataclasses.replace(found, erase_time=tx.now))
    tx.emit("version.erased", name.resource, erased)
    parts = tuple(erasure.SiteErasure(site=place.site, signing_key=place.signing_key) for place in _sites(tx, found))
    made = tx.insert(
        erasure.Erasure(
            erasure=ctx.ids.new("e"),
            dataset=name.dataset.short,
            dataset_uid=stored.uid,
            version=name.number,
            manifest_digest=found.manifest_digest,
            reason=reason,
            principal=tx.actor,
            generations=found.generations,
            sites=parts,
            downstream=downstream.versions,
            downstream_models=downstream.models,
            downstream_complete=downstream.complete,
            create_time=tx.now,
        )
    )
    tx.emit("erasure.requested", f"erasures/{made.erasure}", made)
    _end_uses(tx, found)
    return told(tx, made)


def _require_alone(tx: ports.Transaction, found: dataset.Version) -> None:
    """Refuses where another version shares a key generation: that is destroyed with every file that is sealed under it."""
    sharing = [other.name.short for other in _relatives(tx, found) if other.erase_time is None and other.number != found.number]
    if sharing:
        raise errors.FailedPrecondition(
            f"{found.name.short} shares files with {', '.join(sharing[:5])}{' and more' if len(sharing) > 5 else ''}:"
            " to destroy their keys would destroy those too",
            reason="ERASURE_SHARED",
            help=f"Put the files that must stay as a version of their own into another dataset, then erase {sharing[-1]}"
            " and the others first; or erase all of them.",
            metadata={"version": found.name.short, "shared_with": ",".join(sharing)},
        )


def _relatives(tx: ports.Transaction, found: dataset.Version) -> list[dataset.Version]:
    """The versions of the dataset that share a key generation with this one, itself included."""
    own = set(found.generations)
    every = scan.every(tx, dataset.Version, parent=found.name.dataset.short)
    return [other for other in every if own.intersection(other.generations)]


def _sites(tx: ports.Transaction, found: dataset.Version) -> list[site.Site]:
    """Every site that has, or ever had, keys of its generations: a backup of the catalog may still hold those wrapped keys."""
    short, numbers = found.name.dataset.short, {other.number for other in _relatives(tx, found)}
    names = {other.signed_by for other in _relatives(tx, found)}
    for generation in found.generations:
        names.update(row.site for row in scan.every(tx, dataset.WrappedKey, parent=generation))
    names.update(row.site for row in scan.every(tx, dataset.Replica, parent=short) if row.number in numbers)
    moved = scan.every(tx, transfer.Transfer, parent=short)
    names.update(row.destination_site for row in moved if row.version in numbers and row.attempt)
    places = (tx.get(site.Site, name) for name in sorted(names))
    return [place for place in places if place is not None]


def _end_uses(tx: ports.Transaction, found: dataset.Version) -> None:
    """Closes its grants, ends its transfers, lets its replicas go, and deletes the wrapped rows of its keys."""
    for record in scan.every(tx, kinds.GrantRecord, where={"closed": ""}):
        if (record.namespace, record.dataset, record.version) == (found.namespace, found.dataset, found.number):
            access.close(tx, record)
    for moving in scan.every(tx, transfer.Transfer, parent=found.name.dataset.short, where={"live": "1"}):
        if moving.version == found.number:
            why = f"{found.name.short} was erased"
            carrying.end(tx, moving, transfer.TransferState.CANCELLED, "VERSION_ERASED", why)
    for held in scan.every(tx, dataset.Replica, parent=found.name.dataset.short, where={"version": str(found.number)}):
        if held.state is not dataset.ReplicaState.DELETING:
            going = tx.replace(dataclasses.replace(held, state=dataset.ReplicaState.DELETING))
            tx.emit("replica.deleting", going.version.replica(going.site), going)
    for generation in found.generations:
        for row in scan.every(tx, dataset.WrappedKey, parent=generation):
            tx.delete(dataset.WrappedKey, kinds.KINDS[dataset.WrappedKey].key(row))


# Looking


def get(tx: ports.Transaction, name: str) -> erasure.Erasure:
    """One erasure, by its name or by its version's; NotFound when there is none."""
    return told(tx, _stored(tx, name))


def visible(tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: str) -> erasure.Erasure:
    """As `get`; NotFound, in the same words, where they may not know of its dataset."""
    found = _found(tx, name)
    if found is None or not Disclosure(tx, ctx, principal).sees(found.dataset):
        raise _absent(name)
    return told(tx, found)


def _stored(tx: ports.Transaction, name: str) -> erasure.Erasure:
    found = _found(tx, name)
    if found is None:
        raise _absent(name)
    return found


def _absent(name: str) -> errors.NotFound:
    return errors.NotFound(f"there is no erasure {name}", help="`fed dataset erasure list` shows what there is.")


def _found(tx: ports.Transaction, name: str) -> erasure.Erasure | None:
    if "@" in name or "/versions/" in name:
        version = ids.version(name)
        rows = scan.every(tx, erasure.Erasure, where={"dataset": version.dataset.short})
        return next((row for row in rows if row.version == version.number), None)
    return tx.get(erasure.Erasure, ids.child(name, "erasures"))


def told(tx: ports.Transaction, stored: erasure.Erasure) -> erasure.Erasure:
    """The erasure with what it waits for."""
    return dataclasses.replace(stored, waits_for=tuple(_waits_for(tx, stored)))


def _waits_for(tx: ports.Transaction, stored: erasure.Erasure) -> Iterable[str]:
    if stored.state is erasure.ErasureState.CERTIFIED:
        return
    for name in stored.unconfirmed:
        place = tx.get(site.Site, name)
        yield f"site {name} has not confirmed" + (f" and is {place.state}" if place and not _ready(place) else "")
    granted = _leases(tx, stored)
    until = max((lease.expire_time for lease in granted), default=tx.now)
    if until > tx.now:
        yield f"a lease lasts until {until.isoformat(timespec='seconds')}"
    for name in sorted({lease.run for lease in granted if lease.run}):
        run = tx.get(job.Run, name)
        if run is not None and run.state in runs.LIVE:
            yield f"run {name} was given keys and has not ended"


def _ready(place: site.Site) -> bool:
    return place.state is site.SiteState.READY


def _leases(tx: ports.Transaction, stored: erasure.Erasure) -> list[leases.Lease]:
    """Every lease on the version, and those under which its generations were written."""
    own = set(stored.generations)
    reads = scan.every(tx, leases.Lease, parent=stored.short)
    writes = scan.every(tx, leases.Lease, parent=stored.dataset)
    return [*reads, *(lease for lease in writes if own.intersection(lease.generations))]


def visible_certificate(tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: str) -> bytes:
    """As `certificate`, for somebody who may know of the version.

    It is signed as a whole, so it cannot be cut: PermissionDenied (NOT_EVERYTHING_SEEN) for somebody who may not know of all
    that it names as made of the version.
    """
    found = visible(tx, ctx, principal, name)
    known = Disclosure(tx, ctx, principal)
    if any(known.told_node(each) != each for each in (*found.downstream, *found.downstream_models)):
        raise disclosure.not_everything(principal, "a certificate")
    return certificate(tx, name)


def certificate(tx: ports.Transaction, name: str) -> bytes:
    """The certificate; FailedPrecondition (ERASURE_PENDING) says what it waits for."""
    found = get(tx, name)
    kept = tx.get(erasure.StoredCertificate, found.erasure)
    if kept is None:
        raise errors.FailedPrecondition(
            f"the erasure of {found.short} is not complete: {'; '.join(found.waits_for) or 'it is about to be certified'}",
            reason="ERASURE_PENDING",
            help="Ask again later: `fed dataset erasure show` tells how far it is.",
            metadata={"erasure": found.erasure},
        )
    return kept.text.encode()


# Sites


def instructions(tx: ports.Transaction, at: str) -> tuple[erasure.EraseGenerations, ...]:
    """What a site has to destroy and has not confirmed."""
    pending = scan.every(tx, erasure.Erasure, where={"state": str(erasure.ErasureState.PENDING)})
    return tuple(
        erasure.EraseGenerations(
            erasure=row.erasure, version=row.short, dataset_uid=row.dataset_uid, generations=row.generations
        )
        for row in pending
        if at in row.unconfirmed
    )


def confirm(tx: ports.Transaction, at: str, name: str, signature: bytes) -> erasure.Erasure:
    """Accepts a site's signed statement that its secrets are destroyed. The same statement again is answered alike."""
    stored = _stored(tx, name)
    part = next((part for part in stored.sites if part.site == at), None)
    if part is None:
        raise errors.PermissionDenied(
            f"erasure {stored.erasure} asks nothing of site {at}", reason="ERASURE_FOREIGN_SITE", metadata={"site": at}
        )
    if part.signature:
        return stored
    # The key of today: a site that had not registered when the erasure began has one by now.
    signing_key = sites.get_site(tx, at).signing_key
    signed.check_confirmation(
        signing_key,
        signature,
        erasure=stored.erasure,
        site=at,
        dataset_uid=stored.dataset_uid,
        generations=stored.generations,
    )
    said = dataclasses.replace(part, signing_key=signing_key, signature=signature.hex(), confirm_time=tx.now)
    parts = tuple(said if each.site == at else each for each in stored.sites)
    changed = tx.replace(dataclasses.replace(stored, sites=parts))
    tx.emit("erasure.confirmed", f"erasures/{stored.erasure}", said)
    return changed


def certify(tx: ports.Transaction, ctx: Context) -> int:
    """Issues the certificates of erasures that every site has confirmed; returns how many."""
    pending = scan.every(tx, erasure.Erasure, where={"state": str(erasure.ErasureState.PENDING)})
    done = [row for row in pending if not any(True for _ in _waits_for(tx, row))]
    for row in done:
        ended = dataclasses.replace(row, state=erasure.ErasureState.CERTIFIED, certify_time=tx.now, etag="")
        deletion = erasure.Deletion(erasure=ended, leases=tuple(sorted(_leases(tx, row), key=lambda each: each.issue_time)))
        text = signed.certify(ctx.grant_key, deletion)
        tx.insert(erasure.StoredCertificate(erasure=row.erasure, text=text))
        digest = hashlib.sha256(text.encode()).hexdigest()
        stored = tx.replace(dataclasses.replace(ended, etag=row.etag, certificate_digest=digest))
        tx.emit("erasure.certified", f"erasures/{row.erasure}", stored)
    return len(done)
