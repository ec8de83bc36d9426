"""The facts of lineage, written in the transaction that makes them true: runs that ended, what they read and made, and puts.

Answers come from an index of these facts (`lineage_index`, `lineage_queries`); what is stored here is the record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from federation import ports
from federation.core import dataset, ids, job, kinds, lineage, metering, site
from federation.services import access


def record_run(
    tx: ports.Transaction,
    of: job.Job,
    run: job.Run,
    versions: tuple[tuple[str, dataset.Version], ...] = (),
    report: lineage.LineageReport = lineage.UNTOLD,
) -> lineage.RunFact:
    """Keeps the outcome of a run that ended. Edges are kept for a run that succeeded: what failed made nothing of what it read.

    `versions` are what it committed, by alias; `report` is what its code told of columns.
    """
    place = tx.get(site.Site, run.site)
    fact = keep_fact(
        tx,
        lineage.RunFact(
            run=run.run,
            job=of.job,
            attempt=run.attempt,
            label=of.request.label,
            kind=str(of.request.kind),
            site=run.site,
            region=place.region if place else "",
            principal=of.request.principal,
            state=str(run.state),
            reason=run.reason,
            start_time=run.start_time,
            end_time=tx.now,
        ),
    )
    if run.state is job.JobState.SUCCEEDED:
        for edge in _ingested(of, fact, versions):
            keep_edge(tx, edge)
        for edge in _read(tx, of, fact, report):
            keep_edge(tx, edge)
        declared = {spec.alias: spec.column_map for spec in of.request.outputs}
        for alias, version in versions:
            told = report.output(alias).sources
            links = sorted({(each.column, each.source) for each in (*declared.get(alias, ()), *told)})
            column_map = tuple(lineage.ColumnSource(column=column, source=source) for column, source in links)
            keep_edge(tx, _made(fact, alias, version, column_map))
    return fact


def record_put(tx: ports.Transaction, grant: kinds.GrantRecord, version: dataset.Version) -> lineage.RunFact:
    """Keeps that a person put a version: it came from them, at a site. A transfer is no such fact: it makes no version."""
    fact = keep_fact(
        tx,
        lineage.RunFact(
            run=f"{lineage.PUTS}{grant.grant}",
            job="",
            attempt=0,
            label="",
            kind="PUT",
            site=grant.source_site,
            region=grant.source_region,
            principal=grant.principal,
            state=str(job.JobState.SUCCEEDED),
            reason="",
            start_time=None,
            end_time=tx.now,
        ),
    )
    keep_edge(tx, dataclasses.replace(_input(fact, "person", grant.principal), bytes=version.total_bytes))
    keep_edge(tx, _made(fact, "data", version))
    return fact


def keep_fact(tx: ports.Transaction, fact: lineage.RunFact) -> lineage.RunFact:
    """Keeps the outcome of a run, once."""
    stored = tx.insert(fact)
    tx.emit("lineage.run", stored.run, stored)
    return stored


def keep_edge(tx: ports.Transaction, edge: lineage.Edge) -> None:
    """Keeps what a run read or made, once."""
    stored = tx.insert(edge)
    tx.emit("lineage.edge", f"{stored.run}/{stored.direction}/{stored.alias}", stored)


def _ingested(of: job.Job, fact: lineage.RunFact, versions: tuple[tuple[str, dataset.Version], ...]) -> Iterator[lineage.Edge]:
    if of.request.kind is job.JobKind.INGEST:
        size = sum(version.total_bytes for _, version in versions)
        read = _input(fact, "source", of.request.ingest_from)
        yield dataclasses.replace(read, site=fact.site, source_region=fact.region, bytes=size)


def _read(tx: ports.Transaction, of: job.Job, fact: lineage.RunFact, report: lineage.LineageReport) -> Iterator[lineage.Edge]:
    chosen = of.plan.choice if of.plan else None
    for spec in chosen.inputs if chosen else ():
        name = ids.VersionName(ids.dataset(spec.dataset), spec.version)
        version = tx.get(dataset.Version, kinds.version_key(*name.dataset, name.number))
        entry = _settled(tx, fact.run, spec.alias)
        yield dataclasses.replace(
            _input(fact, spec.alias, name.short),
            manifest_digest=version.manifest_digest if version else "",
            rows=_rows(version),
            site=spec.source_site,
            source_region=spec.source_region,
            bytes=entry.bytes if entry else version.object_bytes if version else 0,
            charge_micros=entry.charge_micros if entry else None,
            columns=report.input(spec.alias).columns,
        )


def _settled(tx: ports.Transaction, run: str, alias: str) -> metering.LedgerEntry | None:
    """What the ledger has of a run's read: its agent settles what it can before it says that the run has ended."""
    record = tx.get(kinds.GrantRecord, access.run_grant_id(run, alias))
    return tx.get(metering.LedgerEntry, record.entry) if record and record.entry else None


def _input(fact: lineage.RunFact, alias: str, node: str) -> lineage.Edge:
    """What a run read, of which nothing else is known yet."""
    return lineage.Edge(
        run=fact.run,
        direction="in",
        alias=alias,
        node=node,
        manifest_digest="",
        site="",
        source_region="",
        destination_region=fact.region,
        bytes=0,
        time=fact.end_time,
    )


def _made(
    fact: lineage.RunFact, alias: str, version: dataset.Version, column_map: tuple[lineage.ColumnSource, ...] = ()
) -> lineage.Edge:
    """What a run wrote, at its own site."""
    return lineage.Edge(
        run=fact.run,
        direction="out",
        alias=alias,
        node=version.name.short,
        manifest_digest=version.manifest_digest,
        site=fact.site,
        source_region=fact.region,
        destination_region=fact.region,
        bytes=version.object_bytes,
        time=fact.end_time,
        rows=_rows(version),
        columns=tuple(name for name, _ in version.columns),
        column_map=column_map,
    )


def _rows(version: dataset.Version | None) -> int | None:
    """The rows of a version, None where they are not known."""
    return version.rows if version and version.rows >= 0 else None
