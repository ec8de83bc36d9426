"""The plan that makes a catalog as declared: done once, there is nothing left to do."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import strict
from federation.core import declared, declaring, ratecard
from federation.core.declaring import Action, State

CARD = ratecard.parse(
    "src_provider,src_region,dst_provider,dst_region,tier_upto_gb,usd_per_gb,gb_bytes,as_of,source\n"
    "aws,a,internet,*,10,0.09,1000000000,2026-01-01,list\n"
    "aws,a,internet,*,,0.05,1000000000,2026-01-01,list\n"
    "aws,a,aws,b,,0.02,1073741824,2026-01-01,list\n"
)
DATASET = {"name": "namespaces/a/datasets/b", "owner": "users/ada", "kind": "DATA", "etag": "e-1", "card": {"licence": "MIT"}}
NAMESPACE = {"name": "namespaces/a"}


def plan(text: str, *rows: dict[str, Any], **more: Any) -> declaring.Plan:
    """The plan for a file of this text, in a catalog that has these."""
    found, problems = declared.read(("f.yaml", written) for written in strict.documents(text, "f.yaml"))
    assert problems == ()
    state = State(resources={row["name"]: row for row in rows}, egress=CARD, today=date(2026, 11, 28), **more)
    return declaring.plan(found, state)


def actions(found: declaring.Plan) -> list[tuple[str, Action]]:
    """Each step's resource and what is done with it."""
    return [(step.name, step.action) for step in found.steps]


def problems(found: declaring.Plan) -> list[str]:
    """What cannot be, with its line."""
    return [f"{row.line} {row.path}: {row.what}" for row in found.problems]


def test_what_others_need_comes_first_and_what_goes_comes_last():
    """Whatever the order of the files; what is deleted, the other way round."""
    text = """\
- {name: budgets/b, scope: datasets/a/whole, limit_micros: 1}
- {name: namespaces/a/datasets/whole, parts: [a/z, a/part]}
- {name: replicationRules/r, dataset: a/part}
- {name: namespaces/a/datasets/part}
- {name: namespaces/a/datasets/z}
- {name: namespaces/a}
"""
    gone = (
        ("namespace", {"name": "namespaces/old"}),
        ("dataset", {"name": "namespaces/old/datasets/p"}),
        ("dataset", {"name": "namespaces/old/datasets/w", "parts": ["old/p"]}),
    )
    found = plan(text, prunable=gone)
    assert [name for name, _ in actions(found)] == [
        *("namespaces/a", "namespaces/a/datasets/z", "namespaces/a/datasets/part", "namespaces/a/datasets/whole"),
        *("replicationRules/r", "budgets/b"),
        *("namespaces/old/datasets/w", "namespaces/old/datasets/p", "namespaces/old"),
    ]
    assert found.problems == ()
    assert found.differs


def test_only_what_differs_is_changed_field_by_field():
    """What the file does not name stays; sets have no order, null takes away, nothing is nothing."""
    text = """\
name: namespaces/a/datasets/b
owner: users/ada
residency: [US, EU, EU]
use_expire_time: null
description: ""
card: {licence: MIT, origin: shops}
labels: {}
"""
    held = {**DATASET, "residency": ["EU", "US"], "use_expire_time": "2028-01-01T00:00:00Z", "labels": {"x": "y"}}
    (step,) = plan(text, held, NAMESPACE).steps
    assert (step.action, step.etag) == (Action.UPDATE, "e-1")
    assert [(row.field, row.before, row.after) for row in step.changes] == [
        ("use_expire_time", "2028-01-01T00:00:00Z", None),
        ("card.origin", None, "shops"),
        ("labels", {"x": "y"}, {}),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: namespaces/a/datasets/b\nkind: MODEL", "2 kind: it is DATA and stays so"),
        ("name: namespaces/x/datasets/b", "1 name: it needs namespaces/x, which is not there and not declared"),
        ("name: replicationRules/r\ncopies: 2", "1 name: it is not there yet, and cannot be made without dataset"),
        ("name: sites/s\nregion: aws:a", "1 name: it is not there yet, and cannot be made without jurisdiction"),
        ("name: namespaces/a/datasets/gone", "1 name: a/gone is deleted, which no file takes back"),
        ("name: policies/-\ntext: other", "1 tests: other policies than those that hold are applied with decisions"),
        (
            "name: links/aws:a~gcp:b\ngb_micros: 1\nprice_source: x",
            "1 name: across providers a link costs what the internet costs",
        ),
        ("name: links/aws:a~aws:a\ngb_micros: 1\nprice_source: x", "1 name: inside a region nothing is charged"),
        ("name: links/aws:a~aws:b\ngb_micros: 1\nprice_source: x\nas_of: '2025'", "4 as_of: a price of 2026-01-01 is known"),
        ("name: links/aws:a~aws:b\ngb_micros: 1\ngb_bytes: 3\nprice_source: x", "2 gb_micros: prices, line 2: gb_bytes"),
        ("name: budgets/b\nscope: all\nlimit_micros: 1", "2 scope: it is namespaces/a and stays so"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_done(text, told):
    """With the line where it stands."""
    gone = {"name": "namespaces/a/datasets/gone", "delete_time": "2026-01-01T00:00:00Z"}
    budget = {"name": "budgets/b", "scope": "namespaces/a", "limit_micros": 1}
    assert problems(plan(text, DATASET, NAMESPACE, gone, budget))[0].startswith(told)


def test_a_rule_that_is_other_than_declared_ends_and_is_made_again():
    """The contract has no update of one."""
    (step,) = plan("name: replicationRules/r\ncopies: 3", {"name": "replicationRules/r", "dataset": "a/b", "copies": 2}).steps
    assert step.action is Action.REPLACE


def test_a_link_has_the_price_that_its_file_says_and_tiers_after_that():
    """One price for all, several, and what a listing told, which is rounded and per GB: each is seen to be so once it is so."""
    flat = "name: links/aws:a~aws:b\ngb_micros: 20000\ngb_bytes: 1073741824\nprice_source: list"
    listed = "name: links/aws:a~aws:b\ngb_micros: 18626\ngb_bytes: 1000000000\nprice_source: list"
    rows = "[{upto_bytes: 10000000000, gb_micros: 90000}, {gb_micros: 50000}]"
    tiers = f"name: links/aws:a~internet\nprice_source: list\ntiers: {rows}"
    told = {"name": "links/aws:a~aws:b", "gb_micros": 18626, "gb_bytes": 10**9}
    for text in (flat, listed, tiers):
        assert not plan(text, told).differs, text
    found = plan(tiers.replace("50000", "40000"))
    (change,) = found.steps[0].changes
    assert change.field == "tiers"
    made = ratecard.parse(found.steps[0].wanted["egress"]).rows
    assert [(row.upto_bytes, row.gb_micros, row.as_of) for row in made] == [
        (10**10, 90_000, "2026-11-28"),
        (None, 40_000, "2026-11-28"),
    ]


def test_prices_of_one_document_hold_for_the_next():
    """A rate card, and then a link whose price that card brought: nothing is left to do for the link."""
    csv = CARD.rows and ratecard.text(CARD.rows).replace("0.02,", "0.01,").replace("2026-01-01", "2026-02-02")
    text = json.dumps(
        [
            {"name": "rateCards/-", "egress": csv},
            {"name": "links/aws:a~aws:b", "gb_micros": 10_000, "gb_bytes": 2**30, "price_source": "list"},
        ]
    )
    found = plan(text)
    assert actions(found) == [("rateCards/-", Action.UPDATE), ("links/aws:a~aws:b", Action.UNCHANGED)]
    assert "0.01" in found.steps[0].changes[0].after


@pytest.mark.parametrize(
    ("noun", "row", "why"),
    [
        ("dataset", {"name": "namespaces/a/datasets/x", "latest_version": 3}, "has versions"),
        ("dataset", {"name": "namespaces/a/datasets/x", "legal_hold": True}, "legal hold"),
        ("namespace", {"name": "namespaces/a"}, "holds what a file declares"),
    ],
)
def test_what_holds_something_is_kept(noun, row, why):
    """Whatever was asked to be pruned: data goes by a command of its own."""
    found = plan("name: namespaces/a/datasets/b", DATASET, NAMESPACE, prunable=((noun, row),))
    assert found.steps[-1].action is Action.KEEP
    assert why in found.steps[-1].why
    assert not found.differs


def test_fields_that_cannot_be_set_are_told_where_they_are_other_than_in_the_catalog():
    """A speed that somebody wrote down, not a volume of yesterday."""
    (step,) = plan("name: links/aws:a~aws:b\nbytes_per_second: 5\nas_of: '2026-01-01'\nmonth_to_date_bytes: 7").steps
    assert (step.action, step.ignored) == (Action.UNCHANGED, ("bytes_per_second",))


FIELDS = {
    "description": st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=5),
    "residency": st.lists(st.sampled_from(["EU", "US", "CH"]), max_size=3),
    "labels": st.dictionaries(st.sampled_from(["team", "tier"]), st.sampled_from(["", "a", "no"])),
    "purposes": st.lists(st.sampled_from(["fraud", "ads"]), max_size=2),
    "use_expire_time": st.none() | st.sampled_from(["2028-01-01T00:00:00Z", "2028-01-01T01:00:00+01:00"]),
    "legal_hold": st.booleans(),
    "group_size_min": st.integers(0, 3),
    "card": st.fixed_dictionaries(
        {}, optional={"licence": st.sampled_from(["", "MIT"]), "sensitive_columns": st.just(["b", "a"])}
    ),
}
WANTED = st.fixed_dictionaries({}, optional=FIELDS)


def carried_out(step: declaring.Step) -> dict[str, Any]:
    """What a catalog has after a step: what it had, with each change in its place."""
    made = json.loads(json.dumps({"name": step.name, **step.before}))
    for change in step.changes:
        outer, dot, inner = change.field.partition(".")
        if dot:
            made[outer] = {**(made.get(outer) or {}), inner: change.after}
        else:
            made[outer] = change.after
    return made


@settings(max_examples=40)
@given(WANTED, WANTED)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(first, second):
    """From nothing, and from anything to anything else; and what is as declared needs no plan."""
    name = {"name": "namespaces/a/datasets/b"}
    (made,) = plan(json.dumps(name | first), NAMESPACE).steps
    assert made.action is Action.CREATE
    held = carried_out(made)
    assert not plan(json.dumps(name | first), held, NAMESPACE).differs
    (changed,) = plan(json.dumps(name | second), held, NAMESPACE).steps
    after = carried_out(changed)
    assert not plan(json.dumps(name | second), after, NAMESPACE).differs
    untouched = set(first) - set(second)
    assert all(after.get(field) == held.get(field) for field in untouched)
