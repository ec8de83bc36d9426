"""What a job's code tells of columns: which it reads, which it writes, from which they are made; maybe all, if it is silent."""

from __future__ import annotations

import io
import pickle

import pyarrow as pa
import pyarrow.parquet
import pytest

from federation.core import errors, lineage
from federation.worker import failures, session

TABLE = pa.table({"price": [1, 2, 3], "qty": [4, 5, 6], "name": ["a", "b", "c"]})


def parquet(table: pa.Table = TABLE) -> bytes:
    """A table as a file."""
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink)
    return sink.getvalue()


@pytest.fixture
def job(gateway, in_job):
    """A job with the orders, as Parquet and as CSV, and an output."""
    gateway.stub.add_input("orders", "sales/orders@1", {"a.parquet": parquet(), "b.parquet": parquet()})
    gateway.stub.add_input("lines", "sales/lines@1", {"a.csv": b"price,qty\n1,2\n"})
    gateway.stub.outputs["sums"] = "ml/sums"
    in_job()
    return gateway.stub


def test_an_arrow_dataset_of_some_columns_has_these_alone_and_lineage_is_told_so(job):
    """Reading it, here or from a pickle in another process, tells nothing else."""
    dataset = session.inputs["orders"].arrow(columns=["qty", "price"])
    assert pickle.loads(pickle.dumps(dataset)).to_table().to_pydict() == {"qty": [4, 5, 6] * 2, "price": [1, 2, 3] * 2}
    assert job.told.input("orders") == lineage.InputColumns(alias="orders", columns=("price", "qty"))
    with pytest.raises(KeyError):
        session.inputs["orders"].arrow(columns=["none"])


def test_an_arrow_dataset_of_all_columns_may_be_read_whole(job):
    """Whatever is projected afterwards, nobody hears of."""
    session.inputs["orders"].arrow().to_table(columns=["qty"])
    assert job.told.input("orders") == lineage.InputColumns(alias="orders", whole=True)


def test_a_frame_tells_the_columns_that_it_has(job):
    """All, or those that were asked for; of CSV too. Files are read through the same door without telling more."""
    session.inputs["orders"].pandas(columns=["name"])
    session.inputs["lines"].pandas(usecols=["qty"])
    assert (job.told.input("orders").columns, job.told.input("lines").columns) == (("name",), ("qty",))
    session.inputs["orders"].pandas("a.parquet")
    assert job.told.input("orders").columns == ("name", "price", "qty")


@pytest.mark.parametrize("way", ["open", "filesystem", "fsspec"])
def test_who_reads_bytes_may_read_all(job, way):
    """Once that is so, columns that were told before do not hold any more."""
    given = session.inputs["orders"]
    given.pandas(columns=["name"])
    if way == "open":
        given.open("a.parquet").read(4)
    elif way == "filesystem":
        session.filesystem().open("sales/orders/a.parquet").read(4)
    else:
        session.filesystem().cat_file("sales/orders/a.parquet", 0, 4)
    assert (job.told.input("orders").columns, job.told.input("orders").whole) == ((), True)


def test_each_thing_is_told_once(job):
    """However often it is read: one call for what is new, none for what is known."""
    for _ in range(3):
        session.inputs["orders"].pandas(columns=["name"])
        session.inputs["lines"].open("a.csv").read()
    assert len(job.columns_told) == 2


def test_what_is_written_as_parquet_tells_its_columns(job, tmp_path):
    """By a table, by a file, and by whatever writes through the file system."""
    out = session.outputs["sums"]
    out.write_table(TABLE.select(["price"]), "one.parquet")
    with out.open("two.parquet") as file:
        file.write(parquet(TABLE.select(["qty"])))
    (tmp_path / "three.parquet").write_bytes(parquet(TABLE.select(["name"])))
    out.write_file(tmp_path / "three.parquet")
    with out.open("model.bin") as file:
        file.write(b"no table")
    assert job.told.output("sums").columns == (("name", "string"), ("price", "int64"), ("qty", "int64"))


def test_what_columns_are_made_from_is_declared_in_the_job(job):
    """One source or several; what names no input, or no column, is refused there and then."""
    session.outputs["sums"].columns({"total": ["orders.price", "orders.qty"], "n": "lines.qty"})
    assert [(each.column, each.source) for each in job.told.output("sums").sources] == [
        ("n", "lines.qty"),
        ("total", "orders.price"),
        ("total", "orders.qty"),
    ]
    for wrong in ({"total": "elsewhere.price"}, {"total": "orders"}, {"": "orders.price"}, {"total": "orders."}):
        with pytest.raises(errors.InvalidArgument) as caught:
            session.outputs["sums"].columns(wrong)
        assert caught.value.reason == "COLUMN_MAP_INVALID"


def test_a_gateway_that_refuses_is_heard(job):
    """A run that is over can neither read nor tell."""

    def refuse(method):
        if method == "ReportLineage":
            raise errors.FailedPrecondition("attempt 1 is superseded", reason="RUN_SUPERSEDED")

    job.fault = refuse
    with pytest.raises((errors.FailedPrecondition, failures.AccessDenied)):
        session.inputs["lines"].open("a.csv")
