"""Ingest: what lies at a site is encrypted there, whole or not at all, from allowed places alone."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from federation.agent import ingest
from federation.core import job
from tests.agent.federation import Federation, until, write_files

CLICKS = (job.OutputSpec(alias="data", dataset="sales/clicks"),)


def submit(fed: Federation, url: str, site: str = "us-1") -> job.Job:
    """An ingest at a site."""
    request = job.JobRequest(kind=job.JobKind.INGEST, ingest_from=url, outputs=CLICKS, sites=(site,), max_attempts=1)
    return fed.client.submit(request)


def run(fed: Federation, url: str) -> job.Job:
    """An ingest, to its end."""
    return fed.client.wait(submit(fed, url).job, timeout=30)


def incoming(fed: Federation) -> Path:
    """The folder that the site may ingest from."""
    return fed.places["us-1"].root / "incoming"


def test_files_become_a_version_with_rows_and_columns(shared: Federation, tmp_path: Path) -> None:
    """Every byte; rows and columns where the format tells them; the source in the version."""
    folder = write_files(incoming(shared) / "clicks", b_bin=os.urandom(3_000_000), empty_txt=b"")
    (folder / "deep").mkdir()
    pa.parquet.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}), folder / "deep" / "t.parquet")
    done = run(shared, f"file://{folder}")
    assert (done.state, done.detail) == (job.JobState.SUCCEEDED, "")
    (version,) = shared.client.list_versions("sales/clicks")
    assert version.columns == (("a", "int64"), ("b", "string"))
    assert (version.files, version.source) == (3, f"file://{folder}")
    shared.client.get("sales/clicks", tmp_path / "out")
    for name in ("b.bin", "empty.txt", "deep/t.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
    assert "3 files" in shared.logs(done)
    assert shared.findings() == []


def test_rows_of_csv_files_are_counted(fed: Federation) -> None:
    """With and without a last line end; a quote makes the count unsure, and then it is unknown."""
    write_files(incoming(fed) / "sure", a_csv=b"x,y\n1,2\n3,4\n", b_csv=b"x,y\n5,6")
    assert run(fed, f"file://{incoming(fed)}/sure").state is job.JobState.SUCCEEDED
    write_files(incoming(fed) / "unsure", a_csv=b'x\n"1\n2"\n')
    assert run(fed, f"file://{incoming(fed)}/unsure").state is job.JobState.SUCCEEDED
    first, second = fed.client.list_versions("sales/clicks")
    assert (first.rows, first.columns, second.rows) == (3, (("x", "int64"), ("y", "int64")), -1)


@pytest.mark.parametrize("url", ["file:///etc", "{incoming}x", "s3://bucket/x"])
def test_only_allowed_places_are_read(shared: Federation, url: str) -> None:
    """The refusal names what is allowed."""
    done = run(shared, url.format(incoming=f"file://{incoming(shared)}"))
    assert (done.state, done.reason) == (job.JobState.FAILED, "SOURCE_NOT_ALLOWED")
    assert str(incoming(shared)) in done.detail


def test_a_link_out_of_the_source_is_refused(shared: Federation) -> None:
    """It is neither followed nor left out in silence."""
    folder = write_files(incoming(shared) / "linked", a_txt=b"a")
    (folder / "passwd").symlink_to("/etc/passwd")
    done = run(shared, f"file://{folder}")
    assert (done.state, done.reason) == (job.JobState.FAILED, "SOURCE_NOT_A_FILE")
    assert shared.findings() == []


def test_an_empty_source_is_refused(shared: Federation) -> None:
    """A version without files would hide a wrong URL."""
    (incoming(shared) / "void").mkdir()
    assert run(shared, f"file://{incoming(shared)}/void").reason == "SOURCE_EMPTY"


def test_an_ingest_that_was_cut_off_begins_again(fed: Federation) -> None:
    """With a key generation of its own; of the first try nothing is left."""
    place = fed.places["us-1"]
    folder = write_files(incoming(fed) / "big", **{f"f{n}_bin": os.urandom(2_000_000) for n in range(24)})
    submitted = submit(fed, f"file://{folder}")
    until(lambda: place.objects("objects/"))
    place.restart()
    assert fed.client.wait(submitted.job, timeout=30).state is job.JobState.SUCCEEDED
    (version,) = fed.client.list_versions("sales/clicks")
    assert (version.files, len(version.generations)) == (24, 1)
    assert fed.findings() == []


def test_a_cancelled_ingest_leaves_nothing(fed: Federation) -> None:
    """It stops between two files."""
    place = fed.places["us-1"]
    folder = write_files(incoming(fed) / "big", **{f"f{n}_bin": os.urandom(2_000_000) for n in range(40)})
    submitted = submit(fed, f"file://{folder}")
    until(lambda: place.objects("objects/"))
    fed.client.cancel_job(submitted.job)
    done = fed.client.wait(submitted.job, timeout=30)
    assert done.state in (job.JobState.CANCELLED, job.JobState.SUCCEEDED)
    if done.state is job.JobState.CANCELLED:
        until(lambda: place.objects() == [])
    assert fed.findings() == []


@pytest.mark.parametrize(
    ("prefix", "url", "covered"),
    [
        ("s3://b/raw", "s3://b/raw", True),
        ("s3://b/raw/", "s3://b/raw/x/y", True),
        ("s3://b", "s3://b/x", True),
        ("s3://b/raw", "s3://b/rawer", False),
        ("s3://b/raw", "s3://b/raw/../x", False),
        ("s3://b/raw", "s3://b//raw/x", False),
        ("s3://b/raw", "file://b/raw/x", False),
        ("file:///data", "/data/x", False),
        ("file:///data", "file:///data/./x", False),
    ],
)
def test_a_prefix_covers_whole_segments_only(prefix: str, url: str, covered: bool) -> None:
    """A neighbour whose name begins alike is another place, and dots lead nowhere."""
    assert ingest.covers(prefix, url) is covered
