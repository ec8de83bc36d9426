"""`fed://` in the hands of the tools that people use."""

from __future__ import annotations

import io
import pickle

import duckdb
import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
import pytest

import federation
from federation.core import errors
from federation.worker import session

TABLE = pa.table({"x": list(range(1000)), "name": [f"n{i % 7}" for i in range(1000)]})


def parquet(table=TABLE) -> bytes:
    """A table as a Parquet file."""
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


@pytest.fixture
def job(gateway, in_job):
    """This process as a job with two inputs and an output."""
    gateway.stub.add_input(
        "flights",
        "sales/flights@3",
        {"flights.csv": b"x,y\n1,2\n3,4\n", "parts/2024/b.parquet": parquet(), "parts/2025/c.parquet": parquet()},
    )
    gateway.stub.add_input("parts", "sales/parts@1", {"a.parquet": parquet(), "b.parquet": parquet()})
    gateway.stub.outputs["model"] = "ml/delay-model"
    in_job()
    return gateway.stub


def test_pandas_reads_and_writes_urls(job):
    """As any other URL that fsspec knows."""
    assert pd.read_csv("fed://sales/flights/flights.csv").y.sum() == 6
    assert len(pd.read_parquet("fed://sales/flights/parts/2024/b.parquet")) == 1000
    TABLE.to_pandas().to_parquet("fed://ml/delay-model/t.parquet")
    pd.DataFrame({"a": [1]}).to_csv("fed://ml/delay-model/t.csv", index=False)
    written = job.written("model")
    assert pyarrow.parquet.read_table(io.BytesIO(written["t.parquet"])).num_rows == 1000
    assert written["t.csv"] == b"a\n1\n"


def test_pyarrow_reads_datasets_and_urls(job):
    """Through `filesystem=`, and as `fsspec+fed://`."""
    data = pyarrow.dataset.dataset("sales/flights/parts", filesystem=federation.filesystem())
    assert data.count_rows() == 2000
    assert data.to_table(filter=pa.compute.field("x") < 5).num_rows == 10
    assert pyarrow.parquet.read_table("fsspec+fed://sales/flights/parts/2024/b.parquet").equals(TABLE)


def test_pyarrow_writes_a_dataset(job):
    """Partitioned folders become paths of the output."""
    pyarrow.dataset.write_dataset(
        TABLE, "ml/delay-model/out", format="parquet", partitioning=["name"], filesystem=federation.filesystem()
    )
    assert len(job.written("model")) == 7


def test_duckdb_queries_files(job):
    """DuckDB asks for modification times, which never change."""
    with duckdb.connect() as db:
        db.register_filesystem(federation.filesystem())
        assert db.sql("SELECT sum(x) FROM read_parquet('fed://sales/flights/parts/*/*.parquet')").fetchall() == [(999_000,)]


def test_inputs_and_outputs_by_alias(job):
    """The names that the job gave, whatever the datasets are called."""
    flights = federation.inputs["flights"]
    assert flights.url == "fed://sales/flights"
    assert flights.version == "sales/flights@3"
    assert flights.files() == ("flights.csv", "parts/2024/b.parquet", "parts/2025/c.parquet")
    assert flights.pandas("flights.csv", usecols=["x"]).x.tolist() == [1, 3]
    assert len(federation.inputs["parts"].pandas()) == 2000
    assert federation.inputs["parts"].arrow().count_rows() == 2000
    assert list(federation.inputs) == ["flights", "parts"]
    assert "flights" in federation.inputs
    assert "weather" not in federation.inputs
    with flights.open("flights.csv") as file:
        assert file.read(3) == b"x,y"


def test_outputs_take_files_tables_and_text(job, tmp_path):
    """Each is part of the output once it is closed."""
    model = federation.outputs["model"]
    with model.open("model.pkl") as file:
        pickle.dump({"a": 1}, file)
    with model.open("notes/readme.txt", "w") as file:
        file.write("grüße")
    (tmp_path / "plot.png").write_bytes(b"png")
    model.write_file(tmp_path / "plot.png")
    model.write_table(TABLE)
    model.write_table(TABLE.to_pandas(), "t.csv")
    written = job.written("model")
    assert pickle.loads(written["model.pkl"]) == {"a": 1}
    assert written["notes/readme.txt"].decode() == "grüße"
    assert written["plot.png"] == b"png"
    assert job.outputs["model"].files["data.parquet"].rows == 1000
    assert sorted(federation.filesystem().find("ml/delay-model")) == sorted(f"ml/delay-model/{path}" for path in written)


def test_folders_are_those_of_the_paths(job):
    """ls, info, find and glob see a tree."""
    fs = federation.filesystem()
    assert fs.ls("fed://sales/flights", detail=False) == ["sales/flights/flights.csv", "sales/flights/parts"]
    assert fs.info("sales/flights/parts")["type"] == "directory"
    assert fs.info("sales/flights/flights.csv")["size"] == 12
    assert fs.find("sales/flights/parts") == ["sales/flights/parts/2024/b.parquet", "sales/flights/parts/2025/c.parquet"]
    assert fs.glob("sales/flights/parts/*/b.*") == ["sales/flights/parts/2024/b.parquet"]
    assert fs.ls("", detail=False) == ["ml", "sales"]
    assert fs.ls("sales", detail=False) == ["sales/flights", "sales/parts"]
    assert fs.cat_file("sales/flights/flights.csv", start=-4) == b"3,4\n"
    assert not fs.exists("sales/flights/absent")


def test_what_is_not_in_the_plan_is_refused(job):
    """With the reason, and as the error that file libraries know."""
    with pytest.raises(errors.PermissionDenied) as refused:
        federation.inputs["weather"]
    assert refused.value.reason == "INPUT_NOT_IN_PLAN"
    with pytest.raises(PermissionError) as refused:
        pd.read_csv("fed://eu/customers/c.csv")
    assert refused.value.reason == "INPUT_NOT_IN_PLAN"
    with pytest.raises(PermissionError, match="INPUT_NOT_IN_PLAN"):
        pyarrow.parquet.read_table("eu/customers/c.parquet", filesystem=federation.filesystem())
    with pytest.raises(PermissionError) as refused:
        federation.filesystem().open("fed://sales/flights/new", "wb")
    assert refused.value.reason == "OUTPUT_NOT_IN_PLAN"
    with pytest.raises(errors.PermissionDenied):
        federation.outputs["other"]


def test_a_missing_file_is_a_missing_file(job):
    """To Python, to pyarrow and to us."""
    with pytest.raises(FileNotFoundError) as refused:
        federation.inputs["flights"].open("nope")
    assert isinstance(refused.value, errors.NotFound)
    with pytest.raises(FileNotFoundError):
        pyarrow.parquet.read_table("sales/flights/nope.parquet", filesystem=federation.filesystem())


def test_a_damaged_file_is_refused_through_every_library(job):
    """Never an empty table, never garbage."""
    for name in list(job.store._objects):
        job.store._objects[name] = bytes(len(job.store._objects[name]))
    with pytest.raises(errors.DataCorrupt):
        pd.read_csv("fed://sales/flights/flights.csv")
    with pytest.raises(errors.DataCorrupt):
        pyarrow.parquet.read_table("sales/parts/a.parquet", filesystem=federation.filesystem())


def test_the_filesystem_travels(job, monkeypatch):
    """Its pickle carries the connection: it works where there is no environment of a job."""
    travelling = pickle.dumps(federation.filesystem())
    for name in ("FED_TOKEN", "FED_RUN"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(session, "_SESSIONS", {})
    arrived = pickle.loads(travelling)
    assert arrived.cat_file("sales/flights/flights.csv") == b"x,y\n1,2\n3,4\n"
    assert job.token not in repr(arrived)
    assert job.token not in repr(session.of(arrived._session.connection).connection)


def test_outside_of_a_job_it_says_so(monkeypatch):
    """And what to do."""
    for name in ("FED_TOKEN", "FED_RUN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(session, "_SESSIONS", {})
    with pytest.raises(errors.FailedPrecondition) as refused:
        fsspec.filesystem("fed")
    assert refused.value.reason == "NOT_IN_A_JOB"
    assert "fed job submit" in str(refused.value)
