"""What is shown, as values: places, tables that fit, the map, the keys, the bars of costs, and what each pane asks."""

# ruff: noqa: RUF001 - the signs that stand on the screen
from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from federation.browse import apart, costs, earth, fitting, gathering, gauge, keys, panes, place, sides, sides_data, worldmap
from federation.browse.clients import Clients
from federation.browse.place import Kind, Place
from federation.client import AsyncClient
from federation.core import budget, dataset, discovery, errors, forecast, job, metering, pipeline, site, transfer
from federation.core.columns import ColumnClass
from federation.shown import lineage, pipelines, shapes
from tests import builders
from tests.browse import story
from tests.wire.edge import Edge

# -- places -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("", Kind.DATA, ""),
        ("costs", Kind.COSTS, ""),
        ("sales", Kind.NAMESPACE, "sales"),
        ("namespaces/sales", Kind.NAMESPACE, "sales"),
        ("sales/flights", Kind.DATASET, "sales/flights"),
        ("namespaces/sales/datasets/flights", Kind.DATASET, "sales/flights"),
        ("sales/flights@3", Kind.VERSION, "sales/flights@3"),
        ("namespaces/sales/datasets/flights/versions/3", Kind.VERSION, "sales/flights@3"),
        ("sites/eu-1", Kind.SITE, "eu-1"),
        (f"jobs/{story.DONE}/runs/2", Kind.JOB, story.DONE),
        (story.DONE, Kind.JOB, story.DONE),
        ("transfers/t-1", Kind.TRANSFER, "t-1"),
        ("pipelines", Kind.PIPELINES, ""),
        (story.PIPELINE, Kind.PIPELINE, story.PIPELINE),
        (f"pipelines/{story.PIPELINE}", Kind.PIPELINE, story.PIPELINE),
        ("budgets/ml", Kind.BUDGET, "ml"),
        ("policies/-", Kind.POLICIES, ""),
        ("policies/3", Kind.REVISION, "3"),
    ],
)
def test_a_place_is_named_as_people_and_programs_name_it(text: str, kind: Kind, name: str) -> None:
    """And what is copied of it leads to it again."""
    found = place.parse(text)
    assert found == Place(kind=kind, name=name)
    assert not found.copied or place.parse(found.copied) == found


@pytest.mark.parametrize("text", ["Sales", "sales/flights@x", "a/b/c", "policies/x", "sales/"])
def test_what_is_no_name_is_refused(text: str) -> None:
    """With how one is written."""
    if text == "sales/":
        assert place.parse(text).kind is Kind.NAMESPACE
        return
    with pytest.raises(errors.InvalidArgument) as caught:
        place.parse(text)
    assert caught.value.reason == "NAME_INVALID"


def test_the_way_to_a_place() -> None:
    """From its section to itself."""
    way = place.trail(Place(kind=Kind.FILE, name="sales/flights@3", part="2013/a.parquet"))
    assert [place.word(step) for step in way] == ["Data", "sales", "flights", "@3", "2013/a.parquet"]
    assert [place.word(step) for step in place.trail(Place(kind=Kind.SITE, name="eu-1"))] == ["Sites", "eu-1"]
    for kind, name, part, words in (
        (Kind.PIPELINE, "p-1", "", ["Jobs", "Pipelines", "p-1"]),
        (Kind.BUDGET, "ml", "", ["Costs", "Budgets", "ml"]),
        (Kind.POLICY, "3", "hold", ["Policies", "3", "hold"]),
        (Kind.POLICY, "-", "hold", ["Policies", "hold"]),
    ):
        deep = Place(kind=kind, name=name, part=part)
        assert [place.word(step) for step in place.trail(deep)] == words
        assert deep.section == place.trail(deep)[0].kind


def test_where_a_line_of_lineage_leads() -> None:
    """A version and a run have a place here; a person, a put and what is foreign have none."""
    assert place.of_node("sales/flights@3") == Place(kind=Kind.VERSION, name="sales/flights@3")
    assert place.of_node("jobs/j-1/runs/2") == Place(kind=Kind.JOB, name="j-1")
    for node in ("users/ada", "puts/g-1", "s3://lake/raw/", "external/x", ""):
        found = place.of_node(node)
        assert found is None, node


# -- tables -------------------------------------------------------------------------------------------------------------------

COLUMNS = (
    shapes.Column(heading="NAME", show=lambda row: row[0]),
    shapes.Column(heading="SIZE", show=lambda row: row[1], number=True),
    shapes.Column(heading="TEXT", show=lambda row: row[2]),
    shapes.Column(heading="NOTE", show=lambda row: row[3]),
)
ROWS = [("flights", "29.1 GB", "x" * 60, ""), ("orders", "812 B", "short", "-")]


@pytest.mark.parametrize(
    ("width", "headings", "widths"),
    [
        (80, ["NAME", "SIZE", "TEXT"], (7, 7, 44)),
        (40, ["NAME", "SIZE", "TEXT"], (7, 7, 22)),
        (26, ["NAME", "SIZE"], (7, 7)),
        (12, ["NAME"], (7,)),
    ],
)
def test_the_columns_that_fit_are_shown_and_the_first_go_last(width: int, headings: list[str], widths: tuple[int, ...]) -> None:
    """Long text is cut, a number or a name never is; a column in which nothing stands takes no room."""
    fitted = fitting.fit(ROWS, COLUMNS, width)
    assert [heading.plain.strip() for heading in fitted.headings] == headings
    assert fitted.widths == widths
    assert sum(widths) + fitting.GAP * (len(widths) - 1) <= width
    assert all(cell.cell_len <= room for row in fitted.rows for cell, room in zip(row, widths, strict=True))
    assert fitted.rows[0][0].plain == "flights"


def test_further_rows_go_below_if_they_may_be_shown_so() -> None:
    """Long text is cut as before; a name or number that has no room, or the first of a column, has the columns chosen anew."""
    fitted = fitting.fit(ROWS, COLUMNS, 40)
    (row,) = fitting.more([("trains", "1.0 GB", "y" * 90, "-")], fitted) or ()
    assert [cell.cell_len for cell in row] == [6, 6, 22]
    for other in (("a-longer-name", "1 B", "", ""), ("trains", "1,000.0 GB", "", ""), ("trains", "1 B", "", "see above")):
        assert fitting.more([other], fitted) is None


def test_a_cell_is_one_line_and_steers_nothing() -> None:
    """Lines are joined, control characters replaced, what was found stays bold."""
    found = discovery.Found(
        dataset=builders.dataset(description="one\ntwo\x1b[2J"),
        matches=(discovery.Match(field="name", text="sales/flights", spans=(discovery.Span(start=6, end=10),)),),
    )
    (row,) = fitting.fit([found], sides.FOUND, 120).rows
    assert row[0].spans[0][:2] == (6, 10)
    assert "one two\N{REPLACEMENT CHARACTER}[2J" in [cell.plain for cell in row]


def test_columns_that_are_picked_are_there() -> None:
    """A heading that a kind does not have is found at once."""
    with pytest.raises(KeyError):
        fitting.pick(job.Job, "NOSUCH")


def test_a_column_is_told_with_its_class_and_whether_it_is_sensitive() -> None:
    """Of a path that is sensitive the column that holds it."""
    version = builders.version(
        columns=(("email", "string"), ("address", "struct"), ("age", "int8")),
        column_classes=(ColumnClass(name="pii", columns=("email",)),),
    )
    told = sides_data.schema(version, ("address.street", "email"))
    assert [(row.column, row.sealed, row.sensitive) for row in told] == [
        ("email", "pii", True),
        ("address", "default", True),
        ("age", "default", False),
    ]


# -- the map ------------------------------------------------------------------------------------------------------------------


def _sites() -> list[site.Site]:
    return [builders.site(name, region, where) for name, (region, where) in story.PLACES.items()]


def test_a_map_of_a_version_says_who_holds_it_and_what_is_on_its_way() -> None:
    """By signs that differ in shape; the way of a transfer is drawn."""
    moving = transfer.Transfer(transfer="t", dataset="sales/flights", version=1, source_site="eu-1", destination_site="us-1")
    replicas = [builders.replica(at="eu-1"), builders.replica(at="eu-2", state=dataset.ReplicaState.SUSPECT)]
    rows = _sites()
    rows[-1] = dataclasses.replace(rows[-1], state=site.SiteState.LOST)
    marks = worldmap.marks(rows, replicas, [moving])
    signs = {mark.name: mark.sign.name for mark in marks}
    assert signs == {"eu-1": "HOLDS", "eu-2": "SUSPECT", "us-1": "COMING", "us-2": "EMPTY", "ap-1": "AWAY"}
    drawn = worldmap.draw(marks, 78, 14, moving=worldmap.ways(rows, [moving])).plain
    for shown in (*signs, *"●!◐○×", "··", "copying", "damaged"):
        assert shown in drawn
    done = dataclasses.replace(moving, state=transfer.TransferState.SUCCEEDED)
    assert worldmap.ways(rows, [done]) == ()


@pytest.mark.parametrize(("width", "height"), [(78, 14), (118, 24), (20, 4)])
def test_the_map_keeps_to_its_room(width: int, height: int) -> None:
    """So many lines of so many characters, with a legend of one line."""
    lines = worldmap.draw(worldmap.marks(_sites(), None), width, height, of_version=False).plain.splitlines()
    assert len(lines) == height + 1
    assert {len(line) for line in lines[:-1]} == {width}
    assert len(lines[-1]) <= width


def test_places_lie_where_they_are_and_what_is_not_known_lies_nowhere() -> None:
    """Land is land and sea is sea; sites of one place share a sign; a region of nobody's is named below."""
    land = worldmap._land(120, 40)
    for name in ("aws:eu-central-1", "aws:us-east-2", "aws:sa-east-1", "gcp:africa-south1", "aws:ap-south-2"):
        column, row = worldmap._cell(earth.regions()[name], 120, 40)
        assert land[row][column] != worldmap._BLANK, name
    for sea in ((0.0, -30.0), (-30.0, 80.0), (30.0, -150.0)):
        column, row = worldmap._cell(sea, 120, 40)
        assert land[row][column] == worldmap._BLANK, sea
    marks = [worldmap.Mark(name=f"eu-{n}", region="aws:eu-central-1", sign=worldmap.Sign.HOLDS) for n in (1, 2)]
    cellar = worldmap.Mark(name="lab", region="own:cellar", sign=worldmap.Sign.EMPTY)
    drawn = worldmap.draw([*marks, cellar], 78, 14).plain
    assert "● eu-1, eu-2" in drawn
    assert "not on the map: lab" in drawn


def test_every_region_that_is_known_lies_on_earth() -> None:
    """And is named as regions are."""
    assert len(earth.regions()) > 100
    for name, (latitude, longitude) in earth.regions().items():
        assert place.ids.region(name) == name
        assert -90 < latitude < 90
        assert -180 < longitude < 180


# -- keys and money -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 78, 118])
def test_the_keys_fit_and_help_is_always_among_them(width: int) -> None:
    """Those that matter less go first; while one types, keys that are text are not offered."""
    told = keys.line(keys.ALL, width).plain
    assert len(told) <= width
    assert told.endswith("? help  q quit")
    assert "quit" not in keys.line((keys.NEXT, keys.BACK), width, typing=True).plain


def test_costs_are_exact_and_bars_keep_to_their_room() -> None:
    """The dearest first, months by time; what locality saved beside what was charged; in a narrow room without bars."""

    def row(key: str, charge: int, avoided: int) -> metering.CostSummary:
        return metering.CostSummary(key=key, charge_micros=charge, avoided_micros=avoided, egress_bytes=10**9)

    sums, total = (row("a", 1, 0), row("b", 3_000_000, 9_000_000)), row("", 3_000_001, 9_000_000)
    lines = costs.bars(sums, total, "dataset", 76).plain.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["b", "a", "total"]
    assert "$0.000001" in lines[2]
    assert lines[1].count("█") * 2 < lines[1].count("░")
    assert lines[2].count("█") == 1
    assert all(len(line) <= 76 for line in lines)
    assert "█" not in costs.bars(sums, total, "dataset", 40).plain
    months = costs.bars((row("2026-10", 9, 0), row("2026-11", 1, 0)), total, "month", 76).plain.splitlines()
    assert months[1].startswith("2026-11")
    assert "Nothing was read" in costs.bars((), total, "month", 76).plain


def gauge_of(spent: int, reserved: int = 0, expected: int | None = None, limit: int = 100, width: int = 10) -> str:
    """A budget's bar."""
    told = None
    if expected is not None:
        told = forecast.Forecast(
            month="2026-11",
            method=forecast.Method.RUN_RATE,
            spent_micros=spent,
            days=9,
            days_left=9,
            expected_micros=expected,
        )
    found = budget.Budget(budget="b", scope="all", limit_micros=limit, spent_micros=spent, reserved_micros=reserved)
    return gauge.bar(gauge.Gauge(found, told), width).plain


def test_a_gauge_is_as_long_as_the_most_of_limit_and_expected() -> None:
    """Each part by its share, what is not nothing by one character at least; the limit is always marked."""
    assert gauge_of(0) == "·········│"
    assert gauge_of(1) == "█········│"
    assert gauge_of(30, 20, 80) == "███▓▓░░░·│"
    assert gauge_of(200) == "█████│████"
    assert gauge_of(50, expected=200) == "██░░░│░░░░"
    assert gauge_of(-5) == "·········│"
    assert gauge.short(budget.Budget(budget="b", scope="all", limit_micros=200, spent_micros=250)) == "██████████ 125.0 %"


def test_a_task_stands_once_below_the_last_that_it_waits_for() -> None:
    """Those beside it are named; what was left out says why; a task without a job leads nowhere."""

    def task(name: str, *after: str) -> pipeline.TaskSpec:
        return pipeline.TaskSpec(task=name, request=builders.request(), after=after)

    asked = pipeline.PipelineRequest(tasks=(task("a"), task("b"), task("c", "a", "b"), task("d", "c"), task("e", "a")))
    runs = (
        pipeline.TaskRun(task="a", job="j-1", site="eu-1", state=job.JobState.SUCCEEDED),
        *(pipeline.TaskRun(task=name) for name in "bce"),
        pipeline.TaskRun(task="d", left_out="no site has a B200"),
    )

    def drawn(branches: Sequence[lineage.Branch], depth: int = 0) -> Iterator[tuple[int, str, str]]:
        for branch in branches:
            yield depth, branch.label.plain, branch.name
            yield from drawn(branch.below, depth + 1)

    found = pipeline.Pipeline(pipeline="p-1", request=asked, tasks=runs)
    assert list(drawn(pipelines.branches(found))) == [
        (0, "a  SUCCEEDED at eu-1", "jobs/j-1"),
        (1, "e  PENDING", ""),
        (0, "b  PENDING", ""),
        (1, "c  PENDING  also after a", ""),
        (2, "d  left out  no site has a B200", ""),
    ]


# -- what panes ask -----------------------------------------------------------------------------------------------------------

PLACES = (
    *("", "sales", "sales/flights", "sales/flights@3", "sites", "sites/eu-1", "jobs", f"jobs/{story.DONE}", "transfers"),
    *("pipelines", story.PIPELINE, "costs", "budgets", "budgets/ml", "budgets/flights", "policies", "policies/0"),
)


def test_every_pane_of_every_place_asks_what_the_catalog_answers(told: Edge) -> None:
    """No filter that it does not take, nothing that it does not know; but for what reads data, and logs."""

    async def work() -> list[str]:
        asked = []
        async with AsyncClient(told.server.address, told.tokens["admin"], told.certs.ca) as client:
            clients = Clients(loop=client, threads=told.client())
            for name in (*PLACES, f"transfers/{story.MOVING}"):
                for pane in sides.of(place.parse(name), clients):
                    if isinstance(pane, panes.AskedPane):
                        assert await pane._purposes() == ()
                    elif isinstance(pane, panes.TextPane):
                        assert await pane._draw() is not None
                    elif isinstance(pane, panes.TreePane):
                        await pane._grow()
                    elif isinstance(pane, panes.TablePane):
                        rows = [row async for row in pane._source("")]
                        fitting.fit(rows, pane._columns, 76)
                        if pane.watched:
                            async for _ in client.watch(pane.watched, start_revision=1, until_now=True):
                                break
                    asked.append(f"{name} {pane.heading}")
        return asked

    asked = asyncio.run(work())
    assert len(asked) == len(set(asked)) > 35


def test_a_budget_is_told_also_to_whom_costs_are_not(told: Edge) -> None:
    """What its month will have cost is then not known, and it is said which permission that needs."""
    secret = told.client().create_token("ada", role="ADMIN", scopes=("budgets.get",)).secret

    async def work() -> str:
        async with AsyncClient(told.server.address, secret, told.certs.ca) as client:
            spent, *_ = sides.of(place.parse("budgets/ml"), Clients(loop=client, threads=told.client()))
            assert isinstance(spent, panes.TextPane)
            drawn = await spent._draw()
            assert isinstance(drawn, gauge.Gauge)
            return gauge.drawn(drawn, 78).plain

    text = asyncio.run(work())
    assert "█ spent      $0.58, 58.0 %" in text
    assert "What the month will cost is not told: " in text
    assert "costs.get" in text


def test_versions_come_newest_first_however_many_there_are(told: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few by their listing, many one by one: the same."""

    async def work() -> list[int]:
        async with AsyncClient(told.server.address, told.tokens["admin"], told.certs.ca) as client:
            return [row.number async for row in sides_data.newest_first(client, "sales/flights")]

    assert asyncio.run(work()) == [3, 2, 1]
    monkeypatch.setattr(sides_data, "_LISTED_MAX", 1)
    monkeypatch.setattr(gathering, "_AT_ONCE", 2)
    assert asyncio.run(work()) == [3, 2, 1]


def test_work_apart_gives_its_result_and_waits_for_nobody_who_left() -> None:
    """An error is raised where it is waited for; who leaves does not wait for the thread."""
    held = threading.Event()

    def fails() -> None:
        raise errors.NotFound("x")

    async def work() -> None:
        assert await apart.run(lambda number: number + 1, 1) == 2
        with pytest.raises(errors.NotFound):
            await apart.run(fails)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(apart.run(held.wait, 60), 0.05)

    began = time.monotonic()
    asyncio.run(work())
    assert time.monotonic() - began < 30
    held.set()
