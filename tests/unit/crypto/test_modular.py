"""Column classes: a class without its key stays closed, and no file is read that its manifest does not name."""

from __future__ import annotations

import hashlib
import io
import pickle
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.core import errors
from federation.crypto import modular

UID = "d-people"
GENERATION = "g-" + "0" * 26
DEKS = {"default": b"\1" * 32, "pii": b"\2" * 32}
CLASSES = modular.parse_classes(["pii=email,ssn"])
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


def opened(data: bytes, keys: modular.Keyholder) -> pq.ParquetFile:
    """The file, as one whose manifest pins these very bytes."""
    return keys.open(io.BytesIO(data), file_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def reason(data: bytes, pinned: bytes) -> str:
    """Why `data` is refused where `pinned` is what the manifest names."""
    with pytest.raises(errors.DataCorrupt) as caught:
        holder().open(io.BytesIO(data), file_bytes=len(pinned), sha256=hashlib.sha256(pinned).hexdigest())
    return caught.value.reason


@pytest.mark.parametrize("rows", [0, 1, 1023, 1024, 1025, 20_000])
def test_what_was_written_is_read_whatever_its_size(rows: int) -> None:
    """Empty, one row, and both sides of a row group's border."""
    assert opened(written(rows, row_group_rows=1024), holder()).read().equals(table(rows))


def test_nothing_of_the_file_is_to_be_seen() -> None:
    """Neither a name of a column nor a value stands in it; it begins and ends as an encrypted footer's file does."""
    data = written(compression="none", use_dictionary=False)
    assert data[:4] == data[-4:] == modular.MAGIC
    assert not any(word in data for word in (b"email", b"ssn", b"person-7@example.org"))


def test_a_class_without_its_lease_stays_closed_and_the_others_open() -> None:
    """D4: who lacks pii reads the rest, and is told by name what is closed."""
    file = opened(written(), holder("default"))
    assert file.read(columns=["id"]).equals(table().select(["id"]))
    for wanted in (["email"], ["id", "ssn"], None):
        with pytest.raises(errors.PermissionDenied, match="'pii'") as caught:
            file.read(columns=wanted)
        assert caught.value.reason == "COLUMN_CLASS_CLOSED"
        assert caught.value.metadata["class"] == "pii"


def test_without_the_default_class_nothing_opens() -> None:
    """Its key is the footer's."""
    with pytest.raises(errors.PermissionDenied, match="'default'"):
        opened(written(), holder("pii"))


def test_a_file_of_plaintext_is_refused_before_it_is_parsed() -> None:
    """pyarrow itself takes it; even where a manifest names its very bytes it is none of ours."""
    sink = io.BytesIO()
    pq.write_table(table(), sink)
    assert reason(sink.getvalue(), sink.getvalue()) == "OBJECT_NOT_ENCRYPTED"


def test_another_file_of_the_same_key_is_refused() -> None:
    """pyarrow itself takes it: the key does not tell files apart."""
    one, other = written(), written()
    assert len(one) == len(other)
    assert reason(other, one) == "OBJECT_SWAPPED"


def test_a_truncated_or_longer_file_is_refused() -> None:
    """By its length alone."""
    data = written()
    for changed in (data[:-1], data[: len(data) // 2], b"", data + b"\0"):
        assert reason(changed, data) == "OBJECT_TRUNCATED"


@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
@settings(max_examples=100, deadline=None)
def test_a_flipped_bit_is_refused_wherever_it_is(at: int, bit: int) -> None:
    """In magic, pages or footer."""
    changed = bytearray(FILE)
    changed[at % len(FILE)] ^= 1 << bit
    assert reason(bytes(changed), FILE) in ("OBJECT_SWAPPED", "OBJECT_NOT_ENCRYPTED")


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


@pytest.mark.parametrize("text", ["", "pii", "pii=", "pii=a,,b", "PII=a", "default=a", "pii=a:b", "pii=a.b"])
def test_what_is_no_class_is_refused(text: str) -> None:
    """By reason, before a key is made."""
    with pytest.raises(errors.InvalidArgument) as caught:
        modular.parse_classes([text])
    assert caught.value.reason == "COLUMN_CLASS_INVALID"


def test_a_column_is_in_one_class_and_in_the_file() -> None:
    """Twice, or not there: refused by name."""
    with pytest.raises(errors.InvalidArgument, match="'email'"):
        modular.parse_classes(["pii=email", "contact=email"])
    with pytest.raises(errors.InvalidArgument) as caught:
        holder().write(table(), io.BytesIO(), modular.parse_classes(["pii=phone"]))
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
    holder().write(nested, sink, modular.parse_classes(["pii=person"]))
    assert opened(sink.getvalue(), holder()).read().equals(nested)
    file = opened(sink.getvalue(), holder("default"))
    assert file.read(columns=["id"]).num_rows == 1
    with pytest.raises(errors.PermissionDenied, match="'pii'"):
        file.read(columns=["person"])


FILE = written()
