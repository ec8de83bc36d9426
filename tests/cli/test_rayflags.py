"""Whoever knows `ray job submit` knows `fed job submit`: each option means what it means to Ray, or says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from federation.cli import app, exits, job, jobflags, rayflags
from federation.core import errors, submission
from federation.core.job import JobRequest, Resources

#: Each option of Ray's that is taken, as somebody may use it. FILE is one of requirements, ENV one of a runtime_env.
TAKEN = {
    "--submission-id": ["train-7"],
    "--job-id": ["train-7"],
    "--runtime-env": ["ENV"],
    "--runtime-env-json": ['{"env_vars": {"LR": "0.1"}, "pip": "FILE"}'],
    "--working-dir": ["."],
    "--metadata-json": ['{"fed.inputs": "f=sales/flights@3,read=25% sales/orders", "fed.priority": "3", "owner": "ada"}'],
    "--entrypoint-num-cpus": ["1.5"],
    "--entrypoint-num-gpus": ["0.5"],
    "--entrypoint-memory": ["1073741824"],
    "--entrypoint-resources": ['{"accelerator_type:A10G": 0.001}'],
    "--entrypoint-label-selector": ['{"ray.io/accelerator-type": "H100"}'],
    "--no-wait": [],
}
COMMAND = ["--", "python", "train.py", "--lr", "0.1 x"]


class Recorder:
    """What stands in for Ray's client: it keeps what the command line says of a job, as it would go to the cluster."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def submit_job(self, **told: Any) -> str:
        self.told = {name: value for name, value in told.items() if value is not None}
        return "train-7"

    def get_version(self) -> str:
        return "0"


@pytest.fixture(scope="module")
def rays() -> click.Command:
    """`ray job submit` of the installed Ray."""
    from ray.dashboard.modules.job import cli

    return cli.submit


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the files that options name."""
    (tmp_path / "requirements.txt").write_text("torch==2.9\nnumpy\n")
    (tmp_path / "env.yaml").write_text(f"pip: {tmp_path}/requirements.txt\nworking_dir: {tmp_path}\nenv_vars: {{N: '1'}}\n")
    return tmp_path


def words(option: str, files: Path) -> list[str]:
    """The command line with one option."""
    named = (text.replace("FILE", str(files / "requirements.txt")) for text in TAKEN[option])
    return [option, *(str(files / "env.yaml") if text == "ENV" else text for text in named), *COMMAND]


def ours(line: list[str]) -> tuple[JobRequest, Path | None]:
    """What `fed job submit` makes of a command line, with the folder that travels."""
    made: tuple[JobRequest, Path | None] = told.main(list(line), standalone_mode=False)
    return made


@click.command
@jobflags.options
@click.option("--wait/--no-wait")
@rayflags.options
def told(described: jobflags.JobOptions, rays: rayflags.Said, wait: bool) -> tuple[JobRequest, Path | None]:
    """What Ray's options say of a job, alone."""
    return rays.applied(JobRequest(entrypoint=described.entrypoint)), rays.working_dir


def test_each_option_of_rays_is_taken_or_refused_by_name(rays):
    """A new Ray may bring more: then this fails, until somebody has decided what it means here."""
    theirs = {name for param in rays.params if isinstance(param, click.Option) for name in param.opts}
    assert theirs - {"-v"} == {*TAKEN, *rayflags.REFUSED}
    known = {name for param in job.submit.params for name in (*param.opts, *param.secondary_opts)}
    assert theirs <= known


@pytest.mark.parametrize("option", TAKEN)
def test_an_option_means_what_it_means_to_ray(rays, files, monkeypatch, option):
    """Both command lines are run; what Ray's would send to `fed ray` is the request that ours makes."""
    recorder = Recorder()
    monkeypatch.setattr("ray.dashboard.modules.job.cli._get_sdk_client", lambda *_, **__: recorder)
    assert rays.main(words(option, files), standalone_mode=False) is None
    told = recorder.told
    folder = told.get("runtime_env", {}).pop("working_dir", None)
    from ray.runtime_env import RuntimeEnv

    sent = RuntimeEnv(**told.pop("runtime_env")).to_dict()  # Ray's client reads local files of requirements so
    made, working_dir = ours(words(option, files))
    meant = submission.request({**told, "runtime_env": sent}, "")
    assert flat(made) == flat(meant)
    assert (None if folder is None else Path(folder)) == working_dir
    if option not in {"--working-dir", "--no-wait"}:
        assert made != JobRequest(entrypoint=made.entrypoint)


def flat(request: JobRequest) -> dict[str, Any]:
    """A request whose list of packages stands as Ray spells it out."""
    env = json.loads(request.runtime_env or "{}")
    packages = env.get("pip")
    if isinstance(packages, dict):
        env["pip"] = packages["packages"]
    env.pop("_ray_commit", None)
    return {**vars(request), "runtime_env": env}


@pytest.mark.parametrize(("option", "instead"), rayflags.REFUSED.items())
def test_what_is_not_taken_says_what_to_use_instead(option, instead):
    """Never silently ignored."""
    result = CliRunner().invoke(app.fed, ["job", "submit", option, *([] if option == "--verbose" else ["x"]), *COMMAND])
    assert result.exit_code == exits.USAGE
    assert f"{option} is Ray's, and not needed: {instead}" in result.stderr


@pytest.mark.parametrize(
    ("own", "rays_"),
    [
        (["--cpus", "2"], ["--entrypoint-num-cpus", "2"]),
        (["--gpus", "1"], ["--entrypoint-num-gpus", "1"]),
        (["--memory", "1GiB"], ["--entrypoint-memory", "1"]),
        (["--gpu-type", "A10G"], ["--entrypoint-resources", '{"accelerator_type:A10G": 1}']),
        (["--gpu-type", "A10G"], ["--entrypoint-label-selector", '{"ray.io/accelerator-type": "A10G"}']),
        (["--input", "a/b"], ["--metadata-json", '{"fed.inputs": "a/b"}']),
        (["--output", "a/b"], ["--metadata-json", '{"fed.outputs": "a/b"}']),
        (["--site", "eu-1"], ["--metadata-json", '{"fed.sites": "eu-1"}']),
        (["--purpose", "x"], ["--metadata-json", '{"fed.purpose": "x"}']),
        (["--no-copies"], ["--metadata-json", '{"fed.no_copies": "false"}']),
    ],
)
def test_nothing_is_said_twice(own, rays_):
    """Also where both say the same: which of them counts is nothing to guess."""
    result = CliRunner().invoke(app.fed, ["job", "submit", *own, *rays_, *COMMAND])
    assert result.exit_code == exits.USAGE
    assert f"{own[0]} and " in result.stderr
    assert "do not go together" in result.stderr


def test_every_wish_of_the_metadata_has_an_option_of_ours():
    """So that the test above can hold for each of them."""
    params = {param.name for param in job.submit.params}
    assert {name for names in rayflags._OUR_DATA.values() for name in names} - {"assume_size"} <= params
    assert set(submission.WISHES) <= params


def test_ours_and_rays_options_complete_each_other():
    """A type of GPU from one, their number from the other; a variable of ours goes before the runtime environment's."""
    made, _ = ours(["--entrypoint-num-gpus", "4", "--entrypoint-resources", '{"accelerator_type:A10G": 1}', *COMMAND])
    assert made.resources == Resources(gpus=4, gpu_type="A10G")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--runtime-env-json", '{"working_dir": "s3://b/code.zip"}'], "no folder of this machine"),
        (["--working-dir", "https://x.example/code.zip"], "no folder of this machine"),
        (["--runtime-env-json", '{"py_modules": ["mine"]}'], "py_modules"),
        (["--runtime-env-json", '{"excludes": ["*.bin"]}'], "excludes"),
        (["--runtime-env-json", '{"pip": "no/such.txt"}'], "no/such.txt"),
        (["--runtime-env", "no/such.yaml"], "no/such.yaml"),
        (["--entrypoint-resources", '{"TPU": 4}'], "TPU"),
    ],
)
def test_what_a_federation_cannot_do_is_refused_by_name(line, said):
    """A job would run other than it was meant."""
    with pytest.raises((errors.InvalidArgument, errors.NotFound)) as caught:
        ours([*line, *COMMAND])
    assert said in caught.value.message


def test_two_runtime_environments_are_one_too_many(files):
    """As Ray has it."""
    with pytest.raises(click.UsageError, match="exclude each other"):
        ours(["--runtime-env", str(files / "env.yaml"), "--runtime-env-json", "{}", *COMMAND])
