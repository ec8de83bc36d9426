"""The ledger's laws on a real federation: it sums to what the meters counted, to the tariff, and to what Delta tells others."""

from __future__ import annotations

import contextlib
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest
from deltalake import DeltaTable

from federation.adapters import prices
from federation.core import metering, ratecard
from tests import localfed

READ = """
import sys, federation
for alias in federation.inputs:
    data = federation.inputs[alias].open("part.bin").read()
    assert data
sys.exit(int(sys.argv[1]))
"""

#: Reading inputs at each site, at none, from the other, and with an end that is not well.
JOBS = (
    ({"a": "lab/eu", "b": "lab/us"}, "eu-1", 0),
    ({"a": "lab/eu", "b": "lab/us"}, "us-1", 0),
    ({"a": "lab/eu"}, "eu-1", 0),
    ({"a": "lab/eu"}, "us-1", 3),
    ({"b": "lab/us"}, "eu-1", 0),
)


class Mixed(NamedTuple):
    """A federation after a mix of jobs and downloads, and its whole ledger, oldest first."""

    federation: localfed.LocalFederation
    entries: tuple[metering.LedgerEntry, ...]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    """Both datasets are read at home, from afar and by a person, more than once."""
    folder = tmp_path_factory.mktemp("law")
    rng = random.Random(17)
    with localfed.running(localfed.LocalFederation(folder=folder / "f")) as federation, federation.client() as client:
        for site, size in (("eu", 3_000_017), ("us", 700_001)):
            (folder / "part.bin").write_bytes(rng.randbytes(size))
            client.put(f"lab/{site}", folder / "part.bin", site=f"{site}-1")
        names = [
            (federation.submit(READ, inputs=inputs, sites=(site,), arguments=(str(code),)).job, len(inputs))
            for inputs, site, code in JOBS
        ]
        for number, dataset in enumerate(("lab/eu", "lab/us", "lab/eu")):
            client.get(dataset, folder / f"home-{number}")
        for name, reads in names:
            federation.wait_job(name)
            federation.settled(name, reads)
        entries = tuple(sorted(client.list_ledger_entries(), key=lambda entry: entry.month_to_date_bytes))
        # What is read at a site for the second time is copied there first: the transfers' reads are entries too.
        assert sum(not entry.transfer for entry in entries) == sum(len(inputs) for inputs, _, _ in JOBS) + 3
        yield Mixed(federation, entries)


def test_the_ledger_is_what_the_meters_counted(mixed: Mixed):
    """Grant by grant, each site's meter and the ledger tell the same bytes and requests; no grant is charged twice."""
    metered = {grant: (site, *counts) for site in ("eu-1", "us-1") for grant, counts in mixed.federation.metered(site).items()}
    assert {
        entry.grant: (entry.source_site, entry.bytes - entry.unsettled_bytes, entry.unsettled_bytes, entry.requests)
        for entry in mixed.entries
    } == metered
    assert len({entry.grant for entry in mixed.entries}) == len(mixed.entries)


def test_a_month_of_a_link_costs_what_its_bytes_cost_at_once(mixed: Mixed):
    """In each scope the entries follow on each other without gap, and their charges sum to the tariff of all their bytes."""
    card = prices.default_rate_card()
    links: dict[tuple[str, str], list[metering.LedgerEntry]] = defaultdict(list)
    for entry in mixed.entries:
        links[ratecard.scope(entry.source_region, entry.destination_region), entry.month].append(entry)
    assert {scope for scope, _ in links} == {
        f"{source}~{destination}"
        for source in ("aws:eu-central-1", "aws:us-east-1")
        for destination in ("aws:eu-central-1", "aws:us-east-1", "internet")
    }
    for entries in links.values():
        total = 0
        for entry in entries:
            assert entry.month_to_date_bytes == total
            total += entry.bytes
        tariff = card.tariff(entries[0].source_region, entries[0].destination_region)
        assert tariff
        assert sum(entry.charge_micros for entry in entries) == tariff.charge(0, total)


def test_what_stays_in_its_region_costs_nothing(mixed: Mixed):
    """The bytes of a local read are in the ledger, and free; those between regions are charged. Each price has its source."""
    for entry in mixed.entries:
        assert entry.bytes > 0
        assert entry.price_source
        if entry.destination_region != "internet":  # whose first gigabytes of a month are free
            assert (entry.charge_micros == 0) is (entry.source_region == entry.destination_region)


def test_every_summary_adds_up_to_the_ledger(mixed: Mixed):
    """By job, dataset, namespace, month or link: the sums are the entries', whichever way they are grouped."""
    with contextlib.closing(mixed.federation.client()) as client:
        for by in metering.SUMMARY_KEYS:
            summaries, total = client.summarize_costs(by)
            assert summaries == metering.summarize(mixed.entries, by)
            assert total == metering.total(mixed.entries)
            assert sum(row.charge_micros for row in summaries) == sum(entry.charge_micros for entry in mixed.entries)


def test_a_second_engine_reads_the_same_money_from_delta(mixed: Mixed):
    """DuckDB, over the files that the Delta table names, finds the catalog's entries: each once, each field, each cent."""
    folder = mixed.federation.layout.server / "tables" / "egress_ledger"
    localfed.until(lambda: len(_delta_files(folder)) and _count(folder) == len(mixed.entries), 30, "the ledger in Delta")
    names = [field.name for field in fields(metering.LedgerEntry) if field.name != "time"]
    columns = ", ".join(f'"{name}"' for name in names)
    with duckdb.connect() as engine:
        files = _delta_files(folder)
        found = engine.execute(f"SELECT {columns} FROM read_parquet(?)", [files]).fetchall()
        money = engine.execute(
            "SELECT sum(charge_usd), sum(charge_micros), sum(bytes) FROM read_parquet(?)", [files]
        ).fetchone()
    assert sorted(found) == sorted(tuple(getattr(entry, name) for name in names) for entry in mixed.entries)
    assert money
    dollars, micros, moved = money
    assert micros == sum(entry.charge_micros for entry in mixed.entries)
    assert dollars * 1_000_000 == micros
    assert moved == sum(entry.bytes for entry in mixed.entries)


def _delta_files(folder: Path) -> list[str]:
    return sorted(DeltaTable(str(folder)).file_uris()) if DeltaTable.is_deltatable(str(folder)) else []


def _count(folder: Path) -> int:
    with duckdb.connect() as engine:
        found = engine.execute("SELECT count(*) FROM read_parquet(?)", [_delta_files(folder)]).fetchone()
    return found[0] if found else 0
