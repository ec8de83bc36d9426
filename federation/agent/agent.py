"""A site's agent: registers with the catalog, takes the site's work from it, and serves the site's gateway.

It calls the catalog and is never called by it. What it must remember is in its journal; `run` after a crash goes on from there.
"""

from __future__ import annotations

import logging
import resource
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import grpc

from federation import config, ports
from federation.agent import (
    capacity,
    check,
    door,
    fetching,
    gateway,
    ingest,
    journal,
    locks,
    logs,
    metering,
    pacing,
    packages,
    remote,
    runs,
    spool,
    transfers,
    versions,
    witness,
    writes,
)
from federation.agent import catalog as agent_catalog
from federation.agent.identity import Identity
from federation.core import errors, job, transfer
from federation.wire import tls

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Between two looks for what people have left behind.
SWEEP_SECONDS = 600.0
RECONNECT_SECONDS_MAX = 5.0
_STOP_SECONDS = 3.0
#: A cluster that answers within this time is part of the first registration.
_FIRST_LOOK_SECONDS = 5.0


class Agent:
    """One site's agent.

    `sources` gives for each prefix that ingests may read from what reads there; `compute` is None for a site that only stores.
    """

    def __init__(
        self,
        settings: config.AgentSettings,
        *,
        store: ports.ObjectStore,
        sources: Mapping[str, ports.SourceReader],
        keys: ports.KeyConnector,
        compute: ports.Compute | None,
        clock: ports.Clock,
        ids: ports.Ids,
        pace: runs.Pace | None = None,
        terms: fetching.Terms | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._compute = compute
        self._clock = clock
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._identity = Identity.of(keys)
        self._tls = _credentials(settings.tls)
        self._book = journal.Journal(settings.state_dir / "agent.db")
        self._catalog = agent_catalog.Catalog(settings.catalog, self._tls)
        self._witness = witness.Witness(
            settings.state_dir / "witness.jsonl",
            site=settings.site,
            identity=self._identity,
            catalog=self._catalog,
            now=clock.now,
        )
        self._lease = door.Lease(clock)
        self._opener = versions.Versions(store, keys, self._catalog)
        self._log = logs.Logs(settings.state_dir / "logs", bytes_max=settings.log_bytes_max)
        self._remotes = remote.Remotes(self._identity, self._tls.ca, clock=clock)
        self._meter = metering.Meter(
            self._book,
            site=settings.site,
            quantum_bytes=settings.quantum_bytes,
            settle=self._catalog.settle_grants,
            now=clock.now,
        )
        self._writer = writes.Writes(
            site=settings.site,
            store=store,
            keys=keys,
            identity=self._identity,
            book=self._book,
            catalog=self._catalog,
            opener=self._opener,
            clock=clock,
            ids_=ids,
        )
        self._checker = check.Checker(store=store, keys=keys, catalog=self._catalog, book=self._book, opener=self._opener)
        self._runs = self._make_runs(sources, ids, pace or runs.Pace())
        self._transfers = self._make_transfers(keys, terms or fetching.Terms())
        self._capacity = capacity.CapacityWatch(compute, self._runs.reserved, look_seconds=settings.look_seconds)
        self._gateway: gateway.Gateway | None = None
        self._server: grpc.Server | None = None
        self._work: agent_catalog.WorkStream | None = None
        self._registration: agent_catalog.Registration | None = None
        #: host:port of the gateway, once it listens.
        self.address = ""

    def __repr__(self) -> str:
        return f"<Agent {self._settings.site} gateway={self.address or 'not listening'}>"

    def run(self) -> None:
        """Starts and serves until `stop` is called."""
        try:
            self.start()
        except errors.Cancelled:
            if not self._closing.is_set():
                raise
        self._closing.wait()

    def start(self) -> None:
        """Probes the store, registers, cleans up, opens the gateway and goes on with what was begun. Waits for the catalog."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold DEKs
        self._store.probe()
        self._thread("capacity", lambda: self._capacity.refresh(self._closing))
        self._capacity.wait(_FIRST_LOOK_SECONDS)
        # The address is part of the registration, so the port is taken first; it answers nobody before the grant key is known.
        self._server, port = gateway.listen(self._settings.gateway_listen, self._tls)
        self.address = self._settings.gateway or f"{self._settings.gateway_listen.rpartition(':')[0]}:{port}"
        self._registration = registration = self._until_answered(self._register)
        self._until_answered(self._heartbeat)
        self._open_gateway(registration)
        self._until_answered(self._writer.sweep)
        self._runs.start(self.address)
        self._transfers.start()
        for name, loop in (
            ("heartbeat", self._beat),
            ("work", self._take_work),
            ("sweep", self._sweep),
            ("witness", self._look),
        ):
            self._thread(name, loop)
        _log.info("%r serves", self)

    def stop(self) -> None:
        """Ends what it serves in good order; runs go on on their cluster and are found again at the next start."""
        self._closing.set()
        if self._work is not None:
            self._work.cancel()
        if self._gateway is not None:
            self._gateway.stop()
        if self._server is not None:
            self._server.stop(grace=_STOP_SECONDS).wait()
        self._runs.stop()
        self._transfers.stop()
        self._catalog.close()
        for thread in self._threads:
            thread.join(timeout=10)
        self._remotes.close()
        self._meter.fold()
        self._book.close()

    def _make_runs(self, sources: Mapping[str, ports.SourceReader], ids: ports.Ids, pace: runs.Pace) -> runs.Runs:
        settings = self._settings
        return runs.Runs(
            runs.Parts(
                site=settings.site,
                clock=self._clock,
                identity=self._identity,
                book=self._book,
                catalog=self._catalog,
                compute=self._compute,
                packages=packages.Packages(settings.state_dir / "packages", self._catalog.package),
                meter=self._meter,
                remotes=self._remotes,
                writer=self._writer,
                ingester=ingest.Ingester(
                    sources=sources, writer=self._writer, clock=self._clock, ids_=ids, log=self._log.append
                ),
                ca=self._tls.ca,
                log_bytes_max=settings.log_bytes_max,
                pace=pace,
            )
        )

    def _make_transfers(self, keys: ports.KeyConnector, terms: fetching.Terms) -> transfers.Transfers:
        folder = self._settings.state_dir / "transfers"
        return transfers.Transfers(
            transfers.Parts(
                clock=self._clock,
                keys=keys,
                catalog=self._catalog,
                opener=self._opener,
                fetch=fetching.Parts(
                    store=self._store,
                    book=self._book,
                    remotes=self._remotes,
                    spool=spool.Spool(folder, bytes_max=terms.spool_bytes_max, least=terms.spool_least_bytes),
                    locks=locks.NamedLocks(),
                    rate=pacing.Rate(self._settings.transfer_bytes_per_second, time.monotonic),
                    terms=terms,
                ),
            )
        )

    def _open_gateway(self, registration: agent_catalog.Registration) -> None:
        settings = self._settings
        entrance = door.Door(
            site=settings.site, grant_key=registration.grant_key, book=self._book, lease=self._lease, clock=self._clock
        )
        self._gateway = gateway.Gateway(
            gateway.Parts(
                site=settings.site,
                clock=self._clock,
                identity=self._identity,
                book=self._book,
                entrance=entrance,
                opener=self._opener,
                meter=self._meter,
                remotes=self._remotes,
                writer=self._writer,
                runner=self._runs,
                log=self._log,
                checker=self._checker,
                witness=self._witness,
            )
        )
        assert self._server is not None
        self._gateway.serve(self._server)

    def _register(self) -> agent_catalog.Registration:
        totals, compute_error = self._capacity.look()
        return self._catalog.register(
            gateway=self.address,
            signing_key=self._identity.signing_public,
            sealing_key=self._identity.sealing_public.hex(),
            has_compute=self._compute is not None,
            capacity=totals,
            compute_error=compute_error,
        )

    def _until_answered(self, call: Callable[[], T]) -> T:
        """The answer, however long the catalog is away; Cancelled when this agent is stopped meanwhile."""
        failures = 0
        while True:
            try:
                return call()
            except (errors.Unavailable, errors.DeadlineExceeded) as error:
                failures += 1
                _log.warning("%s waits for the catalog: %s", self._settings.site, error)
                if self._closing.wait(agent_catalog.backoff(failures, seconds_max=RECONNECT_SECONDS_MAX)):
                    raise errors.Cancelled("the agent was stopped before the catalog answered") from error

    # Loops

    def _thread(self, name: str, loop: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._keep_on, args=(loop,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _keep_on(self, loop: Callable[[], None]) -> None:
        while not self._closing.is_set():
            try:
                loop()
            except Exception:  # noqa: BLE001 - logged, and a site must not fall silent with a thread
                _log.exception("%r: a loop broke off", self)
                self._closing.wait(RECONNECT_SECONDS_MAX)
            else:
                return

    def _beat(self) -> None:
        assert self._registration is not None
        seconds = self._registration.heartbeat_seconds
        while not self._closing.wait(seconds):
            try:
                self._heartbeat()
            except errors.FederationError as error:
                _log.warning("no heartbeat: %s", error)

    def _heartbeat(self) -> None:
        registration = self._registration
        assert registration is not None
        self._meter.fold()
        totals, compute_error = self._capacity.look()
        asked = self._clock.now()
        answer = self._catalog.heartbeat(
            capacity=totals, compute_error=compute_error, runs=self._runs.names(), open_grants=self._meter.open_grants()
        )
        self._lease.renew(asked, registration.lease_seconds)
        for run in answer.superseded_runs:
            self._runs.supersede(run)
        try:
            self._meter.settle_all(answer.closed_grants)
        except errors.FederationError as error:  # they are named again in the next heartbeat
            _log.warning("%d grants are not settled yet: %s", len(answer.closed_grants), error)

    def _take_work(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                self._work = self._catalog.work()
                for instruction in self._work:
                    failures = 0
                    self._follow(instruction)
            except errors.FederationError as error:
                if not self._closing.is_set():
                    _log.warning("the stream of work broke off: %s", error)
            failures += 1
            self._closing.wait(agent_catalog.backoff(failures, seconds_max=RECONNECT_SECONDS_MAX))

    def _follow(self, instruction: agent_catalog.Instruction) -> None:
        """Does as told. What fails breaks the stream off, for the next one begins with all that is due."""
        match instruction:
            case job.StartRun():
                self._runs.take(instruction)
            case job.StopRun():
                self._runs.ask_stop(instruction)
            case transfer.StartTransfer():
                self._transfers.take(instruction)
            case transfer.StopTransfer():
                self._transfers.ask_stop(instruction)
            case transfer.DropReplica():
                self._transfers.drop(instruction)

    def _look(self) -> None:
        assert self._registration is not None
        while True:
            try:
                self._witness.look(self._registration.grant_key)
            except errors.FederationError as error:
                _log.warning("the record's heads are not witnessed now: %s", error)
            if self._closing.wait(witness.LOOK_SECONDS):
                return

    def _sweep(self) -> None:
        while not self._closing.wait(SWEEP_SECONDS):
            try:
                self._writer.sweep()
                self._transfers.sweep()
            except errors.FederationError as error:
                _log.warning("what was left behind is removed later: %s", error)


def _credentials(files: config.TlsFiles) -> tls.Tls:
    return tls.Tls(ca=files.ca.read_bytes(), cert=files.cert.read_bytes(), key=files.key.read_bytes())
