"""`fed up`, `fed status`, `fed down` on real processes: a server and two agents that only store."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from federation import config
from federation.core import errors
from federation.local import procfs, supervisor
from federation.local.process import Process
from tests import tcp


def federation_file(folder: Path, sites: int = 2) -> config.FederationFile:
    """A federation without Ray on free ports."""
    people, agents, *gateways = tcp.free_ports(2 + sites)
    rows = "\n".join(
        f"  - {{site: s-{number}, region: 'aws:eu-central-1', jurisdiction: EU, gateway: '127.0.0.1:{port}'}}"
        for number, port in enumerate(gateways)
    )
    path = folder / "federation.yaml"
    path.write_text(
        f"federation: tried\nserver: {{listen: '127.0.0.1:{people}', agents_listen: '127.0.0.1:{agents}'}}\nsites:\n{rows}\n"
    )
    return config.federation_file(path)


@pytest.fixture
def local(tmp_path, monkeypatch):
    """A federation that is down again when the test ends, however it ends."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "contexts.yaml"))
    made = supervisor.Federation(federation_file(tmp_path), tmp_path / "state")
    yield made
    supervisor.down(made.layout, quiet)


def quiet(name: str, state: str) -> None:
    """Tells nobody."""


def states(layout: config.Layout) -> dict[str, str]:
    """State of each part."""
    return {row.part: row.state for row in supervisor.status(layout)}


def test_up_starts_all_and_a_second_up_finds_it_and_down_ends_it(local):
    """The whole life of a local federation, with what it tells on the way."""
    told: list[tuple[str, str]] = []
    context = local.up(lambda name, state: told.append((name, state)))
    assert states(local.layout) == {"server": "RUNNING", "agent s-0": "RUNNING", "agent s-1": "RUNNING"}
    assert {name for name, state in told if state == "ready"} == {"server", "agent s-0", "agent s-1"}
    assert [str(row.state) for row in supervisor.site_states(local.layout)] == ["READY", "READY"]
    assert config.client().target == context.target == local.file.address

    pids = {row.part: row.pid for row in supervisor.status(local.layout)}
    told.clear()
    local.up(lambda name, state: told.append((name, state)))
    assert {row.part: row.pid for row in supervisor.status(local.layout)} == pids
    assert ("server", "was running") in told

    sessions = [process.session() for process in Process.recorded(local.layout.run)]
    supervisor.down(local.layout, quiet)
    assert supervisor.status(local.layout) == ()
    # They have ended; who adopted them may still have to take note of it.
    deadline = time.monotonic() + 30
    while left := [pid for session in sessions for pid in session if not procfs.is_over(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_after_kill_9_a_second_up_starts_only_what_is_missing(local):
    """Status says DEAD, up mends it, and the other parts keep their processes."""
    local.up(quiet)
    before = {row.part: row.pid for row in supervisor.status(local.layout)}
    os.kill(before["agent s-0"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while states(local.layout)["agent s-0"] != "DEAD" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert states(local.layout)["agent s-0"] == "DEAD"
    local.up(quiet)
    after = {row.part: row.pid for row in supervisor.status(local.layout)}
    assert after["agent s-0"] not in (0, before["agent s-0"])
    assert after["server"] == before["server"]


def test_a_changed_federation_file_is_taken_by_the_next_up(local):
    """What runs with the old one is started again; here a site is declared no more."""
    local.up(quiet)
    before = {row.part: row.pid for row in supervisor.status(local.layout)}
    lines = local.file.path.read_text().splitlines()
    local.file.path.write_text("\n".join(line for line in lines if "s-1" not in line) + "\n")
    told: list[tuple[str, str]] = []
    changed = supervisor.Federation(config.federation_file(local.file.path), local.layout.root)
    changed.up(lambda name, state: told.append((name, state)))
    after = {row.part: row.pid for row in supervisor.status(local.layout)}
    assert set(after) == {"server", "agent s-0"}
    assert after["server"] != before["server"]
    assert ("agent s-1", "ended: the file does not declare it any more") in told


def test_a_taken_port_is_named_with_its_part_and_nothing_is_started(local):
    """Before anything runs, so that nothing is half up."""
    with socket.socket() as stranger:
        host, _, port = local.file.sites[1].gateway_listen.rpartition(":")
        stranger.bind((host, int(port)))
        stranger.listen()
        with pytest.raises(errors.FailedPrecondition, match=f"agent s-1 cannot listen on 127.0.0.1:{port}") as caught:
            local.up(quiet)
    assert caught.value.reason == "PORT_TAKEN"
    assert supervisor.status(local.layout) == ()


def test_a_part_that_ends_while_it_starts_is_named_with_its_last_words(tmp_path, monkeypatch):
    """Here the server cannot open its database."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "contexts.yaml"))
    file = federation_file(tmp_path, sites=0)
    file.path.write_text(file.path.read_text().replace("server: {", "server: {database: 'sqlite:////dev/null/catalog.db', "))
    broken = supervisor.Federation(config.federation_file(file.path), tmp_path / "state")
    try:
        with pytest.raises(errors.Unavailable, match="server ended while it started") as caught:
            broken.up(quiet)
        assert str(broken.layout.logs / "server.log") in caught.value.help
    finally:
        supervisor.down(broken.layout, quiet)


def test_only_one_at_a_time_works_in_a_state_folder(tmp_path):
    """The second waits, and says why when that takes too long."""
    layout = config.Layout(root=tmp_path)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with supervisor.locked(layout):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(30)
    try:
        with pytest.raises(errors.Unavailable) as caught, supervisor.locked(layout, wait_seconds=0.1):
            pass
        assert caught.value.reason == "STATE_LOCKED"
    finally:
        leave.set()
        thread.join()
    with supervisor.locked(layout, wait_seconds=0.1):
        pass


def test_down_where_nothing_ever_was_does_nothing(tmp_path):
    """And makes no folder either."""
    supervisor.down(config.Layout(root=tmp_path / "none"), quiet)
    assert not (tmp_path / "none").exists()
