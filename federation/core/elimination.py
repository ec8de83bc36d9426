"""Places the tasks of a pipeline as a whole: the site of each, so that the sum of all costs is least, proven where it can be.

A task costs something at each site, and an edge something for each pair of sites at its ends. First what is exact in little
time: chains, trees and whatever is narrow, by eliminating one task after another. Beyond that messages bound the least cost
from below, a search bounds it from above, and between them most sites drop out; what is left is eliminated if it has become
narrow, else handed to a solver. Where nothing proves the best, the best that was found comes with its proven bound.

Money is whole micro-dollars throughout.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from federation.core import deadends, errors, factors, messages, program, relaxation
from federation.core.factors import Costs, Graph

K = TypeVar("K")

#: The largest sum of all costs that a placement can have, in micro-dollars: sums and differences stay exact far below 2**53.
COST_MAX = 2**48
TASKS_MAX = 10_000
CELLS_MAX = 2**23
#: So many sums take some hundredths of a second: nothing else is tried before.
_EASY_CELLS = 2.0**24
#: All tables together may be so many times the largest, and be added up so many times: gigabytes and minutes otherwise.
_TABLES_MAX = 4
_SUMS_MAX = 512
#: A round of messages is so many passes at most; there is another while it leaves less than these shares of options or gap.
_PASSES = 24
_NARROWER = 0.9
_CLOSER = 0.8
#: Dead ends are looked for against so many rivals between rounds.
_RIVALS = 8
#: A program with more entries keeps a solver busy without an answer.
_ENTRIES_MAX = 6_000_000
#: How exactly a solver proves, as a share of the cost.
_SOLVER_SHARE = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One task: its name and what it costs at each site, in micro-dollars; an infinity forbids the site."""

    name: str
    costs: npt.NDArray[np.float64] | npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return f"<Task {self.name} sites={len(self.costs)}>"


@dataclass(frozen=True, kw_only=True, eq=False)
class Edge:
    """What flows from one task to another: `costs[i, j]` with the first at site i and the second at j; an infinity forbids.

    Several edges between the same two tasks add up.
    """

    before: str
    after: str
    costs: npt.NDArray[np.float64] | npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return f"<Edge {self.before} -> {self.after}>"


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A pipeline to be placed."""

    tasks: tuple[Task, ...]
    edges: tuple[Edge, ...] = ()


class Method(enum.StrEnum):
    """What found a placement, the easiest proof first."""

    ELIMINATION = "ELIMINATION"
    """Eliminated exactly."""
    BOUND = "BOUND"
    """The search met its proven bound."""
    SOLVER = "SOLVER"
    """A solver proved it, to one part in a million."""
    SEARCH = "SEARCH"
    """The best found; the bound says how much better another could be."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The site of each task, by number and in the order of the tasks; the exact cost, and a cost that nothing is below."""

    sites: tuple[int, ...]
    cost_micros: int
    bound_micros: int
    method: Method
    proven: bool

    @property
    def gap(self) -> float:
        """How much cheaper another placement could be at most, as a share of the cost."""
        return (self.cost_micros - self.bound_micros) / max(1, abs(self.cost_micros))


class Solve(Protocol):
    """`minimize` of the port Solver."""

    def __call__(self, program: program.Program, *, seconds: float) -> program.Solution: ...


class _Answer(NamedTuple):
    """The least cost of a graph, as far as it is known, and the positions taken."""

    cost: float
    lower: float
    chosen: dict[int, int]
    method: Method


_INFEASIBLE = _Answer(math.inf, math.inf, {}, Method.ELIMINATION)


class _Means(NamedTuple):
    cells_max: int
    solve: Solve | None
    seconds: float


def place(problem: Problem, *, cells_max: int = CELLS_MAX, solve: Solve | None = None, seconds: float = 60.0) -> Placement:
    """The cheapest placement; the same each time for the same problem, unless a solver ran out of time.

    `cells_max` bounds the largest table of the elimination; beyond it `solve` is asked, for `seconds` in all. InvalidArgument
    for a pipeline that cannot be: PIPELINE_CYCLE, PIPELINE_TASK_UNKNOWN, PIPELINE_TASK_DUPLICATE, PIPELINE_COSTS_INVALID,
    PIPELINE_TOO_LARGE. FailedPrecondition when a task has no site (PIPELINE_NO_SITE), when no sites go together
    (PIPELINE_NO_PLACEMENT), or when it could neither be found out nor any be found (PIPELINE_UNDECIDED).
    """
    _check_shape(problem)
    graph, offset = _graph(problem)
    parts = [(part, factors.order(part)) for part in graph.components()]
    hard = sum(not _easy(plan) for _, plan in parts)
    means = _Means(cells_max, solve, seconds / max(1, hard))
    answers = [_answer(part, plan, means) for part, plan in parts]
    if any(math.isinf(answer.lower) for answer in answers):
        raise errors.FailedPrecondition(
            "no sites go together: whatever site each task takes, some edge forbids it",
            reason="PIPELINE_NO_PLACEMENT",
            help="Allow more sites to the tasks, or price the links between them.",
        )
    if any(math.isinf(answer.cost) for answer in answers):
        raise errors.FailedPrecondition(
            "no placement was found, and none was proven impossible",
            reason="PIPELINE_UNDECIDED",
            help="Allow more time, pin some of the tasks to sites, or install a solver.",
        )
    return _placement(problem, answers, offset)


def _placement(problem: Problem, answers: list[_Answer], offset: int) -> Placement:
    chosen = {v: site for answer in answers for v, site in answer.chosen.items()}
    sites = tuple(chosen[v] for v in range(len(problem.tasks)))
    cost = cost_micros(problem, sites)
    method = max((answer.method for answer in answers), key=list(Method).index, default=Method.ELIMINATION)
    return Placement(
        sites=sites,
        cost_micros=cost,
        bound_micros=min(cost, offset + sum(int(answer.lower) for answer in answers)),
        method=method,
        proven=method is not Method.SEARCH,
    )


def cost_micros(problem: Problem, sites: tuple[int, ...]) -> int:
    """What a placement costs, exactly; the sites are allowed ones."""
    at = {task.name: site for task, site in zip(problem.tasks, sites, strict=True)}
    alone = sum(int(task.costs[at[task.name]]) for task in problem.tasks)
    return alone + sum(int(edge.costs[at[edge.before], at[edge.after]]) for edge in problem.edges)


def _answer(graph: Graph, plan: factors.Order, means: _Means) -> _Answer:
    """The answer for one component."""
    if _easy(plan) and _fits(plan, means):
        return _eliminated(graph, plan)
    return _Narrowing(graph, means).answer()


def _eliminated(graph: Graph, plan: factors.Order) -> _Answer:
    cost, steps = factors.eliminate(graph, plan.choices)
    chosen: dict[int, int] = {}
    if math.isinf(cost):
        return _INFEASIBLE
    factors.retrace(steps, chosen)
    return _Answer(cost, cost, chosen, Method.ELIMINATION)


class _Narrowing:
    """The way to the answer for a component that is not easy: rounds of bounds, each of which leaves less of the graph.

    `graph` holds whatever may cost less than `below`; every placement in it costs `taken` besides.
    """

    def __init__(self, graph: Graph, means: _Means) -> None:
        self.graph = graph
        self.means = means
        self.steps: list[factors.Step] = []
        self.taken = 0.0
        self.best = _Answer(math.inf, 0.0, {}, Method.BOUND)
        self.below = math.inf  # What the best costs; without one, what only a forbidden placement does.

    def answer(self) -> _Answer:
        """Eliminates as soon as that is easy; else when nothing narrows any more, if it can be; else asks the solver."""
        left, gap = math.inf, math.inf
        while self._options() <= _NARROWER * left or self.below - self.taken <= _CLOSER * gap:
            left, gap = self._options(), self.below - self.taken
            self.steps += factors.eliminate_simple(self.graph)
            plan = factors.order(self.graph)
            if _easy(plan) and _fits(plan, self.means):
                return self._eliminated(plan)
            # Against a few rivals each, which is quick and makes all that follows smaller.
            deadends.drop(self.graph, rivals=_RIVALS)
            if self._met():
                return self.best
        deadends.drop(self.graph)
        self.steps += factors.eliminate_simple(self.graph)
        plan = factors.order(self.graph)
        return self._eliminated(plan) if _fits(plan, self.means) else self._solved()

    def _options(self) -> int:
        return sum(len(left) for left in self.graph.options.values())

    def _met(self) -> bool:
        """One round of messages; whether it proved that nothing is better than the best."""
        found = messages.bounds(
            self.graph,
            passes=_PASSES,
            below=self.below - self.taken,
            enough=lambda sizes: _easy(factors.order(self.graph, sizes)),
        )
        self._offer(found.upper, found.chosen)
        self.below = self.taken + found.upper
        self.taken += found.lower
        if found.met:
            self.best = self._proven(Method.BOUND)
        return found.met

    def _offer(self, cost: float, chosen: dict[int, int]) -> None:
        """Keeps a placement of what is left of the graph as the best, if it is better."""
        if chosen and self.taken + cost < self.below:
            factors.retrace(self.steps, chosen)
            self.below = self.taken + cost
            self.best = self.best._replace(cost=self.below, chosen=chosen)

    def _proven(self, method: Method) -> _Answer:
        """The answer where nothing is cheaper than the best; there may be none."""
        return self.best._replace(lower=self.best.cost, method=method)

    def _eliminated(self, plan: factors.Order) -> _Answer:
        found = _eliminated(self.graph, plan)
        self._offer(found.cost, found.chosen)
        return self._proven(Method.ELIMINATION)

    def _solved(self) -> _Answer:
        """What the solver says of what is left: its best may be better than ours, and its bound higher."""
        unproven = self.best._replace(lower=self.taken, method=Method.SEARCH)
        if self.means.solve is None or relaxation.entries(self.graph) > _ENTRIES_MAX:
            return unproven
        relaxed = relaxation.relax(self.graph)
        try:
            solution = self.means.solve(relaxed.program, seconds=self.means.seconds)
        except errors.FederationError as refused:
            if refused.reason == "PROGRAM_INFEASIBLE":
                return self._proven(Method.SOLVER)
            if refused.reason == "SOLVER_TIMEOUT":
                return unproven
            raise
        places = relaxed.places(solution.values, self.graph)
        self._offer(self.graph.cost(places), {v: int(self.graph.options[v][at]) for v, at in places.items()})
        slack = _SOLVER_SHARE * max(1.0, abs(solution.bound))
        if not math.isfinite(slack):
            return unproven
        lower = self.taken + max(0, math.ceil(solution.bound - slack))
        if lower < self.below - 2 * slack:
            return unproven._replace(lower=lower)
        return self.best._replace(lower=min(self.best.cost, lower) if self.best.chosen else math.inf, method=Method.SOLVER)


def _easy(plan: factors.Order) -> bool:
    return plan.work_cells <= _EASY_CELLS


def _fits(plan: factors.Order, means: _Means) -> bool:
    return (
        plan.widest_cells <= means.cells_max
        and plan.total_cells <= _TABLES_MAX * means.cells_max
        and plan.work_cells <= _SUMS_MAX * means.cells_max
    )


def _graph(problem: Problem) -> tuple[Graph, int]:
    """The problem as a graph whose costs are 0 or more, without forbidden options, and what was taken off them."""
    costs = [_whole(task.costs, f"task {task.name}", 1) for task in problem.tasks]
    number = {task.name: v for v, task in enumerate(problem.tasks)}
    pairs: dict[tuple[int, int], Costs] = {}
    most = sum(_largest(table) for table in costs)
    for edge in problem.edges:
        matrix = _matrix(edge, len(costs[number[edge.before]]), len(costs[number[edge.after]]))
        most += _largest(matrix)
        u, v = number[edge.before], number[edge.after]
        u, v, matrix = (u, v, matrix) if u < v else (v, u, matrix.T)
        pairs[u, v] = pairs[u, v] + matrix if (u, v) in pairs else matrix
    if most > COST_MAX:
        raise _invalid(f"the costs may add up to {most:.4g} micro-dollars", f"Use costs that add up to at most {COST_MAX}.")
    options = {v: np.flatnonzero(np.isfinite(table)) for v, table in enumerate(costs)}
    unary = {v: costs[v][left] for v, left in options.items()}
    pairs = {(u, v): matrix[np.ix_(options[u], options[v])] for (u, v), matrix in pairs.items()}
    _check_sites(problem, options)
    offset = sum(_least(table) for table in (*unary.values(), *pairs.values()))
    return Graph(options, _raised(unary), _raised(pairs)), int(offset)


def _whole(costs: npt.ArrayLike, what: str, axes: int) -> Costs:
    table = np.array(costs, dtype=np.float64)
    if table.ndim != axes:
        raise _invalid(f"the costs of {what} have {table.ndim} axes", f"Give them {axes}.")
    bad = np.isnan(table) | (table == -np.inf) | (np.isfinite(table) & (table != np.rint(table)))
    if bad.any():
        raise _invalid(f"{what} has the cost {table[bad][0]:g}", "Use whole micro-dollars, or infinity where it is forbidden.")
    return table


def _matrix(edge: Edge, rows: int, columns: int) -> Costs:
    what = f"edge {edge.before} -> {edge.after}"
    matrix = _whole(edge.costs, what, 2)
    if matrix.shape != (rows, columns):
        shape = " x ".join(map(str, matrix.shape))
        raise _invalid(f"the costs of {what} are {shape}", f"Its tasks have {rows} and {columns} sites: make them so many.")
    return matrix


def _raised(tables: Mapping[K, Costs]) -> dict[K, Costs]:
    return {key: table - _least(table) for key, table in tables.items()}


def _least(table: Costs) -> float:
    least = float(table.min())
    return least if math.isfinite(least) else 0.0


def _largest(table: Costs) -> float:
    return float(np.max(np.abs(table), where=np.isfinite(table), initial=0.0))


def _check_shape(problem: Problem) -> None:
    if len(problem.tasks) > TASKS_MAX:
        raise errors.InvalidArgument(
            f"the pipeline has {len(problem.tasks)} tasks", reason="PIPELINE_TOO_LARGE", help=f"Use at most {TASKS_MAX}."
        )
    names = {task.name for task in problem.tasks}
    if len(names) < len(problem.tasks):
        twice = next(task.name for i, task in enumerate(problem.tasks) if task.name in {t.name for t in problem.tasks[:i]})
        raise errors.InvalidArgument(f"two tasks are called {twice!r}", reason="PIPELINE_TASK_DUPLICATE", help="Rename one.")
    for edge in problem.edges:
        for name in (edge.before, edge.after):
            if name not in names:
                raise errors.InvalidArgument(
                    f"the edge {edge.before} -> {edge.after} names {name!r}, which is no task",
                    reason="PIPELINE_TASK_UNKNOWN",
                    help="Name tasks of this pipeline.",
                )
    cycle = find_cycle(problem)
    if cycle:
        raise errors.InvalidArgument(
            f"the pipeline goes in a circle: {' -> '.join((*cycle, cycle[0]))}",
            reason="PIPELINE_CYCLE",
            help="Remove one of these edges.",
            metadata={"tasks": ",".join(cycle)},
        )


def find_cycle(problem: Problem) -> tuple[str, ...]:
    """Tasks that lead to each other in a circle, in the order of the edges; () where there are none."""
    after: dict[str, list[str]] = {task.name: [] for task in problem.tasks}
    waits: dict[str, int] = dict.fromkeys(after, 0)
    for edge in problem.edges:
        after[edge.before].append(edge.after)
        waits[edge.after] += 1
    free = [name for name, count in waits.items() if not count]
    while free:
        name = free.pop()
        del waits[name]
        for other in after[name]:
            waits[other] -= 1
            if not waits[other]:
                free.append(other)
    return _walk_back(problem, waits)


def _walk_back(problem: Problem, waits: Mapping[str, int]) -> tuple[str, ...]:
    """Every task that still waits has one before it that does: going back from any of them ends in a circle."""
    if not waits:
        return ()
    before = {edge.after: edge.before for edge in problem.edges if edge.before in waits}
    path: dict[str, None] = {}
    name = next(iter(waits))
    while name not in path:
        path[name] = None
        name = before[name]
    walked = list(path)
    return tuple(reversed(walked[walked.index(name) :]))


def _check_sites(problem: Problem, options: Mapping[int, npt.NDArray[np.int64]]) -> None:
    for v, left in options.items():
        if not len(left):
            name = problem.tasks[v].name
            raise errors.FailedPrecondition(
                f"the task {name!r} has no site",
                reason="PIPELINE_NO_SITE",
                help="See why each site was set aside: plan the task alone.",
                metadata={"task": name},
            )


def _invalid(message: str, help_: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(message, reason="PIPELINE_COSTS_INVALID", help=help_)
