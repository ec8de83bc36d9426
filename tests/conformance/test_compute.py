"""What every compute connector promises. Ray on a real cluster; plain processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.compute.process import ProcessCompute
from connectors.compute.ray import RayCompute
from federation import ports
from federation.core import admission, errors
from tests.ray_pair import another, ray_pair  # noqa: F401 - a fixture


@pytest.fixture(params=["process", pytest.param("ray", marks=pytest.mark.ray)])
def compute(request: pytest.FixtureRequest, tmp_path: Path) -> ports.Compute:
    """Each connector in turn."""
    if request.param == "process":
        return ProcessCompute(tmp_path / "compute")
    pair = request.getfixturevalue("ray_pair")
    return RayCompute(pair.first.address, pair.first.token_file)


@pytest.fixture
def submission(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., ports.Submission]:
    """Makes submissions whose ids no other test has."""

    def make(entrypoint: str, **fields: object) -> ports.Submission:
        number = time.time_ns()
        return ports.Submission(
            **{
                "submission_id": f"s-{number}",
                "entrypoint": entrypoint,
                "runtime_env": {},
                "env": {},
                "metadata": {"run": "jobs/j-1/runs/1"},
                **fields,
            }
        )

    return make


def ended(compute: ports.Compute, submission_id: str, seconds: float = 60) -> ports.ComputeState:
    """The state once it is a last one."""
    deadline = time.monotonic() + seconds
    while (state := compute.state(submission_id)).state in {"PENDING", "RUNNING"}:
        assert time.monotonic() < deadline, f"still {state}"
        time.sleep(0.1)
    return state


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Returns once it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def until_running(compute: ports.Compute, submission_id: str) -> None:
    """Returns once it runs."""
    deadline = time.monotonic() + 60
    while compute.state(submission_id).state != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_entrypoint_runs_in_its_working_directory_with_its_environment(compute, submission, tmp_path):
    """Files of the working directory are all there, those that a .gitignore names too, and env reaches the entrypoint."""
    package = tmp_path / "package"
    (package / "data").mkdir(parents=True)
    (package / ".gitignore").write_text("data/\n")
    (package / "data" / "in.txt").write_text("in")
    result = tmp_path / "result"
    asked = submission(
        f'cat data/in.txt > {result}; echo "-$GREETING" >> {result}', working_dir=str(package), env={"GREETING": "hi"}
    )
    compute.submit(asked)
    assert ended(compute, asked.submission_id).state == "SUCCEEDED"
    assert result.read_text() == "in-hi\n"


def test_submitting_twice_starts_once(compute, submission, tmp_path):
    """The submission id is the effect's key: while it runs and after it has ended, a repeat does nothing."""
    result = tmp_path / "result"
    asked = submission(f"echo once >> {result}; sleep 1")
    compute.submit(asked)
    compute.submit(asked)
    assert ended(compute, asked.submission_id).state == "SUCCEEDED"
    compute.submit(asked)
    assert ended(compute, asked.submission_id).state == "SUCCEEDED"
    assert result.read_text() == "once\n"
    assert compute.nodes(asked.submission_id) == (), "a head, or a machine of its own, is no node that can be lost by itself"


def test_an_entrypoint_that_fails_is_failed(compute, submission):
    """Its exit code is in the message."""
    asked = submission("exit 7")
    compute.submit(asked)
    state = ended(compute, asked.submission_id)
    assert (state.state, state.exit_code, state.reason) == ("FAILED", 7, "")
    assert "7" in state.message


def test_what_was_never_submitted_is_absent(compute):
    """Absent is an answer, and stopping it does nothing."""
    compute.stop("s-never")
    assert compute.state("s-never").state == "ABSENT"
    assert compute.nodes("s-never") == ()


def test_stopping_ends_it_and_what_it_started(compute, submission, tmp_path):
    """The entrypoint gets SIGTERM; a second stop does nothing."""
    result = tmp_path / "result"
    asked = submission(f"trap 'echo asked > {result}; exit 0' TERM; touch {result}.up; while true; do sleep 0.1; done")
    compute.submit(asked)
    until_running(compute, asked.submission_id)
    while not Path(f"{result}.up").exists():
        time.sleep(0.05)
    compute.stop(asked.submission_id)
    compute.stop(asked.submission_id)
    assert ended(compute, asked.submission_id).state == "STOPPED"
    compute.stop(asked.submission_id)
    assert result.read_text() == "asked\n"


def test_one_that_does_not_listen_is_killed(compute, submission):
    """After its grace a stopped submission ends whether it wants or not."""
    asked = submission("trap '' TERM; while true; do sleep 0.1; done")
    compute.submit(asked)
    until_running(compute, asked.submission_id)
    compute.stop(asked.submission_id)
    assert ended(compute, asked.submission_id).state == "STOPPED"


def test_a_runtime_environment_that_cannot_be_is_refused_for_good(compute, submission):
    """It is the request that is wrong: trying again would not help, and nothing was started."""
    asked = submission("true", runtime_env={"no_such_field": 1, "pip": 3})
    with pytest.raises(errors.InvalidArgument) as refused:
        compute.submit(asked)
    assert refused.value.reason == "RUNTIME_ENV_INVALID"
    assert compute.state(asked.submission_id).state == "ABSENT"


def test_capacity_tells_totals(compute):
    """A planner can place by it."""
    capacity = compute.capacity()
    assert capacity.cpus >= 1
    assert capacity.memory_bytes > 100_000_000


@pytest.mark.ray
def test_ray_tells_its_gpus_by_type(ray_pair):  # noqa: F811
    """Each cluster has the types and counts that it was started with."""
    first, second = (RayCompute(cluster.address, cluster.token_file).capacity() for cluster in ray_pair.clusters)
    assert first.gpus == (("A10G", 1),)
    assert second.gpus == (("H100", 2),)
    assert first.cpus == 4


@pytest.mark.ray
def test_ray_tells_what_is_used_and_what_waits(ray_pair, submission):  # noqa: F811
    """Whoever uses the cluster: GPUs in use are told by type, and what finds no room is counted."""
    compute = RayCompute(ray_pair.second.address, ray_pair.second.token_file)
    asked = [submission("sleep 60", gpus=2, gpu_type="H100"), submission("sleep 60", gpus=1)]
    for each in asked:
        compute.submit(each)
    try:
        until(lambda: (seen := compute.capacity()).used_gpus == (("H100", 2),) and seen.queued >= 1)
    finally:
        for each in asked:
            compute.stop(each.submission_id)
    until(lambda: compute.capacity().used_gpus == ())


@pytest.mark.ray
def test_a_job_gets_the_gpus_that_it_asks_for(ray_pair, submission, tmp_path):  # noqa: F811
    """Two H100 are visible to a job that asked for two."""
    compute = RayCompute(ray_pair.second.address, ray_pair.second.token_file)
    result = tmp_path / "result"
    asked = submission(f"echo $CUDA_VISIBLE_DEVICES > {result}", gpus=2, gpu_type="H100", memory_bytes=1_000_000)
    compute.submit(asked)
    assert ended(compute, asked.submission_id).state == "SUCCEEDED"
    assert sorted(result.read_text().strip().split(",")) == ["0", "1"]


@pytest.mark.invariant("G5")
@pytest.mark.ray
def test_a_real_cluster_with_its_token_on_passes_the_examination(ray_pair):  # noqa: F811
    """Mode, 401 without a token and release as Ray itself tells them; another's token tells it nothing."""
    first, second = ray_pair.clusters[:2]
    found = RayCompute(first.address, first.token_file).examine()
    assert (found.check, found.grade) == ("compute", "A"), found
    stranger = RayCompute(first.address, second.token_file).examine()
    assert (stranger.grade, stranger.detail.startswith(admission.UNASKED)) == ("C", True)


@pytest.mark.ray
def test_another_clusters_token_opens_nothing(ray_pair):  # noqa: F811
    """One cluster is one trust domain: its token is worth nothing next door."""
    stranger = RayCompute(ray_pair.first.address, ray_pair.second.token_file)
    with pytest.raises(errors.Unavailable) as refused:
        stranger.capacity()
    assert refused.value.reason == "COMPUTE_UNAVAILABLE"
    assert ray_pair.second.token_file.read_text() not in str(refused.value)


@pytest.fixture(scope="module")
def third(ray_pair, tmp_path_factory):  # noqa: F811
    """One more cluster, not yet started, of which nothing is left in the end."""
    with another(ray_pair, tmp_path_factory.mktemp("third"), 3, cpus=1) as made:
        yield made
    assert made.processes() == ()
    assert all(cluster.running() for cluster in ray_pair.clusters)


@pytest.mark.ray
def test_a_killed_cluster_is_cleaned_up_and_started_again(ray_pair, third):  # noqa: F811
    """Of one whose head was killed nothing is left when it is started again, and nobody else is touched."""
    third.start()
    before = third.processes()
    os.kill(third._leader().pid, signal.SIGKILL)
    while third.running():
        time.sleep(0.05)
    third.start()
    assert third.running()
    assert not set(before) & set(third.processes())
    assert all(cluster.running() for cluster in ray_pair.clusters)


@pytest.mark.ray
def test_ending_one_cluster_leaves_the_other(ray_pair, third):  # noqa: F811
    """A cluster that is stopped leaves no process, not even a running job's, and its neighbours answer as before."""
    third.start()
    try:
        assert third.running()
        job = ports.Submission(submission_id="s-third", entrypoint="sleep 600", runtime_env={}, env={}, metadata={})
        compute = RayCompute(third.address, third.token_file)
        until(lambda: _takes(compute, job))
        until_running(compute, "s-third")
    finally:
        third.stop()
    assert third.processes() == ()
    assert not third.running()
    assert all(cluster.running() for cluster in ray_pair.clusters)
    with pytest.raises(errors.Unavailable):
        compute.state("s-third")


def _takes(compute: ports.Compute, submission: ports.Submission) -> bool:
    """Whether a cluster takes a submission: one that has just been started refuses until an agent of its own is up."""
    try:
        compute.submit(submission)
    except errors.Unavailable:
        return False
    return True


def test_a_cluster_that_is_down_is_unavailable():
    """Every question is answered with the stable reason, within the time that a connection may take."""
    down = RayCompute("http://127.0.1.99:1")
    for question in (down.capacity, lambda: down.state("s-1"), lambda: down.stop("s-1"), lambda: down.nodes("s-1")):
        with pytest.raises(errors.Unavailable) as refused:
            question()
        assert refused.value.reason == "COMPUTE_UNAVAILABLE"


def test_a_folder_that_cannot_be_used_is_a_cluster_that_is_down(submission, tmp_path):
    """It is Unavailable for all that is asked of it, and works once the folder can be made."""
    (place := tmp_path / "in-the-way").write_text("a file")
    compute = ProcessCompute(place)
    for ask in (
        compute.capacity,
        lambda: compute.submit(submission("true")),
        lambda: compute.state("s-1"),
        lambda: compute.stop("s-1"),
    ):
        with pytest.raises(errors.Unavailable) as caught:
            ask()
        assert (caught.value.reason, str(place) in caught.value.message) == ("COMPUTE_UNAVAILABLE", True)
    place.unlink()
    assert compute.capacity().cpus >= 1
    assert compute.state("s-1").state == "ABSENT"


def test_processes_are_found_again_by_another_agent(submission, tmp_path):
    """What runs is known from its folder: a restarted agent sees it, and a killed one is failed."""
    asked = submission("sleep 30")
    ProcessCompute(tmp_path).submit(asked)
    again = ProcessCompute(tmp_path)
    until_running(again, asked.submission_id)
    os.killpg(int((tmp_path / asked.submission_id / "started").read_text()), signal.SIGKILL)
    assert ended(again, asked.submission_id).state == "FAILED"
    again.submit(asked)
    assert again.state(asked.submission_id).state == "FAILED"
