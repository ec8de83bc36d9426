"""Writing through a gateway: encrypted as it is written, whole or not at all, and again when the gateway was away."""

from __future__ import annotations

import io
import random

import pyarrow as pa
import pyarrow.parquet
import pytest

from federation.core import columns, errors
from federation.wire import data
from tests.worker import gateway_stub

CONTENT = random.Random(2).randbytes(3_000_000)


@pytest.fixture
def writer(gateway):
    """A writer of the output `model`."""
    gateway.stub.outputs["model"] = "ml/delay-model"
    return data.VersionWriter(gateway.client, audience=data.run_audience(gateway_stub.RUN), output="model")


def test_what_is_put_comes_back(gateway, writer):
    """Files of any length, in one stream, open to what they were."""
    files = {"big": CONTENT, "empty": b"", "folder/small": b"x"}
    entries = writer.put_files(data.NewFile(path=path, data=io.BytesIO(content)) for path, content in files.items())
    assert gateway.stub.written("model") == files
    assert [entry.path for entry in entries] == list(files)
    assert len({entry.tag for entry in entries}) == 3
    assert b"".join(gateway.stub.store._objects.values()).find(CONTENT[:64]) == -1


def test_a_created_file_is_there_once_it_is_closed(gateway, writer):
    """Not before, and only if nothing went wrong."""
    file = writer.create("model.bin")
    file.write(CONTENT)
    assert gateway.stub.written("model") == {}
    file.close()
    assert gateway.stub.written("model") == {"model.bin": CONTENT}


def test_a_file_left_by_an_exception_is_not_written(gateway, writer):
    """Half a model is no model."""

    def fail():
        with writer.create("model.bin") as file:
            file.write(CONTENT)
            raise RuntimeError("the training diverged")

    with pytest.raises(RuntimeError):
        fail()
    assert gateway.stub.written("model") == {}


def test_a_path_is_written_once(gateway, writer):
    """A version has one file of a name."""
    writer.put_file("model.bin", io.BytesIO(b"1"))
    with pytest.raises(errors.InvalidArgument) as refused:
        writer.put_file("model.bin", io.BytesIO(b"2"))
    assert refused.value.reason == "PATH_DUPLICATE"


def test_a_path_that_leaves_the_dataset_is_refused(writer):
    """Before anything is sent."""
    with pytest.raises(errors.InvalidArgument) as refused:
        writer.create("../other")
    assert refused.value.reason == "PATH_INVALID"


@pytest.mark.parametrize("point", ["PutObjects", "PutObjects.stored"])
@pytest.mark.parametrize("way", ["put_file", "create"])
def test_a_gateway_that_goes_away_while_a_file_is_sent(gateway, writer, point, way):
    """The file is sent again; if it was stored and only the answer was lost, once is enough."""
    failures = iter([True, True])

    def fault(method):
        if method == point and next(failures, False):
            raise errors.Unavailable("restarting")

    gateway.stub.fault = fault
    if way == "put_file":
        writer.put_file("a", io.BytesIO(CONTENT))
    else:
        with writer.create("a") as file:
            file.write(CONTENT)
    assert gateway.stub.written("model") == {"a": CONTENT}


def test_a_call_that_failed_takes_no_more_of_the_file(gateway, writer):
    """gRPC goes on taking messages for a moment after a failure: they must not come from a file that is sent again by then."""
    for number in range(30):
        failures = iter([True])

        def fault(method, failures=failures):
            if method == "PutObjects" and next(failures, False):
                raise errors.Unavailable("restarting")

        gateway.stub.fault = fault
        writer.put_file(f"{number}", io.BytesIO(CONTENT))
    assert set(gateway.stub.written("model").values()) == {CONTENT}


def test_an_unreadable_file_is_its_own_error(gateway, writer):
    """What goes wrong on this side is told as it is, and nothing of the file is kept."""

    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError("the disk has a bad block")

    with pytest.raises(OSError, match="bad block"):
        writer.put_file("a", Broken())
    with pytest.raises(errors.InvalidArgument) as refused:
        writer.put_files([data.NewFile(path="/etc/passwd", data=io.BytesIO(b"x"))])
    assert refused.value.reason == "PATH_INVALID"
    assert gateway.stub.written("model") == {}


def test_two_processes_write_one_output(gateway, writer):
    """The same write and key are handed to each process of a run."""
    other = data.VersionWriter(gateway.client, audience=data.run_audience(gateway_stub.RUN), output="model")
    assert (other.write, other.generation) == (writer.write, writer.generation)
    writer.put_file("a", io.BytesIO(b"a"))
    other.put_file("b", io.BytesIO(b"b"))
    assert gateway.stub.written("model") == {"a": b"a", "b": b"b"}


def test_rows_of_a_parquet_file_are_told(gateway, writer):
    """From its footer, also when it was written piece by piece."""
    with writer.create("t.parquet") as file:
        pyarrow.parquet.write_table(pa.table({"x": list(range(1000))}), file)
    assert gateway.stub.outputs["model"].files["t.parquet"].rows == 1000


def test_no_room_here_is_told_as_such(writer, monkeypatch):
    """A full temporary folder is a clear error with a stable reason."""
    monkeypatch.setattr(data, "_SPOOL_BYTES", 1)
    file = writer.create("big")
    limited(lambda: write_much(file))
    assert file.closed


@pytest.fixture
def sealer(gateway):
    """A writer of the output `people`, sealed by a class."""
    gateway.stub.outputs["people"] = "hr/people"
    audience = data.run_audience(gateway_stub.RUN)
    return data.VersionWriter(gateway.client, audience=audience, output="people", column_classes=columns.parse(["pii=x"]))


def test_no_room_to_seal_columns_is_told_as_such(sealer, monkeypatch):
    """The file is there, whole; what it would be sealed into is what finds no room."""
    monkeypatch.setattr(data, "_SPOOL_BYTES", 1)
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"x": [CONTENT]}), file)
    file.seek(0)
    limited(lambda: refused_for_room(sealer, file))


def refused_for_room(sealer, file):
    """Puts it, which must be told."""
    with pytest.raises(errors.ResourceExhausted) as refused:
        sealer.put_file("a.parquet", file)
    assert refused.value.reason == "STORAGE_FULL"


def test_a_file_that_is_sealed_by_columns_is_sent_again_after_a_gateway_that_was_away(gateway, sealer):
    """By whichever call: what is stored is sealed, with the rows that it has; of what was written piece by piece as well."""
    table, file = pa.table({"x": list(range(1000))}), io.BytesIO()
    failures = iter([True, False, True])

    def fault(method):
        if method == "PutObjects" and next(failures, False):
            raise errors.Unavailable("restarting")

    gateway.stub.fault = fault
    pyarrow.parquet.write_table(table, file)
    file.seek(0)
    sealer.put_file("a.parquet", file)
    with sealer.create("b") as out:
        pyarrow.parquet.write_table(table, out)
    file.seek(0)
    sealer.put_files([data.NewFile(path="c", data=file)])
    assert {content[:4] for content in gateway.stub.written("people").values()} == {b"PARE"}
    assert [entry.rows for entry in gateway.stub.outputs["people"].files.values()] == [1000] * 3


def write_much(file):
    """Writes until there is no room, which must be told."""
    with pytest.raises(errors.ResourceExhausted) as refused:
        any(file.write(CONTENT) == 0 for _ in range(100))
    assert refused.value.reason == "STORAGE_FULL"


def limited(work):
    """Runs with files bounded to 1 MB, as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        work()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_describe_tells_rows_and_columns(tmp_path):
    """What the catalog shows of a version comes from footers and headers."""
    pyarrow.parquet.write_table(pa.table({"x": [1, 2], "name": ["a", "b"]}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("x,name\n1,a\n")
    (tmp_path / "not.parquet").write_bytes(b"nothing of the sort")
    (tmp_path / "empty.csv").write_bytes(b"")
    assert data.describe(tmp_path / "t.parquet") == (2, (("x", "int64"), ("name", "string")))
    assert data.describe(tmp_path / "t.csv") == (-1, (("x", "int64"), ("name", "string")))
    assert data.describe(tmp_path / "not.parquet") == (-1, ())
    assert data.describe(tmp_path / "empty.csv") == (-1, ())
    assert data.describe(tmp_path / "t.txt") == (-1, ())
