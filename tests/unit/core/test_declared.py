"""What files may declare: every mistake is told with its line, and what is accepted, an editor accepts by the schema too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import strict
from federation.core import declared, errors
from federation.core.declared import NOUNS
from federation.wire import methods

ROOT = Path(__file__).parents[3]
SCHEMA = jsonschema.Draft202012Validator(declared.schemas())


def read(text: str) -> tuple[tuple[declared.Declared, ...], tuple[declared.Problem, ...]]:
    """What a file of this text declares, and what is wrong with it."""
    return declared.read(("f.yaml", written) for written in strict.documents(text, "f.yaml"))


def wrong(text: str) -> list[str]:
    """Line, path and what is wrong."""
    found, problems = read(text)
    del found
    return [f"{row.line} {row.path}: {row.what}" for row in problems]


def test_the_published_schema_is_the_one_that_files_are_read_by():
    """`make schemas` prints it; it is a schema of the draft that it names."""
    published = json.loads((ROOT / "docs" / "schemas" / "declarative.schema.json").read_text())
    assert published == declared.schemas()
    SCHEMA.check_schema(published)


def test_all_that_is_wrong_is_told_at_once_with_its_line():
    """In several documents, of every kind of mistake, each with the line of its key."""
    text = """\
name: namespaces/sales
wieght: 2
---
name: namespaces/sales/datasets/flights
residency: EU
use_expire_time: 2027-12-31
kind: TABLE
group_size_min: "10"
legal_hold: yes
card:
  licence: [x]
---
- name: jobs/j-1
- nam: x
- name: sites/eu-1
  offer: {gpus: [{type: H100, gpu_hour_micros: 1.5}]}
- name: budgets/b
  limit_micros: -1
  hard:
"""
    assert wrong(text) == [
        "2 wieght: no such key is known here",
        "5 residency: it is 'EU', a list belongs here",
        "6 use_expire_time: '2027-12-31' is not a time with its offset from UTC",
        "7 kind: 'TABLE' is not one of DATA, MODEL",
        "8 group_size_min: '10' is not a whole number",
        "9 legal_hold: 'yes' is neither true nor false",
        "11 card.licence: it is a list, one value belongs here",
        "13 name: 'jobs/j-1' cannot be declared: a job is done once: `fed job submit`",
        "14 name: it is missing: which resource is this?",
        "16 offer.gpus[0].gpu_hour_micros: '1.5' is not a whole number",
        "16 offer.gpus[0]: it lacks source",
        "18 limit_micros: '-1' is not 0 to 1,152,921,504,606,846,976",
        "19 hard: '' is neither true nor false",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: sites/eu-1\nregion: frankfurt", "2 region: region 'frankfurt' is not of the form provider:place"),
        ("name: namespaces/a/datasets/b\nowner: ada", "2 owner: owner 'ada' is neither a user nor a group"),
        ("name: namespaces/a/datasets/b\npurposes: [Fraud]", "2 purposes: 'Fraud' is no purpose"),
        ("name: namespaces/a/datasets/b\ncard:\n  without: [colour]", "2 card: card.without names 'colour'"),
        ("name: namespaces/a/datasets/b\ndataset: c", "2 dataset: it is 'c', and the name says b"),
        ("name: budgets/b\nscope: everything", "2 scope: scope must be all, namespaces/NAME, datasets/NAMESPACE/NAME"),
        ("name: budgets/b\nscope: datasets/Sales", "2 scope: 'Sales' does not name a dataset"),
        ("name: links/aws:a~aws:b\ngb_micros: 1", "1 price_source: a price without a source is not a price"),
        (
            "name: links/aws:a~internet\ngb_micros: 1\ntiers: [{gb_micros: 1}]\nprice_source: x",
            "2 gb_micros: a link has one price",
        ),
        ("name: rateCards/-\negress: 'src,dst'", "2 egress: prices, line 1"),
        ("name: policies/-\nnote: x", "1 file: it says no policies"),
        ("name: policies/-\ntext: x\nfile: y", "3 file: text and file say the same thing twice"),
        ("name: budgets/b\n---\nname: budgets/b", "3 name: budgets/b is declared a second time: first at f.yaml:1"),
        ("name: tokens/t1", "1 name: 'tokens/t1' cannot be declared: a token is a secret"),
        ("name: sales/flights", "1 name: 'sales/flights' is no full name of what can be declared"),
        ("just words", "1 : this is no resource"),
    ],
)
def test_what_is_known_without_asking_anybody_is_refused(text, told):
    """Names, prices, parties, cards: by the same checks that the server has."""
    assert wrong(text)[0].startswith(told)


def test_what_the_catalog_tells_may_stand_there_and_is_not_read():
    """As `-o yaml` prints it, so that what is printed can be applied."""
    text = "name: sites/eu-1\netag: e-1\nstate: READY\ncapacity: {cpus: 4}\nregion: aws:eu-1\nsite: eu-1"
    (one,), problems = read(text)
    assert (problems, one.values, one.told["state"]) == ((), {"region": "aws:eu-1"}, "READY")


def test_scalars_are_taken_as_they_are_written():
    """Where text belongs, `no`, `1.10` and a number stay text; JSON's two halves of one character become one."""
    (one,), problems = read('name: namespaces/a/datasets/b\nlabels: {country: no, v: 1.10, n: 7, smile: "\\ud83d\\ude00"}')
    assert problems == ()
    assert one.values["labels"] == {"country": "no", "v": "1.10", "n": "7", "smile": "😀"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "line 1"),
        ("a: 1\na: 2", "twice"),
        ("[" * 1200, "deep"),
        (
            "x: &x [1]\n" + "".join(f"a{n}: &a{n} [{', '.join(['*a' + str(n - 1) if n else '*x'] * 9)}]\n" for n in range(9)),
            "more than",
        ),
    ],
)
def test_what_is_no_yaml_says_where(text, told, monkeypatch):
    """A key twice, brackets without end, aliases of aliases: refused, with a line."""
    monkeypatch.setattr(strict, "NODES_MAX", 2000)
    with pytest.raises(errors.InvalidArgument, match=told) as refused:
        strict.documents(text, "f.yaml")
    assert int(refused.value.metadata["line"]) >= 1


#: Values of all kinds of JSON, right and wrong ones.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "EU", "DATA", "aws:x", "users/ada", "1"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "licence", "cpu_watts", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)
NAMES = {
    "namespace": "namespaces/a",
    "site": "sites/a",
    "price": "rateCards/-",
    "link": "links/aws:a~internet",
    "policy": "policies/-",
    "dataset": "namespaces/a/datasets/b",
    "rule": "replicationRules/a",
    "budget": "budgets/a",
}


@st.composite
def documents(draw: Any) -> dict[str, Any]:
    """A document of some kind with some of its fields, some of what it is told, and now and then a key of nobody."""
    noun = NOUNS[draw(st.sampled_from(sorted(NOUNS)))]
    keys = st.sampled_from([*noun.fields, *noun.given[:2], "nobody"])
    found = draw(st.dictionaries(keys, VALUES, max_size=3))
    return {"name": NAMES[noun.word], **{key: value for key, value in found.items() if key not in ("name", noun.word)}}


@settings(max_examples=60)
@given(documents())
def test_what_is_accepted_is_valid_by_the_schema(document):
    """What was read of it, with scalars taken as they are written: an editor shows no mistake where `fed apply` finds none."""
    found, problems = read(json.dumps(document))
    if not problems:
        (one,) = found
        SCHEMA.validate({"name": document["name"], **one.values})
    else:
        assert all(row.line >= 1 and row.what for row in problems)


def test_every_change_that_can_be_asked_for_is_declared_or_the_docs_say_why_not():
    """A new method that changes something has its line there, too."""
    page = (ROOT / "docs" / "declarative.md").read_text()
    changing = [key for key, row in methods.TABLE.items() if row.is_mutation and row.service in methods.PEOPLE]
    assert [key for key in changing if f"`{key}`" not in page] == []
