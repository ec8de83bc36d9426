"""The picture of a plan: well-formed, self-contained, and as long as its costs are."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import job, picture
from tests import builders

SVG = "{http://www.w3.org/2000/svg}"


def drawn(plan: job.Plan, title: str = "") -> ET.Element:
    """The picture, parsed."""
    return ET.fromstring(picture.svg(plan, title=title))


def bars(root: ET.Element) -> list[tuple[str, float]]:
    """What each piece of a bar is called, and how wide it is."""
    found = []
    for rect in root.iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None:
            found.append((title.text or "", float(rect.attrib["width"])))
    return found


def words(root: ET.Element) -> str:
    """All text."""
    return "\n".join(text.text or "" for text in root.iter(f"{SVG}text"))


def test_each_part_of_a_cost_has_its_piece_in_proportion() -> None:
    """The longest bar is the worst site's."""
    root = drawn(
        builders.plan(
            builders.candidate("eu-1", compute_micros=1_000_000, egress_micros=0, storage_micros=500_000),
            builders.candidate("us-1", compute_micros=1_000_000, egress_micros=3_000_000, time_micros=1_000_000),
        )
    )
    found = bars(root)
    assert [name for name, _ in found] == [
        "compute $1.00",
        "storage of copies $0.50",
        "compute $1.00",
        "egress $3.00",
        "value of time $1.00",
    ]
    unit = found[0][1]
    assert [round(width / unit, 2) for _, width in found] == [1, 0.5, 1, 3, 1]


def test_it_names_sites_amounts_and_why_others_were_set_aside() -> None:
    """And a legend of the parts that there are."""
    rejection = job.Rejection(site="in-1", reason="RESIDENCY_DENIED", detail="it must stay")
    full = job.Rejection(site="eu-2", reason="GPUS_EXHAUSTED", detail="full", resolvable=True)
    root = drawn(builders.plan(builders.candidate("eu-1", compute_micros=5), rejections=(rejection, full)), "training")
    said = words(root)
    assert "training" in said
    assert "eu-1 is chosen of 1 sites at $0.000005" in said
    assert "in-1: RESIDENCY_DENIED" in said
    assert "eu-2: GPUS_EXHAUSTED (waiting may help)" in said
    assert "compute" in said.splitlines()
    assert "carbon" not in said


def test_a_plan_without_a_site_says_so() -> None:
    """No bars, but the reasons."""
    root = drawn(builders.plan(ranked=(), rejections=(job.Rejection(site="a", reason="NO_COMPUTE", detail=""),)))
    assert bars(root) == []
    assert "No site can run the job" in words(root)
    assert "a: NO_COMPUTE" in words(root)


def test_a_thousand_sites_make_no_endless_picture() -> None:
    """What is not drawn is counted."""
    many = [builders.candidate(f"s-{i:04d}", region="aws:x", compute_micros=i) for i in range(1000)]
    root = drawn(builders.plan(*many))
    assert int(root.attrib["height"]) < 1500
    assert f"and {1000 - picture.SITES_MAX} more sites that could run it" in words(root)


def test_it_needs_nothing_from_elsewhere_and_has_both_schemes() -> None:
    """No script, no font, no picture from the network; dark pages get dark paper."""
    text = picture.svg(builders.plan(builders.candidate("eu-1", compute_micros=1, carbon_micros=1)))
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme:dark" in text


@given(
    st.text(max_size=40),
    st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**15)), min_size=1, max_size=5),
)
def test_whatever_it_is_called_and_whatever_it_costs_it_is_well_formed(title: str, costs: list[tuple[int, int]]) -> None:
    """And no bar leaves the paper."""
    rows = [
        builders.candidate(title or "s", region=title, compute_micros=compute, carbon_micros=carbon)
        for compute, carbon in costs
    ]
    root = drawn(builders.plan(*rows), title)
    for rect in root.iter(f"{SVG}rect"):
        if "x" in rect.attrib:
            assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= float(root.attrib["width"])


@pytest.mark.parametrize(("most", "step"), [(1, 1), (5, 1), (6, 2), (10, 2), (11, 5), (26, 10), (10**9, 2 * 10**8)])
def test_lines_stand_at_round_amounts(most: int, step: int) -> None:
    """At most five steps."""
    root = drawn(builders.plan(builders.candidate("eu-1", compute_micros=most)))
    grid = [line for line in root.iter(f"{SVG}line") if line.attrib.get("class") in ("line", "axis")]
    assert len(grid) == most // step + 1
