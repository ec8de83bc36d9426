"""What `fed` says and how it exits when things go wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from federation import cli
from federation.cli import app, exits
from federation.cli.command import verb
from federation.core import errors
from federation.core.job import JobState


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a command line of `fed` for a person without any context."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "contexts.yaml"))
    return lambda *words: CliRunner().invoke(app.fed, list(words))


@pytest.fixture
def failing(monkeypatch):
    """Lets `fed whoami` fail with an error."""

    def install(error: BaseException):
        @verb(None, "whoami", example="fed whoami")
        def broken(_session) -> None:
            raise error

        monkeypatch.setattr(app.Fed, "get_command", lambda _self, _ctx, _name: broken)

    return install


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidArgument("x"), exits.USAGE),
        (errors.NotFound("x"), exits.NOT_FOUND),
        (errors.PermissionDenied("x"), exits.DENIED),
        (errors.Unauthenticated("x"), exits.DENIED),
        (errors.AlreadyExists("x"), exits.CONFLICT),
        (errors.Conflict("x"), exits.CONFLICT),
        (errors.PermissionDenied("x", reason="RESIDENCY_DENIED"), exits.REFUSED),
        (errors.InvalidArgument("x", reason="RESIDENCY_CONTRADICTION"), exits.REFUSED),
        (errors.Unavailable("x"), exits.UNAVAILABLE),
        (errors.DeadlineExceeded("x"), exits.UNAVAILABLE),
        (errors.ResourceExhausted("x"), exits.ERROR),
        (errors.FailedPrecondition("x"), exits.ERROR),
        (errors.DataCorrupt("x"), exits.ERROR),
        (KeyboardInterrupt(), exits.INTERRUPTED),
        (click.UsageError("x"), exits.USAGE),
        (OSError(28, "No space left on device"), exits.ERROR),
    ],
)
def test_each_kind_of_error_has_its_exit_code(run, failing, error, code):
    """Scripts branch on them, so they never change."""
    failing(error)
    assert run("whoami").exit_code == code


def test_an_interrupt_while_it_loads_is_one_like_any_other(monkeypatch):
    """Not a traceback of imports."""

    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "federation.cli.app":
                raise KeyboardInterrupt

    monkeypatch.setattr(cli, "set_threshold", lambda *_: None)
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    monkeypatch.setattr("sys.meta_path", [Interrupted(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "federation.cli.app")
    monkeypatch.delattr(cli, "app")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == exits.INTERRUPTED


def test_every_exit_code_is_in_the_table_and_the_table_in_the_help(run):
    """One table for the code, the help and this test."""
    codes = [value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)]
    assert sorted(codes) == [row.code for row in exits.TABLE] == sorted(set(codes))
    shown = run("help", "exit-codes").stdout
    assert all(f"{row.code:>4}  {row.meaning}" in shown for row in exits.TABLE)
    told = json.loads(run("help", "exit-codes", "-o", "json").stdout)
    assert told[0] == {"code": 0, "meaning": "It is done.", "errors": [], "reasons": []}
    assert told[3]["errors"] == ["NotFound"]
    assert "RESIDENCY_DENIED" in run("help", "exit-codes", "-o", "wide").stdout


def test_every_kind_and_reason_in_the_table_is_one_of_ours(run):
    """A word there that nothing raises would promise a code that never comes."""
    assert {kind for row in exits.TABLE for kind in row.errors} <= {
        name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, errors.FederationError)
    }


def test_help_lists_its_topics_and_shows_that_of_a_command(run):
    """As people know it from git; who asks for help has made no mistake."""
    shown = run("help")
    assert shown.exit_code == exits.OK
    assert all(topic in shown.stdout for topic in ("environment", "exit-codes", "formats", "names"))
    assert run("help", "job", "wait").stdout == run("job", "wait", "--help").stdout
    assert "Usage: fed job [OPTIONS]" in run("help", "job").stdout
    missing = run("help", "job", "nope")
    assert (missing.exit_code, "there is no command fed job nope" in missing.stderr) == (exits.USAGE, True)
    assert run("help", "nope").exit_code == exits.USAGE


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (JobState.SUCCEEDED, exits.OK),
        (JobState.FAILED, exits.JOB_FAILED),
        (JobState.CANCELLED, exits.JOB_FAILED),
        (JobState.REJECTED, exits.REFUSED),
        (JobState.RUNNING, exits.OK),
    ],
)
def test_a_job_s_end_has_its_exit_code(state, code):
    """Refused is not failed."""
    assert exits.code_of_state(state) == code


def test_an_error_says_what_was_wrong_and_what_to_do_on_stderr(run, failing):
    """Nothing of it goes to stdout, where data goes."""
    failing(errors.NotFound("dataset a/b does not exist", reason="DATASET_MISSING", help="See `fed dataset list`."))
    result = run("whoami")
    assert result.stdout == ""
    assert result.stderr == "error: dataset a/b does not exist [DATASET_MISSING]\nwhat to do: See `fed dataset list`.\n"


def test_an_error_in_json_is_one_object_on_stderr(run, failing):
    """With everything that a program may want to read."""
    failing(errors.InvalidArgument("bad", reason="NAME_INVALID", help="Do.", metadata={"a": "b"}, violations={"name": "no"}))
    result = run("whoami", "-o", "json")
    assert json.loads(result.stderr) == {
        "error": {
            "reason": "NAME_INVALID",
            "message": "bad",
            "help": "Do.",
            "metadata": {"a": "b"},
            "violations": {"name": "no"},
        }
    }


def test_a_message_cannot_steer_the_terminal(run, failing):
    """Names and messages may come from others."""
    failing(errors.NotFound("no \x1b[2J\x07 such"))
    assert "\x1b" not in run("whoami").stderr


def test_a_mistyped_command_is_answered_with_the_nearest(run):
    """As git does."""
    result = run("dataset", "lst")
    assert result.exit_code == exits.USAGE
    assert "Did you mean 'list'?" in result.stderr
    assert "fed dataset --help" in result.stderr


def test_a_noun_alone_shows_its_verbs(run):
    """On stderr and as a mistake: a script that forgets the verb must notice."""
    result = run("dataset")
    assert result.exit_code == exits.USAGE
    assert "ingest" in result.stderr
    assert result.stdout == ""


def test_without_a_federation_it_says_how_to_get_one(run):
    """The first command of somebody new."""
    result = run("site", "list")
    assert result.exit_code == exits.NOT_FOUND
    assert "fed up" in result.stderr


def test_the_version_is_shown():
    """`fed --version` in a process of its own, as installed."""
    shown = subprocess.run([sys.executable, "-m", "federation", "--version"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("fed ")


def test_a_reader_that_has_had_enough_is_no_error():
    """`fed ... | head` ends quietly."""
    script = f"{sys.executable} -m federation help exit-codes | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


@pytest.mark.parametrize(("where", "code"), [(">/dev/full", exits.ERROR), (">&-", exits.OK)])
def test_output_that_cannot_be_written_is_told_without_a_traceback(where, code):
    """A full disk is an error, in one sentence; whoever closed the output wants none."""
    script = f"{sys.executable} -m federation help exit-codes {where}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert [line[:30] for line in done.stderr.splitlines()] == [
        "error: No space left on device",
        "what to do: See that the path ",
    ][: 2 * code]


def test_help_starts_without_loading_grpc_or_ray():
    """`fed --help` is typed a hundred times a day."""
    probe = "import sys; from federation.cli import app; print([m for m in ('grpc', 'ray', 'pyarrow') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
