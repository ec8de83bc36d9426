"""Lineage as a tree."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from federation.cli import lineage
from federation.cli.output import Output
from federation.core import columns, errors, specs
from federation.core.lineage import Binding, Cause, Edge, Graph, Reason, ResidencyFact, RunFact, Why

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


def test_what_was_paid_and_which_columns_were_read_stand_beside_an_input(capsys):
    """Money only where there was some."""
    read = dataclasses.replace(
        edge("jobs/j-1/runs/1", "in", "x/flights@1", away=True), charge_micros=20_000, columns=("a", "b")
    )
    text = drawn(capsys, "x/a@1", "upstream", edges=(read, edge("jobs/j-1/runs/1", "out", "x/a@1")))
    assert "x/flights@1  aws:eu-central-1 -> aws:us-east-1, 2.3 MB, $0.02  [a, b]\n" in text


def test_why_is_a_tree_of_what_was_declared_inherited_and_released(capsys):
    """Each input once with what bound it in turn."""
    bound = Binding(dataset="x/orders", residency=("EU",))
    told = Why(
        root="x/sums",
        residency=("EU",),
        complete=True,
        reasons=(
            Reason(
                dataset="x/sums",
                residency=("EU",),
                hops=0,
                facts=(
                    residency_fact("x/sums", 1, Cause.INHERITED, "jobs/j-1", inputs=(bound,)),
                    residency_fact(
                        "x/sums",
                        2,
                        Cause.RELEASED,
                        "jobs/j-2/runs/1",
                        inputs=(bound,),
                        version="x/sums@2",
                        bytes=900,
                        bytes_max=1000,
                    ),
                ),
            ),
            Reason(
                dataset="x/orders",
                residency=("EU",),
                hops=1,
                facts=(residency_fact("x/orders", 1, Cause.DECLARED, "users/ada"),),
            ),
        ),
    )
    Output().show(lineage.reasons(told))
    assert capsys.readouterr().out == (
        "x/sums  stays in EU\n"
        "├── 2026-11-22 00:00:00Z  inherited by jobs/j-1 from\n"
        "│   └── x/orders  stays in EU\n"
        "│       └── 2026-11-22 00:00:00Z  declared by users/ada: stays in EU\n"
        "└── 2026-11-22 00:00:00Z  x/sums@2 was released by jobs/j-2/runs/1, 900 B of at most 1.0 kB, from\n"
        "    └── x/orders  stays in EU  (see above)\n"
    )


def residency_fact(dataset: str, number: int, cause: Cause, by: str, **told) -> ResidencyFact:
    """A change of what binds a dataset, to the EU."""
    return ResidencyFact(dataset=dataset, number=number, cause=cause, residency=("EU",), by=by, time=TIME, **told)


@pytest.mark.parametrize("text", ["out=orders.price", "sums.total", "sums.total=", "sums.total=a.b,", ".total=a.b"])
def test_a_column_map_that_says_nothing_is_refused(text):
    """Before anything is asked of a server."""
    with pytest.raises(errors.InvalidArgument):
        specs.outputs(["sums=x/sums"], [text])


def test_column_maps_go_to_their_outputs():
    """Several for one column, one for another."""
    (spec,) = specs.outputs(["sums=x/sums"], ["sums.total=o.price,o.qty", "sums.n=o.qty"])
    assert [(each.column, each.source) for each in spec.column_map] == [
        ("total", "o.price"),
        ("total", "o.qty"),
        ("n", "o.qty"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("out.pii=email", "SPEC_INVALID"),
        ("sums.pii", "SPEC_INVALID"),
        ("sums.pii=email,", "SPEC_INVALID"),
        ("pii=email", "SPEC_INVALID"),
        ("sums.PII=email", "COLUMN_CLASS_INVALID"),
        ("sums.default=email", "COLUMN_CLASS_INVALID"),
    ],
)
def test_a_column_class_that_says_nothing_is_refused(text, why):
    """Before anything is asked of a server."""
    with pytest.raises(errors.InvalidArgument) as caught:
        specs.outputs(["sums=x/sums"], (), [text])
    assert caught.value.reason == why


def test_column_classes_go_to_their_outputs():
    """Several of one output, none of another."""
    people, sums = specs.outputs(["people=x/p", "sums=x/s"], (), ["people.pii=email,ssn", "people.health=diagnosis"])
    assert people.column_classes == columns.parse(["health=diagnosis", "pii=email,ssn"])
    assert sums.column_classes == ()


def test_a_run_shows_what_it_wrote(capsys):
    """Its name is a root too."""
    assert "x/delays@1" in drawn(capsys, "jobs/j-1/runs/1", "upstream")
