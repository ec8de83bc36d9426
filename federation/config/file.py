"""The federation file: from YAML to settings, checked strictly. Relative paths in it are relative to the file."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from federation import contexts, files, strict
from federation.config import forms
from federation.config.settings import (
    BACKLOG_FACTS_MAX,
    EVENT_DAYS,
    GATEWAY_RATES,
    LOG_DAYS,
    LOOK_SECONDS,
    MIB,
    RAY_DASHBOARD_PORT,
    AgentSettings,
    ComputeSettings,
    EngineSettings,
    FederationFile,
    KeysSettings,
    Layout,
    OpenLineageSettings,
    QuerySettings,
    RateSettings,
    RaySettings,
    ServerSettings,
    SiteSettings,
    SourceSettings,
    StorageSettings,
    TlsFiles,
    UserSettings,
)
from federation.core import errors, ids, people, policy, site
from federation.wire import https

#: Local clusters take blocks of ports below Linux's range for outgoing connections; the gateway's port chooses the block.
_RAY_PORTS_FROM = 10_000
_RAY_PORTS = 300
_RAY_SLOTS = 75

_TOP = ("federation", "server", "sites", "users")
_SERVER = (
    *("listen", "agents_listen", "address", "agents_address", "database", "database_file", "tables", "rate_card", "offer_card"),
    "tls",
    *("lease_seconds", "heartbeat_seconds", "grant_seconds", "package_bytes_max", "http_listen", "openlineage"),
    *("key_lease_seconds", "event_days", "backlog_facts_max", "tables_options", "query", "engine", "rates"),
    *("trust_domain", "issuers", "token_days", "token_days_max", "ca_key"),
)
_ISSUER = (
    *("issuer", "url", "audience", "client", "client_secret", "algorithms", "bearer", "scope", "ca", "loopback"),
    *("user_claim", "user_suffix", "user_prefix", "groups_claim", "role_claim", "roles", "role"),
    *("jurisdiction_claim", "jurisdiction", "jurisdictions", "leeway_seconds", "life_seconds_max"),
)
_RATES = tuple(row.name for row in dataclasses.fields(RateSettings))
_USUAL_RATES = RateSettings()
_PEOPLES_ROLES = ("ADMIN", "USER", "AUDITOR")
_OPENLINEAGE = ("url", "token_file", "ca", "file", "producer", "schemas_url")
_QUERY = ("rows_max", "bytes_max", "seconds_max", "memory", "at_once")
_ENGINE = ("kind", "master", "remote", "jars_dir", "coordinates", "memory")
_SITE = (
    *("site", "region", "jurisdiction", "account", "gateway", "storage", "keys", "ray", "compute", "offer"),
    *("gateway_listen", "gateway_inside"),
    *("sources", "tls", "quantum_bytes", "log_bytes_max", "transfer_bytes_per_second", "look_seconds", "rates"),
    *("http_listen", "http_token_file", "log_days"),
)
_OFFER = (
    *("cpu_hour_usd", "cpu_source", "cpu_watts", "gpus", "memory_gb_hour_usd", "memory_source"),
    *("storage_gb_month_usd", "storage_source", "carbon_g_per_kwh", "carbon_source"),
)
_GPU = ("type", "hour_usd", "spot_hour_usd", "preemptions_per_hour", "watts", "source")
#: A spot GPU that is taken away more often than each minute is none.
_PREEMPTIONS_MAX = 60


def federation_file(path: Path) -> FederationFile:
    """Reads a federation file; NotFound (CONFIG_MISSING) without one, InvalidArgument (CONFIG_INVALID) for a wrong one."""
    path = path.expanduser().absolute()
    top = strict.parse(files.read_text(path, "federation file"), str(path)).only(_TOP)
    here = path.parent
    server_ = top.table("server").only(_SERVER)
    if "database" in server_ and "database_file" in server_:
        server_.refuse("database_file", "`database` is given as well", "Keep one of them.")
    listen = server_.read("listen", contexts.address, "127.0.0.1:7400")
    agents_listen = server_.read("agents_listen", contexts.address, "127.0.0.1:7401")
    return FederationFile(
        path=path,
        federation=top.segment("federation"),
        listen=listen,
        agents_listen=agents_listen,
        address=server_.read("address", contexts.addresses, listen),
        agents_address=server_.read("agents_address", contexts.addresses, agents_listen),
        database=server_.text("database", ""),
        database_file=_optional_path(server_, "database_file", here),
        tables=server_.text("tables", ""),
        rate_card=_optional_path(server_, "rate_card", here),
        offer_card=_optional_path(server_, "offer_card", here),
        tls=_tls(server_, here),
        sites=_sites(top, here),
        users=_users(top),
        lease_seconds=server_.integer("lease_seconds", 15, at_least=3),
        heartbeat_seconds=server_.integer("heartbeat_seconds", 3, at_least=1),
        grant_seconds=server_.integer("grant_seconds", 43_200, at_least=60),
        key_lease_seconds=server_.integer("key_lease_seconds", 300, at_least=1, at_most=300),
        package_bytes_max=server_.size("package_bytes_max", 64 * MIB),
        event_days=server_.integer("event_days", EVENT_DAYS, at_least=1),
        backlog_facts_max=server_.integer("backlog_facts_max", BACKLOG_FACTS_MAX, at_least=1),
        tables_options=_options(server_.table("tables_options"), here, leave=()),
        http_listen=server_.read("http_listen", contexts.address, "") if "http_listen" in server_ else "",
        openlineage=_openlineage(server_.table("openlineage").only(_OPENLINEAGE), here),
        query=_query(server_.table("query").only(_QUERY)),
        engine=_engine(server_.table("engine").only(_ENGINE), here),
        rates=_rates(server_.table("rates").only(_RATES)),
        trust_domain=server_.read("trust_domain", _trust_domain, top.segment("federation")),
        issuers=_issuers(server_, here),
        token_days=server_.integer("token_days", 30, at_least=1),
        token_days_max=server_.integer("token_days_max", 366, at_least=1),
        ca_key=_optional_path(server_, "ca_key", here),
    )


def server(file: FederationFile, state_dir: Path) -> ServerSettings:
    """The settings of the catalog server of a federation whose state lies under `state_dir`."""
    layout = Layout(root=state_dir.expanduser().absolute())
    return ServerSettings(
        state_dir=layout.server,
        listen=file.listen,
        agents_listen=file.agents_listen,
        database_url=_database(file, layout),
        tables_url=file.tables or str(layout.server / "tables"),
        tls=file.tls or layout.server_tls(),
        rate_card=file.rate_card,
        offer_card=file.offer_card,
        sites=tuple(row.declared for row in file.sites),
        users=file.users,
        lease_seconds=file.lease_seconds,
        heartbeat_seconds=file.heartbeat_seconds,
        grant_seconds=file.grant_seconds,
        key_lease_seconds=file.key_lease_seconds,
        package_bytes_max=file.package_bytes_max,
        event_days=file.event_days,
        backlog_facts_max=file.backlog_facts_max,
        tables_options=file.tables_options,
        federation=file.federation,
        http_listen=file.http_listen,
        openlineage=file.openlineage,
        query=file.query,
        engine=file.engine,
        rates=file.rates,
        trust_domain=file.trust_domain,
        issuers=file.issuers,
        token_days=file.token_days,
        token_days_max=file.token_days_max,
        ca_key=file.ca_key or (None if file.tls else layout.ca_key),
    )


def agent(file: FederationFile, name: str, state_dir: Path) -> AgentSettings:
    """The settings of one site's agent; NotFound (SITE_UNKNOWN) for a site that the file does not declare."""
    layout = Layout(root=state_dir.expanduser().absolute())
    row = file.site(name)
    folder = layout.site(name)
    storage = row.storage
    if storage.kind == "local" and not storage.url:
        storage = StorageSettings(kind="local", url=str(folder / "store"), options=storage.options)
    return AgentSettings(
        site=name,
        state_dir=folder,
        catalog=file.agents_address,
        gateway=row.gateway,
        gateway_listen=row.gateway_listen,
        gateway_inside=row.gateway_inside,
        tls=row.tls or layout.agent_tls(name),
        storage=storage,
        keys=_keys_in(row.keys, folder / "keys"),
        compute=_compute(row, layout),
        sources=row.sources,
        quantum_bytes=row.quantum_bytes,
        log_bytes_max=row.log_bytes_max,
        transfer_bytes_per_second=row.transfer_bytes_per_second,
        look_seconds=row.look_seconds,
        log_days=row.log_days,
        http_listen=row.http_listen,
        http_token_file=row.http_token_file,
        rates=row.rates,
    )


def _database(file: FederationFile, layout: Layout) -> str:
    """The database's URL: out of a file (0600), for a password does not belong among settings, as it stands, or embedded."""
    if file.database_file:
        return files.read_secret(file.database_file, "database file").strip()
    return file.database or f"sqlite:///{layout.server / 'catalog.db'}"


def _query(table: strict.Table) -> QuerySettings:
    usual = QuerySettings()
    return QuerySettings(
        rows_max=table.integer("rows_max", usual.rows_max, at_least=1),
        bytes_max=table.size("bytes_max", usual.bytes_max),
        seconds_max=table.integer("seconds_max", usual.seconds_max, at_least=1),
        memory_bytes=table.size("memory", usual.memory_bytes),
        at_once=table.integer("at_once", usual.at_once, at_least=1),
    )


def _rates(table: strict.Table, usual: RateSettings = _USUAL_RATES) -> RateSettings:
    least = {name: 1 if name.endswith("burst") else 0 for name in _RATES}
    return RateSettings(**{name: table.integer(name, getattr(usual, name), at_least=least[name]) for name in _RATES})


def _engine(table: strict.Table, here: Path) -> EngineSettings:
    usual = EngineSettings()
    if "master" in table and "remote" in table:
        table.refuse("remote", "`master` is given as well", "Keep one: `master` starts a driver, `remote` is Spark Connect.")
    return EngineSettings(
        kind=table.text("kind", usual.kind),
        master=table.text("master", usual.master),
        remote=table.text("remote", ""),
        jars_dir=_optional_path(table, "jars_dir", here),
        coordinates=tuple(table.text("coordinates", "").split()),
        memory_bytes=table.size("memory", usual.memory_bytes),
    )


def _compute(row: SiteSettings, layout: Layout) -> ComputeSettings | None:
    """Where a site's jobs run: what the file names, a Ray cluster that `fed up` starts, or processes below its state."""
    if row.ray:
        return local_ray(row, layout)
    if row.compute and row.compute.kind == "process" and not row.compute.address:
        return dataclasses.replace(row.compute, address=str(layout.site(row.site) / "jobs"))
    return row.compute


def local_ray(row: SiteSettings, layout: Layout) -> ComputeSettings:
    """Where the Ray cluster that `fed up` starts for a site answers, and where its token lies."""
    if row.ray is None:
        raise errors.FailedPrecondition(f"site {row.site} has no Ray cluster of its own", reason="NO_COMPUTE")
    address = f"http://{row.ray.address_ip}:{RAY_DASHBOARD_PORT}"
    return ComputeSettings(kind="ray", address=address, token_file=layout.ray(row.site) / "ray.token", dashboard=address)


def _sites(top: strict.Table, here: Path) -> tuple[SiteSettings, ...]:
    rows: list[SiteSettings] = []
    for table in top.tables("sites"):
        row = _site(table.only(_SITE), here, {other.ray.address_ip for other in rows if other.ray})
        if any(other.site == row.site for other in rows):
            table.refuse("site", f"the site {row.site!r} is declared twice", "Give each site a name of its own.")
        if any(other.gateway_listen == row.gateway_listen for other in rows):
            table.refuse("gateway", f"{row.gateway_listen!r} is another site's gateway", "Give each gateway a port of its own.")
        rows.append(row)
    return tuple(rows)


def _site(table: strict.Table, here: Path, taken: set[str]) -> SiteSettings:
    gateway = table.read("gateway", contexts.address)
    gateway_listen = table.read("gateway_listen", contexts.address, gateway)
    ray, compute = _ray(table, here, gateway_listen, taken)
    sources = tuple(_source(row, here) for row in table.tables("sources"))
    declared = site.Site(
        site=table.segment("site"),
        region=table.read("region", ids.region),
        jurisdiction=table.read("jurisdiction", forms.jurisdiction),
        account=table.segment("account") if "account" in table else "",
        gateway=gateway,
        has_compute=ray is not None or compute is not None,
        offer=_offer(table.table("offer").only(_OFFER)),
        sources=tuple(row.prefix for row in sources),
    )
    http_listen = table.read("http_listen", contexts.address) if "http_listen" in table else ""
    http_token_file = _optional_path(table, "http_token_file", here)
    if http_listen and http_token_file is None and not forms.on_loopback(http_listen):
        table.refuse("http_listen", f"others than this machine reach {http_listen}", "Name an `http_token_file`, or 127.0.0.1.")
    return SiteSettings(
        declared=declared,
        gateway=gateway,
        gateway_listen=gateway_listen,
        gateway_inside=table.read("gateway_inside", contexts.address) if "gateway_inside" in table else "",
        storage=_storage(table.table("storage"), here),
        keys=_keys(table.table("keys"), here),
        ray=ray,
        compute=compute,
        sources=sources,
        tls=_tls(table, here),
        quantum_bytes=table.size("quantum_bytes", 8 * MIB),
        log_bytes_max=table.size("log_bytes_max", 16 * MIB),
        transfer_bytes_per_second=table.size("transfer_bytes_per_second", 0),
        look_seconds=table.integer("look_seconds", LOOK_SECONDS, at_least=1),
        log_days=table.integer("log_days", LOG_DAYS, at_least=1),
        http_listen=http_listen,
        http_token_file=http_token_file,
        rates=_rates(table.table("rates").only(_RATES), GATEWAY_RATES),
    )


def _ray(table: strict.Table, here: Path, gateway: str, taken: set[str]) -> tuple[RaySettings | None, ComputeSettings | None]:
    """A cluster to start here, or compute that is there already, or none. `taken` are other clusters' addresses."""
    if "compute" in table:
        if "ray" in table:
            table.refuse("compute", "`ray` is given as well", "Keep one: `ray` for a Ray cluster, `compute` for another kind.")
        other = table.table("compute").only(("kind", "address", "token_file"))
        token_file = _optional_path(other, "token_file", here)
        return None, ComputeSettings(kind=other.text("kind"), address=other.text("address", ""), token_file=token_file)
    if "ray" not in table:
        return None, None
    ray = table.table("ray")
    if "address" in ray:
        ray.only(("address", "token_file", "dashboard"))
        address = ray.text("address")
        return None, ComputeSettings(
            kind="ray",
            address=address,
            token_file=_optional_path(ray, "token_file", here),
            dashboard=ray.read("dashboard", forms.page, address),
        )
    ray.only(("cpus", "gpus", "memory", "address_ip", "port_base"))
    gpus = ray.table("gpus")
    slot = int(gateway.rpartition(":")[2]) % _RAY_SLOTS
    while f"127.0.1.{slot + 2}" in taken:
        slot = (slot + 1) % _RAY_SLOTS
    settings = RaySettings(
        cpus=ray.integer("cpus", at_least=1),
        address_ip=ray.read("address_ip", forms.loopback, f"127.0.1.{slot + 2}"),
        port_base=ray.integer("port_base", _RAY_PORTS_FROM + slot * _RAY_PORTS, at_least=1024),
        gpus=tuple((kind, gpus.integer(kind, at_least=1)) for kind in sorted(gpus.keys())),
        memory_bytes=ray.size("memory", 2_000_000_000),
    )
    return settings, None


def _offer(table: strict.Table) -> site.Offer:
    cpu, cpu_source = _price(table, "cpu_hour_usd", "cpu_source")
    storage, storage_source = _price(table, "storage_gb_month_usd", "storage_source")
    memory, memory_source = _price(table, "memory_gb_hour_usd", "memory_source")
    carbon, carbon_source = _optional_integer(table, "carbon_g_per_kwh"), table.text("carbon_source", "")
    if (carbon is None) != (not carbon_source):
        table.refuse("carbon_source", "carbon_g_per_kwh and its source belong together", "Write both, or neither.")
    return site.Offer(
        cpu_hour_micros=cpu,
        cpu_source=cpu_source,
        gpus=_gpus(table),
        storage_gb_month_micros=storage,
        storage_source=storage_source,
        memory_gb_hour_micros=memory,
        memory_source=memory_source,
        cpu_watts=_optional_integer(table, "cpu_watts"),
        carbon_g_per_kwh=carbon,
        carbon_source=carbon_source,
    )


def _gpus(table: strict.Table) -> tuple[site.GpuOffer, ...]:
    found = tuple(_gpu(row.only(_GPU)) for row in table.tables("gpus"))
    types = [gpu.type for gpu in found]
    if len(set(types)) != len(types):
        table.refuse("gpus", "one type of GPU has two prices", "Name each type once.")
    return found


def _gpu(table: strict.Table) -> site.GpuOffer:
    price, source = _price(table, "hour_usd", "source")
    if price is None:
        table.refuse(
            "hour_usd", "the price is missing", 'Add `hour_usd: "1.006"`, or remove this GPU: an unknown price is no offer.'
        )
    return site.GpuOffer(
        type=table.text("type"),
        gpu_hour_micros=price,
        source=source,
        spot_gpu_hour_micros=table.micros("spot_hour_usd"),
        preemptions_per_hour=_preemptions(table),
        watts=_optional_integer(table, "watts"),
    )


def _preemptions(table: strict.Table) -> float:
    text = table.text("preemptions_per_hour", "0")
    often = float(text) if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,9})?", text) else -1.0
    if not 0 <= often <= _PREEMPTIONS_MAX:
        table.refuse(
            "preemptions_per_hour", f"{text!r} is not a number from 0 to {_PREEMPTIONS_MAX}", "Write for example 0.05."
        )
    if often and "spot_hour_usd" not in table:
        table.refuse("preemptions_per_hour", "there is no spot price that it belongs to", "Add `spot_hour_usd`, or remove it.")
    return often


def _optional_integer(table: strict.Table, key: str) -> int | None:
    return table.integer(key) if key in table else None


def _price(table: strict.Table, price_key: str, source_key: str) -> tuple[int | None, str]:
    price = table.micros(price_key)
    source = table.text(source_key, "")
    if price is not None and not source:
        table.refuse(source_key, f"{price_key} is given without its source", "Name where the price was published, and when.")
    if price is None and source:
        table.refuse(price_key, f"{source_key} is given without a price", f"Add `{price_key}`, or remove `{source_key}`.")
    return price, source


def _storage(table: strict.Table, here: Path) -> StorageSettings:
    kind = table.text("kind", "local")
    if kind == "local":
        table.only(("kind", "url"))
        url = table.text("url", "")
        return StorageSettings(kind=kind, url=str(_resolve(here, url)) if url else "")
    return StorageSettings(kind=kind, url=table.text("url"), options=_options(table, here, leave=("kind", "url")))


def _source(table: strict.Table, here: Path) -> SourceSettings:
    kind, prefix = table.text("kind"), table.text("prefix")
    if kind == "file":
        table.only(("kind", "prefix"))
        if not prefix.startswith("file:"):
            table.refuse("prefix", f"{prefix!r} does not begin with 'file:'", "Write file:///FOLDER, or file:FOLDER from here.")
        prefix = _resolve(here, prefix.removeprefix("file:")).as_uri()
    return SourceSettings(prefix=prefix.rstrip("/") + "/", kind=kind, options=_options(table, here, leave=("kind", "prefix")))


def _options(table: strict.Table, here: Path, *, leave: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """A connector's options as they stand; `key_file` is read here, so that no key stands in a federation file."""
    values = {key: value for key, value in table.texts().items() if key not in leave}
    for key in ("key", "secret"):
        if key in values:
            table.refuse(key, "a key does not belong into this file", "Write `key_file: FILE`, with `key:` and `secret:`.")
    path = values.pop("key_file", "")
    if path:
        file = _resolve(here, path)
        values |= strict.parse(files.read_secret(file, "key file"), str(file)).only(("key", "secret")).texts()
    return tuple(sorted(values.items()))


#: Options of key connectors that are paths; `passphrase` and `token` stand in files alone, so that this file holds no secret.
_KEY_PATHS = ("passphrase_file", "token_file", "ca", "mirror")


def _keys(table: strict.Table, here: Path) -> KeysSettings | None:
    kind, folder = table.text("kind", "local"), table.text("folder", "")
    for key in ("passphrase", "token"):
        if key in table:
            table.refuse(key, "a secret does not belong into this file", f"Write `{key}_file: FILE`.")
    options = dict(_options(table, here, leave=("kind", "folder")))
    options |= {name: str(_resolve(here, options[name])) for name in _KEY_PATHS if name in options}
    if not folder and kind == "local" and not options:
        return None
    return KeysSettings(kind=kind, folder=_resolve(here, folder) if folder else Path(), options=tuple(sorted(options.items())))


def _keys_in(keys: KeysSettings | None, folder: Path) -> KeysSettings:
    """With the folder of the site's state where none is named."""
    if keys is None:
        return KeysSettings(kind="local", folder=folder)
    return keys if keys.folder != Path() else dataclasses.replace(keys, folder=folder)


def _users(top: strict.Table) -> tuple[UserSettings, ...]:
    rows: list[UserSettings] = []
    for table in top.tables("users"):
        table.only(("user", "role", "jurisdiction", "groups"))
        name = table.segment("user")
        if name == "admin" or any(row.user == name for row in rows):
            table.refuse(
                "user", f"the user {name!r} is there already", "Give each a name of their own; 'admin' is always there."
            )
        role = policy.Role(table.choice("role", _PEOPLES_ROLES, "USER"))
        place = table.read("jurisdiction", forms.jurisdiction) if "jurisdiction" in table else ""
        groups = tuple(sorted(set(table.list_of_texts("groups"))))
        rows.append(UserSettings(user=name, role=role, jurisdiction=place, groups=groups))
    return tuple(rows)


def _tls(table: strict.Table, here: Path) -> TlsFiles | None:
    if "tls" not in table:
        return None
    tls = table.table("tls").only(("ca", "cert", "key"))
    ca, cert, key = (_resolve(here, tls.text(name)) for name in ("ca", "cert", "key"))
    return TlsFiles(ca=ca, cert=cert, key=key)


def _optional_path(table: strict.Table, key: str, here: Path) -> Path | None:
    text = table.text(key, "")
    return _resolve(here, text) if text else None


def _resolve(here: Path, text: str) -> Path:
    return Path(os.path.normpath(here / Path(text.removeprefix("//")).expanduser()))


def _issuers(server_: strict.Table, here: Path) -> tuple[people.Issuer, ...]:
    rows: list[people.Issuer] = []
    for table in server_.tables("issuers"):
        row = _issuer(table.only(_ISSUER), here)
        if any(row.issuer == other.issuer or row.url == other.url for other in rows):
            table.refuse("issuer", "this issuer is there already", "Name each once.")
        # Two issuers must never mean the same user by two people.
        if any(
            row.user_prefix.startswith(other.user_prefix) or other.user_prefix.startswith(row.user_prefix) for other in rows
        ):
            table.refuse("user_prefix", "another issuer could name the same user", "Give each a prefix of its own: `corp-`.")
        rows.append(row)
    return tuple(rows)


def _issuer(table: strict.Table, here: Path) -> people.Issuer:
    usual = people.Issuer(issuer="", url="", audience="")
    loopback = table.flag("loopback")
    algorithms = tuple(table.list_of_texts("algorithms")) or usual.algorithms
    unknown = sorted(set(algorithms) - set(people.ALGORITHMS))
    if unknown:
        table.refuse("algorithms", f"{unknown[0]!r} proves nobody", f"Known are {', '.join(people.ALGORITHMS)}.")
    prefix = table.text("user_prefix", "")
    if prefix and not re.fullmatch(r"[a-z][a-z0-9]*-", prefix):
        table.refuse("user_prefix", f"{prefix!r} is no prefix", "Write letters and a dash, for example `corp-`.")
    roles = tuple(
        (row.text("value"), policy.Role(row.choice("role", _PEOPLES_ROLES)))
        for row in (found.only(("value", "role")) for found in table.tables("roles"))
    )
    role = table.choice("role", (*_PEOPLES_ROLES, "NONE"), "USER")
    ca = _optional_path(table, "ca", here)
    places = table.table("jurisdictions").texts()
    return people.Issuer(
        issuer=table.segment("issuer"),
        url=table.read("url", lambda text: https.checked(text, loopback=loopback).geturl()),
        audience=table.text("audience"),
        client=table.text("client", ""),
        client_secret=table.text("client_secret", ""),
        algorithms=algorithms,
        bearer=table.choice("bearer", ("id_token", "access_token"), usual.bearer),
        scope=table.text("scope", usual.scope),
        user_claim=table.text("user_claim", usual.user_claim),
        user_suffix=table.text("user_suffix", ""),
        user_prefix=prefix,
        groups_claim=table.text("groups_claim", usual.groups_claim),
        role_claim=table.text("role_claim", usual.role_claim),
        roles=roles,
        role=None if role == "NONE" else policy.Role(role),
        jurisdiction_claim=table.text("jurisdiction_claim", ""),
        jurisdiction=table.read("jurisdiction", forms.jurisdiction) if "jurisdiction" in table else "",
        jurisdictions=tuple(sorted((key, forms.jurisdiction(place)) for key, place in places.items())),
        leeway_seconds=table.integer("leeway_seconds", usual.leeway_seconds),
        life_seconds_max=table.integer("life_seconds_max", usual.life_seconds_max, at_least=60),
        ca=str(ca) if ca else "",
        loopback=loopback,
    )


def _trust_domain(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,253}[a-z0-9])?", text):
        raise errors.InvalidArgument(f"{text!r} is no trust domain", help="Write for example acme or fed.acme.example.")
    return text


def _openlineage(table: strict.Table, here: Path) -> OpenLineageSettings:
    return OpenLineageSettings(
        url=table.text("url", ""),
        token_file=_optional_path(table, "token_file", here),
        ca=_optional_path(table, "ca", here),
        file=_optional_path(table, "file", here),
        producer=table.text("producer", ""),
        schemas_url=table.text("schemas_url", ""),
    )
