"""Worlds and requests as files: read strictly, bounded, documented, and planned in like the federation itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from federation.core import errors, job, planner, site, whatif, world
from tests import builders

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"


def file(**changes: Any) -> whatif.WorldFile:
    """Two sites, one dataset at eu-1, the prices of the builders."""
    values: dict[str, Any] = {
        "format_version": 1,
        "time": builders.NOW,
        "sites": (builders.site("eu-1"), builders.site("us-1")),
        "datasets": (
            whatif.DatasetRow(
                dataset="sales/flights",
                versions=(
                    whatif.VersionRow(number=1, bytes=10**9, replica_sites=("us-1",)),
                    whatif.VersionRow(number=2, bytes=10**12, replica_sites=("eu-1",)),
                ),
            ),
            whatif.DatasetRow(dataset="ml/model", residency=("EU",)),
        ),
        "egress": builders.rates().rows,
    }
    return whatif.WorldFile(**values | changes)


def asked(inputs: tuple[str, ...] = ("flights=sales/flights",), **changes: Any) -> whatif.RequestFile:
    """A request for the newest flights."""
    return whatif.RequestFile(format_version=1, request=builders.request(inputs, **changes))


def text(value: whatif.WorldFile | whatif.RequestFile) -> str:
    """The file as it is written."""
    return "".join(whatif.pieces(value))


def test_the_schemas_in_the_documentation_are_current() -> None:
    """`make schemas` writes them anew."""
    for name, made in whatif.schemas().items():
        assert json.loads((SCHEMAS / name).read_text()) == made, f"run `make schemas`: {name} has changed"
        jsonschema.Draft202012Validator.check_schema(made)


@pytest.mark.parametrize("kind", ["world", "request"])
def test_the_documented_examples_satisfy_their_schema_and_are_read(kind: str) -> None:
    """And are written back as the same values."""
    data = (SCHEMAS / f"{kind}.example.json").read_text()
    jsonschema.validate(json.loads(data), json.loads((SCHEMAS / f"{kind}.schema.json").read_text()))
    parse = {"world": whatif.parse_world, "request": whatif.parse_request}[kind]
    found: Any = parse(data)
    assert parse(text(found)) == found


def test_the_documented_examples_make_a_plan() -> None:
    """The profile in the world tells how long it runs and how much it reads."""
    request, seen = whatif.world_of(
        whatif.parse_world((SCHEMAS / "world.example.json").read_text()),
        whatif.parse_request((SCHEMAS / "request.example.json").read_text()),
    )
    plan = planner.plan(request, seen)
    assert plan.choice is not None
    assert plan.choice.run_seconds == 5400
    assert len(plan.ranked) + len(plan.rejections) == 3


def test_a_written_world_is_the_same_world() -> None:
    """With everything that a world can hold."""
    whole = file(
        loads=(builders.load("eu-1", cpus=2, gpus={"H100": 1}),),
        volumes=(site.LinkVolume(scope="aws:a~internet", month="2026-11", sent_bytes=5),),
        reservations=(site.LinkReservation(scope="aws:a~internet", reserved_bytes=7, grants=1),),
        speeds=(site.LinkSpeed(source_region="aws:a", destination_region="aws:b", bytes_per_second=9),),
        occupations=(world.Occupation(site="eu-1", run="r", resources=job.Resources(), end_time=builders.NOW),),
        queue=(whatif.QueuedJob(job="j-1", request=asked().request, submit_time=builders.NOW),),
    )
    lines = text(whole)
    assert whatif.parse_world(lines) == dataclasses.replace(whole, sites=whatif.parse_world(lines).sites)
    assert [row.site for row in whatif.parse_world(lines).sites] == ["eu-1", "us-1"]
    jsonschema.validate(json.loads(lines), whatif.schemas()["world.schema.json"])


def test_a_world_file_plans_what_the_world_itself_would() -> None:
    """Nothing is lost on the way through the file."""
    request = builders.request(["flights=sales/flights@2"], gpus=0)
    direct = builders.world(
        inputs=(builders.world_input("flights", ("eu-1",), 10**12, version=2),),
        sites_=(builders.site("eu-1"), builders.site("us-1")),
        rates=builders.rates(),
    )
    through, seen = whatif.world_of(whatif.parse_world(text(file(revision=direct.revision, time=direct.now))), asked())
    assert through.inputs == request.inputs
    assert planner.plan(through, seen) == planner.plan(request, direct)


def test_a_request_reads_the_newest_version_unless_it_names_one() -> None:
    """As on a server."""
    newest, _ = whatif.world_of(file(), asked())
    assert newest.inputs[0].version == 2
    _, seen = whatif.world_of(file(), asked(("flights=sales/flights@1",)))
    assert (seen.inputs[0].version, seen.inputs[0].replica_sites) == (1, ("us-1",))


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (("a=sales/other",), "DATASET_NOT_IN_WORLD"),
        (("a=sales/flights@7",), "VERSION_NOT_IN_WORLD"),
        (("a=ml/model",), "DATASET_NOT_IN_WORLD"),
    ],
)
def test_what_the_world_does_not_hold_is_named(inputs: tuple[str, ...], reason: str) -> None:
    """With the command that would export it."""
    with pytest.raises(errors.NotFound) as caught:
        whatif.world_of(file(), asked(inputs))
    assert caught.value.reason == reason
    assert "fed world export --dataset" in caught.value.help


def test_a_site_that_the_world_has_not_is_refused() -> None:
    """A typing mistake must not look like a refusal of the planner."""
    with pytest.raises(errors.NotFound, match="us-9"):
        whatif.world_of(file(), asked(sites=("us-9",)))


def test_a_dataset_to_write_to_binds_its_writer() -> None:
    """By the residency that it has in the world."""
    request, seen = whatif.world_of(file(), _writing())
    assert seen.output_residency == (("ml/model", ("EU",)),)
    assert {row.site: row.reason for row in planner.plan(request, seen).rejections} == {"us-1": "RESIDENCY_DENIED"}


def _writing() -> whatif.RequestFile:
    return whatif.RequestFile(format_version=1, request=builders.request(["flights=sales/flights"], ["model=ml/model"]))


def test_a_waiting_job_is_planned_with_its_past() -> None:
    """The site that it failed at for its own fault is left out."""
    past = (job.PastAttempt(attempt=1, site="eu-1", reason="STORAGE_FULL"),)
    waiting = whatif.QueuedJob(job="j-1", request=asked().request, attempts=past, submit_time=builders.NOW)
    found = whatif.queued(file(queue=(waiting,)), "j-1")
    request, seen = whatif.world_of(file(), found)
    assert (seen.excluded, seen.attempts, seen.submit_time) == ((("eu-1", "STORAGE_FULL"),), past, builders.NOW)
    assert planner.plan(request, seen).choice is not None
    with pytest.raises(errors.NotFound, match="no job j-2"):
        whatif.queued(file(), "j-2")


def test_only_the_month_of_the_world_counts() -> None:
    """What was sent last month fills no tier of this one."""
    volumes = tuple(site.LinkVolume(scope="a~b", month=month, sent_bytes=1) for month in ("2026-10", "2026-11"))
    _, seen = whatif.world_of(file(volumes=volumes), asked())
    assert [row.month for row in seen.volumes] == ["2026-11"]


FIGURE: dict[str, Any] = {"provider": "aws", "place": "*", "as_of": "2026-10", "source": "test"}
LINK = {f"{end}_{part}": "*" for end in ("source", "destination") for part in ("provider", "place")}
PRICE: dict[str, Any] = LINK | {"gb_micros": 1, "as_of": "2026-10", "source": "test"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format_version": 2}, "format_version is 2"),
        ({"sites": [{"site": "eu-1", "region": "nowhere", "jurisdiction": "EU"}]}, "region is 'nowhere'"),
        ({"sites": [{"site": "EU 1", "region": "a:b", "jurisdiction": "EU"}]}, "site is 'EU 1'"),
        ({"sites": [{"site": "a", "region": "a:b", "jurisdiction": "EU"}] * 2}, r"sites\[1\] is 'a', which \$.sites\[0\]"),
        ({"datasets": [{"dataset": "x"}]}, r"datasets\[0\].dataset"),
        (
            {"datasets": [{"dataset": "a/b", "versions": [{"number": 1, "bytes": 1, "replica_sites": ["moon"]}]}]},
            "replica_sites names 'moon'",
        ),
        ({"datasets": [{"dataset": "a/b", "versions": [{"number": 1, "bytes": -5}]}]}, r"versions\[0\].bytes is -5"),
        ({"sights": []}, "did you mean sites"),
        ({"egress": [PRICE | {"gb_bytes": 0}]}, r"egress\[0\].gb_bytes is 0"),
        ({"compute": [FIGURE | {"item": "gpu", "type": "T4"}]}, r"compute\[0\] is of gpu and does not tell"),
        ({"compute": [FIGURE | {"item": "cpu", "watts": 5}]}, r"compute\[0\] is of cpu and does not tell"),
        ({"compute": [FIGURE | {"item": "power", "micros": 5}]}, r"compute\[0\] is of power and does not tell"),
        ({"compute": [FIGURE | {"item": "carbon"}]}, r"compute\[0\] is of carbon and does not tell"),
    ],
)
def test_a_world_that_contradicts_itself_is_refused(changes: dict[str, Any], told: str) -> None:
    """With the place in the file."""
    data = {"format_version": 1, "time": "2026-11-22T10:00:00Z", "sites": []} | changes
    with pytest.raises(errors.InvalidArgument, match=told) as caught:
        whatif.parse_world(json.dumps(data))
    assert caught.value.reason == "WORLD_INVALID"


@pytest.mark.parametrize(
    "broken",
    [
        "{",
        "[" * 100_000,
        '{"a": 1, "a": 2}',
        '{"revision": NaN}',
        "\ud800",
        '{"revision": ' + "9" * 5000 + "}",
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_json_is_refused(broken: str | bytes) -> None:
    """Whatever it is, without a traceback."""
    with pytest.raises(errors.InvalidArgument) as caught:
        whatif.parse_world(broken)
    assert caught.value.reason == "WORLD_INVALID"


def test_a_world_of_a_million_links_is_refused_before_it_is_read() -> None:
    """Its rows are not even looked at: none of them is valid."""
    data = {"format_version": 1, "time": "2026-11-22T10:00:00Z", "sites": [], "egress": [0] * 1_000_000}
    with pytest.raises(errors.InvalidArgument, match="egress holds 1,000,000 rows, more than 200,000") as caught:
        whatif.parse_world(json.dumps(data))
    assert caught.value.reason == "WORLD_TOO_LARGE"


@pytest.mark.parametrize(("name", "most"), [("sites", 10_000), ("egress", 200_000), ("speeds", 200_000)])
def test_each_list_has_its_bound(name: str, most: int) -> None:
    """One more than it is too many."""
    data = {"format_version": 1, "time": "2026-11-22T10:00:00Z", "sites": [], name: [0] * (most + 1)}
    with pytest.raises(errors.InvalidArgument) as caught:
        whatif.world_file(data)
    assert caught.value.reason == "WORLD_TOO_LARGE"


def test_a_request_of_too_many_inputs_or_too_many_bytes_is_refused() -> None:
    """A thousand inputs are the most."""
    many = {"format_version": 1, "request": {"inputs": [0] * 1_001}}
    with pytest.raises(errors.InvalidArgument, match="1,001"):
        whatif.parse_request(json.dumps(many))
    with pytest.raises(errors.InvalidArgument, match=r"more than 4\.2 MB"):
        whatif.parse_request(" " * (whatif.REQUEST_BYTES_MAX + 1))


def test_a_large_world_is_written_in_pieces() -> None:
    """No piece grows with the world, and together they are the whole."""
    rows = tuple(builders.rates().rows[0] for _ in range(20_000))
    written = list(whatif.pieces(file(egress=rows)))
    assert len(written) > 10
    assert max(map(len, written)) < 300_000
    assert json.loads("".join(written))["format_version"] == 1
