"""OpenLineage at the catalog: our runs told to others in the order of the log, and theirs taken into the same lineage."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from federation import ports
from federation.core import dataset, errors, events, ids, job, kinds, lineage, openlineage, records
from federation.services import datasets
from federation.services import lineage as facts

_log = logging.getLogger(__name__)

# What we tell

#: Events of the log that say something of a run; a put is told by its fact.
_PUT = "lineage.run"
KINDS = (*(f"run.{state.lower()}" for state in openlineage.TYPE_OF_STATE), _PUT)
#: Events told at once.
BATCH = 100


class Emitter:
    """Tells one receiver what has become of runs, each event at least once and in the log's order.

    Where it has come to is kept in the catalog under `name`, so any server goes on from there. A receiver knows an event that
    it hears twice by its run and time.
    """

    def __init__(
        self,
        catalog: ports.Catalog,
        transport: ports.LineageTransport,
        terms: openlineage.Terms,
        *,
        name: str,
        batch: int = BATCH,
    ) -> None:
        self._catalog = catalog
        self._transport = transport
        self._terms = terms
        self._name = f"openlineage/{name}"
        self._batch = batch

    def __repr__(self) -> str:
        return f"<Emitter {self._name} to {self._transport}>"

    def run_once(self) -> int:
        """Tells what was committed when it began; returns how many events. Unavailable while the receiver does not answer."""
        until = self._catalog.revision()
        told = 0
        while True:
            cursor = self._from_floor(self._catalog.read(lambda tx: tx.get(events.Cursor, self._name)))
            found = self._catalog.events(cursor.position, limit=self._batch, kinds=KINDS) if cursor.position < until else ()
            if not found:
                return told
            made = self._catalog.read(lambda tx, found=found: [event_of(tx, self._terms, each) for each in found])  # type: ignore[misc]
            texts = tuple(json.dumps(each, separators=(",", ":"), ensure_ascii=False) for each in made if each is not None)
            if texts:
                self._transport.send(texts)
                told += len(texts)
            self._advance(replace(cursor, position=found[-1].position))

    def _from_floor(self, known: events.Cursor | None) -> events.Cursor:
        """Where to go on: the log's beginning, if that has passed the cursor while the receiver was away."""
        cursor, floor = known or events.Cursor(name=self._name), self._catalog.floor()
        if cursor.position >= floor:
            return cursor
        if known is not None:
            _log.error(
                "%s was away for longer than the log is kept: it never hears of events %d to %d",
                *(self, cursor.position, floor),
            )
        return replace(cursor, position=floor)

    def _advance(self, to: events.Cursor) -> None:
        """Another server that told the same may have been faster: then it has gone at least as far."""

        def work(tx: ports.Transaction) -> None:
            known = tx.get(events.Cursor, to.name)
            if known is None:
                tx.insert(to)
            elif known.position < to.position:
                tx.replace(replace(known, position=to.position))

        self._catalog.write(work, actor="server")


def event_of(tx: ports.Transaction, terms: openlineage.Terms, event: events.Event) -> dict[str, object] | None:
    """What an event of the log is to others; None for one that is nothing to them."""
    if event.kind == _PUT:
        return _put(tx, terms, records.loads(lineage.RunFact, event.body))
    run = records.loads(job.Run, event.body)
    of = tx.get(job.Job, run.job)
    if of is None or run.state not in openlineage.TYPE_OF_STATE:
        return None
    edges = tx.list(lineage.Edge, parent=run.run) if run.state is job.JobState.SUCCEEDED else ()
    chosen = of.plan.choice if of.plan else None
    # A later attempt has a plan of its own; what was planned for this one is told no more.
    planned = chosen is not None and chosen.site == run.site and of.attempt == run.attempt
    plan = of.plan if planned else None
    reads = [
        openlineage.Read(plan=spec, version=_version(tx, spec.dataset, spec.version), edge=_edge(edges, "in", spec.alias))
        for spec in (chosen.inputs if chosen and planned else ())
    ]
    return openlineage.run_event(terms, replace(of, plan=plan), run, time=event.time, reads=reads, made=_outputs(tx, of, edges))


def _outputs(tx: ports.Transaction, of: job.Job, edges: Sequence[lineage.Edge]) -> list[openlineage.Made]:
    made = []
    for spec in of.request.outputs:
        edge = _edge(edges, "out", spec.alias)
        number = int(edge.node.rpartition("@")[2]) if edge else 0
        made.append(
            openlineage.Made(
                dataset=ids.dataset(spec.dataset).short,
                kind=spec.kind,
                version=_version(tx, spec.dataset, number) if number else None,
                edge=edge,
            )
        )
    return made


def _put(tx: ports.Transaction, terms: openlineage.Terms, fact: lineage.RunFact) -> dict[str, object] | None:
    edge = _edge(tx.list(lineage.Edge, parent=fact.run), "out", "data") if fact.run.startswith(lineage.PUTS) else None
    if edge is None:
        return None
    name = ids.version(edge.node)
    stored = tx.get(dataset.Dataset, name.dataset.short)
    kind = str(stored.kind) if stored else "DATA"
    version = _version(tx, name.dataset.short, name.number)
    return openlineage.put_event(
        terms, fact, openlineage.Made(dataset=name.dataset.short, kind=kind, version=version, edge=edge)
    )


def _edge(edges: Sequence[lineage.Edge], direction: str, alias: str) -> lineage.Edge | None:
    return next((edge for edge in edges if (edge.direction, edge.alias) == (direction, alias)), None)


def _version(tx: ports.Transaction, name: str, number: int) -> dataset.Version | None:
    return tx.get(dataset.Version, kinds.version_key(*ids.dataset(name), number))


# What others tell


def receive(
    tx: ports.Transaction,
    terms: openlineage.Terms,
    principal: str,
    told: Iterable[openlineage.ForeignEvent | None],
) -> openlineage.Received:
    """Takes in events of other people's runs, all or none. The same again changes nothing.

    A run is in lineage once it has ended; what it read and wrote by its events is then its edges, with columns where they say
    so. PermissionDenied (FOREIGN_RUN_OTHERS) for a run that somebody else told of; InvalidArgument (OUTPUT_NOT_FOREIGN) for one
    that claims to have written a dataset of ours: versions are made by our own runs and puts alone.
    """
    runs, ended, ignored = set(), set(), 0
    for event in told:
        if event is None:
            ignored += 1
            continue
        before = tx.get(openlineage.ForeignRun, event.run)
        after = _told(terms, principal, before, event)
        if before is None:
            tx.insert(after)
        elif after != before:
            tx.replace(after)
        if after.type.terminal:
            _keep(tx, terms, after, before.end_time if before else None)
            ended.add(event.run)
        runs.add(event.run)
    return openlineage.Received(runs=len(runs), ended=len(ended), ignored=ignored)


def _told(
    terms: openlineage.Terms, principal: str, before: openlineage.ForeignRun | None, event: openlineage.ForeignEvent
) -> openlineage.ForeignRun:
    if before is not None and before.principal != principal:
        raise errors.PermissionDenied(
            f"run {event.run} was told of by somebody else",
            reason="FOREIGN_RUN_OTHERS",
            help="Send all events of a run as the same caller, and give each run a UUID of its own.",
            metadata={"run": event.run},
        )
    for each in event.outputs:
        if each.namespace == terms.datasets:
            raise errors.InvalidArgument(
                f"run {event.run} cannot have written {each.name} of this federation",
                reason="OUTPUT_NOT_FOREIGN",
                help="Versions come of this federation's own runs and puts. Name as output what was written elsewhere.",
                violations={"outputs": f"must not be in {terms.datasets}"},
            )
    known = before or openlineage.ForeignRun(
        run=event.run,
        principal=principal,
        job_namespace=event.job_namespace,
        job_name=event.job_name,
        producer=event.producer,
    )
    return known.with_event(event)


def _keep(tx: ports.Transaction, terms: openlineage.Terms, run: openlineage.ForeignRun, ended_before: datetime | None) -> None:
    """The fact of a foreign run that has ended, once, and edges for what its events name; later ones may still name more."""
    assert run.end_time is not None
    name = f"{lineage.EXTERNAL_RUNS}{run.run}"
    state = openlineage.STATE_OF_TYPE[run.type]
    fact = lineage.RunFact(
        run=name,
        job=openlineage.place(run.job_namespace, run.job_name),
        attempt=0,
        label=run.job_name,
        kind="EXTERNAL",
        site="",
        region="",
        principal=run.principal,
        state=str(state),
        reason=run.reason,
        start_time=run.start_time,
        end_time=run.end_time,
    )
    if ended_before is None:
        facts.keep_fact(tx, fact)
    if state is not job.JobState.SUCCEEDED:
        return
    aliases = {each.place: f"in{number}" for number, each in enumerate(run.inputs, 1)}
    for each in run.inputs:
        _keep_edge(tx, _edge_of(fact, "in", aliases[each.place], _node(tx, terms, each), each))
    for number, each in enumerate(run.outputs, 1):
        links = {(column, f"{aliases[source]}.{field}") for column, source, field in each.sources if source in aliases}
        column_map = tuple(lineage.ColumnSource(column=column, source=source) for column, source in sorted(links))
        _keep_edge(tx, _edge_of(fact, "out", f"out{number}", each.place, each, column_map=column_map))


def _keep_edge(tx: ports.Transaction, edge: lineage.Edge) -> None:
    if tx.get(lineage.Edge, f"{edge.run}/{edge.direction}/{edge.alias}") is None:
        facts.keep_edge(tx, edge)


def _edge_of(
    fact: lineage.RunFact,
    direction: str,
    alias: str,
    node: str,
    told: openlineage.ForeignDataset,
    *,
    column_map: tuple[lineage.ColumnSource, ...] = (),
) -> lineage.Edge:
    return lineage.Edge(
        run=fact.run,
        direction=direction,
        alias=alias,
        node=node,
        manifest_digest="",
        site="",
        source_region="",
        destination_region="",
        bytes=told.bytes or 0,
        time=fact.end_time,
        rows=told.rows,
        columns=told.columns,
        column_map=column_map,
    )


def _node(tx: ports.Transaction, terms: openlineage.Terms, told: openlineage.ForeignDataset) -> str:
    """What an input is to lineage: a version of ours, the one that the event names or the newest there is; else its place."""
    if told.namespace != terms.datasets:
        return told.place
    name = ids.dataset(told.name)
    number = int(told.version) if told.version.isdecimal() else datasets.get_dataset(tx, name).latest_version
    version = ids.VersionName(name, number)
    datasets.get_version(tx, version)
    return version.short
