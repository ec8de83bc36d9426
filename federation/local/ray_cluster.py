"""A Ray cluster of one machine, for one site of a local federation: started, found again, and ended without touching any other.

Several live beside each other because each has a loopback address, ports, a temporary folder and a token of its own. GCS and
raylet listen on every interface whatever the address, and Ray's Jobs API runs what it is given: without its token nothing here
answers, and a cluster that does answer without it is ended again at once.

It never calls `ray stop`, which ends every Ray of the machine. What belongs to a cluster is told by its session and by a
mark in the environment that all its processes inherit, never by a name.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from federation.core import errors
from federation.local import procfs

#: Ports that one cluster takes from its `port_base` on; the bases of two clusters lie at least this far apart.
PORTS = 300
DASHBOARD_PORT = 8265
OBJECT_STORE_BYTES = 200_000_000
_WORKER_PORTS_OFFSET = 20
_MARK = "FED_RAY_CLUSTER"
#: Ray puts Unix sockets of up to 64 characters below its temporary folder, and a socket's path ends at 107.
_TEMP_PATH_MAX = 40
_FIXED_PORTS = (
    "--port",
    "--ray-client-server-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--runtime-env-agent-port",
    "--metrics-export-port",
    "--node-manager-port",
    "--object-manager-port",
)


class RayCluster:
    """A head node with everything that Ray has, in a session of its own below `folder`.

    `gpus` maps Ray's accelerator names to counts; they are logical, the machine need not have any. `environ` is what the
    cluster's processes inherit, without what steers another Ray or this federation.
    """

    def __init__(
        self,
        *,
        name: str,
        folder: Path,
        address_ip: str,
        port_base: int,
        environ: Mapping[str, str],
        cpus: int,
        gpus: Mapping[str, int] | None = None,
        memory_bytes: int = 2_000_000_000,
        dashboard_port: int = DASHBOARD_PORT,
    ) -> None:
        self.name = name
        self.folder = folder.absolute()
        self.address_ip = address_ip
        self.address = f"http://{address_ip}:{dashboard_port}"
        self.token_file = self.folder / "ray.token"
        self._dashboard_port = dashboard_port
        self._port_base = port_base
        self._environ = environ
        self._cpus = cpus
        self._gpus = dict(gpus or {})
        self._memory_bytes = memory_bytes
        self._leader_file = self.folder / "ray.pid"
        self._child = 0

    def __repr__(self) -> str:
        return f"<RayCluster {self.name} {self.address}>"

    def start(self, *, timeout_seconds: float = 120) -> None:
        """Starts it and returns once it answers with its token alone; finds it when it runs already.

        Leftovers of a killed one are ended first. Unavailable (RAY_START_FAILED) with the log's end when it does not come up,
        FailedPrecondition (RAY_OPEN) when it answers without a token; nothing is left running then.
        """
        if self.running():
            return
        self.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_token()
        self._spawn()
        try:
            self._await_ready(time.monotonic() + timeout_seconds)
        except BaseException:
            self.stop(grace_seconds=0)
            raise

    def running(self) -> bool:
        """Whether its head process lives and the Jobs API answers with the token, and only with it."""
        if self._leader() is None or not self.token_file.exists():
            return False
        return self._answer(self._token()) == http.HTTPStatus.OK and self._answer("") == http.HTTPStatus.UNAUTHORIZED

    def stop(self, *, grace_seconds: float = 10) -> None:
        """Ends it and everything that it started, jobs included; does nothing when it does not run.

        Asks the head first; what is left after `grace_seconds` is killed. Unavailable (RAY_STOP_FAILED) if even that leaves
        some.
        """
        leader = self._leader()
        if leader is not None and grace_seconds > 0:
            procfs.send(leader.pid, signal.SIGTERM)
            self._await_none(grace_seconds)
        for process in self.processes():
            procfs.send(process, signal.SIGKILL)
        if not self._await_none(10):
            raise errors.Unavailable(
                f"processes {self.processes()} of Ray cluster {self.name} do not end", reason="RAY_STOP_FAILED"
            )
        self._leader_file.unlink(missing_ok=True)
        shutil.rmtree(self._temp_folder(), ignore_errors=True)

    def processes(self) -> tuple[int, ...]:
        """Pids of everything that belongs to this cluster and lives.

        That is its session, and what carries its mark: jobs lead sessions of their own.
        """
        self._reap()
        leader = self._recorded_leader()
        mark = f"{_MARK}={self.folder}".encode()
        return tuple(
            process.pid
            for process in procfs.every()
            if process.state != "Z"
            and (
                (leader is not None and process.session == leader[0] and process.start_ticks >= leader[1])
                or mark in _environment(process.pid)
            )
        )

    def _await_none(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _recorded_leader(self) -> tuple[int, int] | None:
        try:
            pid, start_ticks, boot = json.loads(self._leader_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return (pid, start_ticks) if boot == procfs.boot_id() else None

    def _leader(self) -> procfs.Stat | None:
        recorded = self._recorded_leader()
        if recorded is None:
            return None
        process = procfs.stat(recorded[0])
        alive = process is not None and process.start_ticks == recorded[1] and process.state != "Z"
        return process if alive else None

    def _write_token(self) -> None:
        if self.token_file.exists():
            return
        file = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as stream:
            stream.write(secrets.token_hex(32))

    def _token(self) -> str:
        return self.token_file.read_text().strip()

    def _temp_folder(self) -> Path:
        inside = self.folder / "ray"
        if len(str(inside)) <= _TEMP_PATH_MAX:
            return inside
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]
        return Path(tempfile.gettempdir()) / f"fed-ray-{os.getuid()}-{digest}"

    def _make_temp_folder(self) -> Path:
        folder = self._temp_folder()
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if folder.stat().st_uid != os.getuid():
            raise errors.FailedPrecondition(
                f"{folder}, where Ray cluster {self.name} keeps its sockets, belongs to somebody else",
                reason="RAY_START_FAILED",
            )
        return folder

    def _spawn(self) -> None:
        command = self._command(self._make_temp_folder())
        with (self.folder / "ray.log").open("ab") as log:
            # Not a Popen: the cluster may outlive this process, and another may end it.
            self._child = os.posix_spawn(
                command[0],
                command,
                self._environment(),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                ],
                setsid=True,
            )
        process = procfs.stat(self._child)
        if process is not None:
            self._leader_file.write_text(json.dumps([process.pid, process.start_ticks, procfs.boot_id()]))

    def _reap(self) -> None:
        if self._child:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child, os.WNOHANG)

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in self._environ.items() if not key.startswith(("RAY_", "FED_"))}
        binaries = str(Path(sys.executable).parent)
        return kept | {
            # `python` in a job is the python that runs the federation.
            "PATH": f"{binaries}{os.pathsep}{kept.get('PATH', os.defpath)}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            # One node has nowhere to drain to.
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            _MARK: str(self.folder),
        }

    def _command(self, temp_folder: Path) -> list[str]:
        ports = [text for offset, flag in enumerate(_FIXED_PORTS) for text in (flag, str(self._port_base + offset))]
        resources = {f"accelerator_type:{gpu}": count for gpu, count in self._gpus.items()}
        return [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address", self.address_ip, "--dashboard-host", self.address_ip),
            *("--include-dashboard", "true", "--dashboard-port", str(self._dashboard_port)),
            *ports,
            *("--min-worker-port", str(self._port_base + _WORKER_PORTS_OFFSET)),
            *("--max-worker-port", str(self._port_base + PORTS - 1)),
            *("--temp-dir", str(temp_folder)),
            *("--num-cpus", str(self._cpus), "--num-gpus", str(sum(self._gpus.values()))),
            *("--resources", json.dumps(resources)),
            *("--memory", str(self._memory_bytes), "--object-store-memory", str(OBJECT_STORE_BYTES)),
        ]

    def _await_ready(self, deadline: float) -> None:
        while (status := self._answer(self._token())) != http.HTTPStatus.OK:
            if self._leader() is None:
                raise self._start_failed("ended while it started")
            if time.monotonic() > deadline:
                raise self._start_failed(f"did not answer in time (last answer: {status or 'none'})")
            time.sleep(0.2)
        if self._answer("") != http.HTTPStatus.UNAUTHORIZED:
            raise errors.FailedPrecondition(
                f"Ray cluster {self.name} at {self.address} answers without its token",
                reason="RAY_OPEN",
                help="An open Jobs API runs anybody's code; it was ended. Use a Ray version that knows RAY_AUTH_MODE=token.",
            )

    def _start_failed(self, what: str) -> errors.Unavailable:
        log = (self.folder / "ray.log").read_text(errors="replace").strip().splitlines()[-8:]
        return errors.Unavailable(
            f"Ray cluster {self.name} {what}: " + " | ".join(log),
            reason="RAY_START_FAILED",
            help=f"Its full log is {self.folder / 'ray.log'}.",
        )

    def _answer(self, token: str) -> int:
        """HTTP status of the Jobs API, 0 when nothing answers."""
        connection = http.client.HTTPConnection(self.address_ip, self._dashboard_port, timeout=5)
        try:
            connection.request("GET", "/api/jobs/", headers={"Authorization": f"Bearer {token}"} if token else {})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


def _environment(pid: int) -> tuple[bytes, ...]:
    """Environment that a process was started with; empty when it is gone or somebody else's."""
    try:
        return tuple(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return ()
