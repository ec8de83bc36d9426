"""The campaign against the record in its short form; `make campaign-record` has the long one."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.timeout(1800)
def test_servers_that_are_killed_lose_and_double_nothing(long: bool) -> None:
    """Five of them (a hundred with --long), in a process of its own, because it forks."""
    command = [sys.executable, "-m", "tests.faults.record_campaign", "--kills", "100" if long else "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost, nothing twice" in done.stdout
