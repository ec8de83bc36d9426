"""What a server tells of itself: each fact that it committed as a metric, stages of work, and how the catalog stands.

Facts are taken from the events of a transaction once it is committed, so a metric counts what is true, and no use case knows
that anybody counts.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from federation import metrics, traces
from federation.core import authorization, decision, job, kinds, leases, metering, site, transfer
from federation.core.events import TABLES, kinds_of
from federation.metrics import Row
from federation.ports import Catalog, Transaction
from federation.services import scan
from federation.wire import tls

_log = logging.getLogger(__name__)

T = TypeVar("T")

_LIVE_JOBS = tuple(state for state in job.JobState if not state.terminal)
_LIVE_TRANSFERS = tuple(state for state in transfer.TransferState if not state.terminal)

#: What a database's pools hold: pool, state, how many.
Connections = Callable[[], Iterable[tuple[str, str, int]]]


class Emitted(NamedTuple):
    """An event as it was emitted, with its body as a value."""

    kind: str
    name: str
    body: Any


class Telemetry:
    """A `ports.Telemetry`, and who a `Told` catalog tells. Threads may share it."""

    def __init__(self) -> None:
        self.metrics = metrics.Server()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage of work, and puts it into the trace of whoever asked."""
        begun = time.perf_counter()
        with traces.span(name):
            yield
        self.metrics.stages.labels(name).observe(time.perf_counter() - begun)

    def trace(self) -> str:
        """The trace of the call that is being answered."""
        return traces.current()

    def committed(self, events: Iterable[Emitted]) -> None:
        """Counts what has just been committed. Raises nothing: what counts is done already."""
        for event in events:
            try:
                self._count(event)
            except Exception:  # noqa: BLE001 - logged: whoever committed must hear of the commit, not of a counter
                _log.exception("%s was not counted", event.kind)

    def looks_at(self, catalog: Catalog, identity: tls.Source, connections: Connections) -> None:
        """Says where gauges are read."""
        self.metrics.looked.of(lambda: {**_own(identity, connections), **_gauges(catalog)})

    def _count(self, event: Emitted) -> None:
        told = self.metrics
        match event.body:
            case metering.LedgerEntry() as entry:
                regions = (entry.source_region, entry.destination_region)
                told.egress_bytes.labels(*regions).inc(max(entry.bytes, 0))
                told.egress_charges.labels(*regions).inc(max(entry.charge_micros, 0))
                told.egress_credits.labels(*regions).inc(max(-entry.charge_micros, 0))
            case job.Job() as moved:
                told.jobs.labels(str(moved.state)).inc()
                self._moved(moved)
            case decision.Decision() as made:
                told.decisions.labels(str(made.outcome)).inc()
            case leases.Lease() as lease:
                told.leases.labels(str(lease.use), "granted").inc()
            case authorization.Decided() as decided:
                told.policy.labels(str(decided.action), "allowed" if decided.allowed else "denied").inc()
            case transfer.Transfer() as moving if event.kind.startswith("transfer."):
                told.transfers.labels(str(moving.state)).inc()
            case leases.Refusal() as refusal:
                told.leases.labels(str(refusal.use), "refused").inc()
            case _ if event.kind.startswith("erasure."):
                told.erasures.labels(event.kind.removeprefix("erasure.")).inc()

    def _moved(self, moved: job.Job) -> None:
        begun, now = moved.create_time, moved.update_time
        if begun is None or now is None:
            return
        if moved.state is job.JobState.PLACED and moved.attempt == 1:
            self.metrics.placement_wait.observe((now - begun).total_seconds())
        if moved.state is job.JobState.PLACED or moved.state.terminal:
            name = f"job {moved.state.lower()}"
            traces.past(name, parent=moved.traceparent, start=begun, finish=now, fed_job=moved.job, fed_reason=moved.reason)


class Told:
    """A catalog of which somebody is told what was committed through it. All else is the catalog's."""

    def __init__(self, catalog: Catalog, tell: Callable[[list[Emitted]], None]) -> None:
        self._catalog = catalog
        self._tell = tell
        self.read = catalog.read
        self.glance = catalog.glance
        self.events = catalog.events
        self.revision = catalog.revision
        self.wait = catalog.wait
        self.floor = catalog.floor
        self.trim = catalog.trim
        self.forget = catalog.forget
        self.put_blob = catalog.put_blob
        self.get_blob = catalog.get_blob
        self.blob_bytes = catalog.blob_bytes
        self.close = catalog.close

    def write(self, work: Callable[[Transaction], T], *, actor: str = "", request_id: str = "") -> T:
        """As the catalog's own; tells once it is committed, and only of the try that was."""
        emitted: list[Emitted] = []

        def listening(tx: Transaction) -> T:
            emitted.clear()
            return work(_Listening(tx, emitted))

        answer = self._catalog.write(traces.carried(listening), actor=actor, request_id=request_id)
        if emitted:
            self._tell(emitted)
        return answer


class _Listening:
    """A transaction whose events are noted as well."""

    def __init__(self, tx: Transaction, emitted: list[Emitted]) -> None:
        self._tx = tx
        self._emitted = emitted
        self.now, self.actor, self.request_id = tx.now, tx.actor, tx.request_id
        self.get, self.insert, self.replace, self.delete = tx.get, tx.insert, tx.replace, tx.delete
        self.find, self.list, self.count, self.emit_rows = tx.find, tx.list, tx.count, tx.emit_rows
        self.replay, self.remember, self.revision = tx.replay, tx.remember, tx.revision

    def emit(self, kind: str, name: str, body: Any) -> int:
        """As the transaction's own."""
        position = self._tx.emit(kind, name, body)
        self._emitted.append(Emitted(kind, name, body))
        return position


def _own(identity: tls.Source, connections: Connections) -> dict[str, Iterable[Row]]:
    return {
        "federation_certificate_expiry_timestamp_seconds": [Row(("server",), tls.expiry(identity.current()).timestamp())],
        "federation_database_connections": [Row((pool, state), count) for pool, state, count in connections()],
    }


def _gauges(catalog: Catalog) -> dict[str, Iterable[Row]]:
    """How the catalog stands."""
    found, now, carried = catalog.read(_look)
    revision, floor = catalog.revision(), catalog.floor()
    lags, late = [], []
    for table, position in carried.items():
        lags.append(Row((table,), max(0, revision - position)))
        waiting = catalog.events(max(position, floor), limit=1, **kinds_of(table))
        late.append(Row((table,), max(0.0, (now - waiting[0].time).total_seconds()) if waiting else 0.0))
    return {
        **found,
        "federation_record_lag_events": lags,
        "federation_record_lag_seconds": late,
        "federation_events": [Row((), revision - floor)],
    }


def _look(tx: Transaction) -> tuple[dict[str, Iterable[Row]], datetime, dict[str, int]]:
    """What one transaction sees, when, and how far each table of the record is."""
    places = list(scan.every(tx, site.Site))
    states = Counter(str(place.state) for place in places)
    leases_ = [lease for table in TABLES if (lease := tx.get(kinds.CommitterLease, table)) is not None]
    rows: dict[str, Iterable[Row]] = {
        "federation_jobs": [Row((str(state),), tx.count(job.Job, where={"state": str(state)})) for state in _LIVE_JOBS],
        "federation_transfers": [
            Row((str(state),), tx.count(transfer.Transfer, where={"state": str(state)})) for state in _LIVE_TRANSFERS
        ],
        "federation_sites": [Row((str(state),), states[str(state)]) for state in site.SiteState],
        "federation_site_heartbeat_age_seconds": [
            Row((place.site,), max(0.0, (tx.now - place.heartbeat_time).total_seconds()))
            for place in places
            if place.heartbeat_time is not None
        ],
        "federation_record_lease_held": [Row((lease.table,), float(lease.expire_time > tx.now)) for lease in leases_],
    }
    return rows, tx.now, {lease.table: lease.carried for lease in leases_}
