"""A federation with something to see: five sites in four regions, data, models, jobs in every state, lineage, and a ledger.

Names and times are the same each time, for the tests and for the pictures in docs/browse.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from federation import ports
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import ManualClock, SeededIds
from federation.core import authorization, budget, dataset, job, pipeline, site, transfer
from federation.core.job import JobState
from federation.services import ledger
from tests import builders, records
from tests.wire import edge as edges
from tests.wire.certs import Certs

NOW = builders.NOW
PLACES = {
    "eu-1": ("aws:eu-central-1", "EU"),
    "eu-2": ("aws:eu-west-1", "EU"),
    "us-1": ("aws:us-east-1", "US"),
    "us-2": ("aws:us-west-2", "US"),
    "ap-1": ("aws:ap-northeast-1", "JP"),
}
FLIGHTS = (
    ("year", "int16"),
    ("month", "int8"),
    ("day", "int8"),
    ("carrier", "string"),
    ("tailnum", "string"),
    ("origin", "string"),
    ("dest", "string"),
    ("dep_delay", "double"),
    ("arr_delay", "double"),
    ("distance", "int32"),
    ("passenger_email", "string"),
    ("time_hour", "timestamp[us, tz=UTC]"),
)


def job_id(number: int) -> str:
    """A job's name as the catalog makes them."""
    return f"j-01k9{number:022d}"


RUNNING, DONE, FAILED, REJECTED, WAITING = (job_id(number) for number in (4, 3, 2, 5, 6))
MOVING = "t-01k90000000000000000000001"
PIPELINE, PIPELINE_DONE = (f"p-01k9{number:022d}" for number in (2, 1))


@contextmanager
def federation(certs: Certs) -> Iterator[edges.Edge]:
    """A server that serves it, on a clock that stands still."""
    started = edges.start(certs, MemoryCatalog(ManualClock(NOW), SeededIds(7)))
    try:
        started.catalog.write(populate, actor="users/admin")
        for number, (month, source, destination, gigabytes) in enumerate(READS):
            entry = _entry(number, month, source, destination, gigabytes)
            started.catalog.write(lambda tx, entry=entry: ledger.post(tx, entry))  # type: ignore[misc]
        yield started
    finally:
        started.stop()


def populate(tx: ports.Transaction) -> None:
    """Everything but the ledger."""
    for name, (region, jurisdiction) in PLACES.items():
        away = name == "ap-1"
        tx.insert(
            builders.site(
                name,
                region,
                jurisdiction,
                state=site.SiteState.LOST if away else site.SiteState.READY,
                offer=builders.offer(gpu_hours={"H100": "3.93"} if name.startswith("us") else None),
                capacity=builders.capacity(cpus=64, gpus={"H100": 8} if name.startswith("us") else None),
                create_time=_ago(days=90),
            )
        )
    for name, description in (("ml", "Models and what they were trained on"), ("sales", "Flights, orders and customers")):
        tx.insert(builders.namespace(name, description=description, create_time=_ago(days=90)))
    _dataset(
        tx,
        "sales/flights",
        3,
        ("EU",),
        description="Every flight out of New York in 2013",
        sites=("eu-1", "eu-2"),
        columns=FLIGHTS,
    )
    _dataset(tx, "sales/orders", 2, (), description="Orders by hour, with what was shipped", sites=("us-1",))
    _dataset(
        tx,
        "sales/customers",
        1,
        ("EU",),
        description="Who buys",
        sites=("eu-1",),
        classification=dataset.Classification.RESTRICTED,
        purposes=("research",),
    )
    _dataset(
        tx,
        "ml/delay-model",
        1,
        ("EU",),
        description="How late a flight will be",
        sites=("eu-1",),
        kind=dataset.DatasetKind.MODEL,
    )
    tx.insert(
        transfer.Transfer(
            transfer=MOVING,
            dataset="sales/orders",
            version=2,
            source_site="us-1",
            destination_site="eu-2",
            state=transfer.TransferState.RUNNING,
            principal="users/ada",
            object_bytes=48 * 10**9,
            bytes_done=19 * 10**9,
            objects=64,
            objects_done=25,
            estimate_micros=960_000,
            attempt=1,
            create_time=_ago(minutes=9),
        )
    )
    _jobs(tx)
    _pipelines(tx)
    _lineage(tx)
    for name, scope, limit, hard in (
        ("everything", budget.ALL, 10_000_000, False),
        ("flights", "datasets/sales/flights", 200_000, True),
        ("ml", "namespaces/ml", 1_000_000, True),
        ("over-the-sea", "links/aws:us-east-1~aws:eu-west-1", 500_000, False),
    ):
        tx.insert(
            budget.Budget(
                budget=name,
                scope=scope,
                limit_micros=limit,
                alert_percents=(50, 80, 100),
                hard=hard,
                principal="users/admin",
                create_time=_ago(days=80),
            )
        )
    for name, percents in (("ml", (50,)), ("over-the-sea", (50, 80, 100))):
        for percent in percents:
            told = {"scope": "", "spent_micros": 0, "limit_micros": 0}  # by then
            tx.insert(budget.Alert(budget=name, month=builders.MONTH, percent=percent, time=_ago(days=1), **told))


def _dataset(
    tx: ports.Transaction,
    name: str,
    versions: int,
    residency: tuple[str, ...],
    *,
    description: str,
    sites: tuple[str, ...],
    columns: tuple[tuple[str, str], ...] = (),
    **changes: Any,
) -> None:
    for number in range(1, versions + 1):
        total = number * 9_700_000_000
        made = builders.version(
            f"{name}@{number}",
            total,
            files=12 * number,
            rows=336_776 * number,
            columns=columns,
            create_time=_ago(days=30 - 9 * number),
        )
        tx.insert(made)
        for at in sites if number == versions else sites[:1]:
            tx.insert(
                builders.replica(
                    f"{name}@{number}", at, object_bytes=total, verify_time=_ago(hours=5), create_time=_ago(days=2)
                )
            )
    tx.insert(
        builders.dataset(
            name,
            residency,
            description=description,
            latest_version=versions,
            labels=(("team", "ops"),),
            owner="users/ada",
            card=dataset.DataCard(origin="BTS, 2013", licence="CC0", sensitive_columns=("passenger_email",) if columns else ()),
            readers=(authorization.EVERYONE,),
            create_time=_ago(days=60),
            **changes,
        )
    )


def plan(at: str = "eu-1") -> job.Plan:
    """Why a job runs there."""
    here = builders.candidate(
        at, compute_micros=660_000, run_seconds=600, inputs=(builders.input_plan(version=3, bytes=29_100_000_000),)
    )
    there = builders.candidate("us-1", compute_micros=410_000, egress_micros=582_000, egress_bytes=29_100_000_000, locality=0.0)
    rejected = job.Rejection(site="ap-1", reason="RESIDENCY_DENIED", detail="sales/flights stays in EU")
    return builders.plan(
        here, there, rejections=(rejected,), baseline_site="us-1", baseline_egress_micros=582_000, decide_time=_ago(minutes=6)
    )


def _jobs(tx: ports.Transaction) -> None:
    waits = builders.request(
        ("sales/flights@3",),
        ("ml/delay-model",),
        label="train-on-all",
        resources=job.Resources(cpus=64),
        sites=("eu-1",),
        namespace="ml",
        principal="users/ada",
    )
    tx.insert(site.SiteLoad(site="eu-1", cpus=4, runs=1))  # of the job that runs there: no room for one of all its CPUs
    told = {"reason": "WAITING_FOR_CAPACITY", "detail": "eu-1 is expected to have room in 10 minutes"}
    tx.insert(builders.job(WAITING, waits, state=JobState.PENDING, plan=plan(), create_time=_ago(minutes=3), **told))
    states = (
        (FAILED, "nightly-join", JobState.FAILED, "EXIT_CODE", "the entrypoint exited with 1"),
        (DONE, "train-delay-model", JobState.SUCCEEDED, "", ""),
        (RUNNING, "score-flights", JobState.RUNNING, "", ""),
        (REJECTED, "embed-orders", JobState.REJECTED, "GPU_TYPE_MISSING", "no site has a B200"),
    )
    for number, (name, label, state, reason, detail) in enumerate(states):
        placed = state is not JobState.REJECTED
        request = builders.request(
            ("sales/flights@3",),
            ("ml/delay-model",),
            label=label,
            resources=job.Resources(cpus=4) if placed else job.Resources(cpus=4, gpus=8, gpu_type="B200"),
            namespace="ml",
            entrypoint=("python", "train.py", "--lr", "0.1"),
            principal="users/ada",
        )
        tx.insert(
            builders.job(
                name,
                request,
                state=state,
                reason=reason,
                detail=detail,
                plan=plan() if placed else None,
                attempt=int(placed),
                run=f"jobs/{name}/runs/1" if placed else "",
                create_time=_ago(minutes=50 - 10 * number),
                end_time=_ago(minutes=20) if state.terminal else None,
            )
        )
        if placed:
            tx.insert(
                builders.run(
                    1,
                    "eu-1",
                    name,
                    state=state,
                    reason=reason,
                    exit_code=1 if state is JobState.FAILED else 0 if state.terminal else None,
                    outputs=("ml/delay-model@1",) if state is JobState.SUCCEEDED else (),
                    start_time=_ago(minutes=48 - 10 * number),
                    end_time=_ago(minutes=20) if state.terminal else None,
                    lease_time=NOW + timedelta(days=1),
                    held=job.Resources(cpus=4) if not state.terminal else job.Resources(cpus=0),
                    expected_seconds=3600,
                )
            )


def _pipelines(tx: ports.Transaction) -> None:
    """Two nights: of the one before all tasks are done, of this one the second runs and the third waits for it."""

    def spec(name: str, inputs: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> pipeline.TaskSpec:
        asked = builders.request(inputs, label=name, namespace="ml", entrypoint=("python", f"{name}.py"), principal="users/ada")
        return pipeline.TaskSpec(task=name, request=asked, after=after)

    asked = pipeline.PipelineRequest(
        label="nightly",
        namespace="ml",
        tasks=(spec("clean", ("sales/flights@3",)), spec("train", after=("clean",)), spec("report", after=("train", "clean"))),
        principal="users/ada",
    )
    planned = tuple(
        pipeline.TaskPlan(task=spec.task, site=at, region=PLACES[at][0], own_micros=own, handover_micros=handed)
        for spec, at, own, handed in zip(
            asked.tasks, ("eu-1", "eu-1", "eu-2"), (110_000, 660_000, 20_000), (0, 0, 9_000), strict=True
        )
    )
    decided = pipeline.PipelinePlan(
        revision=7,
        decide_time=_ago(minutes=40),
        tasks=planned,
        cost_micros=799_000,
        bound_micros=799_000,
        proven=True,
        method="ELIMINATION",
        separate_micros=1_203_000,
    )
    last = tuple(pipeline.TaskRun(task=row.task, state=JobState.SUCCEEDED, job=DONE, site=row.site) for row in planned)
    tonight = (
        pipeline.TaskRun(task="clean", state=JobState.SUCCEEDED, job=DONE, site="eu-1"),
        pipeline.TaskRun(task="train", state=JobState.RUNNING, job=RUNNING, site="eu-1"),
        pipeline.TaskRun(task="report", site="eu-2"),
    )
    for name, state, runs, ended in (
        (PIPELINE_DONE, pipeline.PipelineState.SUCCEEDED, last, _ago(hours=20)),
        (PIPELINE, pipeline.PipelineState.RUNNING, tonight, None),
    ):
        tx.insert(
            pipeline.Pipeline(
                pipeline=name,
                request=asked,
                state=state,
                plan=decided,
                tasks=runs,
                create_time=_ago(hours=24) if ended else _ago(minutes=40),
                end_time=ended,
            )
        )


def _lineage(tx: ports.Transaction) -> None:
    run = f"jobs/{DONE}/runs/1"
    tx.emit(
        "lineage.run",
        run,
        records.run_fact(run, job=DONE, label="train-delay-model", site="eu-1", region="aws:eu-central-1"),
    )
    here = {"site": "eu-1", "source_region": "aws:eu-central-1", "destination_region": "aws:eu-central-1"}
    for direction, alias, node in (
        ("in", "flights", "sales/flights@3"),
        ("in", "customers", "sales/customers@1"),
        ("out", "model", "ml/delay-model@1"),
    ):
        edge = records.edge(
            run, direction, alias=alias, node=node, bytes=29_100_000_000 if direction == "in" else 12_000_000, **here
        )
        tx.emit("lineage.edge", f"{run}/{direction}/{alias}", edge)


#: Month, from where, to where, and how many gigabytes.
READS = (
    ("2026-09", "eu-1", "eu-1", 620),
    ("2026-09", "us-1", "eu-1", 41),
    ("2026-10", "eu-1", "eu-1", 840),
    ("2026-10", "us-1", "eu-2", 18),
    ("2026-10", "eu-1", "us-1", 9),
    ("2026-11", "eu-1", "eu-1", 1210),
    ("2026-11", "us-1", "eu-2", 25),
    ("2026-11", "eu-2", "ap-1", 4),
)


def _entry(number: int, month: str, source: str, destination: str, gigabytes: int) -> Any:
    crossed = PLACES[source][0] != PLACES[destination][0]
    return records.entry(
        number,
        month=month,
        time=datetime.fromisoformat(f"{month}-{12 + number:02}T09:00:00Z"),
        payer="ml",
        principal="users/ada",
        namespace="sales",
        dataset="flights" if source.startswith("eu") else "orders",
        source_site=source,
        source_region=PLACES[source][0],
        destination_site=destination,
        destination_region=PLACES[destination][0],
        bytes=gigabytes * builders.GB,
        charge_micros=20_000 * gigabytes if crossed else 0,
        avoided_micros=0 if crossed else 2_000 * gigabytes,
    )


def _ago(**span: float) -> Any:
    return NOW - timedelta(**span)
