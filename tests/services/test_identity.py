"""Tokens of people: shown once, stored as a digest, ended in time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from federation.core import errors, kinds
from federation.core.policy import Principal, Role
from federation.services import identity
from tests.sim import Simulation


def test_a_token_says_who_its_bearer_is(sim: Simulation) -> None:
    """With role and jurisdiction, as the administrator gave them."""
    record, secret = sim.write(lambda tx: identity.create_token(tx, sim.ctx, "users/alice", Role.USER, "EU"))
    assert record.user == "alice"
    bearer = sim.read(lambda tx: identity.principal_for(tx, secret))
    assert bearer == Principal(
        name="users/alice",
        role=Role.USER,
        jurisdiction="EU",
        token=f"tokens/{record.token}",
        expire_time=sim.clock.now() + timedelta(days=30),
    )


def test_the_secret_is_stored_nowhere(sim: Simulation) -> None:
    """Neither in the record nor in the event."""
    _, secret = sim.write(lambda tx: identity.create_token(tx, sim.ctx, "alice", Role.ADMIN))
    assert secret not in str(sim.all(kinds.TokenRecord))
    assert all(secret not in event.body for event in sim.events())


def test_a_token_ends_in_time(sim: Simulation) -> None:
    """At its end it is nobody's."""
    _, secret = sim.write(lambda tx: identity.create_token(tx, sim.ctx, "alice", Role.USER, ttl=timedelta(hours=1)))
    sim.clock.advance(3599)
    sim.read(lambda tx: identity.principal_for(tx, secret))
    sim.clock.advance(1)
    with pytest.raises(errors.Unauthenticated) as caught:
        sim.read(lambda tx: identity.principal_for(tx, secret))
    assert caught.value.reason == "TOKEN_EXPIRED"


@pytest.mark.parametrize("secret", ["", "fed_", "fed_0000"])
def test_a_token_that_was_never_given_is_nobodys(sim: Simulation, secret: str) -> None:
    """Whatever it looks like."""
    with pytest.raises(errors.Unauthenticated) as caught:
        sim.read(lambda tx: identity.principal_for(tx, secret))
    assert caught.value.reason == "TOKEN_INVALID"


@pytest.mark.parametrize(
    ("user", "role", "jurisdiction", "ttl", "reason"),
    [
        ("eu-1", Role.AGENT, "", None, "ROLE_INVALID"),
        ("alice", Role.USER, "", timedelta(0), "TTL_INVALID"),
        ("Alice", Role.USER, "", None, "NAME_INVALID"),
        ("alice", Role.USER, "eu", None, "NAME_INVALID"),
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(  # noqa: PLR0917 - one for each field of a token
    sim: Simulation, user: str, role: Role, jurisdiction: str, ttl: timedelta | None, reason: str
) -> None:
    """Agents have certificates, tokens have a future, names a grammar."""
    with pytest.raises(errors.InvalidArgument) as caught:
        sim.write(lambda tx: identity.create_token(tx, sim.ctx, user, role, jurisdiction, ttl))
    assert caught.value.reason == reason
