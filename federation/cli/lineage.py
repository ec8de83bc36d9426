"""`fed lineage`: what came of what, through which runs; which models saw it, what an erasure would cost, why it is bound."""

from __future__ import annotations

import json
import tempfile
import webbrowser
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.text import Text
from rich.tree import Tree

from federation.cli.command import noun, verb
from federation.cli.output import FORMATS, Output
from federation.cli.session import Session
from federation.core import errors, lineage_page, lineage_picture, openlineage, units
from federation.core import lineage as values
from federation.core.screen import safe
from federation.shown import lineage as shown
from federation.shown import shapes, wording

#: Events sent at once.
RECEIVED_AT_ONCE = 500

lineage = noun("lineage", "What came of what, through which runs.")
index = noun("index", "The index that lineage is answered from.")
lineage.add_command(index)


def _moments(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--as-of",
        default="",
        metavar="TIME|POSITION",
        help="As things were then (2026-11-28T12:00Z), or at a position of the log.",
    )(function)


@verb(
    lineage,
    "show",
    answers=values.Graph,
    example="fed lineage show ml/delay-model --direction upstream --open",
    formats=(*FORMATS, "mermaid"),
)
@click.argument("name", metavar="DATASET[@VERSION]|RUN|URL")
@click.option(
    "--direction",
    type=click.Choice(("upstream", "downstream", "both")),
    default="both",
    show_default=True,
    help="What it was made from, what was made of it, or both.",
)
@click.option("--depth", type=click.IntRange(1, 100), default=10, show_default=True, help="How many runs away to look.")
@click.option(
    "--edges", type=click.IntRange(1, 50_000), default=2000, show_default=True, help="How many reads and writes at most."
)
@_moments
@click.option(
    "--continue", "continuation", default="", metavar="TOKEN", help="Go on where an answer to the same question stopped."
)
@click.option("--open", "opened", is_flag=True, help="Draw it as a page, and open that in your browser.")
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE.html", help="Draw it into this page, which needs nothing else."
)
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE.svg", help="Draw it into this file.")
def show(  # noqa: PLR0913 - click hands over each option by itself
    session: Session,
    name: str,
    *,
    direction: str,
    depth: int,
    edges: int,
    as_of: str,
    continuation: str,
    opened: bool,
    html: Path | None,
    svg: Path | None,
) -> None:
    """Shows the lineage of a dataset, a version, a run or a foreign node: as a tree, a picture, a page, or for Mermaid.

    An answer that is not complete says where there is more, and how to go on: nothing is cut off without a word.
    """
    graph = session.client.get_lineage(
        name, direction=direction, depth=depth, edges_max=edges, continuation=continuation, **_as_of(as_of)
    )
    drawn = [_write(path, make(graph)) for path, make in ((svg, lineage_picture.svg), (html, lineage_page.page)) if path]
    if opened:
        drawn.append(_open(session.output, html, lineage_page.page(graph)))
    session.output.item(graph, lambda: _draw(session.output, graph, direction, drawn))
    if not graph.complete:
        session.output.say(_more(graph.frontier, graph.frontier_size))
        session.output.say(f"Go on with --continue {graph.continuation}, or with a greater --depth.")


def _draw(out: Output, graph: values.Graph, direction: str, drawn: list[Path]) -> None:
    if out.format == "mermaid":
        out.line(lineage_picture.mermaid(graph).rstrip())
    elif drawn:
        out.say(f"drawn into {', '.join(str(path) for path in drawn)}")
    else:
        for tree in trees(graph, direction):
            out.show(tree)


@verb(lineage, "models", answers=values.Sightings, example="fed lineage models sales/customers@3")
@click.argument("name", metavar="DATASET[@VERSION]|RUN|URL")
@_moments
def models(session: Session, name: str, as_of: str) -> None:
    """Tells which models saw a version, or any version of a dataset, each with the shortest way there."""
    found = session.client.find_models(name, **_as_of(as_of))
    out = session.output
    if not out.for_people:
        out.item(found, rows=found.models)
        return
    if not found.models:
        out.say(f"no model saw {found.root}{'' if found.complete else ', as far as was looked'}")
    else:
        out.rows(found.models, _SIGHTINGS)
    _unless_complete(out, complete=found.complete, frontier=found.frontier)


@verb(lineage, "impact", answers=values.Impact, example="fed lineage impact sales/customers@3")
@click.argument("version", metavar="DATASET@VERSION")
def impact(session: Session, version: str) -> None:
    """Tells what would be lost if a version were erased: its replicas, what came of it, and who reads it. Erases nothing."""
    told = session.client.explain_erasure(version)
    out = session.output
    if not out.for_people:
        out.item(told)
        return
    left = ", ".join(told.others) or "no other version of it is there"
    out.fields(
        (
            ("version", told.root),
            ("lies at", ", ".join(told.sites) or "no site"),
            ("stored", units.size(told.bytes)),
            ("newest", "yes" if told.newest else "no"),
            ("left of the dataset", left),
            ("came of it", _summed(told)),
            ("rules that keep it", ", ".join(told.rules) or "none"),
        )
    )
    if told.affected:
        out.rows(told.affected, _AFFECTED)
    if told.readers:
        out.rows(told.readers, _READERS)
    _unless_complete(out, complete=told.complete, frontier=told.frontier)


@verb(lineage, "why", answers=values.Why, example="fed lineage why ml/delay-model")
@click.argument("dataset", metavar="DATASET")
def why(session: Session, dataset: str) -> None:
    """Tells why a dataset has its residency: what was declared, inherited and released, back to where that began."""
    told = session.client.explain_residency(dataset)
    session.output.item(told, lambda: session.output.show(reasons(told)))
    if not told.complete:
        session.output.say("There is more behind it than is told.")


@verb(lineage, "receive", answers=list[openlineage.Received], example="fed lineage receive dbt-events.jsonl")
@click.argument("file", type=click.File("rb"))
def receive(session: Session, file: BinaryIO) -> None:
    """Takes OpenLineage events of other tools into lineage: a JSON object a line, or a list of them; `-` reads stdin."""
    text = file.read()
    listed = json.loads(text) if text.lstrip().startswith(b"[") else None
    events = (
        [row for row in text.splitlines() if row.strip()] if listed is None else [json.dumps(each).encode() for each in listed]
    )
    parts = range(0, len(events), RECEIVED_AT_ONCE)
    session.output.rows([session.client.receive_open_lineage(events[at : at + RECEIVED_AT_ONCE]) for at in parts])


@verb(index, "check", answers=values.IndexCheck, example="fed lineage index check")
def check(session: Session) -> int:
    """Compares the index of the server that answers with the Delta tables. Exits with 1 where they differ."""
    return _checked(session, session.client.check_lineage_index())


@verb(index, "rebuild", answers=values.IndexCheck, example="fed lineage index rebuild")
def rebuild(session: Session) -> int:
    """Makes the index of the server that answers anew from the Delta tables, and compares. Exits with 1 where they differ."""
    return _checked(session, session.client.check_lineage_index(rebuild=True))


def _checked(session: Session, told: values.IndexCheck) -> int:
    out = session.output
    out.item(told)
    if out.for_people:
        for each in told.differences:
            rows = f"{each.index_rows:,} rows in the index and {each.table_rows:,} in the table"
            out.line(f"{each.table}: positions {each.first} to {each.last} differ, with {rows}")
    return 0 if told.same else 1


def _as_of(text: str) -> dict[str, Any]:
    """A position, or a time: `2026-11-28`, `2026-11-28T12:00Z`; UTC unless it says otherwise."""
    if not text:
        return {}
    if text.isascii() and text.isdigit():
        return {"as_of_position": int(text)}
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--as-of {text!r} is neither a position nor a time such as 2026-11-28T12:00Z") from None
    return {"as_of_time": time if time.tzinfo else time.replace(tzinfo=UTC)}


def _write(path: Path, text: str) -> Path:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise errors.InvalidArgument(
            f"{path} cannot be written: {error.strerror}", reason="FILE_NOT_WRITABLE", help="Name another file."
        ) from None
    return path


def _open(out: Output, path: Path | None, page: str) -> Path:
    """Opens the page in a browser, from a file of its own unless one was named."""
    if path is None:
        with tempfile.NamedTemporaryFile("w", prefix="fed-lineage-", suffix=".html", delete=False, encoding="utf-8") as file:
            file.write(page)
        path = Path(file.name)
    if not webbrowser.open(path.absolute().as_uri()):
        out.say("there is no browser to open it with")
    return path


def _unless_complete(out: Output, *, complete: bool, frontier: tuple[str, ...]) -> None:
    if not complete:
        out.say(_more(frontier, len(frontier)) + " This answer is not complete.")


def _more(frontier: tuple[str, ...], size: int) -> str:
    named = ", ".join(frontier[:5])
    others = f" and {size - 5:,} others" if size > 5 else ""
    return f"There is more beyond {named}{others}."


def _summed(told: values.Impact) -> str:
    count = sum(each.kind == "MODEL" for each in told.affected)
    last = sum(not each.remakable for each in told.affected)
    return (
        f"{len(told.affected)} versions, {count} of them models, {units.size(told.affected_bytes)} stored;"
        f" {last} could not be made again"
    )


_SIGHTINGS = (
    shapes.Column(heading="MODEL", show=lambda v: f"{v.model} (deleted)" if v.gone else v.model),
    shapes.Column(heading="SAW", show=lambda v: v.seen),
    shapes.Column(heading="HOPS", show=lambda v: str(v.hops), number=True),
    shapes.Column(heading="COLUMNS", show=lambda v: ", ".join(v.columns) or "maybe all"),
    shapes.Column(heading="MADE", show=lambda v: wording.moment(v.time)),
    shapes.Column(heading="LIES AT", show=lambda v: ", ".join(v.sites) or "-"),
    shapes.Column(heading="BY WAY OF", show=lambda v: " > ".join(v.way[1:-1])),
)
_AFFECTED = (
    shapes.Column(heading="CAME OF IT", show=lambda v: f"{v.node} (deleted)" if v.gone else v.node),
    shapes.Column(heading="KIND", show=lambda v: v.kind or "-"),
    shapes.Column(heading="HOPS", show=lambda v: str(v.hops), number=True),
    shapes.Column(heading="NEWEST", show=lambda v: "yes" if v.newest else "no"),
    shapes.Column(heading="STORED", show=lambda v: units.size(v.bytes), number=True),
    shapes.Column(heading="LIES AT", show=lambda v: ", ".join(v.sites) or "-"),
    shapes.Column(heading="MADE AGAIN", show=lambda v: "possible" if v.remakable else "impossible"),
    shapes.Column(heading="ALSO MADE OF", show=lambda v: ", ".join(v.others) or "-"),
    shapes.Column(heading="BY", show=lambda v: v.run),
)
_READERS = (
    shapes.Column(heading="READ BY", show=lambda v: v.name),
    shapes.Column(heading="LABEL", show=lambda v: v.label or "-"),
    shapes.Column(heading="STATE", show=lambda v: v.state),
    shapes.Column(heading="WOULD FAIL", show=lambda v: "yes" if v.live else "if it ran again on it"),
)


# Why


def reasons(told: values.Why) -> Tree:
    """What bound a dataset, and below each input what bound that."""
    known = {each.dataset: each for each in told.reasons}
    root = Tree(Text.assemble((safe(told.root), "bold"), f"  {_bound(told.residency)}"))
    _grow_reasons(root, known[told.root], known, seen=set())
    return root


def _grow_reasons(branch: Tree, reason: values.Reason, known: dict[str, values.Reason], seen: set[str]) -> None:
    seen.add(reason.dataset)
    for fact in reason.facts:
        below = branch.add(_fact_line(fact))
        for binding in fact.inputs:
            behind = known.get(binding.dataset)
            again = binding.dataset in seen
            leaf = below.add(
                Text.assemble(
                    (safe(binding.dataset), "cyan"), f"  {_bound(binding.residency)}", ("  (see above)" if again else "", "dim")
                )
            )
            if behind is not None and not again:
                _grow_reasons(leaf, behind, known, seen)
    if not reason.facts:
        branch.add(Text("nothing ever bound it" if not reason.residency else "from before such facts were kept", style="dim"))


def _bound(residency: tuple[str, ...]) -> str:
    return f"stays in {', '.join(residency)}" if residency else "may go anywhere"


def _fact_line(fact: values.ResidencyFact) -> Text:
    words = {
        values.Cause.DECLARED: f"declared by {fact.by}: {_bound(fact.residency)}",
        values.Cause.INHERITED: f"inherited by {fact.by} from",
        values.Cause.RELEASED: f"{fact.version} was released by {fact.by}, {units.size(fact.bytes)} of at most"
        f" {units.size(fact.bytes_max)}, from",
    }
    return Text.assemble((f"{wording.moment(fact.time)}  ", "dim"), safe(words[fact.cause]))


# What came of what


def trees(graph: values.Graph, direction: str) -> list[Tree]:
    """One tree for each asked direction, rooted in what was asked for."""
    return [_tree(branch, Tree(branch.label)) for branch in shown.branches(graph, direction)]


def _tree(branch: shown.Branch, drawn: Tree) -> Tree:
    for below in branch.below:
        _tree(below, drawn.add(below.label))
    return drawn
