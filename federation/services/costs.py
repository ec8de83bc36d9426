"""Sums and exports of the whole ledger: from the Delta table as far as that has come, and from the log for what is newer.

The tables are summed where they lie, by the engine; what the committer has not carried yet is a short tail of the log. Without
an engine all of the log is the tail.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from federation import frames, ports
from federation.core import dataset, ids, metering, records
from federation.core.events import Event
from federation.core.metering import CostSummary, LedgerEntry
from federation.services import scan
from federation.services.disclosure import Disclosure
from federation.services.seam import seam

TABLE = "egress_ledger"
KIND = "ledger.entry"
#: Entries that are read at once, and those in one message of a stream.
PIECE = 8192
MESSAGE = 2048
_ROUNDS = 5
#: What sums and exports may be narrowed to.
FIELDS = (
    *("job", "run", "grant", "month", "namespace", "dataset", "label", "payer", "principal", "account", "bill", "transfer"),
    *("source_site", "destination_site", "source_region", "destination_region"),
)
#: `metering.SUMMARY_KEYS` as SQL: a test holds that both say the same.
KEYS_SQL = {
    "job": "job",
    "dataset": "namespace || '/' || dataset",
    "namespace": "namespace",
    "month": "month",
    "link": "source_region || '~' || destination_region",
    "principal": "principal",
    "payer": "payer",
    "site": "source_site",
    "label": "label",
    "day": "CAST(day AS STRING)",
}
_LOCAL = "CASE WHEN source_region = destination_region THEN bytes ELSE 0 END"
_FIGURES_SQL = {
    "entries": "COUNT(*)",
    "bytes": "SUM(bytes)",
    "local_bytes": f"SUM({_LOCAL})",
    "egress_bytes": f"SUM(bytes - {_LOCAL})",
    "unsettled_bytes": "SUM(unsettled_bytes)",
    "requests": "SUM(requests)",
    "charge_micros": "SUM(charge_micros)",
    "correction_micros": "SUM(CASE WHEN bill <> '' THEN charge_micros ELSE 0 END)",
    "estimate_micros": "SUM(estimate_micros)",
    "avoided_micros": "SUM(COALESCE(avoided_micros, 0))",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which entries: those whose fields equal `where`, entered from `from_time` on and before `to_time` (None: no bound).

    Not those of the datasets `without`, by namespace and name.
    """

    where: Mapping[str, str] = dataclasses.field(default_factory=dict)
    from_time: datetime | None = None
    to_time: datetime | None = None
    without: frozenset[tuple[str, str]] = frozenset()

    def has(self, line: LedgerEntry) -> bool:
        """Whether an entry is one of them."""
        return (
            (self.from_time is None or line.time >= self.from_time)
            and (self.to_time is None or line.time < self.to_time)
            and all(getattr(line, name) == value for name, value in self.where.items())
            and (line.namespace, line.dataset) not in self.without
        )

    def sql(self, upto: int) -> str:
        """The same as a condition, of rows up to a position."""
        parts = [f"position <= {upto}"]
        if self.from_time is not None:
            parts += [f"day >= DATE '{_utc(self.from_time):%Y-%m-%d}'", f"time >= {_moment(self.from_time)}"]
        if self.to_time is not None:
            parts += [f"day <= DATE '{_utc(self.to_time):%Y-%m-%d}'", f"time < {_moment(self.to_time)}"]
        parts += [f'"{name}" = {_quoted(value)}' for name, value in sorted(self.where.items())]
        parts += [f"NOT (namespace = {_quoted(one)} AND dataset = {_quoted(other)})" for one, other in sorted(self.without)]
        return " AND ".join(parts)


EVERYTHING = Selection()


def summarize(
    catalog: ports.Catalog, engine: ports.RecordEngine | None, by: str, selection: Selection = EVERYTHING
) -> tuple[tuple[CostSummary, ...], CostSummary]:
    """Sums of the selected entries, one for each `by` (see `metering.SUMMARY_KEYS`; several with commas), and their total."""
    names = metering.summary_keys(by)
    upto = seam(catalog, engine, TABLE, KIND)
    sums = list(_summed(engine, names, selection, upto)) if engine is not None and upto else []
    sums += metering.summarize((line for line in tail(catalog, upto) if selection.has(line)), by)
    rows = metering.merged(sums)
    return rows, metering.together(rows)


# What of it is told


def narrowed(tx: ports.Transaction, known: Disclosure, asked: Selection) -> Selection:
    """The selection without datasets that its caller may not know of, where it is by dataset or by the data's namespace."""
    namespace, name = asked.where.get("namespace", ""), asked.where.get("dataset", "")
    if payer := asked.where.get("payer", ""):
        # A hidden one pays for nothing, like one that is not there: nobody has its token's name.
        asked = dataclasses.replace(asked, where={**asked.where, "payer": known.told_namespace(payer)})
    if not namespace and not name:
        return asked
    stored = scan.every(tx, dataset.Dataset, parent=namespace)
    hidden = (row for row in stored if name in ("", row.dataset) and not known.sees(row.name.short))
    return dataclasses.replace(asked, without=frozenset((row.namespace, row.dataset) for row in hidden))


def told(known: Disclosure, names: tuple[str, ...], rows: tuple[CostSummary, ...]) -> tuple[CostSummary, ...]:
    """Sums as their caller may have them: keys that they may not know of are tokens."""
    telling = {"dataset": known.told, "namespace": known.told_namespace, "payer": known.told_namespace}
    found = []
    for row in rows:
        keys = tuple(telling.get(name, str)(key) for name, key in zip(names, row.keys, strict=True))
        found.append(row if keys == row.keys else dataclasses.replace(row, keys=keys, key=metering.key_text(keys)))
    return tuple(found)


def told_entries(known: Disclosure, piece: bytes) -> bytes:
    """Packed entries as their caller may have them: those of hidden datasets without names, as in a listing."""
    table = frames.unpack(LedgerEntry, piece)
    pairs = dict.fromkeys(zip(table["namespace"].to_pylist(), table["dataset"].to_pylist(), strict=True))
    payers = {name: known.told_namespace(name) for name in dict.fromkeys(table["payer"].to_pylist())}
    if all(known.sees("/".join(pair)) for pair in pairs) and all(one == other for one, other in payers.items()):
        return piece
    return frames.pack(LedgerEntry, [_told_entry(known, line) for line in frames.values(LedgerEntry, table)])


def _told_entry(known: Disclosure, line: LedgerEntry) -> LedgerEntry:
    short, payer = f"{line.namespace}/{line.dataset}", known.told_namespace(line.payer)
    if known.sees(short):
        return line if payer == line.payer else dataclasses.replace(line, payer=payer)
    namespace, _, name = known.token(short).partition("/")
    payer = known.hidden_namespace(line.payer) if line.payer == line.namespace else payer
    return dataclasses.replace(line, namespace=namespace, dataset=name, alias=ids.HIDDEN, payer=payer)


def export(catalog: ports.Catalog, engine: ports.RecordEngine | None, selection: Selection = EVERYTHING) -> Iterator[bytes]:
    """The selected entries in order, packed by at most `MESSAGE`: memory does not grow with the ledger."""
    done = 0
    # While much is read the tables grow, and the log behind them is trimmed: what they got meanwhile is read from them, too.
    for _ in range(_ROUNDS):
        upto = seam(catalog, engine, TABLE, KIND)
        if engine is None or upto <= done:
            break
        for condition in _pieces(engine, f"position > {done} AND {selection.sql(upto)}"):
            found = engine.query(f"SELECT {_columns()} FROM {TABLE} WHERE {condition} ORDER BY position")  # noqa: S608 - our own names
            for start in range(0, found.num_rows, MESSAGE):
                yield frames.to_bytes(found.slice(start, MESSAGE).cast(frames.schema(LedgerEntry)))
        done = upto
    yield from frames.batches(LedgerEntry, (line for line in tail(catalog, done) if selection.has(line)), MESSAGE)


def tail(catalog: ports.Catalog, after: int) -> Iterator[LedgerEntry]:
    """The entries of the log after a position, in order."""
    while events := catalog.events(after, kinds=(KIND,)):
        for event in events:
            yield from _entries(event)
        after = events[-1].position


def _entries(event: Event) -> Iterator[LedgerEntry]:
    if event.data:
        return frames.values(LedgerEntry, frames.unpack(LedgerEntry, event.data))
    return iter((records.loads(LedgerEntry, event.body),))


def _summed(engine: ports.RecordEngine, names: tuple[str, ...], selection: Selection, upto: int) -> Iterator[CostSummary]:
    keys = [f"{KEYS_SQL[name]} AS key_{n}" for n, name in enumerate(names)]
    figures = [f"{sql} AS {name}" for name, sql in _FIGURES_SQL.items()]
    found = engine.query(
        f"SELECT {', '.join((*keys, *figures))} FROM {TABLE} WHERE {selection.sql(upto)}"  # noqa: S608 - values are quoted
        f" GROUP BY {', '.join(KEYS_SQL[name] for name in names)}"
    )
    for row in found.to_pylist():
        values = tuple(row[f"key_{n}"] for n in range(len(names)))
        yield CostSummary(key=metering.key_text(values), keys=values, **{name: int(row[name] or 0) for name in _FIGURES_SQL})


def _pieces(engine: ports.RecordEngine, condition: str) -> Iterator[str]:
    """Conditions that cut the selected rows into pieces, day by day, so that only their files are read."""
    days = engine.query(f"SELECT DISTINCT day FROM {TABLE} WHERE {condition} ORDER BY day")  # noqa: S608
    for day in days.column("day").to_pylist():
        within = f"day = DATE '{day}' AND {condition}"
        numbered = f"SELECT position, ROW_NUMBER() OVER (ORDER BY position) AS n FROM {TABLE} WHERE {within}"  # noqa: S608
        ends = engine.query(f"SELECT position FROM ({numbered}) AS numbered WHERE n % {PIECE} = 0 ORDER BY position")  # noqa: S608
        after = 0
        for end in ends.column("position").to_pylist():
            yield f"position > {after} AND position <= {end} AND {within}"
            after = end
        yield f"position > {after} AND {within}"


def _columns() -> str:
    return ", ".join(f'"{name}"' for name in frames.schema(LedgerEntry).names)


def _moment(time: datetime) -> str:
    return f"TIMESTAMP '{_utc(time):%Y-%m-%d %H:%M:%S.%f}Z'"


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
