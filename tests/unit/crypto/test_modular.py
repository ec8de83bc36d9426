"""Column classes: a class without its key stays closed, and no file is read that its manifest does not name."""

from __future__ import annotations

import io
import pickle
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from federation.core import columns, errors
from federation.crypto import modular

ROOT = Path(__file__).parents[3]
UID = "d-people"
GENERATION = "g-" + "0" * 26
DEKS = {"default": b"\1" * 32, "pii": b"\2" * 32}
CLASSES = columns.parse(["pii=email,ssn"])
LIFETIME = timedelta(minutes=5)


def table(rows: int = 100) -> pa.Table:
    """People, of whom two columns are sensitive."""
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "email": [f"person-{n}@example.org" for n in range(rows)],
            "ssn": [f"{n:09}" for n in range(rows)],
        }
    )


def holder(*classes: str, generation: str = GENERATION) -> modular.Keyholder:
    """Who holds the DEKs of these classes, or of all."""
    chosen = classes or tuple(DEKS)
    return modular.Keyholder(UID, generation, {name: DEKS[name] for name in chosen}, lifetime=LIFETIME)


def written(rows: int = 100, generation: str = GENERATION, **options: Any) -> bytes:
    """A file's bytes."""
    sink = io.BytesIO()
    holder(generation=generation).write(table(rows), sink, CLASSES, **options)
    return sink.getvalue()


def opened(data: bytes, keys: modular.Keyholder, classes: tuple[columns.ColumnClass, ...] = CLASSES) -> modular.ColumnFile:
    """The file, as it came out of its container."""
    return keys.open(io.BytesIO(data), classes)


@pytest.mark.parametrize("rows", [0, 1, 1023, 1024, 1025, 20_000])
def test_what_was_written_is_read_whatever_its_size(rows: int) -> None:
    """Empty, one row, and both sides of a row group's border."""
    assert opened(written(rows, row_group_rows=1024), holder()).read().equals(table(rows))


def test_nothing_of_the_file_is_to_be_seen() -> None:
    """Neither a name of a column nor a value stands in it; it begins and ends as an encrypted footer's file does."""
    data = written(compression="none", use_dictionary=False)
    assert data[:4] == data[-4:] == modular.MAGIC
    assert not any(word in data for word in (b"email", b"ssn", b"person-7@example.org"))


@pytest.mark.invariant("D4")
def test_a_class_without_its_lease_stays_closed_and_the_others_open() -> None:
    """Who lacks pii reads the rest, and is told by name what is closed."""
    file = opened(written(), holder("default"))
    assert file.open_columns == ("id",)
    assert file.read().equals(table().select(["id"]))
    assert pa.Table.from_batches(file.batches(["id"], batch_rows=7)).equals(table().select(["id"]))
    for wanted in (["email"], ["id", "ssn"]):
        for read in (file.read, lambda columns: list(file.batches(columns))):
            with pytest.raises(errors.PermissionDenied, match="'pii'") as caught:
                read(wanted)
            assert (caught.value.reason, caught.value.metadata["class"]) == ("COLUMN_CLASS_CLOSED", "pii")


@pytest.mark.invariant("D4")
def test_a_file_opens_no_closed_column_whatever_its_manifest_says() -> None:
    """The names in a manifest spare a question; what keeps the column closed is its key."""
    file = opened(written(), holder("default"), columns.parse(["other=id"]))
    assert "email" in file.open_columns
    with pytest.raises(errors.PermissionDenied, match="'pii'"):
        file.read(["email"])


TOUCH = """
import io, sys
import pyarrow.parquet as pq
from federation import secrecy
from federation.core import errors
from tests.unit.crypto import test_modular as t

secrecy.keep()
data, keys = t.written(), t.holder("default")
if sys.argv[1] == "pyarrow":
    file = pq.ParquetFile(io.BytesIO(data), decryption_properties=keys._decryption())
    file.metadata.row_group(0).column(1).statistics
file = t.opened(data, keys)
for name in [name for name in dir(file) if not name.startswith("_")]:
    value = getattr(file, name)
    for arguments in ((), (["email"],), (["id", "email"],), (["id"],)):
        try:
            found = value(*arguments) if callable(value) and name != "close" else value
            list(found) if name == "batches" else repr(found)
        except errors.PermissionDenied as closed:
            assert closed.reason == "COLUMN_CLASS_CLOSED"
        except TypeError:
            assert name not in ("read", "batches", "choose")
repr(file), file.schema, file.rows
print("alive")
"""


@pytest.mark.invariant("D4")
def test_no_call_of_an_open_file_touches_a_closed_columns_metadata() -> None:
    """pyarrow ends the process over it (SIGABRT, a shell's 134); all that a file of ours offers does not."""

    def run(how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", TOUCH, how]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)

    raw, ours = run("pyarrow"), run("ours")
    assert raw.returncode == -signal.SIGABRT, raw.stderr
    assert (ours.returncode, ours.stdout) == (0, "alive\n"), ours.stderr


def test_without_the_default_class_nothing_opens() -> None:
    """Its key is the footer's."""
    with pytest.raises(errors.PermissionDenied, match="'default'"):
        opened(written(), holder("pii"))


def test_a_file_of_plaintext_is_refused_before_it_is_parsed() -> None:
    """pyarrow itself takes it. So it is for what is too short to be a file, and for a magic at one end alone."""
    sink = io.BytesIO()
    pq.write_table(table(), sink)
    for data in (sink.getvalue(), b"", b"PARE", b"PARE" + bytes(20), bytes(20) + b"PARE"):
        with pytest.raises(errors.DataCorrupt) as caught:
            opened(data, holder())
        assert caught.value.reason == "OBJECT_NOT_ENCRYPTED"


def test_a_master_key_is_derived_for_its_place_and_opens_no_container() -> None:
    """Whom a master key is lent has not got the DEK, nor the key of another class or generation."""
    places = [
        (UID, GENERATION, "default"),
        (UID, GENERATION, "pii"),
        (UID, "g-" + "1" * 26, "pii"),
        ("d-other", GENERATION, "pii"),
    ]
    made = {modular.master(DEKS["pii"], *place) for place in places}
    assert len(made | set(DEKS.values())) == len(places) + 2


def test_a_file_of_another_generation_is_refused_by_name() -> None:
    """Though the DEK be the same: its name is bound into the wrapped key."""
    with pytest.raises(errors.PermissionDenied) as caught:
        opened(written(generation="g-" + "1" * 26), holder())
    assert caught.value.reason == "KEY_FOREIGN"


def test_keys_are_asked_for_once_for_each_class_however_many_files() -> None:
    """Double wrapping: single wrapping asks for each column of each row group."""
    keys = holder()
    for data in [written(row_group_rows=10) for _ in range(8)]:
        opened(data, keys).read()
    # Each of the eight files was written under keys of its own writer: two classes each.
    assert keys.calls == 16
    writer = holder()
    files = []
    for _ in range(8):
        sink = io.BytesIO()
        writer.write(table(), sink, CLASSES, row_group_rows=10)
        files.append(sink.getvalue())
    reader = holder()
    for data in files:
        opened(data, reader).read()
    assert (writer.calls, reader.calls) == (2, 2)


def test_a_closed_keyholder_opens_nothing_more() -> None:
    """pyarrow's cache of keys ends with the lease."""
    keys, data = holder(), written()
    opened(data, keys).read()
    keys.close()
    with pytest.raises(errors.PermissionDenied):
        opened(data, keys)


def test_a_keyholder_does_not_pickle_and_shows_no_key() -> None:
    """Keys do not travel; names do."""
    with pytest.raises(TypeError, match="stays in its process"):
        pickle.dumps(holder())
    assert "\\x01" not in repr(holder())


def test_a_class_has_columns_of_the_file() -> None:
    """One that is not there is refused by name."""
    with pytest.raises(errors.InvalidArgument) as caught:
        holder().write(table(), io.BytesIO(), columns.parse(["pii=phone"]))
    assert caught.value.reason == "COLUMN_UNKNOWN"


def test_a_column_whose_name_parquet_cannot_seal_is_refused_and_not_left_open() -> None:
    """A column that no setting names is written in plaintext by pyarrow."""
    for name in ("a:b", "a;b", "a,b", "a.b", " a"):
        with pytest.raises(errors.InvalidArgument) as caught:
            holder().write(pa.table({"email": ["x"], "ssn": ["y"], name: [1]}), io.BytesIO(), CLASSES)
        assert caught.value.reason == "COLUMN_NAME_UNSUPPORTED"


def test_nested_columns_are_sealed_by_their_root() -> None:
    """A struct goes whole into its class."""
    nested = pa.table({"id": [1], "person": [{"name": "Ada", "age": 36}]})
    sink = io.BytesIO()
    holder().write(nested, sink, columns.parse(["pii=person"]))
    person = columns.parse(["pii=person"])
    assert opened(sink.getvalue(), holder(), person).read().equals(nested)
    file = opened(sink.getvalue(), holder("default"), person)
    assert file.read().column_names == ["id"]
    with pytest.raises(errors.PermissionDenied, match="'pii'"):
        file.read(["person"])
