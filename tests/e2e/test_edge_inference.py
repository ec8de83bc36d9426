"""The example of inference at the edge: its model is worth something, and its story runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from federation import config
from federation.client import Client
from tests import localfed, tcp

EXAMPLES = Path(__file__).parents[2] / "examples"
HERE = EXAMPLES / "edge_inference"


def test_what_is_scored_at_an_airport_beats_guessing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of the year's flights up to November, and December's flights to Chicago, of which none was in it."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.syspath_prepend(str(EXAMPLES / "late_flights"))
    import delays
    import story

    flights = story.flights([*delays.COLUMNS, "dest"]).dropna()
    december = flights["month"] == 12
    history, there = flights[~december].iloc[::20], flights[december & (flights["dest"] == "ORD")]
    x, y = delays.features(history), delays.late(history)
    weights = delays.trained(x, y, np.zeros(x.shape[1]), 100)
    told = delays.probability(delays.features(there), weights) > 0.5
    came = delays.late(there) > 0
    assert len(there) > 1_000
    assert (told & came).sum() / told.sum() > 0.8
    assert (told & came).sum() / came.sum() > 0.5


def test_the_example_tells_its_whole_story(tmp_path: Path, *, long: bool) -> None:
    """Two models, each at every airport before it scores there; no flight has left, and of counts some hundred bytes."""
    if not long:
        pytest.skip("a campaign: --long runs it")
    ports = iter(tcp.free_ports(5))
    text = re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{next(ports)}", (HERE / "federation.yaml").read_text())
    file, state = tmp_path / "federation.yaml", tmp_path / "state"
    file.write_text(text)
    environ = {**os.environ, "FED_CONFIG": str(tmp_path / "contexts.yaml"), "NO_COLOR": "1"}
    try:
        words = [sys.executable, str(HERE / "run.py"), "--state", str(state), "--file", str(file)]
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        layout = config.Layout(root=state)
        target = config.federation_file(file).address
        with Client(target, layout.admin_token.read_text().strip(), layout.ca.read_bytes()) as client:
            rows = list(client.list_ledger_entries())
            jobs = client.list_jobs(filter='label = "score-map"')
            runs = {run.site for job in jobs for run in client.list_runs(job.job)}
        out = subprocess.run(
            [*localfed.FED, "dataset", "get", "airports/warnings", str(tmp_path / "out")], env=environ, check=False
        )
        assert out.returncode == 0
    finally:
        subprocess.run([*localfed.FED, "down", "--state", str(state)], env=environ, capture_output=True, check=False)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["right"] > 0.5
    assert runs == {"lax-1", "ord-1"}
    left = [row for row in rows if row.source_region.startswith("vultr:") and row.destination_region != row.source_region]
    assert left
    assert sum(row.bytes for row in left) < 1_000
