"""A plan as people read it: the choice with each part of its cost, all sites beside it, what would change it, why not others.

Pure. Amounts that decide are exact; in the table of sites they are short, to fit a hundred columns (`-o json` has all).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.table import Table

from federation.core import units
from federation.core.job import Candidate, Counterfactual, InputPlan, PastAttempt, Plan, Rejection, Way
from federation.shown import shapes, tables

#: More sites than these are counted, not shown.
SITES_SHOWN = 20
_NAMES_SHOWN = 5
_SOURCE_CHARS = 50
_SOURCE_CHARS_BRIEF = 24


def explained(plan: Plan) -> Iterator[str | Table]:
    """The whole explanation, from the choice to the notes: lines, and tables between them."""
    if plan.choice is None:
        yield "no site can run it"
        yield from _changes(plan)
    else:
        yield from _choice(plan.choice)
        yield from _comparison(plan, plan.choice)
        yield from _ranking(plan)
    yield from _rejections(plan.rejections)
    yield from _attempts(plan.attempts)
    yield from (f"note: {note}" for note in plan.notes)


# The choice


def _choice(choice: Candidate) -> Iterator[str | Table]:
    yield f"chosen: {choice.site} ({choice.region}), {units.usd(choice.total_micros)}"
    for name, micros, remark in _parts(choice):
        yield f"  {name:<8} {units.usd(micros)}" + (f"   {remark}" if remark else "")
    if choice.wait_seconds or choice.stage_seconds:
        yield f"  begins   after {', '.join(_delays(choice))}; runs {span(choice.run_seconds)}"
    if choice.inputs:
        yield tables.table(choice.inputs, _inputs(choice.inputs))


def _parts(choice: Candidate) -> Iterator[tuple[str, int, str]]:
    """Name, amount and remark of each part of the cost; those that are nothing are left out, compute and egress never."""
    gpu = f"{choice.gpu_type} {'spot' if choice.spot else 'on demand'}" if choice.gpu_type else ""
    runs = f"{span(choice.run_seconds)}" if choice.run_seconds else ""
    said = (runs, gpu, cited(choice.compute_source, _SOURCE_CHARS))
    yield "compute", choice.compute_micros, ", ".join(text for text in said if text)
    yield "egress", choice.egress_micros, f"{units.size(choice.egress_bytes)} leave a region"
    rest = (
        ("storage", choice.storage_micros, "of copies that are kept"),
        ("landing", choice.landing_micros, "bringing outputs where they are wanted"),
        ("time", choice.time_micros, "the value put on its time, not spent"),
        ("carbon", choice.carbon_micros, f"the price put on {choice.carbon_grams:,} g CO2e, not spent"),
    )
    yield from (part for part in rest if part[1])


def _delays(choice: Candidate) -> Iterator[str]:
    if choice.wait_seconds:
        yield f"{span(choice.wait_seconds)} of waiting for room"
    if choice.stage_seconds:
        yield f"{span(choice.stage_seconds)} of copying"


def _comparison(plan: Plan, choice: Candidate) -> Iterator[str | Table]:
    yield _margin(plan)
    yield from _changes(plan)
    if avoided := _avoided(choice, plan):
        yield avoided


def _margin(plan: Plan) -> str:
    if len(plan.ranked) < 2:
        return "runner-up: none, every other site was set aside"
    first, second = plan.ranked[:2]
    if second.avoided and not first.avoided:
        return (
            f"runner-up: {second.site}, which comes after all others because an earlier attempt ended there ({second.avoided})"
        )
    if not plan.margin_micros:
        why = "more of its input lies here" if first.locality > second.locality else "the name decides"
        return f"runner-up: {second.site}, which costs the same; {why}"
    weighed = any(row.time_micros or row.carbon_micros for row in (first, second))
    how = "worse by" if weighed else "dearer by"
    return f"runner-up: {second.site}, {how} {units.usd(plan.margin_micros)}; it would win if it were cheaper by more than that"


def _changes(plan: Plan) -> Iterator[str]:
    return (f"  {counterfactual(row)}" for row in plan.counterfactuals)


def counterfactual(row: Counterfactual) -> str:
    """What would have made another site win, as a sentence: the planner's own where it has one."""
    if row.detail.startswith("it "):
        return f"{row.site}{row.detail.removeprefix('it')}"
    conditions: dict[str, str] = {
        "REPLICA_THERE": f"{row.subject} had a replica there",
        "MORE_CAPACITY": f"it had {row.subject} more",
        "CHEAPER_COMPUTE": f"its compute cost {row.subject} an hour less",
        "CHEAPER_EGRESS": f"the way {row.subject} were cheaper",
    }
    condition = conditions.get(row.change, f"{row.change} {row.subject}".strip())
    saved = f", -{units.usd(row.saving_micros)}" if row.saving_micros > 0 else ""
    return f"{row.site} would win if {condition}{saved}"


def _avoided(choice: Candidate, plan: Plan) -> str:
    if not plan.baseline_site:
        return ""
    if plan.baseline_site == choice.site:
        return "avoided: nothing, compute is cheapest here as well"
    if plan.baseline_egress_micros is None:
        return f"avoided: unknown, a price for bringing all inputs to {plan.baseline_site} is not known"
    avoided = plan.baseline_egress_micros - choice.egress_micros
    return f"avoided: {units.usd(avoided)}, against bringing all inputs to {plan.baseline_site}, where compute is cheapest"


# All sites


def _ranking(plan: Plan) -> Iterator[str | Table]:
    if len(plan.ranked) < 2:
        return
    yield ""
    shown = list(enumerate(plan.ranked[:SITES_SHOWN], 1))
    yield tables.table(shown, _ranking_columns(plan.ranked))
    if len(plan.ranked) > SITES_SHOWN:
        yield f"and {len(plan.ranked) - SITES_SHOWN} more; -o json has all"


#: Heading and amount of each part of a cost, in the order of the table.
_AMOUNTS: tuple[tuple[str, Callable[[Candidate], int]], ...] = (
    ("COMPUTE", lambda row: row.compute_micros),
    ("EGRESS", lambda row: row.egress_micros),
    ("STORE", lambda row: row.storage_micros),
    ("LAND", lambda row: row.landing_micros),
    ("TOTAL", lambda row: row.total_micros),
    ("TIME", lambda row: row.time_micros),
    ("CARBON", lambda row: row.carbon_micros),
)
_SPANS: tuple[tuple[str, Callable[[Candidate], int]], ...] = (
    ("WAIT", lambda row: row.wait_seconds),
    ("STAGE", lambda row: row.stage_seconds),
    ("RUN", lambda row: row.run_seconds),
)
_ALWAYS = ("COMPUTE", "EGRESS", "TOTAL")
#: With more columns than these the region goes, which the choice and the inputs tell anyway.
_COLUMNS_WITH_REGION = 10


def _ranking_columns(ranked: Sequence[Candidate]) -> list[shapes.Column]:
    """What says something: a part that is nothing at every site has no column."""
    amounts = [_amount(heading, of) for heading, of in _AMOUNTS if heading in _ALWAYS or any(of(row) for row in ranked)]
    spans = [_span(heading, of) for heading, of in _SPANS if any(of(row) for row in ranked)]
    region = [shapes.Column(heading="REGION", show=lambda row: row[1].region)]
    gpus = [shapes.Column(heading="GPU", show=_gpu)] if len({(row.gpu_type, row.spot) for row in ranked}) > 1 else []
    remarks = [shapes.Column(heading="REMARK", show=lambda row: row[1].avoided)] if any(row.avoided for row in ranked) else []
    few = len(amounts) + len(spans) + len(gpus) + len(remarks) + 3 <= _COLUMNS_WITH_REGION - 1
    return [
        shapes.Column(heading="#", show=lambda row: str(row[0]), number=True),
        shapes.Column(heading="SITE", show=lambda row: row[1].site),
        *(region if few else []),
        *gpus,
        *amounts,
        *spans,
        shapes.Column(heading="HERE", show=lambda row: f"{row[1].locality:.0%}", number=True),
        *remarks,
    ]


def _amount(heading: str, of: Callable[[Candidate], int]) -> shapes.Column:
    return shapes.Column(heading=heading, show=lambda row: brief(of(row[1])) if of(row[1]) else "0", number=True)


def _span(heading: str, of: Callable[[Candidate], int]) -> shapes.Column:
    return shapes.Column(heading=heading, show=lambda row: span(of(row[1])) if of(row[1]) else "-", number=True)


def _gpu(row: tuple[int, Candidate]) -> str:
    return row[1].gpu_type + (" spot" if row[1].spot else "")


def _rejections(rows: Sequence[Rejection]) -> Iterator[str | Table]:
    if not rows:
        return
    yield ""
    if len(rows) <= SITES_SHOWN:
        yield tables.table(rows, _REJECTIONS)
        return
    for reason, sites in _by_reason(rows).items():
        some = ", ".join(sites[:_NAMES_SHOWN])
        yield f"set aside: {len(sites)} with {reason}: {some}" + (", ..." if len(sites) > _NAMES_SHOWN else "")
    yield "-o json says why for each"


def _by_reason(rows: Iterable[Rejection]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(f"{row.reason}{' (waiting may help)' if row.resolvable else ''}", []).append(row.site)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _attempts(rows: Sequence[PastAttempt]) -> Iterator[str | Table]:
    for row in rows:
        because = ": ".join(text for text in (row.reason, row.detail) if text)
        yield f"attempt {row.attempt} at {row.site} ended" + (f" with {because}" if because else "")


def brief(micros: int) -> str:
    """An amount in few characters: whole dollars where there are hundreds, cents where there are any, else exact."""
    sign, amount = "-" if micros < 0 else "", abs(micros)
    if amount >= 100 * units.MICROS:
        return f"{sign}${units.divide_half_even(amount, units.MICROS):,}"
    if amount >= units.MICROS:
        return f"{sign}${units.divide_half_even(amount, 10_000) / 100:.2f}"
    return units.usd(micros)


def cited(source: str, most: int) -> str:
    """A source, or as much of it as there is room for; `-o json` has all."""
    return source if len(source) <= most else f"{source[: most - 3].rstrip()}..."


def span(seconds: int) -> str:
    """A duration in few characters: `45s`, `10m`, `1h05m`, `3d4h`."""
    if seconds < 60:
        return f"{seconds}s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m" + (f"{rest:02d}s" if rest else "")
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h" + (f"{minutes:02d}m" if minutes else "")
    days, hours = divmod(hours, 24)
    return f"{days}d" + (f"{hours}h" if hours else "")


def _way(row: InputPlan) -> str:
    if row.way is Way.LOCAL:
        return "read in place"
    through = f" through {row.via_site}" if row.via_site else ""
    if row.way is Way.REMOTE:
        return f"read from {row.source_site}{through}"
    kept = f", kept {span(row.keep_seconds)}" if row.keep_seconds else ""
    shared = ", under way already" if row.transfer else ""
    return f"copied from {row.source_site}{through}{kept}{shared}"


def _inputs(rows: Sequence[InputPlan]) -> list[shapes.Column]:
    kept = [shapes.Column(heading="STORAGE", show=lambda row: brief(row.storage_micros), number=True)]
    moved = [shapes.Column(heading="TAKES", show=lambda row: span(row.seconds) if row.seconds else "-", number=True)]
    return [
        shapes.Column(heading="  INPUT", show=lambda row: f"  {row.alias}"),
        shapes.Column(heading="VERSION", show=lambda row: f"{row.dataset}@{row.version}"),
        shapes.Column(heading="HOW", show=_way),
        shapes.Column(heading="SIZE", show=lambda row: units.size(row.bytes), number=True),
        shapes.Column(heading="EGRESS", show=lambda row: units.usd(row.egress_micros), number=True),
        *(kept if any(row.storage_micros for row in rows) else []),
        *(moved if any(row.seconds for row in rows) else []),
        shapes.Column(heading="PRICE FROM", show=lambda row: cited(row.price_source, _SOURCE_CHARS_BRIEF) or "-"),
    ]


_REJECTIONS = (
    shapes.Column(heading="SET ASIDE", show=lambda row: row.site),
    shapes.Column(heading="REASON", show=lambda row: row.reason),
    shapes.Column(heading="WAITING HELPS", show=lambda row: "perhaps" if row.resolvable else "no"),
    shapes.Column(heading="BECAUSE", show=lambda row: row.detail),
)
