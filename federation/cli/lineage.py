"""`fed lineage`: what came of what, through which runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import BinaryIO

import click
from rich.text import Text
from rich.tree import Tree

from federation.cli.command import noun, verb
from federation.cli.output import safe
from federation.cli.session import Session
from federation.core import lineage as values
from federation.core import units

#: Events sent at once.
RECEIVED_AT_ONCE = 500

lineage = noun("lineage", "What came of what, through which runs.")


@verb(lineage, "show", example="fed lineage show ml/delay-model --direction upstream")
@click.argument("name")
@click.option(
    "--direction",
    type=click.Choice(("upstream", "downstream", "both")),
    default="both",
    show_default=True,
    help="What it was made from, what was made of it, or both.",
)
@click.option("--depth", type=click.IntRange(1, 100), default=10, show_default=True, help="How many runs away to look.")
def show(session: Session, name: str, direction: str, depth: int) -> None:
    """Draws the lineage of a dataset, a version or a run as a tree."""
    graph = session.client.get_lineage(name, direction=direction, depth=depth)
    if session.output.json:
        session.output.item(graph)
        return
    for tree in trees(graph, direction):
        session.output.show(tree)
    if not graph.complete:
        session.output.say(f"There is more beyond {', '.join(graph.frontier)}; ask for a greater --depth.")


@verb(lineage, "receive", example="fed lineage receive dbt-events.jsonl")
@click.argument("file", type=click.File("rb"))
def receive(session: Session, file: BinaryIO) -> None:
    """Takes OpenLineage events of other tools into lineage: a JSON object a line, or a list of them; `-` reads stdin."""
    text = file.read()
    listed = json.loads(text) if text.lstrip().startswith(b"[") else None
    events = (
        [json.dumps(each).encode() for each in listed]
        if listed is not None
        else [row for row in text.splitlines() if row.strip()]
    )
    for at in range(0, len(events), RECEIVED_AT_ONCE):
        session.output.item(session.client.receive_open_lineage(events[at : at + RECEIVED_AT_ONCE]))


def trees(graph: values.Graph, direction: str) -> list[Tree]:
    """One tree for each asked direction that has something to tell, rooted in what was asked for."""
    walks = {"upstream": ("made from", _sources), "downstream": ("used by", _uses)}
    wanted = walks if direction == "both" else {direction: walks[direction]}
    drawn = []
    for title, walk in wanted.values():
        roots = _roots(graph)
        tree = Tree(Text.assemble((safe(graph.root), "bold"), f"  {title}"))
        for node in roots:
            if not _walked(graph, walk, node):
                continue
            branch = tree if node == graph.root else tree.add(Text(safe(node), style="cyan"))
            _grow(branch, node, graph, walk, seen=set())
        if not any(_walked(graph, walk, node) for node in roots):
            tree.add(Text("nothing", style="dim"))
        drawn.append(tree)
    return drawn


_Walk = Callable[[values.Graph, str], Iterable[tuple[str, list[values.Edge]]]]


def _roots(graph: values.Graph) -> list[str]:
    """What the tree begins with: the version itself, the versions of a dataset, or what a run wrote."""
    if "@" in graph.root:
        return [graph.root]
    nodes = {edge.node for edge in graph.edges if edge.node.startswith(f"{graph.root}@")}
    nodes |= {edge.node for edge in graph.edges if edge.run == graph.root and edge.direction == "out"}
    return sorted(nodes, key=_by_number)


def _walked(graph: values.Graph, walk: _Walk, node: str) -> bool:
    return any(True for _ in walk(graph, node))


def _by_number(node: str) -> tuple[str, int]:
    head, _, number = node.rpartition("@")
    return (head, int(number)) if number.isdecimal() else (node, 0)


def _grow(branch: Tree, node: str, graph: values.Graph, walk: _Walk, seen: set[str]) -> None:
    facts = {fact.run: fact for fact in graph.runs}
    for run, edges in walk(graph, node):
        fact = facts.get(run)
        below = branch.add(_run_line(run, fact))
        for edge in edges:
            again = edge.node in seen
            leaf = below.add(_edge_line(edge, again=again))
            if not again:
                seen.add(edge.node)
                _grow(leaf, edge.node, graph, walk, seen)


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
    return Text.assemble((safe(run), "yellow"), safe(f"{label}  {fact.state} at {fact.site} ({fact.region})"))


def _edge_line(edge: values.Edge, *, again: bool) -> Text:
    moved = edge.source_region and edge.source_region != edge.destination_region
    way = f"  {edge.source_region} -> {edge.destination_region}" if moved else f"  at {edge.site}"
    tail = "  (see above)" if again else ""
    size = f", {units.size(edge.bytes)}" if edge.bytes else ""
    return Text.assemble((safe(edge.node), "cyan"), safe(f"{way}{size}"), (tail, "dim"))
