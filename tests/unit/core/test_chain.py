"""The chain of the record's rows, and the walk that finds what was done to them."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import chain
from federation.core.chain import Head, Links, SignedHead, Verification, Walk, Wrong

TABLE = "egress_ledger"
TIME = datetime(2026, 11, 28, tzinfo=UTC)


def rows(*positions: int) -> list[tuple[int, bytes]]:
    """Rows at positions, each with its own canonical form."""
    return [(position, chain.canonical({"position": position, "entry": f"e-{position}"})) for position in positions]


def chained(told: list[tuple[int, bytes]]) -> list[tuple[int, bytes, bytes]]:
    """Rows with their links."""
    links = chain.links(chain.genesis(TABLE), [row for _, row in told])
    return [(position, row, link) for (position, row), link in zip(told, links, strict=True)]


def head(table: list[tuple[int, bytes, bytes]], upto: int) -> SignedHead:
    """The head that a table had when its last row was the one at that position."""
    (at,) = (number for number, row in enumerate(table) if row[0] == upto)
    return SignedHead(table=TABLE, position=upto, rows=at + 1, chain=table[at][2].hex(), time=TIME, key="", signature="")


def walked(table: list[tuple[int, bytes, bytes | None]], *heads: SignedHead, batch: int = 3) -> Verification:
    """What a walk finds, a few rows at a time."""
    walk = Walk(TABLE, heads)
    for start in range(0, len(table), batch):
        positions, forms, links = zip(*table[start : start + batch], strict=True)
        walk.take(Links(positions=positions, rows=forms, links=links))
    return walk.result()


def reasons(found: Verification) -> list[str]:
    """What is wrong, in order."""
    return [each.reason for each in found.findings]


TEN = chained(rows(*range(10, 110, 10)))


def test_the_canonical_form_is_as_it_is_documented():
    """Each type of value, spelled out byte by byte; a null, the day and the link are left out, and order is that of names."""
    row = {
        "z": None,
        "day": date(2026, 11, 28),
        "chain": b"x",
        "b": "é",
        "a": -1,
        "c": Decimal("-0.000001000000"),
        "d": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        "e": True,
        "f": 0.5,
        "g": b"\x00\x01",
        "h": ["x", None, ""],
        "i": [{"q": 1, "p": None}],
        "j": date(1970, 1, 2),
    }
    expected = (
        "00000001 61 00000008 ffffffffffffffff"
        "00000001 62 00000002 c3a9"
        "00000001 63 00000010 fffffffffffffffffffffffffff0bdc0"
        "00000001 64 00000008 00000000000f4240"
        "00000001 65 00000001 01"
        "00000001 66 00000008 3fe0000000000000"
        "00000001 67 00000002 0001"
        "00000001 68 0000000d 00000001 78 ffffffff 00000000"
        "00000001 69 00000015 00000011 00000001 71 00000008 0000000000000001"
        "00000001 6a 00000004 00000001"
    )
    assert chain.canonical(row) == bytes.fromhex(expected)


def test_a_value_that_no_column_holds_is_refused():
    """Rather than hashed as something else."""
    with pytest.raises(TypeError, match="complex"):
        chain.canonical({"a": 1j})


def test_a_column_that_is_added_later_changes_no_link():
    """What a row from before lacks is null, and null is left out."""
    assert chain.canonical({"a": 1}) == chain.canonical({"a": 1, "added": None, "also": None})


@given(st.dictionaries(st.text(max_size=3), st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(), st.binary()), max_size=4))
def test_no_value_passes_for_another(row: dict[str, Any]):
    """The framing cannot be shifted: a row can be read back from its form, so no two have one."""
    form, told = chain.canonical(row), []
    while form:
        for _ in range(2):
            size = int.from_bytes(form[:4], "big")
            told.append(form[4 : 4 + size])
            form = form[4 + size :]
    names = [name for name in sorted(row, key=str.encode) if name not in chain.UNCHAINED]
    assert told[::2] == [name.encode() for name in names]
    for name, value in zip(names, told[1::2], strict=True):
        wanted = row[name]
        assert value == (wanted if isinstance(wanted, bytes) else _plain(wanted))


def _plain(value: int | str) -> bytes:
    return value.to_bytes(8, "big", signed=True) if isinstance(value, int) else value.encode()


def test_every_table_begins_elsewhere():
    """So that no table passes for another."""
    assert chain.genesis("audit") != chain.genesis(TABLE)
    assert chain.genesis("audit") == hashlib.sha256(b"\0\0\0\x0dfed/record/v1\0\0\0\x05audit").digest()


def test_a_table_that_nobody_touched_is_proven_up_to_its_newest_head():
    """And consistent beyond it."""
    found = walked(TEN, head(TEN, 30), head(TEN, 80))
    assert found.intact
    assert (found.rows, found.last_position, found.chained_from, found.heads) == (10, 100, 10, 2)
    assert (found.proven_rows, found.proven_position, found.consistent_position) == (8, 80, 100)


def test_without_heads_nothing_is_proven():
    """A table can have been written anew from its first row."""
    found = walked(TEN)
    assert found.intact
    assert (found.proven_rows, found.proven_position, found.consistent_position) == (0, 0, 100)


def test_an_empty_table_is_intact():
    """There is nothing in it that could be wrong."""
    assert walked([]) == Verification(table=TABLE)


def test_a_changed_row_is_found_at_its_position_and_all_others_stay_proven():
    """The heads vouch for the links, also for that of the row that was changed."""
    table = list(TEN)
    table[4] = (50, chain.canonical({"position": 50, "entry": "e-another"}), table[4][2])
    found = walked(table, head(TEN, 30), head(TEN, 100))
    (wrong,) = found.findings
    assert (wrong.reason, wrong.after_position, wrong.position) == (Wrong.ROW_BROKEN, 40, 50)
    assert (found.proven_position, found.consistent_position) == (30, 40)
    assert found.proven_rows == 3 + 5, "up to the first head, and what follows the changed row"


def test_a_row_that_was_cut_is_missed_by_the_next_one_and_by_the_count():
    """The chain says where, the head says how many."""
    found = walked(TEN[:4] + TEN[6:], head(TEN, 30), head(TEN, 100))
    assert [(each.reason, each.after_position, each.position) for each in found.findings] == [
        (Wrong.ROW_BROKEN, 40, 70),
        (Wrong.ROWS_CUT, 30, 100),
    ]
    assert "2 rows are missing" in found.findings[1].detail


@pytest.mark.parametrize("clever", [True, False])
def test_a_row_that_was_put_in_is_found_between_those_that_follow_each_other(clever: bool):
    """Also where its link was reckoned as it should be."""
    row = chain.canonical({"position": 55, "entry": "e-forged"})
    put = (55, row, chain.link(TEN[4][2], row) if clever else bytes(32))
    found = walked([*TEN[:5], put, *TEN[5:]], head(TEN, 30), head(TEN, 100))
    assert [(each.reason, each.after_position, each.position) for each in found.findings] == [(Wrong.ROWS_INSERTED, 50, 60)]
    assert found.proven_rows == 10, "all but the one that was put in"


def test_a_doubled_row_is_found():
    """Two rows at one position are one too many, even where they are alike."""
    found = walked([*TEN[:5], TEN[4], *TEN[5:]], head(TEN, 100))
    assert Wrong.ORDER_WRONG in reasons(found)
    assert found.findings[0].position == 50


def test_rows_whose_places_were_changed_are_found():
    """Their positions stand in their canonical forms: with those swapped as well, both are others."""
    forms = {50: rows(60)[0][1], 60: rows(50)[0][1]}
    table = [(position, forms.get(position, row), link) for position, row, link in TEN]
    assert walked(table, head(TEN, 100)).findings[0].position == 50


def test_a_tail_that_was_cut_is_found_by_the_heads():
    """The chain of what is left holds."""
    found = walked(TEN[:6], head(TEN, 30), head(TEN, 80), head(TEN, 100))
    (wrong,) = found.findings
    assert (wrong.reason, wrong.after_position, wrong.position) == (Wrong.ROWS_CUT, 60, 100)
    assert (found.proven_position, found.consistent_position) == (30, 60)


def test_a_table_that_is_gone_is_found_by_the_heads():
    """All of it was cut."""
    (wrong,) = walked([], head(TEN, 30)).findings
    assert (wrong.reason, wrong.position) == (Wrong.ROWS_CUT, 30)


def test_a_table_that_was_chained_anew_after_a_change_is_found_by_the_heads():
    """Whoever can write the table can reckon links, but not sign heads. One cause is told once."""
    forged = chained([(position, row if position != 50 else b"forged") for position, row, _ in TEN])
    found = walked(forged, head(TEN, 30), head(TEN, 80), head(TEN, 100))
    (wrong,) = found.findings
    assert (wrong.reason, wrong.after_position, wrong.position) == (Wrong.HEAD_DIFFERS, 30, 80)
    assert (found.proven_rows, found.proven_position) == (3, 30)


def test_rows_from_before_the_chain_are_told_apart():
    """A table of an older release: the chain begins where it begins."""
    old: list[Any] = [(position, row, None) for position, row in rows(1, 2, 3)]
    found = walked([*old, *TEN], dataclasses.replace(head(TEN, 100), rows=13))
    assert found.intact
    assert (found.rows, found.chained_from, found.proven_rows, found.proven_position) == (13, 10, 10, 100)


def test_a_link_that_was_taken_away_is_found():
    """In the middle it is missing, at the beginning the next one does not follow."""
    table: list[Any] = list(TEN)
    table[4] = (*table[4][:2], None)
    assert reasons(walked(table))[0] == Wrong.LINK_MISSING
    table = [(*TEN[0][:2], None), *TEN[1:]]
    assert walked(table).findings[0].position == 20


@given(
    st.lists(st.integers(1, 10**6), min_size=2, max_size=40, unique=True).map(sorted),
    st.data(),
)
def test_nothing_that_is_done_to_signed_rows_stays_unseen(positions: list[int], data: st.DataObject):
    """Whichever row is changed, cut or put in, whatever links are then reckoned; and untouched, no walk finds anything."""
    true = chained(rows(*positions))
    heads = [head(true, at) for at in data.draw(st.sets(st.sampled_from(positions)))] + [head(true, positions[-1])]
    assert walked(true, *heads).intact
    told = [(position, row) for position, row, _ in true]
    links = [link for _, _, link in true]
    at = data.draw(st.integers(0, len(told) - 1))
    match data.draw(st.sampled_from(("change", "cut", "insert"))):
        case "change":
            told[at] = (told[at][0], b"forged")
        case "cut":
            del told[at], links[at]
        case "insert":
            told.insert(at, (told[at][0], b"forged"))
            links.insert(at, bytes(32))
    if data.draw(st.booleans()):
        links = chain.links(chain.genesis(TABLE), [row for _, row in told])
    found = walked([(position, row, link) for (position, row), link in zip(told, links, strict=True)], *heads)
    assert not found.intact
    first = positions[at]
    assert found.findings[0].after_position < first <= max(each.position for each in found.findings)
    assert found.proven_position < first


def test_a_table_of_which_nothing_holds_is_told_in_few_words():
    """A finding for each row would fill the memory."""
    broken = [(position, row, bytes(32)) for position, row in rows(*range(1, 3000))]
    assert len(walked(broken).findings) == chain.FINDINGS_MAX


def test_a_head_is_a_value():
    """`Head` and `SignedHead` say the same of a table."""
    assert {field.name for field in dataclasses.fields(Head)} < {field.name for field in dataclasses.fields(SignedHead)}
