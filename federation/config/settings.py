"""The settings of every process as frozen values, and where a federation's state lies. Nothing here reads anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from federation.core import errors, openlineage, people, policy, site

#: In whose name certificates name sites, where no settings say otherwise.
TRUST_DOMAIN = "federation"

MIB = 1024 * 1024

#: How many days events stay in the catalog's log, and how many facts may wait there to be carried to the record's tables.
EVENT_DAYS = 7
BACKLOG_FACTS_MAX = 10_000_000
#: How many days what runs printed stays at their site.
LOG_DAYS = 30
#: Port of every local cluster's Jobs API; each cluster has a loopback address of its own.
RAY_DASHBOARD_PORT = 8265
#: Between two looks at a site's cluster. Ray reports what is used every five seconds.
LOOK_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """PEM files of one TLS identity: the CA that is trusted, our certificate, its private key (0600)."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True, kw_only=True)
class UserSettings:
    """A declared person. Their token is made at the server's first start that knows them, and lasts while they are declared."""

    user: str
    role: policy.Role = policy.Role.USER
    jurisdiction: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OpenLineageSettings:
    """To whom runs are told as OpenLineage events: the endpoint `url`, the `file`, both or nobody.

    The endpoint gets the token in `token_file`, and is known by the CAs in `ca` where it has no public one. `producer` and
    `schemas_url` are the URIs by which events name who tells, and where the schemas of its own facets lie.
    """

    url: str = ""
    token_file: Path | None = None
    ca: Path | None = None
    file: Path | None = None
    producer: str = ""
    schemas_url: str = ""

    def terms(self, federation: str) -> openlineage.Terms:
        """How the federation is called in events."""
        told = {"producer": self.producer, "schemas": self.schemas_url}
        return openlineage.Terms(federation=federation, **{name: uri for name, uri in told.items() if uri})


@dataclass(frozen=True, kw_only=True)
class QuerySettings:
    """What one query of the record may take, when people ask through the server, and how many are answered at once."""

    rows_max: int = 100_000
    bytes_max: int = 64 * MIB
    seconds_max: int = 60
    memory_bytes: int = 1024 * MIB
    at_once: int = 2


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """The engine for heavy work over the record: `embedded`, or the kind of a connector such as `spark`.

    Spark runs at `master`, or by Spark Connect at `remote`, with so much memory for its driver. Its jars are those in
    `jars_dir`, for closed networks, else they are fetched once from Maven Central; `coordinates` name more of them.
    """

    kind: str = "embedded"
    master: str = "local[*]"
    remote: str = ""
    jars_dir: Path | None = None
    coordinates: tuple[str, ...] = ()
    memory_bytes: int = 2048 * MIB


@dataclass(frozen=True, kw_only=True)
class RateSettings:
    """How often a server may be called: what a bucket holds, and how many calls it gets back each second; 0 is no limit.

    There is a bucket for each person, each agent, and each address from which somebody calls who is not let in. At a gateway
    runs and other sites are what agents are at the server.
    """

    calls_per_second: int = 200
    burst: int = 2_000
    agent_calls_per_second: int = 1_000
    agent_burst: int = 10_000
    strangers_per_second: int = 10
    strangers_burst: int = 200


#: How often a site's gateway may be called: by a person, by a run or another site (`agent_`), and by who is not let in.
GATEWAY_RATES = RateSettings(
    calls_per_second=500,
    burst=10_000,
    agent_calls_per_second=2_000,
    agent_burst=40_000,
    strangers_per_second=50,
    strangers_burst=2_000,
)
#: Nobody is limited: for benchmarks, and for tests that call as fast as they can.
NO_RATES = RateSettings(calls_per_second=0, agent_calls_per_second=0, strangers_per_second=0)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What a catalog server needs. `listen` is for people, `agents_listen` for agents; both `host:port`.

    `http_listen` is for OpenLineage events of others, '' for nobody. `federation` is what others know this one by.

    A run's lease lasts `lease_seconds` and is renewed every `heartbeat_seconds`; a grant lasts at most `grant_seconds`, a lease
    of data keys `key_lease_seconds` (at most 300); a working directory's package holds at most `package_bytes_max`. Without
    `rate_card` and `offer_card` the shipped prices hold, until others are imported. Events stay in the catalog's log for
    `event_days` at least, and until the record's tables hold them for good; while `backlog_facts_max` of them wait to be
    carried there, facts in bulk are refused. `tables_options` are the options of the S3 store of `tables_url`, as a site's
    store has them; they may hold keys.

    Agents are known by certificates that name them in `trust_domain`. People are vouched for by `issuers`, or by API tokens
    that last `token_days`, or what is asked for up to `token_days_max`. With `ca_key`, a file (0600) with the key of the CA in
    `tls`, the server signs the certificates of sites that join; without it joining only lets them in.
    """

    state_dir: Path
    listen: str
    agents_listen: str
    database_url: str
    tables_url: str
    tls: TlsFiles
    rate_card: Path | None = None
    offer_card: Path | None = None
    sites: tuple[site.Site, ...] = ()
    users: tuple[UserSettings, ...] = ()
    lease_seconds: int = 15
    heartbeat_seconds: int = 3
    grant_seconds: int = 43_200
    key_lease_seconds: int = 300
    package_bytes_max: int = 64 * MIB
    event_days: int = EVENT_DAYS
    backlog_facts_max: int = BACKLOG_FACTS_MAX
    tables_options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    federation: str = "federation"
    http_listen: str = ""
    openlineage: OpenLineageSettings = OpenLineageSettings()
    query: QuerySettings = QuerySettings()
    engine: EngineSettings = EngineSettings()
    rates: RateSettings = RateSettings()
    trust_domain: str = TRUST_DOMAIN
    issuers: tuple[people.Issuer, ...] = ()
    token_days: int = 30
    token_days_max: int = 366
    ca_key: Path | None = None


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """A site's storage root: connector kind, URL or folder, and the connector's options, which may hold keys."""

    kind: str
    url: str
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class KeysSettings:
    """A site's key connector, the folder of its keyring, and the connector's options, which may hold keys."""

    kind: str
    folder: Path
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class ComputeSettings:
    """A site's compute: connector kind, where it is (a Jobs API, or a folder for jobs as plain processes), its token's file.

    `dashboard` is where people see the cluster's own pages: the address itself unless it has another one for people.
    """

    kind: str
    address: str
    token_file: Path | None = None
    dashboard: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """A prefix from which `ingest` may read at this site, and the connector that reads it."""

    prefix: str
    kind: str
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """What a site's agent needs. `catalog` is the server's port for agents, `gateway_listen` the site's one listener.

    Egress is granted in quanta of `quantum_bytes`; of what a run prints `log_bytes_max` are kept, for `log_days`. All transfers
    to the site together take `transfer_bytes_per_second`, 0 for no limit. The cluster is looked at every `look_seconds`, in
    which its own report must have caught up with what ran: what others use of it is believed when two looks agree.
    `http_listen` is for whoever looks after the site (`agent/http.py`), '' for nobody; metrics want the token in
    `http_token_file`, which may only be left out on a loopback address.

    Others reach the gateway at `gateway`; runs of the site at `gateway_inside`, '' where that is the same.
    """

    site: str
    state_dir: Path
    catalog: str
    gateway_listen: str
    tls: TlsFiles
    storage: StorageSettings
    keys: KeysSettings
    compute: ComputeSettings | None = None
    sources: tuple[SourceSettings, ...] = ()
    gateway: str = ""
    gateway_inside: str = ""
    quantum_bytes: int = 8 * MIB
    log_bytes_max: int = 16 * MIB
    transfer_bytes_per_second: int = 0
    look_seconds: int = LOOK_SECONDS
    log_days: int = LOG_DAYS
    http_listen: str = ""
    http_token_file: Path | None = None
    rates: RateSettings = GATEWAY_RATES


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """A Ray cluster that `fed up` starts for a site on this machine, with what it claims to have.

    It has the loopback address `address_ip` and the ports from `port_base` on to itself.
    """

    cpus: int
    address_ip: str
    port_base: int
    gpus: tuple[tuple[str, int], ...] = ()
    memory_bytes: int = 2_000_000_000


@dataclass(frozen=True, kw_only=True)
class SiteSettings:
    """One site of a federation file: what the catalog is told (`declared`) and what its agent is given."""

    declared: site.Site
    gateway: str
    gateway_listen: str
    storage: StorageSettings
    keys: KeysSettings | None
    ray: RaySettings | None = None
    compute: ComputeSettings | None = None
    sources: tuple[SourceSettings, ...] = ()
    tls: TlsFiles | None = None
    gateway_inside: str = ""
    quantum_bytes: int = 8 * MIB
    log_bytes_max: int = 16 * MIB
    transfer_bytes_per_second: int = 0
    look_seconds: int = LOOK_SECONDS
    log_days: int = LOG_DAYS
    http_listen: str = ""
    http_token_file: Path | None = None
    rates: RateSettings = GATEWAY_RATES

    @property
    def site(self) -> str:
        return self.declared.site


@dataclass(frozen=True, kw_only=True)
class FederationFile:
    """A federation as it was declared in a file. Agents reach the server at `agents_address`, people at `address`.

    Each is `host:port`, of several servers of one catalog with commas between.
    """

    path: Path
    federation: str
    listen: str
    agents_listen: str
    address: str
    agents_address: str
    database: str
    tables: str
    rate_card: Path | None
    offer_card: Path | None
    tls: TlsFiles | None
    sites: tuple[SiteSettings, ...]
    users: tuple[UserSettings, ...]
    lease_seconds: int
    key_lease_seconds: int
    heartbeat_seconds: int
    grant_seconds: int
    package_bytes_max: int
    query: QuerySettings
    engine: EngineSettings
    event_days: int
    backlog_facts_max: int
    tables_options: tuple[tuple[str, str], ...] = field(repr=False)
    http_listen: str = ""
    openlineage: OpenLineageSettings = OpenLineageSettings()
    database_file: Path | None = None
    rates: RateSettings = RateSettings()
    trust_domain: str = TRUST_DOMAIN
    issuers: tuple[people.Issuer, ...] = ()
    token_days: int = 30
    token_days_max: int = 366
    ca_key: Path | None = None

    def site(self, name: str) -> SiteSettings:
        """One declared site; NotFound with the declared ones otherwise."""
        found = next((row for row in self.sites if row.site == name), None)
        if found is None:
            declared = ", ".join(row.site for row in self.sites)
            raise errors.NotFound(
                f"{self.path} declares no site {name!r}", reason="SITE_UNKNOWN", help=f"Declared are: {declared or 'none'}."
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything of one federation lies under its state folder."""

    root: Path

    @property
    def server(self) -> Path:
        return self.root / "server"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Pid files of what runs."""
        return self.root / "run"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def admin_token(self) -> Path:
        return self.server / "admin.token"

    @property
    def ca(self) -> Path:
        return self.root / "pki" / "ca.crt"

    @property
    def ca_key(self) -> Path:
        return self.root / "pki" / "ca.key"

    def site(self, name: str) -> Path:
        """The state folder of a site's agent."""
        return self.root / "sites" / name

    def ray(self, name: str) -> Path:
        """What belongs to a site's Ray cluster."""
        return self.root / "ray" / name

    def server_tls(self) -> TlsFiles:
        """The server's identity."""
        return TlsFiles(ca=self.ca, cert=self.root / "pki" / "server.crt", key=self.root / "pki" / "server.key")

    def agent_tls(self, name: str) -> TlsFiles:
        """The identity of a site's agent."""
        folder = self.root / "pki" / "agents"
        return TlsFiles(ca=self.ca, cert=folder / f"{name}.crt", key=folder / f"{name}.key")
