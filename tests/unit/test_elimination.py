"""Placing a pipeline as a whole: the cheapest placement, proven; with an honest bound where it is not; or a clear refusal."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.adapters.solver import HighsSolver
from federation.core import deadends, descent, elimination, errors, factors, messages, program
from federation.core.elimination import Edge, Method, Problem, Task

INF = float("inf")
SOLVE = HighsSolver().minimize


def task(name: str, *costs: float) -> Task:
    """A task with a cost for each site."""
    return Task(name=name, costs=np.array(costs))


def edge(before: str, after: str, *rows: list[float]) -> Edge:
    """An edge with a row for each site of its first task."""
    return Edge(before=before, after=after, costs=np.array(rows))


def problem(*parts: Task | Edge) -> Problem:
    """Tasks and edges in any order."""
    tasks = tuple(part for part in parts if isinstance(part, Task))
    return Problem(tasks=tasks, edges=tuple(part for part in parts if isinstance(part, Edge)))


def random_problem(
    seed: int, tasks: int, sites: int, pairs: list[tuple[int, int]], *, most: int = 1000, forbidden: float = 0.0
) -> Problem:
    """Costs drawn evenly, some forbidden, as many sites for each task."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> Any:
        return np.where(rng.random(shape) < forbidden, INF, rng.integers(0, most, shape))

    return Problem(
        tasks=tuple(Task(name=f"t{v}", costs=drawn(sites)) for v in range(tasks)),
        edges=tuple(Edge(before=f"t{u}", after=f"t{v}", costs=drawn(sites, sites)) for u, v in pairs),
    )


def cost_of(made: Problem, sites: tuple[int, ...]) -> float:
    """What a placement costs by the plain sum."""
    at = {one.name: site for one, site in zip(made.tasks, sites, strict=True)}
    return float(
        sum(one.costs[at[one.name]] for one in made.tasks) + sum(one.costs[at[one.before], at[one.after]] for one in made.edges)
    )


def brute_force(made: Problem) -> float:
    """The least cost over all placements."""
    return min(cost_of(made, sites) for sites in itertools.product(*(range(len(one.costs)) for one in made.tasks)))


def by_program(made: Problem) -> float:
    """The least cost by a plain program of its own: a 0/1 column for each site of a task and each pair of sites of an edge."""
    begins = dict(zip((one.name for one in made.tasks), np.cumsum([0, *(len(one.costs) for one in made.tasks)]), strict=False))
    costs = np.concatenate([one.costs for one in made.tasks]).tolist()
    rows: list[int] = []
    columns: list[int] = []
    coefficients: list[float] = []
    sides: list[float] = []

    def equation(entries: list[tuple[int, float]], side: float) -> None:
        rows.extend([len(sides)] * len(entries))
        columns.extend(column for column, _ in entries)
        coefficients.extend(coefficient for _, coefficient in entries)
        sides.append(side)

    for one in made.tasks:
        equation([(int(begins[one.name]) + site, 1) for site in range(len(one.costs))], 1)
    for flow in made.edges:
        numbers = len(costs) + np.arange(flow.costs.size).reshape(flow.costs.shape)
        costs.extend(flow.costs.ravel().tolist())
        for site, line in enumerate(numbers):
            equation([*((int(n), 1) for n in line), (int(begins[flow.before]) + site, -1)], 0)
        for site, line in enumerate(numbers.T):
            equation([*((int(n), 1) for n in line), (int(begins[flow.after]) + site, -1)], 0)
    made_program = program.assemble(costs=costs, entries=(rows, columns, coefficients), row_lower=sides, row_upper=sides)
    return SOLVE(made_program, seconds=120).objective


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to six tasks with up to four sites each, any edges, some twice; costs of either sign, some forbidden."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    cost = st.one_of(st.integers(-9, 30), st.integers(-2, 2), st.just(INF) if draw(st.booleans()) else st.integers(0, 9))
    tasks = [task(f"t{v}", *draw(st.lists(cost, min_size=size, max_size=size))) for v, size in enumerate(sizes)]
    pairs = list(itertools.combinations(range(len(sizes)), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=12)) if pairs else []
    if draw(st.booleans()):
        chosen += pairs
    edges = []
    for u, v in chosen:
        line = st.lists(cost, min_size=sizes[v], max_size=sizes[v])
        edges.append(edge(f"t{u}", f"t{v}", *draw(st.lists(line, min_size=sizes[u], max_size=sizes[u]))))
    return problem(*tasks, *edges)


def test_near_data_wins_over_cheap_compute_when_much_flows() -> None:
    """Each alone would go to the cheaper site; together they stay where the first must be."""
    made = problem(task("a", 0, INF), task("b", 7, 5), edge("a", "b", [0, 3], [3, 0]))
    placed = elimination.place(made)
    assert placed.sites == (0, 0)
    assert (placed.cost_micros, placed.bound_micros, placed.proven) == (7, 7, True)
    cheap = problem(task("a", 0, INF), task("b", 7, 5), edge("a", "b", [0, 1], [1, 0]))
    assert elimination.place(cheap).sites == (0, 1)


def placed_or_undecided(made: Problem) -> elimination.Placement | None:
    """A placement without tables and solver; None where it is left undecided, and nothing else may be said."""
    try:
        return elimination.place(made, cells_max=1)
    except errors.FailedPrecondition as refused:
        if refused.reason != "PIPELINE_UNDECIDED":
            raise
        return None


@pytest.mark.parametrize("cells_max", [elimination.CELLS_MAX, 60, 1])
@given(made=problems())
@settings(max_examples=80, deadline=None)
def test_the_placement_is_the_cheapest_of_all(cells_max: int, made: Problem) -> None:
    """By elimination, by bounds and by the solver alike, or the refusal that nothing is allowed."""
    best = brute_force(made)
    if best == INF:
        with pytest.raises(errors.FailedPrecondition, match=r"PIPELINE_NO_(SITE|PLACEMENT)"):
            elimination.place(made, cells_max=cells_max, solve=SOLVE, seconds=30)
        return
    placed = elimination.place(made, cells_max=cells_max, solve=SOLVE, seconds=30)
    assert placed.cost_micros == best == cost_of(made, placed.sites)
    assert placed.bound_micros <= best
    assert placed.proven


@given(made=problems())
@settings(max_examples=80, deadline=None)
def test_without_proof_the_bound_is_honest(made: Problem) -> None:
    """No solver and no room for tables: what comes is allowed, and nothing is cheaper than the bound."""
    best = brute_force(made)
    if best == INF:
        with pytest.raises(errors.FailedPrecondition, match="PIPELINE_"):
            elimination.place(made, cells_max=1)
        return
    placed = placed_or_undecided(made)
    if placed is None:
        return
    assert placed.bound_micros <= best <= placed.cost_micros == cost_of(made, placed.sites)
    assert placed.proven == (placed.method is not Method.SEARCH)
    assert not placed.proven or placed.cost_micros == best


@given(made=problems(), offset=st.integers(-1000, 1000))
@settings(max_examples=60, deadline=None)
def test_a_cost_that_every_placement_has_moves_the_total_alone(made: Problem, offset: int) -> None:
    """Costs are compared, wherever they begin."""
    first = Task(name="t0", costs=made.tasks[0].costs + offset)
    moved = Problem(tasks=(first, *made.tasks[1:]), edges=made.edges)
    try:
        before = elimination.place(made)
    except errors.FailedPrecondition:
        with pytest.raises(errors.FailedPrecondition):
            elimination.place(moved)
        return
    assert elimination.place(moved).cost_micros == before.cost_micros + offset
    assert elimination.place(moved).sites == before.sites


SHAPES = {
    "chain": [(v - 1, v) for v in range(1, 12)],
    "fan out and in": [*((0, v) for v in range(1, 11)), *((v, 11) for v in range(1, 11))],
    "tree": [((v - 1) // 3, v) for v in range(1, 13)],
    "grid of 3": [*((v, v + 3) for v in range(9)), *((v, v + 1) for v in range(12) if v % 3 < 2)],
    "grid of 4": [*((v, v + 4) for v in range(12)), *((v, v + 1) for v in range(16) if v % 4 < 3)],
    "layers of 5": [(u, v) for u in range(10) for v in range(u // 5 * 5 + 5, u // 5 * 5 + 10) if (u + v) % 2],
}


@pytest.mark.parametrize("cells_max", [elimination.CELLS_MAX, 500])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_optimum_is_that_of_an_integer_program(shape: str, cells_max: int) -> None:
    """Of widths 1 to 5, also where the tables must stay small."""
    pairs = SHAPES[shape]
    made = random_problem(len(pairs), 1 + max(v for _, v in pairs), 6, pairs)
    placed = elimination.place(made, cells_max=cells_max, solve=SOLVE)
    assert placed.proven
    assert placed.cost_micros == pytest.approx(by_program(made), abs=0.5)


def test_a_wide_pipeline_is_solved_or_bounded() -> None:
    """All with all, far beyond what tables hold: the solver proves it, and without one the bound holds."""
    made = random_problem(1, 7, 6, list(itertools.combinations(range(7), 2)), most=100)
    solved = elimination.place(made, cells_max=1000, solve=SOLVE)
    searched = elimination.place(made, cells_max=1000)
    assert (solved.method, solved.proven) == (Method.SOLVER, True)
    assert (searched.method, searched.proven) == (Method.SEARCH, False)
    assert searched.bound_micros <= solved.cost_micros <= searched.cost_micros
    assert 0 < searched.gap < 1
    exact = elimination.place(made)
    assert exact.method is Method.ELIMINATION
    assert exact.cost_micros == solved.cost_micros


def test_a_solver_out_of_time_leaves_the_best_that_was_found() -> None:
    """With the bound that was there without it."""

    def late(program: program.Program, *, seconds: float) -> program.Solution:
        raise errors.Unavailable(f"nothing in {seconds} s", reason="SOLVER_TIMEOUT")

    made = random_problem(1, 7, 6, list(itertools.combinations(range(7), 2)), most=100)
    assert elimination.place(made, cells_max=1000, solve=late) == elimination.place(made, cells_max=1000)


def test_a_solver_that_fails_otherwise_is_not_passed_over() -> None:
    """Its error is the answer."""

    def broken(program: program.Program, *, seconds: float) -> program.Solution:
        raise errors.FailedPrecondition("not installed", reason="SOLVER_MISSING")

    made = random_problem(1, 7, 6, list(itertools.combinations(range(7), 2)), most=100)
    with pytest.raises(errors.FailedPrecondition, match="not installed"):
        elimination.place(made, cells_max=1000, solve=broken)


def test_several_edges_between_two_tasks_add_up() -> None:
    """Alone each would let them part, together they do not."""
    flow = edge("a", "b", [0, 3], [3, 0])
    made = [task("a", 0, 9), task("b", 5, 0)]
    assert elimination.place(problem(*made, flow)).sites == (0, 1)
    assert elimination.place(problem(*made, flow, flow)).sites == (0, 0)


def test_of_equally_cheap_sites_the_first_is_taken() -> None:
    """Each time."""
    made = problem(task("a", 1, 1, 1), task("b", 2, 2, 2), edge("a", "b", *np.zeros((3, 3)).tolist()))
    assert elimination.place(made).sites == (0, 0)
    wide = random_problem(3, 7, 4, list(itertools.combinations(range(7), 2)), most=3)
    assert len({elimination.place(wide, cells_max=50, solve=SOLVE).sites for _ in range(3)}) == 1


def test_money_is_exact_to_the_micro_dollar() -> None:
    """A hundred million dollars, told apart by a millionth of one; integers stay integers."""
    big = 10**14
    made = problem(
        Task(name="a", costs=np.array([big + 1, big], dtype=np.int64)),
        Task(name="b", costs=np.array([big, big + 2], dtype=np.int64)),
        Edge(before="a", after="b", costs=np.array([[0, 0], [0, 0]], dtype=np.int64)),
    )
    placed = elimination.place(made)
    assert (placed.sites, placed.cost_micros) == ((1, 0), 2 * big)
    assert isinstance(placed.cost_micros, int)


def test_tasks_may_have_different_numbers_of_sites_and_no_edges() -> None:
    """Each on its own."""
    placed = elimination.place(problem(task("a", 4, 3, 5), task("b", 1)))
    assert (placed.sites, placed.cost_micros) == ((1, 0), 4)


def test_a_pipeline_without_tasks_costs_nothing() -> None:
    """And is placed."""
    placed = elimination.place(problem())
    assert (placed.sites, placed.cost_micros, placed.proven) == ((), 0, True)


@pytest.mark.parametrize(
    ("parts", "reason", "said"),
    [
        (
            [edge("b", "a", [0]), edge("a", "c", [0]), edge("c", "b", [0])],
            "PIPELINE_CYCLE",
            "a -> c -> b -> a|c -> b -> a -> c|b -> a",
        ),
        ([edge("a", "a", [0])], "PIPELINE_CYCLE", "a -> a"),
        ([edge("a", "b", [0]), edge("b", "a", [0])], "PIPELINE_CYCLE", "a -> b -> a|b -> a -> b"),
        ([edge("a", "x", [0])], "PIPELINE_TASK_UNKNOWN", "'x'"),
        ([task("a", 1)], "PIPELINE_TASK_DUPLICATE", "'a'"),
        ([edge("a", "b", [0, 0])], "PIPELINE_COSTS_INVALID", "1 x 2"),
        ([edge("a", "b", [0.5])], "PIPELINE_COSTS_INVALID", "a -> b has the cost 0.5"),
        ([task("d", math.nan)], "PIPELINE_COSTS_INVALID", "task d"),
        ([task("d", -INF)], "PIPELINE_COSTS_INVALID", "task d"),
        ([task("d", 2.0**49)], "PIPELINE_COSTS_INVALID", "add up"),
        ([Task(name="d", costs=np.zeros((1, 1)))], "PIPELINE_COSTS_INVALID", "2 axes"),
        ([Task(name=f"d{i}", costs=np.zeros(1)) for i in range(elimination.TASKS_MAX)], "PIPELINE_TOO_LARGE", "10003 tasks"),
    ],
)
def test_what_is_no_pipeline_is_refused_by_name(parts: list[Task | Edge], reason: str, said: str) -> None:
    """Before anything is computed."""
    made = problem(task("a", 1), task("b", 1), task("c", 1), *parts)
    with pytest.raises(errors.InvalidArgument, match=said) as refused:
        elimination.place(made)
    assert refused.value.reason == reason
    assert refused.value.help


def test_a_circle_is_named_and_what_only_leads_to_or_from_it_is_not() -> None:
    """In the order of its edges."""
    names = ["in", "x", "y", "z", "out"]
    pairs = [("in", "x"), ("x", "y"), ("y", "z"), ("z", "x"), ("z", "out")]
    made = problem(*(task(name, 1) for name in names), *(edge(u, v, [0]) for u, v in pairs))
    with pytest.raises(errors.InvalidArgument) as refused:
        elimination.place(made)
    named = refused.value.metadata["tasks"].split(",")
    assert sorted(named) == ["x", "y", "z"]
    assert all((u, v) in pairs for u, v in itertools.pairwise([*named, named[0]]))


def test_a_task_without_a_site_is_named() -> None:
    """Whatever the others could do."""
    with pytest.raises(errors.FailedPrecondition, match="'b'") as refused:
        elimination.place(problem(task("a", 1, 2), task("b", INF, INF)))
    assert (refused.value.reason, refused.value.metadata["task"]) == ("PIPELINE_NO_SITE", "b")
    with pytest.raises(errors.FailedPrecondition, match="'c'"):
        elimination.place(problem(task("a", 1), task("c")))


def test_sites_that_do_not_go_together_are_refused() -> None:
    """Each task has a site, and no edge allows both."""
    with pytest.raises(errors.FailedPrecondition) as refused:
        elimination.place(problem(task("a", 1, INF), task("b", INF, 1), edge("a", "b", [0, INF], [INF, 0])))
    assert refused.value.reason == "PIPELINE_NO_PLACEMENT"


def graph_of(made: Problem) -> factors.Graph:
    """The problem as the methods see it."""
    return elimination._graph(made)[0]


@given(made=problems())
@settings(max_examples=80, deadline=None)
def test_dead_ends_leave_a_cheapest_placement(made: Problem) -> None:
    """Whether each option meets all of its rivals or a few."""
    try:
        whole = graph_of(made)
    except errors.FailedPrecondition:
        return
    best = factors.eliminate(whole, sorted(whole.options))[0]
    for rivals in (None, 1, 2):
        graph = graph_of(made)
        deadends.drop(graph, rivals=rivals)
        assert all(len(left) for left in graph.options.values())
        assert factors.eliminate(graph, sorted(graph.options))[0] == best


@given(made=problems(), passes=st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_messages_bound_the_least_cost_and_lose_nothing_cheaper(made: Problem, passes: int) -> None:
    """What is left in the graph and what was found hold the best between them; moved costs add up as they did."""
    try:
        graph = graph_of(made)
    except errors.FailedPrecondition:
        return
    best = factors.eliminate(graph, sorted(graph.options))[0]
    found = messages.bounds(graph, passes=passes, below=math.inf, enough=lambda _: False)
    assert found.lower <= best
    assert found.upper >= best or best == INF
    if not found.met:
        left = found.lower + factors.eliminate(graph, sorted(graph.options))[0]
        assert min(found.upper, left) == min(best, found.upper)


@given(made=problems(), passes=st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_nothing_that_is_cheaper_is_dropped_even_if_the_search_finds_nothing(made: Problem, passes: int) -> None:
    """The best stays, at its cost, though it lies just below what is asked for; and so it is placed."""
    best = brute_force(made)
    if best == INF:
        return
    graph, offset = elimination._graph(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descent.Descent, "offer", lambda self, chosen: None)
        found = messages.bounds(graph, passes=passes, below=best - offset + 1, enough=lambda _: False)
        assert found.lower + factors.eliminate(graph, sorted(graph.options))[0] == best - offset
        for cells_max in (60, 1):
            placed = elimination.place(made, cells_max=cells_max, solve=SOLVE)
            assert (placed.cost_micros, placed.proven) == (best, True)


@given(made=problems(), seed=st.randoms())
@settings(max_examples=80, deadline=None)
def test_every_order_of_elimination_finds_the_same_cost(made: Problem, seed: Any) -> None:
    """And steps back to a placement of that cost."""
    try:
        graph = graph_of(made)
    except errors.FailedPrecondition:
        return
    order = sorted(graph.options)
    seed.shuffle(order)
    cost, steps = factors.eliminate(graph, order)
    assert cost == factors.eliminate(graph, factors.order(graph).choices)[0]
    if cost < INF:
        chosen: dict[int, int] = {}
        factors.retrace(steps, chosen)
        assert graph.cost({v: int(np.searchsorted(graph.options[v], at)) for v, at in chosen.items()}) == cost


def test_the_order_of_a_tree_makes_no_table_wider_than_a_task() -> None:
    """Whatever its shape: leaves go first."""
    graph = graph_of(random_problem(0, 60, 7, [(v // 4, v) for v in range(1, 60)]))
    assert factors.order(graph).widest_cells == 7


def test_large_sparse_pipelines_are_proven() -> None:
    """Chains and trees of 300 tasks and 40 sites, and rings of 100."""
    for pairs in ([(v - 1, v) for v in range(1, 300)], [(v // 2, v) for v in range(1, 300)]):
        placed = elimination.place(random_problem(2, 300, 40, pairs))
        assert (placed.method, placed.proven) == (Method.ELIMINATION, True)
    ring = [*((v - 1, v) for v in range(1, 100)), (0, 99)]
    assert elimination.place(random_problem(2, 100, 40, ring)).proven
