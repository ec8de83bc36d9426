"""Pages of 50 from a search over many datasets, on SQLite and PostgreSQL, beside the newest 50 by a plain listing's index.

Each dataset has a name, an owner, two labels and a description of 26 words; words are as unequally common as in texts (Zipf),
and one is in every description. Times are of the catalog's own calls, policy and wire not among them.

Run: python -m benchmarks.catalog_search --datasets 100000
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sized
from pathlib import Path

from federation import ports
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import SystemClock, UlidIds
from federation.core import conditions, dataset, discovery
from federation.core.terms import Query
from tests import postgres

PAGE = 50
WORDS = 5000
BATCH = 1000
#: What is searched for, and by which filter. Of the words, W1 is the most common and W4000 a rare one; `data` is in all.
SEARCHES = (
    *(("{w1}", ""), ("{w4000}", ""), ("{w1} {w2}", ""), ("data {w4000}", ""), ("data", ""), ("dat", ""), ("d", "")),
    *(("ns7 {w1}", ""), ("nothing", ""), ("123", ""), ("", ""), ("", 'labels.tier = "3"')),
    *(("data", 'labels.tier = "3" AND -labels.team:{w1}'), ("data", "labels.team = {w4000}"), ("data", "namespace = nowhere")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=20, help="of each search")
    parser.add_argument("--only", choices=("sqlite", "postgres"), help="one of the databases alone")
    options = parser.parse_args()
    words = vocabulary()
    for kind in ("sqlite", "postgres"):
        if options.only in (None, kind):
            for url in databases(kind):
                measure(kind, url, words, options.datasets, options.rounds)


def vocabulary() -> list[str]:
    """Distinct words, the most common first."""
    rng, found = random.Random(1), {}
    while len(found) < WORDS:
        found[
            "".join(rng.choice(("ba", "ce", "fo", "gu", "li", "no", "ra", "su", "te", "xi")) for _ in range(rng.randint(2, 5)))
        ] = None
    return list(found)


def databases(kind: str) -> Iterator[str]:
    """The URL of an empty database, for as long as it is used."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'catalog.db'}"
        return
    with postgres.server() as server:
        yield server.render_as_string(hide_password=False)


def measure(kind: str, url: str, words: list[str], count: int, rounds: int) -> None:
    catalog = SqlCatalog(url, SystemClock(), UlidIds())
    begun = time.perf_counter()
    fill(catalog, words, count)
    taken = time.perf_counter() - begun
    print(f"\n{kind}: {count:,} datasets in {taken:.0f} s ({count / taken:,.0f}/s, {BATCH} a transaction)")
    if kind == "postgres":
        postgres_analyzes(url)
    print(f"{'search':28} {'filter':48} {'found':>6} {'p50 ms':>8} {'worst ms':>9}")
    show(
        "(listing by its index: the floor)",
        "",
        lambda: catalog.read(lambda tx: tx.list(dataset.Dataset, limit=PAGE + 1)),
        rounds,
    )
    named = {"w1": words[0], "w2": words[1], "w4000": words[4000]}
    for search in SEARCHES:
        text, filter_ = (part.format(**named) for part in search)
        queries = discovery.queries(text, conditions.narrowing(conditions.parse(filter_, discovery.FIELDS)))
        show(text, filter_, lambda queries=queries: catalog.read(lambda tx: page(tx, queries)), rounds)
    catalog.close()


def fill(catalog: ports.Catalog, words: list[str], count: int) -> None:
    """By transactions of many, as an import does."""
    rng = random.Random(2)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))

    def drawn(number: int) -> list[str]:
        return rng.choices(words, cum_weights=weights, k=number)

    def made(number: int) -> dataset.Dataset:
        return dataset.Dataset(
            namespace=f"ns{number % 100}",
            dataset=f"{'-'.join(drawn(2))}-{number}",
            owner=f"users/{drawn(1)[0]}",
            labels=(("team", drawn(1)[0]), ("tier", str(number % 5))),
            description=" ".join((*drawn(25), "data")),
        )

    for first in range(0, count, BATCH):
        batch = [made(number) for number in range(first, min(count, first + BATCH))]
        catalog.write(lambda tx, batch=batch: [tx.insert(value) for value in batch])


def postgres_analyzes(url: str) -> None:
    """What autovacuum does within a minute."""
    import psycopg  # noqa: PLC0415 - where there is one

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def page(tx: ports.Transaction, queries: tuple[Query, ...]) -> list[dataset.Dataset]:
    """The first page, as the use case asks for it."""
    found: list[dataset.Dataset] = []
    for query in queries:
        found += [stored for _, stored in tx.find(dataset.Dataset, query, limit=PAGE + 1)]
        if len(found) > PAGE:
            break
    return found[:PAGE]


def show(text: str, filter_: str, act: Callable[[], Sized], rounds: int) -> None:
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        found = act()
        taken.append(1000 * (time.perf_counter() - begun))
    print(f"{text!r:28} {filter_:48} {len(found):>6} {statistics.median(taken):8.2f} {max(taken):9.2f}", flush=True)


if __name__ == "__main__":
    main()
