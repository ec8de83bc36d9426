"""An aggregate's groups are counted in its files by its site before it becomes a version, or it becomes none."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from federation.agent import airlock
from federation.core import dataset, errors, job
from tests.agent import federation as federations
from tests.agent.federation import Federation, launch

PATIENTS = (job.InputSpec(alias="patients", dataset="clinic/patients"),)
SUMS = (job.OutputSpec(alias="sums", dataset="clinic/sums", count_column="people"),)
LEAST = 10


@pytest.fixture
def clinic(held: Federation, tmp_path: Path) -> Federation:
    """Patients in the US, of whom nothing is told of groups below ten."""
    held.put("clinic/patients", federations.write_files(tmp_path / "p", a_csv=b"x\n1\n"), "us-1")
    changed = dataset.Dataset(namespace="clinic", dataset="patients", group_size_min=LEAST)
    held.client.update_dataset(changed, ["group_size_min"])
    return held


def parquet(**columns: list[Any]) -> bytes:
    """A Parquet file."""
    file = io.BytesIO()
    pa.parquet.write_table(pa.table(columns), file, compression="none", use_dictionary=False)
    return file.getvalue()


def aggregate(fed: Federation, **files: bytes) -> job.Job:
    """A job that writes these files as its aggregate, once it has ended."""
    launcher = launch(fed, "us-1", inputs=PATIENTS, outputs=SUMS, max_attempts=1)
    writer = launcher.write("sums", **{path.replace("_", "."): content for path, content in files.items()})
    writer.complete()
    with contextlib.suppress(errors.FailedPrecondition):  # the job tells why
        launcher.gateway.finish_attempt(0)
    return fed.client.wait(launcher.row.job, timeout=30)


def test_an_aggregate_of_large_groups_can_be_read_and_its_source_cannot(clinic: Federation, tmp_path: Path) -> None:
    """The version says how large its smallest group is, over all its files; people get that one and not what it is made of."""
    done = aggregate(clinic, a_parquet=parquet(age=[30, 40], people=[12, 90]), b_parquet=parquet(age=[50], people=[LEAST]))
    assert (done.state, done.detail) == (job.JobState.SUCCEEDED, "")
    assert clinic.client.get_version("clinic/sums@1").group_size == LEAST
    assert clinic.client.get_dataset("clinic/sums").group_size_min == LEAST
    clinic.client.get("clinic/sums", tmp_path / "out")
    assert pa.parquet.read_table(tmp_path / "out" / "b.parquet")["people"].to_pylist() == [LEAST]
    with pytest.raises(errors.PermissionDenied) as refused:
        clinic.client.get("clinic/patients", tmp_path / "no")
    assert (refused.value.reason, refused.value.metadata["policy"]) == ("POLICY_DENIED", "group-size")


def test_one_small_group_keeps_all_of_it_from_becoming_a_version(clinic: Federation) -> None:
    """In any file, in any row: by a stable reason, and another try would do the same."""
    done = aggregate(clinic, a_parquet=parquet(people=[90]), b_parquet=parquet(people=[50, LEAST - 1, 70]))
    assert (done.state, done.reason) == (job.JobState.FAILED, "GROUPS_TOO_SMALL")
    assert clinic.client.get_dataset("clinic/sums").latest_version == 0


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"a_parquet": parquet(people=[90]), "b_csv": b"people\n90\n"}, "b.csv"),
        ({"a_parquet": parquet(counted=[90])}, "a.parquet"),
        ({"a_parquet": parquet(people=["90"])}, "a.parquet"),
        ({"a_parquet": parquet(people=[90.5])}, "a.parquet"),
        ({"a_parquet": parquet(people=[90, None])}, "a.parquet"),
        ({"a_parquet": parquet(people=pa.array([], pa.int64()))}, "no rows"),
    ],
)
def test_what_cannot_be_counted_is_no_aggregate(clinic: Federation, files: dict[str, bytes], why: str) -> None:
    """Another format, another column, words, halves, holes, nothing at all: refused, with the file's name."""
    done = aggregate(clinic, **files)
    assert (done.state, done.reason) == (job.JobState.FAILED, "GROUPS_UNPROVEN")
    assert why in done.detail


def test_without_a_count_column_nothing_is_counted_and_nothing_leaves(clinic: Federation, tmp_path: Path) -> None:
    """The output is as bound as its input, and there is no number that would let anybody have it."""
    launcher = launch(clinic, "us-1", inputs=PATIENTS, outputs=(dataclasses.replace(SUMS[0], count_column=""),))
    launcher.write("sums", **{"a.parquet": parquet(people=[90])}).complete()
    launcher.gateway.finish_attempt(0)
    assert clinic.client.wait(launcher.row.job, timeout=30).state is job.JobState.SUCCEEDED
    assert clinic.client.get_version("clinic/sums@1").group_size is None
    with pytest.raises(errors.PermissionDenied, match="group-size"):
        clinic.client.get("clinic/sums", tmp_path / "out")


@pytest.fixture(scope="module")
def glass() -> Iterator[airlock.Airlock]:
    """What looks into files."""
    made = airlock.Airlock()
    yield made
    made.close()


@pytest.mark.invariant("G6")
def test_a_hostile_aggregate_ends_nobody_and_lies_to_nobody(glass: airlock.Airlock) -> None:
    """Each flipped byte gives an answer or none, and the next file is read. The footer's own least value is not believed."""
    whole = parquet(people=[40, 12, 70])
    assert glass.least("people", whole) == airlock.Least(rows=3, least=12)
    for at in range(0, len(whole), 37):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        glass.least("people", bytes(broken))
    assert glass.least("people", whole) == airlock.Least(rows=3, least=12)
    data, other = (b"".join(each.to_bytes(8, "little") for each in (40, least, 70)) for least in (12, 11))
    lying = whole.replace(data, other)
    assert pa.parquet.ParquetFile(io.BytesIO(lying)).metadata.row_group(0).column(0).statistics.min == 12
    assert glass.least("people", lying) == airlock.Least(rows=3, least=11)
