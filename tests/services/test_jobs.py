"""The way of a job: submitted, placed, taken, run, ended once; and what happens when somebody dies or comes late."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest

from federation.core import columns, dataset, errors, ids, job, kinds, lineage, metering
from federation.core.grants import Access
from federation.core.job import JobState
from federation.crypto import grants as signed
from federation.crypto import hpke, signing
from federation.services import datasets, jobs
from tests import builders
from tests.sim import GRANT_KEY, LEASE_SECONDS, SimulatedAgent, Simulation, grant_of

PII = columns.parse(["pii=email"])


def train(inputs: Iterable[str] = ("sales/flights",), **changes: object) -> job.JobRequest:
    """A job that makes a model of the flights."""
    return builders.request(inputs, ["model=ml/delay-model"], **changes)


def running(sim: Simulation, **changes: object) -> tuple[job.Job, SimulatedAgent, str]:
    """A job that runs, its agent, and its run."""
    submitted = sim.submit(train(**changes))
    agent = sim.agents[sim.run_of(submitted.job).site]
    agent.work()
    agent.accept(submitted.run)
    agent.begin(submitted.run)
    return sim.job(submitted.job), agent, submitted.run


# Submitting


def test_a_job_goes_to_its_data_and_ends_with_a_version_of_its_output(sim: Simulation) -> None:
    """Placed beside the flights, it runs there, commits once, and its lineage names what it read and made."""
    submitted = sim.submit(train())
    assert (submitted.state, submitted.run) == (JobState.PLACED, f"jobs/{submitted.job}/runs/1")
    sim.drive(3)
    ended, run = sim.job(submitted.job), sim.run_of(submitted.job)
    assert (ended.state, run.state, run.site, run.outputs) == (
        JobState.SUCCEEDED,
        JobState.SUCCEEDED,
        "us-1",
        ("ml/delay-model@1",),
    )
    assert sim.dataset("ml/delay-model").latest_version == 1
    assert [(edge.direction, edge.node) for edge in sim.all(lineage.Edge) if edge.run == run.run] == [
        ("in", "sales/flights@1"),
        ("out", "ml/delay-model@1"),
    ]


def test_the_version_of_an_input_is_fixed_when_the_job_is_submitted(sim: Simulation) -> None:
    """A version that is written afterwards is not read."""
    submitted = sim.submit(train())
    sim.put("sales/flights", "us-1")
    assert submitted.request.inputs[0].version == 1
    assert sim.job(submitted.job).request.inputs[0].version == 1
    assert sim.submit(train()).request.inputs[0].version == 2


def test_a_job_says_who_submitted_it_whatever_its_request_says(sim: Simulation) -> None:
    """The principal is the caller, never a field of the request."""
    submitted = sim.submit(dataclasses.replace(train(), principal="users/mallory"), builders.person("bob"))
    assert submitted.request.principal == "users/bob"


def test_a_job_makes_its_output_dataset_and_namespace_with_the_residency_of_its_inputs(sim: Simulation) -> None:
    """What is made of EU orders is bound to the EU, of the kind that was asked for, and owned by the caller."""
    request = dataclasses.replace(
        builders.request(["sales/orders"]), outputs=(job.OutputSpec(alias="m", dataset="ml/m", kind="MODEL"),)
    )
    sim.submit(request)
    made = sim.dataset("ml/m")
    assert (made.residency, made.kind, made.owner) == (("EU",), dataset.DatasetKind.MODEL, "users/alice")


def test_an_existing_output_is_tightened_and_never_loosened(sim: Simulation) -> None:
    """Residency of an output is the strictest of its inputs and its own."""
    sim.put("ml/sums", "eu-1")
    sim.submit(builders.request(["sales/orders"], ["sums=ml/sums"]))
    assert sim.dataset("ml/sums").residency == ("EU",)
    sim.submit(builders.request(["sales/flights"], ["sums=ml/sums"]))
    assert sim.dataset("ml/sums").residency == ("EU",)


def test_inputs_that_exclude_each_other_are_refused_by_both_names(sim: Simulation) -> None:
    """EU-only and US-only data meet nowhere."""
    sim.put("sales/usa", "us-1", residency=("US",))
    with pytest.raises(errors.InvalidArgument, match=r"sales/orders.*sales/usa") as caught:
        sim.submit(builders.request(["sales/orders", "sales/usa"]))
    assert caught.value.reason == "RESIDENCY_CONTRADICTION"


def test_an_output_that_already_lies_outside_is_refused_by_name(sim: Simulation) -> None:
    """A dataset with a US replica cannot take what must stay in the EU."""
    sim.put("ml/global", "us-1")
    with pytest.raises(errors.InvalidArgument, match=r"ml/global@1 lies at us-1.*sales/orders") as caught:
        sim.submit(builders.request(["sales/orders"], ["g=ml/global"]))
    assert caught.value.reason == "RESIDENCY_CONTRADICTION"


def test_a_job_that_no_site_can_ever_run_is_rejected_and_leaves_nothing_behind(sim: Simulation) -> None:
    """REJECTED with every site's reason, no run, and no output dataset."""
    rejected = sim.submit(train(gpus=1, gpu_type="H100"))
    assert (rejected.state, rejected.reason, rejected.run) == (JobState.REJECTED, "GPU_TYPE_MISSING", "")
    assert rejected.plan is not None
    assert [refusal.site for refusal in rejected.plan.rejections] == ["eu-1", "us-1", "us-2"]
    with pytest.raises(errors.NotFound):
        sim.dataset("ml/delay-model")


def test_a_job_that_must_wait_is_pending_and_goes_when_there_is_room(sim: Simulation) -> None:
    """A full federation makes a job wait; the sweep places it when another ends."""
    first = [sim.submit(train(cpus=16, inputs=("sales/orders",)))]
    waiting = sim.submit(builders.request(["sales/orders"], cpus=16))
    assert (waiting.state, waiting.reason) == (JobState.PENDING, "CPUS_EXHAUSTED")
    sim.drive(3)
    assert sim.job(first[0].job).state is JobState.SUCCEEDED
    assert sim.job(waiting.job).state is not JobState.PENDING


def test_waiting_is_told_once_and_not_each_second(sim: Simulation) -> None:
    """A job that goes on waiting for the same reason makes no events."""
    sim.submit(builders.request(["sales/orders"], cpus=16))
    sim.submit(builders.request(["sales/orders"], cpus=16))
    before = sim.catalog.revision()
    for _ in range(3):
        sim.clock.advance(1)
        assert sim.sweep() == 0
    assert sim.catalog.revision() == before


def test_the_plan_is_made_at_the_revision_of_the_jobs_own_creation(sim: Simulation) -> None:
    """So that a plan can be told to have seen everything before it."""
    submitted = sim.submit(train())
    (created,) = (event for event in sim.events("job.created") if event.name.endswith(submitted.job))
    assert submitted.plan is not None
    assert submitted.plan.revision == created.position


def test_planning_alone_stores_nothing_and_may_assume_sizes(sim: Simulation) -> None:
    """`fed job plan --assume-size`: another size, another plan, the same catalog."""
    request = train(["sales/flights", "sales/weather"])
    big = tuple(dataclasses.replace(spec, assumed_bytes=10**13 if spec.alias == "weather" else 0) for spec in request.inputs)
    before = sim.catalog.revision()
    small_plan = sim.read(lambda tx: jobs.plan_only(tx, sim.ctx, builders.person(), request))
    big_plan = sim.read(lambda tx: jobs.plan_only(tx, sim.ctx, builders.person(), dataclasses.replace(request, inputs=big)))
    assert small_plan.plan is not None
    assert big_plan.plan is not None
    assert [small_plan.plan.ranked[0].site, big_plan.plan.ranked[0].site] == ["us-1", "eu-1"]
    assert (small_plan.state, sim.catalog.revision()) == (JobState.PLACED, before)
    with pytest.raises(errors.InvalidArgument, match="planning only"):
        sim.submit(dataclasses.replace(request, inputs=big))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"entrypoint": ()}, "JOB_REQUEST_INVALID"),
        ({"max_attempts": 11}, "JOB_REQUEST_INVALID"),
        ({"duration_seconds": -1}, "JOB_REQUEST_INVALID"),
        ({"env": (("FED_TOKEN", "x"),)}, "JOB_REQUEST_INVALID"),
        ({"env": (("A", "x" * 70_000),)}, "JOB_REQUEST_INVALID"),
        ({"runtime_env": "{"}, "JOB_REQUEST_INVALID"),
        ({"runtime_env": "[]"}, "JOB_REQUEST_INVALID"),
        ({"runtime_env": '{"working_dir": "/"}'}, "JOB_REQUEST_INVALID"),
        ({"ingest_from": "s3://x"}, "JOB_REQUEST_INVALID"),
        ({"kind": job.JobKind.INGEST}, "JOB_REQUEST_INVALID"),
        ({"resources": job.Resources(gpu_type="H100")}, "JOB_REQUEST_INVALID"),
        ({"namespace": "No"}, "NAME_INVALID"),
        ({"inputs": (job.InputSpec(alias="9", dataset="sales/flights"),)}, "NAME_INVALID"),
        ({"inputs": (job.InputSpec(alias="a", dataset="sales/flights"),) * 2}, "JOB_REQUEST_INVALID"),
        ({"inputs": (job.InputSpec(alias="a", dataset="sales/nothing"),)}, "NOT_FOUND"),
        ({"inputs": (job.InputSpec(alias="a", dataset="sales/flights", version=9),)}, "NOT_FOUND"),
        (
            {"outputs": (job.OutputSpec(alias="a", dataset="a/b"), job.OutputSpec(alias="c", dataset="a/b"))},
            "JOB_REQUEST_INVALID",
        ),
        ({"outputs": (job.OutputSpec(alias="a", dataset="a/b", kind="TABLE"),)}, "JOB_REQUEST_INVALID"),
        ({"sites": ("mars-1",)}, "NOT_FOUND"),
        ({"outputs": (job.OutputSpec(alias="a", dataset="a/b", column_classes=PII, count_column="n"),)}, "JOB_REQUEST_INVALID"),
        (
            {
                "kind": job.JobKind.INGEST,
                "ingest_from": "s3://x",
                "inputs": (),
                "outputs": (job.OutputSpec(alias="a", dataset="a/b", column_classes=PII),),
            },
            "JOB_REQUEST_INVALID",
        ),
        (
            {"outputs": (job.OutputSpec(alias="a", dataset="a/b", column_classes=(*PII, *PII)),)},
            "COLUMN_CLASS_INVALID",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason_and_changes_nothing(
    sim: Simulation, change: dict[str, object], reason: str
) -> None:
    """Each thing that can be wrong with a request has a reason that a program can match."""
    before = sim.catalog.revision()
    with pytest.raises(errors.FederationError) as caught:
        sim.submit(dataclasses.replace(train(), **change))  # type: ignore[arg-type]
    assert (caught.value.reason, sim.catalog.revision()) == (reason, before)


def test_an_input_without_a_version_is_refused(sim: Simulation) -> None:
    """A dataset that nobody has written to cannot be read."""
    sim.write(lambda tx: datasets.create_dataset(tx, sim.ctx, builders.dataset("sales/empty")))
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.submit(train(["sales/empty"]))
    assert caught.value.reason == "DATASET_EMPTY"


def test_numbers_that_were_left_out_take_their_defaults(sim: Simulation) -> None:
    """The contract says 0 for what is unset."""
    bare = dataclasses.replace(train(), duration_seconds=0, max_attempts=0, resources=job.Resources(cpus=0))
    request = sim.submit(bare).request
    assert (request.duration_seconds, request.max_attempts, request.resources.cpus) == (600, 3, 1)


def test_a_package_that_is_not_there_is_refused(sim: Simulation) -> None:
    """The working directory is uploaded first."""
    request = train(working_dir="0" * 64)
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.write(lambda tx: jobs.submit(tx, sim.ctx, builders.person(), request, package_known=False))
    assert caught.value.reason == "PACKAGE_MISSING"
    assert sim.submit(request).state is JobState.PLACED


# Instructions and grants


def test_a_start_carries_signed_grants_that_its_sources_accept(sim: Simulation) -> None:
    """One for each input: local without a bound, remote bounded, for this run and this reader alone."""
    submitted = sim.submit(train(["sales/flights", "sales/weather"]))
    (start,) = sim.agents["us-1"].work()
    assert isinstance(start, job.StartRun)
    by_alias = {each.plan.alias: each for each in start.inputs}
    weather = by_alias["weather"]
    grant = signed.verify(signing.public_hex(GRANT_KEY), weather.grant, now=sim.clock.now(), site="eu-1")
    assert (grant.access, grant.run, grant.attempt, grant.subject) == (Access.READ, submitted.run, 1, "users/alice")
    assert (grant.reader_site, grant.reader_region, grant.reader_sealing_key) == (
        "us-1",
        "aws:us-east-1",
        hpke.fingerprint(b"\x22" * 32),
    )
    assert (grant.version, grant.dataset_uid) == ("sales/weather@1", sim.dataset("sales/weather").uid)
    assert grant.bytes_max == sim.ctx.budget_bytes(10**6)
    assert weather.gateway == "eu-1.example:7443"
    assert signed.peek(by_alias["flights"].grant).bytes_max == 0


def test_instructions_are_the_same_each_time_until_the_run_is_over(sim: Simulation) -> None:
    """An agent that forgot everything is told again, and grants do not multiply."""
    submitted = sim.submit(train())
    agent = sim.agents["us-1"]
    first = agent.work()
    assert agent.work() == first
    agent.accept(submitted.run)
    agent.begin(submitted.run)
    (again,) = agent.work()
    assert isinstance(again, job.StartRun)
    assert (again.inputs, again.outputs) == (first[0].inputs, first[0].outputs)  # type: ignore[union-attr]
    agent.finish(submitted.run)
    assert agent.work() == ()


def test_grants_outlast_the_run_that_they_are_for(sim: Simulation) -> None:
    """A job that says it may take two days gets grants for two days."""
    submitted = sim.submit(train(duration_limit_seconds=2 * 86400))
    grant = grant_of(sim, sim.run_of(submitted.job), "flights")
    assert (grant.expire_time - grant.issue_time).total_seconds() >= 2 * 86400


# Taking, running, ending


def test_taking_a_run_twice_is_taking_it_once(sim: Simulation) -> None:
    """The answer of the first time may have been lost."""
    submitted = sim.submit(train())
    agent = sim.agents["us-1"]
    agent.work()
    agent.accept(submitted.run)
    agent.accept(submitted.run)
    assert sim.run_of(submitted.job).state is JobState.STARTING
    assert len(sim.events("run.starting")) == 1


def test_saying_the_same_twice_changes_nothing(sim: Simulation) -> None:
    """RUNNING, FAILED and a finish may each be repeated."""
    submitted, agent, run = running(sim)
    agent.begin(run)
    agent.finish(run, hear=False)
    before = sim.catalog.revision()
    agent.finish(run, hear=False)
    assert agent.report(run, JobState.RUNNING)
    assert (sim.catalog.revision(), sim.dataset("ml/delay-model").latest_version) == (before, 1)
    assert sim.job(submitted.job).state is JobState.SUCCEEDED


def test_a_run_that_committed_stays_succeeded_whatever_its_process_did_then(sim: Simulation) -> None:
    """A crash at interpreter exit, after the commit, is no failure of the job."""
    submitted, agent, run = running(sim)
    agent.finish(run, hear=False)
    told = jobs.RunReport(state=JobState.FAILED, reason="ENTRYPOINT_FAILED")
    answer = sim.write(lambda tx: jobs.report_run(tx, sim.ctx, "us-1", run, told))
    assert answer.state is JobState.SUCCEEDED
    assert sim.job(submitted.job).state is JobState.SUCCEEDED


def test_a_run_cannot_start_before_it_was_taken(sim: Simulation) -> None:
    """The table of transitions knows no such step."""
    submitted = sim.submit(train())
    sim.agents["us-1"].work()
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.agents["us-1"].begin(submitted.run)
    assert caught.value.reason == "STATE_CONFLICT"
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.agents["us-1"].finish(submitted.run)
    assert caught.value.reason == "STATE_CONFLICT"


def test_another_sites_agent_has_no_say_in_a_run(sim: Simulation) -> None:
    """The site is the certificate's, and the run's site must be it."""
    _, _, run = running(sim)
    with pytest.raises(errors.PermissionDenied) as caught:
        sim.write(lambda tx: jobs.report_run(tx, sim.ctx, "eu-1", run, jobs.RunReport(state=JobState.FAILED)))
    assert caught.value.reason == "RUN_FOREIGN_SITE"


def test_an_entrypoint_that_fails_fails_its_job_at_once(sim: Simulation) -> None:
    """Even where the agent takes it for retryable: the same would happen again."""
    submitted, agent, run = running(sim)
    agent.fail(run, "ENTRYPOINT_FAILED", retryable=True)
    ended = sim.job(submitted.job)
    assert (ended.state, ended.reason, ended.attempt) == (JobState.FAILED, "ENTRYPOINT_FAILED", 1)
    assert [fact.state for fact in sim.all(lineage.RunFact) if fact.run == run] == ["FAILED"]
    assert [edge for edge in sim.all(lineage.Edge) if edge.run == run] == []


def test_a_failure_that_may_go_away_is_tried_again_until_attempts_are_used_up(sim: Simulation) -> None:
    """Each attempt is a run of its own; the last one's reason is the job's."""
    submitted = sim.submit(train(max_attempts=2))
    for attempt in (1, 2):
        run = sim.job(submitted.job).run
        agent = sim.agents[sim.run_of(submitted.job).site]
        assert run.endswith(f"/runs/{attempt}")
        agent.work()
        agent.accept(run)
        agent.fail(run, "WORKER_DIED", retryable=True)
    ended = sim.job(submitted.job)
    assert (ended.state, ended.reason, ended.attempt) == (JobState.FAILED, "WORKER_DIED", 2)


def test_a_full_disk_sends_the_job_to_another_site_and_not_back(sim: Simulation) -> None:
    """STORAGE_FULL speaks against the site, for this job alone."""
    submitted, agent, run = running(sim)
    agent.fail(run, "STORAGE_FULL", retryable=True)
    again = sim.job(submitted.job)
    assert again.plan is not None
    assert ("us-1", "ATTEMPT_FAILED_HERE") in {(refusal.site, refusal.reason) for refusal in again.plan.rejections}
    assert sim.run_of(submitted.job).site != "us-1"
    assert sim.run_of(sim.submit(builders.request(["sales/flights"])).job).site == "us-1"


def test_a_cluster_that_is_down_makes_its_job_wait_and_costs_one_attempt(sim: Simulation) -> None:
    """Without that, a job would use up its attempts there within a second."""
    submitted, agent, run = running(sim, sites=("us-1",))
    agent.fail(run, "COMPUTE_UNAVAILABLE", retryable=True)
    waiting = sim.job(submitted.job)
    assert (waiting.state, waiting.reason, waiting.attempt) == (JobState.PENDING, "COMPUTE_UNAVAILABLE", 1)
    agent.beat()
    sim.sweep()
    assert sim.job(submitted.job).attempt == 2


def test_a_run_that_takes_too_long_is_stopped_and_fails(sim: Simulation) -> None:
    """Its agent reports the stop; the catalog knows why it was stopped."""
    submitted, agent, run = running(sim, duration_limit_seconds=10)
    sim.clock.advance(9)
    agent.beat()
    assert isinstance(agent.work()[0], job.StartRun)
    sim.clock.advance(1)
    assert agent.work() == (job.StopRun(run=run, reason="DURATION_EXCEEDED"),)
    ended = sim.job(submitted.job)
    assert (ended.state, ended.reason) == (JobState.FAILED, "DURATION_EXCEEDED")


# Committing


def test_all_outputs_are_committed_together_or_none(sim: Simulation) -> None:
    """The second output is refused, so the first does not become a version either."""
    submitted = sim.submit(builders.request(["sales/flights"], ["a=ml/a", "b=ml/b"]))
    agent = sim.agents["us-1"]
    agent.work()
    agent.accept(submitted.run)
    first, second = agent.stage(agent.runs[submitted.run].start)
    agent.runs[submitted.run].staged = (first, dataclasses.replace(second, signature="00" * 64))
    with pytest.raises(errors.DataCorrupt):
        agent.finish(submitted.run)
    assert sim.dataset("ml/a").latest_version == 0
    assert sim.job(submitted.job).state is JobState.STARTING
    agent.runs[submitted.run].staged = (first, second)
    agent.finish(submitted.run)
    assert sim.run_of(submitted.job).outputs == ("ml/a@1", "ml/b@1")


def test_a_missing_output_is_named_and_nothing_is_committed(sim: Simulation) -> None:
    """The run goes on; its agent says what becomes of it."""
    submitted, agent, run = running(sim)
    agent.runs[run].staged = ()
    with pytest.raises(errors.FailedPrecondition, match="model") as caught:
        agent.finish(run)
    assert caught.value.reason == "OUTPUT_MISSING"
    assert sim.job(submitted.job).state is JobState.RUNNING


@pytest.mark.parametrize(
    "wrong", [{"alias": "other"}, {"alias": ""}, {"dataset": "ml/other"}], ids=["alias", "no alias", "dataset"]
)
def test_an_output_that_was_not_declared_is_refused(sim: Simulation, wrong: dict[str, str]) -> None:
    """A run writes what its request names and nothing else."""
    _, agent, run = running(sim)
    (good,) = agent.stage(agent.runs[run].start)
    for given in ((dataclasses.replace(good, **wrong),), (good, good)):  # type: ignore[arg-type]
        agent.runs[run].staged = given
        with pytest.raises(errors.InvalidArgument) as caught:
            agent.finish(run)
        assert caught.value.reason == "OUTPUT_NOT_IN_PLAN"


def test_residency_is_checked_again_when_an_output_is_committed(sim: Simulation) -> None:
    """It may have been tightened while the job ran."""
    _, agent, run = running(sim)
    tightened = dataclasses.replace(sim.dataset("ml/delay-model"), residency=("EU",), etag="")
    sim.write(lambda tx: datasets.update_dataset(tx, tightened, frozenset({"residency"})))
    with pytest.raises(errors.PermissionDenied) as caught:
        agent.finish(run)
    assert caught.value.reason == "RESIDENCY_DENIED"


# Dying and coming late


def test_a_lost_site_costs_the_run_its_lease_and_the_job_goes_elsewhere(sim: Simulation) -> None:
    """The next attempt reads the flights from afar or waits: here they lie at the lost site alone, so it waits for it."""
    submitted, agent, run = running(sim)
    agent.die()
    sim.agents["eu-1"].beat()
    sim.wait(LEASE_SECONDS)
    lost = sim.read(lambda tx: jobs.get_run(tx, run))
    assert (lost.state, lost.reason) == (JobState.FAILED, "LEASE_LOST")
    assert sim.job(submitted.job).state is JobState.PENDING
    agent.come_up()
    sim.drive(6)
    ended = sim.job(submitted.job)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)


def test_a_superseded_run_can_never_commit(sim: Simulation) -> None:
    """It finished its work, but its site was silent too long: the catalog has given the job to another attempt."""
    submitted, agent, run = running(sim)
    agent.runs[run].staged = agent.stage(agent.runs[run].start)
    staged = agent.runs[run].staged
    sim.wait(LEASE_SECONDS)
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.write(lambda tx: jobs.finish_run(tx, sim.ctx, "us-1", run, staged or ()))
    assert caught.value.reason == "RUN_SUPERSEDED"
    assert sim.dataset("ml/delay-model").latest_version == 0
    for state in (JobState.RUNNING, JobState.CANCELLED, JobState.FAILED):
        assert not agent.report(run, state)
    with pytest.raises(errors.FailedPrecondition, match="LEASE_LOST"):
        sim.write(lambda tx: jobs.accept_run(tx, sim.ctx, "us-1", run, "s"))
    assert sim.job(submitted.job).run != run or sim.job(submitted.job).state is JobState.PENDING


def test_an_agent_is_told_to_stop_what_the_catalog_gave_up(sim: Simulation) -> None:
    """By its instructions and by its heartbeat, for it may have missed either."""
    _, agent, run = running(sim, sites=("us-1",))
    sim.wait(LEASE_SECONDS)
    due = sim.read(lambda tx: jobs.instructions(tx, sim.ctx, "us-1"))
    assert job.StopRun(run=run, reason="LEASE_LOST") in due
    assert run in agent.beat().superseded_runs
    assert run not in agent.runs


def test_a_lease_that_is_lost_each_time_fails_the_job_in_the_end(sim: Simulation) -> None:
    """Attempts are bounded, whatever takes them."""
    submitted = sim.submit(train(max_attempts=2, sites=("us-1",)))
    for _ in range(2):
        sim.agents["us-1"].come_up()
        sim.sweep()
        sim.wait(LEASE_SECONDS)
    ended = sim.job(submitted.job)
    assert (ended.state, ended.reason) == (JobState.FAILED, "LEASE_LOST")


def test_a_commit_whose_answer_was_lost_is_not_thrown_away(sim: Simulation) -> None:
    """The heartbeat calls the run current, so its agent keeps what it wrote, asks again, and hears that it is committed."""
    submitted, agent, run = running(sim)
    agent.finish(run, hear=False)
    assert agent.beat().current_runs == (run,)
    agent.finish(run)
    assert sim.run_of(submitted.job).outputs == ("ml/delay-model@1",)


def test_a_server_that_was_down_gives_agents_a_lease_to_be_heard(sim: Simulation) -> None:
    """Silence before the server listened proves nothing: runs go on and no attempt is lost."""
    submitted, agent, _ = running(sim)
    sim.clock.advance(3600)
    sim.ctx = dataclasses.replace(sim.ctx, start_time=sim.clock.now())
    assert sim.sweep() == 0
    agent.beat()
    sim.wait(LEASE_SECONDS - 1)
    assert sim.job(submitted.job).state is JobState.RUNNING
    assert sim.job(submitted.job).attempt == 1


# Cancelling


def test_a_waiting_job_is_cancelled_at_once(sim: Simulation) -> None:
    """Nobody has it."""
    sim.submit(builders.request(["sales/orders"], cpus=16))
    waiting = sim.submit(builders.request(["sales/orders"], cpus=16))
    cancelled = sim.cancel(waiting.job)
    assert (cancelled.state, cancelled.end_time) == (JobState.CANCELLED, sim.clock.now())
    assert sim.cancel(waiting.job) == cancelled


def test_a_placed_job_is_cancelled_at_once_and_its_site_hears_of_it(sim: Simulation) -> None:
    """An agent that is about to take it hears that it is over."""
    submitted = sim.submit(train())
    agent = sim.agents["us-1"]
    agent.work()
    assert sim.cancel(submitted.job).state is JobState.CANCELLED
    agent.accept(submitted.run)
    assert agent.runs == {}
    assert [fact.state for fact in sim.all(lineage.RunFact) if fact.run == submitted.run] == ["CANCELLED"]


def test_a_running_job_is_cancelled_when_its_site_has_stopped_it(sim: Simulation) -> None:
    """Until then it is asked for, and asking again changes nothing."""
    submitted, agent, run = running(sim)
    asked = sim.cancel(submitted.job)
    assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
    assert sim.cancel(submitted.job) == asked
    assert agent.work() == (job.StopRun(run=run, reason="CANCELLED"),)
    assert sim.job(submitted.job).state is JobState.CANCELLED


def test_a_commit_that_comes_before_the_stop_wins(sim: Simulation) -> None:
    """Cancelling is a wish; what is committed is committed."""
    submitted, agent, run = running(sim)
    sim.cancel(submitted.job)
    agent.finish(run)
    assert sim.job(submitted.job).state is JobState.SUCCEEDED


def test_a_job_on_a_lost_site_is_cancelled_when_its_lease_is_over(sim: Simulation) -> None:
    """A dead site cannot answer, and a cancelled job is not tried again."""
    submitted, agent, _ = running(sim)
    agent.die()
    sim.cancel(submitted.job)
    sim.wait(LEASE_SECONDS)
    ended = sim.job(submitted.job)
    assert (ended.state, ended.attempt) == (JobState.CANCELLED, 1)


def test_a_cancelled_job_that_fails_retryably_is_not_tried_again(sim: Simulation) -> None:
    """It was to end anyway."""
    submitted, agent, run = running(sim)
    sim.cancel(submitted.job)
    agent.fail(run, "WORKER_DIED", retryable=True)
    assert sim.job(submitted.job).state is JobState.CANCELLED


def test_a_job_that_ended_cannot_be_cancelled(sim: Simulation) -> None:
    """And the refusal says how it ended."""
    submitted, agent, run = running(sim)
    agent.fail(run)
    with pytest.raises(errors.FailedPrecondition, match="FAILED") as caught:
        sim.cancel(submitted.job)
    assert caught.value.reason == "JOB_ENDED"


def test_cancelling_with_a_stale_etag_is_refused(sim: Simulation) -> None:
    """Somebody else changed the job meanwhile."""
    submitted = sim.submit(train())
    with pytest.raises(errors.Conflict):
        sim.write(lambda tx: jobs.cancel(tx, submitted.job, "stale"))


# Deleting what is in use


def test_deleting_an_input_ends_its_use(sim: Simulation) -> None:
    """It is not refused: the run's grant is closed, its source settles and stops it, and no attempt follows."""
    submitted, agent, run = running(sim)
    agent.read(run, "flights", 50)
    sim.write(lambda tx: datasets.delete_dataset(tx, ids.dataset("sales/flights")))
    (record,) = sim.all(kinds.GrantRecord, run=run)
    assert record.closed
    assert agent.beat().closed_grants == (record.grant,)
    assert [entry.bytes for entry in sim.all(metering.LedgerEntry)] == [50]
    agent.fail(run, "GRANT_CLOSED", retryable=True)
    ended = sim.job(submitted.job)
    assert (ended.state, ended.reason) == (JobState.FAILED, "DATASET_DELETED")


def test_a_waiting_job_whose_input_is_deleted_is_rejected(sim: Simulation) -> None:
    """It never ran, so it has not failed."""
    sim.submit(builders.request(["sales/orders"], cpus=16))
    waiting = sim.submit(builders.request(["sales/orders"], cpus=16))
    sim.write(lambda tx: datasets.delete_dataset(tx, ids.dataset("sales/orders")))
    sim.sweep()
    ended = sim.job(waiting.job)
    assert (ended.state, ended.reason) == (JobState.REJECTED, "DATASET_DELETED")


def test_nothing_is_committed_to_a_deleted_output(sim: Simulation) -> None:
    """And undeleting it in time lets the run commit after all."""
    submitted, agent, run = running(sim)
    name = ids.dataset("ml/delay-model")
    sim.write(lambda tx: datasets.delete_dataset(tx, name))
    with pytest.raises(errors.FailedPrecondition) as caught:
        agent.finish(run)
    assert caught.value.reason == "DATASET_DELETED"
    sim.write(lambda tx: datasets.undelete_dataset(tx, name))
    agent.finish(run)
    assert sim.job(submitted.job).state is JobState.SUCCEEDED


# Ingest and logs


def test_an_ingest_takes_nothing_of_the_cluster_and_remembers_its_source(sim: Simulation) -> None:
    """The agent does it alone, also where the cluster is full; lineage names the URL."""
    sim.submit(builders.request(["sales/flights"], cpus=16, sites=("us-1",)))
    request = builders.request(
        [], ["out=sales/clicks"], kind=job.JobKind.INGEST, ingest_from="s3://raw/clicks", sites=("us-1",), entrypoint=()
    )
    submitted = sim.submit(request)
    assert submitted.state is JobState.PLACED
    sim.drive(3)
    edges = [edge for edge in sim.all(lineage.Edge) if edge.run == submitted.run]
    assert [(edge.direction, edge.node) for edge in edges] == [("in", "s3://raw/clicks"), ("out", "sales/clicks@1")]


@pytest.mark.parametrize("source", ["s3://other/clicks", "s3://rawer/x"])
def test_an_ingest_from_an_undeclared_source_is_refused(sim: Simulation, source: str) -> None:
    """A prefix is a folder, not the beginning of a word."""
    request = builders.request([], ["o=a/b"], kind=job.JobKind.INGEST, ingest_from=source, sites=("us-1",), entrypoint=())
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.submit(request)
    assert caught.value.reason == "SOURCE_NOT_ALLOWED"


def test_logs_are_read_where_the_newest_run_is(sim: Simulation) -> None:
    """A grant for that run's site; before the first run there is nothing to read."""
    submitted = sim.submit(train())
    grant = sim.write(lambda tx: jobs.open_logs(tx, sim.ctx, builders.person(), submitted.job))
    assert (grant.access, grant.site, grant.run) == (Access.LOGS, "us-1", submitted.run)
    sim.submit(builders.request(["sales/orders"], cpus=16))
    waiting = sim.submit(builders.request(["sales/orders"], cpus=16))
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.write(lambda tx: jobs.open_logs(tx, sim.ctx, builders.person(), waiting.job))
    assert caught.value.reason == "LOGS_NOT_YET"
