"""Lineage as pictures: every name is text, every box has its place, and nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from federation.core import lineage, lineage_layout, lineage_page, lineage_picture
from federation.core.lineage import Edge, Graph, NodeInfo
from tests import records

EVIL = "s3://lake/<script>alert(1)</script>\"'&`]]>--><!--|{}"
SVG = "{http://www.w3.org/2000/svg}"


def graph(*pairs: tuple[str, str], **changes: object) -> Graph:
    """One run for each pair of what it read and what it made."""
    edges: list[Edge] = []
    for number, (source, target) in enumerate(pairs):
        run = f"jobs/j-{number}/runs/1"
        edges.append(records.edge(run, "in", node=source, bytes=10**9, charge_micros=20_000))
        edges.append(records.edge(run, "out", node=target, source_region="aws:us-east-1", columns=("total",)))
    facts = tuple(records.run_fact(f"jobs/j-{number}/runs/1", label=f"label {EVIL}") for number in range(len(pairs)))
    values = {"root": pairs[-1][1] if pairs else "ml/a@1", "runs": facts, "edges": tuple(edges), "complete": True}
    return Graph(**values | changes)


def texts(svg: str) -> list[str]:
    """All words of a drawing; it is well-formed, or this fails."""
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_a_drawing_names_what_came_of_what_and_what_it_cost():
    """Versions, runs, regions, bytes and money, in words that people read."""
    told = texts(lineage_picture.svg(graph(("ml/a@1", "ml/b@1"), ("ml/b@1", "ml/c@1"))))
    assert {"ml/a@1", "ml/b@1", "ml/c@1", "1.0 GB, $0.02", "aws:eu-central-1", "crossed a region"} <= set(told)
    assert "3 nodes and 2 runs, 2.0 GB read, 2.0 GB of it across regions, for $0.04" in told


def test_a_name_is_text_whatever_it_is():
    """In the drawing, in the page and in Mermaid: no element, no attribute, no script comes of it."""
    made = graph((EVIL, "ml/a@1"), root=EVIL, frontier=(EVIL,), complete=False)
    root = ET.fromstring(lineage_picture.svg(made))
    assert not list(root.iter(f"{SVG}script"))
    assert any("alert(1)" in (title.text or "") for title in root.iter(f"{SVG}title"))
    page = lineage_page.page(made)
    assert page.count("<script") == page.count("</script>") == 2
    assert page.count("<!--") == 0
    assert "<script>alert" not in page
    word = r"[\w \-/@.:,+#;]*"
    legal = (
        rf'    n\d+(\(\[|\[)"{word}(<br/>{word})*"(\]\)|\])',
        rf"    n\d+ -->(\|{word}\|)? n\d+",
        r"    (linkStyle|classDef|class) [\w,:#\- ]+",
    )
    for line in lineage_picture.mermaid(made).splitlines()[2:]:
        assert any(re.fullmatch(form, line) for form in legal), line


def test_a_page_loads_nothing_and_runs_its_own_script_alone():
    """Its policy names script and style by their hashes and forbids all else; there is no address in it but a namespace's."""
    page = lineage_page.page(graph(("ml/a@1", "ml/b@1")))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    script = re.search(r"<script>(.*)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy[1].startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\s(on[a-z]+|src|href|style)=", page)


def test_a_page_knows_of_each_box_what_the_record_tells():
    """As JSON that is data and nothing else."""
    info = NodeInfo(node="ml/b@1", kind="MODEL", residency=("EU",))
    page = lineage_page.page(graph(("ml/a@1", "ml/b@1"), nodes=(info,)))
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    (box,) = (unit for unit in data["units"] if unit["title"] == "ml/b@1")
    told = dict(box["told"])
    assert (told["kind"], told["residency"], told["columns"]) == ("model", "EU", "total")
    assert data["units"][data["root"]]["title"] == "ml/b@1"


def test_more_than_can_be_drawn_is_counted():
    """The nearest are drawn; how many are not is said."""
    many = graph(*((f"ml/a{number}@1", f"ml/b{number}@1") for number in range(300)))
    drawn = lineage_picture.picture(many)
    assert len(drawn.units) == lineage_picture.DRAWN_MAX
    assert drawn.left_out == 900 - lineage_picture.DRAWN_MAX
    assert f"{drawn.left_out} farther ones are not drawn" in lineage_picture.described(drawn)


def test_nothing_at_all_is_drawn_too():
    """A root without any edge."""
    empty = Graph(root="ml/alone@1", runs=(), edges=(), complete=True)
    assert "ml/alone@1" in texts(lineage_picture.svg(empty))
    assert "ml/alone@1" in lineage_page.page(empty)
    assert "ml/alone@1" in lineage_picture.mermaid(empty)


def test_mermaid_has_each_box_and_each_connection_once():
    """What crossed a region is red there too."""
    lines = lineage_picture.mermaid(graph(("ml/a@1", "ml/b@1"))).splitlines()
    assert lines[1] == "flowchart LR"
    assert sum("-->" in line for line in lines) == 2
    assert any(line.strip().startswith("linkStyle 0 stroke:#ee6677") for line in lines)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=25))
def test_boxes_never_overlap_and_links_go_forward_where_there_is_no_circle(pairs):
    """Whatever the graph, circles and loops too; every way begins and ends at its boxes' sides."""
    names = sorted({f"b{number}" for pair in pairs for number in pair})
    links = [(f"b{a}", f"b{b}") for a, b in pairs]
    sizes = dict.fromkeys(names, (100.0, 40.0))
    placed = lineage_layout.place(sizes, links, rooms=dict.fromkeys(names, 60.0), between=10.0)
    for one in names:
        for other in names:
            (x, y), (across, down) = placed.centres[one], placed.centres[other]
            assert one == other or abs(x - across) >= 100 or abs(y - down) >= 49.9
    assert all(19.9 <= y <= placed.height - 19.9 for _, y in placed.centres.values())
    assert len(placed.ways) == len(links)
    forward = [(a, b) for a, b in pairs if a < b]
    again = lineage_layout.place(
        sizes, [(f"b{a}", f"b{b}") for a, b in forward], rooms=dict.fromkeys(names, 60.0), between=10.0
    )
    assert all(again.centres[f"b{a}"][0] < again.centres[f"b{b}"][0] for a, b in forward)


def test_kinds_of_nodes_are_told_by_their_names():
    """A version of ours, a person, and anything else is foreign, also where it nearly looks like ours."""
    kinds = {name: str(lineage.node_kind(name)) for name in ("ml/a@1", "users/ada", "ML/a@1", "s3://a/b@1", "ml/a@0", EVIL)}
    assert list(kinds.values()) == ["VERSION", "PERSON", "EXTERNAL", "EXTERNAL", "EXTERNAL", "EXTERNAL"]
