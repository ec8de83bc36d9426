"""From options to a request, and from a plan to what people read."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest

from federation.cli import jobflags, plans
from federation.cli.output import Output
from federation.core import errors, specs
from federation.core.job import Candidate, InputPlan, InputSpec, Job, JobRequest, OutputSpec, Plan, Rejection, Way

DATA = ("--input", "flights=sales/flights", "--output", "ml/model")


@click.command
@jobflags.options
def told(described: jobflags.JobOptions) -> JobRequest:
    """The request that is described."""
    return described.request()


def request(*options: str, data: tuple[str, ...] = DATA) -> JobRequest:
    """The request that a command line says."""
    made: JobRequest = told.main([*data, *options, "--", "python", "train.py"], standalone_mode=False)
    return made


def test_inputs_have_alias_dataset_and_version():
    """Without an alias the dataset's own word is it, as a Python name."""
    assert specs.inputs(["f=sales/flights@3", "sales/delay-model"]) == (
        InputSpec(alias="f", dataset="sales/flights", version=3),
        InputSpec(alias="delay_model", dataset="sales/delay-model"),
    )


def test_outputs_may_be_models():
    """`:MODEL` says so; `:DATA` may be said."""
    assert specs.outputs(["m=ml/delay-model:MODEL", "ml/sums:DATA"]) == (
        OutputSpec(alias="m", dataset="ml/delay-model", kind="MODEL"),
        OutputSpec(alias="sums", dataset="ml/sums", kind="DATA"),
    )


def test_a_size_may_be_assumed_for_all_inputs_or_for_one():
    """The named one goes before."""
    found = specs.inputs(["a=x/a", "b=x/b"], ["1TB", "b=1GB"])
    assert [spec.assumed_bytes for spec in found] == [10**12, 10**9]


def test_a_size_for_what_is_no_input_is_a_mistake():
    """Silently ignoring it would plan something else."""
    with pytest.raises(errors.InvalidArgument, match="c, which is no input"):
        specs.inputs(["a=x/a"], ["c=1GB"])


@pytest.mark.parametrize("text", ["flights", "a=b=c/d", "A=x/y", "a=x/y@0", "a=x/Y"])
def test_a_wrong_input_is_refused(text):
    """By the grammar of names."""
    with pytest.raises(errors.InvalidArgument):
        specs.inputs([text])


def test_a_gpu_type_alone_means_one_gpu():
    """Nobody asks for zero A10G."""
    assert request("--gpu-type", "A10G").resources.gpus == 1


def test_sizes_and_durations_are_read_with_units():
    """As people write them."""
    made = request("--memory", "2GiB", "--duration", "90s", "--time-limit", "1h")
    assert (made.resources.memory_bytes, made.duration_seconds, made.duration_limit_seconds) == (2 * 1024**3, 90, 3600)


def test_a_job_belongs_to_the_namespace_of_its_first_output():
    """That is where its result is looked for."""
    assert request().namespace == "ml"
    assert request(data=DATA[:2]).namespace == "sales"


def test_the_environment_is_pairs():
    """Sorted, the last one wins; anything else is a mistake."""
    assert request("--env", "B=2", "--env", "A=1=1").env == (("A", "1=1"), ("B", "2"))
    with pytest.raises(click.UsageError, match="KEY=VALUE"):
        request("--env", "A")


def candidate(name: str, *, egress_micros: int, compute_micros: int = 1_600) -> Candidate:
    """A site that reads one input of 2.3 MB from eu-1."""
    read = InputPlan(
        alias="weather",
        dataset="flights/weather",
        version=2,
        way=Way.REMOTE,
        source_site="eu-1",
        source_region="aws:eu-central-1",
        destination_region="aws:us-east-1",
        bytes=2_294_215,
        egress_micros=egress_micros,
        price_source="a list",
    )
    return Candidate(
        site=name,
        region="aws:us-east-1",
        inputs=(read,),
        compute_micros=compute_micros,
        egress_micros=egress_micros,
        egress_bytes=2_294_215,
        locality=0.5,
        compute_source="another list",
    )


def shown(capsys, plan: Plan | None) -> str:
    """What is printed of a plan."""
    plans.show(Output(), Job(job="j-1", request=request(), plan=plan))
    return capsys.readouterr().out


def plan(*ranked: Candidate, **changes) -> Plan:
    """A plan with these candidates and one rejection."""
    given = {
        "revision": 1,
        "decide_time": datetime(2026, 11, 22, tzinfo=UTC),
        "rejections": (Rejection(site="ewr-1", reason="NO_COMPUTE", detail="it has no cluster"),),
        "baseline_site": "eu-1",
        "baseline_egress_micros": 579,
        "notes": ("a size is assumed",),
    }
    return Plan(ranked=ranked, **{**given, **changes})


def test_a_plan_tells_every_part_of_the_cost_and_its_source(capsys):
    """To the micro-dollar."""
    text = shown(capsys, plan(candidate("us-1", egress_micros=43)))
    assert "chosen: us-1 (aws:us-east-1), $0.001643" in text
    assert "compute  $0.0016   another list" in text
    assert "egress   $0.000043   2.3 MB leave a region" in text
    assert "read from eu-1" in text
    assert "runner-up: none" in text
    assert "avoided: $0.000536, against bringing all inputs to eu-1" in text
    assert "note: a size is assumed" in text


def test_a_plan_tells_what_would_have_made_the_runner_up_win(capsys):
    """The margin between the first two."""
    text = shown(capsys, plan(candidate("us-1", egress_micros=43), candidate("eu-1", egress_micros=579)))
    assert "runner-up: eu-1, dearer by $0.000536" in text


def test_a_plan_tells_why_each_other_site_was_set_aside(capsys):
    """Also when no site is left."""
    text = shown(capsys, plan())
    assert text.startswith("no site can run it\n")
    assert "ewr-1      NO_COMPUTE  no             it has no cluster" in text


def test_an_unknown_baseline_is_said_to_be_unknown(capsys):
    """Never zero."""
    text = shown(capsys, plan(candidate("us-1", egress_micros=43), baseline_egress_micros=None))
    assert "avoided: unknown" in text


def test_what_is_read_of_an_input_is_said_after_a_comma():
    """A percentage: all of it and more than all."""
    assert specs.inputs(["f=sales/flights@3,read=25%", "sales/orders,read=250"]) == (
        InputSpec(alias="f", dataset="sales/flights", version=3, read_percent=25),
        InputSpec(alias="orders", dataset="sales/orders", read_percent=250),
    )


def test_an_output_may_be_delivered_and_released():
    """In any order, each once."""
    assert specs.outputs(["m=ml/model:MODEL,deliver=sites/eu-1,size=2GB,release", "ml/sums"]) == (
        OutputSpec(alias="m", dataset="ml/model", kind="MODEL", deliver_to="eu-1", assumed_bytes=2_000_000_000, release=True),
        OutputSpec(alias="sums", dataset="ml/sums"),
    )


@pytest.mark.parametrize(
    "text", ["a=x/y,read=0%", "a=x/y,read=-5", "a=x/y,read=2.5", "a=x/y,read", "a=x/y,raed=5", "a=x/y,read=5,read=6"]
)
def test_a_wrong_share_of_an_input_is_a_mistake(text):
    """It is never ignored."""
    with pytest.raises(errors.InvalidArgument):
        specs.inputs([text])


@pytest.mark.parametrize("text", ["a=x/y,release=yes", "a=x/y,keep", "a=x/y,deliver=a,deliver=b"])
def test_a_wrong_wish_for_an_output_is_a_mistake(text):
    """It is never ignored."""
    with pytest.raises(errors.InvalidArgument):
        specs.outputs([text])


def test_what_a_placement_is_weighed_by_is_read_with_units():
    """Dollars with or without their sign; an hour that is worth nothing is stated, one that is not stated is None."""
    weights = ("--hour-value", "$2.50", "--carbon-price", "80", "--spot", "allowed", "--no-copies")
    made = request("--priority", "5", "--deadline", "6h", *weights)
    assert (made.priority, made.deadline_seconds, made.hour_value_micros) == (5, 21_600, 2_500_000)
    assert (made.carbon_tonne_micros, made.spot, made.no_copies) == (80_000_000, "ALLOWED", True)
    assert request("--hour-value", "0").hour_value_micros == 0
    assert request().hour_value_micros is None
