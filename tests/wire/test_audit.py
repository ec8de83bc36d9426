"""Audit at the server's edge: nothing is done untold, refusals are told before they are heard, and who reads it is in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from federation import ports
from federation.adapters import catalog_memory
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.records_memory import MemoryRecords
from federation.adapters.system import UlidIds
from federation.cli import app, exits
from federation.client import connect
from federation.core import chain, compliance, dataset, errors, policy, records, trail, witness
from federation.core.events import TABLES
from federation.crypto import heads as signed_heads
from federation.crypto import witness as signed
from federation.services import bills, identity, jobs, keys, reconcile, refusals
from federation.services.committer import Committer
from federation.services.heads import HeadKeeper
from federation.v1 import audit_pb2, catalog_pb2, identity_pb2, leases_pb2, sites_pb2
from federation.wire import methods
from tests import builders
from tests.sim import Simulation
from tests.wire import edge as edges
from tests.wire.edge import Edge
from tests.wire.test_mutations import MUTATIONS, SENT, prepare, request

#: Fields that change without an event, and why that is no act: a site and a run say that they live.
PULSE = {
    "Site": {"heartbeat_time", "capacity", "compute_error", "etag", "update_time"},
    "Run": {"lease_time", "etag"},
    "Transfer": {"bytes_done", "etag"},
    "Escrow": {"behind", "etag"},
}
#: What bears no request_id, two of them as streams -> the events that tell of it, a transaction each. A package's bytes alone
#: are no act: they lie under their digest, and what tells of them is their name, or the job that runs them.
STEPS = {
    "Jobs.UploadPackage": ("package.named",),
    "Bills.ImportBill": ("bill.begun", bills.KIND, "bill.imported"),
    "Sites.JoinSite": ("site.joined",),
}
#: What servers keep among themselves.
OWN = {"CommitterLease", "Turn", "Cursor"}


@dataclass
class Commit:
    """What one transaction changed, by class, and the kinds of event that it told."""

    actor: str
    changed: dict[str, int]
    told: tuple[str, ...]
    request_ids: frozenset[str] = field(default_factory=frozenset)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[Commit]:
    """Every transaction that commits from now on, in any catalog in memory."""
    found: list[Commit] = []
    real = catalog_memory._Transaction.state

    def state(self: Any) -> Any:
        counted = ((cls.__name__, _changes(self, cls, rows)) for cls, rows in self._changed.items())
        changed = {name: count for name, count in counted if count and name not in OWN}
        if changed or self.emitted:
            told = tuple(event.kind for event in self.emitted)
            found.append(Commit(self.actor, changed, told, frozenset(event.request_id for event in self.emitted)))
        return real(self)

    monkeypatch.setattr(catalog_memory._Transaction, "state", state)
    return found


def _changes(tx: Any, cls: type, rows: Any) -> int:
    """How many rows of a class differ in more than a pulse."""
    before = tx._base.tables.get(cls, {})
    pulse = PULSE.get(cls.__name__, set())
    return sum(
        1
        for key in rows.keys() | before.keys()
        if rows.get(key) is not before.get(key) and (key not in rows or key not in before or _bare(tx, cls, key, pulse))
    )


def _bare(tx: Any, cls: type, key: str, pulse: set[str]) -> bool:
    now, was = (
        catalog_memory.catalog_rows.to_value(cls, rows[key].body) for rows in (tx._changed[cls], tx._base.tables.get(cls, {}))
    )
    return any(getattr(now, name) != getattr(was, name) for name in now.__dataclass_fields__ if name not in pulse)


def untold(commits: list[Commit]) -> list[Commit]:
    """Transactions that changed something and told nothing."""
    return [each for each in commits if each.changed and not each.told]


@pytest.fixture
def ready(certs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edge]:
    """A server of its own with something to act upon, and nothing that it does by itself."""
    monkeypatch.setattr(reconcile, "STEPS", {})
    started = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()))
    edges.populate(started)
    prepare(started)
    yield started
    started.stop()


def full(*_: Any, **__: Any) -> int:
    """What `emit` does while the log takes nothing."""
    raise errors.Unavailable("the log takes nothing", reason="LOG_FULL")


@pytest.mark.invariant("A1")
@pytest.mark.parametrize("row", MUTATIONS, ids=lambda row: row.key)
def test_every_act_of_people_is_told_in_its_own_transaction(ready: Edge, commits: list[Commit], row: methods.Method) -> None:
    """Each method that changes something, from the contract: what it changes and the event of it commit together."""
    ready.call(row.key, request(row, request_id="r-1"))
    mine = [each for each in commits if each.actor == "users/admin"]
    assert untold(commits) == []
    assert any("r-1" in each.request_ids for each in mine), f"{row.key} left no event under its request's id"


@pytest.mark.invariant("A1")
@pytest.mark.parametrize("row", MUTATIONS, ids=lambda row: row.key)
def test_what_cannot_be_told_is_not_done(ready: Edge, monkeypatch: pytest.MonkeyPatch, row: methods.Method) -> None:
    """The log does not take the event: the call fails, and nothing of its effect is there, not even its request's id."""
    before = content(ready)
    monkeypatch.setattr(catalog_memory._Transaction, "_emit", full)
    with pytest.raises(errors.Unavailable) as caught:
        ready.call(row.key, request(row, request_id="r-1"))
    assert caught.value.reason == "LOG_FULL"
    assert content(ready) == before


@pytest.mark.invariant("A1")
@pytest.mark.parametrize(("key", "kinds"), STEPS.items())
def test_what_bears_no_id_is_told_step_by_step(
    ready: Edge, commits: list[Commit], monkeypatch: pytest.MonkeyPatch, key: str, kinds: tuple[str, ...]
) -> None:
    """Each transaction tells what it changes; and whichever event the log does not take, nothing is done from there on."""
    sent = SENT[key](ready)
    real = catalog_memory._Transaction._emit
    room = 0

    def emit(tx: Any, *what: Any, **more: Any) -> int:
        nonlocal room
        room -= not is_servers(tx.actor)
        return full() if room < 0 else real(tx, *what, **more)

    def told() -> tuple[str, ...]:
        assert untold(commits) == []
        return tuple(kind for each in commits if not is_servers(each.actor) for kind in each.told)

    monkeypatch.setattr(catalog_memory._Transaction, "_emit", emit)
    for taken in range(len(kinds)):
        del commits[:]
        room = taken
        with pytest.raises(errors.Unavailable, match="LOG_FULL"):
            ready.call(key, sent)
        assert told() == kinds[:taken]
    del commits[:]
    room = len(kinds)
    ready.call(key, sent)
    assert told() == kinds


def is_servers(actor: str) -> bool:
    """Whether a server acts by itself."""
    return actor.partition("/")[0] == "server"


def content(edge: Edge) -> dict[str, Any]:
    """All rows of a catalog in memory, but what a pulse changes."""
    tables = edge.catalog._state.tables
    rows = {f"{cls.__name__}/{key}": row.body for cls, some in tables.items() for key, row in some.items()}
    return {
        **{name: body for name, body in rows.items() if name.partition("/")[0] not in PULSE.keys() | OWN},
        "requests": dict(edge.catalog._state.requests),
    }


@pytest.mark.invariant("A1")
def test_whatever_agents_and_the_server_do_is_told_too(commits: list[Commit]) -> None:
    """A federation at work: puts, jobs that run and read, a site that falls silent. Only pulses leave no event."""
    sim = Simulation()

    sim.put("sales/flights", "us-1")
    sim.put("sales/weather", "eu-1")
    for number in range(4):
        sim.submit(builders.request(["flights=sales/flights", "weather=sales/weather"], [f"out=sales/out-{number}"]))
    sim.drive(3)
    sim.agents["us-1"].die()
    sim.wait(60)
    sim.finish_everything()
    assert len(commits) > 30
    assert {each.actor.partition("/")[0] for each in commits} >= {"users", "agents", "server"}
    assert untold(commits) == []


@pytest.mark.invariant("A1")
def test_what_agents_do_with_keys_is_told_too(commits: list[Commit]) -> None:
    """A site's word on its KEKs, rows under another one, and the name that somebody gives to a package."""
    sim = Simulation()
    sim.put("sales/flights", "us-1")
    agent, (row,) = sim.agents["us-1"], sim.all(dataset.WrappedKey)
    del commits[:]
    agent.write(lambda tx: keys.report(tx, "us-1", "local", "k-2", ("k-1", "k-2"), 0))
    agent.write(lambda tx: keys.replace(tx, "us-1", [(row.wrapped, dataclasses.replace(row, kek="k-2", wrapped="ef"))]))
    sim.write(lambda tx: jobs.name_package(tx, builders.person(), "code", "0" * 64), actor="users/alice")
    assert [each.told for each in commits] == [("keys.reported",), ("keys.rewrapped",), ("package.named",)]
    agent.write(lambda tx: keys.replace(tx, "us-1", [(row.wrapped, row)]))
    sim.write(lambda tx: jobs.name_package(tx, builders.person(), "code", "0" * 64), actor="users/alice")
    assert len(commits) == 3, "what changes nothing tells nothing"


def test_the_law_would_see_a_change_that_is_not_told(ready: Edge, commits: list[Commit]) -> None:
    """Else the tests above could not fail."""
    ready.catalog.write(lambda tx: tx.insert(builders.namespace("quiet")), actor="users/admin")
    (found,) = untold(commits)
    assert found.changed == {"Namespace": 1}
    ready.call("Identity.WhoAmI", identity_pb2.WhoAmIRequest())
    assert len(untold(commits)) == 1


# Refusals


@pytest.fixture(scope="module")
def kept(certs: Any) -> Iterator[Edge]:
    """A server whose tables hold what its catalog told, signed."""
    catalog, sink = MemoryCatalog(edges.clock(), UlidIds()), MemoryRecords()
    started = edges.start(certs, catalog, reader=sink)
    edges.populate(started)
    committer = Committer(catalog, sink, heads=HeadKeeper(catalog, sink, edges.GRANT_KEY))
    for _ in range(2):
        committer.run_once()
    yield started
    started.stop()


def refused(edge: Edge, key: str, sent: Any, *, who: str, **how: Any) -> errors.FederationError:
    """A call that is refused."""
    with pytest.raises(errors.FederationError) as caught:
        edge.call(key, sent, who=who, **how)
    return caught.value


def newest(edge: Edge, kind: str) -> trail.AuditRow:
    """The newest entry of a kind."""
    event = edge.catalog.events(0, kinds=[kind])[-1]
    return trail.of_event(event)


@pytest.mark.invariant("A1")
def test_a_missing_permission_is_told_before_its_caller_hears_of_it(kept: Edge) -> None:
    """Who, which method, why; of a unary method and of a stream; and by a token whose scopes are narrower than its role."""
    refused(kept, "Sites.DeleteSite", sites_pb2.DeleteSiteRequest(name="sites/eu-1", request_id="r-7"), who="user")
    row = newest(kept, trail.CALL_REFUSED_KIND)
    assert (row.actor, row.outcome, row.resource, row.request_id) == (
        "users/user",
        trail.Outcome.REFUSED,
        "methods/Sites.DeleteSite",
        "r-7",
    )
    assert trail.text(trail.body(row), "reason") == "PERMISSION_MISSING"
    refused(kept, "Audit.VerifyAudit", audit_pb2.VerifyAuditRequest(table="audit"), who="user")
    assert newest(kept, trail.CALL_REFUSED_KIND).resource == "methods/Audit.VerifyAudit"
    kept.tokens["scoped"] = kept.catalog.write(
        lambda tx: identity.create_token(tx, kept.ctx, "ada", policy.Role.ADMIN, "", scopes=("sites.get",))[1]
    )
    refused(kept, "Catalog.ListNamespaces", catalog_pb2.ListNamespacesRequest(), who="scoped")
    assert newest(kept, trail.CALL_REFUSED_KIND).actor == "users/ada"


def test_what_the_policy_refuses_is_told_once(kept: Edge) -> None:
    """As the decision that it is, and not as a call as well."""
    calls = len(kept.catalog.events(0, kinds=[trail.CALL_REFUSED_KIND]))
    kept.catalog.write(lambda tx: tx.insert(builders.dataset("sales/bound", purposes=("billing",))))
    asked = catalog_pb2.OpenReadRequest(name="namespaces/sales/datasets/bound", site="eu-1", purpose="marketing")
    assert refused(kept, "Catalog.OpenRead", asked, who="user").reason == "POLICY_DENIED"
    row = newest(kept, "policy.decided")
    assert (row.outcome, row.dataset, row.actor) == (trail.Outcome.REFUSED, "sales/bound", "users/user")
    assert len(kept.catalog.events(0, kinds=[trail.CALL_REFUSED_KIND])) == calls


def test_a_refusal_by_any_other_rule_is_told_as_well(kept: Edge) -> None:
    """Residency, ownership, a site's own affairs: whatever answers PERMISSION_DENIED."""
    sent = identity_pb2.CreateTokenRequest(token=identity_pb2.Token(user="users/root", role="ADMIN"))
    error = refused(kept, "Identity.CreateToken", sent, who="user")
    assert isinstance(error, errors.PermissionDenied)
    row = newest(kept, trail.CALL_REFUSED_KIND)
    assert (row.resource, trail.text(trail.body(row), "reason")) == ("methods/Identity.CreateToken", error.reason)


@pytest.mark.invariant("A1")
def test_who_tries_to_erase_what_is_under_legal_hold_is_told(kept: Edge) -> None:
    """They may destroy it, so no policy has refused them; that they tried is what a court will ask for."""

    def hold(tx: ports.Transaction) -> None:
        tx.insert(builders.dataset("sales/held", legal_hold=True, latest_version=1))
        tx.insert(builders.version("sales/held@1"))

    kept.catalog.write(hold)
    sent = leases_pb2.EraseVersionRequest(version="sales/held@1", reason="quickly")
    assert refused(kept, "Erasures.EraseVersion", sent, who="admin").reason == "LEGAL_HOLD"
    row = newest(kept, trail.CALL_REFUSED_KIND)
    assert (row.actor, row.dataset, row.outcome) == ("users/admin", "sales/held", trail.Outcome.REFUSED)


def test_strangers_are_counted_and_told_once_a_minute(kept: Edge) -> None:
    """They could fill the log: by their address and reason, however many they are."""
    for _ in range(3):
        refused(kept, "Identity.WhoAmI", identity_pb2.WhoAmIRequest(), who="")
    kept.ctx.strangers.told_time = None
    kept.catalog.write(lambda tx: refusals.tell_strangers(tx, kept.ctx), actor="server")
    rows = [trail.body(trail.of_event(event)) for event in kept.catalog.events(0, kinds=[trail.STRANGERS_KIND])]
    told = [each for row in rows for each in row["counts"]]
    assert sum(times for _, reason, times in told if reason == "TOKEN_MISSING") == 3
    assert all("127.0.0.1" in place for place, *_ in told)
    refusals.count_stranger(kept.ctx.strangers, "ipv4:10.0.0.1", "TOKEN_INVALID")
    assert kept.catalog.write(lambda tx: refusals.tell_strangers(tx, kept.ctx)) == 0, "not again within the minute"
    for number in range(refusals.STRANGERS_MAX + 10):
        refusals.count_stranger(kept.ctx.strangers, f"ipv6:{number}", "TOKEN_INVALID")
    assert len(kept.ctx.strangers.counts) == refusals.STRANGERS_MAX + 1
    assert "strangers" in reconcile.STEPS.keys() & reconcile.OWN, "each server tells of its own"


def test_a_refusal_that_cannot_be_told_is_still_a_refusal(kept: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done because the log is full."""
    monkeypatch.setattr(catalog_memory._Transaction, "_emit", full)
    error = refused(kept, "Sites.DeleteSite", sites_pb2.DeleteSiteRequest(name="sites/eu-1"), who="user")
    assert error.reason == "LOG_FULL"
    assert kept.client().get_site("eu-1").site == "eu-1"


# Reading it


def test_who_reads_the_audit_is_in_it_before_the_answer(kept: Edge) -> None:
    """Lists, entries, proofs, reports and queries: each with its words."""
    with kept.client("auditor") as client:
        list(client.list_audit_entries(filter='kind = "site.*"'))
        client.get_audit_entry(1)
        list(client.verify_audit("audit"))
        now = edges.clock().now()
        client.export_compliance(now - timedelta(days=1), now, dataset="sales/flights")
    told = [trail.body(trail.of_event(event)) for event in kept.catalog.events(0, kinds=[trail.QUERIED_KIND])]
    by = {event.actor for event in kept.catalog.events(0, kinds=[trail.QUERIED_KIND])}
    asked = [(each["method"], each["text"]) for each in told]
    assert ("Audit.ListAuditEntries", 'kind = "site.*"') in asked
    assert ("Audit.GetAuditEntry", "auditEntries/1") in asked
    assert ("Audit.VerifyAudit", "audit") in asked
    assert [text for method, text in asked if method == "Audit.ExportCompliance"][-1].endswith('dataset: "sales/flights"')
    assert "users/auditor" in by


def test_the_newest_entries_come_first_and_filters_hold(kept: Edge) -> None:
    """As the SDK gives them: values with who, what and how it went."""
    with kept.client() as client:
        every = list(client.list_audit_entries())
        assert [row.position for row in every] == sorted((row.position for row in every), reverse=True)
        sites = list(client.list_audit_entries(filter='kind = "site.*" AND site = "eu-1"'))
        assert {row.site for row in sites} == {"eu-1"}
        assert client.get_audit_entry(sites[0].position) == sites[0]
        with pytest.raises(errors.NotFound):
            client.get_audit_entry(10**9)
        with pytest.raises(errors.InvalidArgument):
            kept.call("Audit.GetAuditEntry", audit_pb2.GetAuditEntryRequest(name="auditEntries/x"))


def test_a_server_proves_its_tables_also_by_what_witnesses_have_kept(kept: Edge) -> None:
    """The last answer is what was found; too many words, and a table that there is not, are refused."""
    with kept.client("auditor") as client:
        for table in TABLES:
            *_, found = client.verify_audit(table)
            assert (found.table, found.intact) == (table, True)
    word = audit_pb2.Cosignature(site="eu-1")
    many = audit_pb2.VerifyAuditRequest(table="audit", cosignatures=[word] * 1001)
    assert refused(kept, "Audit.VerifyAudit", many, who="admin").reason == "BATCH_TOO_LARGE"
    assert refused(kept, "Audit.VerifyAudit", audit_pb2.VerifyAuditRequest(table="x"), who="admin").reason == "TABLE_UNKNOWN"


def test_an_auditor_reads_all_of_it_and_changes_nothing(kept: Edge) -> None:
    """What an auditor may call is what reads audit, ledger, lineage, policies and the state of things; and no data."""
    auditor = policy.Principal(name="users/auditor", role=policy.Role.AUDITOR)
    may = {
        row.key for row in methods.TABLE.values() if row.service in methods.PEOPLE and policy.allowed(auditor, row.permission)
    }
    changing = {row.key for row in MUTATIONS}
    assert may >= {
        *("Audit.ListAuditEntries", "Audit.GetAuditEntry", "Audit.VerifyAudit", "Audit.ExportCompliance", "Ledger.VerifyTable"),
        *("Leases.ListLeases", "Policies.GetPolicyRevision", "Records.QueryRecords", "Costs.ExportLedger", "Identity.WhoAmI"),
        *("Erasures.GetDeletionCertificate", "Keys.ListKeyrings", "Lineage.GetLineage", "Sites.OpenCheck"),
    }
    assert may & changing <= {"Sites.OpenCheck", "Identity.RevokeToken", "Identity.CreateToken"}
    assert not may & {"Catalog.OpenRead", "Catalog.OpenWrite", "Jobs.CreateJob", "Jobs.OpenLogs", "Policies.ApplyPolicies"}


def test_an_administrator_makes_an_auditors_token_and_it_opens_the_audit_and_no_data(kept: Edge) -> None:
    """`fed token create --role AUDITOR`, and what it is good for."""
    with kept.client() as client:
        made = client.create_token("audrey", role="AUDITOR", expires_in_seconds=600)
    with kept.client(made.secret) as auditor:
        assert auditor.who_am_i().role == "AUDITOR"
        assert next(iter(auditor.list_audit_entries())).actor == "users/audrey"
        for forbidden in (
            lambda: auditor.open_read("sales/flights"),
            lambda: auditor.delete_dataset("sales/flights"),
            lambda: auditor.revoke_token(made.token + "x"),
        ):
            with pytest.raises((errors.PermissionDenied, errors.NotFound)):
                forbidden()


# At the command line


@pytest.fixture
def fed(kept: Edge, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command line of an auditor's `fed` against that server."""
    monkeypatch.setattr(connect, "connect", lambda _context: kept.client("auditor"))
    return lambda *words: CliRunner().invoke(app.fed, words)


def test_filters_of_the_command_become_one_expression_whatever_they_hold(kept: Edge, fed: Callable[..., Result]) -> None:
    """As many entries as asked for are shown, newest first; quotes and wildcards in names are names."""
    told = fed(
        "audit", "list", "--kind", "site.*", "--site", "us-1", "--outcome", "DONE", "--limit", "1", "--from", "2026-01-01"
    )
    assert told.exit_code == exits.OK, told.output
    (line,) = told.stdout.splitlines()[1:]
    assert "us-1" in line
    assert "there may be more" in told.stderr
    hostile = 'users/"eve"\\'
    told = fed("audit", "list", "--principal", hostile, "-o", "json")
    assert json.loads(told.stdout) == []
    asked = trail.text(trail.body(newest(kept, trail.QUERIED_KIND)), "text")
    assert trail.parse(asked).principal == hostile
    assert fed("audit", "list", "--from", "soon").exit_code == exits.USAGE


def test_an_entry_is_shown_with_what_it_tells(fed: Callable[..., Result]) -> None:
    """Its body as JSON, for people and for programs."""
    listed = json.loads(fed("audit", "list", "--kind", "namespace.created", "-o", "json").stdout)
    position = listed[0]["position"]
    assert '"name": "sales"' in fed("audit", "show", str(position)).stdout
    answer = json.loads(fed("audit", "show", str(position), "-o", "json").stdout)
    assert (answer["name"], json.loads(answer["body"])["name"]) == (f"auditEntries/{position}", "sales")
    assert fed("audit", "show", "999999999").exit_code == exits.NOT_FOUND


def test_a_server_is_asked_for_the_proof_of_its_tables(kept: Edge, fed: Callable[..., Result], tmp_path: Path) -> None:
    """With what a witness has kept in a file: a head that the tables do not agree with is found."""
    assert fed("audit", "verify", "--table", "audit").exit_code == exits.OK
    bare = chain.Head(table="audit", position=10**6, rows=10**5, chain=bytes(32))
    word = signed.sign(bytes(32), "eu-1", (signed_heads.sign(edges.GRANT_KEY, bare, builders.NOW),), builders.NOW)
    (tmp_path / "witness.jsonl").write_text(records.dumps(witness.WitnessLine(cosignature=word)) + "\n")
    told = fed("audit", "verify", "--table", "audit", "--witness", str(tmp_path / "witness.jsonl"))
    assert told.exit_code == exits.ERROR
    assert "ROWS_CUT" in told.stdout


def test_a_report_is_written_as_json_and_as_a_page(fed: Callable[..., Result], tmp_path: Path) -> None:
    """JSON as its schema says; the page in a file; and without either the sums of it."""
    times = ("--from", "2026-01-01", "--to", "2100-01-01T06:00:00Z")
    answer = json.loads(fed("compliance", "report", *times, "-o", "json").stdout)
    jsonschema.validate(answer, compliance.json_schema())
    assert {row["kind"] for row in answer["changes"]} >= {"namespace.created", "dataset.created"}
    told = fed("compliance", "report", *times, "--html", str(tmp_path / "report.html"))
    assert (told.exit_code, told.stdout) == (exits.OK, "")
    assert "Compliance report 2026-01-01 to 2100-01-01" in (tmp_path / "report.html").read_text()
    assert "uses of data" in fed("compliance", "report", *times).stdout
    assert fed("compliance", "report", *times, "--html", str(tmp_path)).exit_code == exits.USAGE
    assert fed("compliance", "report", *times, "--dataset", "a/b", "--namespace", "a").exit_code == exits.USAGE
    assert fed("compliance", "report", "--from", "soon", "--to", "later").exit_code == exits.USAGE


def test_people_who_may_not_are_told_so(kept: Edge, fed: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, and the exit code of a refusal."""
    monkeypatch.setattr(connect, "connect", lambda _context: kept.client("user"))
    told = fed("compliance", "report", "--from", "2026-11-01", "--to", "2026-12-01", "-o", "json")
    assert told.exit_code == exits.DENIED
    assert json.loads(told.stderr)["error"]["reason"] == "PERMISSION_MISSING"
