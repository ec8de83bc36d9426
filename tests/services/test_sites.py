"""Sites: declared, heard from, lost, found again; what their agents are told; and the links between them."""

from __future__ import annotations

import dataclasses

import pytest

from federation.core import errors, grants, job, site
from federation.core.site import SiteState
from federation.services import sites
from tests import builders
from tests.sim import LEASE_SECONDS, Simulation


def get(sim: Simulation, name: str) -> site.Site:
    """A site as it is now."""
    return sim.read(lambda tx: sites.get_site(tx, name))


def test_a_declared_site_becomes_ready_when_its_agent_registers(sim: Simulation) -> None:
    """Until then nothing is known of it but what was declared, whatever the declaration said."""
    agent = sim.declare("eu-2", up=False)
    declared = get(sim, "eu-2")
    assert (declared.state, declared.signing_key, declared.gateway) == (SiteState.DECLARED, "", "")
    agent.come_up()
    ready = get(sim, "eu-2")
    assert (ready.state, ready.gateway, ready.heartbeat_time) == (
        SiteState.READY,
        "eu-2.example:7443",
        sim.clock.now(),
    )


@pytest.mark.parametrize(
    "change", [{"region": "frankfurt"}, {"jurisdiction": "eu"}, {"site": "EU"}], ids=["region", "jurisdiction", "name"]
)
def test_a_site_is_declared_in_the_grammar(sim: Simulation, change: dict[str, str]) -> None:
    """A wrong region would have no price, a wrong jurisdiction no data."""
    wrong = dataclasses.replace(builders.site("x-1"), **change)  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgument) as caught:
        sim.write(lambda tx: sites.create_site(tx, sim.ctx, wrong))
    assert caught.value.reason == "NAME_INVALID"


def test_two_sites_cannot_have_one_name(sim: Simulation) -> None:
    """The second is refused."""
    with pytest.raises(errors.AlreadyExists):
        sim.declare("eu-1")


def test_a_stranger_cannot_register(sim: Simulation) -> None:
    """A site is declared first; a certificate alone makes none."""
    with pytest.raises(errors.NotFound):
        sim.write(lambda tx: sites.open_check(tx, sim.ctx, builders.person(), "mars-1"))


def test_a_site_with_data_keeps_its_signing_key(sim: Simulation) -> None:
    """With another key nothing that it signed could be verified; without data it may come anew."""
    for name in ("us-1", "us-2"):
        sim.agents[name].private = b"\x01" * 32
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.agents["us-1"].come_up()
    assert caught.value.reason == "SITE_KEY_CHANGED"
    sim.agents["us-2"].come_up()


def test_a_silent_site_is_lost_and_a_heartbeat_finds_it_again(sim: Simulation) -> None:
    """Each is told once."""
    agent = sim.agents["eu-1"]
    sim.wait(LEASE_SECONDS - 1)
    assert get(sim, "eu-1").state is SiteState.READY
    sim.wait(1)
    sim.wait(1)
    assert get(sim, "eu-1").state is SiteState.LOST
    assert [event.name for event in sim.events("site.lost")].count("sites/eu-1") == 1
    agent.beat()
    assert get(sim, "eu-1").state is SiteState.READY


def test_heartbeats_that_tell_nothing_new_are_not_told(sim: Simulation) -> None:
    """No event, and the row is written now and then only, so that an administrator's etag holds for a while."""
    before, etag = sim.catalog.revision(), get(sim, "eu-1").etag
    sim.clock.advance(3)
    sim.agents["eu-1"].beat()
    assert get(sim, "eu-1").etag == etag
    sim.clock.advance(3)
    sim.agents["eu-1"].beat()
    assert get(sim, "eu-1").heartbeat_time == sim.clock.now()
    assert sim.catalog.revision() == before
    sim.agents["eu-1"].compute_error = "Ray is down"
    sim.agents["eu-1"].beat()
    assert [event.kind for event in sim.events()[before:]] == ["site.updated"]


def test_a_heartbeat_renews_leases_of_current_runs_and_names_the_others(sim: Simulation) -> None:
    """A run that nobody knows, or of another site, is not current."""
    submitted = sim.submit(builders.request(["sales/flights"]))
    agent = sim.agents["us-1"]
    agent.work()
    foreign = sim.submit(builders.request(["sales/weather"])).run
    for run in (foreign, "jobs/j-none/runs/1"):
        agent.runs[run] = agent.runs[submitted.run]
    sim.clock.advance(5)
    answer = agent.beat()
    assert answer.current_runs == (submitted.run,)
    assert answer.superseded_runs == (foreign, "jobs/j-none/runs/1")
    lease = sim.run_of(submitted.job).lease_time
    assert lease is not None
    assert (lease - sim.clock.now()).total_seconds() == LEASE_SECONDS


def test_a_grant_that_the_catalog_does_not_know_is_to_be_settled_too(sim: Simulation) -> None:
    """Or its gateway would keep it open for ever; the answer is an entry that is none."""
    agent = sim.agents["us-1"]
    agent.open_grants["a-unknown"] = 7
    assert agent.beat().closed_grants == ("a-unknown",)
    assert agent.open_grants == {}


def test_what_is_declared_can_be_changed_but_a_site_in_use_does_not_move(sim: Simulation) -> None:
    """Prices may change at any time; region and jurisdiction are what residency was promised by."""
    cheaper = dataclasses.replace(get(sim, "us-1"), offer=builders.offer("0.01"), etag="")
    assert sim.write(lambda tx: sites.update_site(tx, cheaper, frozenset({"offer"}))).offer == cheaper.offer
    moved = dataclasses.replace(get(sim, "us-1"), jurisdiction="EU", etag="")
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.write(lambda tx: sites.update_site(tx, moved, frozenset({"jurisdiction"})))
    assert caught.value.reason == "SITE_IN_USE"
    with pytest.raises(errors.InvalidArgument) as wrong:
        sim.write(lambda tx: sites.update_site(tx, moved, frozenset({"signing_key"})))
    assert wrong.value.reason == "FIELD_MASK_INVALID"
    free = dataclasses.replace(get(sim, "us-2"), region="aws:us-west-2", etag="")
    assert sim.write(lambda tx: sites.update_site(tx, free, frozenset())).region == "aws:us-west-2"


def test_a_site_is_deleted_once_it_holds_and_runs_nothing() -> None:
    """Data first, then runs, then the site."""
    sim = Simulation(("eu-1", "us-2"))
    sim.put("sales/flights", "eu-1")
    submitted = sim.submit(builders.request(sites=("us-2",)))
    for name, why in (("eu-1", "sales/flights@1"), ("us-2", "runs jobs")):
        with pytest.raises(errors.FailedPrecondition, match=why) as caught:
            sim.write(lambda tx, name=name: sites.delete_site(tx, name))  # type: ignore[misc]
        assert caught.value.reason == "SITE_IN_USE"
    sim.cancel(submitted.job)
    sim.write(lambda tx: sites.delete_site(tx, "sites/us-2"))
    assert [place.site for place in sim.all(site.Site)] == ["eu-1"]
    assert sim.all(site.SiteLoad) == []


def test_links_price_each_pair_of_regions_and_the_way_out(sim: Simulation) -> None:
    """At the month's volume; a price that nobody knows is None and not nothing."""
    sim.declare("vu-1")
    links = {(link.source_region, link.destination_region): link for link in sim.read(lambda tx: sites.links(tx, sim.ctx))}
    assert len(links) == 4 * 3 + 4
    assert links["aws:us-east-1", "aws:eu-central-1"].gb_micros == 20_000
    assert links["aws:us-east-1", "vultr:ewr"].gb_micros == 90_000
    assert links["vultr:ewr", "internet"].price_source == "test prices"
    sim.ctx = dataclasses.replace(sim.ctx, rates=dataclasses.replace(sim.ctx.rates, rows=()))
    assert {link.gb_micros for link in sim.read(lambda tx: sites.links(tx, sim.ctx))} == {None}


def test_a_check_is_granted_at_a_site_that_answers(sim: Simulation) -> None:
    """For that site's gateway alone."""
    grant = sim.write(lambda tx: sites.open_check(tx, sim.ctx, builders.person("root"), "eu-1"))
    assert (grant.access, grant.site, grant.subject) == (grants.Access.CHECK, "eu-1", "users/root")
    sim.wait(60)
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.write(lambda tx: sites.open_check(tx, sim.ctx, builders.person("root"), "eu-1"))
    assert caught.value.reason == "SITE_LOST"


def test_a_run_at_a_lost_site_is_not_what_a_new_job_waits_for(sim: Simulation) -> None:
    """A lost site is rejected by name, and the job goes where somebody answers."""
    sim.agents["us-1"].die()
    sim.agents["eu-1"].beat()
    sim.clock.advance(LEASE_SECONDS - 1)
    sim.agents["eu-1"].beat()
    sim.wait(1)
    placed = sim.submit(builders.request(["sales/weather"]))
    assert placed.plan is not None
    assert sim.run_of(placed.job).site == "eu-1"
    assert ("us-1", "SITE_LOST") in {(refusal.site, refusal.reason) for refusal in placed.plan.rejections}
    assert isinstance(sim.agents["eu-1"].work()[0], job.StartRun)
