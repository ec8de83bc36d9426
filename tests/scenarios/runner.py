"""Stories of placement, as files that people read: commands, `----`, what the planner answers.

A file is a row of steps, divided by blank lines. A step's lines above `----` are commands, those below are the expected answer.
What a command changes holds for the rest of the file. `pytest tests/scenarios --update-scenarios` writes the answers anew; the
difference is reviewed like code.

    site NAME REGION JURISDICTION [cpus=16] [memory=64GB] [cpu-hour=0.04|unknown] [gpu=H100:8@6.88] [gpu=H100:8@unknown]
         [no-compute] [down] [lost] [declared]
    price SOURCE DESTINATION USD [upto=10TB]         one tier; SOURCE and DESTINATION as `aws:*`, `aws:us-east-1`, `internet`
    prices shipped                                   the prices that come with the federation
    dataset NAME SIZE at=SITE[,SITE] [residency=EU[,US]]
    busy SITE [cpus=8] [memory=1GB] [gpu=H100:4]     what runs hold there
    sent SOURCE DESTINATION SIZE                     what the link has carried this month
    failed SITE REASON                               an earlier attempt of the job ended there
    plan [DATASET ...] [cpus=1] [gpus=1] [gpu-type=H100] [memory=1GB] [hours=1] [sites=A,B] [into=DATASET] [ingest]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from federation.adapters import prices
from federation.core import errors, job, planner, ratecard, site, units, world
from tests import builders

RULE = "----"


@dataclass
class Step:
    """Commands and the answer that is expected of them."""

    commands: list[str]
    expected: list[str]


@dataclass
class Story:
    """The world of one file as its commands have made it so far."""

    sites: dict[str, site.Site] = field(default_factory=dict)
    rows: list[ratecard.PriceRow] = field(default_factory=list)
    datasets: dict[str, world.WorldInput] = field(default_factory=dict)
    loads: dict[str, site.SiteLoad] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> tuple[list[str], list[Step]]:
    """A file's leading comment and its steps."""
    head: list[str] = []
    steps: list[Step] = []
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("\n")
        if all(line.startswith("#") for line in lines) and not steps:
            head = lines
            continue
        at = lines.index(RULE)
        steps.append(Step(lines[:at], lines[at + 1 :]))
    return head, steps


def render(head: list[str], steps: list[Step]) -> str:
    """The file again, with the answers that the steps hold."""
    blocks = ["\n".join(head)] if head else []
    blocks += ["\n".join([*step.commands, RULE, *step.expected]) for step in steps]
    return "\n\n".join(blocks) + "\n"


def answers(path: Path) -> tuple[str, str]:
    """The file as it is, and as it would be with what the planner says now."""
    text = path.read_text(encoding="utf-8")
    head, steps = parse(text)
    story = Story()
    now = [Step(step.commands, [line for command in step.commands for line in run(story, command)]) for step in steps]
    return text, render(head, now)


def run(story: Story, command: str) -> list[str]:
    """Carries out one command; what it has to say."""
    if command.startswith("#"):
        return []
    verb, *words = command.split()
    options = dict(word.split("=", 1) for word in words if "=" in word)
    flags = [word for word in words if "=" not in word]
    try:
        return list(COMMANDS[verb](story, flags, options) or ())
    except errors.FederationError as error:
        return [f"refused: {error.reason}: {error.message}"]


def _site(story: Story, flags: list[str], options: dict[str, str]) -> None:
    name, region, jurisdiction, *marks = flags
    gpus, offers = _gpus(options.get("gpu", ""))
    cpu_hour = options.get("cpu-hour", "0.04")
    state = site.SiteState.LOST if "lost" in marks else site.SiteState.DECLARED if "declared" in marks else site.SiteState.READY
    story.sites[name] = builders.site(
        name,
        region,
        jurisdiction,
        offer=builders.offer(None if cpu_hour == "unknown" else cpu_hour, offers),
        capacity=builders.capacity(int(options.get("cpus", "16")), options.get("memory", "64GB"), gpus),
        has_compute="no-compute" not in marks,
        compute_error="the cluster does not answer" if "down" in marks else "",
        state=state,
    )


def _gpus(text: str) -> tuple[dict[str, int], dict[str, str]]:
    """`H100:8@6.88` to counts and prices by type."""
    counts, offers = {}, {}
    for item in filter(None, text.split(",")):
        what, _, usd = item.partition("@")
        gpu_type, _, count = what.partition(":")
        counts[gpu_type] = int(count)
        if usd and usd != "unknown":
            offers[gpu_type] = usd
    return counts, offers


def _price(story: Story, flags: list[str], options: dict[str, str]) -> None:
    story.rows.append(builders.price_row(*flags, upto=options.get("upto")))


def _prices(story: Story, _flags: list[str], _options: dict[str, str]) -> None:
    story.rows.extend(prices.default_rate_card().rows)


def _dataset(story: Story, flags: list[str], options: dict[str, str]) -> None:
    name, total = flags
    residency = tuple(filter(None, options.get("residency", "").split(",")))
    at = tuple(filter(None, options["at"].split(",")))
    alias = name.rpartition("/")[2]
    story.datasets[name] = builders.world_input(alias, at, total, residency, dataset=name)


def _busy(story: Story, flags: list[str], options: dict[str, str]) -> None:
    gpus, _ = _gpus(options.get("gpu", ""))
    story.loads[flags[0]] = builders.load(flags[0], int(options.get("cpus", "0")), options.get("memory", 0), gpus)


def _sent(story: Story, flags: list[str], _options: dict[str, str]) -> None:
    story.sent[ratecard.scope(flags[0], flags[1])] = units.parse_size(flags[2])


def _failed(story: Story, flags: list[str], _options: dict[str, str]) -> None:
    story.failed[flags[0]] = flags[1]


def _plan(story: Story, flags: list[str], options: dict[str, str]) -> Iterator[str]:
    names = [name for name in flags if name != "ingest"]
    asked = builders.request(
        names,
        cpus=int(options.get("cpus", "1")),
        gpus=int(options.get("gpus", "0")),
        gpu_type=options.get("gpu-type", ""),
        memory_bytes=units.parse_size(options.get("memory", "0")),
        duration_seconds=units.parse_duration(options.get("hours", "1") + "h"),
        sites=tuple(filter(None, options.get("sites", "").split(","))),
        kind=job.JobKind.INGEST if "ingest" in flags else job.JobKind.RAY,
    )
    into = options.get("into", "")
    seen = builders.world(
        story.sites.values(),
        [story.datasets[name] for name in names],
        rates=ratecard.RateCard(rows=tuple(story.rows)),
        loads=tuple(story.loads.values()),
        volumes=tuple(
            site.LinkVolume(scope=scope, month=builders.MONTH, sent_bytes=sent) for scope, sent in story.sent.items()
        ),
        excluded=tuple(story.failed.items()),
        output_residency=((into, story.datasets[into].residency),) if into in story.datasets else (),
    )
    yield from tell(planner.plan(asked, seen))


def tell(plan: job.Plan) -> Iterator[str]:
    """A plan in words: the choice with its inputs, those that came after, those that were set aside."""
    for place, candidate in enumerate(plan.ranked, 1):
        compute, egress = units.usd(candidate.compute_micros), units.usd(candidate.egress_micros)
        total = units.usd(candidate.total_micros)
        yield f"{place}. {candidate.site}  {total} = compute {compute} + egress {egress}  (locality {candidate.locality:.0%})"
        yield from (f"     {_way(item)}" for item in candidate.inputs if place == 1)
    for refused in plan.rejections:
        yield f"not {refused.site}: {refused.reason}: {refused.detail}" + (" (may pass)" if refused.resolvable else "")
    if plan.choice is None:
        yield "nowhere: the job waits" if planner.waits(plan) else "nowhere: the job is rejected"
    elif plan.baseline_site and plan.baseline_egress_micros is not None:
        saved, all_moved = plan.baseline_egress_micros - plan.choice.egress_micros, units.usd(plan.baseline_egress_micros)
        yield f"bringing all to {plan.baseline_site} would cost {all_moved} of egress: {units.usd(saved)} avoided"
    yield from (f"note: {note}" for note in plan.notes)


def _way(item: job.InputPlan) -> str:
    if item.way is job.Way.LOCAL:
        return f"{item.alias} is here"
    return f"{item.alias} is read from {item.source_site}: {units.size(item.bytes)}, {units.usd(item.egress_micros)}"


COMMANDS: dict[str, Callable[[Story, list[str], dict[str, str]], Iterator[str] | None]] = {
    "site": _site,
    "price": _price,
    "prices": _prices,
    "dataset": _dataset,
    "busy": _busy,
    "sent": _sent,
    "failed": _failed,
    "plan": _plan,
}
