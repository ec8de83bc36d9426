"""What computing and storing costs: the choice of rows, what fills a site's gaps, and what a wrong file is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.adapters import prices
from federation.core import errors, offers, site
from federation.core.offers import Item
from tests import builders

HEADER = ",".join(offers.COLUMNS)
SHIPPED = prices.default_offer_card()


def row(region: str = "aws:a", item: Item = Item.CPU, usd: str | None = "0.05", **changes: Any) -> offers.OfferRow:
    """One price, five cents for a CPU-hour unless told otherwise."""
    provider, _, place = region.partition(":")
    values: dict[str, Any] = {"provider": provider, "place": place, "item": item, "micros": builders.money(usd)}
    return offers.OfferRow(**values | {"as_of": "2026-10", "source": "a list"} | changes)


def card(*rows: offers.OfferRow) -> offers.OfferCard:
    """A card of these rows."""
    return offers.OfferCard(rows=rows)


def test_what_no_row_tells_is_unknown():
    """No price is a guess: each item by itself."""
    offer = card(row()).offer("aws:a")
    assert (offer.cpu_hour_micros, offer.cpu_source) == (50_000, "a list (2026-10)")
    assert (offer.storage_gb_month_micros, offer.memory_gb_hour_micros, offer.carbon_g_per_kwh, offer.gpus) == (None,) * 3 + (
        (),
    )
    assert card(row()).offer("gcp:a") == offers.NO_OFFERS.offer("gcp:a") == site.Offer()


def test_a_named_place_beats_any_place_and_the_newest_set_beats_both():
    """The same precedence as for egress."""
    anywhere, here = row("aws:*", usd="0.04"), row("aws:a", usd="0.03")
    assert card(anywhere, here).offer("aws:a").cpu_hour_micros == 30_000
    assert card(anywhere, here).offer("aws:b").cpu_hour_micros == 40_000
    newer = replace(anywhere, as_of="2026-11", micros=20_000)
    assert card(anywhere, here, newer).offer("aws:a").cpu_hour_micros == 20_000
    undated = replace(here, as_of="", micros=10_000)
    assert card(undated, anywhere).offer("aws:a").cpu_hour_micros == 40_000


def test_a_gpu_has_a_price_a_spot_price_and_the_power_of_its_type():
    """Each from its own row: the power of a type is the same everywhere."""
    h100 = row(item=Item.GPU, usd="6.88", type="H100", spot_micros=1_280_000)
    watts = row("*:*", Item.POWER, None, type="H100", watts=700)
    (gpu,) = card(h100, watts).offer("aws:a").gpus
    assert (gpu.type, gpu.gpu_hour_micros, gpu.spot_gpu_hour_micros, gpu.watts) == ("H100", 6_880_000, 1_280_000, 700)


def test_a_site_s_own_prices_win_and_gaps_are_filled_with_their_source():
    """No figure stands under another's source."""
    known = card(
        row(),
        row(item=Item.STORAGE, usd="0.023"),
        row(item=Item.GPU, usd="1.00", type="A10G", spot_micros=300_000),
        row(item=Item.GPU, usd="7.00", type="H100"),
        row("*:*", Item.POWER, None, type="A10G", watts=150),
        row("aws:a", Item.CARBON, None, carbon_g_per_kwh=369),
    )
    own = builders.site("eu-1", "aws:a", offer=builders.offer("0.01", {"A10G": "0.5"}))
    offer = offers.filled(own, known).offer
    assert (offer.cpu_hour_micros, offer.cpu_source) == (10_000, "test")
    assert (offer.storage_gb_month_micros, offer.storage_source) == (23_000, "a list (2026-10)")
    assert (offer.carbon_g_per_kwh, offer.carbon_source) == (369, "a list (2026-10)")
    a10g, h100 = offer.gpus
    assert (a10g.gpu_hour_micros, a10g.source, a10g.watts, h100.gpu_hour_micros) == (500_000, "test", 150, 7_000_000)
    assert a10g.spot_gpu_hour_micros is None, "whether it sells spot GPUs only the site can say"


def test_whoever_declares_what_a_cpu_costs_sells_memory_with_it():
    """The card's price of memory belongs to the card's price of a CPU."""
    known = card(row(), row(item=Item.MEMORY, usd="0.004"))
    assert known.filled("aws:a", site.Offer()).memory_gb_hour_micros == 4_000
    assert known.filled("aws:a", builders.offer("0.01")).memory_gb_hour_micros is None


def test_a_site_that_the_card_cannot_help_stays_as_it_is():
    """The very same value, so that nothing is made anew for each plan."""
    own = builders.site("eu-1")
    assert offers.filled(own, offers.NO_OFFERS) is own


rows = st.builds(
    row,
    st.sampled_from(["aws:a", "aws:b", "aws:*", "gcp:a"]),
    usd=st.integers(0, 10**7),
    as_of=st.sampled_from(["", "2025", "2026-10", "2026-10-31"]),
)


@given(st.lists(rows, max_size=8, unique_by=lambda made: made.subject), st.randoms())
def test_the_order_of_rows_does_not_matter(found, random):
    """And what holds is found by plain reading: newest first, then the named place."""
    shuffled = list(found)
    random.shuffle(shuffled)
    fitting = [made for made in found if made.provider == "aws" and made.place in ("a", "*")]
    best = max(fitting, key=lambda made: (made.as_of, made.place != "*"), default=None)
    expected = best.micros if best else None
    assert card(*found).offer("aws:a").cpu_hour_micros == card(*shuffled).offer("aws:a").cpu_hour_micros == expected


def test_two_rows_about_the_same_are_refused():
    """Nobody could say which of them is right."""
    with pytest.raises(errors.InvalidArgument, match="two rows tell of cpu in aws:a as of 2026-10"):
        card(row(), row(usd="0.06"))


def test_an_import_replaces_what_is_about_the_same():
    """Place, item, type and date; all else stays."""
    old, new, other = row(), row(usd="0.06"), row(as_of="2020")
    assert offers.merged((old, other), [new]) == (other, new)


def test_the_shipped_card_is_written_and_read_back():
    """Every row, each with a source."""
    assert len(SHIPPED.rows) > 100
    assert all(made.source for made in SHIPPED.rows)
    assert offers.parse(offers.text(SHIPPED.rows)) == SHIPPED


def test_shipped_prices_are_of_one_gpu():
    """An instance of eight costs eight times as much: p5.48xlarge is $55.04."""
    (h100,) = [gpu for gpu in SHIPPED.offer("aws:us-east-1").gpus if gpu.type == "H100"]
    assert (h100.gpu_hour_micros * 8, h100.watts) == (55_040_000, 700)


def test_the_rows_that_hold_in_a_region_are_one_for_each_item_and_type():
    """What a person is shown is what is reckoned with."""
    found = card(row(), row("aws:*", usd="0.01"), row(item=Item.STORAGE)).rows_for("aws:a")
    assert [(made.item, made.micros) for made in found] == [(Item.CPU, 50_000), (Item.STORAGE, 50_000)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("aws,a,cpu,,,,,,2026,list", "usd is empty"),
        ("aws,a,cpu,,cheap,,,,2026,list", "'cheap' is not a number"),
        ("aws,a,cpu,,-1,,,,2026,list", "usd -1"),
        ("aws,a,cpu,H100,1,,,,2026,list", "type means nothing in a row of cpu"),
        ("aws,a,cpu,,1,0.5,,,2026,list", "usd_spot means nothing in a row of cpu"),
        ("aws,a,gpu,,1,,,,2026,list", "type is empty"),
        ("aws,a,gpu,H100,1,,700,,2026,list", "watts means nothing in a row of gpu"),
        ("aws,a,power,H100,,,0.5,,2026,list", "watts 0.5 is not a whole number"),
        ("aws,a,carbon,,,,,90000,2026,list", "carbon_g_per_kwh 90000"),
        ("aws,a,disk,,1,,,,2026,list", "item 'disk' is not one of cpu, gpu"),
        ("*,a,cpu,,1,,,,2026,list", "provider '*' is not a provider"),
        ("aws,a,cpu,,1,,,,soon,list", "as_of 'soon' is not a date"),
        ("aws,a,cpu,,1,,,,2026,", "source is empty"),
        ("aws,a,storage,,0.02,,,,2026,list", "the same as line 2"),
    ],
)
def test_a_wrong_line_is_named(line: str, says: str):
    """Whoever writes an offer card learns which line is wrong and why."""
    with pytest.raises(errors.InvalidArgument) as caught:
        offers.parse(f"{HEADER}\naws,a,storage,,0.01,,,,2026,list\n{line}\n")
    assert caught.value.reason == "PRICES_INVALID"
    assert "line 3" in caught.value.message
    assert says in caught.value.message
