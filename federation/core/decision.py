"""Placement decisions as facts: what was decided about a job, from which alternatives, at which prices. Made from job and plan.

One for each decision that had an effect or a new reason. What it then cost stays a join: the ledger and lineage have the same
job and run. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from federation.core import job
from federation.core.job import Rejection


class Outcome(StrEnum):
    """PLACED: a run begins. COPIES_FIRST: it waits for copies of its inputs. WAITING: for room, or others go first.

    REFUSED: no site can ever run it, so it is over.
    """

    PLACED = "PLACED"
    COPIES_FIRST = "COPIES_FIRST"
    WAITING = "WAITING"
    REFUSED = "REFUSED"


@dataclass(frozen=True, kw_only=True)
class DecidedInput:
    """An input as it was decided upon. `way` and where it comes from are empty where no site was chosen.

    `residency` is what bound the decision: the jurisdictions that its dataset allowed then, none for everywhere.
    """

    alias: str
    dataset: str
    version: int
    way: str = ""
    source_site: str = ""
    source_region: str = ""
    destination_region: str = ""
    bytes: int = 0
    egress_micros: int = 0
    baseline_micros: int | None = None
    residency: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DecidedCandidate:
    """A way to run the job that was priced, in the order of preference: the first is the choice."""

    site: str
    region: str
    gpu_type: str
    spot: bool
    objective_micros: int
    total_micros: int
    egress_micros: int
    egress_bytes: int
    locality: float
    wait_seconds: int
    avoided: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One decision about a job. `decision` is time-ordered; `supersedes` is the job's decision before, empty for the first.

    `run` and `attempt` are of the run that it began, empty and 0 for none. `revision` is the catalog's that it was made from,
    `rate_card` the number of the prices. Site, region and all figures are the choice's, empty and 0 where there was none;
    `objective_micros` is what candidates were ranked by, its parts follow. `runner_up_*` and `margin_micros`, how much worse it
    was, are absent without one. `baseline_egress_micros` is what bringing all inputs to `baseline_site` would have cost, and
    `avoided_micros` that minus the choice's egress: estimates, absent where a price was unknown.
    """

    decision: str
    job: str
    namespace: str
    label: str
    kind: str
    principal: str
    run: str
    attempt: int
    time: datetime
    outcome: str
    reason: str
    detail: str
    revision: int
    rate_card: int
    site: str = ""
    region: str = ""
    gpu_type: str = ""
    spot: bool = False
    objective_micros: int = 0
    total_micros: int = 0
    compute_micros: int = 0
    egress_micros: int = 0
    storage_micros: int = 0
    landing_micros: int = 0
    time_micros: int = 0
    carbon_micros: int = 0
    carbon_grams: int = 0
    wait_seconds: int = 0
    stage_seconds: int = 0
    run_seconds: int = 0
    egress_bytes: int = 0
    locality: float | None = None
    runner_up_site: str | None = None
    runner_up_objective_micros: int | None = None
    margin_micros: int | None = None
    baseline_site: str = ""
    baseline_egress_micros: int | None = None
    avoided_micros: int | None = None
    inputs: tuple[DecidedInput, ...] = ()
    candidates: tuple[DecidedCandidate, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    transfers: tuple[str, ...] = ()
    supersedes: str = ""


def decide(
    decided: job.Job,
    plan: job.Plan | None,
    outcome: Outcome,
    *,
    decision: str,
    supersedes: str,
    time: datetime,
    rate_card: int,
    residency: Mapping[str, tuple[str, ...]],
) -> Decision:
    """The decision that a job was left with, as its plan says; None for a plan that could not be made any more.

    `decided` is the job after it. `residency` is that of each input dataset, by its name.
    """
    request = decided.request
    began = outcome is Outcome.PLACED
    common = {
        "decision": decision,
        "job": decided.job,
        "namespace": request.namespace,
        "label": request.label,
        "kind": str(request.kind),
        "principal": request.principal,
        "run": decided.run if began else "",
        "attempt": decided.attempt if began else 0,
        "time": time,
        "outcome": str(outcome),
        "reason": decided.reason,
        "detail": decided.detail,
        "revision": plan.revision if plan else 0,
        "rate_card": rate_card,
        "transfers": decided.transfers,
        "supersedes": supersedes,
        "inputs": _inputs(request, plan, residency),
    }
    if plan is None:
        return Decision(**common)  # type: ignore[arg-type]
    alternatives = {
        "baseline_site": plan.baseline_site,
        "baseline_egress_micros": plan.baseline_egress_micros,
        "candidates": tuple(_candidate(each) for each in plan.ranked),
        "rejections": plan.rejections,
    }
    return Decision(**common, **alternatives, **_choice(plan))  # type: ignore[arg-type]


#: Figures of a candidate that a decision has under the same name.
_FIGURES = (
    *("site", "region", "gpu_type", "spot", "objective_micros", "total_micros", "compute_micros", "egress_micros"),
    *("storage_micros", "landing_micros", "time_micros", "carbon_micros", "carbon_grams"),
    *("wait_seconds", "stage_seconds", "run_seconds", "egress_bytes", "locality"),
)


def _choice(plan: job.Plan) -> dict[str, object]:
    chosen = plan.choice
    if chosen is None:
        return {}
    told: dict[str, object] = {name: getattr(chosen, name) for name in _FIGURES}
    if plan.baseline_egress_micros is not None:
        told["avoided_micros"] = plan.baseline_egress_micros - chosen.egress_micros
    if len(plan.ranked) > 1:
        second = plan.ranked[1]
        told["runner_up_site"] = second.site
        told["runner_up_objective_micros"] = second.objective_micros
        told["margin_micros"] = plan.margin_micros
    return told


def _inputs(
    request: job.JobRequest, plan: job.Plan | None, residency: Mapping[str, tuple[str, ...]]
) -> tuple[DecidedInput, ...]:
    """What was asked for, with how the choice has each."""
    chosen = plan.choice if plan else None
    had = {item.alias: item for item in chosen.inputs} if chosen else {}
    return tuple(_input(spec, had.get(spec.alias), residency.get(spec.dataset, ())) for spec in request.inputs)


def _input(spec: job.InputSpec, item: job.InputPlan | None, residency: tuple[str, ...]) -> DecidedInput:
    if item is None:
        return DecidedInput(alias=spec.alias, dataset=spec.dataset, version=spec.version, residency=residency)
    return DecidedInput(
        alias=item.alias,
        dataset=item.dataset,
        version=item.version,
        way=str(item.way),
        source_site=item.source_site,
        source_region=item.source_region,
        destination_region=item.destination_region,
        bytes=item.bytes,
        egress_micros=item.egress_micros,
        baseline_micros=item.baseline_micros,
        residency=residency,
    )


def _candidate(each: job.Candidate) -> DecidedCandidate:
    return DecidedCandidate(
        site=each.site,
        region=each.region,
        gpu_type=each.gpu_type,
        spot=each.spot,
        objective_micros=each.objective_micros,
        total_micros=each.total_micros,
        egress_micros=each.egress_micros,
        egress_bytes=each.egress_bytes,
        locality=each.locality,
        wait_seconds=each.wait_seconds,
        avoided=each.avoided,
    )
