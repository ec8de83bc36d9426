"""`fed` against a real federation: a server and one agent that only stores, each command as a person types it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from deltalake import DeltaTable, write_deltalake

from federation import config
from federation.cli import app, exits
from federation.local import supervisor
from tests import tcp
from tests.cli import answering


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a running federation, whose context is the current one there."""
    here = tmp_path_factory.mktemp("federation")
    people, agents, gateway = tcp.free_ports(3)
    path = here / "federation.yaml"
    path.write_text(
        f"""
federation: tried
server: {{listen: "127.0.0.1:{people}", agents_listen: "127.0.0.1:{agents}"}}
sites:
  - site: eu-1
    region: aws:eu-central-1
    jurisdiction: EU
    gateway: "127.0.0.1:{gateway}"
    sources: [{{prefix: "file:lake", kind: file}}]
users: [{{user: ada, jurisdiction: EU}}]
"""
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FED_CONFIG", str(here / "contexts.yaml"))
        federation = supervisor.Federation(config.federation_file(path), here / "state")
        try:
            federation.up(lambda name, state: None)
            yield here
        finally:
            supervisor.down(federation.layout, lambda name, state: None)


@pytest.fixture
def fed(folder, monkeypatch):
    """Types a `fed` command in that folder."""
    monkeypatch.setenv("FED_CONFIG", str(folder / "contexts.yaml"))
    monkeypatch.chdir(folder)

    def run(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app.fed, list(words))
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        answering.check(words, result.stdout)
        return result

    return run


def test_data_goes_in_and_comes_back(fed, tmp_path: Path):
    """put, list, show, get: what comes back is what went in."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("x,y\n1,2\n")
    put = json.loads(fed("dataset", "put", "sales/flights", str(tmp_path / "in"), "--site", "eu-1", "-o", "json").stdout)
    assert put["name"] == "namespaces/sales/datasets/flights/versions/1"
    assert "sales/flights@1" in fed("version", "list", "sales/flights").stdout
    assert json.loads(fed("replica", "list", "sales/flights", "-o", "json").stdout)[0]["site"] == "eu-1"
    fed("dataset", "get", "sales/flights", str(tmp_path / "out"))
    assert (tmp_path / "out" / "a.csv").read_text() == "x,y\n1,2\n"
    assert "sales/flights@1" in fed("cost", "list").stdout
    assert json.loads(fed("cost", "summary", "-o", "json").stdout)["total"]["entries"] >= 1


def test_what_lies_at_a_site_is_ingested_there(fed, folder: Path):
    """And its lineage says where it came from."""
    (folder / "lake" / "clicks").mkdir(parents=True, exist_ok=True)
    (folder / "lake" / "clicks" / "one.csv").write_text("x\n1\n")
    url = (folder / "lake" / "clicks").as_uri()
    fed("dataset", "ingest", "sales/clicks", "--from", url, "--site", "eu-1", "--residency", "EU")
    assert url in fed("lineage", "show", "sales/clicks").stdout
    assert json.loads(fed("dataset", "show", "sales/clicks", "-o", "json").stdout)["residency"] == ["EU"]
    assert "INGEST" in fed("job", "list", "-o", "json").stdout


def test_lineage_answers_in_every_form(fed, folder: Path, tmp_path: Path, monkeypatch):
    """As a tree, in pieces, as of then, as JSON, drawing, page and Mermaid; models, impact, why; and its index is checked."""
    (folder / "lake" / "visits").mkdir(parents=True, exist_ok=True)
    (folder / "lake" / "visits" / "one.csv").write_text("x\n1\n")
    url = (folder / "lake" / "visits").as_uri()
    fed("dataset", "ingest", "sales/visits", "--from", url, "--site", "eu-1", "--residency", "EU")
    whole = json.loads(fed("lineage", "show", "sales/visits", "-o", "json").stdout)
    assert (len(whole["edges"]), whole["complete"], whole["nodes"][0]["residency"]) == (2, True, ["EU"])
    piece = fed("lineage", "show", "sales/visits", "--edges", "1")
    token = piece.stderr.split("--continue ")[1].split(",")[0]
    rest = json.loads(fed("lineage", "show", "sales/visits", "--continue", token, "-o", "json").stdout)
    assert (len(rest["edges"]), rest["complete"]) == (1, True)
    assert "nothing" in fed("lineage", "show", "sales/visits", "--as-of", "2020-01-01").stdout
    assert "nothing" in fed("lineage", "show", "sales/visits", "--as-of", "1").stdout
    fed("lineage", "show", "sales/visits", "--as-of", "yesterday", code=exits.USAGE)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda page: bool(opened.append(page) or True))
    drawn = fed("lineage", "show", url, "--svg", str(tmp_path / "l.svg"), "--html", str(tmp_path / "l.html"), "--open")
    assert (tmp_path / "l.svg").read_text().startswith("<svg")
    assert "sales/visits@1" in (tmp_path / "l.html").read_text()
    assert opened == [(tmp_path / "l.html").as_uri()]
    assert "drawn into" in drawn.stderr
    fed("lineage", "show", url, "--svg", str(tmp_path / "none" / "l.svg"), code=exits.USAGE)
    assert fed("lineage", "show", url, "-o", "mermaid").stdout.splitlines()[1] == "flowchart LR"
    assert "no model saw" in fed("lineage", "models", "sales/visits@1").stderr
    assert "eu-1" in fed("lineage", "impact", "sales/visits@1").stdout
    assert "declared by users/admin: stays in EU" in fed("lineage", "why", "sales/visits").stdout
    for verb in ("check", "rebuild"):
        assert json.loads(fed("lineage", "index", verb, "-o", "json").stdout)["same"] is True


def test_a_job_without_any_cluster_is_refused_with_the_reason(fed, tmp_path: Path):
    """Planned, not stored; exit code 6."""
    (tmp_path / "a.csv").write_text("x\n1\n")
    fed("dataset", "put", "sales/more", str(tmp_path / "a.csv"), "--site", "eu-1")
    result = fed("job", "plan", "--input", "sales/more", "--", "python", "x.py", code=exits.REFUSED)
    assert "NO_COMPUTE" in result.stdout


def test_namespaces_and_datasets_live_and_die(fed):
    """create, update, list, delete, undelete."""
    fed("namespace", "create", "scratch", "--description", "to try")
    fed("dataset", "create", "scratch/try", "--residency", "EU", "--label", "team=ops")
    fed("dataset", "update", "scratch/try", "--any-residency", "--description", "anywhere")
    shown = json.loads(fed("dataset", "show", "scratch/try", "-o", "json").stdout)
    assert (shown["residency"], shown["labels"], shown["description"]) == ([], {"team": "ops"}, "anywhere")
    fed("dataset", "create", "scratch/try", code=exits.CONFLICT)
    fed("dataset", "update", "scratch/try", "--description", "x", "--etag", "stale", code=exits.CONFLICT)
    fed("dataset", "update", "scratch/try", code=exits.USAGE)
    fed("dataset", "delete", "scratch/try")
    assert json.loads(fed("dataset", "list", "scratch", "-o", "json").stdout) == []
    fed("dataset", "undelete", "scratch/try")
    assert len(json.loads(fed("dataset", "list", "scratch", "-o", "json").stdout)) == 1


def test_people_have_tokens_and_a_stranger_has_none(fed, folder: Path, monkeypatch, tmp_path: Path):
    """The declared user, a new one, and nobody."""
    monkeypatch.setenv("FED_TOKEN", (folder / "state/server/tokens/ada.token").read_text())
    told = json.loads(fed("whoami", "-o", "json").stdout)
    assert {key: told.get(key) for key in ("principal", "role", "jurisdiction", "groups", "scopes", "expire_time")} == {
        "principal": "users/ada",
        "role": "USER",
        "jurisdiction": "EU",
        "groups": [],
        "scopes": [],
        "expire_time": None,  # a declared person's lasts while they are declared
    }
    assert told["credential"].startswith("tokens/t")
    fed("token", "create", "bob", code=exits.DENIED)
    monkeypatch.delenv("FED_TOKEN")
    fed("token", "create", "bob", "--expires-in", "1h", "--file", str(tmp_path / "bob.token"))
    monkeypatch.setenv("FED_TOKEN", (tmp_path / "bob.token").read_text())
    assert "users/bob" in fed("whoami").stdout
    monkeypatch.setenv("FED_TOKEN", "fed_stranger")
    fed("whoami", code=exits.DENIED)


def test_sites_and_links_are_shown(fed):
    """With state and price."""
    assert json.loads(fed("site", "list", "-o", "json").stdout)[0]["state"] == "READY"
    assert "aws:eu-central-1" in fed("site", "show", "eu-1").stdout
    # Its keys lie in files of this machine: that is grade B, and each finding is told.
    assert json.loads(fed("site", "show", "eu-1", "-o", "json").stdout)["grade"] == "B"
    assert "conditional puts and ranges are honest" in fed("site", "show", "eu-1").stdout
    assert "internet" in fed("link", "list").stdout
    fed("site", "show", "mars", code=exits.NOT_FOUND)


def test_fsck_says_nothing_until_something_is_wrong(fed, folder: Path, tmp_path: Path):
    """An orphan in the store is found, named, and makes it exit with 1."""
    (tmp_path / "a.csv").write_text("x\n1\n")
    fed("dataset", "put", "checked/data", str(tmp_path / "a.csv"), "--site", "eu-1")
    assert fed("fsck").stdout == ""
    assert json.loads(fed("fsck", "--quick", "-o", "json").stdout) == []
    objects = sorted((folder / "state/sites/eu-1/store/objects").rglob("o-*"))
    damaged = objects[0].read_bytes()
    objects[0].chmod(0o600)
    objects[0].write_bytes(damaged[:-1] + bytes([damaged[-1] ^ 1]))
    try:
        assert "DAMAGED" in fed("fsck", code=exits.ERROR).stdout
    finally:
        objects[0].write_bytes(damaged)
    assert fed("fsck").stdout == ""


def test_the_record_is_proven_by_the_server_and_by_its_folder_alone(fed, folder: Path, tmp_path: Path):
    """What the server signed is proven without it; a copy in which a grant was made another's is not."""
    (tmp_path / "a.csv").write_text("x\n1\n")
    fed("dataset", "put", "proven/data", str(tmp_path / "a.csv"), "--site", "eu-1")
    fed("dataset", "get", "proven/data", str(tmp_path / "back"))
    heads = tmp_path / "heads.json"
    for _ in range(600):
        heads.write_text(fed("ledger", "heads", "-o", "json").stdout)
        if {head["table"] for head in json.loads(heads.read_text())} >= {"audit"}:
            break
        time.sleep(0.1)
    known = {each["table"]: each for each in json.loads(fed("ledger", "verify", "-o", "json").stdout)}
    assert known["audit"]["intact"]
    assert known["audit"]["proven_position"] > 0
    tables, key = folder / "state/server/tables", json.loads(heads.read_text())[0]["key"]
    offline = ("ledger", "verify", "--table", "audit", "--key", key, "--heads", str(heads), "-o", "json", "--tables")
    (alone,) = json.loads(fed(*offline, str(tables)).stdout)
    assert alone["proven_position"] >= known["audit"]["proven_position"]
    copy = tmp_path / "copy"
    rows = DeltaTable(str(tables / "audit")).to_pyarrow_table().sort_by("position")
    forged = rows.to_pylist()
    forged[0]["actor"] = "users/mallory"
    write_deltalake(str(copy / "audit"), pa.Table.from_pylist(forged, schema=rows.schema), partition_by=["day"])
    (found,) = json.loads(fed(*offline, str(copy), code=exits.ERROR).stdout)
    assert found["findings"][0]["position"] == forged[0]["position"]
    said = "\n".join(row["body"] for row in forged)
    for token in (folder / "state").rglob("*.token"):
        assert token.read_text().strip() not in said


def test_status_names_every_part(fed, folder: Path):
    """From the state folder, from the file here, or from the current context."""
    shown = json.loads(fed("status", "--state", str(folder / "state"), "-o", "json").stdout)
    assert {row["part"]: row["state"] for row in shown["parts"]} == {"server": "RUNNING", "agent eu-1": "RUNNING"}
    assert [row["name"] for row in shown["sites"]] == ["sites/eu-1"]


def test_contexts_are_listed_and_chosen(fed):
    """The one that `up` wrote is current."""
    assert json.loads(fed("context", "list", "-o", "json").stdout)[0]["current"] is True
    fed("context", "use", "tried")
    fed("context", "use", "other", code=exits.NOT_FOUND)
