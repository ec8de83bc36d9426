"""What a compliance report is made from: entries of audit, facts of ledger and lineage, from tables and the log after."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from federation import frames, ports
from federation.core import compliance, dataset, errors, lineage, metering, records, trail
from federation.core.compliance import Scope
from federation.core.events import AUDIT, TABLE_OF_KIND
from federation.services import trail as trails
from federation.services.seam import seam

#: Grants last for hours: what allowed a read of the report's first hours was decided before.
LOOK_BACK = timedelta(days=1)
_CLASSES: Mapping[str, type] = {
    "ledger.entry": metering.LedgerEntry,
    "lineage.run": lineage.RunFact,
    "lineage.edge": lineage.Edge,
}

Row = Mapping[str, Any]


class Facts:
    """What the record tells of a time. Everything is read when it is made, and given out in order of position."""

    def __init__(self, about: Scope, catalog: ports.Catalog, engine: ports.RecordEngine | None) -> None:
        self._about = about
        self._catalog = catalog
        self._engine = engine
        within = trail.Selection(from_time=about.from_time, to_time=about.to_time)
        #: The entries of audit in the report's time, with their bodies by position.
        self.rows = tuple(trails.every(catalog, engine, within))
        self.bodies = {row.position: trail.body(row) for row in self.rows}
        #: The last position that the table of audit holds.
        self.seam = seam(catalog, engine, AUDIT, without=tuple(TABLE_OF_KIND))
        self.described = self._descriptions()
        self.jobs = {str(body.get("job", "")): (row, body) for row, body in self._until("job.created")}
        self.erasures = {
            trail.text(body, "erasure"): (row.dataset, trail.number(body, "version"))
            for row, body in self._until("erasure.requested")
        }
        self.entries = tuple(self._facts("ledger.entry", "time", about.from_time))
        self.edges = tuple(self._facts("lineage.edge", "time", None))
        self.runs = {row["run"]: row for row in self._facts("lineage.run", "end_time", None)}

    def of(self, kind: str) -> Iterator[tuple[trail.AuditRow, Mapping[str, Any]]]:
        """The entries of a kind in the report's time."""
        return ((row, self.bodies[row.position]) for row in self.rows if row.kind == kind)

    def before(self, kind: str, jobs: Iterable[str]) -> Iterator[tuple[trail.AuditRow, Mapping[str, Any]]]:
        """The entries of a kind from before the report's time that uses in it may rest on: from when the jobs began."""
        begin = self._about.from_time
        known = (self.jobs[job][0].time for job in jobs if job in self.jobs)
        since = min((begin - LOOK_BACK, *known))
        chosen = trail.Selection(kind=kind, from_time=since, to_time=begin)
        return ((row, trail.body(row)) for row in trails.every(self._catalog, self._engine, chosen))

    def purpose(self, job: str) -> str:
        """What a job was for, as whoever submitted it said; '' where they did not, and for a job that is not known."""
        return trail.text(trail.inner(self.jobs[job][1], "request"), "purpose") if job in self.jobs else ""

    def card(self, node: str) -> dataset.DataCard:
        """The card of a version's dataset."""
        described = self.described.get(lineage.dataset_of(node))
        return described.card if described else dataset.DataCard()

    def upstream(self, run: str) -> tuple[frozenset[str], frozenset[str]]:
        """What a run read, and all that this came from, itself too."""
        inputs, makers = self._graph()
        direct = frozenset(inputs.get(run, ()))
        found, waiting = set(direct), sorted(direct)
        while waiting:
            for maker in makers.get(waiting.pop(), ()):
                fresh = set(inputs.get(maker, ())) - found
                found |= fresh
                waiting += sorted(fresh)
        return direct, frozenset(found)

    def _graph(self) -> tuple[Mapping[str, list[str]], Mapping[str, list[str]]]:
        """What each run read, and which runs made each version."""
        inputs: dict[str, list[str]] = defaultdict(list)
        makers: dict[str, list[str]] = defaultdict(list)
        for edge in self.edges:
            if edge["direction"] == "in":
                inputs[edge["run"]].append(edge["node"])
            else:
                makers[edge["node"]].append(edge["run"])
        return inputs, makers

    def _descriptions(self) -> dict[str, compliance.Described]:
        """Datasets as they were when the time of the report ended."""
        found = {}
        for row, _ in self._until("dataset.*"):
            try:
                told = records.loads(dataset.Dataset, row.body)
            except (TypeError, ValueError, KeyError):
                continue  # it tells something else of a dataset
            found[told.name.short] = compliance.Described(
                dataset=told.name.short,
                kind=str(told.kind),
                owner=told.owner,
                classification=str(told.classification),
                residency=told.residency,
                purposes=told.purposes,
                card=told.card,
                deleted=told.delete_time is not None,
                position=row.position,
            )
        return found

    def _until(self, kind: str) -> Iterator[tuple[trail.AuditRow, Mapping[str, Any]]]:
        chosen = trail.Selection(kind=kind, to_time=self._about.to_time)
        return ((row, trail.body(row)) for row in trails.every(self._catalog, self._engine, chosen))

    def _facts(self, kind: str, time: str, begin: datetime | None) -> Iterator[Row]:
        """Rows of a table and of the log after it, in order, whose time is before the report's end and not before `begin`."""
        cls, table = _CLASSES[kind], TABLE_OF_KIND[kind]
        names = [field.name for field in fields(cls) if field.name != "column_map"]
        upto = seam(self._catalog, self._engine, table, kind)
        if self._engine is not None and upto:
            yield from self._stored(self._engine, table, names, trail.between(f'"{time}"', begin, self._about.to_time), upto)
        for value in self._logged(kind, cls, upto):
            if getattr(value, time) < self._about.to_time and (begin is None or getattr(value, time) >= begin):
                yield {name: getattr(value, name) for name in names}

    @staticmethod
    def _stored(engine: ports.RecordEngine, table: str, names: list[str], wanted: str, upto: int) -> Iterator[Row]:
        columns = ", ".join(f'"{name}"' for name in names)
        sql = f"SELECT {columns} FROM {table} WHERE position <= {upto} AND {wanted} ORDER BY position"  # noqa: S608 - our own
        with contextlib.suppress(errors.NotFound):
            for row in engine.query(sql).to_pylist():
                yield {name: item.astimezone(UTC) if isinstance(item, datetime) else item for name, item in row.items()}

    def _logged(self, kind: str, cls: type, after: int) -> Iterator[Any]:
        while events := self._catalog.events(after, kinds=(kind,)):
            for event in events:
                if event.data:
                    yield from frames.values(cls, frames.unpack(cls, event.data))
                else:
                    yield records.loads(cls, event.body)
            after = events[-1].position
