"""What sending bytes costs: known figures, the choice of rows, and the laws of F."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.adapters import prices
from federation.core import errors, pricefile, ratecard, records, units
from tests import builders
from tests.builders import GB, TIB, price_row

HEADER = ",".join(ratecard.COLUMNS)
SHIPPED = prices.default_rate_card()


@st.composite
def tariff_rows(draw) -> tuple[ratecard.PriceRow, ...]:
    """The tiers of one link: any prices, growing bounds, with or without an upper end, counted in either GB."""
    bounds = sorted(draw(st.sets(st.integers(1, 5000), max_size=4)))
    ends = [*bounds, None] if draw(st.booleans()) or not bounds else bounds
    gb = draw(st.sampled_from([10**9, 2**30]))
    return tuple(
        price_row("a:x", "internet", f"0.{draw(st.integers(0, 200_000)):06d}", upto=None if end is None else end * gb, gb=gb)
        for end in ends
    )


volumes = st.integers(0, 6000 * 2**30)


def paid(card: ratecard.RateCard, before: int, volume: int) -> int | None:
    """What a volume costs on the one link of `tariff_rows`."""
    price = card.price("a:x", "b:y", before, volume)
    return price and price.micros


@pytest.mark.parametrize(("tib", "micros"), [(10, 921_510_000), (50, 4_403_110_000), (150, 11_571_110_000)])
def test_aws_ohio_to_the_internet_costs_what_the_provider_says(tib: int, micros: int):
    """The shipped prices of October 2026, from the first byte of a month: one GB free, then four tiers."""
    price = SHIPPED.price("aws:us-east-2", "internet", 0, tib * TIB)
    assert price is not None
    assert (price.micros, price.as_of) == (micros, "2026-10")


def test_a_free_allowance_is_a_first_tier_at_zero():
    """Vultr gives 2,000 GB a month; the byte after them costs."""
    assert SHIPPED.price("vultr:ewr", "internet", 0, 2000 * GB).micros == 0
    assert SHIPPED.price("vultr:ewr", "internet", 1999 * GB, 2 * GB).micros == 10_000


def test_direction_matters():
    """The same pair the other way round has its own price."""
    there = SHIPPED.price("aws:af-south-1", "aws:eu-west-1", 0, 2**30)
    back = SHIPPED.price("aws:eu-west-1", "aws:af-south-1", 0, 2**30)
    assert (there.micros, back.micros) == (147_000, 20_000)


def test_inside_a_region_nothing_is_charged():
    """Also where the card has no row at all."""
    assert ratecard.NO_PRICES.price("mars:one", "mars:one", 10**15, 10**15).micros == 0


def test_the_same_provider_is_not_free():
    """Without a row between two of its places the price is unknown."""
    assert SHIPPED.price("vultr:ewr", "vultr:ams", 0, 1) is None


def test_beyond_the_last_tier_the_price_is_unknown():
    """A tier with an upper bound is no word on what comes after it; up to the bound the price is known."""
    assert SHIPPED.price("aws:us-gov-east-1", "internet", 0, 10 * TIB) is not None
    assert SHIPPED.price("aws:us-gov-east-1", "internet", 0, 10 * TIB + 1) is None
    assert SHIPPED.price("aws:us-gov-east-1", "internet", 10 * TIB + 1, 0) is None


def test_another_provider_is_the_internet():
    """Whoever receives it: the volume counts in one scope, at one price."""
    assert ratecard.scope("aws:us-east-1", "gcp:us-east1") == ratecard.scope("aws:us-east-1", "internet")
    assert ratecard.scope("aws:us-east-1", "aws:eu-west-1") == "aws:us-east-1~aws:eu-west-1"
    gone = SHIPPED.price("aws:us-east-2", "gcp:us-east1", 0, TIB)
    assert gone == SHIPPED.price("aws:us-east-2", "internet", 0, TIB)


def test_a_named_place_beats_any_place():
    """Within one date, the row that names both ends wins, then the one that names the source."""
    rows = [
        price_row("aws:*", "aws:*", "0.04"),
        price_row("aws:*", "aws:b", "0.03"),
        price_row("aws:a", "aws:*", "0.02"),
        price_row("aws:a", "aws:b", "0.01"),
    ]
    for cents in (1, 2, 3, 4):
        card = ratecard.RateCard(rows=tuple(rows))
        assert card.price("aws:a", "aws:b", 0, GB).micros == cents * 10_000
        rows.pop()


def test_the_newest_row_set_wins():
    """A newer `*` beats an older named place, and a row without a date is older than any."""
    rows = [price_row("aws:a", "internet", "0.01", as_of=""), price_row("aws:a", "internet", "0.02", as_of="2026-05-06")]
    assert ratecard.RateCard(rows=tuple(rows)).price("aws:a", "internet", 0, GB).micros == 20_000
    rows.append(price_row("aws:*", "internet", "0.03", as_of="2026-10"))
    assert ratecard.RateCard(rows=tuple(rows)).price("aws:a", "internet", 0, GB).micros == 30_000


def test_a_provider_without_egress_fees_is_free_to_anywhere():
    """Its row says `*`: its own places and the internet alike."""
    assert SHIPPED.price("cloudflare-r2:auto", "aws:us-east-1", 0, TIB).micros == 0
    assert SHIPPED.price("cloudflare-r2:auto", "cloudflare-r2:weur", 0, TIB).micros == 0


def test_two_prices_for_one_tier_are_refused():
    """Nobody could say which of them is right."""
    with pytest.raises(errors.InvalidArgument, match="two prices for aws:a to internet:"):
        ratecard.RateCard(rows=(price_row("aws:a", "internet", "0.01"), price_row("aws:a", "internet", "0.02")))


def test_a_rate_card_is_stored_and_read_back():
    """What was remembered on the way is no part of the value."""
    card = builders.rates()
    card.price("aws:a", "aws:b", 0, 1)
    assert records.loads(ratecard.RateCard, records.dumps(card)) == card


@given(tariff_rows(), volumes, volumes, volumes)
def test_more_bytes_never_cost_less(rows, before: int, less: int, more: int):
    """F is non-decreasing, so that no charge is negative."""
    card = ratecard.RateCard(rows=rows)
    low, high = paid(card, before, min(less, more)), paid(card, before, max(less, more))
    assert low is None or low >= 0
    assert high is None or (low is not None and low <= high)


@given(tariff_rows(), volumes, st.lists(st.integers(0, 2**40), max_size=12))
def test_any_split_of_a_volume_costs_what_the_volume_costs(rows, before: int, parts: list[int]):
    """Many small reads sum to the one big read, to the micro-dollar."""
    card, spent, done = ratecard.RateCard(rows=rows), 0, before
    whole = paid(card, before, sum(parts))
    for part in parts:
        charge = paid(card, done, part)
        assert charge is not None or whole is None
        spent, done = spent + (charge or 0), done + part
    assert whole is None or spent == whole


@given(tariff_rows())
def test_f_is_continuous_at_the_edges_of_tiers(rows):
    """One byte more or less at an edge costs at most one byte's dearest price, and F(0) is 0."""
    tariff = ratecard.RateCard(rows=rows).tariff("a:x", "internet")
    dearest = max(Fraction(row.gb_micros, row.gb_bytes) for row in rows)
    assert tariff.exact(0) == 0
    for tier in tariff.tiers:
        if tier.upto_bytes is not None:
            at = tariff.exact(tier.upto_bytes)
            assert at - tariff.exact(tier.upto_bytes - 1) <= dearest
            after = tariff.exact(tier.upto_bytes + 1)
            assert after is None or 0 <= after - at <= dearest


@given(tariff_rows(), volumes)
def test_f_is_the_sum_over_its_tiers(rows, volume: int):
    """Against the plainest reading of a price list: each byte costs its tier's price."""
    tariff, expected, begin = ratecard.RateCard(rows=rows).tariff("a:x", "internet"), Fraction(0), 0
    for row in rows:
        end = volume if row.upto_bytes is None else min(volume, row.upto_bytes)
        expected += Fraction(row.gb_micros, row.gb_bytes) * max(0, end - begin)
        begin = max(begin, end)
    if rows[-1].upto_bytes is not None and volume > rows[-1].upto_bytes:
        assert tariff.exact(volume) is None
    else:
        assert tariff.exact(volume) == expected
        assert tariff.rounded(volume) == round(expected)


def test_tiers_that_count_in_different_gigabytes_add_up():
    """A card may mix 10^9 and 2^30; the sum stays exact."""
    card = ratecard.RateCard(
        rows=(price_row("a:x", "internet", "0.10", upto=GB, gb=10**9), price_row("a:x", "internet", "0.05", gb=2**30))
    )
    assert card.tariff("a:x", "b:y").exact(GB + 2**30) == 150_000


def test_a_negative_volume_is_refused():
    """It is a mistake of the caller, not a refund."""
    with pytest.raises(errors.InvalidArgument, match="-1 bytes"):
        SHIPPED.price("vultr:ewr", "internet", 0, -1)


GOOD = "aws,a,internet,*,10,0.09,1073741824,2026-10,list"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("aws,a,internet,*,10,0.09,1073741824,2026-10,", "source is empty"),
        ("aws,a,internet,*,10,cheap,1073741824,2026-10,list", "'cheap' is not a number"),
        ("aws,a,internet,*,10,-0.09,1073741824,2026-10,list", "usd_per_gb -0.09"),
        ("aws,a,internet,*,10,0.0000001,1073741824,2026-10,list", "whole number of micro-dollars"),
        ("aws,a,internet,*,10,1e999999999,1073741824,2026-10,list", "is not a number"),
        ("aws,a,internet,*,0,0.09,1073741824,2026-10,list", "positive"),
        ("aws,a,internet,*,10,0.09,0,2026-10,list", "positive"),
        ("aws,A b,internet,*,10,0.09,1073741824,2026-10,list", "src_region 'A b'"),
        ("AWS,a,internet,*,10,0.09,1073741824,2026-10,list", "src_provider 'AWS'"),
        ("aws,a,gcp,*,10,0.09,1073741824,2026-10,list", "'gcp' is another provider"),
        ("aws,a,internet,*,10,0.09,1073741824", "not as many fields"),
        ("aws,a,internet,*,10,0.09,1073741824,2026-10,list,more", "not as many fields"),
        (GOOD.replace("0.09", "0.08"), "the same tier as line 2"),
        ('aws,a,internet,*,10,0.09,1073741824,2026-10,"list', "unexpected end of data"),
        ("aws,a,internet,*,10,0.09,1073741824,2026-13,list", "as_of '2026-13' is not a date"),
        ("aws,a,internet,*,10,0.09,1073741824,last week,list", "as_of 'last week' is not a date"),
        ("aws,a,internet,*,10,0.09,1000,2026-10,list\x1b[2J", "control character"),
        ("aws,a,internet,*,10,0.09,1073741823,2026-10,list", "no provider's unit"),
        ("aws,a,internet,*,1e12,0.09,1073741824,2026-10,list", "more than anybody sends"),
        ("aws,a,internet,*,10,90000000,1073741824,2026-10,list", "more than $1,000,000.00"),
    ],
)
def test_a_wrong_line_is_named(line: str, says: str):
    """Whoever writes a rate card learns which line is wrong and why."""
    with pytest.raises(errors.InvalidArgument) as caught:
        ratecard.parse(f"{HEADER}\n{GOOD}\n{line}\n")
    assert caught.value.reason == "PRICES_INVALID"
    assert "line 3" in caught.value.message
    assert says in caught.value.message


def test_missing_columns_are_named():
    """A file of another kind is refused at its first line."""
    with pytest.raises(errors.InvalidArgument, match=r"line 1: the columns tier_upto_gb, .* are missing"):
        ratecard.parse("src_provider,src_region,dst_provider,dst_region\n")


def test_every_shipped_row_has_a_source():
    """A price without a source is not a price."""
    assert len(SHIPPED.rows) > 700
    assert all(row.source for row in SHIPPED.rows)


def fee_rows(usd: str = "0.40") -> tuple[ratecard.PriceRow, ...]:
    """Nine cents a GB, and 40 cents for a million requests."""
    return (replace(price_row("a:x", "internet", "0.09"), million_requests_micros=units.micros(usd)),)


def test_requests_cost_what_the_card_says():
    """A fee beside the bytes' price, told apart in the price; without the column there is none."""
    price = ratecard.RateCard(rows=fee_rows()).price("a:x", "b:y", 0, GB, 2_500_000)
    assert price == ratecard.Price(90_000 + 1_000_000, "test prices", "2026-10", 1_000_000)
    assert SHIPPED.price("vultr:ewr", "internet", 0, 0, 10**9).micros == 0


@given(st.integers(0, 10**7), st.integers(0, 10**9), st.lists(st.integers(0, 10**6), max_size=12))
def test_any_split_of_requests_costs_what_they_cost_together(fee: int, before: int, parts: list[int]):
    """A request costs less than a micro-dollar, so that each rounded by itself would be lost; none is."""
    row = replace(price_row("a:x", "internet", "0"), million_requests_micros=fee)
    card, spent, done = ratecard.RateCard(rows=(row,)), 0, before
    for part in parts:
        price = card.price("a:x", "b:y", 0, 0, part, done)
        assert price.micros == price.request_micros >= 0
        spent, done = spent + price.micros, done + part
    assert spent == card.price("a:x", "b:y", 0, 0, sum(parts), before).micros


def test_tiers_that_state_different_fees_are_refused():
    """A fee has no tiers; a row that says nothing agrees with any."""
    rows = [
        replace(price_row("a:x", "internet", "0", upto="1GB"), million_requests_micros=5),
        price_row("a:x", "internet", "0.09"),
    ]
    assert ratecard.RateCard(rows=tuple(rows)).tariff("a:x", "internet").million_requests_micros == 5
    rows[1] = replace(rows[1], million_requests_micros=6)
    with pytest.raises(errors.InvalidArgument, match="different fees for a million requests") as caught:
        ratecard.RateCard(rows=tuple(rows))
    assert caught.value.reason == "PRICES_INVALID"


@given(tariff_rows(), volumes, volumes)
def test_the_tiers_of_a_quote_add_up(rows, before: int, volume: int):
    """Bytes and charges of the tiers sum to the volume and its price, each tier within its bounds."""
    card = ratecard.RateCard(rows=rows)
    price = card.price("a:x", "b:y", before, volume)
    if price is None:
        with pytest.raises(errors.FailedPrecondition) as caught:
            card.quote("a:x", "b:y", volume, month_to_date_bytes=before)
        assert caught.value.reason == "PRICE_UNKNOWN"
        return
    quote = card.quote("a:x", "b:y", volume, month_to_date_bytes=before)
    assert quote.charge_micros == price.micros == sum(tier.charge_micros for tier in quote.tiers)
    assert volume == sum(tier.used_bytes for tier in quote.tiers)
    assert all(0 < tier.used_bytes <= (tier.upto_bytes or 2**63) - tier.from_bytes for tier in quote.tiers)
    listed = {(row.upto_bytes, row.gb_micros, row.gb_bytes) for row in rows}
    assert {(tier.upto_bytes, tier.gb_micros, tier.gb_bytes) for tier in quote.tiers} <= listed


@given(tariff_rows(), volumes, volumes, volumes)
def test_what_is_reserved_counts_like_what_was_sent(rows, sent: int, reserved: int, volume: int):
    """A quote beside another one in flight is priced as if that one had come true."""
    card = ratecard.RateCard(rows=rows)
    price = card.price("a:x", "b:y", sent + reserved, volume)
    if price is not None:
        quote = card.quote("a:x", "b:y", volume, month_to_date_bytes=sent, reserved_bytes=reserved)
        assert (quote.charge_micros, quote.month_to_date_bytes, quote.reserved_bytes) == (price.micros, sent, reserved)


@given(tariff_rows(), tariff_rows(), volumes, volumes)
def test_a_direction_has_its_own_price(there, back, before: int, volume: int):
    """Whatever the way back costs, it changes nothing on the way there."""
    returning = tuple(replace(row, source_provider="b", source_place="y") for row in back)
    alone, both = ratecard.RateCard(rows=there), ratecard.RateCard(rows=(*there, *returning))
    assert both.price("a:x", "b:y", before, volume) == alone.price("a:x", "b:y", before, volume)
    assert both.price("b:y", "a:x", before, volume) == ratecard.RateCard(rows=returning).price("b:y", "a:x", before, volume)


def test_an_account_has_a_month_of_its_own():
    """Two accounts in one region share no tier; without one it is the federation's."""
    assert ratecard.scope("aws:us-east-1", "gcp:x", "research") == "research/aws:us-east-1~internet"
    assert ratecard.scope("aws:us-east-1", "aws:eu-west-1", "a") != ratecard.scope("aws:us-east-1", "aws:eu-west-1", "b")


def test_an_unknown_region_is_refused_with_those_that_it_may_have_been():
    """A misspelled name is no free link; beyond a last tier it is told up to where the price is known."""
    with pytest.raises(errors.FailedPrecondition) as caught:
        SHIPPED.quote("aws:us-eastt-2", "internet", 1)
    assert caught.value.reason == "PRICE_UNKNOWN"
    assert "aws:us-east-2" in caught.value.help
    with pytest.raises(errors.FailedPrecondition, match="known up to 10,995,116,277,760 bytes"):
        SHIPPED.quote("aws:us-gov-east-1", "internet", 11 * TIB)


@pytest.mark.parametrize(
    ("source", "destination", "account"),
    [("internet", "aws:us-east-1", ""), ("aws", "internet", ""), ("aws:us-east-1", "mars", ""), ("aws:a", "internet", "A b")],
)
def test_what_is_no_link_is_refused(source: str, destination: str, account: str):
    """The internet only receives; names have their grammar."""
    with pytest.raises(errors.InvalidArgument):
        SHIPPED.quote(source, destination, 1, account=account)


@pytest.mark.parametrize("number", [-1, 2**63])
def test_absurd_sizes_are_refused(number: int):
    """Bytes and requests alike, before and after."""
    for arguments in ((number, 0, 0, 0), (0, number, 0, 0), (0, 0, number, 0), (0, 0, 0, number)):
        with pytest.raises(errors.InvalidArgument, match="cannot be priced") as caught:
            SHIPPED.price("vultr:ewr", "internet", *arguments)
        assert caught.value.reason == "SIZE_INVALID"


def test_an_import_replaces_a_link_s_rows_of_a_date_whole():
    """So that no tier of the old list is left between those of the new one; other dates and links stay."""
    old = (
        price_row("a:x", "internet", "0", upto="1GB"),
        price_row("a:x", "internet", "0.09"),
        price_row("a:x", "internet", "0.12", as_of="2020"),
        price_row("a:y", "internet", "0.09"),
    )
    new = price_row("a:x", "internet", "0.05")
    assert ratecard.merged(old, [new]) == (old[2], old[3], new)
    assert ratecard.merged(old, []) == old


def test_the_shipped_card_is_written_and_read_back():
    """Every row, to the last digit."""
    assert ratecard.parse(ratecard.text(SHIPPED.rows)).rows == SHIPPED.rows


@given(tariff_rows(), st.none() | st.integers(0, 10**9), st.sampled_from(["", "2026", "2026-10", "2026-10-31"]))
def test_any_card_is_written_and_read_back(rows, fee: int | None, as_of: str):
    """What is stored as text is the same card again."""
    rows = tuple(replace(row, million_requests_micros=fee, as_of=as_of, source='a "list", 2026') for row in rows)
    assert ratecard.parse(ratecard.text(rows)).rows == rows


def test_a_column_that_nobody_reads_is_refused():
    """A misspelled one would lose its figures in silence."""
    with pytest.raises(errors.InvalidArgument, match="usd_per_milion_requests mean nothing here"):
        ratecard.parse(f"{HEADER},usd_per_milion_requests\n{GOOD},0.4\n")
    assert ratecard.parse(f"{HEADER},usd_per_million_requests\n{GOOD},0.4\n").rows[0].million_requests_micros == 400_000


def test_too_many_rows_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch):
    """A bound on what an import may cost."""
    monkeypatch.setattr(pricefile, "ROWS_MAX", 2)
    lines = "\n".join(GOOD.replace("aws,a", f"aws,a{number}") for number in range(3))
    with pytest.raises(errors.InvalidArgument, match="more than 2 rows"):
        ratecard.parse(f"{HEADER}\n{lines}\n")
