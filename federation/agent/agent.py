"""A site's agent: registers with the catalog, takes the site's work from it, and serves the site's gateway.

It calls the catalog and is never called by it. What it must remember is in its journal; `run` after a crash goes on from there.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import grpc

from federation import config, metrics, ports
from federation.agent import (
    admission,
    aggregates,
    capacity,
    certificate,
    check,
    custody,
    door,
    fetching,
    gateway,
    http,
    ingest,
    journal,
    leasing,
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
from federation.core import erasure, errors, job, keys, site, transfer
from federation.core.admission import UNASKED, Finding
from federation.wire import balancing, tls
from federation.wire.rates import Rates

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Between two looks for what people have left behind.
SWEEP_SECONDS = 600.0
RECONNECT_SECONDS_MAX = 5.0
#: Between two admission tests, and between two looks whether one is due before.
EXAMINE_SECONDS = 600.0
_EXAMINE_LOOK_SECONDS = 5.0
_RENEW_LOOK_SECONDS = 3600.0
_STOP_SECONDS = 3.0
#: A cluster that answers within this time is part of the first registration.
_FIRST_LOOK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Connectors:
    """What connects an agent with its site, as the site's settings name it.

    `sources` gives for each prefix that ingests may read from what reads there; `compute` is None for a site that only stores.
    """

    store: ports.ObjectStore
    sources: Mapping[str, ports.SourceReader]
    keys: ports.SiteKeys
    compute: ports.Compute | None


class Agent:
    """One site's agent."""

    def __init__(
        self,
        settings: config.AgentSettings,
        connectors: Connectors,
        *,
        clock: ports.Clock,
        ids: ports.Ids,
        pace: runs.Pace | None = None,
        terms: fetching.Terms | None = None,
    ) -> None:
        self._settings = settings
        self._store = store = connectors.store
        self._compute = connectors.compute
        self._clock = clock
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        keys = connectors.keys
        self._identity = Identity.of(keys)
        self._tls = tls.Files(settings.tls.ca, settings.tls.cert, settings.tls.key)
        self._book = journal.Journal(settings.state_dir / "agent.db")
        self._catalog = agent_catalog.Catalog(settings.catalog, self._tls)
        self._witness = self._make_witness()
        self._lease = door.Lease(clock)
        self._opener = versions.Versions(store, keys, self._catalog)
        self._leaser = leasing.Leasing(catalog=self._catalog, connector=keys, identity=self._identity, clock=clock)
        self._log = logs.Logs(settings.state_dir / "logs", bytes_max=settings.log_bytes_max)
        self._remotes = remote.Remotes(self._identity, self._tls, clock=clock)
        self._meter = self._make_meter()
        self._writer = self._make_writer(keys, ids)
        self._movers = locks.NamedLocks()
        self._checker = check.Checker(
            store=store, keys=keys, catalog=self._catalog, book=self._book, opener=self._opener, locks_=self._movers
        )
        self._runs = self._make_runs(keys, connectors.sources, ids, pace or runs.Pace())
        self._transfers = self._make_transfers(keys, terms or fetching.Terms())
        self._custody = custody.Custody(
            site=settings.site, keys=keys, identity=self._identity, book=self._book, catalog=self._catalog
        )
        self._examiner = admission.Examiner(settings, store=store, compute=self._compute, identity=self._tls)
        self._findings: tuple[Finding, ...] = ()
        self._kept_out = False
        self._metrics = metrics.Agent()
        self._metrics.looked.of(self._gauges)
        self._http: http.Listener | None = None
        self._capacity = capacity.CapacityWatch(self._compute, self._runs.reserved, look_seconds=settings.look_seconds)
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
        """Tests the site, registers, cleans up, opens the gateway and goes on with what was begun. Waits for the catalog."""
        self._http = self._listen_http()
        self._store.probe()  # one that is dishonest is refused before anything is told to anybody
        self._thread("capacity", lambda: self._capacity.refresh(self._closing))
        self._capacity.wait(_FIRST_LOOK_SECONDS)
        # The address is part of the registration, so the port is taken first; it answers nobody before the grant key is known.
        self._server, port = gateway.listen(self._settings.gateway_listen, self._tls)
        self.address = self._settings.gateway or f"{self._settings.gateway_listen.rpartition(':')[0]}:{port}"
        self._registration = registration = self._until_answered(self._first_registration)
        self._until_answered(self._heartbeat)
        self._open_gateway(registration)
        self._until_answered(self._writer.sweep)
        self._until_answered(self._custody.begin)
        near = self._settings.gateway_inside
        self._runs.start(balancing.inside(near, self.address) if near else self.address)
        self._transfers.start()
        loops = (
            *(("heartbeat", self._beat), ("work", self._take_work), ("sweep", self._sweep)),
            *(("admission", self._examine), ("certificate", self._renew), ("witness", self._look)),
        )
        for name, loop in loops:
            self._thread(name, loop)
        self._thread("custody", self._custody.run)
        _log.info("%r serves", self)

    def stop(self) -> None:
        """Ends what it serves in good order; runs go on on their cluster and are found again at the next start."""
        self._closing.set()
        if self._work is not None:
            self._work.cancel()
        if self._http is not None:
            self._http.stop()
        if self._gateway is not None:
            self._gateway.stop()
        if self._server is not None:
            self._server.stop(grace=_STOP_SECONDS).wait()
        self._runs.stop()
        self._transfers.stop()
        self._custody.stop()
        self._catalog.close()
        for thread in self._threads:
            thread.join(timeout=10)
        self._remotes.close()
        self._meter.fold()
        self._book.close()

    def _make_witness(self) -> witness.Witness:
        settings = self._settings
        return witness.Witness(
            settings.state_dir / "witness.jsonl",
            site=settings.site,
            identity=self._identity,
            catalog=self._catalog,
            now=self._clock.now,
        )

    def _make_meter(self) -> metering.Meter:
        settings = self._settings
        return metering.Meter(
            self._book,
            site=settings.site,
            quantum_bytes=settings.quantum_bytes,
            settle=self._catalog.settle_grants,
            now=self._clock.now,
        )

    def _make_writer(self, keys: ports.KeyConnector, ids: ports.Ids) -> writes.Writes:
        return writes.Writes(
            site=self._settings.site,
            store=self._store,
            keys=keys,
            identity=self._identity,
            book=self._book,
            catalog=self._catalog,
            opener=self._opener,
            clock=self._clock,
            ids_=ids,
        )

    def _make_runs(
        self, keys: ports.KeyConnector, sources: Mapping[str, ports.SourceReader], ids: ports.Ids, pace: runs.Pace
    ) -> runs.Runs:
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
                counter=aggregates.Counter(store=self._store, keys=keys, book=self._book),
                credentials=self._tls,
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
                    locks=self._movers,
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
                rates=Rates(settings.rates),
                opener=self._opener,
                leaser=self._leaser,
                meter=self._meter,
                remotes=self._remotes,
                writer=self._writer,
                runner=self._runs,
                log=self._log,
                checker=self._checker,
                witness=self._witness,
                counted=self._metrics,
            )
        )
        assert self._server is not None
        self._gateway.serve(self._server)

    def _listen_http(self) -> http.Listener | None:
        settings = self._settings
        if not settings.http_listen:
            return None
        token = config.read_secret(settings.http_token_file, "token for metrics").strip() if settings.http_token_file else ""
        open_to_all = not config.on_loopback(settings.http_listen)
        return http.Listener(
            settings.http_listen,
            self._metrics,
            lambda: self._gateway is not None,
            token=token,
            identity=self._tls if open_to_all else None,
            files=settings.tls if open_to_all else None,
        )

    def _gauges(self) -> dict[str, Iterable[metrics.Row]]:
        """How the site stands, for `/metrics`."""
        free = self._store.free_bytes()
        states = Counter(str(row.state) for row in self._book.open_runs())
        _, compute_error = self._capacity.look()
        return {
            "federation_agent_runs": [metrics.Row((str(state),), states[str(state)]) for state in journal.RunState],
            "federation_agent_open_grants": [metrics.Row((), len(self._meter.open_grants()))],
            "federation_agent_transfers": [metrics.Row((), len(self._book.transfers()))],
            "federation_agent_lease_left_seconds": [metrics.Row((), self._lease.left_seconds())],
            "federation_store_free_bytes": [metrics.Row((), free)] if free is not None else [],
            "federation_state_free_bytes": [metrics.Row((), shutil.disk_usage(self._settings.state_dir).free)],
            "federation_compute_reachable": [metrics.Row((), float(not compute_error))] if self._compute else [],
            "federation_certificate_expiry_timestamp_seconds": [
                metrics.Row(("agent",), tls.expiry(self._tls.current()).timestamp())
            ],
        }

    def _first_registration(self) -> agent_catalog.Registration:
        registration = self._register()
        assert registration is not None
        return registration

    def _register(self, *, listening: bool = False, unless_as_before: bool = False) -> agent_catalog.Registration | None:
        """Tests the site and tells the catalog; None where it was found `as_before`, which then needs no telling."""
        findings = self._examiner.examine(self.address, listening=listening)
        if unless_as_before and [(row.check, row.grade) for row in findings] == [(r.check, r.grade) for r in self._findings]:
            return None
        self._findings = findings
        totals, compute_error = self._capacity.look()
        told = site.Presence(
            gateway=self.address,
            signing_key=self._identity.signing_public,
            sealing_key=self._identity.sealing_public.hex(),
            has_compute=self._compute is not None,
            capacity=totals,
            compute_error=compute_error,
            dashboard=self._settings.compute.dashboard if self._settings.compute else "",
        )
        return self._catalog.register(told, findings, self._clock.now)

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
                with self._metrics.round("heartbeat"):
                    self._heartbeat()
            except errors.FederationError as error:
                self._kept_out = self._kept_out or error.reason == "SITE_NOT_ADMITTED"
                _log.warning("no heartbeat: %s", error)

    def _heartbeat(self) -> None:
        registration = self._registration
        assert registration is not None
        self._meter.fold()
        self._remotes.forget_expired()
        totals, compute_error = self._capacity.look()
        if self._untested:  # a cluster that has just come back may be another one: nothing is placed before it was tested
            compute_error = compute_error or "its admission test comes first"
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
        """Carries out the instructions of a stream. An error ends the stream: the next one begins with all that is due."""
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
            case keys.RotateKeys() | keys.FillEscrow() | keys.OpenEscrow():
                self._custody.take(instruction)
            case erasure.EraseGenerations():
                self._opener.forget(instruction.version)
                self._leaser.erase(instruction, self._settings.site)

    def _examine(self) -> None:
        """Tests the site again: at once over the network, now that the gateway listens, then from time to time.

        A site whose cluster could not be asked is tested again as soon as that answers; one that is kept out, each few seconds.
        """
        tested, pause = time.monotonic(), 0.0
        first = True
        while not self._closing.wait(pause):
            pause = _EXAMINE_LOOK_SECONDS
            _, compute_error = self._capacity.look()
            asleep = self._untested and not compute_error
            due = time.monotonic() - tested >= EXAMINE_SECONDS
            if not (first or due or asleep or self._kept_out):
                continue
            if first or due:
                tested = time.monotonic()
            try:
                with self._metrics.round("admission"):
                    self._register(listening=True, unless_as_before=not (due or self._kept_out))
                self._kept_out = False
            except errors.FailedPrecondition as error:
                self._kept_out = True
                _log.error("%s is kept out: %s", self._settings.site, error)
            except errors.FederationError as error:
                _log.warning("the site is tested again later: %s", error)
            first = False

    @property
    def _untested(self) -> bool:
        """Whether the cluster did not answer when the site was tested."""
        return any(row.check == "compute" and row.detail.startswith(UNASKED) for row in self._findings)

    def _renew(self) -> None:
        """Has the certificate renewed once two thirds of its life are over, where the catalog's CA has made it."""
        while not self._closing.wait(_RENEW_LOOK_SECONDS):
            try:
                with self._metrics.round("certificate"):
                    renewed = certificate.renew(self._settings.tls, self._catalog, self._clock.now())
                if renewed:
                    _log.info("%s has a new certificate", self._settings.site)
            except (errors.FederationError, OSError) as error:
                _log.warning("the certificate is not renewed: %s", error)

    def _look(self) -> None:
        assert self._registration is not None
        while True:
            try:
                with self._metrics.round("witness"):
                    self._witness.look(self._registration.grant_key)
            except errors.FederationError as error:
                _log.warning("the record's heads are not witnessed now: %s", error)
            if self._closing.wait(witness.LOOK_SECONDS):
                return

    def _forget(self) -> None:
        """Lets go of what runs printed, and of what is remembered of them, once both are old."""
        before = self._clock.now() - timedelta(days=self._settings.log_days)
        logs_, runs_ = self._log.forget(before.timestamp()), self._book.forget_runs(before)
        if logs_ or runs_:
            _log.info("logs of %d runs and rows of %d are older than %d days", logs_, runs_, self._settings.log_days)

    def _sweep(self) -> None:
        while not self._closing.wait(SWEEP_SECONDS):
            try:
                with self._metrics.round("sweep"):
                    self._writer.sweep()
                    self._transfers.sweep()
                    self._custody.begin()
                    self._forget()
            except errors.FederationError as error:
                _log.warning("what was left behind is removed later: %s", error)
