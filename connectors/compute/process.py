"""Compute without a cluster: each submission is a plain local process. For a box at the edge that has data and no Ray.

What is known of a submission lies in a folder of its own, so that any process can ask. A lock that the submission's process
holds as long as it lives tells whether it lives: neither a reused pid nor a restart of the machine can pretend that.

It isolates nothing: a job runs as the agent's user, and resources that it asks for are not enforced.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from federation import ports
from federation.core import admission, errors, site

#: Between SIGTERM and SIGKILL.
GRACE_SECONDS = 5
#: Runs the entrypoint in its own process group (`$$` is its number) and leaves its exit code. The shell survives the SIGTERM
#: that it shares with the entrypoint; descriptor 9 is the lock, which the entrypoint does not inherit.
_WRAPPER = """
exec 9<&0 </dev/null
{
    trap : TERM
    echo $$ > started.new && mv started.new started
    ( trap - TERM; cd work && exec sh -c "$1" ) > output 2>&1 9>&- &
    child=$!
    wait $child; code=$?
    while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
    echo $code > exit.new && mv exit.new exit
} &
"""


class ProcessCompute:
    """The port `Compute` over local processes; `address` is the folder that it keeps them in."""

    def __init__(self, address: str | Path, token_file: Path | None = None) -> None:
        if token_file is not None:
            raise errors.InvalidArgument(
                "compute of kind 'process' has no token", reason="CONFIG_INVALID", help="Remove token_file from its settings."
            )
        self._folder = Path(address)

    def __repr__(self) -> str:
        return f"<ProcessCompute {self._folder}>"

    def submit(self, submission: ports.Submission) -> None:
        """Starts it; when a submission of that id is there already, does nothing."""
        folder = self._of(submission.submission_id)
        with self._usable():
            folder.mkdir(exist_ok=True)
            with _lock(folder) as lock:
                if lock is None or (folder / "started").exists():
                    return
                _prepare(folder, submission)
                _start(folder, submission, lock)

    def state(self, submission_id: str) -> ports.ComputeState:
        """What became of it. A process that was asked to end and did not is killed here, once its grace is over."""
        folder = self._of(submission_id)
        with self._usable():
            if not folder.is_dir():
                return ports.ComputeState(state="ABSENT")
            if _alive(folder):
                _escalate(folder)
                return ports.ComputeState(state="RUNNING" if (folder / "started").exists() else "PENDING")
            if not (folder / "started").exists():
                return ports.ComputeState(state="ABSENT")
            if (folder / "stop").exists():
                return ports.ComputeState(state="STOPPED", message="stopped on request")
            return _ended(folder)

    def stop(self, submission_id: str) -> None:
        """Asks it to end with SIGTERM; does nothing when it has ended or is not there."""
        folder = self._of(submission_id)
        with self._usable():
            if folder.is_dir() and _alive(folder):
                if not (folder / "stop").exists():
                    (folder / "stop").write_text(str(time.monotonic()))
                _signal(folder, signal.SIGTERM)

    def nodes(self, submission_id: str) -> tuple[ports.NodeState, ...]:
        """None: this machine is lost with its agent."""
        del submission_id
        return ()

    def capacity(self) -> site.Capacity:
        """What this machine has; no GPUs. Unavailable (COMPUTE_UNAVAILABLE) while its folder cannot be used."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        with self._usable():
            return site.Capacity(cpus=os.cpu_count() or 1, memory_bytes=memory)

    def examine(self) -> admission.Finding:
        """Grade C at best: a job can do here whatever the agent can, and read what it reads."""
        return admission.Finding(check="compute", grade="C", detail="jobs are plain processes of the agent's own account")

    def output(self, submission_id: str) -> bytes:
        """What it has printed so far."""
        path = self._of(submission_id) / "output"
        return path.read_bytes() if path.exists() else b""

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """The folder is there inside the block; what the file system has against that makes this compute unavailable."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise errors.Unavailable(
                f"jobs cannot be kept in {self._folder}: {error.strerror or error}",
                reason="COMPUTE_UNAVAILABLE",
                help="Let the agent's user write there, or make room on its disk.",
            ) from error

    def _of(self, submission_id: str) -> Path:
        if not submission_id or "/" in submission_id or submission_id.startswith("."):
            raise errors.InvalidArgument(f"{submission_id!r} is not a submission id", reason="NAME_INVALID")
        return self._folder.absolute() / submission_id


@contextmanager
def _lock(folder: Path) -> Iterator[int | None]:
    """The submission's lock as a descriptor, None when its process holds it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def _alive(folder: Path) -> bool:
    with _lock(folder) as lock:
        return lock is None


def _prepare(folder: Path, submission: ports.Submission) -> None:
    unknown = set(submission.runtime_env) - {"env_vars", "working_dir"}
    if unknown:
        raise errors.InvalidArgument(
            f"compute of kind 'process' knows nothing of {', '.join(sorted(unknown))} in a runtime environment",
            reason="RUNTIME_ENV_INVALID",
            help="Use env_vars alone, or a site with a Ray cluster.",
        )
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    if submission.working_dir:
        shutil.copytree(submission.working_dir, work)
    else:
        work.mkdir()


def _start(folder: Path, submission: ports.Submission, lock: int) -> None:
    # The shell goes away at once and leaves the group to init, so that nobody here has a child to wait for.
    subprocess.run(
        ["sh", "-c", _WRAPPER, "sh", submission.entrypoint],
        cwd=folder,
        env=_environment({**submission.runtime_env.get("env_vars", {}), **submission.env}),
        # A plain shell knows no descriptor above 9, and the lock may be any: it comes in place of the input.
        stdin=lock,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
    )


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    # A job inherits what its agent was started with, as on a cluster, less the agent's own settings.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FED_")}  # noqa: TID251
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return kept | {"PATH": path, "PYTHONUNBUFFERED": "1"} | dict(given)


def _escalate(folder: Path) -> None:
    asked = folder / "stop"
    if asked.exists() and time.monotonic() - float(asked.read_text()) > GRACE_SECONDS:
        _signal(folder, signal.SIGKILL)


def _signal(folder: Path, number: signal.Signals) -> None:
    """Signals the process group. Called while the lock is held by it, so the number cannot be another's by then."""
    started = folder / "started"
    if started.exists():
        try:
            os.killpg(int(started.read_text()), number)
        except ProcessLookupError:
            return


def _ended(folder: Path) -> ports.ComputeState:
    if not (folder / "exit").exists():
        return ports.ComputeState(state="FAILED", message="its process was killed")
    code = int((folder / "exit").read_text())
    if code == 0:
        return ports.ComputeState(state="SUCCEEDED")
    return ports.ComputeState(state="FAILED", message=f"exit code {code}", exit_code=code)
