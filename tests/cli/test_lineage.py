"""Lineage as a tree."""

from __future__ import annotations

from datetime import UTC, datetime

from federation.cli import lineage
from federation.cli.output import Output
from federation.core.lineage import Edge, Graph, RunFact

TIME = datetime(2026, 11, 22, tzinfo=UTC)


def edge(run: str, direction: str, node: str, *, away: bool = False) -> Edge:
    """One input or output of a run at us-1."""
    return Edge(
        run=run,
        direction=direction,
        alias=node.partition("/")[2].partition("@")[0],
        node=node,
        manifest_digest="",
        site="us-1",
        source_region="aws:eu-central-1" if away else "aws:us-east-1",
        destination_region="aws:us-east-1",
        bytes=2_300_000,
        time=TIME,
    )


def fact(run: str, label: str) -> RunFact:
    """A run that ended well."""
    return RunFact(
        run=run,
        job="j-1",
        attempt=1,
        label=label,
        kind="RAY",
        site="us-1",
        region="aws:us-east-1",
        principal="users/ada",
        state="SUCCEEDED",
        reason="",
        start_time=TIME,
        end_time=TIME,
    )


GRAPH = {
    "runs": (fact("jobs/j-1/runs/1", "join"), fact("jobs/j-2/runs/1", "report")),
    "edges": (
        edge("jobs/j-1/runs/1", "in", "x/flights@1"),
        edge("jobs/j-1/runs/1", "in", "x/weather@1", away=True),
        edge("jobs/j-1/runs/1", "out", "x/delays@1"),
        edge("jobs/j-2/runs/1", "in", "x/delays@1"),
        edge("jobs/j-2/runs/1", "out", "x/report@1"),
    ),
    "complete": True,
}


def drawn(capsys, root: str, direction: str, **changes) -> str:
    """The tree of a root as text."""
    for tree in lineage.trees(Graph(root=root, **{**GRAPH, **changes}), direction):
        Output().show(tree)
    return capsys.readouterr().out


def test_upstream_shows_what_it_was_made_from(capsys):
    """Runs and their inputs, and what crossed a region."""
    assert drawn(capsys, "x/report@1", "upstream") == (
        "x/report@1  made from\n"
        "└── jobs/j-2/runs/1 report  SUCCEEDED at us-1 (aws:us-east-1)\n"
        "    └── x/delays@1  at us-1, 2.3 MB\n"
        "        └── jobs/j-1/runs/1 join  SUCCEEDED at us-1 (aws:us-east-1)\n"
        "            ├── x/flights@1  at us-1, 2.3 MB\n"
        "            └── x/weather@1  aws:eu-central-1 -> aws:us-east-1, 2.3 MB\n"
    )


def test_downstream_shows_what_was_made_of_it(capsys):
    """From a dataset, over its versions."""
    text = drawn(capsys, "x/flights", "downstream")
    assert text.startswith("x/flights  used by\n└── x/flights@1\n    └── jobs/j-1/runs/1 join")
    assert "x/report@1" in text


def test_both_are_two_trees_and_nothing_is_said_to_be_nothing(capsys):
    """A source was made from nothing."""
    assert "x/flights@1  made from\n└── nothing\n" in drawn(capsys, "x/flights@1", "both")


def test_a_circle_ends(capsys):
    """A dataset that a run reads and writes again is drawn once."""
    edges = (edge("jobs/j-1/runs/1", "in", "x/a@1"), edge("jobs/j-1/runs/1", "out", "x/a@1"))
    assert "(see above)" in drawn(capsys, "x/a@1", "upstream", edges=edges)


def test_a_run_shows_what_it_wrote(capsys):
    """Its name is a root too."""
    assert "x/delays@1" in drawn(capsys, "jobs/j-1/runs/1", "upstream")
