"""`fed plan` and `fed world`: planning from files, without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from federation.cli import app, exits
from federation.core import whatif

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
WORLD, REQUEST = SCHEMAS / "world.example.json", SCHEMAS / "request.example.json"


def fed(*words: object) -> Result:
    """A command line, as a shell would run it."""
    return CliRunner().invoke(app.fed, [str(word) for word in words])


def test_a_plan_needs_files_alone():
    """No context, no server, no credentials."""
    result = fed("plan", "--world", WORLD, "--request", REQUEST)
    assert result.exit_code == exits.OK
    assert result.stdout.startswith("chosen: us-1 (aws:us-east-1), $")
    assert "orders: 25% of it is read, as earlier runs did" in result.stdout


def test_the_plan_is_told_as_json():
    """All of it, by the contract's names."""
    plan = json.loads(fed("plan", "--world", WORLD, "--request", REQUEST, "-o", "json").stdout)
    assert plan["ranked"][0]["site"] == "us-1"
    assert {row["site"] for row in plan["ranked"]} == {"us-1", "eu-1", "ewr-1"}


def test_a_site_may_be_looked_at_beside_the_best():
    """It stands first then, with its own price."""
    plan = json.loads(fed("plan", "--world", WORLD, "--request", REQUEST, "--at", "ewr-1", "-o", "json").stdout)
    assert plan["ranked"][0]["site"] == "ewr-1"


def test_yaml_is_as_good_as_json(tmp_path: Path):
    """The same world and the same request give the same plan."""
    files = []
    for path in (WORLD, REQUEST):
        made = tmp_path / f"{path.stem}.yaml"
        # Unquoted times, as people write them: YAML would make dates of them.
        made.write_text(yaml.safe_dump(json.loads(path.read_text())).replace("'2026-11-22T10:00:00Z'", "2026-11-22T10:00:00Z"))
        files.append(made)
    by_yaml = fed("plan", "--world", files[0], "--request", files[1], "-o", "json")
    assert by_yaml.exit_code == exits.OK, by_yaml.output
    assert json.loads(by_yaml.stdout) == json.loads(fed("plan", "--world", WORLD, "--request", REQUEST, "-o", "json").stdout)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x [1]\nb: [*x, *x]\n", "references"),
        ("format_version: 1\nformat_version: 1\n", "a key stands twice"),
        ("a: [", "this is not YAML"),
        ("1: 2\n", "is not text"),
        ("[" * 5000, "this is not YAML"),
        ("!!python/object:os.system {}", "this is not YAML"),
    ],
)
def test_yaml_that_would_blow_up_or_run_is_refused(tmp_path: Path, text: str, told: str):
    """Clearly, and at once."""
    file = tmp_path / "world.yaml"
    file.write_text(text)
    result = fed("plan", "--world", file, "--request", REQUEST)
    assert result.exit_code == exits.USAGE
    assert told in result.stderr
    assert "WORLD_INVALID" in result.stderr


def test_a_request_that_no_site_can_run_ends_with_6(tmp_path: Path):
    """And says why for each site."""
    asked = json.loads(REQUEST.read_text())
    asked["request"]["resources"]["gpus"] = 4096
    file = tmp_path / "request.json"
    file.write_text(json.dumps(asked))
    result = fed("plan", "--world", WORLD, "--request", file)
    assert result.exit_code == exits.REFUSED
    assert result.stdout.startswith("no site can run it")
    assert "-o table" in fed("plan", "--world", WORLD, "--request", file, "-o", "kueue").stderr


@pytest.mark.parametrize("words", [(), ("--request", REQUEST, "--job", "j-1")])
def test_exactly_one_thing_is_planned(words: tuple[object, ...]):
    """A request or a waiting job."""
    result = fed("plan", "--world", WORLD, *words)
    assert result.exit_code == exits.USAGE
    assert "either --request FILE or --job JOB" in result.stderr


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    """With exit code 3."""
    result = fed("plan", "--world", tmp_path / "none.json", "--request", REQUEST)
    assert result.exit_code == exits.NOT_FOUND
    assert "none.json" in result.stderr


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path):
    """Neither as JSON nor as YAML."""
    for name, size in (("world.json", whatif.FILE_BYTES_MAX), ("world.yaml", 4 * 1024 * 1024)):
        file = tmp_path / name
        with file.open("wb") as written:
            written.truncate(size + 10)
        result = fed("plan", "--world", file, "--request", REQUEST)
        assert result.exit_code == exits.USAGE
        assert "WORLD_TOO_LARGE" in result.stderr


def test_other_schedulers_get_their_own_words():
    """Ray as JSON, Kueue and Karmada as YAML."""
    made = {
        word: fed("plan", "--world", WORLD, "--request", REQUEST, "-o", word).stdout for word in ("ray", "kueue", "karmada")
    }
    assert json.loads(made["ray"])["label_selector"]["ray.io/availability-region"] == "us-east-1"
    assert yaml.safe_load(made["kueue"])["status"]["nominatedClusterNames"] == ["us-1"]
    assert yaml.safe_load(made["karmada"])["spec"]["placement"]["clusterAffinities"][0]["clusterNames"] == ["us-1"]


def test_a_plan_can_be_drawn(tmp_path: Path):
    """Beside whatever else is shown."""
    file = tmp_path / "cost.svg"
    result = fed("plan", "--world", WORLD, "--request", REQUEST, "--plot", file)
    assert result.exit_code == exits.OK
    assert file.read_text().startswith("<svg ")
    refused = fed("plan", "--world", WORLD, "--request", REQUEST, "--plot", tmp_path / "no" / "cost.svg")
    assert "FILE_UNWRITABLE" in refused.stderr


@pytest.mark.parametrize("kind", ["world", "request"])
def test_the_schema_is_printed_as_it_is_documented(kind: str):
    """The same text as the file."""
    assert fed("world", "schema", kind).stdout == (SCHEMAS / f"{kind}.schema.json").read_text()
