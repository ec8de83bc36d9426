"""API tokens: scoped, ended in time, taken back at once, and never more than who made them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from federation.core import errors, kinds, people, policy
from federation.services import identity
from tests.identity.provider import Provider
from tests.sim import Simulation
from tests.wire.edge import Edge

pytestmark = pytest.mark.invariant("I2")

ADA = policy.Principal(name="users/ada", role=policy.Role.USER, jurisdiction="EU", groups=("analysts", "crew"))
ROOT = policy.Principal(name="users/root", role=policy.Role.ADMIN)


@pytest.fixture
def sim() -> Simulation:
    """A catalog in memory."""
    return Simulation()


def make(sim: Simulation, creator: policy.Principal, user: str = "ada", **asked: Any) -> tuple[kinds.TokenRecord, str]:
    """A token that somebody asks for."""
    role, where, ttl = asked.pop("role", policy.Role.USER), asked.pop("jurisdiction", ""), asked.pop("ttl", None)
    return sim.write(lambda tx: identity.create_token(tx, sim.ctx, user, role, where, ttl, creator=creator, **asked))


def bearer(sim: Simulation, secret: str) -> policy.Principal:
    """Whose it is."""
    return sim.read(lambda tx: identity.principal_for(tx, secret))


def test_one_s_own_token_is_as_wide_as_oneself_unless_it_is_narrowed(sim):
    """Groups and jurisdiction come along; scopes narrow what it is good for."""
    _, secret = make(sim, ADA, scopes=("datasets.*", "jobs.get"))
    found = bearer(sim, secret)
    assert (found.groups, found.jurisdiction, found.scopes) == (ADA.groups, "EU", ("datasets.*", "jobs.get"))
    assert policy.allowed(found, "datasets.read")
    assert policy.allowed(found, "jobs.get")
    assert not policy.allowed(found, "jobs.create")
    assert not policy.allowed(found, "sites.create")


@pytest.mark.parametrize(
    "asked",
    [
        {"role": policy.Role.ADMIN},
        {"role": policy.Role.AUDITOR},
        {"user": "bob"},
        {"jurisdiction": "US"},
        {"groups": ("directors",)},
    ],
)
def test_a_token_never_has_more_than_its_creator(sim, asked):
    """Neither a role, nor a name, nor a place, nor a group."""
    with pytest.raises(errors.PermissionDenied) as caught:
        make(sim, ADA, **asked)
    assert caught.value.reason == "TOKEN_EXCEEDS_CREATOR"
    assert sim.all(kinds.TokenRecord) == []


def test_who_shows_a_narrow_token_makes_no_wider_one(sim):
    """Without scopes it gets those of its maker's token; with others it is refused. So does an administrator's."""
    for creator in (ADA, ROOT):
        user = creator.name.removeprefix("users/")
        _, secret = make(sim, creator, user, role=creator.role, scopes=("tokens.*", "datasets.get"))
        narrow = bearer(sim, secret)
        assert make(sim, narrow, user, role=creator.role)[0].scopes == ("datasets.get", "tokens.*")
        for scopes in (("datasets.*",), ("jobs.create",)):
            with pytest.raises(errors.PermissionDenied):
                make(sim, narrow, user, role=creator.role, scopes=scopes)
    with pytest.raises(errors.PermissionDenied):
        make(sim, narrow, "root", role=policy.Role.ADMIN, scopes=("tokens.create",), groups=("directors",))


def test_a_token_made_with_a_token_ends_with_it_and_is_taken_back_with_it(sim):
    """So whoever stole one keeps nothing of it."""
    parent, secret = make(sim, ADA, ttl=timedelta(days=2))
    child, child_secret = make(sim, bearer(sim, secret))
    grandchild, grandchild_secret = make(sim, bearer(sim, child_secret))
    assert child.expire_time == grandchild.expire_time == parent.expire_time
    with pytest.raises(errors.PermissionDenied):
        make(sim, bearer(sim, secret), ttl=timedelta(days=3))
    showed = bearer(sim, secret)
    sim.write(lambda tx: identity.revoke_token(tx, ADA, parent.token))
    for ended in (secret, child_secret, grandchild_secret):
        with pytest.raises(errors.Unauthenticated):
            bearer(sim, ended)
    with pytest.raises(errors.Unauthenticated):  # who was let in a moment ago makes none either
        make(sim, showed)
    assert [event.kind for event in sim.events() if event.kind.startswith("token.")].count("token.revoked") == 3


def test_tokens_end_unless_told_otherwise_and_never_last_longer_than_the_settings_say(sim):
    """30 days, and 366 at most, for administrators too."""
    record, secret = make(sim, ROOT, "ada")
    assert record.expire_time == sim.clock.now() + timedelta(days=30)
    with pytest.raises(errors.InvalidArgument) as caught:
        make(sim, ROOT, "ada", ttl=timedelta(days=367))
    assert caught.value.reason == "TTL_INVALID"
    sim.clock.advance(30 * 86_400)
    with pytest.raises(errors.Unauthenticated) as late:
        bearer(sim, secret)
    assert late.value.reason == "TOKEN_EXPIRED"


@pytest.mark.parametrize(
    "scope", ["", "*", "datasets", "datasets.", ".*", "datasets.**", "agent.act", "datasets.conquer", "x.*"]
)
def test_a_scope_that_means_nothing_is_refused(sim, scope):
    """A typo must not be a token that is good for nothing, or for everything."""
    with pytest.raises(errors.InvalidArgument) as caught:
        make(sim, ROOT, "ada", scopes=(scope,))
    assert caught.value.reason == "SCOPE_UNKNOWN"


def test_every_permission_and_noun_can_be_a_scope():
    """And an empty scope leaves all that the role has."""
    for permission in policy.ADMIN_PERMISSIONS:
        assert policy.scopes_checked((permission, f"{permission.partition('.')[0]}.*"))
    assert policy.effective(policy.Role.USER) == policy.USER_PERMISSIONS


@pytest.fixture
def made(edge: Edge) -> tuple[people.Token, people.Token]:
    """One token of the user and one of the administrator, over the wire."""
    with edge.client("user") as user, edge.client() as admin:
        return user.create_token(scopes=("server.get",)), admin.create_token("somebody")


def test_people_see_and_end_their_own_tokens_and_no_others(edge, made):
    """A stranger's token is NOT_FOUND, as one that never was."""
    own, foreign = made
    with edge.client("user") as user:
        assert {row.user for row in user.list_tokens()} == {"users/user"}
        assert all(row.secret == "" for row in user.list_tokens())
        told = []
        for name in (foreign.token, "t" + "0" * 24):
            with pytest.raises(errors.NotFound) as caught:
                user.revoke_token(name)
            told.append(str(caught.value).replace(name, "NAME"))
        assert told[0] == told[1]
        user.revoke_token(own.token)
    with edge.client() as admin:
        assert foreign.token in {row.token for row in admin.list_tokens()}


def test_a_token_that_is_taken_back_is_refused_at_once(edge, made):
    """By the server where it was taken back, also for who called a moment before."""
    own, _ = made
    with edge.client(own.secret) as bearer_, edge.client("user") as user:
        assert bearer_.who_am_i().scopes == ("server.get",)
        user.revoke_token(own.token)
        with pytest.raises(errors.Unauthenticated) as caught:
            bearer_.who_am_i()
    assert caught.value.reason == "TOKEN_INVALID"


def test_a_scoped_token_is_told_that_its_scope_is_what_lacks(edge, made):
    """Not its bearer's role."""
    with edge.client(made[0].secret) as client, pytest.raises(errors.PermissionDenied, match=r"its token lacks sites\.list"):
        list(client.list_sites())


def test_who_signed_in_makes_tokens_too(edge: Edge, provider: Provider):
    """With their groups and their place as their issuer told them, not bound to the end of the sign-in."""
    with edge.client(provider.id_token("bob")) as bob:
        token = bob.create_token(scopes=("jobs.*",))
    assert (token.user, token.groups, token.jurisdiction) == ("users/bob", ("analysts",), "US")
    with edge.client(token.secret) as client, pytest.raises(errors.PermissionDenied):
        client.who_am_i()
