"""`fed sql --tables` and `fed engine` without a server: what is asked, put together, written, and said about Spark."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from federation import config
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import SystemClock, UlidIds
from federation.cli import app, exits
from federation.services.committer import Committer
from tests import records

LEDGER = "egress_ledger"


@pytest.fixture
def tables(tmp_path: Path) -> str:
    """A ledger of three entries, each in a file of its own."""
    root = str(tmp_path / "tables")
    sink = DeltaRecords(root)
    for position in (1, 2, 3):
        sink.append(LEDGER, (records.event(position),))
    return root


def fed(*words: str) -> Result:
    """Runs a command line."""
    return CliRunner().invoke(app.fed, list(words))


def answered(*words: str) -> Any:
    """The JSON that a command printed."""
    result = fed(*words, "-o", "json")
    assert result.exit_code == exits.OK, result.output
    return json.loads(result.stdout)


def test_sql_is_answered_where_the_tables_lie(tables: str) -> None:
    """As a table, as JSON with exact money, as CSV; and it is said when there was more."""
    sql = f"SELECT entry, charge_usd, time, avoided_micros FROM {LEDGER} ORDER BY position"
    rows = answered("sql", sql, "--tables", tables)
    assert [row["charge_usd"] for row in rows] == ["0.020001000000", "0.020002000000", "0.020003000000"]
    assert rows[0]["time"] == records.entry(1).time.isoformat()
    told = fed("sql", sql, "--tables", tables, "-o", "csv", "--limit", "2")
    listed = list(csv.DictReader(io.StringIO(told.stdout)))
    assert [row["charge_usd"] for row in listed] == ["0.020001000000", "0.020002000000"]
    assert listed[0]["avoided_micros"] == ""
    assert "more rows" in told.stderr
    assert "0.020003000000" in fed("sql", sql, "--tables", tables).stdout
    assert answered("sql", f"SELECT * FROM {LEDGER} WHERE bytes < 0", "--tables", tables) == []


def test_what_is_no_query_is_a_wrong_command(tables: str) -> None:
    """With the reason, and exit code 2."""
    result = fed("sql", f"DELETE FROM {LEDGER}", "--tables", tables, "-o", "json")
    assert result.exit_code == exits.USAGE
    assert json.loads(result.stderr)["error"]["reason"] == "SQL_NOT_A_QUERY"


def test_an_analysis_is_shown_or_written(tables: str, tmp_path: Path) -> None:
    """Chargeback, as rows or as a file for finance."""
    (row,) = answered("engine", "run", "chargeback", "--tables", tables)
    assert (row["namespace"], row["month"], row["charge_micros"]) == ("sales", "2026-11", 60_006)
    path = tmp_path / "chargeback.csv"
    done = answered("engine", "run", "chargeback", "--tables", tables, "--export", str(path), "--as", "csv")
    assert (done["rows"], done["bytes"]) == (1, path.stat().st_size)
    assert (
        answered("engine", "export", f"SELECT * FROM {LEDGER}", str(tmp_path / "all.parquet"), "--tables", tables)["rows"] == 3
    )


def test_a_table_is_put_together(tables: str) -> None:
    """And the answer says what became of its files."""
    done = answered("engine", "compact", LEDGER, "--tables", tables, "--order-by", "namespace, dataset")
    assert done["files_removed"] == 3
    assert done["files_added"] < 3
    assert fed("engine", "compact", "nothing", "--tables", tables).exit_code == exits.NOT_FOUND


def test_the_check_says_what_is_missing_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Java and an empty folder of jars: both by name, with the cure, and exit code 1."""
    pytest.importorskip("pyspark")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    result = fed("engine", "check", "--s3", "--jars-dir", str(tmp_path), "-o", "json")
    assert result.exit_code == exits.ERROR
    told = json.loads(result.stdout)
    parts = {part["part"]: part for part in told["parts"]}
    assert not told["usable"]
    assert "JAVA_HOME" in parts["java"]["to_do"]
    assert parts["pyspark"]["version"]
    for name in ("delta-storage", "hadoop-aws"):
        assert not parts[name]["version"]
        assert str(tmp_path) in parts[name]["to_do"]


def fake_java(folder: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java that says that version, and can do nothing else."""
    java = folder / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True, exist_ok=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(folder / "jdk"))


def fake_jars(folder: Path) -> Path:
    """A folder with all that is missing, by name."""
    folder.mkdir()
    for part in json.loads(fed("engine", "check", "--jars-dir", str(folder), "-o", "json").stdout)["parts"]:
        if "put " in part["to_do"]:
            (folder / part["to_do"].split("put ")[1].split()[0]).touch()
    return folder


def test_the_check_finds_jars_in_a_folder_for_closed_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their names; a Java that is too old is told with its version."""
    pytest.importorskip("pyspark")
    jars = fake_jars(tmp_path / "jars")
    for version, usable in (("11.0.2", False), ("17.0.15", True)):
        fake_java(tmp_path, version, monkeypatch)
        result = fed("engine", "check", "--jars-dir", str(jars), "-o", "json")
        told = json.loads(result.stdout)
        assert (result.exit_code == exits.OK, told["usable"]) == (usable, usable)
        assert ("too old" in told["parts"][0]["to_do"]) is not usable


def test_a_federation_s_tables_are_found_by_its_file_and_its_committer_is_not_pushed_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded engine works beside the committer; Spark may commit only while none has the lease, whatever is asked."""
    pytest.importorskip("pyspark")
    file, state = tmp_path / "federation.yaml", tmp_path / "state"
    file.write_text("federation: demo\n")
    settings = config.server(config.federation_file(file), state)
    settings.state_dir.mkdir(parents=True)
    catalog = SqlCatalog(settings.database_url, SystemClock(), UlidIds())
    committer = Committer(catalog, DeltaRecords(settings.tables_url), holder="server-1")
    for number in (1, 2):
        records.emit_entries(catalog, number)
        committer.run_once()
    named = ("--config", str(file), "--state", str(state))
    assert answered("engine", "compact", LEDGER, *named)["files_removed"] == 2
    fake_java(tmp_path, "17.0.15", monkeypatch)
    spark = ("--engine", "spark", "--jars-dir", str(fake_jars(tmp_path / "jars")))
    for place, reason in ((named, "LEASE_HELD"), (("--tables", settings.tables_url), "ENGINE_MAY_NOT_COMMIT")):
        refused = fed("engine", "compact", LEDGER, *place, *spark, "-o", "json")
        assert json.loads(refused.stderr)["error"]["reason"] == reason
    catalog.close()
    assert fed("engine", "compact", LEDGER).exit_code == exits.USAGE


def test_spark_without_its_jars_is_refused_with_what_to_do(tables: str, tmp_path: Path) -> None:
    """Before a JVM is started."""
    pytest.importorskip("pyspark")
    result = fed(
        *("engine", "run", "chargeback", "--tables", tables, "--engine", "spark", "--jars-dir", str(tmp_path / "none")),
        *("-o", "json"),
    )
    assert json.loads(result.stderr)["error"]["reason"] in ("JARS_MISSING", "JAVA_MISSING")


def test_an_unknown_engine_is_named_with_the_known_ones(tables: str) -> None:
    """Embedded needs nothing; others are connectors."""
    result = fed("engine", "compact", LEDGER, "--tables", tables, "--engine", "abacus", "-o", "json")
    assert json.loads(result.stderr)["error"]["reason"] == "KIND_UNKNOWN"
