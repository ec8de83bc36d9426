"""A test process that is killed leaves no federation behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from federation.local import procfs
from tests import guard, localfed

RUNNER = """
import sys, time
from pathlib import Path
from tests import guard, localfed
folder = Path(sys.argv[1])
with guard.over(folder), localfed.running(localfed.LocalFederation(folder=folder / "f", compute={"eu-1": PROCESS})) as fed:
    fed.submit("import time; print('up', flush=True); time.sleep(600)", sites=("eu-1",))
    localfed.until(lambda: list(folder.rglob("started")), 60, "the job to run")
    print("up", flush=True)
    time.sleep(600)
""".replace("PROCESS", repr({"compute": {"kind": "process"}}))


def _of(folder: Path) -> list[int]:
    """Processes that belong to a folder."""
    return [process.pid for process in procfs.every() if process.state != "Z" and guard._belongs(process.pid, folder)]


def test_a_killed_test_process_leaves_nothing_running(tmp_path: Path) -> None:
    """Server, agent and a running job: SIGKILL to the one that started them, with its whole group, ends them all."""
    folder = tmp_path / "tests"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(folder)],
        cwd=Path(__file__).parent.parent.parent,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"up\n"
        assert len(_of(folder)) >= 4  # a server, an agent, a launcher and what it started
        os.killpg(runner.pid, signal.SIGKILL)
    localfed.until(lambda: not _of(folder), 60, "everything to have ended")


def test_what_stands_beside_the_folder_lives_on(tmp_path: Path) -> None:
    """Only what works below the folder ends, and not what another guardian watches."""
    inside, beside, others = tmp_path / "tests", tmp_path / "tests-2", tmp_path / "tests" / "ray-pair" / "first"
    for folder in (inside / "f", beside, others):
        folder.mkdir(parents=True)
    started = [subprocess.Popen(["sleep", "60"], cwd=folder) for folder in (inside / "f", beside, others)]
    with guard.over(inside):
        pass
    try:
        assert started[0].wait(30) == -signal.SIGKILL
        assert [process.poll() for process in started[1:]] == [None, None]
    finally:
        for process in started[1:]:
            process.kill()
            process.wait(30)
