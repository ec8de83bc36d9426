"""A site's agent as a witness, against a real catalog over mTLS: what it co-signs, what it refuses, and what it remembers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federation.agent.witness import Witness
from federation.core import chain, errors, witness
from federation.core.policy import Role
from federation.crypto import heads as signed_heads
from federation.crypto import signing
from federation.crypto import witness as signed
from federation.services import heads, identity
from tests.agent.federation import Federation

LEDGER = "egress_ledger"


@pytest.fixture
def make(shared: Federation, tmp_path: Path) -> Callable[[], Witness]:
    """Makes the witness of eu-1, as a new process would; all share one file. The catalog shows no head yet."""
    agent = shared.places["eu-1"].agent
    assert agent is not None
    parts: dict[str, Any] = {"site": "eu-1", "identity": agent._identity, "catalog": agent._catalog, "now": agent._clock.now}
    show(shared)
    return lambda: Witness(tmp_path / "witness.jsonl", **parts)


def show(federation: Federation, *shown: tuple[int, int, int], private: bytes = b"") -> None:
    """The catalog's heads of the ledger are these: position, rows, and what fills the link."""

    def work(tx: Any) -> None:
        for known in heads.stored(tx, LEDGER):
            tx.delete(chain.SignedHead, heads.key(known))
        for position, rows, fill in shown:
            bare = chain.Head(table=LEDGER, position=position, rows=rows, chain=bytes([fill]) * 32)
            tx.insert(signed_heads.sign(private or federation.edge.ctx.grant_key, bare, tx.now))

    federation.edge.catalog.write(work)


def key(federation: Federation) -> str:
    """The catalog's public key."""
    return signing.public_hex(federation.edge.ctx.grant_key)


def lines(at: Witness) -> tuple[witness.WitnessLine, ...]:
    """Its file."""
    return witness.parse(b"".join(at.read()))


def condition(federation: Federation) -> str:
    """What the catalog says of the site as a witness."""
    return federation.client.get_site("eu-1").witness_error


@pytest.mark.invariant("A3")
def test_a_head_is_kept_on_the_sites_disk_and_then_co_signed(shared: Federation, make: Callable[[], Witness]) -> None:
    """Once for each; the catalog has the same word, which its key does not make."""
    at = make()
    assert at.look(key(shared)) == ()
    assert lines(at) == ()
    show(shared, (10, 5, 1))
    for _ in range(3):
        assert at.look(key(shared)) == ()
    (line,) = lines(at)
    word = line.cosignature
    assert word is not None
    assert signed.is_genuine(word)
    assert (word.site, word.key) == ("eu-1", shared.client.get_site("eu-1").signing_key)
    told = shared.edge.catalog.events(0, kinds=[witness.WITNESSED_KIND])[-1]
    assert told.actor == "agents/eu-1"
    assert word.signature in told.body


@pytest.mark.invariant("A3")
def test_a_rewritten_history_is_refused_also_by_the_next_process(shared: Federation, make: Callable[[], Witness]) -> None:
    """The proof lies on the site's disk: two heads, both signed by the catalog. And the catalog's site says that it refuses."""
    show(shared, (20, 10, 1))
    make().look(key(shared))
    show(shared, (20, 10, 2))
    for _ in range(2):
        (told,) = make().look(key(shared))
    assert told.reason == "HEAD_FORKED"
    assert told.shown is not None
    assert told.seen is not None
    assert signed_heads.is_genuine(told.shown)
    assert signed_heads.is_genuine(told.seen)
    assert [line.refusal.reason for line in lines(make()) if line.refusal] == ["HEAD_FORKED"], "kept once"
    assert condition(shared).startswith("HEAD_FORKED: ")
    show(shared, (21, 11, 1))
    assert make().look(key(shared)) == ()
    assert condition(shared) == ""


def test_another_key_than_the_first_one_is_refused(shared: Federation, make: Callable[[], Witness]) -> None:
    """Whoever holds the tables could have made it, and told the agent that it is the catalog's."""
    show(shared, (30, 15, 1))
    make().look(key(shared))
    other = bytes(range(32))
    show(shared, (31, 16, 1), private=other)
    (told,) = make().look(signing.public_hex(other))
    assert told.reason == "HEAD_FORGED"


def test_a_line_that_a_crash_broke_off_is_passed_over(shared: Federation, make: Callable[[], Witness]) -> None:
    """It was told to nobody; what comes after it stands on a line of its own."""
    show(shared, (40, 20, 1))
    at = make()
    at.look(key(shared))
    with at._file.open("ab") as file:
        file.write(b'{"cosignature": {"site"')
    show(shared, (41, 21, 1))
    again = make()
    again.look(key(shared))
    assert again._file.read_bytes().count(b"\n") == 3
    show(shared, (41, 21, 2))
    assert [told.reason for told in make().look(key(shared))] == ["HEAD_FORKED"], "all that was whole is remembered"


def test_the_file_is_read_over_the_gateway_by_whoever_may_check_the_site(shared: Federation) -> None:
    """From the site itself and not from the catalog: what the catalog says of it is what is to be proven."""
    show(shared, (50, 25, 1))
    agent = shared.places["us-1"].agent
    assert agent is not None
    agent._witness.look(key(shared))
    found = shared.client.witness("us-1")
    assert {line.cosignature.site for line in found if line.cosignature} == {"us-1"}
    people = ((Role.AUDITOR, "audrey"), (Role.USER, "eve"))
    made = shared.edge.catalog.write(
        lambda tx: {role: identity.create_token(tx, shared.edge.ctx, name, role, "EU")[1] for role, name in people}
    )
    with shared.edge.client(made[Role.AUDITOR]) as client:
        assert client.witness("us-1") == found
    with shared.edge.client(made[Role.USER]) as client, pytest.raises(errors.PermissionDenied):
        client.witness("us-1")
