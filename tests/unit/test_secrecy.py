"""A process that holds keys leaves nothing of them behind when it dies, and nobody of its own user may look into it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from federation import secrecy
from federation.agent.sealing import Dek
from federation.cli import app

CANARY = "5ec2e7" * 8
#: Holds the canary in its memory and ends by a signal that dumps. What it is started with allows a core file of any size.
VICTIM = f"""
import os, resource, signal, sys
from federation import secrecy
soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
if sys.argv[1] == "kept":
    secrecy.keep()
held = bytearray(bytes.fromhex("{CANARY}") * 1000)
print(resource.getrlimit(resource.RLIMIT_CORE)[0], open("/proc/self/status").read().count("CoreDumping"), flush=True)
os.kill(os.getpid(), int(sys.argv[2]))
"""


def died(folder: Path, how: str, number: signal.Signals) -> subprocess.CompletedProcess[str]:
    """A process that held the canary and died there."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(VICTIM), how, str(int(number))],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=_allow_dumps,
    )


def _allow_dumps() -> None:
    """As far as this process may: a test before this one may have run what keeps keys here, and given the limit up."""
    for most in (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_CORE)[1]):
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (most, most))
        except (OSError, ValueError):
            continue
        return


@pytest.mark.invariant("L3")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="core files and prctl as Linux has them")
@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
def test_an_aborted_process_that_holds_a_key_leaves_no_dump(tmp_path: Path, number: signal.Signals) -> None:
    """Although a core file of any size was allowed. Where cores go into the folder the same death without it leaves one."""
    ended = died(tmp_path, "kept", number)
    assert ended.returncode == -number
    assert ended.stdout.split()[0] == "0"
    assert not list(tmp_path.iterdir())
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern == "core" and resource.getrlimit(resource.RLIMIT_CORE)[1] == resource.RLIM_INFINITY:
        assert died(tmp_path, "bare", number).returncode == -number
        (dump,) = tmp_path.glob("core*")
        assert bytes.fromhex(CANARY) in dump.read_bytes()
        dump.unlink()


@pytest.mark.invariant("L3")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl as Linux has it")
def test_a_process_that_holds_keys_is_not_dumpable() -> None:
    """PR_GET_DUMPABLE says 0, and what the supervisor looks at in /proc can still be read."""
    code = """
import ctypes, os
from federation import secrecy
from federation.local import procfs
secrecy.keep()
secrecy.keep()
found = procfs.stat(os.getpid())
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), found.pid == os.getpid(), os.stat("/proc/self/environ").st_uid)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0", "True", "0"]


class Kept(Exception):
    """That a command has seen to its memory, before it did anything else."""


@pytest.mark.invariant("L3")
@pytest.mark.parametrize(
    "words",
    [
        "dataset put sales/x {here} --site eu-1",
        "dataset get sales/x {new}",
        "key escrow keygen {new}",
        "key escrow open e-1 --key {here}",
        "key backup {new} --config {here} --site eu-1 --passphrase-file {here}",
        "key restore {here} --config {here} --site eu-1 --passphrase-file {here}",
        "backup {new} --config {here}",
        "restore {here} --config {here}",
    ],
)
def test_a_command_that_gets_keys_sees_to_its_memory_first(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, keyrings, custodians' keys and the catalog's own: before any of them is read."""

    def keep() -> None:
        raise Kept

    here = tmp_path / "here"
    here.write_text("nothing that could be read")
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "contexts.yaml"))
    monkeypatch.setattr(secrecy, "keep", keep)
    told = CliRunner().invoke(app.fed, words.format(here=here, new=tmp_path / "new").split())
    assert isinstance(told.exception, Kept), told.output
    assert not (tmp_path / "new").exists()


@pytest.mark.invariant("L3")
def test_a_data_key_on_its_way_shows_nothing_of_itself() -> None:
    """In no log line, no error and no debugger."""
    assert CANARY[:8] not in repr([Dek("g-1", "default", bytes.fromhex(CANARY))])
