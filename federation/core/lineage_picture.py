"""Lineage as a picture: SVG, Mermaid, and a page with the SVG in it that can be moved, searched and asked. Nothing is loaded.

A box is a version, a person or something foreign, with the colour of its region at its left and its residency at its right; a
pill is a run. Connections are as wide as what was read, and red where it crossed a region. Every name is escaped: it is other
people's text. Colours are those of Paul Tol's bright and muted schemes, which people with any colour vision tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from federation.core import lineage_layout, units
from federation.core.lineage import Edge, Graph, NodeKind, RunFact, node_kind
from federation.core.picture import cut, escaped, short_usd

#: More boxes and pills than these are counted, not drawn.
DRAWN_MAX = 500
#: Up to so many connections, what stayed inside a region is labelled in the picture too.
_LABELS_MAX = 60

_BOX, _PILL = (216.0, 48.0), (150.0, 30.0)
#: Between a box and a pill stands what was read.
_AFTER_BOX, _AFTER_PILL, _BETWEEN = 126.0, 56.0, 16.0
#: Room for one connection at a pill's side, up to so many.
_PORT, _PORTS_MAX = 15.0, 8
_LEFT, _TOP, _FOOT = 28.0, 118.0, 28.0
_WIDTH_MIN = 760.0
_CHAR = 6.9
_COLOURS = ("#4477aa", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#332288", "#ddcc77", "#117733", "#88ccee", "#882255")
_CROSSED = "#ee6677"
_NOWHERE = "#9198a1"

STYLE = """
.paper{fill:#fff}.ink{fill:#1f2328}.soft{fill:#59636e}.card{fill:#f6f8fa;stroke:#d1d9e0}.pill{fill:#fff;stroke:#8c959f}
.root .card,.root .pill{stroke:#0969da;stroke-width:2.5}.way{fill:none;stroke:#8c959f;stroke-opacity:.75}
.crossed{stroke:#ee6677;stroke-opacity:.9}.arrow{fill:#8c959f}.arrow.red{fill:#ee6677}
.halo{stroke:#fff;stroke-width:3.5px;paint-order:stroke}.law{fill:#fff4ce;stroke:#bf8700}
.foreign .card,.put .pill{stroke-dasharray:5 3}
.gone{opacity:.55}.gone .title{text-decoration:line-through}.failed .pill{stroke:#ee6677}
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:12.5px}
.head{font-size:17px;font-weight:600}.title{font-weight:600}.small{font-size:11px}.tag{font-size:10px;font-weight:600}
@media(prefers-color-scheme:dark){.paper{fill:#0d1117}.ink{fill:#f0f6fc}.soft{fill:#9198a1}.card{fill:#161b22;stroke:#3d444d}
.pill{fill:#0d1117;stroke:#656c76}.way{stroke:#656c76}.arrow{fill:#656c76}.crossed{stroke:#ee6677}.halo{stroke:#0d1117}
.law{fill:#3a2d0b;stroke:#bf8700}.root .card,.root .pill{stroke:#4493f8}}
"""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One box or pill: what it says, how it looks, and what a page tells of it, as pairs of a word and a text."""

    key: str
    run: bool
    title: str
    line: str
    region: str
    residency: tuple[str, ...]
    style: str
    tag: str
    told: tuple[tuple[str, str], ...]
    size: tuple[float, float] = _BOX


class Link(NamedTuple):
    """A connection between two units, and the edge that it shows."""

    source: str
    target: str
    edge: Edge


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is drawn of a graph: the units nearest to its root, where they stand, and what was left out."""

    graph: Graph
    units: tuple[Unit, ...]
    links: tuple[Link, ...]
    regions: tuple[str, ...]
    placed: lineage_layout.Placed
    left_out: int

    @property
    def width(self) -> float:
        return max(self.placed.width + 2 * _LEFT, _WIDTH_MIN)

    @property
    def height(self) -> float:
        return self.placed.height + _TOP + _FOOT

    def colour(self, region: str) -> str:
        """The colour of a region; grey for what lies in none."""
        return _COLOURS[self.regions.index(region) % len(_COLOURS)] if region else _NOWHERE


def picture(graph: Graph) -> Picture:
    """What to draw of a graph, and where. Edges are in the order of a walk, so what comes first is nearest."""
    keys = dict.fromkeys(key for edge in graph.edges for key in _ends(edge)) or {f"n:{graph.root}": None}
    drawn = set(list(keys)[:DRAWN_MAX])
    links = tuple(Link(*_ends(edge), edge) for edge in graph.edges if drawn.issuperset(_ends(edge)))
    infos = {info.node: info for info in graph.nodes}
    facts = {fact.run: fact for fact in graph.runs}
    regions = _regions(graph)
    made = []
    for key in keys:
        if key not in drawn:
            continue
        name = key[2:]
        edges = [edge for edge in graph.edges if (edge.run if key[0] == "r" else edge.node) == name]
        if key[0] == "r":
            inputs = sum(link.target == key for link in links)
            made.append(_run_unit(key, name, facts.get(name), graph, inputs))
        else:
            made.append(_node_unit(key, name, edges, infos.get(name), graph))
    sizes = {unit.key: unit.size for unit in made}
    rooms = {unit.key: _AFTER_PILL if unit.run else _AFTER_BOX for unit in made}
    placed = lineage_layout.place(sizes, [link[:2] for link in links], rooms=rooms, between=_BETWEEN)
    placed = lineage_layout.fanned(placed, sizes, [link[:2] for link in links], apart=_PORT)
    return Picture(graph=graph, units=tuple(made), links=links, regions=regions, placed=placed, left_out=len(keys) - len(drawn))


def _ends(edge: Edge) -> tuple[str, str]:
    node, run = f"n:{edge.node}", f"r:{edge.run}"
    return (node, run) if edge.direction == "in" else (run, node)


def _regions(graph: Graph) -> tuple[str, ...]:
    found = {region for edge in graph.edges for region in (edge.source_region, edge.destination_region)}
    return tuple(sorted(found - {""}))


def _run_unit(key: str, run: str, fact: RunFact | None, graph: Graph, inputs: int) -> Unit:
    title = (fact.label if fact else "") or run.removeprefix("jobs/").replace("/runs/", " #")
    put = fact is not None and fact.kind == "PUT"
    told = [("run", run)]
    if fact:
        pairs = (
            ("label", fact.label),
            ("kind", fact.kind),
            ("state", f"{fact.state} {fact.reason}".strip()),
            ("site", f"{fact.site} ({fact.region})" if fact.site else ""),
            ("by", fact.principal),
            ("ended", _moment(fact)),
        )
        told += [pair for pair in pairs if pair[1]]
    style = "put" if put else "failed" if fact and fact.state == "FAILED" else ""
    return Unit(
        key=key,
        run=True,
        title="put" if put else title,
        line=fact.site if fact else "",
        region=fact.region if fact else "",
        residency=(),
        style=_rooted(style, run, graph),
        tag="",
        told=tuple(told),
        # As high as the labels of what it reads.
        size=(_PILL[0], _PILL[1] + _PORT * min(max(inputs - 1, 0), _PORTS_MAX)),
    )


def _moment(fact: RunFact) -> str:
    return f"{fact.end_time:%Y-%m-%d %H:%M:%S}Z"


def _node_unit(key: str, name: str, edges: Sequence[Edge], info: object, graph: Graph) -> Unit:
    kind = node_kind(name)
    residency = tuple(getattr(info, "residency", ()))
    model, gone = getattr(info, "kind", "") == "MODEL", bool(getattr(info, "gone", False))
    made = next((edge for edge in edges if edge.direction == "out"), None)
    read = next((edge for edge in edges if edge.direction == "in"), None)
    region = made.destination_region if made else read.source_region if read else ""
    shown = made or read
    size = made.bytes if made else 0
    rows = shown.rows if shown else None
    words = [
        region.partition(":")[2] or region,
        units.size(size) if size else "",
        f"{_count(rows)} rows" if rows is not None else "",
    ]
    told = [
        ("name", name),
        ("kind", {"VERSION": "model" if model else "version", "PERSON": "person", "EXTERNAL": "foreign"}[kind]),
        ("region", region),
        ("residency", ", ".join(residency)),
        ("size", f"{units.size(size)} ({size:,} B)" if size else ""),
        ("rows", f"{rows:,}" if rows is not None else ""),
        ("manifest", shown.manifest_digest if shown else ""),
        ("columns", ", ".join(made.columns) if made else ""),
        ("columns from", "; ".join(f"{each.column} from {each.source}" for each in made.column_map) if made else ""),
        ("deleted", "yes" if gone else ""),
    ]
    style = "gone" if gone else "" if kind is NodeKind.VERSION else "foreign"
    return Unit(
        key=key,
        run=False,
        title=name,
        line=" \N{MIDDLE DOT} ".join(word for word in words if word) if kind is not NodeKind.PERSON else "a person",
        region=region,
        residency=residency,
        style=_rooted(style, name, graph),
        tag="MODEL" if model else "",
        told=tuple(pair for pair in told if pair[1]),
    )


def _count(number: int) -> str:
    """`812`, `9,120`, `84.0 M`."""
    if number < 10_000:
        return f"{number:,}"
    power = min(int(math.log10(number)) // 3, 4)
    return f"{number / 1000**power:.1f} {' kMGT'[power]}"


def _rooted(style: str, name: str, graph: Graph) -> str:
    return f"{style} root".strip() if name == graph.root or name.startswith(f"{graph.root}@") else style


# SVG


def svg(graph: Graph) -> str:
    """The picture alone, for light and dark pages."""
    drawn = picture(graph)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{drawn.width:.0f}" height="{drawn.height:.0f}" '
        f'viewBox="0 0 {drawn.width:.0f} {drawn.height:.0f}" role="img" aria-label="{escaped(described(drawn))}">'
        f"\n<style>{STYLE}</style>\n"
        f'<rect width="{drawn.width:.0f}" height="{drawn.height:.0f}" class="paper"/>'
    )
    return "\n".join(
        (opening, *_head(drawn), f'<g transform="translate({_LEFT:.0f} {_TOP:.0f})">', *body(drawn), "</g>", "</svg>", "")
    )


def described(drawn: Picture) -> str:
    """The picture in a sentence."""
    graph = drawn.graph
    boxes = sum(not unit.run for unit in drawn.units)
    read = [edge for edge in graph.edges if edge.direction == "in"]
    crossed = sum(edge.bytes for edge in read if edge.crossed)
    money = sum(edge.charge_micros or 0 for edge in read)
    parts = [
        f"{boxes} {'node' if boxes == 1 else 'nodes'} and {len(drawn.units) - boxes} runs",
        f"{units.size(sum(edge.bytes for edge in read))} read",
        f"{units.size(crossed)} of it across regions" if crossed else "",
        f"for {short_usd(money)}" if money else "",
    ]
    said = ", ".join(part for part in parts if part)
    if drawn.left_out:
        said += f"; {drawn.left_out} farther ones are not drawn"
    if not graph.complete:
        said += f"; there is more beyond {graph.frontier_size or len(graph.frontier)} of them"
    return said


def _head(drawn: Picture) -> Iterator[str]:
    yield _text(_LEFT, 36, f"Lineage of {cut(drawn.graph.root, 80)}", "ink head")
    yield _text(_LEFT, 58, described(drawn), "soft")
    x = _LEFT
    for region in drawn.regions:
        yield f'<rect x="{x:.0f}" y="75" width="13" height="13" rx="2" fill="{drawn.colour(region)}"/>'
        yield _text(x + 19, 86, region, "ink small")
        x += 19 + 6.4 * len(region) + 18
    if any(edge.crossed for _, _, edge in drawn.links):
        yield f'<line x1="{x:.0f}" y1="81.5" x2="{x + 22:.0f}" y2="81.5" stroke-width="3" class="way crossed"/>'
        yield _text(x + 28, 86, "crossed a region", "ink small")


def body(drawn: Picture) -> Iterator[str]:
    """Connections first, then boxes, so that nothing is drawn over a name. Each has its key's number for a page's script."""
    number = {unit.key: place for place, unit in enumerate(drawn.units)}
    every = len(drawn.links) <= _LABELS_MAX
    labels = []
    for (source, target, edge), way in zip(drawn.links, drawn.placed.ways, strict=True):
        ends = f'data-a="{number[source]}" data-b="{number[target]}"'
        style = "way crossed" if edge.crossed else "way"
        tip = escaped(told(edge))
        yield (
            f'<g class="link" {ends}><path d="{_path(way)}" class="{style}" stroke-width="{_width(edge):.1f}">'
            f"<title>{tip}</title></path>{_arrow(way, 'arrow red' if edge.crossed else 'arrow')}</g>"
        )
        label = _label(edge)
        if label:
            (before, _), (x, y) = way[-2:]
            anchor, aside = ("end", -11) if x >= before else ("start", 11)
            rare = "" if every or edge.crossed else " rare"
            labels.append(
                f'<text x="{x + aside:.1f}" y="{y - 5:.1f}" text-anchor="{anchor}" {ends} '
                f'class="ink small halo label{rare}">{escaped(label)}</text>'
            )
    yield from (label for label in labels if every or "rare" not in label)
    for place, unit in enumerate(drawn.units):
        x, y = drawn.placed.centres[unit.key]
        yield from _unit(drawn, unit, place, x, y)


def told(edge: Edge) -> str:
    """A connection in words."""
    way = f"{edge.source_region} to {edge.destination_region}" if edge.crossed else edge.destination_region
    columns = f"columns {', '.join(edge.columns)}" if edge.direction == "in" and edge.columns else ""
    return "; ".join(part for part in (f"{edge.alias}: {edge.node}", _label(edge), way, columns) if part)


def _label(edge: Edge) -> str:
    """What a connection says of itself: how much was read, and what that cost. What was written stands in its box."""
    if edge.direction != "in" or not edge.bytes:
        return ""
    money = f", {short_usd(edge.charge_micros)}" if edge.charge_micros else ""
    return f"{units.size(edge.bytes)}{money}"


def _width(edge: Edge) -> float:
    """1.2 to 4.2: a step wider each tenfold from a megabyte."""
    return 1.2 + 0.5 * min(max(math.log10(max(edge.bytes, 1)) - 5, 0), 6)


def _path(way: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = way
    said = f"M{x:.1f} {y:.1f}"
    for end_x, end_y in rest:
        bend = max(abs(end_x - x) / 2, 20) * (1 if end_x >= x else -1)
        said += f"C{x + bend:.1f} {y:.1f} {end_x - bend:.1f} {end_y:.1f} {end_x:.1f} {end_y:.1f}"
        x, y = end_x, end_y
    return said


def _arrow(way: Sequence[tuple[float, float]], style: str) -> str:
    (before, _), (x, y) = way[-2:]
    back = -8 if x >= before else 8
    return f'<path d="M{x:.1f} {y:.1f}l{back} -4.5v9z" class="{style}"/>'


def _unit(drawn: Picture, unit: Unit, place: int, x: float, y: float) -> Iterator[str]:
    wide, high = unit.size
    left, top = x - wide / 2, y - high / 2
    name, whole = escaped(f"{unit.title} {unit.line}".strip()), escaped(unit.key[2:])
    yield f'<g class="unit {unit.style}" data-n="{place}" tabindex="0" role="button" aria-label="{name}"><title>{whole}</title>'
    if unit.run:
        yield f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.0f}" height="{high:.0f}" rx="15" class="pill"/>'
        yield f'<circle cx="{left + 16:.1f}" cy="{y:.1f}" r="4.5" fill="{drawn.colour(unit.region)}"/>'
        room = wide - 34 - (_CHAR * len(unit.line) + 6 if unit.line else 0)
        yield _text(left + 27, y + 4, cut(unit.title, max(int(room / _CHAR), 8)), "ink small title")
        yield _text(left + wide - 12, y + 4, cut(unit.line, 9), "soft small", anchor="end")
    else:
        yield f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.0f}" height="{high:.0f}" rx="6" class="card"/>'
        stripe = f"M{left + 6:.1f} {top:.1f}a6 6 0 0 0-6 6v{high - 12:.0f}a6 6 0 0 0 6 6z"
        yield f'<path d="{stripe}" fill="{drawn.colour(unit.region)}"/>'
        yield _text(left + 16, top + 20, _short(unit.title, 26), "ink title")
        yield from _tags(unit, left + wide - 8, top + 29)
        used = sum(len(word) + 3 for word in (*unit.residency[:2], unit.tag) if word)
        yield _text(left + 16, top + 37, cut(unit.line, max(36 - used, 8)), "soft small")
    yield "</g>"


def _tags(unit: Unit, right: float, top: float) -> Iterator[str]:
    """Residency and kind, from the right."""
    shown = [*unit.residency[:2], *([f"+{len(unit.residency) - 2}"] if len(unit.residency) > 2 else [])]
    for word, law in [*((word, True) for word in reversed(shown)), *([(unit.tag, False)] if unit.tag else [])]:
        wide = 6.6 * len(word) + 9
        right -= wide
        style = "law" if law else "card"
        yield f'<rect x="{right:.1f}" y="{top:.1f}" width="{wide:.1f}" height="14" rx="3" class="{style}"/>'
        yield _text(right + wide / 2, top + 10.5, cut(word, 12), "ink tag", anchor="middle")
        right -= 4


def _short(name: str, most: int) -> str:
    """A long name by its end, where versions and files differ."""
    return name if len(name) <= most else f"\N{HORIZONTAL ELLIPSIS}{name[1 - most :]}"


def _text(x: float, y: float, text: str, style: str, *, anchor: str = "") -> str:
    where = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}"{where}>{escaped(text)}</text>' if text else ""


# Mermaid


def mermaid(graph: Graph) -> str:
    """The same as a Mermaid flowchart, for documents that draw those."""
    drawn = picture(graph)
    number = {unit.key: f"n{place}" for place, unit in enumerate(drawn.units)}
    lines = [f"%% {_plain(described(drawn))}", "flowchart LR"]
    for unit in drawn.units:
        words = [unit.title, unit.line, " ".join((*unit.residency, unit.tag)).strip()]
        text = "<br/>".join(_entities(word) for word in words if word)
        before, after = ('(["', '"])') if unit.run else ('["', '"]')
        lines.append(f"    {number[unit.key]}{before}{text}{after}")
    for place, (source, target, edge) in enumerate(drawn.links):
        label = _label(edge)
        lines.append(f"    {number[source]} -->{f'|{_entities(label)}|' if label else ''} {number[target]}")
        if edge.crossed:
            lines.append(f"    linkStyle {place} stroke:{_CROSSED},stroke-width:2px")
    for place, region in enumerate(drawn.regions):
        lines.append(f"    classDef r{place} stroke:{drawn.colour(region)},stroke-width:3px")
        members = [number[unit.key] for unit in drawn.units if unit.region == region]
        if members:
            lines.append(f"    class {','.join(members)} r{place}")
    return "\n".join((*lines, ""))


def _entities(text: str) -> str:
    """Text that Mermaid takes for nothing but text."""
    safe = (" ", "_", "-", "/", "@", ".", ":", ",", "+")
    return "".join(c if c.isalnum() or c in safe else f"#{ord(c)};" if c.isprintable() else " " for c in text)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
