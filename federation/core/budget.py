"""Budgets: what may be spent in a month on a namespace, a dataset, a link or all, when to warn, and when to stop."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from federation.core import errors, ids, job, listing, units
from federation.core.job import Rejection

#: The scope that all spending is in.
ALL = "all"
ALERT_PERCENT_MAX = 1000
_LINK = re.compile(r"[^~/\s]+~[^~/\s]+")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may be spent on egress in a month. `scope` says on what: see `scope`.

    Each of `alert_percents` is told once a month, when so much of the limit is spent. A `hard` one also stops: no run is placed
    whose estimate, with what is spent and what is in flight, would exceed it. What is spent, in flight and told is of the month
    in which it is looked at; it is not stored here.
    """

    budget: str
    scope: str
    limit_micros: int
    alert_percents: tuple[int, ...] = ()
    hard: bool = False
    spent_micros: int = 0
    reserved_micros: int = 0
    alerted_percents: tuple[int, ...] = ()
    month: str = ""
    principal: str = ""
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Spend:
    """What was charged in a month in one scope, whether or not there is a budget for it."""

    scope: str
    month: str
    charge_micros: int = 0
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class Reserve:
    """What reads in flight are estimated to cost in one scope: granted, and neither settled nor given up."""

    scope: str
    reserved_micros: int = 0
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """That so many percent of a budget were spent in a month. Told once for each budget, month and threshold."""

    budget: str
    month: str
    percent: int
    scope: str
    spent_micros: int
    limit_micros: int
    time: datetime


@dataclass(frozen=True, kw_only=True)
class Cap:
    """A hard budget as a decision sees it: its limit and what of it is spent or in flight."""

    budget: str
    scope: str
    limit_micros: int
    spent_micros: int = 0
    reserved_micros: int = 0


def scope(*, namespace: str = "", dataset: str = "", link: str = "") -> str:
    """`namespaces/sales`: what is charged to it; `datasets/sales/flights`: reads of it; `links/aws:a~aws:b`; else `all`."""
    if namespace:
        return f"namespaces/{namespace}"
    if dataset:
        return f"datasets/{ids.dataset(dataset).short}"
    return f"links/{link}" if link else ALL


def ledger_filter(within: str) -> str:
    """The filter of the ledger, and of sums of it, that keeps what a scope is charged: '' for all of it."""
    kind, _, rest = within.partition("/")
    match kind:
        case "namespaces":
            return listing.render({"payer": rest})
        case "datasets":
            return listing.render(ids.dataset(rest)._asdict())
        case "links":
            source, _, destination = rest.partition("~")
            return listing.render({"source_region": source, "destination_region": destination})
    return ""


def scopes(*, payer: str, dataset: str, source_region: str, destination_region: str) -> tuple[str, ...]:
    """All scopes that a read is in, in a fixed order."""
    return (
        ALL,
        *((scope(namespace=payer),) if payer else ()),
        scope(dataset=dataset),
        scope(link=f"{source_region}~{destination_region}"),
    )


def check(wanted: Budget) -> Budget:
    """The budget with its thresholds in order; InvalidArgument for one that could never work."""
    problems = {}
    kind, _, rest = wanted.scope.partition("/")
    if wanted.scope != ALL and (
        kind not in ("namespaces", "datasets", "links") or not rest or (kind == "links" and not _LINK.fullmatch(rest))
    ):
        problems["scope"] = "must be all, namespaces/NAME, datasets/NAMESPACE/NAME or links/REGION~REGION"
    if wanted.limit_micros <= 0:
        problems["limit_micros"] = "must be more than nothing"
    if any(not 1 <= percent <= ALERT_PERCENT_MAX for percent in wanted.alert_percents):
        problems["alert_percents"] = f"must be 1 to {ALERT_PERCENT_MAX}"
    if problems:
        raise errors.InvalidArgument(
            "; ".join(f"{name} {text}" for name, text in problems.items()),
            reason="BUDGET_INVALID",
            help="Write for example `fed budget create research --namespace research --month-usd 500 --alert 50,80,100`.",
            violations=problems,
        )
    return wanted


def crossed(limit_micros: int, percents: Iterable[int], spent_micros: int, alerted: Iterable[int]) -> tuple[int, ...]:
    """Thresholds that are reached and were not told yet, lowest first."""
    told = set(alerted)
    return tuple(
        percent for percent in sorted(set(percents)) if percent not in told and spent_micros * 100 >= limit_micros * percent
    )


def refusal(request: job.JobRequest, candidate: job.Candidate, caps: Iterable[Cap]) -> Rejection | None:
    """Why a candidate, told with its inputs, may not be taken: it would exceed a hard budget. What costs nothing always may.

    The way that was found cheapest is judged: that another, dearer one would pass by a link's budget is not looked for.
    """
    for cap in caps:
        estimate = estimated(request, candidate, cap.scope)
        if estimate > 0 and cap.spent_micros + cap.reserved_micros + estimate > cap.limit_micros:
            detail = (
                f"its egress of {units.usd(estimate)} would exceed budget {cap.budget} ({cap.scope}):"
                f" {units.usd(cap.spent_micros)} spent and {units.usd(cap.reserved_micros)} in flight"
                f" of {units.usd(cap.limit_micros)} this month"
            )
            return Rejection(site=candidate.site, reason="BUDGET_EXHAUSTED", detail=detail, resolvable=True)
    return None


def estimated(request: job.JobRequest, candidate: job.Candidate, within: str) -> int:
    """What a candidate is expected to spend in a scope. Landing outputs counts in `all` and in the job's namespace."""
    if within in (ALL, scope(namespace=request.namespace or "-")):
        return candidate.egress_micros + candidate.landing_micros
    return sum(
        item.egress_micros
        for item in candidate.inputs
        if within
        in scopes(payer="", dataset=item.dataset, source_region=item.source_region, destination_region=item.destination_region)[
            1:
        ]
    )


def exhausted(cap: Cap, estimate_micros: int) -> errors.FailedPrecondition:
    """The refusal of a read by a person that a hard budget has no room for."""
    return errors.FailedPrecondition(
        f"budget {cap.budget} ({cap.scope}) has {units.usd(cap.limit_micros)} for the month, of which"
        f" {units.usd(cap.spent_micros)} are spent and {units.usd(cap.reserved_micros)} in flight;"
        f" this read would cost {units.usd(estimate_micros)}",
        reason="BUDGET_EXHAUSTED",
        help="Read it in its own region, wait for the next month, or have the budget raised.",
        metadata={"budget": cap.budget, "scope": cap.scope},
    )
