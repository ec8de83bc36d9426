"""A submission of Ray's as a request of ours, and a job of ours as Ray's details."""

from __future__ import annotations

from typing import Any

import pytest

from federation.core import errors
from federation.core.job import Candidate, Job, JobRequest, JobState, Plan, Resources, Run, Spot
from federation.rayjobs import translate
from tests import builders

#: `with-dots` and the like are names of Ray's, so both kinds are tried.
DIGEST = "a" * 64


def submission(**changes: Any) -> dict[str, Any]:
    """What Ray's client sends for `ray job submit -- python train.py`."""
    return {"entrypoint": "python train.py", "runtime_env": {}, "metadata": {}} | changes


def asked(working_dir: str = "", **changes: Any) -> JobRequest:
    """The request that it becomes."""
    return translate.request(submission(**changes), working_dir)


def refusal(**changes: Any) -> errors.InvalidArgument:
    """How it is refused."""
    with pytest.raises(errors.InvalidArgument) as caught:
        asked(**changes)
    return caught.value


def test_metadata_says_what_is_read_and_written() -> None:
    """In the words of `fed job submit`, and the rest of the metadata is kept."""
    made = asked(
        metadata={
            "fed.inputs": "flights=sales/flights@3,read=25% sales/orders",
            "fed.outputs": "model=ml/delays:MODEL",
            "fed.column_maps": "model.late=flights.delay",
            "fed.purpose": "research",
            "fed.sites": "eu-1 us-1",
            "fed.deadline": "6h",
            "fed.hour_value": "$2.50",
            "fed.spot": "only",
            "fed.no_copies": "true",
            "fed.priority": "-3",
            "owner": "alice",
        }
    )
    assert [(row.alias, row.dataset, row.version, row.read_percent) for row in made.inputs] == [
        ("flights", "sales/flights", 3, 25),
        ("orders", "sales/orders", 0, 0),
    ]
    assert [(row.alias, row.dataset, row.kind, len(row.column_map)) for row in made.outputs] == [
        ("model", "ml/delays", "MODEL", 1)
    ]
    assert (made.namespace, made.purpose, made.sites, made.priority) == ("ml", "research", ("eu-1", "us-1"), -3)
    assert (made.deadline_seconds, made.hour_value_micros, made.spot, made.no_copies) == (21_600, 2_500_000, Spot.ONLY, True)
    assert dict(made.metadata)["owner"] == "alice"


def test_resources_are_whole_and_name_their_accelerator() -> None:
    """A part of a GPU is a whole one: nobody else is placed beside it. Both of Ray's ways to name a type are understood."""
    made = asked(entrypoint_num_cpus=1.5, entrypoint_num_gpus=0.5, entrypoint_memory=2**30)
    assert made.resources == Resources(cpus=2, gpus=1, memory_bytes=2**30)
    assert asked(entrypoint_resources={"accelerator_type:A10G": 0.001}).resources == Resources(gpus=1, gpu_type="A10G")
    by_label = asked(entrypoint_num_gpus=4, entrypoint_label_selector={"ray.io/accelerator-type": "H100"})
    assert by_label.resources == Resources(gpus=4, gpu_type="H100")
    assert asked().resources == Resources()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("python train.py --lr '0.1 x'", ("python", "train.py", "--lr", "0.1 x")),
        ("python train.py '$HOME;'", ("python", "train.py", "$HOME;")),
        ("python a.py && python b.py", ("sh", "-c", "python a.py && python b.py")),
        ("LR=1 python a.py", ("sh", "-c", "LR=1 python a.py")),
        ("echo $HOME", ("sh", "-c", "echo $HOME")),
        ('echo "$HOME"', ("sh", "-c", 'echo "$HOME"')),
        ("ls *.py", ("sh", "-c", "ls *.py")),
    ],
)
def test_a_command_is_words_or_the_shells(command: str, words: tuple[str, ...]) -> None:
    """Plain words stay words, so that earlier runs of the same command are found; all else means what it means to Ray."""
    assert asked(entrypoint=command).entrypoint == words


def test_environment_and_package_are_the_jobs() -> None:
    """The package travels by its digest, and what is left of the runtime environment is Ray's."""
    env = {"working_dir": "gcs://_ray_pkg_1f.zip", "env_vars": {"LR": "0.1"}, "pip": ["torch"]}
    assert translate.package(env) == "_ray_pkg_1f.zip"
    made = asked(DIGEST, runtime_env=env, submission_id="Train_7.b")
    assert (made.working_dir, made.env, made.submission_id) == (DIGEST, (("LR", "0.1"),), "Train_7.b")
    assert made.runtime_env == '{"pip": ["torch"]}'


@pytest.mark.parametrize(
    "uri", ["https://x.example/a.zip", "s3://b/a.zip", "gcs://../../etc/passwd.zip", "gcs://a.whl", "file:///a.zip", "/tmp", 7]
)
def test_no_address_of_a_callers_is_opened(uri: Any) -> None:
    """Only what was uploaded here is a working directory."""
    with pytest.raises(errors.InvalidArgument) as caught:
        translate.package({"working_dir": uri})
    assert caught.value.reason == "RUNTIME_ENV_UNSUPPORTED"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"entrypoint": ""}, "entrypoint"),
        ({"entrypoint": "echo 'open"}, "quotes"),
        ({"entrypoint": 7}, "entrypoint"),
        ({"metadata": {"fed.input": "x/y"}}, "fed.inputs"),
        ({"metadata": {"fed.spot": "sometimes"}}, "fed.spot"),
        ({"metadata": {"fed.priority": "high"}}, "fed.priority"),
        ({"metadata": {"fed.inputs": "flights"}}, "flights"),
        ({"metadata": {"n": 7}}, "metadata.n"),
        ({"metadata": []}, "metadata"),
        ({"runtime_env": {"py_modules": ["gcs://a.zip"]}}, "py_modules"),
        ({"entrypoint_num_gpus": -1}, "entrypoint_num_gpus"),
        ({"entrypoint_num_cpus": float("nan")}, "entrypoint_num_cpus"),
        ({"entrypoint_resources": {"TPU": 4}}, "TPU"),
        ({"entrypoint_label_selector": {"ray.io/region": "eu"}}, "ray.io/region"),
        ({"entrypont": "x"}, "entrypont"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(changes: dict[str, Any], said: str) -> None:
    """Nothing is ignored: a job would run other than it was meant."""
    refused = refusal(**changes)
    assert said in f"{refused.message} {refused.help}"
    assert refused.reason in {"JOB_REQUEST_INVALID", "RUNTIME_ENV_UNSUPPORTED", "SPEC_INVALID", "NAME_INVALID"}


def placed(state: JobState, **changes: Any) -> Job:
    """A job at `eu-1`, in this state."""
    choice = Candidate(
        site="eu-1", region="aws:eu-central-1", inputs=(), compute_micros=1_230_000, egress_micros=0, locality=1.0
    )
    plan = Plan(revision=7, decide_time=builders.NOW, ranked=(choice,), rejections=())
    wanted = JobRequest(
        entrypoint=("sh", "-c", "a && b"), env=(("KEY", "hunter2"),), metadata=(("owner", "alice"),), working_dir=DIGEST
    )
    fields = {"job": "j-1", "request": wanted, "state": state, "plan": plan, "attempt": 1, "create_time": builders.NOW}
    return Job(**fields | changes)


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_is_one_of_rays(state: JobState) -> None:
    """And all fields are those that Ray's own client reads."""
    pytest.importorskip("ray")
    from ray.dashboard.modules.job.pydantic_models import JobDetails

    told = JobDetails(**translate.details(placed(state)))
    assert told.status.is_terminal() is state.terminal
    assert told.submission_id == "j-1"


def test_details_tell_where_it_runs_and_no_secret() -> None:
    """Values of environment variables stay here."""
    run = Run(run="jobs/j-1/runs/1", job="j-1", attempt=1, site="eu-1", exit_code=3, start_time=builders.NOW)
    told = translate.details(placed(JobState.FAILED, reason="ENTRYPOINT_FAILED", detail="exit code 3"), run)
    assert told["metadata"] == {
        "owner": "alice",
        "fed.job": "j-1",
        "fed.site": "eu-1",
        "fed.region": "aws:eu-central-1",
        "fed.locality": "100%",
        "fed.estimate": "$1.23",
    }
    assert (told["entrypoint"], told["driver_exit_code"], told["error_type"]) == ("a && b", 3, "ENTRYPOINT_FAILED")
    assert told["message"] == "ENTRYPOINT_FAILED: exit code 3"
    assert told["start_time"] == int(builders.NOW.timestamp() * 1000)
    assert "hunter2" not in str(told)
    assert told["runtime_env"] == {"env_vars": {"KEY": "***"}, "working_dir": DIGEST}


def test_the_submitters_own_id_goes_before_ours() -> None:
    """It is what they ask by."""
    own = placed(JobState.RUNNING, request=JobRequest(entrypoint=("x",), submission_id="mine"))
    assert translate.details(own)["submission_id"] == "mine"
