"""Roles and residency."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, policy
from tests import builders

places = st.lists(st.sampled_from(["EU", "US", "CH"]), unique=True, max_size=3).map(lambda found: tuple(sorted(found)))


def test_permissions_are_denied_by_default():
    """A user may use and not run the federation, an agent may act as one and nothing else."""
    user, admin, agent = builders.person(), builders.person(role=policy.Role.ADMIN), builders.agent()
    assert policy.allowed(user, "jobs.create")
    assert policy.allowed(admin, "jobs.create")
    assert policy.allowed(admin, "sites.create")
    assert policy.allowed(agent, "agent.act")
    assert not policy.allowed(user, "sites.create")
    assert not policy.allowed(user, "agent.act")
    assert not policy.allowed(agent, "jobs.create")
    assert not policy.allowed(admin, "agent.act")
    assert not policy.allowed(admin, "no.such")


def test_an_agent_knows_its_site_and_a_person_has_none():
    """The site is in the certificate's name."""
    assert (builders.agent("eu-1").site, builders.person().site) == ("eu-1", "")


@given(st.lists(places, max_size=4), st.sampled_from(["EU", "US", "CH", "JP"]))
def test_what_the_strictest_allows_is_what_all_allow(residencies: list[tuple[str, ...]], jurisdiction: str):
    """And where nothing is allowed by all, it says so instead of allowing everything."""
    strictest = policy.strictest(residencies)
    by_all = all(policy.residency_allows(residency, jurisdiction) for residency in residencies)
    assert by_all == (strictest is not None and policy.residency_allows(strictest, jurisdiction))


@given(st.lists(st.tuples(st.sampled_from("abcd"), places), max_size=4, unique_by=lambda named: named[0]))
def test_binding_is_the_strictest_or_names_who_contradicts(named: list[tuple[str, tuple[str, ...]]]):
    """Whoever is named really contradicts each other."""
    strictest = policy.strictest(residency for _, residency in named)
    if strictest is not None:
        assert policy.binding(named) == strictest
        return
    with pytest.raises(errors.InvalidArgument) as caught:
        policy.binding(named)
    assert caught.value.reason == "RESIDENCY_CONTRADICTION"
    assert policy.strictest(residency for name, residency in named if name in caught.value.metadata) is None


def test_two_that_contradict_are_named_alone():
    """A third, innocent one is left out."""
    with pytest.raises(errors.InvalidArgument, match=r"allowed by a \(EU\) and c \(US\)"):
        policy.binding([("a", ("EU",)), ("b", ("EU", "US")), ("c", ("US",))])
