"""What the tests themselves start does not outlive them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from federation.local import procfs
from tests import localfed

ROOT = Path(__file__).parents[1]
_OWNER = """
import signal
from tests import postgres
with postgres.server() as url:
    print(url.query["host"], flush=True)
    signal.pause()
"""


def test_a_run_that_is_killed_leaves_no_server_behind() -> None:
    """SIGKILL: nothing of its own is run any more, and PostgreSQL and its folder are gone all the same."""
    with subprocess.Popen([sys.executable, "-c", _OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        folder = Path(owner.stdout.readline().strip())
        pid = int((folder / "postmaster.pid").read_text().split()[0])
        assert not procfs.is_over(pid)
        owner.kill()
    localfed.until(lambda: procfs.is_over(pid) and not folder.exists(), 60, "the server to end")
