"""The running federation as a world file: what `fed plan` needs to plan without a server, in one look."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from federation import ports
from federation.core import dataset, ids, job, profile, site, transfer, whatif
from federation.core.authorization import dataset_facts
from federation.services import authorization, datasets, placement, policies, pricing, quotas, scan
from federation.services.context import Context
from federation.services.disclosure import Disclosure


def export(
    tx: ports.Transaction, ctx: Context, names: Iterable[str] = (), *, revision: int = 0, known: Disclosure
) -> whatif.WorldFile:
    """The federation now, with the newest version of each dataset, or with those named: `sales/flights`, `sales/flights@3`.

    Nothing in it opens anything: no keys, no addresses, no names of files. NotFound for a dataset or version that is not there,
    or that is not `known`: such ones are left out, and so are the profiles and budgets of such namespaces and jobs about them.
    """
    seen = placement.view(tx, ctx)
    rates, offers = pricing.rates(tx, ctx), pricing.offers(tx, ctx)
    return whatif.WorldFile(
        format_version=whatif.FORMAT,
        time=tx.now,
        revision=revision,
        datasets=tuple(_datasets(tx, names, known)),
        # As they were declared: what the card fills in is told by its rows, so that both can be changed in the file.
        sites=tuple(scan.every(tx, site.Site)),
        loads=seen.loads,
        rate_card=rates.number,
        egress=rates.rows,
        compute=offers.rows,
        volumes=seen.volumes,
        reservations=seen.reservations,
        speeds=seen.speeds,
        occupations=seen.occupations,
        profiles=tuple(row for row in scan.every(tx, profile.JobProfile) if known.sees_namespace(row.namespace)),
        budgets=tuple(
            quotas.budget(tx, row.name) for row in scan.every(tx, dataset.Namespace) if known.sees_namespace(row.name)
        ),
        queue=tuple(_queue(tx, known)),
        policies=policies.get(tx, ctx).text,
    )


def _datasets(tx: ports.Transaction, names: Iterable[str], known: Disclosure) -> Iterator[whatif.DatasetRow]:
    wanted: dict[str, set[int]] = {}
    for name in names:
        found, number = ids.dataset_or_version(name)
        wanted.setdefault(found.short, set()).update({number} if number else ())
    if not wanted:
        rows = (row.name.short for row in scan.every(tx, dataset.Dataset) if row.delete_time is None)
        wanted = {short: set() for short in rows if known.sees(short)}
    for short, numbers in wanted.items():
        if not known.sees(short):
            raise authorization.absent(ids.dataset(short))
        stored = datasets.usable_dataset(tx, ids.dataset(short))
        newest = {stored.latest_version} if stored.latest_version else set()
        yield whatif.DatasetRow(
            dataset=short,
            residency=stored.residency,
            release_bytes_max=stored.release_bytes_max,
            versions=tuple(_version(tx, ids.VersionName(stored.name, number)) for number in sorted(numbers or newest)),
            governance=_governance(tx, stored),
        )


def _governance(tx: ports.Transaction, stored: dataset.Dataset) -> whatif.Governance:
    facts = dataset_facts(stored, tx.get(dataset.Namespace, stored.namespace))
    return whatif.Governance(
        owners=facts.owners,
        readers=facts.readers,
        kind=facts.kind,
        classification=stored.classification,
        purposes=facts.purposes,
        use_expire_time=stored.use_expire_time,
        legal_hold=facts.legal_hold,
        group_size_min=facts.group_size_min,
        labels=facts.labels,
    )


def _version(tx: ports.Transaction, name: ids.VersionName) -> whatif.VersionRow:
    version, number = datasets.get_version(tx, name), str(name.number)
    replicas = {"version": number, "state": str(dataset.ReplicaState.AVAILABLE)}
    live = {"dataset": name.dataset.short, "version": number, "live": "1"}
    return whatif.VersionRow(
        number=version.number,
        bytes=version.object_bytes,
        files=version.files,
        replica_sites=tuple(row.site for row in scan.every(tx, dataset.Replica, parent=name.dataset.short, where=replicas)),
        arriving=tuple(scan.every(tx, transfer.Transfer, where=live)),
        read_logs=tuple(scan.every(tx, transfer.ReadLog, parent=name.short)),
    )


def _queue(tx: ports.Transaction, known: Disclosure) -> Iterator[whatif.QueuedJob]:
    """What waits, in the order in which it came."""
    for waiting in scan.every(tx, job.Job, where={"state": str(job.JobState.PENDING)}):
        if not known.sees_job(waiting.request):
            continue
        yield whatif.QueuedJob(
            job=waiting.job,
            # What would be run says nothing about where, and is nobody else's business.
            request=dataclasses.replace(waiting.request, entrypoint=(), env=(), runtime_env="", working_dir=""),
            submit_time=waiting.create_time,
            attempts=placement.attempts(tx, waiting),
        )
