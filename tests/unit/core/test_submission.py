"""A submission in Ray's words, as a request of ours."""

from __future__ import annotations

from typing import Any

import pytest

from federation.core import columns, errors, submission
from federation.core.job import JobRequest, Resources, Spot

#: `with-dots` and the like are names of Ray's, so both kinds are tried.
DIGEST = "a" * 64


def told(**changes: Any) -> dict[str, Any]:
    """What Ray's client sends for `ray job submit -- python train.py`."""
    return {"entrypoint": "python train.py", "runtime_env": {}, "metadata": {}} | changes


def asked(working_dir: str = "", **changes: Any) -> JobRequest:
    """The request that it becomes."""
    return submission.request(told(**changes), working_dir)


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
            "fed.column_classes": "model.pii=name,seat model.route=from",
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
    assert made.outputs[0].column_classes == columns.parse(["pii=name,seat", "route=from"])
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
    assert submission.package(env) == "_ray_pkg_1f.zip"
    made = asked(DIGEST, runtime_env=env, submission_id="Train_7.b")
    assert (made.working_dir, made.env, made.submission_id) == (DIGEST, (("LR", "0.1"),), "Train_7.b")
    assert made.runtime_env == '{"pip": ["torch"]}'


@pytest.mark.parametrize(
    "uri", ["https://x.example/a.zip", "s3://b/a.zip", "gcs://../../etc/passwd.zip", "gcs://a.whl", "file:///a.zip", "/tmp", 7]
)
def test_no_address_of_a_callers_is_opened(uri: Any) -> None:
    """Only what was uploaded here is a working directory."""
    with pytest.raises(errors.InvalidArgument) as caught:
        submission.package({"working_dir": uri})
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


def test_what_is_said_changes_a_request_and_nothing_else() -> None:
    """As `fed job submit` does it: its own options make a request, and Ray's change that."""
    base = JobRequest(resources=Resources(cpus=4, gpus=2), env=(("LR", "0.1"),), priority=3, namespace="elsewhere")
    made = submission.applied(
        base,
        {
            "entrypoint_label_selector": {"ray.io/accelerator-type": "H100"},
            "runtime_env": {"env_vars": {"LR": "0.2", "N": "1"}},
            "metadata": {"fed.outputs": "ml/sums", "owner": "alice"},
        },
    )
    assert made.resources == Resources(cpus=4, gpus=2, gpu_type="H100")
    assert (made.env, made.priority, made.namespace) == ((("LR", "0.1"), ("N", "1")), 3, "ml")
    assert submission.applied(made, {}) == made


def test_one_type_of_gpu_is_named() -> None:
    """Where resources and labels name two, neither is guessed."""
    two = {
        "entrypoint_resources": {"accelerator_type:A10G": 1},
        "entrypoint_label_selector": {"ray.io/accelerator-type": "H100"},
    }
    assert "A10G and H100" in refusal(**two).message
