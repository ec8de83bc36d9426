"""The index of lineage: in whichever batches edges came, a walk through it is that of a dumb twin over the same edges."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from federation.adapters import records_tables
from federation.adapters.lineage_record import to_columns
from federation.core import lineage, lineage_graph
from federation.core import records as core_records
from federation.core.events import Event
from federation.core.lineage import Direction, Edge, Query
from tests import records

NAMES = [f"ml/d{number}@1" for number in range(5)] + ["s3://lake/x"]
RUNS = [f"jobs/j-{number}/runs/1" for number in range(4)]


def events(edges: Iterable[Edge]) -> list[Event]:
    """Edges as the log has them, at every other position."""
    return [records.event(2 * place, "lineage.edge", edge) for place, edge in enumerate(edges, 1)]


def columns(log: list[Event]) -> lineage_graph.Columns:
    """Events as the index takes them."""
    return to_columns("lineage_edges", records_tables.to_arrow("lineage_edges", log))


def graph(edges: list[Edge], cuts: Iterable[int] = ()) -> lineage_graph.LineageGraph:
    """The index, made of one batch or of those between the cuts."""
    made, log = lineage_graph.LineageGraph(), events(edges)
    bounds = [0, *sorted(cuts), len(log)]
    for first, last in itertools.pairwise(bounds):
        made.add_edges(columns(log[first:last]))
    return made


@dataclass(frozen=True)
class Twin:
    """The same walk over a list, an edge at a time."""

    edges: list[Edge]
    query: Query

    def sequence(self, roots: list[str], run: str = "", depth: int = 1000) -> list[Edge]:
        """All edges of the walk, in order."""
        told: list[Edge] = []
        wanted = self.query.direction
        ways = [("out", "in", d) for d in (Direction.UPSTREAM,) if wanted in (d, Direction.BOTH)]
        ways += [("in", "out", d) for d in (Direction.DOWNSTREAM,) if wanted in (d, Direction.BOTH)]
        nodes = {way: list(roots) for way in ways}
        runs = {way: [run] if run else [] for way in ways}
        seen_nodes = {way: set(roots) for way in ways}
        seen_runs = {way: set(runs[way]) for way in ways}
        for hop in range(depth):
            if not any(nodes[way] or runs[way] for way in ways):
                break
            for way in ways:
                arrive, leave, _ = way
                if hop or not run:
                    found = [e for node in nodes[way] for e in self.counted() if (e.node, e.direction) == (node, arrive)]
                    told += [edge for edge in found if edge not in told]
                    runs[way] = self._fresh((edge.run for edge in found), seen_runs[way])
                found = [e for name in runs[way] for e in self.counted() if (e.run, e.direction) == (name, leave)]
                told += [edge for edge in found if edge not in told]
                nodes[way] = self._fresh((edge.node for edge in found), seen_nodes[way])
                runs[way] = []
        return told

    def counted(self) -> list[Edge]:
        """The edges that the query's time lets count."""
        limit = self.query.as_of_time
        last = self.query.as_of_position
        placed = enumerate(self.edges, 1)
        return [e for place, e in placed if (not last or 2 * place <= last) and (limit is None or e.time <= limit)]

    def _fresh(self, names: Iterable[str], seen: set[str]) -> list[str]:
        fresh = [name for name in dict.fromkeys(names) if name not in seen]
        seen.update(fresh)
        return fresh


@st.composite
def graphs(draw: st.DrawFn) -> list[Edge]:
    """Up to twenty edges among few names, circles too; each key once, times in no order."""
    keys = st.tuples(st.sampled_from(RUNS), st.sampled_from(["in", "out"]), st.sampled_from(NAMES))
    found = draw(st.lists(keys, max_size=20, unique=True))
    return [
        records.edge(
            run,
            direction,
            node=node,
            alias=f"a{place}",
            bytes=place,
            time=records.TIME + timedelta(seconds=draw(st.integers(0, 5))),
            charge_micros=draw(st.sampled_from([None, 0, 7])),
            rows=draw(st.sampled_from([None, 3])),
            columns=draw(st.sampled_from([(), ("x",), ("x", 'ÿ,"')])),
            manifest_digest=draw(st.sampled_from(["", "ab" * 32])),
        )
        for place, (run, direction, node) in enumerate(found)
    ]


QUERIES = st.builds(
    Query,
    name=st.just("x"),
    direction=st.sampled_from(list(Direction)),
    depth=st.integers(1, 6),
    edges_max=st.integers(1, 12),
    as_of_position=st.sampled_from([0, 1, 6, 13, 40]),
    as_of_time=st.sampled_from([None, records.TIME + timedelta(seconds=2)]),
)


def start(view: lineage_graph.View, root: str) -> tuple[list[int], list[int]]:
    """Where a walk begins, by number."""
    if root in RUNS:
        return [], [number] if (number := view.run(root)) >= 0 else []
    return [number] if (number := view.node(root)) >= 0 else [], []


@given(graphs(), QUERIES, st.sampled_from([*NAMES, *RUNS]), st.sets(st.integers(0, 20), max_size=4))
def test_a_walk_is_that_of_the_dumb_twin_however_the_edges_came(edges, query, root, cuts):
    """Edges, order, bounds, completeness and frontier: in every direction and depth, as of any time or position."""
    view = graph(edges, (min(cut, len(edges)) for cut in cuts)).view()
    walked = view.walk(*start(view, root), query)
    twin = Twin(edges, query)
    begin = ([], root) if root in RUNS else ([root], "")
    whole, within = twin.sequence(*begin), twin.sequence(*begin, depth=query.depth)
    assert view.values(walked.edges) == tuple(within[: query.edges_max])
    assert walked.complete == (len(whole) == len(within[: query.edges_max]))
    assert bool(walked.frontier) == (not walked.complete)
    left = {name for edge in whole[len(walked.edges) :] for name in (edge.node, edge.run)}
    assert set(walked.frontier) <= left
    assert [view.run_name(run) for run in walked.runs.tolist()] == list(dict.fromkeys(e.run for e in within[: query.edges_max]))


@given(graphs(), QUERIES, st.sampled_from([*NAMES, *RUNS]), st.integers(1, 5))
def test_going_on_reaches_exactly_the_rest(edges, query, root, size):
    """Piece by piece, by any of two indexes of the same record, the walk is the one that is told at once."""
    one, other = graph(edges).view(), graph(edges, range(len(edges))).view()
    deep = Query(name="x", direction=query.direction, depth=1000, edges_max=1000)
    told: list[Edge] = []
    for piece in range(len(edges) + 1):
        view = (one, other)[piece % 2]
        asked = Query(name="x", direction=query.direction, depth=1000, edges_max=size, skip=len(told))
        walked = view.walk(*start(view, root), asked, lambda: True)
        told += view.values(walked.edges)
        if walked.complete:
            break
    assert tuple(told) == one.values(one.walk(*start(one, root), deep).edges)


@given(graphs(), st.sets(st.integers(0, 20), max_size=4))
def test_what_came_in_pieces_is_what_came_at_once(edges, cuts):
    """No difference in any range, whichever way it was built; and its columns are the record's."""
    once, pieces = graph(edges), graph(edges, (min(cut, len(edges)) for cut in cuts))
    assert lineage_graph.differences("t", once.edge_columns(), pieces.edge_columns()) == ()
    assert lineage_graph.differences("t", once.edge_columns(), columns(events(edges))) == ()
    assert once.view().values(np.arange(len(edges))) == tuple(edges)


@given(graphs().filter(bool), st.data())
def test_a_changed_or_missing_row_is_a_difference(edges, data):
    """Whatever figure it is: the range is named, with the rows that each side has."""
    place = data.draw(st.integers(0, len(edges) - 1))
    field, value = data.draw(
        st.sampled_from(
            [
                ("node", "ml/other@9"),
                ("bytes", 10**6),
                ("charge_micros", 8),
                ("columns", ("z",)),
                ("site", "xx"),
                ("direction", "?"),
            ]
        )
    )
    changed = list(edges)
    changed[place] = replace(edges[place], **{field: value})
    (told,) = lineage_graph.differences("t", graph(edges).edge_columns(), columns(events(changed)))
    assert (told.first, told.last, told.index_rows, told.table_rows) == (0, lineage_graph.RANGE - 1, len(edges), len(edges))
    log = [event for event in events(edges) if event.position != 2 * (place + 1)]
    (told,) = lineage_graph.differences("t", graph(edges).edge_columns(), columns(log))
    assert (told.index_rows, told.table_rows) == (len(edges), len(edges) - 1)


def test_what_is_added_again_is_there_once():
    """A batch that comes twice, or overlaps, adds what is new alone; rows in any order are put in order."""
    edges = [records.edge(f"r-{number}") for number in range(6)]
    log, made = events(edges), lineage_graph.LineageGraph()
    made.add_edges(columns(log[:4]))
    made.add_edges(columns(log[:4]))
    made.add_edges(columns(log[5:] + log[2:5]))
    assert made.view().values(np.arange(made.edges)) == tuple(edges)
    assert made.edge_position == 12


def test_a_view_is_not_disturbed_by_what_is_added_later():
    """Not by edges in the dictionary, nor when the arrays are made anew."""
    edges = [records.edge(f"r-{number}", node="ml/a@1") for number in range(12_000)]
    made = lineage_graph.LineageGraph()
    log = events(edges)
    made.add_edges(columns(log[:10]))
    before = made.view()
    query = Query(name="x", direction=Direction.DOWNSTREAM, edges_max=100_000)
    first = before.walk([before.node("ml/a@1")], [], query)
    made.add_edges(columns(log[10:20]))
    again = before.walk([before.node("ml/a@1")], [], query)
    made.add_edges(columns(log[20:]))
    last = before.walk([before.node("ml/a@1")], [], query)
    assert [len(walked.edges) for walked in (first, again, last)] == [10, 10, 10]
    after = made.view()
    assert len(after.walk([after.node("ml/a@1")], [], query).edges) == 12_000
    assert made.memory_bytes < 1000 * made.edges


def test_facts_of_runs_come_back_as_they_were():
    """With and without a start; one that has not come is None."""
    facts = [records.run_fact("r-1"), records.run_fact("r-2", start_time=records.TIME, label="train", attempt=3)]
    log = [records.event(place, "lineage.run", fact) for place, fact in enumerate(facts, 1)]
    made = lineage_graph.LineageGraph()
    made.add_facts(to_columns("lineage_runs", records_tables.to_arrow("lineage_runs", log)))
    made.add_edges(columns(events([records.edge("r-3")])))
    view = made.view()
    assert [view.fact(view.run(f"r-{number}")) for number in (1, 2, 3)] == [*facts, None]


def test_reports_are_put_together_in_any_order():
    """Columns add up; one reader that may have seen all makes it all."""
    some = lineage.LineageReport(inputs=(lineage.InputColumns(alias="a", columns=("x", "y")),))
    more = lineage.LineageReport(
        inputs=(lineage.InputColumns(alias="a", columns=("z",)), lineage.InputColumns(alias="b", whole=True)),
        outputs=(lineage.OutputColumns(alias="o", columns=(("t", "int64"),)),),
    )
    other = lineage.LineageReport(outputs=(lineage.OutputColumns(alias="o", columns=(("t", "double"), ("u", "string"))),))
    merged = some.merged(more).merged(other)
    assert merged == other.merged(more).merged(some).merged(more)
    assert (merged.input("a").columns, merged.input("b").columns) == (("x", "y", "z"), ())
    assert merged.output("o").columns == (("t", "double | int64"), ("u", "string"))
    whole = merged.merged(lineage.LineageReport(inputs=(lineage.InputColumns(alias="a", whole=True),)))
    assert (whole.input("a").columns, whole.input("a").whole) == ((), True)
    assert core_records.loads(lineage.LineageReport, core_records.dumps(merged)) == merged
