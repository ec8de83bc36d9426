"""What plans estimated beside what became of it, from the ledger and the clock."""

from __future__ import annotations

import pytest

from federation.core import errors, job
from federation.core.variance import Variance
from federation.services import variance
from tests import builders
from tests.services.test_profiles import settle, work
from tests.sim import Simulation


def seen(sim: Simulation, by: str, **where: str) -> tuple[tuple[Variance, ...], Variance]:
    """Sums and total."""
    return sim.read(lambda tx: variance.summarize(tx, by, where))


def test_each_input_of_a_job_stands_beside_what_was_metered(sim: Simulation) -> None:
    """And the job's time beside what was expected."""
    sim.put("sales/flights", "eu-1", total=1000)
    run = work(sim, read=300, rounds=7)
    settle(sim)
    (row,), total = seen(sim, "input", job=run.split("/")[1])
    assert (row.key, row.runs, row.metered_bytes) == ("flights=sales/flights", 1, 300)
    assert row.estimate_bytes > 0
    assert row.bytes_error == pytest.approx(abs(300 - row.estimate_bytes) / row.estimate_bytes)
    assert (total.estimate_seconds, total.run_seconds) == (600, 7)
    assert total.metered_bytes == 300


def test_runs_that_failed_are_no_measure_of_an_estimate(sim: Simulation) -> None:
    """They were cut off before they had read what they would."""
    sim.put("sales/flights", "eu-1")
    sent = sim.submit(builders.request(["flights=sales/flights"], label="train"))
    agent = sim.agents["eu-1"]
    agent.work()
    agent.accept(sent.run)
    agent.begin(sent.run)
    agent.read(sent.run, "flights", 100)
    agent.fail(sent.run)
    settle(sim)
    assert sim.job(sent.job).state is job.JobState.FAILED
    assert seen(sim, "label") == ((), Variance(key=""))


def test_variances_are_summed_by_label_and_link_and_filtered(sim: Simulation) -> None:
    """Of jobs by their label, of reads by their link."""
    sim.put("sales/flights", "eu-1")
    for label in ("train", "train", "sums"):
        work(sim, read=100, label=label)
    settle(sim)
    rows, total = seen(sim, "label")
    assert [(row.key, row.runs) for row in rows] == [("sums", 1), ("train", 2)]
    assert total.runs == 3
    only, _ = seen(sim, "label", label="train")
    assert [row.key for row in only] == ["train"]
    links, _ = seen(sim, "link", namespace="sales")
    assert [(row.key, row.metered_bytes) for row in links] == [("aws:eu-central-1~aws:eu-central-1", 300)]
    assert seen(sim, "link", namespace="ml") == ((), Variance(key=""))
    assert seen(sim, "label", month="2025-01")[0] == ()


def test_a_job_that_is_not_there_is_named(sim: Simulation) -> None:
    """An empty answer would look like a job that read nothing."""
    with pytest.raises(errors.NotFound):
        seen(sim, "job", job="j-nothing")
