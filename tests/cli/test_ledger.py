"""`fed ledger verify` without a server: the tables' folder, the catalog's public key, and heads that were kept elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake

from federation.adapters import records_docs, records_tables
from federation.adapters.records_delta import DeltaRecords
from federation.cli import app, exits
from federation.crypto import heads, signing
from federation.wire.plain import plain
from tests import records

PRIVATE = bytes(range(32))
KEY = signing.public_hex(PRIVATE)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a command line of `fed` for a person without any context."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "contexts.yaml"))
    return lambda *words: CliRunner().invoke(app.fed, ["ledger", *words])


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A folder with a ledger of twenty rows and heads.json, as `fed ledger heads -o json` prints it."""
    here = tmp_path_factory.mktemp("kept")
    sink = DeltaRecords(str(here / "tables"))
    sink.append("egress_ledger", tuple(records.event(number) for number in range(1, 21)))
    head = heads.sign(PRIVATE, sink.head("egress_ledger"), records.TIME)
    (here / "heads.json").write_text(json.dumps([plain(head)]))
    return here


@pytest.fixture
def here(written, tmp_path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(written, tmp_path / "here"))


def offline(here: Path, *more: str) -> tuple[str, ...]:
    """The words of a verification of that folder."""
    return ("verify", "--tables", str(here / "tables"), "--key", KEY, "--heads", str(here / "heads.json"), *more)


def test_an_untouched_table_is_proven(run, here):
    """For a person in a table, for a program as JSON; tables that are not there are empty."""
    told = run(*offline(here))
    assert told.exit_code == exits.OK, told.output
    assert "egress_ledger" in told.stdout
    assert "intact" in told.stdout
    answer = json.loads(run(*offline(here, "-o", "json")).stdout)
    assert len(answer) == len(records_tables.TABLES)
    assert answer[0]["table"] == "egress_ledger"
    assert (answer[0]["intact"], answer[0]["rows"], answer[0]["proven_position"]) == (True, 20, 20)


def test_a_tampered_table_ends_with_code_one_and_says_where(run, here):
    """After which position, and what is still proven."""
    place = here / "tables" / "egress_ledger"
    rows = DeltaTable(str(place)).to_pyarrow_table().sort_by("position")
    changed = rows.to_pylist()
    changed[6]["charge_micros"] = 1
    shutil.rmtree(place)
    write_deltalake(str(place), pa.Table.from_pylist(changed, schema=rows.schema), partition_by=["day"])
    told = run(*offline(here, "--table", "egress_ledger"))
    assert told.exit_code == exits.ERROR
    assert "BROKEN" in told.stdout
    assert "ROW_BROKEN: the row at 7 was changed, or rows between 6 and 7 were cut" in told.stdout
    (found,) = json.loads(run(*offline(here, "--table", "egress_ledger", "-o", "json")).stdout)
    assert [(each["after_position"], each["position"]) for each in found["findings"]] == [(6, 7)]
    assert found["proven_rows"] == 13


def test_without_heads_it_says_that_nothing_is_proven(run, here):
    """Or with a key that is not the catalog's: consistent is not proven."""
    for words in ((), ("--key", "00" * 32, "--heads", str(here / "heads.json"))):
        told = run("verify", "--tables", str(here / "tables"), "--table", "egress_ledger", *words)
        assert told.exit_code == exits.OK
        assert "consistent, not proven" in told.stdout
        assert "no signed head was compared" in told.stderr


@pytest.mark.parametrize("text", ["", '{"a": 1}', '[{"table": 1}]', "[1]"])
def test_a_file_without_heads_is_refused(run, here, text):
    """With the command that writes one."""
    (here / "heads.json").write_text(text)
    told = run(*offline(here, "-o", "json", "--table", "audit"))
    assert told.exit_code == exits.USAGE
    assert json.loads(told.stderr)["error"]["reason"] == "HEADS_INVALID"


def test_key_and_heads_go_with_a_folder(run):
    """A server knows its own; a key that it would not look at would only seem to be checked."""
    told = run("verify", "--key", KEY)
    assert told.exit_code == exits.USAGE
    assert "--tables" in told.stderr


def test_the_columns_are_listed_without_a_server(run):
    """Every one, as docs/record.md has them."""
    listed = json.loads(run("tables", "-o", "json").stdout)
    assert len(listed) == len(list(records_docs.columns()))
    one = json.loads(run("tables", "--table", "audit", "-o", "json").stdout)
    assert [each["column"] for each in one][:3] == ["position", "time", "kind"]
