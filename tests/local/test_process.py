"""One process of ours, recognised and ended; the processes here are shells that sleep."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.local import process as processes
from federation.local import procfs
from federation.local.process import Process

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
#: A process that has a child in its session and ignores SIGTERM, as a stuck one would.
STUBBORN = (
    sys.executable,
    "-c",
    """import signal, subprocess, sys, time
signal.signal(15, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
time.sleep(600)""",
)

#: One whose first thread has ended: a zombie, whose other thread holds all that it has open.
HEADLESS = (
    sys.executable,
    "-c",
    """import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)""",
)


@pytest.fixture
def make(tmp_path: Path) -> Iterator:
    """Makes processes, and ends what a failed test leaves."""
    found = []

    def process(command: tuple[str, ...] = SLEEP, name: str = "agent eu-1") -> Process:
        made = Process(
            name=name, folder=tmp_path / "run", log=tmp_path / "logs" / "log", command=command, address="127.0.0.1:1"
        )
        found.append(made)
        return made

    yield process
    for one in found:
        one.stop(grace_seconds=0)


def until(condition) -> bool:
    """Waits a little for something."""
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_none_that_starts_while_others_are_looked_at_is_forgotten(make):
    """Python would warn of one that lives and that nobody holds, and nobody would take note of its end."""
    started = make()
    starting = threading.Thread(target=started.start)

    class Ended:
        """Another child, at whose turn that one starts."""

        def poll(self) -> int:
            starting.start()
            starting.join(0.5)
            return 0

    processes._CHILDREN.append(Ended())
    assert make(name="agent us-1").pid() is None
    starting.join()
    assert started.pid() in [child.pid for child in processes._CHILDREN]


def test_what_threads_of_a_dead_one_hold_is_let_go_of_before_it_is_started_again(make):
    """Its first thread is gone, so it does not live; its ports are free only when the last one is."""
    headless = make(HEADLESS)
    headless.start()
    (pid,) = headless.session()
    assert until(lambda: headless.pid() is None)
    assert headless.session() == (pid,)
    assert not procfs.is_over(pid)
    headless.stop(grace_seconds=0)
    assert procfs.is_over(pid)


def test_a_started_process_is_found_by_another_fed(make, tmp_path):
    """`fed status` is another process than `fed up`: the pid file is all it has."""
    started = make()
    started.start()
    (found,) = Process.recorded(tmp_path / "run")
    assert (found.name, found.pid(), found.address) == ("agent eu-1", started.pid(), "127.0.0.1:1")


def test_starting_twice_is_starting_once(make):
    """The second start sees that it runs."""
    first = make()
    first.start()
    pid = first.pid()
    make().start()
    assert first.pid() == pid


def test_it_leads_a_session_of_its_own(make):
    """So that Ctrl-C at the terminal does not reach it, and its children can be told."""
    process = make()
    process.start()
    assert os.getsid(process.pid()) == process.pid()
    assert os.getsid(process.pid()) != os.getsid(0)


def test_stop_ends_it_and_forgets_it(make, tmp_path):
    """SIGTERM is enough for a good one."""
    process = make()
    process.start()
    process.stop()
    assert process.pid() is None
    assert Process.recorded(tmp_path / "run") == ()


def test_stop_kills_what_does_not_listen_and_all_its_children(make):
    """Nothing of the session is left."""
    process = make(STUBBORN)
    process.start()
    assert until(lambda: len(process.session()) == 2)
    process.stop(grace_seconds=0.2)
    assert process.session() == ()


def test_children_of_a_killed_leader_are_ended_before_a_new_start(make):
    """A kill -9 of the leader leaves its children; they would hold its port."""
    process = make(STUBBORN)
    process.start()
    assert until(lambda: len(process.session()) == 2)
    (orphan,) = set(process.session()) - {process.pid()}
    os.kill(process.pid(), signal.SIGKILL)
    assert until(lambda: process.pid() is None)
    process.start()
    assert orphan not in process.session()
    assert process.pid() is not None


def test_a_stranger_with_the_same_pid_is_not_ours(make, tmp_path):
    """A pid file outlives a machine's pids: the start time tells them apart, and the stranger lives on."""
    process = make()
    process.start()
    (file,) = (tmp_path / "run").glob("*.json")
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"pid": os.getpid(), "start_ticks": 1}))
    assert process.pid() is None
    file.write_text(json.dumps(record | {"boot": "another boot"}))
    assert process.pid() is None
    file.write_text(json.dumps(record))
    assert process.pid() == record["pid"]


def test_a_half_written_pid_file_is_cleaned(tmp_path):
    """A crash may leave one."""
    (tmp_path / "server.json").write_text('{"name": "ser')
    assert Process.recorded(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_its_output_is_in_its_log(make):
    """The last lines are what an error shows."""
    process = make((sys.executable, "-c", "print('one'); print('two')"))
    process.start()
    assert until(lambda: process.last_lines(1) == ("two",))
