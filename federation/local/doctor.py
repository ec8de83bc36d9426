"""The looks of `fed doctor`: from where a person is, and, with a federation file, from where a server or an agent runs.

It looks and changes nothing, but for one object that is put into a store and taken away again, which is the only way to know
that a store takes objects. A look that fails is a finding; none keeps the others from being taken.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import shutil
import sqlite3
import ssl
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from federation import config, ports
from federation.adapters import catalog_sql, registry
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import SystemClock, UlidIds
from federation.client import Client
from federation.client.connect import bearer
from federation.core import admission, diagnosis, errors
from federation.core.diagnosis import Diagnosis
from federation.core.events import TABLES, kinds_of
from federation.core.kinds import CommitterLease
from federation.core.site import Site, SiteState
from federation.crypto import certificates
from federation.wire import balancing, handshake

_SECONDS = 5.0
_RENEW = "Renew it; the new files are used within seconds (FederationCertificateEnds in docs/operations.md)."

Looks = Iterable[Diagnosis]


def person(context: str = "") -> Iterator[Diagnosis]:
    """What a person's own machine sees: their context, the server, its clock and certificate, and all sites."""
    try:
        settings = config.client(context)
    except errors.FederationError as error:
        yield diagnosis.broken("you", "context", error.message, error.help)
        return
    path = config.config_path()
    if path.exists():
        yield from _secret("you", path)
    yield diagnosis.good("you", "context", f"{settings.context or 'the environment'}: {settings.target}")
    yield from _dialled("server", "certificate", settings.target, lambda: settings.ca)
    yield from _taken("server", "call", lambda: _called(settings))


def server(settings: config.ServerSettings, file: Path, addresses: Iterable[str]) -> Iterator[Diagnosis]:
    """What is seen where a server runs: its files, its certificate, the database, the record's tables, the disk."""
    yield from _taken("server", "permissions", lambda: [diagnosis.settings_file("server", str(file), _mode(file) or 0)])
    private = [settings.tls.key, settings.state_dir / "grant.key", settings.state_dir / "admin.token"]
    for path in (*private, *filter(None, [settings.ca_key])):
        yield from _secret("server", path)
    yield from _taken("server", "certificate", lambda: _identity("server", settings.tls, addresses))
    yield from _taken("server", "disk", lambda: [_disk("server", "the server's state", settings.state_dir)])
    yield from _taken("server", "database", lambda: _catalog(settings))


def site(settings: config.AgentSettings) -> Iterator[Diagnosis]:
    """What is seen where an agent runs: its files, its certificate, the catalog, its store, its cluster, the disk."""
    name = settings.site
    token_file = settings.compute.token_file if settings.compute else None
    for path in filter(None, (settings.tls.key, settings.http_token_file, token_file)):
        yield from _secret(name, path)
    gateway = settings.gateway or settings.gateway_listen
    yield from _taken(name, "certificate", lambda: _identity(name, settings.tls, [gateway], agent=name))
    yield from _dialled(name, "catalog", settings.catalog, settings.tls.ca.read_bytes, settings.tls)
    yield from _taken(name, "store", lambda: _store(settings))
    yield from _taken(name, "compute", lambda: _compute(settings))
    yield from _taken(name, "disk", lambda: [_disk(name, "journal, spool and packages", settings.state_dir)])
    yield from _taken(name, "journal", lambda: _journal(name, settings.state_dir / "agent.db"))


def _taken(subject: str, check: str, look: Callable[[], Looks], of: str = "") -> Iterator[Diagnosis]:
    """What a look finds, as far as it comes; that it broke off is a finding too, `of` what where that does not say it."""
    of = f"{of}: " if of else ""
    try:
        yield from look()
    except errors.FederationError as error:
        yield diagnosis.broken(subject, check, error.message, error.help or "See the server's log.")
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error.reason or "the handshake failed"
        yield diagnosis.broken(
            subject, check, f"{of}TLS: {why}", "Its CA, its names or its time do not fit; see the line of its own host."
        )
    except (OSError, ValueError, sqlite3.Error) as error:
        advice = "See whether it runs, and whether this host reaches it."
        if isinstance(error, OSError) and error.filename:
            advice = "See that the file is there, and that who looks may read it: it is for the user that its process runs as."
        yield diagnosis.broken(subject, check, f"{of}{type(error).__name__}: {error}", advice)


# -- from where a person is -------------------------------------------------------------------------------------------------


def _called(settings: config.ClientSettings) -> Iterator[Diagnosis]:
    client = Client(settings.target, bearer(settings), settings.ca)
    try:
        asked = time.time()
        me = client.who_am_i()
        between = (asked + time.time()) / 2
        yield diagnosis.good("server", "call", f"answers {me.principal} as {me.role}")
        if me.server_time is not None:
            yield diagnosis.clock("you", me.server_time.timestamp() - between)
        yield diagnosis.versions("you", importlib.metadata.version("dataset-federation"), me.server_version)
        if me.expire_time is not None:
            advice = "Make another with `fed token create`, or `fed login` again."
            yield diagnosis.ends("you", "token", me.expire_time, datetime.now(UTC), advice)
        for place in client.list_sites():
            yield from _site(place, me.server_version)
    finally:
        client.close()


def _site(place: Site, server_version: str) -> Iterator[Diagnosis]:
    if place.state is SiteState.LOST:
        since = f"since {place.heartbeat_time:%Y-%m-%d %H:%M} UTC" if place.heartbeat_time else "always"
        yield diagnosis.broken(place.site, "heartbeat", f"silent {since}", "See FederationSiteSilent in docs/operations.md.")
    elif place.state is SiteState.READY:
        yield diagnosis.good(place.site, "heartbeat", f"READY, grade {place.grade}")
    else:
        advice = f"Let it join (`fed site invite {place.site}`), or start its agent."
        yield diagnosis.broken(place.site, "heartbeat", "it was declared, and has never been admitted", advice)
    for found in map(admission.parsed, place.admission):
        if found.check == "version":
            yield diagnosis.versions(place.site, found.detail, server_version)
        else:
            yield diagnosis.admitted(place.site, found)
    if place.compute_error:
        advice = "See FederationComputeUnreachable in docs/operations.md."
        yield diagnosis.broken(place.site, "compute", place.compute_error, advice)


# -- from where a process runs ----------------------------------------------------------------------------------------------


def _identity(subject: str, files: config.TlsFiles, addresses: Iterable[str], *, agent: str = "") -> Iterator[Diagnosis]:
    """A certificate: that it, its key and its CA fit together, when it ends, and whom it names."""
    cert = certificates.require_pair(files.cert.read_bytes(), files.key.read_bytes(), files.ca.read_bytes())
    now = datetime.now(UTC)
    yield diagnosis.ends(subject, "certificate", cert.not_valid_after_utc, now, _RENEW)
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    yield diagnosis.ends(
        subject, "ca", ca.not_valid_after_utc, now, "Make another CA and let every process trust both for a while."
    )
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    known = {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}
    for host in sorted(set(map(balancing.host, addresses))):
        if _names(known, host):
            yield diagnosis.good(subject, "names", f"the certificate is good for {host}")
        else:
            yield diagnosis.broken(
                subject, "names", f"the certificate is good for {', '.join(sorted(known)) or 'nobody'}, not for {host}",
                f"Have one made that names {host}.",
            )  # fmt: skip
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if agent and not any(uri.startswith("spiffe://") and uri.endswith(f"/agents/{agent}") for uri in uris):
        told = f"no URI of the certificate is spiffe://…/agents/{agent}: the catalog knows its bearer as nobody"
        yield diagnosis.broken(subject, "names", told, "Have one made with that URI as its subject's alternative name.")


def _names(known: set[str], host: str) -> bool:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - what a certificate cannot name
        return True
    return host in known or f"*.{host.partition('.')[2]}" in known


def _dialled(
    subject: str, check: str, target: str, ca: Callable[[], bytes], files: config.TlsFiles | None = None
) -> Iterator[Diagnosis]:
    """Each server of a target as a client of it meets it."""
    name = balancing.host(target)

    def met(one: str) -> Looks:
        return [diagnosis.ends(subject, check, _certificate(one, name, ca(), files), datetime.now(UTC), _RENEW)]

    several = target.split(",")
    for one in several:
        yield from _taken(subject, check, functools.partial(met, one), one if len(several) > 1 else "")


def _certificate(address: str, name: str, ca: bytes, files: config.TlsFiles | None) -> datetime:
    """When the certificate ends by which whoever answers there proves to be `name`."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cadata=ca.decode())
    context.set_alpn_protocols(["h2"])
    if files is not None:
        context.load_cert_chain(files.cert, files.key)
    return handshake.certificate(host.strip("[]"), int(port), context, name, _SECONDS).not_valid_after_utc


def _catalog(settings: config.ServerSettings) -> Iterator[Diagnosis]:
    """The database, and the record's tables beside it. A database that another release has made is left as it is."""
    revision = catalog_sql.schema(settings.database_url)
    yield diagnosis.good("server", "database", f"answers; its tables are of revision {revision}")
    catalog = catalog_sql.SqlCatalog(settings.database_url, SystemClock(), UlidIds())
    try:
        yield from _taken("server", "record", lambda: _record(catalog, settings))
    finally:
        catalog.close()


def _record(catalog: ports.Catalog, settings: config.ServerSettings) -> Iterator[Diagnosis]:
    records = DeltaRecords(settings.tables_url, dict(settings.tables_options))
    records.probe()
    yield diagnosis.good("server", "record", "the store of the tables takes objects, and none twice")
    leases = catalog.read(lambda tx: {table: tx.get(CommitterLease, table) for table in TABLES})
    revision, floor, now = catalog.revision(), catalog.floor(), datetime.now(UTC)
    for table in TABLES:
        position, lease = records.position(table), leases[table]
        if position > revision:
            told = f"{table} is at {position}, the catalog at {revision} only"
            yield diagnosis.broken(
                "server", "record", told, "Catalog and tables are not of one time: see *Restoring* in docs/operations.md."
            )
            continue
        waiting = catalog.events(max(position, lease.carried if lease else 0, floor), limit=1000, **kinds_of(table))
        seconds = (now - waiting[0].time).total_seconds() if waiting else 0.0
        yield diagnosis.lag("server", table, len(waiting), seconds)


def _store(settings: config.AgentSettings) -> Iterator[Diagnosis]:
    storage = settings.storage
    store: ports.ObjectStore = registry.load("storage", storage.kind)(storage.url, dict(storage.options))
    store.probe()
    yield diagnosis.good(settings.site, "store", f"{storage.kind}: takes objects, none twice, and gives ranges")
    free = store.free_bytes()
    if free is not None:
        yield diagnosis.disk(settings.site, "the store", free)


def _compute(settings: config.AgentSettings) -> Iterator[Diagnosis]:
    compute = settings.compute
    if compute is None:
        yield diagnosis.good(settings.site, "compute", "the site stores and runs nothing")
        return
    made: ports.Compute = registry.load("compute", compute.kind)(compute.address, compute.token_file)
    yield diagnosis.admitted(settings.site, made.examine())


def _journal(subject: str, path: Path) -> Iterator[Diagnosis]:
    if not path.exists():
        yield diagnosis.good(subject, "journal", "there is none yet: no agent has run here")
        return
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_SECONDS)) as db:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found == "ok":
        yield diagnosis.good(subject, "journal", "whole")
    else:
        advice = "Stop the agent, keep the file, and see *A lost journal* in docs/operations.md."
        yield diagnosis.broken(subject, "journal", f"damaged: {found}", advice)


def _disk(subject: str, what: str, folder: Path) -> Diagnosis:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return diagnosis.disk(subject, what, shutil.disk_usage(there).free)


def _secret(subject: str, path: Path) -> Iterator[Diagnosis]:
    return _taken(subject, "permissions", lambda: [diagnosis.secret_file(subject, str(path), _mode(path))])


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
