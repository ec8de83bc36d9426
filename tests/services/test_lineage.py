"""What came from what: kept as it happens, walked level by level, bounded, and honest about what it did not see."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from federation import ports
from federation.adapters.lineage_record import MemoryLineage
from federation.adapters.records_memory import MemoryRecords
from federation.core import errors, grants, ids, job, kinds, lineage
from federation.core.lineage import Direction
from federation.services import access, datasets
from federation.services import lineage_queries as queries
from federation.services.lineage_index import LineageIndex
from tests import builders
from tests.sim import Simulation

DOWN, UP = Direction.DOWNSTREAM, Direction.UPSTREAM


def writing(request: job.JobRequest, **changes: Any) -> job.JobRequest:
    """The request with its first output changed."""
    first, *others = request.outputs
    return dataclasses.replace(request, outputs=(dataclasses.replace(first, **changes), *others))


def make(sim: Simulation, source: str, target: str, **how: Any) -> str:
    """A job that makes one dataset of another; its run."""
    name, _, kind = target.partition(":")
    submitted = sim.submit(writing(builders.request([f"a={source}"], [f"b={name}"], **how), kind=kind or "DATA"))
    sim.drive(4)
    assert sim.job(submitted.job).state is job.JobState.SUCCEEDED
    return submitted.run


def index(sim: Simulation) -> LineageIndex:
    """An index over what the simulation has done so far."""
    return LineageIndex(sim.catalog, MemoryLineage(MemoryRecords()))


def walk(sim: Simulation, name: str, direction: Direction = Direction.BOTH, depth: int = 0, **how: Any) -> lineage.Graph:
    """A walk."""
    view, position = index(sim).view()
    query = lineage.Query(name=name, direction=direction, depth=depth, **{k: v for k, v in how.items() if k != "continuation"})
    after = how.get("continuation", "")
    return sim.read(lambda tx: queries.walk(tx, view, position, query, continuation=after))


@pytest.fixture
def chain(sim: Simulation) -> Simulation:
    """Flights -> a -> b -> c, and flights -> other."""
    for source, target in (("sales/flights", "ml/a"), ("ml/a", "ml/b"), ("ml/b", "ml/c"), ("sales/flights", "ml/other")):
        make(sim, source, target)
    return sim


def nodes(graph: lineage.Graph) -> set[str]:
    """All versions in a graph."""
    return {edge.node for edge in graph.edges if lineage.dataset_of(edge.node)}


def test_upstream_leads_to_what_a_version_was_made_of_and_to_who_put_it(chain: Simulation) -> None:
    """And not to what else came of that."""
    graph = walk(chain, "ml/c@1", UP)
    assert nodes(graph) == {"ml/c@1", "ml/b@1", "ml/a@1", "sales/flights@1"}
    assert (len(graph.runs), graph.complete, graph.frontier) == (4, True, ())
    assert [(run.kind, run.principal) for run in graph.runs if run.run.startswith("puts/")] == [("PUT", "users/alice")]
    assert [edge.node for edge in graph.edges if edge.alias == "person"] == ["users/alice"]


def test_downstream_leads_to_what_came_of_a_dataset(chain: Simulation) -> None:
    """All its versions, all their jobs."""
    chain.put("sales/flights", "us-1")
    make(chain, "sales/flights", "ml/late")
    graph = walk(chain, "sales/flights", DOWN)
    assert nodes(graph) >= {"ml/a@1", "ml/b@1", "ml/c@1", "ml/other@1", "sales/flights@2", "ml/late@1"}
    assert graph.complete


def test_a_depth_ends_the_walk_and_says_where_it_could_go_on(chain: Simulation) -> None:
    """What has nothing beyond it is no frontier."""
    graph = walk(chain, "ml/c@1", UP, 1)
    assert (nodes(graph), graph.complete, graph.frontier) == ({"ml/c@1", "ml/b@1"}, False, ("ml/b@1",))
    assert walk(chain, "ml/c@1", UP, 4).complete


def test_a_bound_on_edges_ends_the_walk_and_says_so(chain: Simulation) -> None:
    """Never more edges than allowed, and never `complete` when one was left out."""
    whole = walk(chain, "sales/flights", DOWN)
    for bound in range(1, len(whole.edges)):
        cut = walk(chain, "sales/flights", DOWN, edges_max=bound)
        assert len(cut.edges) <= bound
        assert not cut.complete
        assert cut.frontier
    assert walk(chain, "sales/flights", DOWN, edges_max=len(whole.edges)).complete


def test_a_walk_goes_on_where_it_stopped_in_the_record_as_it_was(chain: Simulation) -> None:
    """Piece by piece it tells what it would have told at once, though more is made meanwhile; then it is complete."""
    whole = walk(chain, "sales/flights")
    told: list[lineage.Edge] = []
    token, pieces = "", 0
    while pieces == 0 or token:
        piece = walk(chain, "sales/flights", edges_max=2, continuation=token)
        told += piece.edges
        token, pieces = piece.continuation, pieces + 1
        if pieces == 1:
            make(chain, "sales/flights", "ml/meanwhile")
    assert tuple(told) == whole.edges
    assert piece.complete
    assert piece.position == whole.position


def test_a_greater_depth_goes_on_as_well(chain: Simulation) -> None:
    """What was told at the smaller one is not told again."""
    first = walk(chain, "ml/c@1", UP, 2)
    rest = walk(chain, "ml/c@1", UP, 10, continuation=first.continuation)
    assert first.edges + rest.edges == walk(chain, "ml/c@1", UP).edges
    assert rest.complete


def test_a_continuation_is_good_for_its_own_question_alone(chain: Simulation) -> None:
    """Not for another name or direction, and not when it was made up."""
    token = walk(chain, "ml/c@1", UP, 1).continuation
    for name, direction, given in (
        ("ml/b@1", UP, token),
        ("ml/c@1", DOWN, token),
        ("ml/c@1", UP, "bm90IG9uZQ"),
        ("ml/c@1", UP, "ä"),
    ):
        with pytest.raises(errors.InvalidArgument) as caught:
            walk(chain, name, direction, continuation=given)
        assert caught.value.reason == "CONTINUATION_INVALID"


def test_as_of_a_position_or_a_time_later_facts_do_not_count(chain: Simulation) -> None:
    """Of either kind; and a position that is not there yet is refused."""
    before = walk(chain, "sales/flights")
    chain.clock.advance(60)
    make(chain, "ml/c", "ml/d")
    now = walk(chain, "sales/flights")
    assert "ml/d@1" in nodes(now) - nodes(before)
    assert walk(chain, "sales/flights", as_of_position=before.position).edges == before.edges
    last = max(edge.time for edge in before.edges)
    assert set(walk(chain, "sales/flights", as_of_time=last).edges) == set(before.edges)
    with pytest.raises(errors.InvalidArgument) as caught:
        walk(chain, "sales/flights", as_of_position=10**6)
    assert caught.value.reason == "POSITION_UNKNOWN"


def test_a_run_shows_what_it_read_and_made(chain: Simulation) -> None:
    """And from there on in both directions."""
    run = next(edge.run for edge in chain.all(lineage.Edge) if edge.node == "ml/b@1" and edge.direction == "out")
    one = walk(chain, run, UP, 1)
    assert {(edge.direction, edge.node) for edge in one.edges} == {("in", "ml/a@1")}
    both = walk(chain, run)
    assert nodes(both) == {"sales/flights@1", "ml/a@1", "ml/b@1", "ml/c@1"}


def test_a_dataset_that_is_made_of_itself_is_walked_once(sim: Simulation) -> None:
    """Versions do not repeat, so there is no way round in circles; each run is seen once."""
    make(sim, "sales/flights", "sales/flights")
    make(sim, "sales/flights", "sales/flights")
    graph = walk(sim, "sales/flights")
    assert nodes(graph) == {"sales/flights@1", "sales/flights@2", "sales/flights@3"}
    assert (len(graph.runs), graph.complete) == (3, True)


def emit_edge(tx: ports.Transaction, run: str, direction: str, node: str) -> None:
    """A fact from nowhere."""
    edge = lineage.Edge(
        run=run,
        direction=direction,
        alias=node.partition("/")[2].partition("@")[0],
        node=node,
        manifest_digest=builders.SHA,
        site="us-1",
        source_region="aws:us-east-1",
        destination_region="aws:us-east-1",
        bytes=1,
        time=builders.NOW,
    )
    tx.emit("lineage.edge", f"{run}/{direction}/{edge.alias}", edge)


def test_a_ladder_of_diamonds_is_climbed_once_and_not_once_for_each_path() -> None:
    """Thirty steps, on each two runs that lead from two nodes to the next two: a thousand million paths, 240 edges."""
    sim = Simulation(("us-1",))

    def ladder(tx: ports.Transaction) -> None:
        for step, side in itertools.product(range(30), "ab"):
            for end in "ab":
                emit_edge(tx, f"jobs/j-{step}{side}/runs/1", "in", f"ml/x{step}{end}@1")
                emit_edge(tx, f"jobs/j-{step}{side}/runs/1", "out", f"ml/x{step + 1}{end}@1")

    sim.write(ladder)
    graph = walk(sim, "ml/x0a@1", DOWN, 100)
    assert graph.complete
    assert sum(each.direction == "out" for each in graph.edges) == 120


def test_foreign_nodes_and_runs_are_walked_like_our_own(sim: Simulation) -> None:
    """By whatever name they have; one that looks like nothing of ours and is not there is said to be unknown."""
    table, run = "postgres://crm.example:5432/db.public.customers", "spark://nightly/3f2a"

    def foreign(tx: ports.Transaction) -> None:
        emit_edge(tx, run, "in", table)
        emit_edge(tx, run, "out", "s3://lake/<script>alert(1)</script>")

    sim.write(foreign)
    assert [edge.node for edge in walk(sim, table, DOWN).edges] == [table, "s3://lake/<script>alert(1)</script>"]
    assert [edge.node for edge in walk(sim, run, UP).edges] == [table]
    with pytest.raises(errors.NotFound) as caught:
        walk(sim, "postgres://crm.example/none")
    assert caught.value.reason == "NODE_UNKNOWN"


def test_names_that_are_not_there_are_refused(sim: Simulation) -> None:
    """Dataset, version and run alike; and a depth or a number of edges beyond the bound."""
    for name in ("sales/none", "sales/flights@9", "jobs/j-none/runs/1"):
        with pytest.raises(errors.NotFound):
            walk(sim, name)
    for how in ({"depth": -1}, {"depth": 101}, {"edges_max": -1}, {"edges_max": 50_001}):
        with pytest.raises(errors.InvalidArgument):
            walk(sim, "sales/flights", **how)


def test_a_run_that_still_runs_has_no_lineage_yet(sim: Simulation) -> None:
    """It is there, and nothing came of it so far."""
    graph = walk(sim, sim.submit(builders.request(["sales/flights"])).run)
    assert (graph.runs, graph.edges, graph.complete) == ((), (), True)


def test_time_ends_a_walk_too_but_not_before_it_has_told_something(chain: Simulation) -> None:
    """So that whoever goes on comes to an end."""
    view, position = index(chain).view()
    told, token = 0, ""
    for _ in range(100):
        piece = chain.read(
            lambda tx, token=token: queries.walk(
                tx, view, position, lineage.Query(name="sales/flights"), continuation=token, expired=lambda: True
            )
        )
        told, token = told + len(piece.edges), piece.continuation
        assert piece.edges
        if piece.complete:
            break
    assert told == len(walk(chain, "sales/flights").edges)


# What edges carry


def test_an_edge_has_what_the_ledger_has_of_the_read(sim: Simulation) -> None:
    """Bytes and money with fees as they were settled before the run ended; an output has its version's."""
    submitted = sim.submit(builders.request(["a=sales/flights"], ["b=ml/a"], sites=("eu-1",)))
    agent, run = sim.agents["eu-1"], submitted.run
    agent.work()
    agent.accept(run)
    agent.begin(run)
    agent.read(run, "a", 123_456)
    entry = sim.agents["us-1"].settle(access.run_grant_id(run, "a"))
    report = lineage.LineageReport(
        inputs=(lineage.InputColumns(alias="a", columns=("price", "qty")),),
        outputs=(lineage.OutputColumns(alias="b", sources=(lineage.ColumnSource(column="total", source="a.price"),)),),
    )
    agent.finish(run, report=report)
    read, made = (edge for edge in sim.all(lineage.Edge) if edge.run == run)
    assert (read.bytes, read.charge_micros, read.columns) == (123_456, entry.charge_micros, ("price", "qty"))
    assert read.charge_micros
    assert (read.source_region, read.destination_region, read.crossed) == ("aws:us-east-1", "aws:eu-central-1", True)
    assert read.manifest_digest == sim.read(lambda tx: datasets.get_version(tx, ids.version("sales/flights@1"))).manifest_digest
    assert (made.charge_micros, made.column_map) == (None, (lineage.ColumnSource(column="total", source="a.price"),))


def test_a_read_that_is_settled_later_says_so(sim: Simulation) -> None:
    """Its bytes are the version's then, and its money is not known."""
    run = make(sim, "sales/flights", "ml/a", sites=("us-1",))
    read = next(edge for edge in sim.all(lineage.Edge) if edge.run == run)
    assert (read.direction, read.bytes, read.charge_micros) == ("in", 10**9, None)


def test_a_declared_column_map_is_kept_with_the_output(sim: Simulation) -> None:
    """As the request had it; one that names no input is refused before anything is stored."""
    request = builders.request(["orders=sales/flights"], ["out=ml/sums"])
    links = (
        lineage.ColumnSource(column="total", source="orders.price"),
        lineage.ColumnSource(column="total", source="orders.qty"),
    )
    declared = writing(request, column_map=links)
    submitted = sim.submit(declared)
    sim.drive(4)
    assert [edge.column_map for edge in sim.all(lineage.Edge) if edge.run == submitted.run] == [(), links]
    wrong = (lineage.ColumnSource(column="total", source="nothing.price"),)
    with pytest.raises(errors.InvalidArgument) as caught:
        sim.submit(writing(request, column_map=wrong))
    assert caught.value.reason == "COLUMN_MAP_INVALID"


def test_a_put_is_one_fact_however_often_it_is_said(sim: Simulation) -> None:
    """Its grant commits once, and lineage has it once."""
    record = next(each for each in sim.all(kinds.GrantRecord) if each.access is grants.Access.WRITE)
    edges = [edge for edge in sim.all(lineage.Edge) if edge.run == f"puts/{record.grant}"]
    assert [(edge.direction, edge.node) for edge in edges] == [
        ("in", "users/alice"),
        ("out", f"{record.namespace}/{record.dataset}@1"),
    ]


# Models


def models(sim: Simulation, name: str) -> lineage.Sightings:
    """Which models saw it."""
    view, position = index(sim).view()
    return sim.read(lambda tx: queries.models(tx, view, position, lineage.Query(name=name)))


def test_models_that_saw_a_version_are_found_with_the_shortest_way(sim: Simulation) -> None:
    """Through what was made of it on the way; a model of another version did not see it."""
    first = make(sim, "sales/flights", "ml/features")
    second = make(sim, "ml/features", "ml/delay:MODEL")
    sim.put("sales/flights", "us-1")
    make(sim, "sales/flights", "ml/fresh:MODEL")
    seen = models(sim, "sales/flights@1")
    assert [(each.model, each.hops) for each in seen.models] == [("ml/delay@1", 2)]
    assert seen.models[0].way == ("sales/flights@1", first, "ml/features@1", second, "ml/delay@1")
    assert (seen.complete, seen.models[0].sites) == (True, ("us-1",))
    assert [(each.seen, each.model) for each in models(sim, "sales/flights").models] == [
        ("sales/flights@2", "ml/fresh@1"),
        ("sales/flights@1", "ml/delay@1"),
    ]
    assert models(sim, "sales/weather").models == ()


# Erasure


def impact(sim: Simulation, name: str) -> lineage.Impact:
    """What its erasure would cost."""
    view, position = index(sim).view()
    return sim.read(lambda tx: queries.impact(tx, view, position, name))


def test_an_erasure_tells_what_came_of_the_version_and_what_could_be_made_again(chain: Simulation) -> None:
    """What read it cannot; what came of that can, while that is there. What else a run read is named."""
    chain.submit(writing(builders.request(["a=ml/a", "w=sales/weather"], ["b=ml/joined"]), kind="MODEL"))
    chain.drive(4)
    told = impact(chain, "sales/flights@1")
    assert (told.sites, told.newest, told.others, told.complete) == (("us-1",), True, (), True)
    affected = {each.node: each for each in told.affected}
    assert {node: (each.hops, each.remakable) for node, each in affected.items()} == {
        "ml/a@1": (1, False),
        "ml/other@1": (1, False),
        "ml/b@1": (2, True),
        "ml/joined@1": (2, True),
        "ml/c@1": (3, True),
    }
    assert (affected["ml/joined@1"].kind, affected["ml/joined@1"].others) == ("MODEL", ("sales/weather@1",))
    assert told.affected_bytes == sum(each.bytes for each in told.affected) == 5 * 1000


def test_an_erasure_tells_who_reads_the_version(chain: Simulation) -> None:
    """Jobs under way that would fail, and by their labels those that have read it."""
    waiting = chain.submit(builders.request(["a=sales/flights"], ["b=ml/more"], label="hourly"))
    readers = impact(chain, "sales/flights@1").readers
    assert [(each.name, each.label) for each in readers if each.live] == [(f"jobs/{waiting.job}", "hourly")]
    assert any(not each.live for each in readers)
    chain.put("sales/flights", "us-1")
    told = impact(chain, "sales/flights@1")
    assert (told.newest, told.others) == (False, ("sales/flights@2",))


def test_only_a_version_can_be_erased(sim: Simulation) -> None:
    """Neither a dataset nor one that is not there."""
    with pytest.raises(errors.InvalidArgument):
        impact(sim, "sales/flights")
    with pytest.raises(errors.NotFound):
        impact(sim, "sales/flights@7")


# Why a dataset is bound


def why(sim: Simulation, name: str) -> lineage.Why:
    """Why it has its residency."""
    return sim.read(lambda tx: queries.why(tx, name))


def test_a_residency_is_explained_back_to_who_declared_it(sim: Simulation) -> None:
    """Each dataset on the way with what it inherited, from which input, by which job."""
    first = make(sim, "sales/orders", "ml/sums")
    second = make(sim, "ml/sums", "ml/report")
    told = why(sim, "ml/report")
    assert (told.residency, told.complete) == (("EU",), True)
    assert [(each.dataset, each.hops) for each in told.reasons] == [("ml/report", 0), ("ml/sums", 1), ("sales/orders", 2)]
    causes = [[(fact.cause, fact.by) for fact in each.facts] for each in told.reasons]
    inherited, declared = lineage.Cause.INHERITED, lineage.Cause.DECLARED
    assert causes == [
        [(inherited, second.removesuffix("/runs/1"))],
        [(inherited, first.removesuffix("/runs/1"))],
        [(declared, "users/alice")],
    ]
    assert told.reasons[0].facts[0].inputs == (lineage.Binding(dataset="ml/sums", residency=("EU",)),)


def test_a_second_input_that_binds_alike_is_a_reason_too(sim: Simulation) -> None:
    """Though nothing changes by it; the same input again is none."""
    sim.put("sales/returns", "eu-1", residency=("EU",))
    make(sim, "sales/orders", "ml/sums")
    make(sim, "sales/returns", "ml/sums")
    make(sim, "sales/orders", "ml/sums")
    facts = why(sim, "ml/sums").reasons[0].facts
    assert [[binding.dataset for binding in fact.inputs] for fact in facts] == [["sales/orders"], ["sales/returns"]]


def test_a_job_that_bound_its_output_and_then_failed_is_a_reason(sim: Simulation) -> None:
    """There is no edge of it, and yet the dataset is bound."""
    submitted = sim.submit(builders.request(["a=sales/orders"], ["b=ml/sums"]))
    agent = sim.agents["eu-1"]
    agent.work()
    agent.accept(submitted.run)
    agent.fail(submitted.run)
    assert [fact.by for fact in why(sim, "ml/sums").reasons[0].facts] == [f"jobs/{submitted.job}"]


def test_a_release_is_named_with_what_it_left(sim: Simulation) -> None:
    """Its version, its size and what was allowed."""
    orders = sim.dataset("sales/orders")
    allowed = dataclasses.replace(orders, release_bytes_max=5000)
    sim.write(lambda tx: datasets.update_dataset(tx, allowed, frozenset({"release_bytes_max"})), actor="users/alice")
    submitted = sim.submit(writing(builders.request(["a=sales/orders"], ["b=ml/statistics"]), release=True))
    sim.drive(4)
    told = why(sim, "ml/statistics")
    (fact,) = told.reasons[0].facts
    assert (fact.cause, fact.by, fact.version) == (lineage.Cause.RELEASED, submitted.run, "ml/statistics@1")
    assert (told.residency, fact.bytes_max, fact.inputs[0].dataset) == ((), 5000, "sales/orders")


def test_what_people_change_is_told_in_order(sim: Simulation) -> None:
    """Declared, widened, and taken back; a dataset that was never bound has no reasons."""
    for residency in (("EU", "US"), ()):
        changed = dataclasses.replace(sim.dataset("sales/orders"), residency=residency)
        sim.write(lambda tx, c=changed: datasets.update_dataset(tx, c, frozenset({"residency"})), actor="users/bob")
    assert [(fact.residency, fact.by) for fact in why(sim, "sales/orders").reasons[0].facts] == [
        (("EU",), "users/alice"),
        (("EU", "US"), "users/bob"),
        ((), "users/bob"),
    ]
    assert why(sim, "sales/flights").reasons[0].facts == ()
    with pytest.raises(errors.NotFound):
        why(sim, "sales/none")
