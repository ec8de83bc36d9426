"""Pipelines and scattered jobs over two real Ray clusters: what comes of them is what one look at all the data gives."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from federation.core.job import JobState
from federation.core.pipeline import Pipeline, PipelineState
from tests import localfed
from tests.ray_pair import RayPair, ray_pair  # noqa: F401 - a fixture

pytestmark = pytest.mark.ray

EXAMPLES = Path(__file__).parents[2] / "examples"
#: TPC-H's nations of Europe and of America, by number.
EUROPE, AMERICA = (6, 7, 19, 22, 23), (1, 2, 3, 17, 24)
ROUNDS = 2


@pytest.fixture(scope="module")
def federation(ray_pair: RayPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[localfed.LocalFederation]:  # noqa: F811
    """A site with a Ray cluster in the EU, one in the US."""
    compute = {
        name: {"ray": {"address": cluster.address, "token_file": str(cluster.token_file)}}
        for name, cluster in zip(("eu-1", "us-1"), ray_pair.clusters, strict=True)
    }
    folder = tmp_path_factory.mktemp("pipelines")
    made = localfed.LocalFederation(folder=folder / "f", compute=compute, settings={"lease_seconds": "60"})
    with localfed.running(made), made.client() as client:
        localfed.until(lambda: all(row.capacity.cpus for row in client.list_sites()), 120, "the clusters to be known")
        yield made
        assert made.fed("fsck").stdout == ""


def partition(fed: localfed.LocalFederation, name: str, parts: dict[str, tuple[bytes, str]], file: str) -> None:
    """Puts each part at its own site, bound to its jurisdiction with 1 MB that may leave, and names the whole, if it is new."""
    for part, (data, site) in parts.items():
        fed.put(part, {file: data}, site=site, residency=(site.partition("-")[0].upper(),))
        fed.fed("dataset", "update", part, "--release-max", "1MB")
    with fed.client() as client:
        known = any(row.name.short == name for row in client.list_datasets(name.partition("/")[0]))
    if not known:
        fed.fed("dataset", "create", name, *(word for part in parts for word in ("--part", part)))


def scattered(fed: localfed.LocalFederation, *words: str) -> Pipeline:
    """What `fed job submit --scatter ... --wait` has made."""
    shown = fed.fed("job", "submit", "-o", "json", *words)
    name = json.loads(shown.stdout)["name"]
    with fed.client() as client:
        return client.get_pipeline(name)


def brought(fed: localfed.LocalFederation, name: str, file: str, folder: Path) -> dict:
    """The newest version's JSON file, brought home."""
    fed.fed("dataset", "get", name, str(folder), "--overwrite")
    return json.loads((folder / file).read_text())


def orders(folder: Path) -> dict[str, pa.Table]:
    """TPC-H orders of European and of American customers."""
    generator = Path(sys.executable).with_name("tpchgen-cli")
    for table in ("customer", "orders"):
        command = [generator, "parquet", "-s", "0.01", "--tables", table, "--output-dir", folder]
        subprocess.run(command, check=True, capture_output=True)
    customers = pq.read_table(folder / "customer.parquet", columns=["c_custkey", "c_nationkey"])
    found = pq.read_table(folder / "orders.parquet", columns=["o_orderkey", "o_custkey", "o_orderpriority", "o_totalprice"])
    priority = found["o_orderpriority"].cast(pa.string())
    found = found.set_column(found.schema.get_field_index("o_orderpriority"), "o_orderpriority", priority)
    nation = customers["c_nationkey"]
    of = {
        name: customers["c_custkey"].filter(pc.is_in(nation, pa.array(nations, nation.type))).combine_chunks()
        for name, nations in (("eu", EUROPE), ("us", AMERICA))
    }
    return {name: found.filter(pc.is_in(found["o_custkey"], keys)) for name, keys in of.items()}


def as_parquet(table: pa.Table) -> bytes:
    """A table as a file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_scattered_statistics_are_exactly_those_of_all_rows(federation: localfed.LocalFederation, tmp_path: Path):
    """Rows stay where they must; counts, sums, means and variances of the whole are those that pyarrow finds in one table."""
    tables = orders(tmp_path)
    parts = {f"tpch/orders-{name}": (as_parquet(table), f"{name}-1") for name, table in tables.items()}
    partition(federation, "tpch/orders", parts, "orders.parquet")
    ended = scattered(
        federation,
        *("--scatter", "data=tpch/orders", "--reduce", "python merge.py", "--output", "statistics=tpch/statistics,release"),
        *("--label", "statistics", "--duration", "1m"),
        *("--working-dir", str(EXAMPLES / "federated_statistics"), "--wait", "--", "python", "part_statistics.py"),
    )
    assert ended.state is PipelineState.SUCCEEDED, (ended.detail, federation.logs())
    assert {row.task: row.site for row in ended.tasks if row.task != "reduce"} == {"map-1": "eu-1", "map-2": "us-1"}
    found = brought(federation, "tpch/statistics", "statistics.json", tmp_path / "out")
    everything = pa.concat_tables(tables.values())
    truth = everything.group_by("o_orderpriority").aggregate([("o_totalprice", "count"), ("o_totalprice", "sum")]).to_pylist()
    assert found["missing"] == []
    assert {key: row["count"] for key, row in found["statistics"].items()} == {
        row["o_orderpriority"]: row["o_totalprice_count"] for row in truth
    }
    assert {key: Fraction(row["sum"]) for key, row in found["statistics"].items()} == {
        row["o_orderpriority"]: Fraction(row["o_totalprice_sum"]) for row in truth
    }
    for key, row in found["statistics"].items():
        prices = everything.filter(pc.equal(everything["o_orderpriority"], key))["o_totalprice"].cast(pa.float64())
        assert row["mean"] == pytest.approx(pc.mean(prices).as_py(), rel=1e-12)
        assert row["variance"] == pytest.approx(pc.variance(prices, ddof=1).as_py(), rel=1e-9)
    with federation.client() as client:
        assert client.get_dataset("tpch/statistics-orders-eu").residency == ()


PIPELINE = """
pipeline: two-sites
working_dir: work
tasks:
  even:
    run: python job.py even
    inputs: {numbers: lab/numbers}
    outputs: {out: {dataset: lab/even, assume: 1MB}}
    sites: [eu-1]
    duration: 1m
  total:
    run: [python, job.py, total]
    inputs: {even: even.out}
    outputs: {out: lab/total}
    sites: [us-1]
    duration: 1m
"""

JOB = """
import json, sys, federation
if sys.argv[1] == "even":
    numbers = json.load(federation.inputs["numbers"].open("numbers.json"))
    with federation.outputs["out"].open("numbers.json", "w") as file:
        json.dump([number for number in numbers if number % 2 == 0], file)
else:
    with federation.outputs["out"].open("total.json", "w") as file:
        json.dump({"total": sum(json.load(federation.inputs["even"].open("numbers.json")))}, file)
"""


def test_a_pipeline_hands_over_from_one_site_to_the_other(federation: localfed.LocalFederation, tmp_path: Path):
    """Two tasks at two sites from one YAML file: planned first, then run, metered where the bytes left, shown as a table."""
    federation.put("lab/numbers", {"numbers.json": json.dumps(list(range(100_000))).encode()}, site="eu-1")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "job.py").write_text(JOB)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    planned = federation.fed("pipeline", "plan", str(tmp_path / "pipeline.yaml")).stdout
    assert "proven to be the least" in planned
    shown = federation.fed("pipeline", "submit", "-o", "json", str(tmp_path / "pipeline.yaml"), "--wait")
    name = json.loads(shown.stdout)["pipeline"]
    table = federation.fed("pipeline", "show", name).stdout
    assert re.search(r"total +even +us-1 +aws:us-east-1 .* SUCCEEDED", table)
    with federation.client() as client:
        found = client.get_pipeline(name)
    jobs = {row.task: row.job for row in found.tasks}
    assert {row.task: row.state for row in found.tasks} == dict.fromkeys(("even", "total"), JobState.SUCCEEDED)
    (entry,) = federation.settled(jobs["total"])
    assert (entry.source_site, entry.destination_site) == ("eu-1", "us-1")
    total = brought(federation, "lab/total", "total.json", tmp_path / "out")["total"]
    assert total == sum(range(0, 100_000, 2))


def test_averaged_models_come_close_to_the_pooled_one(
    federation: localfed.LocalFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two rounds of federated averaging on the flights of 2013: as good as training on all of them at one place."""
    for folder in (EXAMPLES, EXAMPLES / "late_flights"):
        monkeypatch.syspath_prepend(str(folder))
    import delays
    import story
    from train_part import STEPS

    flights = story.flights([*delays.COLUMNS, "origin"])
    here = flights["origin"] == "EWR"
    parts = {
        "nyc/flights-eu": (flights[here].to_csv(index=False).encode(), "eu-1"),
        "nyc/flights-us": (flights[~here].to_csv(index=False).encode(), "us-1"),
    }
    partition(federation, "nyc/flights", parts, "flights.csv")
    for number in range(ROUNDS):
        before = ("--input", f"model=nyc/delay-model@{number}") if number else ()
        ended = scattered(
            federation,
            *(
                "--scatter",
                "data=nyc/flights",
                *before,
                "--reduce",
                "python average.py",
                "--output",
                "model=nyc/delay-model,release",
            ),
            *("--label", "averaging", "--duration", "1m"),
            *("--working-dir", str(EXAMPLES / "late_flights"), "--wait", "--", "python", "train_part.py"),
        )
        assert ended.state is PipelineState.SUCCEEDED, (ended.detail, federation.logs())
    model = brought(federation, "nyc/delay-model", "model.json", tmp_path / "out")
    table = flights.dropna()
    x, y = delays.features(table), delays.late(table)
    pooled = delays.trained(x, y, np.zeros(x.shape[1]), ROUNDS * STEPS)
    assert model["flights"] == len(y)
    assert _loss(x, y, np.array(model["weights"])) == pytest.approx(_loss(x, y, pooled), rel=0.005)
    assert _loss(x, y, pooled) < 0.75 * _loss(x, y, np.zeros(x.shape[1]))


def _loss(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    z = x @ weights
    return float(np.mean(np.logaddexp(0, z) - y * z))
