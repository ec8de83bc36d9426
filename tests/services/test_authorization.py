"""One check for all: submit, planner, grants, replication, looking and destroying; and labels that travel."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from pathlib import Path

import pytest

from federation.adapters.engine_embedded import DeltaFusionEngine
from federation.adapters.records_delta import DeltaRecords
from federation.core import authorization as values
from federation.core import columns, dataset, errors, ids, job, records
from federation.core.authorization import Action, Decided
from federation.core.dataset import Classification
from federation.core.policy import Role
from federation.services import (
    authorization,
    datasets,
    governance,
    identity,
    jobs,
    joining,
    namespaces,
    personal,
    policies,
    transfers,
)
from federation.services.committer import Committer
from tests import builders
from tests.sim import Simulation

ALICE, EVE = builders.person(), builders.person("eve")
ADMIN = builders.person("root", Role.ADMIN)
ORDERS = ids.dataset("sales/orders")


@pytest.fixture
def sim() -> Simulation:
    """Flights that everybody reads; orders that are Alice's, in a namespace of hers."""
    made = Simulation()
    made.write(lambda tx: namespaces.create(tx, made.ctx, builders.namespace("sales", owner="")), actor=ALICE.name)
    made.put("sales/flights", "us-1")
    made.put("sales/orders", "eu-1")
    change(made, owner=ALICE.name, readers=())
    return made


def change(sim: Simulation, name: str = "sales/orders", **fields: object) -> dataset.Dataset:
    """A dataset gets other fields, by its owner."""

    def work(tx):
        given = dataclasses.replace(datasets.get_dataset(tx, ids.dataset(name)), etag="", **fields)
        return datasets.update_dataset(tx, given, frozenset(fields))

    return sim.write(work, actor=ALICE.name)


def decisions(sim: Simulation) -> list[Decided]:
    """All decisions in the log."""
    return [records.loads(Decided, event.body) for event in sim.events() if event.kind == "policy.decided"]


def refused(sim: Simulation, work) -> errors.FederationError:
    """How it is refused."""
    with pytest.raises(errors.FederationError) as caught:
        sim.write(work)
    return caught.value


@pytest.mark.invariant("P4")
def test_what_one_may_not_know_of_is_answered_as_if_it_were_not_there(sim: Simulation) -> None:
    """The same code, words and help for every way of asking, and no event by which it could be told apart."""
    absent = ids.dataset("sales/nothing")
    before = len(sim.events())

    def ask(name: ids.DatasetName, way: str):
        ways = {
            "look": lambda tx: authorization.visible(tx, sim.ctx, EVE, name),
            "read": lambda tx: personal.open_read(tx, sim.ctx, EVE, name),
            "write": lambda tx: personal.open_write(tx, sim.ctx, EVE, name, "eu-1"),
            "submit": lambda tx: jobs.submit(tx, sim.ctx, EVE, builders.request([name.short])),
            "plan": lambda tx: jobs.plan_only(tx, sim.ctx, EVE, builders.request([name.short])),
            "copy": lambda tx: transfers.create(tx, sim.ctx, EVE, name.short, "us-1"),
            "delete": lambda tx: governance.delete_dataset(tx, sim.ctx, EVE, name),
            "update": lambda tx: governance.update_dataset(
                tx, sim.ctx, EVE, dataset.Dataset(namespace=name.namespace, dataset=name.dataset), frozenset({"labels"})
            ),
        }
        error = refused(sim, ways[way])
        told = (type(error), error.reason, error.message, error.help, dict(error.metadata))
        return json.loads(json.dumps([str(part) for part in told]).replace(name.dataset, "NAME"))

    for way in ("look", "read", "write", "submit", "plan", "copy", "delete", "update"):
        assert ask(ORDERS, way) == ask(absent, way), way
    assert len(sim.events()) == before
    assert sim.ctx.engines.unseen[EVE.name] == 16


@pytest.mark.invariant("P2")
def test_one_decision_serves_planner_grants_keys_replication_and_reads(sim: Simulation) -> None:
    """A classification that the sites' grades do not carry forbids each of them, by the same policy."""
    for name in ("eu-1", "us-1", "us-2"):
        sim.write(lambda tx, name=name: joining.admit(tx, name, "C", "its keyring lies on a shared disk"))
    change(sim, "sales/flights", classification=Classification.RESTRICTED)
    flights = ids.dataset("sales/flights")
    placed = sim.submit(builders.request(["sales/flights"]))
    assert placed.state is job.JobState.REJECTED
    assert {each.reason for each in placed.plan.rejections} == {"POLICY_DENIED"}
    assert all("ceiling.restricted" in each.detail for each in placed.plan.rejections)
    stored = sim.read(lambda tx: datasets.get_dataset(tx, flights))
    place = builders.site("us-1", grade="C")
    for work in (
        lambda tx: personal.open_write(tx, sim.ctx, ALICE, flights, "us-1"),
        lambda tx: transfers.create(tx, sim.ctx, ALICE, "sales/flights", "eu-1"),
        lambda tx: authorization.require(
            tx, sim.ctx, authorization.question(tx, values.subject(ALICE), values.Action.RELEASE_KEY, stored, at=place)
        ),
    ):
        error = refused(sim, work)
        assert (error.reason, error.metadata["policy"]) == ("POLICY_DENIED", "ceiling.restricted")


@pytest.mark.invariant("A1")
def test_a_decision_is_in_the_log_before_its_effect(sim: Simulation) -> None:
    """In the transaction of the grant, and of the run; with the set of policies that decided."""
    sim.submit(builders.request(["sales/flights"], ["ml/model"]))
    log = sim.events()
    asked = [event.position for event in log if event.kind == "policy.decided"]
    placed = next(event.position for event in log if event.kind == "run.placed")
    assert {(each.action, each.dataset) for each in decisions(sim)[-2:]} == {
        (Action.RUN, "sales/flights"),
        (Action.WRITE, "ml/model"),
    }
    assert max(asked) < placed
    last = decisions(sim)[-1]
    assert (last.allowed, last.digest, last.revision) == (
        True,
        builders.POLICIES.compile(builders.POLICIES.default()).digest,
        0,
    )


def test_purpose_time_and_hold_are_kept(sim: Simulation) -> None:
    """A purpose is needed where one is named; the use ends; nothing under hold is destroyed."""
    change(sim, purposes=("fraud",))
    request = builders.request(["sales/orders"])
    assert refused(sim, lambda tx: jobs.submit(tx, sim.ctx, ALICE, request)).metadata["policy"] == "purpose"
    assert sim.submit(dataclasses.replace(request, purpose="fraud")).state is job.JobState.PLACED
    change(sim, legal_hold=True)
    assert refused(sim, lambda tx: governance.delete_dataset(tx, sim.ctx, ALICE, ORDERS)).metadata["policy"] == "hold"
    change(sim, use_expire_time=sim.clock.now() + timedelta(days=1))
    sim.clock.advance(2 * 86_400)
    error = refused(sim, lambda tx: personal.open_read(tx, sim.ctx, ALICE, ORDERS, personal.Reading(purpose="fraud")))
    assert error.metadata["policy"] == "use.ended"


def test_a_namespace_is_its_owners(sim: Simulation) -> None:
    """Nobody else takes it over, nor makes datasets in it; an administrator may hand it on."""
    given = builders.namespace("sales", owner=EVE.name)
    error = refused(sim, lambda tx: governance.update_namespace(tx, sim.ctx, EVE, given, frozenset({"owner"})))
    assert error.reason == "NAMESPACE_NOT_YOURS"
    new = builders.dataset("sales/mine", owner=EVE.name)
    assert isinstance(refused(sim, lambda tx: governance.create_dataset(tx, sim.ctx, EVE, new)), errors.NotFound)
    sim.write(lambda tx: governance.update_namespace(tx, sim.ctx, ADMIN, given, frozenset({"owner"})))
    assert sim.write(lambda tx: governance.create_dataset(tx, sim.ctx, EVE, new)).owner == EVE.name


@pytest.mark.invariant("P3")
def test_labels_travel_and_only_a_declassification_loosens_them(sim: Simulation) -> None:
    """The strictest of all inputs; loosened not by the output's owner, but by who decides over the inputs, with a reason."""
    end = sim.clock.now() + timedelta(days=30)
    change(sim, readers=("users/eve",), purposes=("fraud", "credit"), use_expire_time=end, group_size_min=10)
    change(sim, "sales/flights", purposes=("fraud",))
    asked = builders.request(["sales/orders", "sales/flights"], ["lab/out"], purpose="fraud")
    sim.submit(asked, EVE)
    out = ids.dataset("lab/out")
    made = sim.read(lambda tx: datasets.get_dataset(tx, out))
    assert made.restrictions == dataset.Restrictions(
        classification=Classification.INTERNAL, purposes=("fraud",), use_expire_time=end, group_size_min=10
    )
    assert made.owner == EVE.name
    looser = dataclasses.replace(made, etag="", classification=Classification.PUBLIC, group_size_min=0)
    mask = frozenset({"classification", "group_size_min"})
    error = refused(sim, lambda tx: governance.update_dataset(tx, sim.ctx, EVE, looser, mask))
    assert (error.reason, error.metadata["fields"]) == ("LABEL_INHERITED", "classification,group_size_min")
    for who in (EVE, builders.person("eve", Role.ADMIN)):
        error = refused(sim, lambda tx, who=who: governance.declassify(tx, sim.ctx, who, looser, mask, "I want it"))
        assert error.reason == "DECLASSIFY_NOT_YOURS"
    assert refused(sim, lambda tx: governance.declassify(tx, sim.ctx, ADMIN, looser, mask, " ")).reason == "REASON_MISSING"
    done = sim.write(lambda tx: governance.declassify(tx, sim.ctx, ADMIN, looser, mask, "k-anonymous"), actor=ADMIN.name)
    assert (done.classification, done.group_size_min, done.purposes) == (Classification.PUBLIC, 0, ("fraud",))
    told = next(event for event in sim.events() if event.kind == "dataset.declassified")
    kept = records.loads(dataset.Declassified, told.body)
    assert (kept.by, kept.reason, kept.sources) == (ADMIN.name, "k-anonymous", ("sales/flights", "sales/orders"))
    assert kept.before.classification is Classification.INTERNAL


def test_a_release_is_an_export_of_each_input_that_binds(sim: Simulation) -> None:
    """Where groups must have a size that nobody counted it is refused when it is asked for, not when the run has ended."""
    change(sim, residency=("EU",), release_bytes_max=10**9)
    out = dataclasses.replace(builders.request([], ["lab/sums"]).outputs[0], release=True)
    request = dataclasses.replace(builders.request(["sales/orders"]), outputs=(out,))
    placed = sim.submit(request)
    sim.drive(10)
    assert sim.job(placed.job).state is job.JobState.SUCCEEDED
    told = [each for each in decisions(sim) if each.action is Action.EXPORT]
    assert [(each.dataset, each.question.aggregate, each.allowed) for each in told] == [("sales/orders", True, True)]
    change(sim, group_size_min=10)
    assert refused(sim, lambda tx: jobs.submit(tx, sim.ctx, ALICE, request)).metadata["policy"] == "group-size"


def test_a_set_is_applied_compared_and_replayed(sim: Simulation) -> None:
    """Only with green cases; the diff names what changes, the replay what would have; then the new set decides."""
    sim.submit(builders.request(["sales/flights"]))
    closed = builders.POLICIES.default() + (
        '@id("no.us") @because("not in the US") @control("x") forbid(principal, action == Fed::Action::"run", resource)'
        ' when { context has site && context.site in Fed::Jurisdiction::"US" };'
    )
    again = sim.read(lambda tx: policies.diff(tx, sim.ctx, builders.POLICIES.default()))
    assert (again.flips, again.asked, again.next_start) == ((), again.total, 0)
    flips = sim.read(lambda tx: policies.diff(tx, sim.ctx, closed)).flips
    assert {(each.action, each.site, each.before, each.after) for each in flips} == {
        ("run", "us-1", True, False),
        ("run", "us-2", True, False),
    }
    past = policies.replay(sim.catalog, None, sim.ctx, closed)
    assert [(each.dataset, each.site, each.after) for each in past.flips] == [("sales/flights", "us-1", False)]
    good = records.dumps(builders.case())
    bad = records.dumps(builders.case(name="wrong", allowed=False))
    error = refused(sim, lambda tx: policies.apply(tx, sim.ctx, closed, "", (good, bad)))
    assert error.reason == "POLICY_TESTS_FAILED"
    assert "wrong" in error.message
    assert refused(sim, lambda tx: policies.apply(tx, sim.ctx, closed, "", ())).reason == "CASES_INVALID"
    made = sim.write(lambda tx: policies.apply(tx, sim.ctx, closed, "no US", (good,)), actor=ADMIN.name)
    sim.clock.advance(1)
    assert (made.number, made.principal) == (1, ADMIN.name)
    placed = sim.submit(builders.request(["sales/flights"]))
    assert placed.run
    assert decisions(sim)[-1].revision == 1
    assert {each.site for each in placed.plan.rejections if each.reason == "POLICY_DENIED"} == {"us-1", "us-2"}
    assert sim.read(lambda tx: policies.get(tx, sim.ctx, 0)).text == builders.POLICIES.default()


#: What another set says, and who is asked for what, so that the diff tells of it.
NEWS = {
    'forbid(principal in Fed::Party::"groups/contractors", action == Fed::Action::"browse", resource)': ("users/-", ""),
    'permit(principal == Fed::User::"mallory", action == Fed::Action::"destroy", resource)': ("users/mallory", ""),
    'permit(principal in Fed::Party::"groups/night", action == Fed::Action::"destroy", resource)'
    ' when { principal in Fed::Party::"groups/shift" }': ("users/ada", ""),
    'forbid(principal, action == Fed::Action::"run", resource)'
    ' when { context has purpose && context.purpose == Fed::Purpose::"ads" }': ("users/ada", "ads"),
    'forbid(principal, action == Fed::Action::"replicate", resource) when { context.for_job }': ("users/ada", ""),
    'forbid(principal, action == Fed::Action::"export", resource)'
    ' when { context has destination && context.destination == Fed::Jurisdiction::"MARS" }': ("users/-", ""),
    'permit(principal, action == Fed::Action::"write", resource) when { principal.role == "ADMIN" }': ("users/-", ""),
    'forbid(principal, action == Fed::Action::"export", resource) when { context.aggregate }': ("users/ada", ""),
}


def test_a_diff_asks_for_whomever_and_whatever_a_policy_is_about(sim: Simulation) -> None:
    """Groups that only a token or a policy names, two at once, people who sign in elsewhere, purposes, places, copies."""
    sim.write(lambda tx: identity.create_token(tx, sim.ctx, "ada", Role.USER, groups=("night", "shift")))
    told = (f'@id("new.{n}") @because("new.{n}") @control("x") {policy};' for n, policy in enumerate(NEWS))
    found = sim.read(lambda tx: policies.diff(tx, sim.ctx, builders.POLICIES.default() + " ".join(told)))
    assert found.asked == found.total
    assert len(set(found.flips)) == len(found.flips)
    for n, wanted in enumerate(NEWS.values()):
        flips = {(each.principal, each.purpose) for each in found.flips if f"new.{n}" in each.because}
        assert wanted in flips, n


def test_a_diff_asks_of_writes_that_leave_a_class_unsealed(sim: Simulation) -> None:
    """Of each class that a dataset has: a job may read it, and write what it read anywhere."""
    classes = (columns.ColumnClass(name="pii", columns=("email",)),)
    newest = sim.read(lambda tx: datasets.get_version(tx, ids.VersionName(ORDERS, 1)))
    sim.write(lambda tx: tx.replace(dataclasses.replace(newest, column_classes=classes)))
    new = '@id("new") @because("new") @control("x") forbid(principal, action == Fed::Action::"write", resource) when { '
    for name, flips in (("pii", True), ("health", False)):
        text = builders.POLICIES.default() + f'{new}context.unsealed_classes.contains("{name}") }};'
        found = sim.read(lambda tx, text=text: policies.diff(tx, sim.ctx, text))  # type: ignore[misc]
        assert any(each.action == Action.WRITE for each in found.flips) is flips


def test_a_replay_says_nothing_of_what_no_policy_can_lift(sim: Simulation) -> None:
    """Residency refuses also where the policies would allow: the same set replayed differs in nothing."""
    lax = (
        builders.POLICIES.default()
        .replace('@id("residency.export")', '@id("nothing")')
        .replace("when { !context.aggregate && !resource.residency.isEmpty() }", "when { false }")
    )
    sim.write(lambda tx: policies.apply(tx, sim.ctx, lax, "", (records.dumps(builders.case()),)), actor=ADMIN.name)
    change(sim, residency=("EU",))
    with pytest.raises(values.Denied) as caught:
        sim.write(lambda tx: personal.open_read(tx, sim.ctx, builders.person(jurisdiction="US"), ORDERS))
    assert caught.value.reason == "RESIDENCY_DENIED"
    told = caught.value.decision
    assert told is not None
    assert (told.allowed, told.law) == (False, "RESIDENCY_DENIED")
    sim.write(lambda tx: authorization.note(tx, told))
    assert policies.replay(sim.catalog, None, sim.ctx, lax).flips == ()


def test_past_decisions_are_asked_again_from_the_table_and_the_log_after_it(sim: Simulation, tmp_path: Path) -> None:
    """The same whether they are in Delta, in the log, or some here and some there; from a time, before a time, in pieces."""
    for number in range(6):
        sim.submit(builders.request(["sales/flights"]))
        if number == 3:
            Committer(sim.catalog, DeltaRecords(str(tmp_path))).run_once()
        sim.clock.advance(86_400)
    record = DeltaFusionEngine(str(tmp_path))
    text = builders.POLICIES.default() + (
        '@id("no.run") @because("not now") @control("x") forbid(principal, action == Fed::Action::"run", resource);'
    )
    whole = policies.replay(sim.catalog, None, sim.ctx, text)
    assert len(whole.flips) >= 6
    assert policies.replay(sim.catalog, record, sim.ctx, text) == whole
    positions = [flip.position for flip in whole.flips]
    assert positions == sorted(set(positions))
    after = policies.replay(sim.catalog, record, sim.ctx, text, policies.Past(start=positions[2]))
    assert after.flips == whole.flips[3:]
    times = {event.position: event.time for event in sim.events("policy.decided")}
    first, last = times[positions[1]], times[positions[4]]
    between = policies.replay(sim.catalog, record, sim.ctx, text, policies.Past(from_time=first, to_time=last))
    assert [flip.position for flip in between.flips] == [at for at in positions if first <= times[at] < last]


def test_a_replay_goes_on_where_it_stopped(sim: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each decision once, over the end of the table and pages of it."""
    for number in range(5):
        sim.submit(builders.request(["sales/flights"]))
        if number == 2:
            Committer(sim.catalog, DeltaRecords(str(tmp_path))).run_once()
    record = DeltaFusionEngine(str(tmp_path))
    whole = policies.replay(sim.catalog, None, sim.ctx, builders.POLICIES.default())
    monkeypatch.setattr(policies, "PAGE", 2)
    monkeypatch.setattr(policies, "ASKED_MAX", 3)
    asked, start = 0, 0
    while True:
        part = policies.replay(sim.catalog, record, sim.ctx, builders.POLICIES.default(), policies.Past(start=start))
        asked, start = asked + part.asked, part.next_start
        if not start:
            break
    assert asked == whole.asked > 3
