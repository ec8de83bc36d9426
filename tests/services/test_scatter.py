"""Partitioned datasets, and jobs that run beside each of their parts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import pytest

from federation.core import columns, errors, ids, job, tasks
from federation.core.job import JobState
from federation.core.pipeline import Pipeline, PipelineState
from federation.services import datasets, personal, scatter
from tests import builders
from tests.services.pipelines import PipelineSimulation
from tests.sim import check_laws


@pytest.fixture
def sim() -> Iterator[PipelineSimulation]:
    """`sales/flights` has a part at eu-1 that must stay in the EU and one at us-1 that must stay in the US; 1 MB may leave."""
    made = PipelineSimulation()
    for part, at, where in (("sales/flights-eu", "eu-1", "EU"), ("sales/flights-us", "us-1", "US")):
        made.put(part, at, residency=(where,))
        allow(made, part, 10**6)
    made.partition("sales/flights", ["sales/flights-eu", "sales/flights-us"])
    yield made
    check_laws(made)


def allow(sim: PipelineSimulation, name: str, size: int) -> None:
    """An owner lets outputs of at most that size leave."""
    changed = builders.dataset(name, release_bytes_max=size)
    sim.write(lambda tx: datasets.update_dataset(tx, changed, frozenset({"release_bytes_max"})))


def map_request(*outputs: str, release: bool = True) -> job.JobRequest:
    """The job that is scattered: it reads `data` and writes `sums`."""
    made = builders.request(["data=sales/flights"], outputs or ["sums=ml/sums"])
    return dataclasses.replace(made, outputs=tuple(dataclasses.replace(row, release=release) for row in made.outputs))


def send(sim: PipelineSimulation, map_: job.JobRequest | None = None, parts_min: int = 0, **reduce: object) -> Pipeline:
    """A person scatters a job over the flights and reduces what comes of it."""
    gather = builders.request([], ["sums=ml/sums"], **reduce)
    return sim.send_request(sim.read(lambda tx: scatter.expand(tx, map_ or map_request(), "data", gather, parts_min)))


def test_each_part_is_mapped_where_it_lies_and_the_results_are_reduced(sim):
    """Each run has one part, writes into a dataset of its own, and the reduce has all of them at the committed versions."""
    sent = send(sim)
    assert [row.task for row in sent.plan.tasks][:2] == ["map-1", "map-2"]
    assert {row.task: row.site for row in sent.plan.tasks if row.task != "reduce"} == {"map-1": "eu-1", "map-2": "us-1"}
    assert sim.until_ended(sent).state is PipelineState.SUCCEEDED
    assert [row.dataset for row in sim.job_of(sent, "map-1").request.inputs] == ["sales/flights-eu"]
    assert dict(sim.job_of(sent, "map-2").request.env)[scatter.PART] == "sales/flights-us"
    reduced = sim.job_of(sent, "reduce").request
    read = {row.alias: f"{row.dataset}@{row.version}" for row in reduced.inputs}
    assert read == {"part_1": "ml/sums-flights-eu@1", "part_2": "ml/sums-flights-us@1"}
    assert json.loads(dict(reduced.env)[scatter.PARTS]) == {"part_1": "sales/flights-eu", "part_2": "sales/flights-us"}
    assert sim.dataset("ml/sums").latest_version == 1
    assert len(sim.events("output.released")) == 2


def test_without_release_parts_that_may_not_meet_are_refused_with_both_named(sim):
    """At planning: the EU's part and the US's are named, and so is the way out."""
    with pytest.raises(errors.InvalidArgument) as caught:
        send(sim, map_request(release=False))
    assert caught.value.reason == "RESIDENCY_CONTRADICTION"
    assert {"input sales/flights-eu", "input sales/flights-us"} <= set(caught.value.metadata)
    assert "--release" in caught.value.help
    assert sim.all(Pipeline) == []


def test_a_release_that_one_owner_forbids_is_refused_with_the_part_named(sim):
    """The other owner's consent does not help."""
    allow(sim, "sales/flights-us", 0)
    with pytest.raises(errors.PermissionDenied) as caught:
        send(sim)
    assert (caught.value.reason, caught.value.metadata["dataset"]) == ("RELEASE_NOT_ALLOWED", "sales/flights-us")
    assert caught.value.metadata["task"] == "map-2"


def test_a_part_whose_site_is_down_is_waited_for(sim):
    """All parts are wanted: the pipeline goes on when the site is back."""
    sim.agents["eu-1"].die()
    sim.wait(20)
    sent = send(sim)
    for _ in range(40):
        sim.drive()
    assert (sim.task(sent, "map-1").state, sim.task(sent, "map-2").state) == (JobState.PENDING, JobState.SUCCEEDED)
    sim.agents["eu-1"].come_up()
    assert sim.until_ended(sent).state is PipelineState.SUCCEEDED


def test_a_part_whose_site_stays_away_is_left_out_and_named_where_enough_others_did(sim):
    """`parts_min` allows it: after a while the reduce goes on without it, and knows which one is missing and why."""
    sim.agents["eu-1"].die()
    sim.wait(20)
    sent = send(sim, parts_min=1)
    ended = sim.until_ended(sent)
    assert ended.state is PipelineState.SUCCEEDED
    assert sim.task(sent, "map-1").left_out.startswith("SITE_LOST: ")
    request = sim.job_of(sent, "reduce").request
    env = dict(request.env)
    assert [row.alias for row in request.inputs] == ["part_2"]
    missing = set(json.loads(env[scatter.PARTS])) - {row.alias for row in request.inputs}
    assert [json.loads(env[scatter.PARTS])[alias] for alias in missing] == ["sales/flights-eu"]
    assert set(json.loads(env[tasks.LEFT_OUT])) == missing


def test_several_outputs_keep_their_aliases(sim):
    """`part_1_sums` and `part_1_counts`."""
    sent = sim.send_request(
        sim.read(
            lambda tx: scatter.expand(
                tx, map_request("sums=ml/sums", "counts=ml/counts"), "data", builders.request([], ["all=ml/all"])
            )
        )
    )
    reduce = next(spec for spec in sent.request.tasks if spec.task == "reduce")
    assert [(row.alias, row.task, row.output) for row in reduce.request.inputs] == [
        ("part_1_sums", "map-1", "sums"),
        ("part_1_counts", "map-1", "counts"),
        ("part_2_sums", "map-2", "sums"),
        ("part_2_counts", "map-2", "counts"),
    ]
    sim.until_ended(sent)


def test_the_reduce_reads_what_the_maps_have_sealed(sim):
    """Its inputs name the classes of the outputs that it takes: nobody else can, for they are made for it."""
    classes = columns.parse(["pii=email", "health=diagnosis"])
    map_ = map_request("rows=ml/rows")
    map_ = dataclasses.replace(map_, outputs=(dataclasses.replace(map_.outputs[0], column_classes=classes),))
    expanded = sim.read(lambda tx: scatter.expand(tx, map_, "data", builders.request([], ["all=ml/all"])))
    reduce = next(spec for spec in expanded.tasks if spec.task == "reduce")
    assert {row.column_classes for row in reduce.request.inputs} == {("health", "pii")}
    assert {row.column_classes for spec in expanded.tasks[:-1] for row in spec.request.outputs} == {classes}


def test_without_a_reduce_nothing_is_gathered(sim):
    """And then outputs need no release: each stays where its part must."""
    sent = sim.send_request(sim.read(lambda tx: scatter.expand(tx, map_request(release=False), "data", None)))
    assert sim.until_ended(sent).state is PipelineState.SUCCEEDED
    assert sim.dataset("ml/sums-flights-us").residency == ("US",)


def test_parts_of_one_name_in_two_namespaces_are_told_apart(sim):
    """The namespace goes into the name of what is made of them."""
    sim.put("more/flights-eu", "eu-1")
    sim.partition("sales/all", ["sales/flights-eu", "more/flights-eu"])
    wanted = dataclasses.replace(map_request(), inputs=(job.InputSpec(alias="data", dataset="sales/all"),))
    made = sim.read(lambda tx: scatter.expand(tx, wanted, "data", None))
    assert [spec.request.outputs[0].dataset for spec in made.tasks] == ["ml/sums-sales-flights-eu", "ml/sums-more-flights-eu"]


@pytest.mark.parametrize(
    ("alias", "changes", "parts_min", "reason"),
    [
        ("none", {}, 0, "SCATTER_INVALID"),
        ("data", {}, 3, "SCATTER_INVALID"),
        ("data", {"outputs": ()}, 0, "SCATTER_INVALID"),
        ("data", {"env": ((scatter.PART, "x"),)}, 0, "SCATTER_INVALID"),
        ("data", {"inputs": (job.InputSpec(alias="data", dataset="sales/flights", version=1),)}, 0, "SCATTER_INVALID"),
        ("data", {"inputs": (job.InputSpec(alias="data", dataset="sales/flights-eu"),)}, 0, "DATASET_NOT_PARTITIONED"),
    ],
)
def test_what_cannot_be_scattered_is_refused(sim, alias, changes, parts_min, reason):
    """By the field that is wrong."""
    wanted = dataclasses.replace(map_request(), **changes)
    with pytest.raises(errors.FederationError) as caught:
        sim.read(lambda tx: scatter.expand(tx, wanted, alias, builders.request(), parts_min))
    assert caught.value.reason == reason


# Partitioned datasets


def test_a_partitioned_dataset_is_neither_read_nor_written_as_a_whole(sim):
    """By nobody, and whoever tries hears which parts there are."""
    whole, alice = ids.dataset("sales/flights"), builders.person(jurisdiction="EU")
    for attempt in (
        lambda: sim.submit(builders.request(["sales/flights"])),
        lambda: sim.submit(builders.request([], ["out=sales/flights"])),
        lambda: sim.write(lambda tx: personal.open_read(tx, sim.ctx, alice, whole)),
        lambda: sim.write(lambda tx: personal.open_write(tx, sim.ctx, alice, whole, "eu-1")),
    ):
        with pytest.raises(errors.FailedPrecondition) as caught:
            attempt()
        assert caught.value.reason == "DATASET_PARTITIONED"
        assert caught.value.metadata["parts"] == "sales/flights-eu,sales/flights-us"


@pytest.mark.parametrize(
    ("parts", "changes"),
    [
        (["sales/none"], {}),
        (["sales/flights-eu", "sales/flights-eu"], {}),
        (["sales/flights"], {}),
        (["sales/flights-eu"], {"residency": ("EU",)}),
        (["sales/flights-eu"], {"release_bytes_max": 5}),
    ],
)
def test_parts_are_different_whole_datasets_that_are_there(sim, parts, changes):
    """PARTS_INVALID says which is not."""
    made = builders.dataset("sales/try", parts=tuple(parts), **changes)
    with pytest.raises(errors.InvalidArgument) as caught:
        sim.write(lambda tx: datasets.create_dataset(tx, sim.ctx, made))
    assert caught.value.reason == "PARTS_INVALID"


def test_a_dataset_with_versions_cannot_become_partitioned(sim):
    """Its own data would be out of reach."""
    changed = builders.dataset("sales/flights-eu", parts=("sales/flights-us",))
    with pytest.raises(errors.InvalidArgument, match="versions of its own"):
        sim.write(lambda tx: datasets.update_dataset(tx, changed, frozenset({"parts"})))
