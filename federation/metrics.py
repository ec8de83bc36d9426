"""What processes tell of themselves in numbers: every metric of the federation, declared once, in Prometheus' own format.

`python -m federation.metrics docs/operations.md` writes them as a table into the page (`make metrics-docs`).
Labels have few values, which whoever runs the federation chose: regions, sites, methods, states, tables. Names of datasets,
people, jobs and files are no labels: they would be without number, and not everybody who may look at a graph may know them.
Each process counts what it did itself, so sums over processes are right; gauges that several servers tell of one catalog are
equal, and are to be read with `max`.
"""

from __future__ import annotations

import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, exposition
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

# When each series began would be as many series again.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: What `/metrics` answers with.
CONTENT_TYPE = exposition.CONTENT_TYPE_LATEST

_CALLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WORK = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WAITS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)


class Row(NamedTuple):
    """A gauge that is looked up when somebody asks: its labels' values and its value."""

    labels: tuple[str, ...]
    value: float


class Looked:
    """Gauges that are read where they are, at the moment of a scrape. One that cannot be read is left out and counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._declared: list[tuple[str, str, tuple[str, ...]]] = []
        self._look: Callable[[], dict[str, Iterable[Row]]] = dict
        self._failures = Counter("federation_scrape_failures", "Scrapes in which gauges could not be read.", registry=registry)
        registry.register(self)

    def declare(self, name: str, text: str, *labels: str) -> None:
        """Adds a gauge."""
        self._declared.append((name, text, labels))

    def of(self, look: Callable[[], dict[str, Iterable[Row]]]) -> None:
        """Says where they are read: a function that gives rows by name."""
        self._look = look

    def describe(self) -> Iterator[Metric]:
        """What there is, without looking."""
        for name, text, labels in self._declared:
            yield GaugeMetricFamily(name, text, labels=labels)

    def collect(self) -> Iterator[Metric]:
        """What is so now."""
        try:
            found = self._look()
        except Exception:  # noqa: BLE001 - counted: whoever scrapes gets all the rest, and the alert is on this counter
            self._failures.inc()
            found = {}
        for family in self.describe():
            for row in found.get(family.name, ()):
                family.add_metric(row.labels, row.value)  # type: ignore[attr-defined]
            yield family


class Process:
    """What every process tells: its build, its calls, its loops, its certificate."""

    def __init__(self, role: str) -> None:
        self.registry = registry = CollectorRegistry()
        Gauge("federation_build_info", "1; its labels tell what runs.", ("role", "version"), registry=registry).labels(
            role, importlib.metadata.version("dataset-federation")
        ).set(1)
        self._handled = Counter(
            "federation_rpc_handled", "Calls that were answered, by gRPC status code.", ("method", "code"), registry=registry
        )
        self._rpc_seconds = Histogram(
            "federation_rpc_seconds",
            "Time from a call's arrival to its answer; streams of answers are not in it.",
            ("method",),
            buckets=_CALLS,
            registry=registry,
        )
        self._loop_success = Gauge(
            "federation_loop_last_success_timestamp_seconds",
            "When a background loop last did its round without an error (Unix time).",
            ("loop",),
            registry=registry,
        )
        self._loop_failures = Counter(
            "federation_loop_failures", "Rounds of a background loop that ended with an error.", ("loop",), registry=registry
        )
        self._loop_seconds = Histogram(
            "federation_loop_seconds", "Time of a background loop's round.", ("loop",), buckets=_WORK, registry=registry
        )
        self.looked = Looked(registry)
        self.looked.declare(
            "federation_certificate_expiry_timestamp_seconds", "When this process's certificate ends (Unix time).", "role"
        )

    def handled(self, method: str, code: str, seconds: float | None = None) -> None:
        """A call was answered; `seconds` is None for a stream of answers."""
        self._handled.labels(method, code).inc()
        if seconds is not None:
            self._rpc_seconds.labels(method).observe(seconds)

    @contextmanager
    def round(self, loop: str) -> Iterator[None]:
        """One round of a background loop."""
        begun = time.perf_counter()
        try:
            yield
        except BaseException:
            self._loop_failures.labels(loop).inc()
            raise
        self._loop_seconds.labels(loop).observe(time.perf_counter() - begun)
        self._loop_success.labels(loop).set_to_current_time()

    def render(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return exposition.generate_latest(self.registry)


class Server(Process):
    """What a catalog server tells: what it committed itself, and how the catalog stands."""

    def __init__(self) -> None:
        super().__init__("server")
        registry, regions = self.registry, ("source_region", "destination_region")
        self.jobs = Counter("federation_jobs_moved", "Jobs that came into a state.", ("state",), registry=registry)
        self.decisions = Counter(
            "federation_placement_decisions", "Decisions about jobs, by outcome.", ("outcome",), registry=registry
        )
        self.placement_wait = Histogram(
            "federation_placement_wait_seconds",
            "Time from a job's submission to its first placement.",
            buckets=_WAITS,
            registry=registry,
        )
        self.stages = Histogram(
            "federation_stage_seconds",
            "Time of a stage of work: `plan`.",
            ("stage",),
            buckets=_CALLS,
            registry=registry,
        )
        self.egress_bytes = Counter("federation_egress_bytes", "Bytes that the ledger took.", regions, registry=registry)
        self.egress_charges = Counter(
            "federation_egress_charged_microdollars", "What the ledger charged, in micro-dollars.", regions, registry=registry
        )
        self.egress_credits = Counter(
            "federation_egress_credited_microdollars",
            "What corrections of the ledger gave back, in micro-dollars.",
            regions,
            registry=registry,
        )
        self.leases = Counter(
            "federation_leases", "Leases of data keys that were asked for.", ("use", "outcome"), registry=registry
        )
        self.policy = Counter(
            "federation_policy_decisions", "Decisions of the policy that are told.", ("action", "outcome"), registry=registry
        )
        self.transfers = Counter("federation_transfers_moved", "Transfers that came to a state.", ("state",), registry=registry)
        self.erasures = Counter("federation_erasures", "Steps of erasures.", ("step",), registry=registry)
        self.record_events = Counter(
            "federation_record_events", "Events that this server carried to the record's tables.", ("table",), registry=registry
        )
        self.record_seconds = Histogram(
            "federation_record_commit_seconds",
            "Time of carrying what waited to a table of the record.",
            ("table",),
            buckets=_WORK,
            registry=registry,
        )
        for name, text, labels in (
            ("federation_jobs", "Jobs that are not over, by state.", ("state",)),
            ("federation_transfers", "Transfers that are not over, by state.", ("state",)),
            ("federation_sites", "Sites, by state.", ("state",)),
            ("federation_site_heartbeat_age_seconds", "How long a site has been silent.", ("site",)),
            ("federation_events", "Events in the catalog's log.", ()),
            ("federation_record_lag_events", "Events that wait to be carried to a table of the record.", ("table",)),
            ("federation_record_lag_seconds", "How long the oldest event has waited to be carried to a table.", ("table",)),
            ("federation_record_lease_held", "1 while some server carries events to the table.", ("table",)),
            ("federation_database_connections", "Connections to the catalog's database.", ("pool", "state")),
        ):
            self.looked.declare(name, text, *labels)


class Agent(Process):
    """What a site's agent tells, its gateway included."""

    def __init__(self) -> None:
        super().__init__("agent")
        self.sent_bytes = Counter(
            "federation_gateway_sent_bytes",
            "Bytes of ciphertext that left this site's gateway under grants, also those of answers that ended early.",
            registry=self.registry,
        )
        for name, text, labels in (
            ("federation_agent_runs", "Runs that the agent holds, by its state of them.", ("state",)),
            ("federation_agent_open_grants", "Grants under which bytes left and which are not settled.", ()),
            ("federation_agent_transfers", "Transfers to this site that are under way.", ()),
            ("federation_agent_lease_left_seconds", "How long the site may act without hearing from the catalog.", ()),
            ("federation_store_free_bytes", "Room in the site's store, where it can tell.", ()),
            ("federation_state_free_bytes", "Room on the disk of the agent's journal, spool and keyring.", ()),
            ("federation_compute_reachable", "1 while the site's cluster answers.", ()),
        ):
            self.looked.declare(name, text, *labels)


def told(process: Process) -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Each metric by the name of its family: its type, its labels and what it says."""
    found = {}
    for collector in process.registry._collector_to_names:
        for family in collector.describe():  # type: ignore[attr-defined]
            labels = tuple(getattr(family, "_labelnames", ()) or getattr(collector, "_labelnames", ()))
            found[family.name] = (family.type, labels, family.documentation)
    return found


BEGIN, END = "<!-- metrics -->", "<!-- end of metrics -->"


def markdown() -> str:
    """All metrics as a table."""
    tables = [(told(Server()), "server"), (told(Agent()), "agent")]
    rows = {
        name: (row, [role for table, role in tables if name in table]) for table, _ in tables for name, row in table.items()
    }
    lines = ["| metric | type | labels | of | meaning |", "|---|---|---|---|---|"]
    for name, ((kind, labels, text), roles) in sorted(rows.items()):
        shown = f"{name}_total" if kind == "counter" else name
        lines.append(f"| `{shown}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {', '.join(roles)} | {text} |")
    return "\n".join(lines)


def main(path: Path) -> None:
    """Writes the table anew into a page, between its marks."""
    head, _, rest = path.read_text().partition(BEGIN)
    path.write_text(f"{head}{BEGIN}\n\n{markdown()}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
