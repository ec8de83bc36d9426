"""Two sites with real agents beside a real server, on loopback over TLS, in this process; jobs are real processes."""

from __future__ import annotations

import base64
import dataclasses
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.compute.process import ProcessCompute
from connectors.keys.local import LocalKeys
from connectors.storage.local import LocalSource, LocalStore
from federation import config, ports
from federation.adapters import prices
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import SystemClock, UlidIds
from federation.agent import fetching, journal, runs
from federation.agent.agent import Agent, Connectors
from federation.client import Client
from federation.core import dataset, job
from federation.core import site as sites_core
from federation.core.policy import Role
from federation.crypto import signing
from federation.services import identity, sites
from federation.services.context import Context
from federation.wire import data
from federation.wire.gateway import GatewayClient
from tests import builders
from tests.agent.compute import MemoryCompute
from tests.wire import certs as certificates
from tests.wire.edge import Edge, serve

PLACES = {"eu-1": ("aws:eu-central-1", "EU"), "us-1": ("aws:us-east-1", "US")}
#: Fast enough for a test, slow enough for two cores.
PACE = runs.Pace(
    poll_seconds=0.1,
    wait_seconds_max=0.5,
    submit_tries=3,
    launcher_seconds=1.0,
    compute_lost_seconds=1.0,
    node_lost_seconds=1.0,
)
#: Beginnings of all objects are kept, so that a test need not be large; a source that is away is not waited for long.
TERMS = fetching.Terms(lanes=3, patience_seconds=1.5, tell_seconds=0.1, spool_least_bytes=1)
GIB = 1 << 30


@dataclass(kw_only=True)
class Place:
    """One site: its settings, what it is made of, and its agent while it runs."""

    settings: config.AgentSettings
    store: ports.ObjectStore
    compute: ports.Compute | None
    root: Path
    sources: dict[str, ports.SourceReader]
    pace: runs.Pace = PACE
    terms: fetching.Terms = TERMS
    agent: Agent | None = None

    @property
    def name(self) -> str:
        return self.settings.site

    def make(self) -> Agent:
        """An agent of this site that is not started, as a new process would make it."""
        keys = LocalKeys(self.name, self.settings.keys.folder)
        connectors = Connectors(store=self.store, sources=self.sources, keys=keys, compute=self.compute)
        return Agent(self.settings, connectors, clock=SystemClock(), ids=UlidIds(), pace=self.pace, terms=self.terms)

    def start(self) -> Agent:
        """Starts its agent; after the first time at the same address."""
        assert self.agent is None
        self.agent = self.make()
        self.agent.start()
        self.settings = dataclasses.replace(self.settings, gateway_listen=self.agent.address)
        return self.agent

    def stop(self) -> None:
        """Stops its agent, if it runs."""
        if self.agent is not None:
            self.agent.stop()
            self.agent = None

    def restart(self) -> Agent:
        """Stops its agent and starts another."""
        self.stop()
        return self.start()

    @property
    def book(self) -> journal.Journal:
        """The journal of the running agent, to look at."""
        assert self.agent is not None
        return self.agent._book

    def objects(self, prefix: str = "") -> list[str]:
        """The keys in its store."""
        return [info.key for info in self.store.list(prefix)]

    def file(self, key: str) -> Path:
        """The file in which an object lies."""
        return self.root / "store" / key


@dataclass(kw_only=True)
class Federation:
    """A server and two sites."""

    edge: Edge
    places: dict[str, Place] = field(default_factory=dict)
    clients: list[Client] = field(default_factory=list)

    @property
    def client(self) -> Client:
        """The SDK as an administrator."""
        if not self.clients:
            self.clients.append(self.edge.client())
        return self.clients[0]

    def gateway(self, access: Any) -> GatewayClient:
        """A person's client of a gateway, with the grant that the catalog gave."""
        return GatewayClient(access.gateway, self.edge.certs.ca, grant=access.grant)

    def put(self, name: str, folder: Path, site: str, **options: Any) -> dataset.Version:
        """Puts a folder as a version, as a person would."""
        return self.client.put(name, folder, site=site, **options)

    def submit(self, *command: str, **request: Any) -> job.Job:
        """Submits a job."""
        return self.client.submit(job.JobRequest(entrypoint=command, **request))

    def run(self, *command: str, **request: Any) -> job.Job:
        """Submits a job and waits for its end."""
        return self.client.wait(self.submit(*command, **request).job, timeout=60)

    def logs(self, ended: job.Job) -> str:
        """What a job printed."""
        return b"".join(self.client.logs(ended.job)).decode()

    def findings(self, *, read_objects: bool = True) -> list[tuple[str, str, str]]:
        """What is wrong at any site: (site, finding, object)."""
        return [
            (name, found["finding"], found["object"])
            for name, place in self.places.items()
            if place.agent is not None
            for found in self.client.check(name, read_objects)
        ]

    def stop(self) -> None:
        """Ends everything."""
        for place in self.places.values():
            place.stop()
        for client in self.clients:
            client.close()
        self.edge.stop()


@dataclass(kw_only=True)
class Launcher:
    """A run of which the test is the launcher: its site, its submission, and the gateway called with its token."""

    place: Place
    row: journal.RunRow
    submission: ports.Submission
    gateway: GatewayClient

    @property
    def audience(self) -> str:
        """For whom its keys are sealed."""
        return data.run_audience(self.row.run)

    def read(self, name: str) -> dict[str, bytes]:
        """The files of an input, whole."""
        opened = data.open_version(self.gateway, audience=self.audience, input=name)
        return {path: opened.open(path).read() for path in opened.entries}

    def write(self, name: str, **files: bytes) -> data.VersionWriter:
        """Writes files into an output."""
        writer = data.VersionWriter(self.gateway, audience=self.audience, output=name)
        for path, content in files.items():
            writer.put_file(path, io.BytesIO(content))
        return writer


def launch(federation: Federation, site: str, **request: Any) -> Launcher:
    """Submits a job to a site with memory compute and takes the launcher's place."""
    submitted = federation.submit("true", sites=(site,), **request)
    return launched(federation, site, f"jobs/{submitted.job}/runs/1")


def launched(federation: Federation, site: str, run: str) -> Launcher:
    """The launcher of a run, once it was submitted."""
    place = federation.places[site]
    compute = place.compute
    assert isinstance(compute, MemoryCompute)

    def running() -> journal.RunRow | None:
        row = place.book.run(run)
        return row if row is not None and row.state is not journal.RunState.TAKEN else None

    row = until(running)
    submission = compute.submissions[row.submission_id]
    ca = base64.b64decode(submission.env["FED_CA"])
    target = submission.env["FED_GATEWAY"]
    token = GatewayClient(target, ca).exchange_ticket(submission.env["FED_TICKET"], "nonce").token
    return Launcher(place=place, row=row, submission=submission, gateway=GatewayClient(target, ca, token=token))


def start(
    folder: Path,
    certs: certificates.Certs,
    compute: Callable[[Path], ports.Compute] = ProcessCompute,
    *,
    edge: Edge | None = None,
    pace: runs.Pace = PACE,
    **settings: Any,
) -> Federation:
    """A federation under a folder, whose sites have such compute; `pace` and `settings` are the agents'.

    With `edge` around a server of one's own.
    """
    federation = Federation(edge=edge or server(folder, certs))
    for name in PLACES:
        place = _place(
            folder / name,
            name,
            certs=certs,
            catalog=federation.edge.server.agents_address,
            compute=compute,
            settings=settings,
        )
        place.pace = pace
        federation.places[name] = place
        place.start()
    return federation


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Waits until something is so, and returns it; AssertionError when it does not come about."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{true} did not come about in {seconds} s")


def write_files(folder: Path, **files: bytes) -> Path:
    """A folder with these files; `a_csv` is `a.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


def server(
    folder: Path,
    certs: certificates.Certs,
    *,
    catalog: ports.Catalog | None = None,
    committer: Any = None,
    grant_key: bytes = b"",
    reader: ports.RecordReader | None = None,
) -> Edge:
    """A server for two sites, with an administrator; over a catalog in memory, which nobody carries, unless told otherwise."""
    clock, ids = SystemClock(), UlidIds()
    catalog = catalog or MemoryCatalog(clock, ids)
    ctx = Context(
        ids=ids,
        policies=builders.POLICIES,
        rates=prices.default_rate_card(),
        grant_key=grant_key or signing.new_private(),
        lease_seconds=6,
    )
    tokens = catalog.write(lambda tx: {"admin": identity.create_token(tx, ctx, "admin", Role.ADMIN, "EU")[1]})
    for name, (region, jurisdiction) in PLACES.items():
        declared = sites_core.Site(
            site=name,
            region=region,
            jurisdiction=jurisdiction,
            offer=builders.offer(),
            # More than the agent's own settings allow, which have the last word.
            sources=(f"file://{folder}/{name}", f"file://{folder}/{name}/incomingx", "file:///etc", "s3://bucket"),
        )
        if catalog.read(lambda tx, name=name: tx.get(sites_core.Site, name)) is None:  # type: ignore[misc]
            catalog.write(lambda tx, declared=declared: sites.create_site(tx, ctx, declared, joined=True))  # type: ignore[misc]
    settings = config.ServerSettings(
        state_dir=folder / "server",
        listen="127.0.0.1:0",
        agents_listen="127.0.0.1:0",
        database_url="",
        tables_url="",
        tls=certs.layout.server_tls(),
        heartbeat_seconds=1,
        rates=config.NO_RATES,
    )
    return serve(certs, catalog, ctx, settings, tokens, committer=committer, reader=reader)


def _place(
    root: Path,
    name: str,
    *,
    certs: certificates.Certs,
    catalog: str,
    compute: Callable[[Path], ports.Compute],
    settings: dict[str, Any],
) -> Place:
    incoming = root / "incoming"
    incoming.mkdir(parents=True)
    prefix = f"file://{incoming}"
    return Place(
        settings=config.AgentSettings(
            **{
                "site": name,
                "state_dir": root / "agent",
                "catalog": catalog,
                "gateway_listen": "127.0.0.1:0",
                "tls": certs.layout.agent_tls(name),
                "storage": config.StorageSettings(kind="local", url=str(root / "store")),
                "keys": config.KeysSettings(kind="local", folder=root / "keys"),
            }
            | settings
        ),
        store=LocalStore(root / "store"),
        compute=compute(root / "compute"),
        root=root,
        sources={prefix: LocalSource({"prefix": prefix})},
    )
