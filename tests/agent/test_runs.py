"""Runs from the instruction to the last word: real launchers in real processes, and clusters that misbehave."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from federation import ports
from federation.agent import journal
from federation.core import errors, job
from tests.agent import federation as federations
from tests.agent.compute import MemoryCompute
from tests.agent.federation import Federation, launch, until

FLIGHTS = (job.InputSpec(alias="x", dataset="sales/flights"),)
MODEL = (job.OutputSpec(alias="y", dataset="ml/model"),)
COPY = """
import federation
data = federation.inputs["x"].open("a.csv").read()
with federation.outputs["y"].open("copy.csv", "wb") as file:
    file.write(data)
print("copied", len(data))
"""


def compute(fed: Federation, site: str = "us-1") -> MemoryCompute:
    """The cluster of a site in a held federation."""
    found = fed.places[site].compute
    assert isinstance(found, MemoryCompute)
    return found


def ended(fed: Federation, name: str) -> job.Job:
    """A job, once it has ended."""
    return fed.client.wait(name, timeout=30)


# Real processes


def test_a_job_reads_writes_prints_and_commits(fed: Federation, tmp_path: Path) -> None:
    """The whole way, with its working directory; at the end nothing is left to find."""
    fed.put("sales/flights", federations.write_files(tmp_path / "f", a_csv=b"x\n1\n"), "us-1")
    folder = federations.write_files(tmp_path / "work", train_py=COPY.encode())
    submitted = fed.client.submit(
        job.JobRequest(entrypoint=("python", "train.py"), inputs=FLIGHTS, outputs=MODEL), working_dir=folder
    )
    done = ended(fed, submitted.job)
    assert (done.state, done.detail) == (job.JobState.SUCCEEDED, "")
    assert "copied 4" in fed.logs(done)
    fed.client.get("ml/model", tmp_path / "out")
    assert (tmp_path / "out" / "copy.csv").read_bytes() == b"x\n1\n"
    assert fed.findings() == []


@pytest.mark.parametrize(
    ("command", "reason"),
    [((sys.executable, "-c", "raise SystemExit(3)"), "ENTRYPOINT_FAILED"), (("no-such-command",), "ENTRYPOINT_FAILED")],
)
def test_an_entrypoint_that_fails_fails_the_job_once(fed: Federation, command: tuple[str, ...], reason: str) -> None:
    """It is not tried again: the same would happen."""
    done = fed.run(*command)
    assert (done.state, done.reason, done.attempt) == (job.JobState.FAILED, reason, 1)


def test_a_cancelled_job_is_stopped_at_its_site(fed: Federation) -> None:
    """Its process ends, and the job is CANCELLED."""
    submitted = fed.submit(sys.executable, "-c", "import time; time.sleep(60)")
    until(lambda: fed.client.get_job(submitted.job).state is job.JobState.RUNNING)
    fed.client.cancel_job(submitted.job)
    assert ended(fed, submitted.job).state is job.JobState.CANCELLED


def test_a_job_that_takes_too_long_is_ended(fed: Federation) -> None:
    """By its own limit, and said so."""
    done = fed.run(sys.executable, "-c", "import time; time.sleep(60)", duration_limit_seconds=1)
    assert (done.state, done.reason) == (job.JobState.FAILED, "DURATION_EXCEEDED")


def test_a_job_outlives_its_agent(fed: Federation, tmp_path: Path) -> None:
    """The agent is restarted while it runs; it reads, writes and commits afterwards."""
    fed.put("sales/flights", federations.write_files(tmp_path / "f", a_csv=b"x\n1\n"), "us-1")
    marker = tmp_path / "go"
    waiting = f"import pathlib, time\nwhile not pathlib.Path({str(marker)!r}).exists(): time.sleep(0.05)\n{COPY}"
    submitted = fed.submit(sys.executable, "-c", waiting, inputs=FLIGHTS, outputs=MODEL)
    until(lambda: fed.client.get_job(submitted.job).state is job.JobState.RUNNING)
    fed.places["us-1"].restart()
    marker.touch()
    done = ended(fed, submitted.job)
    assert (done.state, done.attempt) == (job.JobState.SUCCEEDED, 1)
    assert fed.findings() == []


# Clusters that misbehave


def test_a_run_that_was_taken_and_not_submitted_is_submitted_after_a_restart(held: Federation) -> None:
    """The intent is in the journal before anything begins; submitting again is submitting once."""
    launcher = launch(held, "us-1")
    book = launcher.place.book
    with book._transaction() as db:
        db.execute("UPDATE runs SET state = 'TAKEN'")
    launcher.place.restart()
    until(lambda: launcher.place.book.run(launcher.row.run).state is journal.RunState.RUNNING)  # type: ignore[union-attr]
    assert list(compute(held).submissions) == [launcher.row.submission_id]
    launcher.gateway.close()
    assert launcher.gateway.finish_attempt(0) == ()


def test_a_cluster_that_is_down_sends_the_job_elsewhere(held: Federation) -> None:
    """The attempt fails for a reason that may not hold at the other site."""
    compute(held, "us-1").away = True
    compute(held, "eu-1").away = True
    submitted = held.submit("true")
    first = until(lambda: held.client.get_job(submitted.job).run)
    site = held.client.get_run(first).site
    other = "eu-1" if site == "us-1" else "us-1"
    compute(held, other).away = False
    until(lambda: held.client.get_run(first).reason == "COMPUTE_UNAVAILABLE")
    again = until(lambda: held.client.get_job(submitted.job).attempt == 2 and held.client.get_job(submitted.job).run)
    assert held.client.get_run(again).site == other


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        # What an entrypoint has printed is part of Ray's message, and decides nothing.
        ({"state": "FAILED", "message": "exit code 2, last logs: runtime_env ...", "exit_code": 2}, "ENTRYPOINT_FAILED"),
        ({"state": "FAILED", "message": "pip could not ...", "reason": "RUNTIME_ENV_FAILED"}, "RUNTIME_ENV_FAILED"),
        ({"state": "FAILED", "message": "exit code 137", "exit_code": 137}, "DRIVER_LOST"),
        ({"state": "FAILED", "message": "The actor died unexpectedly"}, "DRIVER_LOST"),
        ({"state": "SUCCEEDED"}, "LAUNCHER_LOST"),
        ({"state": "STOPPED"}, "STOPPED_OUTSIDE"),
        ({"state": "ABSENT"}, "COMPUTE_LOST"),
    ],
)
def test_a_run_whose_launcher_says_nothing_ends_by_its_clusters_word(
    held: Federation, said: dict[str, Any], reason: str
) -> None:
    """Each with its own reason."""
    launcher = launch(held, "us-1", max_attempts=1)
    compute(held).say(launcher.submission.submission_id, **said)
    done = ended(held, launcher.row.job)
    assert (done.state, done.reason) == (job.JobState.FAILED, reason)


GONE = ports.NodeState(node="n-2", state="LOST", detail="Unexpected termination")
TAKEN = ports.NodeState(node="n-3", state="PREEMPTED", detail="Terminated due to preemption: notice")
STANDS = ports.NodeState(node="n-1", state="ALIVE")


@pytest.mark.parametrize(
    ("nodes", "reason", "node"), [((STANDS, GONE), "NODE_LOST", "n-2"), ((GONE, TAKEN), "PREEMPTED", "n-3")]
)
def test_a_run_whose_node_is_gone_is_planned_again(
    held: Federation, nodes: tuple[ports.NodeState, ...], reason: str, node: str
) -> None:
    """By its driver's loss alone it would not be known why; the next plan remembers reason and node."""
    launcher = launch(held, "us-1", max_attempts=2)
    compute(held).used[launcher.submission.submission_id] = nodes
    compute(held).say(launcher.submission.submission_id, "FAILED", "Job supervisor actor died")
    again = until(lambda: (found := held.client.get_job(launcher.row.job)).attempt == 2 and found)
    assert again.plan
    (past,) = again.plan.attempts
    assert (past.reason, past.attempt, past.site, past.spot) == (reason, 1, "us-1", False)
    assert past.detail.startswith(f"its node {node} is gone: ")
    assert again.plan.choice
    assert again.plan.choice.avoided == reason


@pytest.mark.parametrize(("exit_code", "told"), [(1, "WORKERS_LOST"), (143, "ENTRYPOINT_FAILED")])
def test_a_driver_that_meets_the_loss_before_its_cluster_is_sure_is_not_blamed(
    held: Federation, exit_code: int, told: str
) -> None:
    """The launcher's word waits until the cluster knows; then it is NODE_LOST, and tried again."""
    launcher = launch(held, "us-1", max_attempts=2)
    submission = launcher.submission.submission_id
    compute(held).used[submission] = (STANDS,)
    launcher.gateway.finish_attempt(exit_code, reason=told, detail="ray.exceptions.ActorUnavailableError")
    assert not held.client.get_run(launcher.row.run).state.terminal
    compute(held).used[submission] = (STANDS, GONE)
    until(lambda: held.client.get_job(launcher.row.job).attempt == 2)
    ended_run = held.client.get_run(launcher.row.run)
    assert (ended_run.reason, ended_run.exit_code) == ("NODE_LOST", None)


def test_a_driver_whose_nodes_all_stand_has_failed_by_itself(held: Federation) -> None:
    """An actor that died for another reason is the job's own affair: ENTRYPOINT_FAILED, once, whatever was hinted at."""
    launcher = launch(held, "us-1", max_attempts=2)
    compute(held).used[launcher.submission.submission_id] = (STANDS,)
    launcher.gateway.finish_attempt(1, reason="WORKERS_LOST", detail="ray.exceptions.ActorDiedError")
    done = ended(held, launcher.row.job)
    assert (done.state, done.reason, done.attempt) == (job.JobState.FAILED, "ENTRYPOINT_FAILED", 1)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("INPUT_NOT_IN_PLAN", "INPUT_NOT_IN_PLAN"),
        # What would make the catalog think ill of the site, or of itself, no job can say.
        ("COMPUTE_UNAVAILABLE", "ENTRYPOINT_FAILED"),
        ("LEASE_LOST", "ENTRYPOINT_FAILED"),
        ("PREEMPTED", "ENTRYPOINT_FAILED"),
        ("no such reason", "ENTRYPOINT_FAILED"),
    ],
)
def test_a_launcher_is_believed_what_can_be_met_inside_a_job(held: Federation, told: str, reason: str) -> None:
    """Whoever holds a run's token may say anything: only errors of ours that a job can meet are taken as its reason."""
    launcher = launch(held, "us-1", max_attempts=2)
    launcher.gateway.finish_attempt(1, reason=told, detail="what it said")
    done = ended(held, launcher.row.job)
    assert (done.state, done.reason, done.detail, done.attempt) == (job.JobState.FAILED, reason, "what it said", 1)


def test_a_job_runs_when_its_launcher_begins(held: Federation) -> None:
    """What the cluster has taken and not begun is STARTING: time counts from the launcher's first word."""
    submitted = held.submit("true", sites=("us-1",))
    name = f"jobs/{submitted.job}/runs/1"
    until(lambda: (row := held.places["us-1"].book.run(name)) and row.state is journal.RunState.RUNNING)
    waiting = held.client.get_run(name)
    assert (waiting.state, waiting.start_time) == (job.JobState.STARTING, None)
    launcher = federations.launched(held, "us-1", name)
    until(lambda: held.client.get_run(name).state is job.JobState.RUNNING)
    assert launcher.gateway.finish_attempt(0) == ()
    done = held.client.get_run(name)
    assert done.start_time
    assert done.end_time
    assert done.start_time <= done.end_time


def test_a_lost_cluster_is_tried_again(held: Federation) -> None:
    """What it wrote until then is dropped."""
    launcher = launch(held, "us-1", outputs=MODEL)
    launcher.write("y", half=b"half")
    compute(held).say(launcher.submission.submission_id, "ABSENT")
    until(lambda: held.client.get_job(launcher.row.job).attempt == 2)
    until(lambda: launcher.place.objects("objects/") == [])


def test_a_cluster_that_stops_answering_ends_the_run(held: Federation) -> None:
    """After a while, for it may come back."""
    launcher = launch(held, "us-1", max_attempts=1)
    compute(held).away = True
    done = ended(held, launcher.row.job)
    assert done.reason == "COMPUTE_UNAVAILABLE"


def test_a_cancelled_run_that_commits_first_has_committed(held: Federation) -> None:
    """Of a stop and a commit that meet, one happens."""
    launcher = launch(held, "us-1", outputs=MODEL)
    launcher.write("y", model=b"weights")
    assert launcher.gateway.finish_attempt(0) == ("ml/model@1",)
    with pytest.raises(errors.FailedPrecondition):
        held.client.cancel_job(launcher.row.job)
    assert ended(held, launcher.row.job).state is job.JobState.SUCCEEDED


def test_a_commit_that_was_cut_off_is_made_by_the_next_agent(held: Federation) -> None:
    """FINISHING in the journal is a promise: nobody needs to ask again."""
    launcher = launch(held, "us-1", outputs=MODEL)
    launcher.write("y", model=b"weights")
    launcher.place.book.move_run(launcher.row.run, journal.RunState.FINISHING)
    launcher.place.restart()
    assert ended(held, launcher.row.job).state is job.JobState.SUCCEEDED
    assert held.findings() == []


def test_a_forgetful_agent_is_told_its_runs_again(held: Federation) -> None:
    """One whose state folder was lost stops what it is told to stop, though it never heard of it."""
    launcher = launch(held, "us-1")
    launcher.place.stop()
    for path in launcher.place.settings.state_dir.glob("agent.db*"):
        path.unlink()
    held.client.cancel_job(launcher.row.job)
    launcher.place.start()
    assert ended(held, launcher.row.job).state is job.JobState.CANCELLED


def test_grants_of_a_run_that_ended_are_settled(held: Federation, tmp_path: Path) -> None:
    """Also for an input that was never read: that nothing left is a fact."""
    held.put("sales/flights", federations.write_files(tmp_path / "f", a_csv=b"x\n1\n"), "us-1")
    launcher = launch(held, "us-1", inputs=FLIGHTS)
    launcher.gateway.finish_attempt(0)
    (entry,) = until(lambda: list(held.client.list_ledger_entries()))
    assert (entry.bytes, entry.run, entry.alias) == (0, launcher.row.run, "x")
    until(lambda: launcher.place.book.unsettled_grants() == ())


def test_a_remote_grant_of_a_dead_run_is_settled_by_its_source(held: Federation, tmp_path: Path) -> None:
    """The catalog tells the source's agent, whatever became of the reader's."""
    held.put("sales/flights", federations.write_files(tmp_path / "f", a_csv=b"x\n1\n"), "us-1")
    launcher = launch(held, "eu-1", inputs=FLIGHTS, max_attempts=1)
    assert launcher.read("x") == {"a.csv": b"x\n1\n"}
    launcher.place.stop()
    (entry,) = until(lambda: list(held.client.list_ledger_entries()), seconds=30)
    assert entry.source_site == "us-1"
    assert entry.bytes > 0
