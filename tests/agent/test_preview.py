"""The first rows of a version: what is read for them, what is masked, what is told of it, and what cannot be shown."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from federation.cli import app
from federation.client import AsyncClient, Client, connect, preview
from federation.core import dataset, errors, job, kinds
from federation.core.policy import Role
from federation.crypto import grants as signed
from federation.mcp import tools
from federation.services import identity
from tests.agent.federation import Federation, until
from tests.browse import driving

ROWS = 200_000
#: Of random numbers, so that nothing is small: 5 MB in the file.
LARGE = pa.table({name: np.random.default_rng(number).random(ROWS) for number, name in enumerate(("a", "b", "email"))})
PEOPLE = "email,age,note\n" + "".join(f'p{number}@example.org,{number % 90},"two\nlines"\n' for number in range(5000))


@pytest.fixture(scope="module")
def looked_at(shared: Federation, tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """A dataset with a file of each kind, and one that has rows of no kind."""
    folder = tmp_path_factory.mktemp("preview")
    pq.write_table(LARGE, folder / "large.parquet", row_group_size=ROWS // 2, compression="none", use_dictionary=False)
    (folder / "people.csv").write_text(PEOPLE)
    (folder / "people.tsv").write_text("email\tage\nx@example.org\t3\n")
    (folder / "events.jsonl").write_text("".join(json.dumps({"id": number, "at": {"x": 1}}) + "\n" for number in range(9)))
    (folder / "notes.txt").write_text("one\ntwo\nthree")
    (folder / "zero.parquet").write_bytes(b"PAR1 nothing of the kind PAR1")
    (folder / "long.csv").write_text("x\n" + "y" * (5 << 20))
    (folder / "model.pt").write_bytes(b"\0" * 100)
    (folder / "_hidden.csv").write_text("x\n1\n")
    shared.put("lab/things", folder, "us-1")
    weights = tmp_path_factory.mktemp("weights")
    (weights / "model.pt").write_bytes(b"\0" * 100)
    shared.put("lab/weights", weights, "us-1")
    (weights / "README.md").write_text("What it is\n")
    shared.put("lab/documented", weights, "us-1")
    shared.client.update_dataset(
        dataset.Dataset(namespace="lab", dataset="things", card=dataset.DataCard(sensitive_columns=("email",))),
        ("card.sensitive_columns",),
    )
    return shared


def told(found: pa.Table) -> dict[str, Any]:
    """What a table says of itself."""
    return {key.decode().removeprefix("fed."): value.decode() for key, value in found.schema.metadata.items()}


def test_of_a_large_file_only_what_the_rows_need_is_read_and_metered(looked_at: Federation) -> None:
    """Not the second row group, not the masked column, of the first a few pages; to the byte as the ledger says."""
    before = len(list(looked_at.client.list_ledger_entries()))
    found = looked_at.client.preview("lab/things@1", rows=5, file="large.parquet")
    assert found.column_names == ["a", "b", "email"]
    assert found["a"].to_pylist() == LARGE["a"].slice(0, 5).to_pylist()
    assert found["email"].to_pylist() == ["•••"] * 5
    said = told(found)
    assert (said["version"], said["file"], said["more"], said["masked"]) == (
        "lab/things@1",
        "large.parquet",
        "true",
        '["email"]',
    )
    received = int(said["received_bytes"])
    assert 0 < received < LARGE.nbytes / 2
    until(lambda: len(list(looked_at.client.list_ledger_entries())) > before)
    entries = list(looked_at.client.list_ledger_entries())
    assert entries[0].bytes == received
    fewer = looked_at.client.preview("lab/things", rows=5, file="large.parquet", columns=["b"])
    assert fewer.column_names == ["b"]
    assert int(told(fewer)["received_bytes"]) < received


def test_rows_of_each_kind_are_shown(looked_at: Federation) -> None:
    """By the file's own name, or of the first that has rows: hidden ones and what has none are passed over."""
    client = looked_at.client
    people = client.preview("lab/things", rows=2, file="people.csv", show_sensitive=True)
    assert people.to_pylist()[1] == {"email": "p1@example.org", "age": 1, "note": "two\nlines"}
    assert int(told(people)["received_bytes"]) < len(PEOPLE)
    assert client.preview("lab/things", file="people.tsv").to_pylist() == [{"email": "•••", "age": 3}]
    events = client.preview("lab/things", rows=9, file="events.jsonl")
    assert (events.num_rows, events.to_pylist()[8]["id"], told(events)["more"]) == (9, 8, "false")
    lines = client.preview("lab/things", rows=2, file="notes.txt", show_sensitive=True)
    assert (lines["line"].to_pylist(), told(lines)["more"]) == (["one", "two"], "true")
    assert told(client.preview("lab/things", columns=["id"]))["file"] == "events.jsonl"
    assert told(client.preview("lab/documented"))["file"] == "README.md"


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("lab/weights", {}, "PREVIEW_UNSUPPORTED"),
        ("lab/things", {"file": "model.pt"}, "PREVIEW_UNSUPPORTED"),
        ("lab/things", {"file": "zero.parquet"}, "PREVIEW_INVALID"),
        ("lab/things", {"file": "long.csv"}, "PREVIEW_INVALID"),
        ("lab/things", {"file": "notes.txt"}, "PREVIEW_SENSITIVE"),
        ("lab/things", {"file": "nowhere.csv"}, "FILE_NOT_FOUND"),
        ("lab/things", {"file": "people.csv", "columns": ["income"]}, "COLUMN_UNKNOWN"),
        ("lab/things", {"file": "large.parquet", "columns": ["a", "income"]}, "COLUMN_UNKNOWN"),
        ("lab/things", {"rows": 0}, "ROWS_INVALID"),
        ("lab/nothing", {}, "NOT_FOUND"),
    ],
)
def test_what_cannot_be_shown_says_why(looked_at: Federation, name: str, options: dict[str, Any], reason: str) -> None:
    """With what can be, and what else to do."""
    with pytest.raises(errors.FederationError) as caught:
        looked_at.client.preview(name, **options)
    assert caught.value.reason == reason
    assert caught.value.help


def test_a_look_is_asked_leased_and_told_and_sensitive_columns_are_their_owners(looked_at: Federation) -> None:
    """A reader sees masks, and is refused more; each look is a decision and a lease in the log."""
    edge = looked_at.edge
    secret = edge.catalog.write(lambda tx: identity.create_token(tx, edge.ctx, "eve", Role.USER, "EU")[1])
    looked_at.client.update_dataset(dataset.Dataset(namespace="lab", dataset="things", readers=("users/eve",)), ("readers",))
    position = edge.catalog.revision()
    with Client(edge.server.address, secret, edge.certs.ca) as eve:
        assert eve.preview("lab/things", rows=1, file="people.csv")["email"].to_pylist() == ["•••"]
        with pytest.raises(errors.PermissionDenied) as caught:
            eve.preview("lab/things", rows=1, file="people.csv", show_sensitive=True)
    assert caught.value.reason == "POLICY_DENIED"
    log = [(event.kind, event.actor) for event in edge.catalog.events(position)]
    assert log.count(("policy.decided", "users/eve")) >= 2
    assert any(kind == "lease.granted" for kind, _ in log), sorted({kind for kind, _ in log})


def test_a_look_takes_a_grant_of_its_own_size(looked_at: Federation) -> None:
    """What is reserved of links and budgets is what may be read, and not what the version has."""
    small = looked_at.client.open_read("lab/things", bytes_max=1000)
    whole = looked_at.client.open_read("lab/things")
    assert small.sensitive_columns == whole.sensitive_columns == ("email",)
    bounds = [signed.peek(access.grant).bytes_max for access in (small, whole)]
    assert bounds[0] == 1000 < looked_at.client.get_version("lab/things@1").object_bytes <= bounds[1]
    record = looked_at.edge.catalog.read(lambda tx: tx.get(kinds.GrantRecord, signed.peek(small.grant).grant))
    assert record.estimate_bytes == 1000
    with pytest.raises(errors.InvalidArgument, match="negative"):
        looked_at.client.open_read("lab/things", bytes_max=-1)


def test_the_files_of_a_version_are_told_to_who_may_read_it(looked_at: Federation) -> None:
    """As its site signed them, by a read that is in the log; none of the data is fetched."""
    position = looked_at.edge.catalog.revision()
    found = looked_at.client.get_manifest("lab/things@1")
    sizes = {entry.path: entry.file_bytes for entry in found.files}
    assert sizes["people.csv"] == len(PEOPLE.encode())
    assert len(sizes) == looked_at.client.get_version("lab/things@1").files
    kinds_ = [event.kind for event in looked_at.edge.catalog.events(position)]
    assert "lease.granted" in kinds_
    with pytest.raises(errors.NotFound):
        looked_at.client.get_manifest("lab/nothing")


def test_statistics_come_from_the_footer_alone_and_tell_nothing_of_what_is_sensitive(looked_at: Federation) -> None:
    """Nulls, least and greatest over all row groups; of a sensitive column neither, unless by who decides over it."""
    client = looked_at.client
    found = client.describe_file("lab/things", "large.parquet")
    a, _, email = found.columns
    assert (found.version, found.rows, found.row_groups) == ("lab/things@1", ROWS, 2)
    assert (a.column, a.type, a.nulls) == ("a", "double", 0)
    assert (float(a.least), float(a.greatest)) == (min(LARGE["a"].to_pylist()), max(LARGE["a"].to_pylist()))
    assert (email.masked, email.least, email.greatest) == (True, "", "")
    assert 0 < found.received_bytes < LARGE.nbytes / 10
    shown = client.describe_file("lab/things", "large.parquet", show_sensitive=True).columns[2]
    assert not shown.masked
    assert float(shown.least) == min(LARGE["email"].to_pylist())
    for file, reason in (("people.csv", "STATISTICS_MISSING"), ("zero.parquet", "PREVIEW_INVALID"), ("none", "FILE_NOT_FOUND")):
        with pytest.raises(errors.FederationError) as caught:
            client.describe_file("lab/things", file)
        assert caught.value.reason == reason


def test_statistics_of_columns_of_all_kinds(tmp_path: Path) -> None:
    """What has no order tells no bounds; a group of nulls alone leaves those of the others; nested columns by their path."""
    rows = pa.table(
        {
            "price": pa.array([Decimal("1.10"), None, Decimal("0.50")]),
            "day": pa.array([date(2020, 1, 2), date(2020, 1, 1), None]),
            "raw": [b"\x00\xff", b"a", b"b"],
            "half": pa.array([1.0, 2.0, 3.0], pa.float16()),
            "gone": pa.nulls(3, pa.string()),
            "not_a_number": [float("nan"), 1.0, 2.0],
            "at": [{"street": "x", "no": 1}, {"street": "y", "no": 2}, {"street": None, "no": 3}],
        }
    )
    pq.write_table(rows, tmp_path / "all.parquet", row_group_size=1)
    with pq.ParquetFile(tmp_path / "all.parquet") as file:
        found = [preview._column(file, number, frozenset({"at.street"})) for number in range(file.metadata.num_columns)]
    assert [(row.column, row.nulls, row.least, row.greatest, row.masked) for row in found] == [
        ("price", 1, "0.50", "1.10", False),
        ("day", 1, "2020-01-01", "2020-01-02", False),
        ("raw", 0, "00ff", "62", False),
        ("half", 0, "", "", False),
        ("gone", 3, "", "", False),
        ("not_a_number", 0, "", "", False),
        ("at.street", 1, "", "", True),
        ("at.no", 0, "1", "3", False),
    ]


def test_fed_dataset_files_and_statistics_show_them(looked_at: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """For people and for programs."""
    monkeypatch.setattr(connect, "connect", lambda _context: looked_at.edge.client())
    listed = CliRunner().invoke(app.fed, ["dataset", "files", "lab/things", "-o", "name"])
    assert listed.exit_code == 0, listed.output
    assert "people.csv" in listed.stdout
    told_ = CliRunner().invoke(app.fed, ["dataset", "statistics", "lab/things", "large.parquet"])
    assert told_.exit_code == 0, told_.output
    assert told_.stdout.splitlines()[3].split()[:3] == ["email", "double", "0"]
    assert "masked" in told_.stdout
    assert f"{ROWS:,} rows in 2 row groups of large.parquet" in told_.stderr


def test_what_is_read_of_data_is_browsed_once_it_was_said_what_that_means(looked_at: Federation) -> None:
    """Files, their statistics, first rows: nothing is read before the key, and nothing again when one comes back."""
    edge = looked_at.edge

    def leases() -> int:
        return sum(event.kind == "lease.granted" for event in edge.catalog.events(0))

    async def work(driver: driving.Driver) -> None:
        before = leases()
        await driver.press("right", "right")
        await driver.sees("Files", "It is a read of the data, in your name", "Press p to read it.")
        assert leases() == before
        await driver.press("p")
        await driver.sees("large.parquet", "people.csv", "9 files")
        assert leases() == before + 1
        await driver.press("right", "left")
        driver.browser._look()  # as when a connection was mended
        await driver.sees("large.parquet", "9 files")
        await driver.press("j", "j", "enter")
        await driver.sees("large.parquet", "least and greatest values", "Press p to read it.")
        await driver.press("p")
        await driver.sees("COLUMN", "email", "masked", "3 columns")
        await driver.press("right", "p")
        seen = await driver.sees("email string", "•••", "the first 50 rows of large.parquet", "masked: email")
        assert str(LARGE["a"][0].as_py()) in seen
        assert leases() == before + 3
        await driver.press("escape", "right", "p")
        await driver.sees("rows of events.jsonl")

    driving.browse(edge, work, "lab/things@1")


def test_a_log_is_followed_and_left(looked_at: Federation, tmp_path: Path) -> None:
    """Line by line while the job runs; leaving waits for nobody, though the job prints nothing more."""
    command = "print('\\x1b[2Jone', flush=True); import time; time.sleep(600)"
    started = looked_at.submit(sys.executable, "-c", command, sites=("us-1",))

    async def work(driver: driving.Driver) -> None:
        await driver.sees("RUNNING", without="STARTING")
        await driver.press("right", "right", "right")
        seen = await driver.sees("one", "bytes so far", "in the audit")
        assert "\x1b" not in seen
        await driver.press("escape")
        await driver.sees(started.job)

    began = time.monotonic()
    driving.browse(looked_at.edge, work, f"jobs/{started.job}")
    assert time.monotonic() - began < 300, "it waited for the job"
    looked_at.client.cancel_job(started.job)
    assert looked_at.client.wait(started.job, timeout=60).state is job.JobState.CANCELLED


def test_an_agent_of_a_person_sees_rows_without_what_is_sensitive(looked_at: Federation) -> None:
    """As plain JSON, sized for a model."""

    async def ask() -> dict[str, Any]:
        edge = looked_at.edge
        async with AsyncClient(edge.server.address, edge.tokens["admin"], edge.certs.ca) as client:
            return await tools.preview_dataset(client, "lab/things", rows=1, columns=["email", "age"], file="people.csv")

    answer = asyncio.run(ask())
    assert (answer["version"], answer["masked"], answer["rows"]) == ("lab/things@1", ["email"], [{"email": "•••", "age": 0}])
    assert answer["more_rows"]


def test_fed_dataset_preview_shows_rows_and_what_was_read(looked_at: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a table or for programs; with a word on what is masked and how many bytes were read."""
    monkeypatch.setattr(connect, "connect", lambda _context: looked_at.edge.client())
    words = ["dataset", "preview", "lab/things@1", "--file", "people.csv", "--rows", "2", "--columns", "age, email"]
    shown = CliRunner().invoke(app.fed, words)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[0].split() == ["age", "email"]
    assert "the first 2 rows of people.csv in lab/things@1" in shown.stderr
    assert "masked: email" in shown.stderr
    rows = CliRunner().invoke(app.fed, [*words, "-o", "json"]).stdout
    assert json.loads(rows) == [{"age": 0, "email": "•••"}, {"age": 1, "email": "•••"}]
