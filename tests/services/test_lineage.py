"""What came from what: walked level by level, bounded, and honest about what it did not see."""

from __future__ import annotations

import itertools

import pytest

from federation import ports
from federation.core import errors, job, lineage
from federation.core.lineage import Direction
from federation.services import lineage as service
from tests import builders
from tests.sim import Simulation


def make(sim: Simulation, source: str, target: str) -> str:
    """A job that makes one dataset of another; its run."""
    submitted = sim.submit(builders.request([f"a={source}"], [f"b={target}"]))
    sim.drive(4)
    assert sim.job(submitted.job).state is job.JobState.SUCCEEDED
    return submitted.run


def walk(sim: Simulation, name: str, direction: Direction = Direction.BOTH, depth: int = 0, **bound: int) -> lineage.Graph:
    """A walk."""
    return sim.read(lambda tx: service.walk(tx, name, direction, depth, **bound))


@pytest.fixture
def chain(sim: Simulation) -> Simulation:
    """Flights -> a -> b -> c, and flights -> other."""
    for source, target in (("sales/flights", "ml/a"), ("ml/a", "ml/b"), ("ml/b", "ml/c"), ("sales/flights", "ml/other")):
        make(sim, source, target)
    return sim


def nodes(graph: lineage.Graph) -> set[str]:
    """All versions in a graph."""
    return {edge.node for edge in graph.edges}


def test_upstream_leads_to_what_a_version_was_made_of(chain: Simulation) -> None:
    """And not to what else came of that."""
    graph = walk(chain, "ml/c@1", Direction.UPSTREAM)
    assert nodes(graph) == {"ml/c@1", "ml/b@1", "ml/a@1", "sales/flights@1"}
    assert (len(graph.runs), graph.complete, graph.frontier) == (3, True, ())


def test_downstream_leads_to_what_came_of_a_dataset(chain: Simulation) -> None:
    """All its versions, all their jobs."""
    chain.put("sales/flights", "us-1")
    make(chain, "sales/flights", "ml/late")
    graph = walk(chain, "sales/flights", Direction.DOWNSTREAM)
    assert nodes(graph) >= {"ml/a@1", "ml/b@1", "ml/c@1", "ml/other@1", "sales/flights@2", "ml/late@1"}
    assert graph.complete


def test_a_depth_ends_the_walk_and_says_where_it_could_go_on(chain: Simulation) -> None:
    """What has nothing beyond it is no frontier."""
    graph = walk(chain, "ml/c@1", Direction.UPSTREAM, 1)
    assert (nodes(graph), graph.complete, graph.frontier) == ({"ml/c@1", "ml/b@1"}, False, ("ml/b@1",))
    assert walk(chain, "ml/c@1", Direction.UPSTREAM, 3).complete


def test_a_bound_on_edges_ends_the_walk_and_says_so(chain: Simulation) -> None:
    """Never more edges than allowed, and never `complete` when one was left out."""
    whole = walk(chain, "sales/flights", Direction.DOWNSTREAM)
    for bound in range(1, len(whole.edges)):
        cut = walk(chain, "sales/flights", Direction.DOWNSTREAM, edges_max=bound)
        assert len(cut.edges) <= bound
        assert not cut.complete
        assert cut.frontier
    assert walk(chain, "sales/flights", Direction.DOWNSTREAM, edges_max=len(whole.edges)).complete


def test_a_run_shows_what_it_read_and_made(chain: Simulation) -> None:
    """And from there on in both directions."""
    run = chain.all(lineage.RunFact)[1].run
    one = walk(chain, run, Direction.UPSTREAM, 1)
    assert {(edge.direction, edge.node) for edge in one.edges} == {("in", "ml/a@1")}
    both = walk(chain, run)
    assert nodes(both) == {"sales/flights@1", "ml/a@1", "ml/b@1", "ml/c@1"}


def test_a_dataset_that_is_made_of_itself_is_walked_once(sim: Simulation) -> None:
    """Versions do not repeat, so there is no way round in circles; each run is seen once."""
    make(sim, "sales/flights", "sales/flights")
    make(sim, "sales/flights", "sales/flights")
    graph = walk(sim, "sales/flights")
    assert nodes(graph) == {"sales/flights@1", "sales/flights@2", "sales/flights@3"}
    assert (len(graph.runs), graph.complete) == (2, True)


def test_a_ladder_of_diamonds_is_climbed_once_and_not_once_for_each_path() -> None:
    """Thirty steps, on each two runs that lead from two nodes to the next two: a thousand million paths, 240 edges."""
    sim = Simulation(("us-1",))
    sim.put("ml/x0a", "us-1")

    def edge(run: str, direction: str, node: str) -> lineage.Edge:
        return lineage.Edge(
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

    def ladder(tx: ports.Transaction) -> lineage.Graph:
        for step, side in itertools.product(range(30), "ab"):
            run = f"jobs/j-{step}{side}/runs/1"
            for end in "ab":
                tx.insert(edge(run, "in", f"ml/x{step}{end}@1"))
                tx.insert(edge(run, "out", f"ml/x{step + 1}{end}@1"))
        return service.walk(tx, "ml/x0a@1", Direction.DOWNSTREAM, 100)

    graph = sim.write(ladder)
    assert graph.complete
    assert sum(each.direction == "out" for each in graph.edges) == 120


def test_names_that_are_not_there_are_refused(sim: Simulation) -> None:
    """Dataset, version and run alike; and a depth beyond the bound."""
    for name in ("sales/none", "sales/flights@9", "jobs/j-none/runs/1"):
        with pytest.raises(errors.NotFound):
            walk(sim, name)
    for depth in (-1, 101):
        with pytest.raises(errors.InvalidArgument):
            walk(sim, "sales/flights", depth=depth)


def test_a_run_that_still_runs_has_no_lineage_yet(sim: Simulation) -> None:
    """It is there, and nothing came of it so far."""
    graph = walk(sim, sim.submit(builders.request(["sales/flights"])).run)
    assert (graph.runs, graph.edges, graph.complete) == ((), (), True)
