"""Prices that are imported, held and quoted; and reservations, which keep two quotes from counting on the same cheap tier."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, ids, kinds, metering, offers, ratecard, site
from federation.services import access, ledger, personal, pricing, sites
from tests import builders
from tests.builders import GB, MONTH, price_row
from tests.sim import Simulation, check_reservations

ROOT = builders.person("root")
SCOPE = "aws:us-east-1~aws:eu-central-1"
FLIGHTS = ids.dataset("sales/flights")
#: 10 GB are free, the next 100 GB cost a dollar each, and all after them a cent.
TIERS = (
    price_row("aws:*", "aws:*", "0", upto="10GB"),
    price_row("aws:*", "aws:*", "1", upto="110GB"),
    price_row("aws:*", "aws:*", "0.01"),
    price_row("aws:*", "internet", "0", upto="10GB"),
    price_row("aws:*", "internet", "2"),
)


def tiered(sim: Simulation) -> Simulation:
    """The same federation with tiers."""
    sim.ctx = dataclasses.replace(sim.ctx, rates=ratecard.RateCard(rows=TIERS))
    return sim


def import_rows(sim: Simulation, *rows: ratecard.PriceRow, **how: object) -> kinds.RateCardVersion:
    """Imports egress rows."""
    text = ratecard.text(rows)
    return sim.write(lambda tx: pricing.import_card(tx, sim.ctx, ROOT, egress=text, **how))  # type: ignore[arg-type]


def issue(sim: Simulation, grant: str, size: int, **changes: object) -> kinds.GrantRecord:
    """A grant to read across regions, us-1 to eu-1 unless told otherwise."""
    values = {"grant": grant, "run": "", "job": "", "estimate_bytes": size, **changes}
    record = builders.grant_record("us-1", "eu-1", **values)
    return sim.write(lambda tx: access.issue(tx, record))


def settle(sim: Simulation, grant: str, size: int, **changes: int) -> metering.LedgerEntry:
    """Its source tells what left."""
    usage = builders.usage(size, grant=grant, source_site="us-1", **changes)
    entry = sim.write(lambda tx: ledger.settle(tx, sim.ctx, "us-1", usage))
    sim.sent.setdefault(grant, usage.charged_bytes)
    return entry


def quote(sim: Simulation, size: int, **how: object) -> ratecard.Quote:
    """What a volume would cost from us-1's region to eu-1's."""
    return sim.read(lambda tx: pricing.quote(tx, sim.ctx, "aws:us-east-1", "aws:eu-central-1", size, **how))  # type: ignore[arg-type]


def reserved(sim: Simulation) -> dict[str, tuple[int, int]]:
    """Bytes and grants that are reserved, by scope, without what is over."""
    rows = sim.all(site.LinkReservation)
    return {row.scope: (row.reserved_bytes, row.grants) for row in rows if row.reserved_bytes or row.grants}


# Reservations


def test_two_quotes_never_both_use_the_last_of_a_cheap_tier(sim: Simulation) -> None:
    """The first to be granted has the free gigabytes; the second pays, although nothing has moved yet."""
    tiered(sim)
    assert quote(sim, 10 * GB).charge_micros == 0
    issue(sim, "a-1", 10 * GB)
    second = quote(sim, 10 * GB)
    assert (second.charge_micros, second.month_to_date_bytes, second.reserved_bytes) == (10_000_000, 0, 10 * GB)
    assert settle(sim, "a-1", 10 * GB).charge_micros == 0
    third = quote(sim, 10 * GB)
    assert (third.charge_micros, third.month_to_date_bytes, third.reserved_bytes) == (10_000_000, 10 * GB, 0)


def test_two_people_who_download_at_once_share_the_free_gigabytes(sim: Simulation) -> None:
    """Each grant's estimate is what its bytes cost after those of the grants before it: together, what they all cost."""
    tiered(sim)
    sim.put("sales/clicks", "us-1", total=6 * GB)
    clicks = ids.dataset("sales/clicks")
    for _ in range(2):
        sim.write(lambda tx: personal.open_read(tx, sim.ctx, builders.person(), clicks))
    first, second = sorted(record.estimate_micros for record in sim.all(kinds.GrantRecord) if record.dataset == "clicks")[-2:]
    assert (first, second) == (0, 4_000_000)


def test_what_is_read_within_a_region_reserves_nothing(sim: Simulation) -> None:
    """It costs nothing and moves no tier; neither does a grant to write."""
    record = builders.grant_record("us-1", "us-1", run="", job="", estimate_bytes=GB)
    sim.write(lambda tx: access.issue(tx, record))
    sim.write(lambda tx: personal.open_write(tx, sim.ctx, builders.person(), FLIGHTS, "us-1"))
    assert reserved(sim) == {}


def test_a_grant_that_is_never_settled_gives_back_what_it_reserved(sim: Simulation) -> None:
    """Some leases after it was closed, and not before: its source may still come back. Once, and the log tells."""
    issue(sim, "a-1", 5 * GB)
    sim.write(lambda tx: access.close(tx, _record(tx, "a-1")))
    sim.clock.advance((access.GIVE_BACK_LEASES - 1) * sim.ctx.lease_seconds)
    assert sim.write(lambda tx: access.give_back(tx, sim.ctx)) == 0
    assert reserved(sim) == {SCOPE: (5 * GB, 1)}
    sim.clock.advance(sim.ctx.lease_seconds)
    assert sim.write(lambda tx: access.give_back(tx, sim.ctx)) == 1
    assert reserved(sim) == {}
    assert sim.write(lambda tx: access.give_back(tx, sim.ctx)) == 0
    assert [event.name for event in sim.events("grant.given_up")] == ["a-1"]
    # Its source comes back after all: what left is charged, and nothing is given back twice.
    assert settle(sim, "a-1", GB).charge_micros == 20_000
    assert reserved(sim) == {}


def _record(tx: object, grant: str) -> kinds.GrantRecord:
    found = tx.get(kinds.GrantRecord, grant)  # type: ignore[attr-defined]
    assert found is not None
    return found  # type: ignore[no-any-return]


steps = st.lists(st.tuples(st.sampled_from("isicgw"), st.integers(0, 4), st.integers(0, 5 * GB)), max_size=25)


@given(steps)
def test_reservations_conserve(story: list[tuple[str, int, int]]) -> None:
    """Issued, closed, settled and given up in any order: what is reserved is what is open, and all of it ends at zero."""
    sim = tiered(Simulation(("us-1", "eu-1")))
    known: set[str] = set()
    for what, number, size in story:
        grant = f"a-{number}"
        if what == "i" and grant not in known:
            issue(sim, grant, size)
            known.add(grant)
        elif what == "s" and grant in known:
            settle(sim, grant, size // 2)
        elif what == "c" and grant in known:
            sim.write(lambda tx, grant=grant: access.close(tx, _record(tx, grant)))  # type: ignore[misc]
        elif what == "g":
            sim.write(lambda tx: access.give_back(tx, sim.ctx))
        elif what == "w":
            sim.clock.advance(access.GIVE_BACK_LEASES * sim.ctx.lease_seconds)
        check_reservations(sim)
    for grant in known:
        sim.write(lambda tx, grant=grant: access.close(tx, _record(tx, grant)))  # type: ignore[misc]
    sim.clock.advance(access.GIVE_BACK_LEASES * sim.ctx.lease_seconds)
    sim.write(lambda tx: access.give_back(tx, sim.ctx))
    assert reserved(sim) == {}
    check_reservations(sim)


@given(st.lists(st.integers(0, 60 * GB), min_size=1, max_size=6))
def test_estimates_of_quotes_in_flight_sum_to_what_they_cost_together(sizes: list[int]) -> None:
    """However many are granted before the first one moves: F of the whole, to the micro-dollar."""
    sim = tiered(Simulation(("us-1", "eu-1")))
    spent = 0
    for number, size in enumerate(sizes):
        spent += quote(sim, size).charge_micros
        issue(sim, f"a-{number}", size)
    assert spent == quote(sim, sum(sizes), month_to_date_bytes=0).charge_micros
    assert spent == sum(settle(sim, f"a-{number}", size).charge_micros for number, size in enumerate(sizes))


# Accounts


def test_sites_of_another_account_have_a_month_of_their_own(sim: Simulation) -> None:
    """What one account sends moves no tier of another's, in quotes, reservations, the ledger and the list of links."""
    tiered(sim)
    place = dataclasses.replace(builders.site("us-3", "aws:us-east-1"), account="research")
    assert sim.write(lambda tx: sites.create_site(tx, sim.ctx, place)).account == "research"
    record = builders.grant_record("us-1", "eu-1", source_site="us-3", grant="a-1", run="", job="", estimate_bytes=8 * GB)
    assert sim.write(lambda tx: access.issue(tx, record)).account == "research"
    assert reserved(sim) == {f"research/{SCOPE}": (8 * GB, 1)}
    assert quote(sim, 10 * GB).charge_micros == 0
    assert quote(sim, 10 * GB, account="research").charge_micros == 8_000_000
    usage = builders.usage(8 * GB, grant="a-1", source_site="us-3")
    sim.write(lambda tx: ledger.settle(tx, sim.ctx, "us-3", usage))
    sim.sent["a-1"] = 8 * GB
    assert [row.scope for row in sim.all(site.LinkVolume)] == [f"research/{SCOPE}"]
    priced = {(link.source_region, link.destination_region): link for link in sim.read(lambda tx: sites.links(tx, sim.ctx))}
    assert priced["aws:us-east-1", "aws:eu-central-1"].month_to_date_bytes == 0, "two accounts share this region"


def test_links_tell_what_is_reserved_and_how_fast_they_are(sim: Simulation) -> None:
    """The next GB is priced after what quotes in flight will still send."""
    tiered(sim)
    issue(sim, "a-1", 10 * GB)
    speed = site.LinkSpeed(source_region="aws:us-east-1", destination_region="aws:eu-central-1", bytes_per_second=10**8)
    sim.write(lambda tx: tx.insert(speed))
    priced = {(link.source_region, link.destination_region): link for link in sim.read(lambda tx: sites.links(tx, sim.ctx))}
    there, back = priced["aws:us-east-1", "aws:eu-central-1"], priced["aws:eu-central-1", "aws:us-east-1"]
    assert (there.gb_micros, there.reserved_bytes, there.bytes_per_second) == (1_000_000, 10 * GB, 10**8)
    assert (back.gb_micros, back.reserved_bytes, back.bytes_per_second) == (0, 0, None)


# Quotes


def test_a_quote_may_state_the_month_itself(sim: Simulation) -> None:
    """Then neither what was counted nor what is reserved is added."""
    tiered(sim)
    issue(sim, "a-1", 10 * GB)
    stated = quote(sim, 10 * GB, month_to_date_bytes=5 * GB)
    assert (stated.charge_micros, stated.month_to_date_bytes, stated.reserved_bytes) == (5_000_000, 5 * GB, 0)
    assert [tier.used_bytes for tier in stated.tiers] == [5 * GB, 5 * GB]


def test_requests_are_counted_by_the_month_and_charged(sim: Simulation) -> None:
    """Half a micro-dollar each: two entries of one request cost one micro-dollar together."""
    row = dataclasses.replace(price_row("aws:*", "aws:*", "0"), million_requests_micros=500_000)
    sim.ctx = dataclasses.replace(sim.ctx, rates=ratecard.RateCard(rows=(row,)))
    for number in (1, 2):
        issue(sim, f"a-{number}", 0)
    entries = [settle(sim, f"a-{number}", 0, requests=1) for number in (1, 2)]
    assert [entry.request_micros for entry in entries] == [entry.charge_micros for entry in entries] == [0, 1]
    (counted,) = sim.all(site.LinkVolume)
    assert (counted.month, counted.requests) == (MONTH, 2)
    assert quote(sim, 0, requests=2_000_000).request_micros == 1_000_000


@pytest.mark.parametrize("size", [-1, 2**63])
def test_an_absurd_size_is_refused(sim: Simulation, size: int) -> None:
    """Not priced at some bound."""
    with pytest.raises(errors.InvalidArgument) as caught:
        quote(sim, size)
    assert caught.value.reason == "SIZE_INVALID"


# Imports


def test_before_any_import_the_settings_prices_hold(sim: Simulation) -> None:
    """Under number 0, by which they can be read like any other card."""
    assert sim.read(lambda tx: pricing.rates(tx, sim.ctx)) is sim.ctx.rates
    card = sim.read(lambda tx: pricing.get_card(tx, sim.ctx))
    assert (card.number, ratecard.parse(card.egress).rows) == (0, sim.ctx.rates.rows)
    assert sim.read(lambda tx: pricing.get_card(tx, sim.ctx, "rateCards/0")) == card


def test_an_import_merges_rows_and_makes_the_next_card(sim: Simulation) -> None:
    """A link's rows of a date replace those that are there; what is not named stays; the charge names the card."""
    card = import_rows(sim, price_row("aws:*", "aws:*", "0.05"), note="contract 7")
    assert (card.number, card.note, card.principal, card.create_time) == (1, "contract 7", ROOT.name, sim.clock.now())
    rates = sim.read(lambda tx: pricing.rates(tx, sim.ctx))
    assert rates.number == 1
    assert rates.price("aws:us-east-1", "aws:eu-central-1", 0, GB).micros == 50_000  # type: ignore[union-attr]
    assert rates.price("vultr:ewr", "internet", 0, GB).micros == 10_000  # type: ignore[union-attr]
    issue(sim, "a-1", GB)
    entry = settle(sim, "a-1", GB)
    assert (entry.charge_micros, entry.rate_card) == (50_000, 1)


def test_an_import_that_replaces_forgets_all_other_rows_of_its_kind(sim: Simulation) -> None:
    """Egress rows only: compute prices were not imported and stay."""
    compute = offers.text([offers.OfferRow(provider="aws", place="*", item=offers.Item.CPU, micros=1, as_of="", source="x")])
    sim.write(lambda tx: pricing.import_card(tx, sim.ctx, ROOT, compute=compute))
    import_rows(sim, price_row("aws:*", "aws:*", "0.05"), replace=True)
    assert len(sim.read(lambda tx: pricing.rates(tx, sim.ctx)).rows) == 1
    assert sim.read(lambda tx: pricing.offers(tx, sim.ctx)).offer("aws:q").cpu_hour_micros == 1


def test_cards_are_dated_versions_that_never_change(sim: Simulation) -> None:
    """Any past charge can be priced again by the number that its entry names."""
    for cents in (5, 6, 7):
        import_rows(sim, price_row("aws:*", "aws:*", f"0.0{cents}"))
        sim.clock.advance(60)
    cards = sim.all(kinds.RateCardVersion)
    assert [card.number for card in cards] == [1, 2, 3]
    assert len({card.digest for card in cards}) == 3
    first = sim.read(lambda tx: pricing.get_card(tx, sim.ctx, "rateCards/1"))
    assert ratecard.parse(first.egress).price("aws:a", "aws:b", 0, GB).micros == 50_000  # type: ignore[union-attr]
    assert sim.read(lambda tx: pricing.get_card(tx, sim.ctx, "-")).number == 3


def test_importing_the_same_again_makes_no_new_card(sim: Simulation) -> None:
    """Doing twice is doing once; the log has one import."""
    row = price_row("aws:*", "aws:*", "0.05")
    assert import_rows(sim, row) == import_rows(sim, row)
    assert len(sim.events("prices.imported")) == 1


def test_a_wrong_import_changes_nothing(sim: Simulation) -> None:
    """A line that is wrong, rows that contradict each other, nothing at all: refused, and the old prices hold."""
    bad = ratecard.text([price_row("aws:*", "aws:*", "0.05")]).replace("0.05", "cheap")
    twice = ratecard.text([price_row("aws:*", "aws:*", "0.05")] * 2)
    for text in (bad, twice, "", "a,b,c\n"):
        with pytest.raises(errors.InvalidArgument) as caught:
            sim.write(lambda tx, text=text: pricing.import_card(tx, sim.ctx, ROOT, egress=text))  # type: ignore[misc]
        assert caught.value.reason == "PRICES_INVALID"
    with pytest.raises(errors.InvalidArgument):
        import_rows(sim, price_row("aws:*", "aws:*", "0.05"), note="x" * 501)
    assert sim.all(kinds.RateCardVersion) == []


def test_a_card_is_read_once_in_a_process(sim: Simulation) -> None:
    """The very same value as long as it holds, and another one as soon as there is another."""
    import_rows(sim, price_row("aws:*", "aws:*", "0.05"))
    sim.clock.advance(1)
    first = sim.read(lambda tx: pricing.rates(tx, sim.ctx))
    assert sim.read(lambda tx: pricing.rates(tx, sim.ctx)) is first
    import_rows(sim, price_row("aws:*", "aws:*", "0.06"))
    assert sim.read(lambda tx: pricing.rates(tx, sim.ctx)).number == 2


def test_a_card_that_was_taken_back_is_not_remembered(sim: Simulation) -> None:
    """A transaction that imports, prices and then fails leaves no price behind, though another card gets its number."""

    class Undone(Exception):
        pass

    def tried(tx: object) -> None:
        text = ratecard.text([price_row("aws:*", "aws:*", "9")])
        pricing.import_card(tx, sim.ctx, ROOT, egress=text)  # type: ignore[arg-type]
        assert pricing.rates(tx, sim.ctx).price("aws:a", "aws:b", 0, GB).micros == 9_000_000  # type: ignore[arg-type,union-attr]
        raise Undone

    with pytest.raises(Undone):
        sim.write(tried)
    assert sim.read(lambda tx: pricing.rates(tx, sim.ctx)) is sim.ctx.rates
    import_rows(sim, price_row("aws:*", "aws:*", "0.05"))
    assert sim.read(lambda tx: pricing.rates(tx, sim.ctx)).price("aws:a", "aws:b", 0, GB).micros == 50_000  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["rateCards/x", "rateCards/-1", "rateCards/", "rateCards/99999999999"])
def test_what_names_no_card_is_refused(sim: Simulation, name: str) -> None:
    """By its grammar; a number without a card is not found."""
    with pytest.raises(errors.InvalidArgument):
        sim.read(lambda tx: pricing.get_card(tx, sim.ctx, name))
    with pytest.raises(errors.NotFound):
        sim.read(lambda tx: pricing.get_card(tx, sim.ctx, "rateCards/7"))


def test_two_jobs_placed_at_once_never_both_count_on_the_last_of_a_cheap_tier(sim: Simulation) -> None:
    """The first plan gets the free gigabytes; the second is made, and explained, at the price after them."""
    tiered(sim)
    sim.put("sales/big", "us-1", total=10 * GB)
    request = dataclasses.replace(builders.request(["sales/big"]), sites=("eu-1",), no_copies=True)
    estimates = [sim.submit(request).plan.choice.egress_micros for _ in range(3)]  # type: ignore[union-attr]
    assert estimates == [0, 10_000_000, 10_000_000]
    assert reserved(sim) == {SCOPE: (30 * GB, 3)}


def test_a_job_that_is_cancelled_frees_the_tier_it_counted_on(sim: Simulation) -> None:
    """Once its source, which never heard of the grant, has had time to say what left: the sweep gives it back."""
    tiered(sim)
    sim.put("sales/big", "us-1", total=10 * GB)
    request = dataclasses.replace(builders.request(["sales/big"]), sites=("eu-1",), no_copies=True)
    first = sim.submit(request)
    sim.cancel(first.job)
    sim.drive(8)
    assert reserved(sim) == {SCOPE: (10 * GB, 1)}
    sim.drive(access.GIVE_BACK_LEASES + 4, seconds=0.9 * sim.ctx.lease_seconds)
    assert reserved(sim) == {}
    assert sim.submit(request).plan.choice.egress_micros == 0  # type: ignore[union-attr]


def test_a_site_s_gaps_are_filled_from_the_offers_that_were_imported(sim: Simulation) -> None:
    """A site without a price for its CPUs takes no job until a card tells it, and then the plan names that card's source."""
    place = dataclasses.replace(sim.read(lambda tx: sites.get_site(tx, "us-1")), offer=site.Offer())
    sim.write(lambda tx: sites.update_site(tx, place, frozenset({"offer"})))
    request = dataclasses.replace(builders.request(["sales/flights"]), sites=("us-1",))
    refused = sim.submit(request).plan
    assert {rejection.site: rejection.reason for rejection in refused.rejections}["us-1"] == "PRICE_UNKNOWN"  # type: ignore[union-attr]
    cpu = offers.OfferRow(provider="aws", place="*", item=offers.Item.CPU, micros=60_000, as_of="2026-11", source="contract 7")
    sim.write(lambda tx: pricing.import_card(tx, sim.ctx, ROOT, compute=offers.text([cpu])))
    choice = sim.submit(request).plan.choice  # type: ignore[union-attr]
    assert choice is not None
    assert (choice.compute_micros, choice.compute_source) == (10_000, "contract 7 (2026-11)")
