"""A real federation on this machine for end-to-end tests: real processes, ports of their own, ended whatever happens.

Sites run jobs as plain processes (`compute: {kind: process}`) unless a test asks for the shared pair of Ray clusters.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from click.testing import CliRunner, Result

from federation import config
from federation.cli import app
from federation.client import Client
from federation.core import dataset, errors, job, metering
from federation.local import procfs, supervisor
from tests import tcp

T = TypeVar("T")

FED = (sys.executable, "-m", "federation")

OFFER = {
    "cpu_hour_usd": "0.04",
    "cpu_source": "test",
    "gpus": [{"type": "A10G", "hour_usd": "1.006", "source": "test"}],
    "storage_gb_month_usd": "0.023",
    "storage_source": "test",
}


class Metered(NamedTuple):
    """What left a site under one grant, as its own meter counted it."""

    counted_bytes: int
    unsettled_bytes: int
    requests: int


@dataclass(kw_only=True)
class LocalFederation:
    """One federation under one folder. `compute` gives each site's compute, as in a federation file; None for none."""

    folder: Path
    compute: Mapping[str, dict[str, Any] | None] = field(
        default_factory=lambda: {"eu-1": {"compute": {"kind": "process"}}, "us-1": {"compute": {"kind": "process"}}}
    )
    sources: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    site_settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    REGIONS = {  # noqa: RUF012
        "eu-1": ("aws:eu-central-1", "EU"),
        "eu-2": ("aws:eu-central-1", "EU"),
        "us-1": ("aws:us-east-1", "US"),
        "ewr-1": ("vultr:ewr", "US"),
    }

    def __post_init__(self) -> None:
        people, agents, *gateways = tcp.free_ports(2 + len(self.compute))
        self.target = f"127.0.0.1:{people}"
        self.file = self.folder / "federation.yaml"
        self.state = self.folder / "state"
        self.folder.mkdir(parents=True, exist_ok=True)
        listening = {"listen": self.target, "agents_listen": f"127.0.0.1:{agents}"}
        # No lease runs out because the machine is busy.
        server = {**listening, "lease_seconds": "30", "heartbeat_seconds": "1", **self.settings}
        sites = [self._site(name, port) for name, port in zip(self.compute, gateways, strict=True)]
        self.file.write_text(yaml.safe_dump({"federation": "test", "server": server, "sites": sites}))

    def _site(self, name: str, port: int) -> dict[str, Any]:
        region, jurisdiction = self.REGIONS[name]
        row: dict[str, Any] = {
            "site": name,
            "region": region,
            "jurisdiction": jurisdiction,
            "gateway": f"127.0.0.1:{port}",
            "storage": {"kind": "local"},
            "offer": OFFER,
            "sources": [{"prefix": prefix, "kind": "file"} for prefix in self.sources],
        }
        return {**row, **(self.compute[name] or {}), **self.site_settings.get(name, {})}

    @property
    def contexts(self) -> Path:
        return self.folder / "contexts.yaml"

    @property
    def layout(self) -> config.Layout:
        return config.Layout(root=self.state)

    def environment(self, **extra: str) -> dict[str, str]:
        """What `fed` is run with: its own contexts, nothing of the person who runs the tests."""
        return {**os.environ, "FED_CONFIG": str(self.contexts), "NO_COLOR": "1", **extra}

    def fed(self, *words: str, check: bool = True) -> Result:
        """Runs one `fed` command as a person would, without an interpreter of its own, which takes longer than most of them."""
        with environment_with(FED_CONFIG=str(self.contexts), NO_COLOR="1"), contextlib.chdir(self.folder):
            done = CliRunner().invoke(app.fed, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        if check and done.exit_code:
            raise AssertionError(f"fed {' '.join(words)} gave {done.exit_code}\n{done.output}\n{self.logs()}")
        return done

    def json(self, *words: str) -> Any:
        """The JSON that one command prints."""
        return json.loads(self.fed(*words[:2], "-o", "json", *words[2:]).stdout)

    def up(self, **env: str) -> None:
        """Starts what does not run, as `fed up` does, without another interpreter for it."""
        with environment_with(FED_CONFIG=str(self.contexts), **env):
            made = supervisor.Federation(config.federation_file(self.file), self.state)
            try:
                made.up(_quiet)
            except errors.FederationError as error:
                raise AssertionError(f"{error}\n{self.logs()}") from error

    def down(self) -> None:
        """Ends everything, as `fed down` does."""
        supervisor.down(self.layout, _quiet)

    def kill(self, *parts: str) -> None:
        """kill -9 of `server`, `agent eu-1` and so on, until they are dead; the jobs that an agent started live on."""
        pids = [row.pid for row in supervisor.status(self.layout) if row.part in parts and row.pid]
        for pid in pids:
            procfs.send(pid, signal.SIGKILL)
        until(lambda: all(map(procfs.is_over, pids)), 30, "their end")

    def arm(self, part: str, point: str, died: Path) -> None:
        """Starts one part again, so that it dies at the named point once it gets there; `died` tells that it has."""
        self.kill(part)
        self.up(FED_FAILPOINT=point, FED_FAILPOINT_ONCE=str(died))

    def client(self) -> Client:
        """The administrator's client."""
        return supervisor.client(self.layout, self.target)

    def put(
        self, name: str, files: Mapping[str, bytes], *, site: str = "eu-1", residency: tuple[str, ...] = ()
    ) -> dataset.Version:
        """Puts a dataset of these files at a site."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder, contextlib.closing(self.client()) as client:
            for path, data in files.items():
                (target := Path(folder, path)).parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            return client.put(name, Path(folder), site=site, residency=residency)

    def findings(self) -> list[tuple[str, str]]:
        """What `fed fsck` would find at all sites: finding and object."""
        with contextlib.closing(self.client()) as client:
            return [(row["finding"], row["object"]) for site in self.compute for row in client.check(site, read_objects=True)]

    def submit(
        self,
        script: str,
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        sites: tuple[str, ...] = (),
        arguments: tuple[str, ...] = (),
        **request: Any,
    ) -> job.Job:
        """Submits a Python text as a job, with its inputs and outputs as alias and dataset."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder, contextlib.closing(self.client()) as client:
            (Path(folder) / "job.py").write_text(script)
            return client.submit(
                job.JobRequest(
                    inputs=tuple(job.InputSpec(alias=alias, dataset=name) for alias, name in (inputs or {}).items()),
                    outputs=tuple(job.OutputSpec(alias=alias, dataset=name) for alias, name in (outputs or {}).items()),
                    sites=sites,
                    entrypoint=("python", "job.py", *arguments),
                    **request,
                ),
                working_dir=Path(folder),
            )

    def job_log(self, name: str) -> str:
        """What a job has printed so far."""
        with contextlib.closing(self.client()) as client:
            return b"".join(client.logs(name)).decode(errors="replace")

    def succeed(self, name: str, seconds: float = 120) -> job.Job:
        """The job once it has succeeded; AssertionError with what it printed if it ended otherwise."""
        ended = self.wait_job(name, seconds)
        assert ended.state is job.JobState.SUCCEEDED, (ended.reason, ended.detail, self.job_log(name), self.logs())
        return ended

    def settled(self, name: str, entries: int = 1, seconds: float = 30) -> list[metering.LedgerEntry]:
        """The ledger entries of a job, once there are so many."""
        with contextlib.closing(self.client()) as client:

            def found() -> list[metering.LedgerEntry]:
                rows = list(client.list_ledger_entries(filter=f'job = "{name}"'))
                return rows if len(rows) >= entries else []

            return until(found, seconds, f"{entries} ledger entries of {name}")

    def metered(self, site: str) -> dict[str, Metered]:
        """What a site's meter has written down, by grant, read from its agent's journal."""
        columns = "grant_id, counted_bytes, unsettled_bytes, requests"
        with contextlib.closing(sqlite3.connect(f"file:{self.layout.site(site)}/agent.db?mode=ro", uri=True)) as journal:
            return {grant: Metered(*counts) for grant, *counts in journal.execute(f"SELECT {columns} FROM grants")}

    def wait_job(self, name: str, seconds: float = 120) -> job.Job:
        """The job once it has ended."""
        with contextlib.closing(self.client()) as client:
            return until(lambda: (found := client.get_job(name)).state.terminal and found, seconds, f"{name} to end")

    def logs(self) -> str:
        """The last lines of every log, for a failed assertion."""
        files = sorted(self.layout.logs.glob("*.log")) if self.layout.logs.exists() else []
        return "\n".join(f"== {file.name}\n" + "\n".join(file.read_text(errors="replace").splitlines()[-25:]) for file in files)


@contextlib.contextmanager
def environment_with(**changed: str) -> Iterator[None]:
    """Variables of this process, as they are for whatever it starts inside the block."""
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _quiet(name: str, state: str) -> None:
    """Tells nobody."""


@contextlib.contextmanager
def running(federation: LocalFederation, **env: str) -> Iterator[LocalFederation]:
    """The federation, up; down again at the end, also of a test that fails."""
    try:
        federation.up(**env)
        yield federation
    finally:
        federation.down()


def until(ask: Callable[[], T], seconds: float, what: str) -> T:
    """The first true answer; AssertionError when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.1)
    return answer
