"""The options that describe a job, of `fed job submit` and `fed job plan`, as one value, and the request that they say."""

from __future__ import annotations

from dataclasses import dataclass

import click

from federation.cli import jobs
from federation.cli.command import as_one
from federation.core import specs, units
from federation.core.job import JobRequest, Resources, Spot

_OPTIONS = (
    click.option(
        "--input",
        "input_texts",
        multiple=True,
        metavar="[ALIAS=]DATASET[@N]",
        help="A dataset that it reads. Then, after a comma: read=25% for how much of it (250% is two and a half times).",
    ),
    click.option(
        "--output",
        "output_texts",
        multiple=True,
        metavar="[ALIAS=]DATASET[:MODEL]",
        help="A dataset that it writes. After commas: deliver=SITE for a replica there, size=2GB to reckon with,"
        " release, count=COLUMN for an aggregate: the column that says how many people are behind each row.",
    ),
    click.option(
        "--column-map",
        "column_maps",
        multiple=True,
        metavar="OUT.COLUMN=IN.COLUMN[,IN.COLUMN]",
        help="For lineage: from which columns of inputs one of an output is made.",
    ),
    click.option(
        "--column-class",
        "column_classes",
        multiple=True,
        metavar="OUT.CLASS=COLUMN[,COLUMN]",
        help="Columns of an output that are sealed under a key of their own, as with `fed dataset put --column-class`.",
    ),
    click.option("--cpus", type=click.IntRange(0), default=1, show_default=True, help="CPUs that it needs."),
    click.option("--gpus", type=click.IntRange(0), default=0, help="GPUs that it needs."),
    click.option("--gpu-type", default="", metavar="A10G", help="Type of GPU; any type without it."),
    click.option("--memory", default="", metavar="2GiB", help="Memory that it needs."),
    click.option("--site", "sites", multiple=True, help="Consider only this site; repeat for several."),
    click.option("--duration", default="10m", show_default=True, help="How long you think it runs, if no earlier run tells."),
    click.option("--priority", type=click.IntRange(-1000, 1000), default=0, help="Higher goes first."),
    click.option("--purpose", default="", metavar="PURPOSE", help="What the result is for; policies decide by it."),
    click.option("--deadline", default="", metavar="6h", help="It must have ended so long after its submission."),
    click.option("--hour-value", default="", metavar="USD", help="What an hour less of waiting and running is worth."),
    click.option("--carbon-price", default="", metavar="USD", help="Weigh a tonne of CO2e at this price."),
    click.option(
        "--spot",
        type=click.Choice(("never", "allowed", "only")),
        default="never",
        show_default=True,
        help="Whether it may run on GPUs that can be taken away.",
    ),
    click.option("--no-copies", is_flag=True, help="Make no replicas for it."),
    click.option("--time-limit", default="", metavar="1h", help="End a run that takes longer."),
    click.option("--max-attempts", type=click.IntRange(1, 20), default=3, show_default=True, help="Tries, if a site is lost."),
    click.option(
        "--env", multiple=True, metavar="KEY=VALUE", help="An environment variable of the job; no secrets: Ray shows it."
    ),
    click.option("--label", default="", metavar="NAME", help="A word for people."),
    click.argument("entrypoint", nargs=-1, required=True, type=click.UNPROCESSED),
)


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What the options say, as it was typed; each is told at its option."""

    input_texts: tuple[str, ...]
    output_texts: tuple[str, ...]
    column_maps: tuple[str, ...]
    column_classes: tuple[str, ...]
    cpus: int
    gpus: int
    gpu_type: str
    memory: str
    sites: tuple[str, ...]
    duration: str
    priority: int
    purpose: str
    deadline: str
    hour_value: str
    carbon_price: str
    spot: str
    no_copies: bool
    time_limit: str
    max_attempts: int
    env: tuple[str, ...]
    label: str
    entrypoint: tuple[str, ...]

    def request(self, assume_size: tuple[str, ...] = ()) -> JobRequest:
        """The request that they say, its inputs as large as `assume_size` says."""
        inputs = specs.inputs(self.input_texts, assume_size)
        outputs = specs.outputs(self.output_texts, self.column_maps, self.column_classes)
        return JobRequest(
            label=self.label,
            namespace=specs.home(inputs, outputs),
            inputs=inputs,
            outputs=outputs,
            resources=Resources(
                cpus=self.cpus,
                gpus=self.gpus or (1 if self.gpu_type else 0),
                gpu_type=self.gpu_type,
                memory_bytes=units.parse_size(self.memory) if self.memory else 0,
            ),
            sites=self.sites,
            entrypoint=self.entrypoint,
            env=jobs.pairs(self.env, "--env"),
            duration_seconds=units.parse_duration(self.duration),
            duration_limit_seconds=units.parse_duration(self.time_limit) if self.time_limit else 0,
            max_attempts=self.max_attempts,
            priority=self.priority,
            deadline_seconds=units.parse_duration(self.deadline) if self.deadline else 0,
            hour_value_micros=_micros(self.hour_value) if self.hour_value else None,
            carbon_tonne_micros=_micros(self.carbon_price) if self.carbon_price else 0,
            spot=Spot(self.spot.upper()),
            no_copies=self.no_copies,
            purpose=self.purpose,
        )


#: For a command that describes a job: what they say comes as `described`.
options = as_one("described", JobOptions, _OPTIONS)


def _micros(dollars: str) -> int:
    """`$2.50` or `2.50`."""
    return units.micros(dollars.strip().removeprefix("$"))
