"""Erasure: refused to everybody at once, destroyed at every site, certified when nothing can open it any more."""

from __future__ import annotations

import dataclasses

import pytest

from federation.core import dataset, errors, ids, job, kinds, leases, records, transfer
from federation.core.erasure import Erasure, ErasureState
from federation.core.policy import Role
from federation.crypto import erasure as signed
from federation.crypto import signing
from federation.services import datasets, erasures, jobs, namespaces, personal, policies, sites, transfers
from tests import builders
from tests.services.test_leases import asked, granted, refusal, running
from tests.sim import GRANT_KEY, Simulation

FLIGHTS = "sales/flights@1"
ROOT = builders.person("root", Role.ADMIN)


def erase(sim: Simulation, version: str = FLIGHTS, reason: str = "request 4711") -> Erasure:
    """An administrator erases a version."""
    return sim.write(lambda tx: erasures.request(tx, sim.ctx, ROOT, version, reason), actor="users/root")


def confirm(sim: Simulation, at: str) -> None:
    """The site's agent destroys what it is told to, and says so."""
    for ordered in sim.read(lambda tx: erasures.instructions(tx, at)):
        word = signed.confirm(
            sim.agents[at].private,
            erasure=ordered.erasure,
            site=at,
            dataset_uid=ordered.dataset_uid,
            generations=ordered.generations,
        )
        sim.write(lambda tx, word=word, ordered=ordered: erasures.confirm(tx, at, ordered.erasure, word))  # type: ignore[misc]


def look(sim: Simulation, name: str = FLIGHTS) -> Erasure:
    """The erasure as it is now."""
    return sim.read(lambda tx: erasures.get(tx, name))


def reason(sim: Simulation, work) -> str:
    """Why it is refused."""
    with pytest.raises(errors.FederationError) as caught:
        sim.write(work, actor="users/alice")
    return caught.value.reason


@pytest.mark.invariant("L4")
def test_from_its_request_on_nobody_is_given_it(sim: Simulation) -> None:
    """Jobs, people, transfers and leases are refused, wrapped keys are gone, running reads lose their grants."""
    agent, run = running(sim)
    before = asked(sim, run)
    made = erase(sim)
    assert (made.state, [part.site for part in made.sites]) == (ErasureState.PENDING, ["us-1"])
    alice = builders.person()
    name = ids.dataset("sales/flights")
    assert reason(sim, lambda tx: personal.open_read(tx, sim.ctx, alice, name)) == "VERSION_ERASED"
    assert reason(sim, lambda tx: transfers.create(tx, sim.ctx, alice, FLIGHTS, "eu-1")) == "VERSION_ERASED"
    assert reason(sim, lambda tx: jobs.submit(tx, sim.ctx, alice, builders.request([FLIGHTS]))) == "VERSION_ERASED"
    assert refusal(sim, agent.name, before) == "GRANT_CLOSED"
    assert not [row for row in sim.all(dataset.WrappedKey) if row.generation in made.generations]
    assert all(row.closed for row in sim.all(kinds.GrantRecord) if (row.dataset, row.version) == ("flights", 1))
    assert reason(sim, lambda tx: erasures.request(tx, sim.ctx, ROOT, FLIGHTS, "again")) == "VERSION_ERASED"
    assert len(sim.events("erasure.requested")) == 1


@pytest.mark.invariant("L4")
def test_an_open_grant_of_another_kind_leases_nothing_erased(sim: Simulation) -> None:
    """Whoever writes the next version may read the one before as its base, but not an erased one."""
    alice = builders.person()
    sim.put("sales/flights", "us-1")
    writing = sim.write(lambda tx: personal.open_write(tx, sim.ctx, alice, ids.dataset("sales/flights"), "us-1"))
    erase(sim)
    assert refusal(sim, "us-1", asked(sim, "", run="", grant=writing.grant)) == "VERSION_ERASED"


@pytest.mark.invariant("P2")
@pytest.mark.invariant("A1")
def test_the_policy_is_asked_before_anything_is_destroyed(sim: Simulation) -> None:
    """Who may not destroy a dataset erases none of its versions, whatever their role; a yes is told before its effect."""
    hers = {"owner": "users/ada"}
    sim.write(lambda tx: namespaces.update(tx, builders.namespace(**hers), frozenset(hers)))
    sim.write(lambda tx: datasets.update_dataset(tx, builders.dataset(**hers), frozenset(hers)))
    eve = builders.person("eve")
    assert reason(sim, lambda tx: erasures.request(tx, sim.ctx, eve, FLIGHTS, "why")) == "POLICY_DENIED"
    freeze = (
        '@id("freeze") @because("nothing is destroyed") @control("C-1")'
        'forbid (principal, action == Fed::Action::"destroy", resource);'
    )
    text, shipped, good = builders.POLICIES.default() + freeze, builders.POLICIES.default(), records.dumps(builders.case())
    sim.write(lambda tx: policies.apply(tx, sim.ctx, text, "a freeze", (good,)))
    sim.clock.advance(1)
    assert reason(sim, lambda tx: erasures.request(tx, sim.ctx, ROOT, FLIGHTS, "why")) == "POLICY_DENIED"
    assert (sim.all(Erasure), sim.events("version.erased")) == ([], ())
    sim.write(lambda tx: policies.apply(tx, sim.ctx, shipped, "it is over", (good,)))
    sim.clock.advance(1)
    erase(sim)
    assert [event.kind for event in sim.events("policy.decided", "version.erased")][-2:] == ["policy.decided", "version.erased"]


def test_a_waiting_job_and_a_live_transfer_end(sim: Simulation) -> None:
    """A job that could not be placed yet is not placed later; a transfer under way is given up."""
    alice = builders.person()
    moving = sim.write(lambda tx: transfers.create(tx, sim.ctx, alice, FLIGHTS, "eu-1"))
    erase(sim)
    sim.sweep()
    ended = sim.all(transfer.Transfer)[0]
    assert (ended.transfer, ended.state, ended.reason) == (moving.transfer, transfer.TransferState.CANCELLED, "VERSION_ERASED")


def test_every_site_that_ever_had_its_keys_is_told(sim: Simulation) -> None:
    """Also one whose replica is gone: an old catalog still has its rows."""
    alice = builders.person()
    sim.write(lambda tx: transfers.create(tx, sim.ctx, alice, FLIGHTS, "eu-1", keep_seconds=10))
    sim.sweep()
    agent = sim.agents["eu-1"]
    agent.work()
    for name in list(agent.transfers):
        agent.carry(name, agent.transfers[name].transfer.object_bytes)
        agent.land(name)
    for _ in range(10):
        for each in sim.agents.values():
            each.beat()
        sim.wait(5)
        agent.work()
        for version in list(agent.drops):
            agent.drop_replica(version)
    assert not [row for row in sim.all(dataset.Replica, site="eu-1") if row.dataset == "flights"]
    assert [part.site for part in erase(sim).sites] == ["eu-1", "us-1"]
    sim.declare("vu-1")
    sim.write(lambda tx: sites.delete_site(tx, "vu-1"))


def test_what_shares_files_or_is_held_is_not_erased(sim: Simulation) -> None:
    """Another version with the same generation is named; a legal hold refuses; so does a missing reason."""
    first = sim.read(lambda tx: datasets.get_version(tx, ids.version(FLIGHTS)))
    alice, agent = builders.person(), sim.agents["us-1"]
    grant = sim.write(lambda tx: personal.open_write(tx, sim.ctx, alice, ids.dataset("sales/flights"), "us-1"))
    new = agent.new_version("sales/flights", sim.dataset("sales/flights").uid)
    new = dataclasses.replace(new, generations=(*first.generations, *new.generations))
    sim.write(lambda tx: personal.commit(tx, sim.ctx, grant, new, "us-1"))
    with pytest.raises(errors.FailedPrecondition) as caught:
        erase(sim)
    assert caught.value.reason == "ERASURE_SHARED"
    assert caught.value.metadata["shared_with"] == "sales/flights@2"
    assert reason(sim, lambda tx: erasures.request(tx, sim.ctx, ROOT, FLIGHTS, " ")) == "REASON_MISSING"
    held = sim.dataset("sales/weather")
    sim.write(lambda tx: datasets.put_dataset(tx, dataclasses.replace(held, legal_hold=True)))
    assert reason(sim, lambda tx: erasures.request(tx, sim.ctx, ROOT, "sales/weather@1", "why")) == "LEGAL_HOLD"
    assert not sim.all(Erasure)


def test_no_version_reuses_files_of_an_erased_one(sim: Simulation) -> None:
    """A write that had begun upon it before is refused at its commit."""
    first = sim.read(lambda tx: datasets.get_version(tx, ids.version(FLIGHTS)))
    alice, agent = builders.person(), sim.agents["us-1"]
    grant = sim.write(lambda tx: personal.open_write(tx, sim.ctx, alice, ids.dataset("sales/flights"), "us-1"))
    new = agent.new_version("sales/flights", sim.dataset("sales/flights").uid)
    new = dataclasses.replace(new, generations=(*new.generations, *first.generations))
    erase(sim)
    assert reason(sim, lambda tx: personal.commit(tx, sim.ctx, grant, new, "us-1")) == "VERSION_ERASED"


def test_a_site_that_is_down_keeps_it_pending_and_a_lease_does(sim: Simulation) -> None:
    """Both are told; the instruction stays until it is confirmed, with the site's own key."""
    agent, run = running(sim)
    lease = granted(sim, agent.name, asked(sim, run))
    agent.die()
    erase(sim)
    sim.wait(60)
    assert any("us-1 has not confirmed and is LOST" in each for each in look(sim).waits_for)
    assert any("a lease lasts until" in each for each in look(sim).waits_for)
    forged = signed.confirm(
        sim.agents["eu-1"].private,
        erasure=look(sim).erasure,
        site="us-1",
        dataset_uid=look(sim).dataset_uid,
        generations=look(sim).generations,
    )
    assert reason(sim, lambda tx: erasures.confirm(tx, "us-1", look(sim).erasure, forged)) == "SIGNATURE_INVALID"
    assert reason(sim, lambda tx: erasures.confirm(tx, "eu-1", look(sim).erasure, forged)) == "ERASURE_FOREIGN_SITE"
    agent.come_up()
    confirm(sim, "us-1")
    assert not sim.read(lambda tx: erasures.instructions(tx, "us-1"))
    sim.sweep()
    assert look(sim).state is ErasureState.PENDING
    assert reason(sim, lambda tx: erasures.certificate(tx, FLIGHTS)) == "ERASURE_PENDING"
    for _ in range(leases.LIFE_SECONDS // 5):
        agent.beat()
        sim.wait(5)
    ended = look(sim)
    assert (ended.state, ended.waits_for) == (ErasureState.CERTIFIED, ())
    deletion = signed.verify(sim.read(lambda tx: erasures.certificate(tx, FLIGHTS)), signing.public_hex(GRANT_KEY))
    assert [each.lease for each in deletion.leases] == [lease.lease]
    assert [part.site for part in deletion.erasure.sites] == ["us-1"]
    kinds_told = [event.kind for event in sim.events("erasure.requested", "erasure.confirmed", "erasure.certified")]
    assert kinds_told == ["erasure.requested", "erasure.confirmed", "erasure.certified"]


def test_a_run_that_holds_keys_and_has_not_ended_is_waited_for(sim: Simulation) -> None:
    """Its processes may still have them, however old the lease is."""
    agent, run = running(sim)
    granted(sim, agent.name, asked(sim, run))
    erase(sim)
    confirm(sim, "us-1")
    for _ in range(leases.LIFE_SECONDS // 5 + 1):
        agent.beat()
        sim.wait(5)
    assert look(sim).waits_for == (f"run {run} was given keys and has not ended",)
    agent.fail(run)
    sim.sweep()
    assert look(sim).state is ErasureState.CERTIFIED
    assert sim.all(job.Run)


def test_a_certificate_that_was_changed_is_found(sim: Simulation) -> None:
    """Any edit, another catalog's key, a site's word that is not its own, and bytes that are none."""
    erase(sim)
    confirm(sim, "us-1")
    sim.sweep()
    data = sim.read(lambda tx: erasures.certificate(tx, FLIGHTS))
    own = signing.public_hex(GRANT_KEY)
    assert signed.verify(data).erasure.reason == "request 4711"
    assert signed.signer(data) == own
    bad = [
        (data.replace(b"4711", b"4712"), own),
        (data, signing.public_hex(signing.new_private())),
        (data[:-2], own),
        (b"[]", own),
        (b"", own),
    ]
    deletion = signed.verify(data, own)
    part = dataclasses.replace(deletion.erasure.sites[0], signature="00" * 64)
    forged = dataclasses.replace(deletion, erasure=dataclasses.replace(deletion.erasure, sites=(part,)))
    bad.append((signed.certify(GRANT_KEY, forged).encode(), own))
    early = dataclasses.replace(deletion, erasure=dataclasses.replace(deletion.erasure, state=ErasureState.PENDING))
    bad.append((signed.certify(GRANT_KEY, early).encode(), own))
    for changed, key in bad:
        with pytest.raises(errors.DataCorrupt) as caught:
            signed.verify(changed, key)
        assert caught.value.reason == "CERTIFICATE_INVALID"


def test_a_site_that_has_yet_to_confirm_is_not_deleted(sim: Simulation) -> None:
    """Else the erasure would wait for it for ever."""
    sim.declare("vu-1")
    alice = builders.person()
    sim.write(lambda tx: transfers.create(tx, sim.ctx, alice, FLIGHTS, "vu-1"))
    sim.sweep()
    sim.agents["vu-1"].work()
    erase(sim)
    assert reason(sim, lambda tx: sites.delete_site(tx, "vu-1")) == "SITE_IN_USE"
    confirm(sim, "vu-1")
    sim.write(lambda tx: sites.delete_site(tx, "vu-1"))
