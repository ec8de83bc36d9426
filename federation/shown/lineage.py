"""Lineage as trees: what something was made from, and what was made of it, through which runs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.text import Text

from federation.core import lineage as values
from federation.core import units
from federation.core.screen import safe


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A line of a tree and those below it. `name` is the node or run that it shows, '' for a line that is only said."""

    label: Text
    name: str = ""
    below: tuple[Branch, ...] = ()


def branches(graph: values.Graph, direction: str) -> list[Branch]:
    """One tree for each asked direction (upstream, downstream, or both), rooted in what was asked for."""
    walks = {"upstream": ("made from", _sources), "downstream": ("used by", _uses)}
    wanted = walks if direction == "both" else {direction: walks[direction]}
    return [_root(graph, title, walk) for title, walk in wanted.values()]


def _root(graph: values.Graph, title: str, walk: _Walk) -> Branch:
    below: list[Branch] = []
    for node in _roots(graph):
        grown = _grown(node, graph, walk, seen=set())
        if grown and node != graph.root:
            below.append(Branch(label=Text(safe(node), style="cyan"), name=node, below=grown))
        else:
            below.extend(grown)
    label = Text.assemble((safe(graph.root), "bold"), f"  {title}")
    return Branch(label=label, name=graph.root, below=tuple(below) or (Branch(label=Text("nothing", style="dim")),))


_Walk = Callable[[values.Graph, str], Iterable[tuple[str, list[values.Edge]]]]


def _roots(graph: values.Graph) -> list[str]:
    """What the tree begins with: the version itself, the versions of a dataset, or what a run wrote."""
    if values.node_kind(graph.root) is values.NodeKind.VERSION or any(edge.node == graph.root for edge in graph.edges):
        return [graph.root]
    nodes = {edge.node for edge in graph.edges if edge.node.startswith(f"{graph.root}@")}
    nodes |= {edge.node for edge in graph.edges if edge.run == graph.root and edge.direction == "out"}
    return sorted(nodes, key=_by_number)


def _by_number(node: str) -> tuple[str, int]:
    head, _, number = node.rpartition("@")
    return (head, int(number)) if number.isdecimal() else (node, 0)


def _grown(node: str, graph: values.Graph, walk: _Walk, seen: set[str]) -> tuple[Branch, ...]:
    """The runs beyond a node, each with what is beyond it. What has been seen on the way is named and not walked again."""
    facts = {fact.run: fact for fact in graph.runs}
    grown = []
    for run, edges in walk(graph, node):
        below = []
        for edge in edges:
            again = edge.node in seen
            seen.add(edge.node)
            further = () if again else _grown(edge.node, graph, walk, seen)
            below.append(Branch(label=_edge_line(edge, again=again), name=edge.node, below=further))
        grown.append(Branch(label=_run_line(run, facts.get(run)), name=run, below=tuple(below)))
    return tuple(grown)


def _sources(graph: values.Graph, node: str) -> Iterable[tuple[str, list[values.Edge]]]:
    """The runs that wrote a node, each with what it read."""
    for run in sorted({edge.run for edge in graph.edges if edge.direction == "out" and edge.node == node}):
        yield run, [edge for edge in graph.edges if edge.run == run and edge.direction == "in"]


def _uses(graph: values.Graph, node: str) -> Iterable[tuple[str, list[values.Edge]]]:
    """The runs that read a node, each with what it wrote."""
    for run in sorted({edge.run for edge in graph.edges if edge.direction == "in" and edge.node == node}):
        yield run, [edge for edge in graph.edges if edge.run == run and edge.direction == "out"]


def _run_line(run: str, fact: values.RunFact | None) -> Text:
    if fact is None:
        return Text(safe(run), style="yellow")
    label = f" {fact.label}" if fact.label else ""
    where = f"at {fact.site} ({fact.region})" if fact.site else f"elsewhere, as {fact.principal} told"
    return Text.assemble((safe(run), "yellow"), safe(f"{label}  {fact.state} {where}"))


def _edge_line(edge: values.Edge, *, again: bool) -> Text:
    way = f"  {edge.source_region} -> {edge.destination_region}" if edge.crossed else f"  at {edge.site}" if edge.site else ""
    tail = "  (see above)" if again else ""
    size = f", {units.size(edge.bytes)}" if edge.bytes else ""
    money = f", {units.usd(edge.charge_micros)}" if edge.charge_micros else ""
    columns = f"  [{', '.join(edge.columns)}]" if edge.columns and edge.direction == "in" else ""
    return Text.assemble((safe(edge.node), "cyan"), safe(f"{way}{size}{money}"), (safe(columns), "dim"), (tail, "dim"))
