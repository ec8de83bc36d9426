"""Estimates of runs that succeeded, beside what the ledger and the clock say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from federation import ports
from federation.core import ids, job, metering, variance
from federation.services import runs, scan
from federation.services.disclosure import Disclosure

#: What a listing may be filtered by: of the job, and of the single read.
JOB_FIELDS = ("job", "label", "namespace")
READ_FIELDS = ("month", "dataset", "source_region", "destination_region")
FIELDS = (*JOB_FIELDS, *READ_FIELDS)


def summarize(
    tx: ports.Transaction, by: str, where: Mapping[str, str] | None = None, *, known: Disclosure | None = None
) -> tuple[tuple[variance.Variance, ...], variance.Variance]:
    """One sum for each `by` (see `variance.KEYS`) over the jobs and reads that `where` selects, and their total.

    `where` has `FIELDS`; a time belongs to the month in which its run ended. NotFound for a job that is named and not there.
    With `known`, inputs that its caller may not know of are told by their tokens, and nothing is asked by them.
    """
    where = dict(where or {})
    if known is not None and "namespace" in where:
        where["namespace"] = known.told_namespace(where["namespace"])
    seen = tuple(_observations(tx, where, known))
    return variance.summarize(seen, by), variance.total(seen)


def _observations(tx: ports.Transaction, where: Mapping[str, str], known: Disclosure | None) -> Iterator[variance.Observation]:
    of_reads = {name: value for name, value in where.items() if name in READ_FIELDS}
    for done in _succeeded(tx, where):
        yield from _reads(tx, done, of_reads, known)
        if not of_reads.keys() - {"month"}:
            yield from _time(tx, done, of_reads.get("month", ""))


def _succeeded(tx: ports.Transaction, where: Mapping[str, str]) -> Iterator[job.Job]:
    namespace, label = where.get("namespace", ""), where.get("label", "")
    chosen = {"state": str(job.JobState.SUCCEEDED)} | ({"label": label} if label else {})
    named = iter([runs.get_job(tx, where["job"])]) if "job" in where else None
    for each in named or scan.every(tx, job.Job, parent=namespace, where=chosen):
        fits = namespace in ("", each.request.namespace) and label in ("", each.request.label)
        if fits and each.state is job.JobState.SUCCEEDED and each.request.kind is job.JobKind.RAY:
            yield each


def _reads(
    tx: ports.Transaction, done: job.Job, where: Mapping[str, str], known: Disclosure | None
) -> Iterator[variance.Observation]:
    """Only those of the run that succeeded: one that was cut off has not read what it was going to."""
    for entry in scan.every(tx, metering.LedgerEntry, where={"run": done.run, **where}):
        short = f"{entry.namespace}/{entry.dataset}"
        hidden = known is not None and not known.sees(short)
        if not entry.transfer and not (hidden and "dataset" in where):
            yield variance.Observation(
                job=done.job,
                label=done.request.label,
                run=done.run,
                link=f"{entry.source_region}~{entry.destination_region}",
                input=f"{ids.HIDDEN}={known.token(short)}" if known is not None and hidden else f"{entry.alias}={short}",
                estimate_bytes=entry.estimate_bytes,
                metered_bytes=entry.bytes,
                estimate_micros=entry.estimate_micros,
                charge_micros=entry.charge_micros,
            )


def _time(tx: ports.Transaction, done: job.Job, month: str) -> Iterator[variance.Observation]:
    run = runs.get(tx, done.run)
    if run.start_time is None or run.end_time is None or month not in ("", metering.month(run.end_time)):
        return
    chosen = done.plan.choice if done.plan else None
    yield variance.Observation(
        job=done.job,
        label=done.request.label,
        run=done.run,
        estimate_seconds=(chosen.run_seconds if chosen else 0) or done.request.duration_seconds,
        run_seconds=round((run.end_time - run.start_time).total_seconds()),
    )
