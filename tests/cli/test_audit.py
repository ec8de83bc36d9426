"""`fed audit verify` without a server: a copy of the tables, the catalog's public key, and what a site has kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from deltalake import DeltaTable, write_deltalake

from federation.adapters import records_tables
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import ManualClock, SeededIds
from federation.cli import app, exits
from federation.core import chain, records, witness
from federation.core.events import Event
from federation.crypto import heads as signed_heads
from federation.crypto import signing
from federation.crypto import witness as signed
from federation.services import heads
from federation.services.committer import Committer
from federation.services.heads import HeadKeeper

PRIVATE, SITE = bytes(range(32)), bytes(range(32, 64))
KEY = signing.public_hex(PRIVATE)
SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "compliance.schema.json"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Runs a command line of `fed` for a person without any context."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "contexts.yaml"))
    return lambda *words: CliRunner().invoke(app.fed, words)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables with twelve entries of audit, of which the head is signed and co-signed by eu-1, in witness.jsonl."""
    here = tmp_path_factory.mktemp("kept")
    catalog, sink = MemoryCatalog(ManualClock(), SeededIds()), DeltaRecords(str(here / "tables"))
    for number in range(12):
        catalog.write(lambda tx, number=number: tx.emit("dataset.created", f"d/{number}", number), actor="users/ada")  # type: ignore[misc]
    committer = Committer(catalog, sink, heads=HeadKeeper(catalog, sink, PRIVATE))
    for _ in range(2):
        committer.run_once()
    (head,) = catalog.read(lambda tx: heads.stored(tx, "audit"))
    word = signed.sign(SITE, "eu-1", (head,), head.time)
    (here / "witness.jsonl").write_text(records.dumps(witness.WitnessLine(cosignature=word)) + "\n")
    return here


@pytest.fixture
def here(written: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(written, tmp_path / "here"))


def rewrite(here: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], *, relink: bool = False) -> None:
    """Writes the table of audit anew with other rows; with `relink` chained anew, as whoever lacks the key only can."""
    place = here / "tables" / "audit"
    rows = DeltaTable(str(place)).to_pyarrow_table().sort_by("position")
    changed = change(rows.to_pylist())
    if relink:
        at = chain.genesis("audit")
        for row in sorted(changed, key=lambda row: row["position"]):
            at = row["chain"] = chain.link(at, chain.canonical(row))
    shutil.rmtree(place)
    write_deltalake(str(place), pa.Table.from_pylist(changed, schema=rows.schema), partition_by=["day"])


def verify(run: Callable[..., Result], here: Path, *more: str) -> tuple[int, list[str]]:
    """The code and the findings of a verification of the folder."""
    told = run("audit", "verify", str(here / "tables"), "--key", KEY, "--table", "audit", "-o", "json", *more)
    (found,) = json.loads(told.stdout)
    assert found["intact"] == (told.exit_code == exits.OK)
    return told.exit_code, [wrong["reason"] for wrong in found["verification"]["findings"]]


def seen(here: Path) -> tuple[str, str]:
    """The witness's file as an option."""
    return "--witness", str(here / "witness.jsonl")


def test_an_untouched_copy_is_proven_and_witnessed(run: Callable[..., Result], here: Path) -> None:
    """Without a server and without a context: by the key, and by what a site has kept."""
    assert verify(run, here) == (exits.OK, [])
    told = run("audit", "verify", str(here / "tables"), "--key", KEY, *seen(here))
    assert told.exit_code == exits.OK, told.output
    assert "eu-1" in told.stdout
    assert "intact" in told.stdout


TAMPERED: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "cut": lambda rows: rows[:4] + rows[5:],
    "edited": lambda rows: [{**row, "actor": "users/eve"} if row["position"] == 5 else row for row in rows],
    "edited where people look first": lambda rows: [{**row, "body": "{}"} if row["position"] == 12 else row for row in rows],
    "reordered": lambda rows: [
        *rows[:3],
        {**rows[4], "position": rows[3]["position"]},
        {**rows[3], "position": rows[4]["position"]},
        *rows[5:],
    ],
    "put in": lambda rows: [*rows[:5], {**rows[4], "name": "d/forged"}, *rows[5:]],
    "head cut": lambda rows: [row for row in rows if row["kind"] != "record.head" and row["position"] != 12],
}


@pytest.mark.invariant("A2")
@pytest.mark.parametrize("how", sorted(TAMPERED))
def test_what_was_done_to_an_exported_table_is_found_from_it_alone(run: Callable[..., Result], here: Path, how: str) -> None:
    """A row was cut, changed, moved or put in: exit code 1, and where. Only a cut tail needs what a witness has kept."""
    rewrite(here, TAMPERED[how])
    more = seen(here) if how == "head cut" else ()
    code, found = verify(run, here, *more)
    assert code == exits.ERROR
    assert found


@pytest.mark.invariant("A2")
@pytest.mark.parametrize("how", sorted(TAMPERED))
def test_chaining_it_anew_does_not_help_without_the_catalogs_key(run: Callable[..., Result], here: Path, how: str) -> None:
    """The links all agree then; the signed head does not."""
    rewrite(here, TAMPERED[how], relink=True)
    code, found = verify(run, here, *seen(here))
    assert code == exits.ERROR
    assert found


@pytest.mark.invariant("A2")
@pytest.mark.parametrize("left", [0, 1, 6, 11])
def test_a_tail_that_was_cut_is_found_by_what_a_witness_has_kept(run: Callable[..., Result], here: Path, left: int) -> None:
    """The heads went with the tail, so the rest is consistent: whoever has a head from elsewhere sees that it was longer."""
    rewrite(here, lambda rows: rows[:left])
    assert verify(run, here, *seen(here)) == (exits.ERROR, ["ROWS_CUT"])


@pytest.mark.invariant("A3")
def test_a_table_written_anew_with_the_catalogs_own_key_is_found_by_the_witness(run: Callable[..., Result], here: Path) -> None:
    """Chained and signed by the right key: only the site's file knows better."""

    def forge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows = [{**row, "actor": "users/eve"} if row["position"] == 5 else row for row in rows if row["kind"] != "record.head"]
        at = chain.genesis("audit")
        for row in rows:
            at = chain.link(at, chain.canonical(row))
        last = rows[-1]
        head = signed_heads.sign(PRIVATE, chain.Head(table="audit", position=12, rows=12, chain=at), last["time"])
        row = Event(
            position=13, time=last["time"], kind="record.head", name="recordHeads/audit/12", actor="", request_id="", body=""
        )
        event = dataclasses.replace(row, body=records.dumps(head))
        return [*rows, *records_tables.to_arrow("audit", [event], at).to_pylist()]

    rewrite(here, forge, relink=True)
    assert verify(run, here) == (exits.OK, []), "the key's owner could write it so"
    code, found = verify(run, here, *seen(here))
    assert code == exits.ERROR
    assert found == ["HEAD_DIFFERS"]


def test_one_table_is_verified_wherever_its_folder_lies(run: Callable[..., Result], here: Path) -> None:
    """Under its own name, or under another with --table."""
    alone = here / "tables" / "audit"
    assert run("audit", "verify", str(alone), "--key", KEY).exit_code == exits.OK
    moved = here / "from-the-auditor"
    alone.rename(moved)
    assert run("audit", "verify", str(moved), "--key", KEY, "--table", "audit").exit_code == exits.OK
    assert "--table" in run("audit", "verify", str(moved), "--key", KEY).stderr


@pytest.mark.invariant("A2")
def test_a_copy_whose_audit_is_gone_or_signed_by_another_is_no_proof(run: Callable[..., Result], here: Path) -> None:
    """What is left is consistent, as is all that somebody has written anew: no script may take it for proven."""
    words = ("audit", "verify", str(here / "tables"), "-o", "json", "--key")
    assert run(*words, KEY).exit_code == exits.OK
    assert run(*words, signing.public_hex(SITE)).exit_code == exits.ERROR
    rows = DeltaTable(str(here / "tables" / "audit")).to_pyarrow_table().sort_by("position")
    at, left = chain.genesis("lineage_edges"), []
    for row in rows.to_pylist():
        at = chain.link(at, chain.canonical(row))
        left.append(row | {"chain": at})
    edges = here / "tables" / "lineage_edges"
    shutil.rmtree(edges)
    write_deltalake(str(edges), pa.Table.from_pylist(left, schema=rows.schema), partition_by=["day"])
    shutil.rmtree(here / "tables" / "audit")
    told = run(*words, KEY)
    assert [each["table"] for each in json.loads(told.stdout) if each["verification"]["rows"]] == ["lineage_edges"]
    assert told.exit_code == exits.ERROR


def test_nothing_is_proven_by_nothing(run: Callable[..., Result], here: Path, tmp_path: Path) -> None:
    """A folder without tables, no key, a key that is not the catalog's, a witness that is none: none of them passes unsaid."""
    told = run("audit", "verify", str(tmp_path / "nowhere"), "--key", KEY)
    assert (told.exit_code, "nothing is proven" in told.stderr) == (exits.NOT_FOUND, True)
    assert run("audit", "verify", str(here / "tables")).exit_code == exits.USAGE
    told = run("audit", "verify", str(here / "tables"), "--key", "00" * 32)
    assert told.exit_code == exits.ERROR
    assert "consistent, not proven" in told.stdout
    assert "no signed head was compared" in told.stderr
    told = run("audit", "verify", str(here / "tables"), "--key", KEY)
    assert "no site has vouched for it" in told.stderr
    assert run("audit", "verify", str(here / "tables"), "--key", KEY, "--witness", "eu-1").exit_code == exits.NOT_FOUND
    (here / "witness.jsonl").write_text("nonsense\n")
    assert run("audit", "verify", str(here / "tables"), "--key", KEY, *seen(here)).exit_code == exits.USAGE
    assert run("audit", "verify", "--key", KEY).exit_code == exits.USAGE


def test_a_site_whose_key_is_known_otherwise_is_not_believed(run: Callable[..., Result], here: Path) -> None:
    """`--site-key` says whose word counts; what a site refused to is told."""
    words = ("audit", "verify", str(here / "tables"), "--key", KEY, "--table", "audit", *seen(here))
    good = run(*words, "--site-key", f"eu-1={signing.public_hex(SITE)}", "-o", "json")
    assert json.loads(good.stdout)[0]["witnesses"] == [{"site": "eu-1", "heads": 1, "position": 12, "pinned": True}]
    bad = run(*words, "--site-key", f"eu-1={KEY}")
    assert bad.exit_code == exits.ERROR
    assert "COSIGNATURE_FORGED" in bad.stdout
    assert run(*words, "--site-key", "eu-1").exit_code == exits.USAGE
    refusal = witness.HeadRefusal(
        site="eu-1", time=ManualClock().now(), table="audit", reason="HEAD_FORKED", detail="another link"
    )
    with (here / "witness.jsonl").open("a") as file:
        file.write(records.dumps(witness.WitnessLine(refusal=refusal)) + "\n")
    assert "HEAD_FORKED: another link" in run(*words).stderr


def test_the_schema_is_printed(run: Callable[..., Result]) -> None:
    """The one in the docs, letter by letter."""
    assert run("compliance", "schema").stdout == SCHEMA.read_text()
