"""The running federation as a file, and the same plan from it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from federation.cli import plan
from federation.core import columns, dataset, errors, job, planner, records, whatif
from federation.core.policy import Role
from federation.services import authorization, datasets, jobs, joining, namespaces, placement, policies, world
from federation.services.disclosure import Disclosure
from tests import builders
from tests.services.test_profiles import settle, work
from tests.sim import Simulation

ADMIN = builders.person("root", Role.ADMIN)


def exported(sim: Simulation, *names: str) -> whatif.WorldFile:
    """The federation, through its file."""
    revision = sim.catalog.revision()
    file = sim.read(lambda tx: world.export(tx, sim.ctx, names, revision=revision, known=Disclosure(tx, sim.ctx, ADMIN)))
    return whatif.parse_world("".join(whatif.pieces(file)))


def offline(file: whatif.WorldFile, request: job.JobRequest) -> job.Plan:
    """The plan that `fed plan` would make."""
    asked = whatif.parse_request("".join(whatif.pieces(whatif.RequestFile(format_version=1, request=request))))
    made, seen = whatif.world_of(file, asked)
    return planner.plan(made, plan.governed(file, made, seen))


def on_server(sim: Simulation, request: job.JobRequest) -> job.Plan:
    """The plan that CreateJob with validate_only answers."""
    planned = sim.write(lambda tx: jobs.plan_only(tx, sim.ctx, builders.person(), request)).plan
    assert planned is not None
    return planned


REQUESTS = (
    builders.request(["flights=sales/flights"], ["model=ml/model"], label="train"),
    builders.request(["flights=sales/flights", "lines=sales/lines"], hour_value_micros=3_000_000),
    builders.request(["lines=sales/lines@1"], sites=("us-1", "us-2"), cpus=2),
    builders.request(["orders=sales/orders"], ["x=ml/eu-only"], gpus=1, gpu_type="H100", deadline_seconds=9000),
    builders.request([], cpus=100_000),
)


@pytest.mark.parametrize("request_", REQUESTS, ids=range(len(REQUESTS)))
def test_a_plan_from_the_export_is_the_plan_of_the_server(sim: Simulation, request_: job.JobRequest) -> None:
    """To the last micro-dollar, note and rejection: after runs, with load, volumes, profiles and a queue."""
    sim.put("sales/flights", "eu-1", total=5 * 10**12)
    sim.put("sales/lines", "us-1", total=3 * 10**11)
    for read in (100, 300, 200):
        work(sim, read=read, rounds=40)
    settle(sim)
    sim.submit(builders.request(["flights=sales/flights"], label="running", cpus=4))
    sim.submit(builders.request(["flights=sales/flights"], label="waits", gpus=4096))
    assert offline(exported(sim), request_) == on_server(sim, request_)


def test_named_datasets_alone_are_exported(sim: Simulation) -> None:
    """The newest version, or the one that is named."""
    sim.put("sales/lines", "us-1")
    sim.put("sales/lines", "us-1")
    (row,) = exported(sim, "sales/lines").datasets
    assert [version.number for version in row.versions] == [2]
    (row,) = exported(sim, "sales/lines@1").datasets
    assert [version.number for version in row.versions] == [1]
    with pytest.raises(errors.NotFound):
        exported(sim, "sales/nothing")


def test_nothing_in_it_opens_anything(sim: Simulation) -> None:
    """No keys, no addresses, and not what waiting jobs would run."""
    for agent in sim.agents.values():
        agent.compute_error = "down"
        agent.beat()
    secret = builders.request(["flights=sales/flights"], entrypoint=("python", "secret.py"), env=(("NAME", "secret"),))
    waiting = sim.submit(secret)
    assert waiting.state is job.JobState.PENDING
    text = "".join(whatif.pieces(exported(sim)))
    assert waiting.job in text
    for hidden in ("secret", "signing_key", "sealing_key", "example:7443", "wrapped"):
        assert hidden not in text
    assert json.loads(text)["queue"][0]["request"]["inputs"][0]["dataset"] == "sales/flights"


def test_a_waiting_job_can_be_planned_from_the_file(sim: Simulation) -> None:
    """By its name, with the time that it was submitted at."""
    for agent in sim.agents.values():
        agent.compute_error = "down"
        agent.beat()
    waiting = sim.submit(builders.request(["flights=sales/flights"]))
    file = exported(sim)
    asked = whatif.queued(file, waiting.job)
    assert asked.submit_time == waiting.create_time
    assert planner.plan(*whatif.world_of(file, asked)).choice is None


@pytest.mark.invariant("P2")
@pytest.mark.parametrize(("purpose", "who"), [("fraud", "users/alice"), ("", "users/alice"), ("fraud", "users/eve")])
def test_a_plan_from_the_export_refuses_what_the_server_refuses(sim: Simulation, purpose: str, who: str) -> None:
    """By classification and grade, purpose and reader: the policies and what they know of the data travel with the world."""
    sim.put("sales/flights", "us-1")
    bound = {
        "classification": dataset.Classification.CONFIDENTIAL,
        "purposes": ("fraud",),
        "readers": ("users/alice",),
        "owner": "users/bob",
    }
    sim.write(lambda tx: namespaces.update(tx, builders.namespace(owner="users/bob"), frozenset({"owner"})))
    sim.write(lambda tx: datasets.update_dataset(tx, builders.dataset(**bound), frozenset(bound)))
    sim.write(lambda tx: joining.admit(tx, "us-2", "C", "its disk is old"))
    asked = builders.request(["flights=sales/flights"], purpose=purpose, principal=who)
    told = {row.site: (row.reason, row.detail) for row in offline(exported(sim), asked).rejections}
    seen = sim.read(lambda tx: placement.world(tx, sim.ctx, asked))
    assert {site: why for site, (reason, why) in told.items() if reason == "POLICY_DENIED"} == seen.denials
    may = (purpose, who) == ("fraud", "users/alice")
    assert seen.denials.keys() == ({"us-2"} if may else seen.site_names)


@pytest.mark.invariant("P2")
@pytest.mark.parametrize("sealed", [(), columns.parse(["health=diagnosis"])], ids=["open", "sealed"])
def test_a_plan_from_the_export_asks_for_column_classes_as_the_server_does(
    sim: Simulation, sealed: tuple[columns.ColumnClass, ...]
) -> None:
    """For the key of each class that is read, and with those that an output leaves unsealed: site by site."""
    sim.put("sales/clean", "us-1")
    rules = """
        @id("keys") @because("pii is for good sites") @control("test")
        forbid (principal, action == Fed::Action::"release_key", resource)
        when { context has column_class && context.column_class == "pii" && context has site && context.site.grade == "C" };
        @id("rows") @because("health stays sealed") @control("test")
        forbid (principal, action == Fed::Action::"write", resource)
        when { context.unsealed_classes.contains("health") && context has site && context.site in Fed::Jurisdiction::"EU" };
    """
    case = records.dumps(builders.case())
    sim.write(lambda tx: policies.apply(tx, sim.ctx, builders.POLICIES.default() + rules, "", (case,)), actor=ADMIN.name)
    sim.write(lambda tx: joining.admit(tx, "us-2", "C", "its disk is old"))
    read = job.InputSpec(alias="flights", dataset="sales/flights", column_classes=("health", "pii"))
    written = job.OutputSpec(alias="clean", dataset="sales/clean", column_classes=sealed)
    asked = dataclasses.replace(builders.request(), inputs=(read,), outputs=(written,))
    places = sim.read(lambda tx: placement.view(tx, sim.ctx)).sites
    server = sim.read(lambda tx: authorization.forbidden_sites(tx, sim.ctx, asked, places))
    told = {row.site: row.detail for row in offline(exported(sim), asked).rejections if row.reason == "POLICY_DENIED"}
    assert told == dict(server)
    why = {at: detail.partition(": ")[2].partition(" (")[0] for at, detail in told.items()}
    assert why == {"us-2": "pii is for good sites"} | ({} if sealed else {"eu-1": "health stays sealed"})


def test_a_world_without_policies_asks_none(sim: Simulation) -> None:
    """An older file, or one that somebody wrote: residency is asked, and nothing else."""
    sim.put("sales/flights", "us-1")
    file = dataclasses.replace(exported(sim), policies="")
    assert not [row for row in offline(file, builders.request(["flights=sales/flights"])).rejections if "POLICY" in row.reason]
