"""`fed browse` as it is started: on a real terminal, without one, and without the package that it needs."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from federation.cli import app, exits
from tests.wire.edge import Edge


def test_without_a_terminal_programs_are_told_what_to_read() -> None:
    """And a name that is none is refused before anything is asked."""
    refused = CliRunner().invoke(app.fed, ["browse"])
    assert refused.exit_code == exits.ERROR
    assert "TERMINAL_MISSING" in refused.output
    assert "fed dataset list -o json" in refused.output
    assert "NAME_INVALID" in CliRunner().invoke(app.fed, ["browse", "No/Name"]).output


def test_without_its_package_it_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """As other extras do."""
    for name in [name for name in sys.modules if name.startswith(("textual", "federation.browse"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual", None)
    refused = CliRunner().invoke(app.fed, ["browse"])
    assert "EXTRA_MISSING" in refused.output
    assert "pip install 'dataset-federation[browse]'" in refused.output


def test_on_a_terminal_of_80_columns_it_shows_the_catalog_and_q_ends_it(told: Edge, tmp_path: Path) -> None:
    """The real program on a real pseudo-terminal; it leaves the screen as it was."""
    (tmp_path / "ca").write_bytes(told.certs.ca)
    env = {"FED_TARGET": told.server.address, "FED_TOKEN": told.tokens["user"], "FED_CA": str(tmp_path / "ca"), "TERM": "xterm"}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "federation", "browse", "sales"]
    started = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    os.close(theirs)
    try:
        assert b"sales/flights" in _read(ours, b"sales/flights")
        os.write(ours, b"q")
        left = _read(ours, b"\x1b[?1049l")
        assert b"\x1b[?1049l" in left, "the terminal's own screen comes back"
        assert started.wait(60) == 0
    finally:
        started.kill()
        started.wait(30)
        os.close(ours)


def _read(terminal: int, until: bytes) -> bytes:
    """What is written to a terminal, up to some bytes."""
    seen, deadline = b"", time.monotonic() + 60
    while until not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:
                break
    return seen
