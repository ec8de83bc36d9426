"""A whole federation on one machine, under one state folder: `up` starts what is missing, `status` tells, `down` ends it all.

Everything runs in a session of its own and outlives the `fed` that started it. Nothing is remembered but pid files; what is
true is asked of the machine each time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from federation import config, ports
from federation.adapters import registry
from federation.client import Client
from federation.core import errors, site
from federation.local import pki
from federation.local.process import Process
from federation.local.ray_cluster import RayCluster

T = TypeVar("T")

#: Told what happened to a part: its name and a word (`starting`, `ready`, `was running`, `ended`).
Tell = Callable[[str, str], None]

READY_SECONDS = 180.0
_POLL_SECONDS = 0.25
_LOCK_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class PartState:
    """One part as it is now. `state` is RUNNING or DEAD."""

    part: str
    state: str
    pid: int
    address: str
    log: str


class Part(Protocol):
    """A process, or a Ray cluster, of this federation."""

    name: str
    address: str
    log: Path

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def pid(self) -> int | None: ...


class RayPart:
    """A site's Ray cluster as a part. What it was started with is kept beside it, so that it can be ended without the file."""

    def __init__(self, name: str, folder: Path, settings: config.RaySettings) -> None:
        self.name = f"ray {name}"
        self.log = folder / "ray.log"
        self._record = folder / "cluster.json"
        self._settings = settings
        self._cluster = RayCluster(
            name=name,
            folder=folder,
            address_ip=settings.address_ip,
            port_base=settings.port_base,
            environ=config.environment(),
            cpus=settings.cpus,
            gpus=dict(settings.gpus),
            memory_bytes=settings.memory_bytes,
            dashboard_port=config.RAY_DASHBOARD_PORT,
        )
        self.address = self._cluster.address

    @classmethod
    def recorded(cls, folder: Path) -> tuple[RayPart, ...]:
        """All clusters that have a record below the folder, alive or dead."""
        found = []
        for file in sorted(folder.glob("*/cluster.json")):
            data = json.loads(file.read_text())
            settings = config.RaySettings(**{**data, "gpus": tuple((kind, count) for kind, count in data["gpus"])})
            found.append(cls(file.parent.name, file.parent, settings))
        return tuple(found)

    def start(self) -> None:
        """Starts the cluster unless it runs."""
        if not self._cluster.running():
            for port in (config.RAY_DASHBOARD_PORT, self._settings.port_base):
                require_free(self.name, f"{self._settings.address_ip}:{port}", own=bool(self._cluster.processes()))
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._record.write_text(json.dumps(asdict(self._settings)))
        self._cluster.start()

    def stop(self) -> None:
        """Ends the cluster and everything in it."""
        self._cluster.stop()
        self._record.unlink(missing_ok=True)

    def pid(self) -> int | None:
        """Pid of a process of the cluster while it answers."""
        processes = self._cluster.processes()
        return min(processes) if processes and self._cluster.running() else None


class Federation:
    """The local federation of one file under one state folder."""

    def __init__(self, file: config.FederationFile, state_dir: Path) -> None:
        self.file = file
        self.layout = config.Layout(root=state_dir.expanduser().absolute())

    def up(self, tell: Tell, *, ready_seconds: float = READY_SECONDS) -> config.Context:
        """Starts what is missing, waits until every site is READY, and writes the context with which `fed` talks to it.

        FailedPrecondition (PORT_TAKEN) names the port and the part, Unavailable (START_FAILED) the part that ended and its last
        words.
        """
        self.layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.layout):
            pki.ensure(self.layout, tuple(row.site for row in self.file.sites), trust_domain=self.file.trust_domain)
            chains = self._chains()
            parts = tuple(part for chain in chains for part in chain)
            self._end_strangers({part.name for part in parts}, tell)
            _end_outdated(parts, tell)
            _start_all(chains, tell, also={"server": self.file.agents_listen})
            self._await_ready(parts, tell, time.monotonic() + ready_seconds)
        context = config.Context(
            context=self.file.federation, target=self.file.address, ca=self.layout.ca, token=self.layout.admin_token
        )
        config.save_context(context)
        return context

    def client(self) -> Client:
        """A client with the administrator's token."""
        return client(self.layout, self.file.address)

    def _chains(self) -> tuple[tuple[Part, ...], ...]:
        """What is started beside each other, and in each chain one after the other.

        An agent comes after its cluster, which it would otherwise find down and look at again only a while later.
        """
        return ((self._process("server", self.file.listen, "server"),), *(self._site(row) for row in self.file.sites))

    def _site(self, row: config.SiteSettings) -> tuple[Part, ...]:
        agent = self._process(f"agent {row.site}", row.gateway_listen, "agent", "--site", row.site)
        return (RayPart(row.site, self.layout.ray(row.site), row.ray), agent) if row.ray else (agent,)

    def _process(self, name: str, address: str, *command: str) -> Process:
        return Process(
            name=name,
            folder=self.layout.run,
            log=self.layout.logs / f"{name.replace(' ', '-')}.log",
            command=(
                *(sys.executable, "-m", "federation", *command),
                *("--config", str(self.file.path), "--state", str(self.layout.root)),
            ),
            address=address,
            settings=hashlib.sha256(self.file.path.read_bytes()).hexdigest(),
        )

    def _end_strangers(self, wanted: set[str], tell: Tell) -> None:
        """Ends parts of this state folder that the file does not declare any more."""
        for part in recorded(self.layout):
            if part.name not in wanted:
                part.stop()
                tell(part.name, "ended: the file does not declare it any more")

    def _await_ready(self, parts: tuple[Part, ...], tell: Tell, deadline: float) -> None:
        processes = [part for part in parts if isinstance(part, Process)]
        waiting = {"server", *(f"agent {row.site}" for row in self.file.sites)}
        while waiting:
            for part in processes:
                if part.pid() is None:
                    raise _ended(part)
            for name in sorted(waiting & self._ready()):
                tell(name, "ready")
                waiting.discard(name)
            if waiting and time.monotonic() > deadline:
                raise errors.DeadlineExceeded(
                    f"not ready in time: {', '.join(sorted(waiting))}",
                    reason="START_FAILED",
                    help=f"Look into {self.layout.logs}; what runs goes on, and `fed up` may be called again.",
                )
            time.sleep(_POLL_SECONDS)

    def _ready(self) -> set[str]:
        """Names of the parts that do their work: the server answers, a site is READY and its cluster answers its agent.

        A site whose agent has just died is READY until its lease is over, so its gateway must listen as well.
        """
        if not self.layout.admin_token.exists():
            return set()
        with contextlib.closing(self.client()) as asked:
            try:
                rows = list(asked.list_sites())
            except (errors.Unavailable, errors.DeadlineExceeded):
                return set()
        ray = {row.site for row in self.file.sites if row.ray}
        listening = {row.site for row in self.file.sites if _listens(row.gateway_listen)}
        return {"server"} | {
            f"agent {row.site}"
            for row in rows
            if row.state is site.SiteState.READY
            and row.site in listening
            and (row.site not in ray or (row.capacity.cpus and not row.compute_error))
        }


def down(layout: config.Layout, tell: Tell) -> None:
    """Ends everything of this state folder and verifies that nothing is left. Ending nothing is fine."""
    if not layout.root.exists():
        return
    with locked(layout):
        parts = recorded(layout)
        agents = [part for part in parts if part.name.startswith("agent ")]
        _in_parallel(agents, lambda part: _stop(part, tell))
        _in_parallel([part for part in parts if part not in agents], lambda part: _stop(part, tell))
        _end_jobs(layout, tell)


def status(layout: config.Layout) -> tuple[PartState, ...]:
    """All parts that were started under this state folder and not ended by `down`."""
    rows = []
    for part in recorded(layout):
        pid = part.pid()
        state = "DEAD" if pid is None else "RUNNING"
        rows.append(PartState(part=part.name, state=state, pid=pid or 0, address=part.address, log=str(part.log)))
    return tuple(rows)


def site_states(layout: config.Layout) -> tuple[site.Site, ...]:
    """The sites as the server under this state folder knows them; Unavailable when it does not answer."""
    address = next((part.address for part in recorded(layout) if part.name == "server"), "")
    if not address or not layout.admin_token.exists():
        raise errors.Unavailable(f"no server runs under {layout.root}", reason="SERVER_DOWN", help="Start it: fed up")
    with contextlib.closing(client(layout, address)) as asked:
        return tuple(asked.list_sites())


def client(layout: config.Layout, address: str) -> Client:
    """A client of the server under this state folder, with the administrator's token."""
    return Client(address, config.read_secret(layout.admin_token, "token file").strip(), layout.ca.read_bytes())


def recorded(layout: config.Layout) -> tuple[Part, ...]:
    """Every part that left a record under this state folder, alive or dead."""
    return (*Process.recorded(layout.run), *RayPart.recorded(layout.root / "ray"))


@contextlib.contextmanager
def locked(layout: config.Layout, *, wait_seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """One `fed up` or `fed down` at a time; Unavailable (STATE_LOCKED) when another takes too long."""
    deadline = time.monotonic() + wait_seconds
    with layout.lock.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise errors.Unavailable(
                        f"another `fed up` or `fed down` is at work in {layout.root}",
                        reason="STATE_LOCKED",
                        help="Wait until it has ended.",
                    ) from None
                time.sleep(_POLL_SECONDS)
        yield


def require_free(name: str, address: str, *, own: bool = False) -> None:
    """FailedPrecondition (PORT_TAKEN) when somebody else listens on a part's address."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            if own:
                return
            raise errors.FailedPrecondition(
                f"{name} cannot listen on {address}: {error.strerror}",
                reason="PORT_TAKEN",
                help="End what listens there, or give this part another port in the federation file.",
                metadata={"address": address, "part": name},
            ) from None


def _end_outdated(parts: tuple[Part, ...], tell: Tell) -> None:
    """Ends the processes that run with an older text of the federation file: they are started again with the new one.

    Their work survives it. A Ray cluster goes on as it is until `down`: ending it would end its jobs.
    """
    outdated = [part for part in parts if isinstance(part, Process) and part.is_outdated()]
    for part in outdated:
        tell(part.name, "is started again: the federation file has changed")
    _in_parallel(outdated, lambda part: part.stop())


def _start_all(chains: tuple[tuple[Part, ...], ...], tell: Tell, also: Mapping[str, str]) -> None:
    """Starts what does not run, the chains beside each other: an agent waits for its server by itself.

    `also` gives a part's further address.
    """
    parts = tuple(part for chain in chains for part in chain)
    running = {part.name for part in parts if part.pid() is not None}
    for part in parts:
        if part.name not in running and isinstance(part, Process):
            part.stop()  # what a killed one left in its session would hold its port
            require_free(part.name, part.address)
            if part.name in also:
                require_free(part.name, also[part.name])

    def start(chain: tuple[Part, ...]) -> None:
        for part in chain:
            _start(part, tell, was_running=part.name in running)

    _in_parallel(chains, start)


def _start(part: Part, tell: Tell, *, was_running: bool) -> None:
    if was_running:
        tell(part.name, "was running")
        return
    tell(part.name, "starting")
    part.start()
    if isinstance(part, RayPart):
        tell(part.name, "ready")


def _stop(part: Part, tell: Tell) -> None:
    tell(part.name, "ending")
    part.stop()
    tell(part.name, "ended")


def _listens(address: str) -> bool:
    """Whether somebody accepts connections there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _end_jobs(layout: config.Layout, tell: Tell) -> None:
    """Ends the jobs of sites whose compute is plain processes; those of a Ray cluster have ended with it."""
    for folder in sorted(layout.root.glob("sites/*/jobs")):
        compute: ports.Compute = registry.load("compute", "process")(folder)
        waiting = {row.name for row in folder.iterdir() if _lives(compute, row.name)}
        for name in waiting:
            tell(f"job {name}", "ending")
            compute.stop(name)
        while waiting:
            waiting = {name for name in waiting if _lives(compute, name)}
            time.sleep(_POLL_SECONDS if waiting else 0)


def _lives(compute: ports.Compute, name: str) -> bool:
    return compute.state(name).state in ("PENDING", "RUNNING")


def _in_parallel(items: Sequence[T], work: Callable[[T], None]) -> None:
    """Does it to all, and lets each come to its end before the first trouble is told."""
    if not items:
        return
    with ThreadPoolExecutor(max_workers=len(items)) as pool:
        futures = [pool.submit(work, item) for item in items]
    for future in futures:
        future.result()


def _ended(part: Process) -> errors.Unavailable:
    words = " | ".join(part.last_lines()) or "it said nothing"
    return errors.Unavailable(
        f"{part.name} ended while it started: {words}",
        reason="START_FAILED",
        help=f"Its full log is {part.log}.",
        metadata={"part": part.name},
    )
