"""The policies: what the shipped set decides, what no set may do, and the laws of any set."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.client import policy_cases
from federation.core import authorization, errors
from federation.core.authorization import Action, DatasetFacts, Question, SiteFacts, Subject
from tests import builders

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = builders.POLICIES.default()
ENGINE = builders.POLICIES.compile(DEFAULT)
CASES = policy_cases.read(ROOT / "examples/policies/default.yaml")
NAMED = '@id("{id}") @because("b") @control("c") '
US_1 = (
    'forbid(principal, action == Fed::Action::"run", resource) when { context has site && context.site == Fed::Site::"us-1" };'
)
#: Policies that are limited in each way in which a slice is made, and one that reads the time.
EXTRA = "".join(
    NAMED.format(id=f"extra{number}") + text
    for number, text in enumerate(
        [
            'forbid(principal == Fed::User::"eve", action, resource);',
            'forbid(principal in Fed::Party::"groups/interns", action, resource in Fed::Namespace::"hr");',
            'permit(principal, action == Fed::Action::"run", resource == Fed::Dataset::"hr/pay");',
            'forbid(principal, action, resource is Fed::Dataset) when { principal.role == "AUDITOR" };',
            US_1,
            'forbid(principal, action, resource) when { context.now > datetime("2030-01-01") };',
            "forbid(principal, action, resource) when { resource.classification > 2 && principal in resource.readers };",
            "forbid(principal, action, resource) when { resource.classification <= 0 && resource.legal_hold };",
            'permit(principal, action == Fed::Action::"write", resource) when { resource.legal_hold };',
            'permit(principal, action == Fed::Action::"write", resource) when { resource.kind != "DATA" };',
            'permit(principal, action == Fed::Action::"write", resource) when { 5 < resource.group_size_min };',
            'permit(principal, action == Fed::Action::"write", resource) unless { resource.classification == 3 };',
            'forbid(principal, action == Fed::Action::"write", resource) when { context.unsealed_classes.contains("pii") };',
        ]
    )
)

subjects = st.builds(
    Subject,
    name=st.sampled_from(["users/ada", "users/eve", 'users/"; permit(principal,action,resource);//']),
    groups=st.sampled_from([(), ("interns",), ("analysts", "interns")]),
)
sites = st.none() | st.builds(
    SiteFacts,
    site=st.sampled_from(["eu-1", "us-1"]),
    region=st.just("r"),
    jurisdiction=st.sampled_from(["EU", "US"]),
    grade=st.sampled_from(["", "A", "B", "C"]),
)
facts = st.builds(
    DatasetFacts,
    namespace=st.sampled_from(["hr", "sales"]),
    dataset=st.sampled_from(["pay", "flights"]),
    owners=st.sampled_from([(), ("users/ada",)]),
    readers=st.sampled_from([(), ("groups/everyone",), ("groups/analysts",)]),
    classification=st.integers(0, 3),
    residency=st.sampled_from([(), ("EU",)]),
    purposes=st.sampled_from([(), ("fraud",)]),
)
questions = st.builds(
    Question,
    subject=subjects,
    action=st.sampled_from(list(Action)),
    dataset=facts,
    time=st.sampled_from([builders.NOW, builders.NOW + timedelta(days=4000)]),
    site=sites,
    purpose=st.sampled_from(["", "fraud"]),
    use_ended=st.booleans(),
    aggregate=st.booleans(),
    group_size=st.sampled_from([None, 5]),
    unsealed_classes=st.sampled_from([(), ("health",), ("health", "pii")]),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_shipped_policies_decide_as_is_promised(case: authorization.Case) -> None:
    """Each with the policies that decide, where the file says them."""
    assert authorization.failures([case], ENGINE.decide) == ()


def test_each_shipped_policy_decides_some_case() -> None:
    """A policy that no case needs could be lost without anybody seeing it."""
    used = {name for case in CASES for name in ENGINE.decide(case.question).policies}
    assert {rule.policy for rule in ENGINE.rules} == used


def test_the_shipped_policies_are_in_order() -> None:
    """They pass their own lint, and each says why and after which rule."""
    assert builders.POLICIES.problems(DEFAULT) == ()
    assert all(rule.because and rule.control for rule in ENGINE.rules)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("permit(principal, action, resource", "unexpected"),
        ("forbid(principal, action, resource);", "no @id"),
        (NAMED.format(id="a") + "permit(principal, action, resource);", "must name its actions"),
        (2 * (NAMED.format(id="a") + "forbid(principal, action, resource);"), "same @id"),
        (NAMED.format(id="a") + "forbid(principal, action, resource) when { context.nope };", "nope"),
        (NAMED.format(id="a") + "forbid(principal, action, resource) when { resource.legal_hold == 1 };", "type"),
        (NAMED.format(id="a") + "forbid(principal == ?principal, action, resource);", "template"),
        ("", "no policy"),
    ],
)
def test_what_is_not_in_order_is_named(text: str, told: str) -> None:
    """By lint, and refused where it would be used."""
    assert told in " ".join(map(str, builders.POLICIES.problems(text)))
    with pytest.raises(errors.InvalidArgument) as caught:
        builders.POLICIES.compile(text)
    assert caught.value.reason == "POLICY_INVALID"


@pytest.mark.invariant("P1")
def test_what_no_policy_permits_is_denied_and_what_fails_too() -> None:
    """A forbid that fails would be skipped by Cedar: here its failure is a no that names it."""
    failing = NAMED.format(id="fails") + (
        'forbid(principal, action == Fed::Action::"browse", resource)'
        " when { 9223372036854775807 + resource.classification > 0 };"
    )
    asked = builders.case().question
    asked = dataclasses.replace(asked, dataset=dataclasses.replace(asked.dataset, classification=1))
    assert ENGINE.decide(asked).allowed
    found = builders.POLICIES.compile(DEFAULT + failing).decide(asked)
    assert not found.allowed
    assert "fails" in " ".join(found.errors)
    stranger = dataclasses.replace(asked, subject=Subject(name="users/eve"))
    assert ENGINE.decide(stranger) == authorization.Answer(
        allowed=False,
        nearest=authorization.NearMiss(
            policy="administer",
            because="administrators keep the federation in order and do not use its data",
            missed='principal.role == "ADMIN"',
        ),
    )


def test_a_refusal_names_the_condition_that_the_nearest_permit_missed() -> None:
    """Of two conditions one held: that permit is nearer than those of which none did."""
    text = (
        DEFAULT
        + NAMED.format(id="interns")
        + (
            'permit(principal, action == Fed::Action::"run", resource) when '
            '{ principal in Fed::Party::"groups/interns" && context has purpose };'
        )
    )
    asked = dataclasses.replace(
        builders.case().question, action=Action.RUN, subject=Subject(name="users/eve", groups=("interns",))
    )
    near = builders.POLICIES.compile(text).decide(asked).nearest
    assert near is not None
    assert (near.policy, near.missed) == ("interns", "context has purpose")


@settings(max_examples=60, deadline=None)
@given(question=questions)
def test_a_slice_and_what_is_remembered_decide_as_the_whole_set_does(question: Question) -> None:
    """Neither leaving out policies that cannot concern it nor leaving out facts that nobody asks about changes an answer."""
    engine = builders.POLICIES.compile(DEFAULT + EXTRA)
    whole = _unsliced(engine)
    assert engine.decide(question) == engine.decide_anew(question) == whole.decide_anew(question)


#: Policies that look at lists of parties otherwise than to find whoever asks in them.
WEIGHING = "".join(
    NAMED.format(id=f"weighing{number}") + f"forbid(principal, action, resource) when {{ {condition} }};"
    for number, condition in enumerate(
        [
            'resource.owners.contains(Fed::Party::"users/eve")',
            "resource.readers.isEmpty() && resource.classification == 3",
            "resource.owners.containsAny(resource.readers)",
        ]
    )
)


WEIGHING_ENGINE = builders.POLICIES.compile(DEFAULT + WEIGHING)


@pytest.mark.parametrize("read", [("owners",), ("readers",), ("owners", "readers")])
def test_parties_who_do_not_ask_matter_only_where_policies_look_at_them(read: tuple[str, ...]) -> None:
    """The shipped ones ask for whoever asks alone: one answer serves all other owners; these look at them all."""
    kept = [text for text in WEIGHING.split(";") if text and all(f"resource.{name}" in text for name in read)]
    engine = builders.POLICIES.compile(DEFAULT + ";".join((*kept, "")))
    asked = builders.case().question
    one, other = (
        dataclasses.replace(asked, dataset=dataclasses.replace(asked.dataset, **dict.fromkeys(read, (name,))))
        for name in ("users/one", "users/other")
    )
    assert ENGINE.general(one) == ENGINE.general(other)
    assert engine.general(one) != engine.general(other)


@settings(max_examples=60, deadline=None)
@given(
    question=questions,
    owners=st.lists(st.sampled_from(["users/ada", "users/eve", "groups/analysts"]), max_size=3, unique=True),
    readers=st.lists(st.sampled_from(["users/ada", "users/eve", "groups/everyone"]), max_size=3, unique=True),
)
def test_parties_left_out_of_a_question_change_no_answer(question: Question, owners: list[str], readers: list[str]) -> None:
    """With the shipped policies, which only look for whoever asks, and with ones that look at all of them."""
    listed = dataclasses.replace(question.dataset, owners=tuple(sorted(owners)), readers=tuple(sorted(readers)))
    question = dataclasses.replace(question, dataset=listed)
    for engine in (ENGINE, WEIGHING_ENGINE):
        assert engine.decide(question) == engine.decide_anew(question)


def _unsliced(engine):
    """The same set with an index that leaves nothing out."""
    again = builders.POLICIES.compile(DEFAULT + EXTRA)
    everything = tuple(sorted(rule.policy for rule in engine.rules))

    class All:
        def concerned(self, question):
            return tuple(name for name in everything if str(question.action) in again._parsed[name].rule.actions)

    again._index = All()
    again._may_apply = lambda concerned, _question: concerned
    again._read = lambda _concerned: frozenset(
        {"now", "use_ended", "purpose", "job", "site", "for_job", "aggregate", "destination", "group_size", "unsealed_classes"}
    )
    again._schema = builders.POLICIES._schema
    return again


@settings(max_examples=30, deadline=None)
@given(question=questions, order=st.permutations(range(14)))
def test_the_order_of_policies_does_not_matter(question: Question, order: list[int]) -> None:
    """Neither for the answer nor for the digest."""
    texts = [rule.text + "\n" for rule in ENGINE.rules]
    mixed = builders.POLICIES.compile("".join(texts[number] for number in order))
    assert mixed.digest == ENGINE.digest
    assert mixed.decide(question) == ENGINE.decide(question)


@settings(max_examples=30, deadline=None)
@given(question=questions, extra=st.sampled_from(["true", "resource.classification > 1", "principal in resource.readers"]))
def test_another_forbid_never_allows_more(question: Question, extra: str) -> None:
    """Whatever it says."""
    more = builders.POLICIES.compile(
        DEFAULT + NAMED.format(id="more") + f"forbid(principal, action, resource) when {{ {extra} }};"
    )
    assert ENGINE.decide(question).allowed or not more.decide(question).allowed


@pytest.mark.invariant("P5")
@given(name=st.text(min_size=1, max_size=40).filter(lambda text: "\x00" not in text and text.isprintable()))
@settings(max_examples=60, deadline=None)
def test_a_name_is_never_text_of_a_policy(name: str) -> None:
    """Quotes, comments and policies in names stay names: nobody gets in by one, and nothing breaks."""
    hostile = f'{name}", "x"); permit(principal, action, resource); //'
    asked = dataclasses.replace(
        builders.case().question,
        subject=Subject(name=f"users/{hostile}", groups=(hostile,)),
        dataset=DatasetFacts(
            namespace=hostile, dataset=hostile, classification=1, owners=("users/ada",), labels=((hostile, hostile),)
        ),
    )
    found = ENGINE.decide_anew(asked)
    assert (found.allowed, found.errors) == (False, ())
    mine = dataclasses.replace(asked, dataset=dataclasses.replace(asked.dataset, owners=(f"users/{hostile}",)))
    assert ENGINE.decide_anew(mine).policies == ("use.owner",)
