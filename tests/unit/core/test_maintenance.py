"""What an engine may not do to the record."""

from __future__ import annotations

import pytest

from federation.core import errors, maintenance


@pytest.mark.parametrize(("reader", "writer"), [(1, 1), (1, 2), (1, 4)])
def test_tables_that_all_engines_read_are_taken(reader: int, writer: int) -> None:
    """With properties that leave the protocol as it is."""
    maintenance.check_protocol("t", reader, writer, {"delta.appendOnly": "true", "delta.enableDeletionVectors": "false"})


@pytest.mark.parametrize(
    ("reader", "writer", "properties"),
    [
        (2, 4, {}),
        (1, 5, {}),
        (3, 7, {}),
        *((1, 2, {name: "true"}) for name in maintenance.PLAIN_PROPERTIES if name.startswith("delta.enable")),
        (1, 2, {"delta.columnMapping.mode": "name"}),
        (1, 2, {"delta.checkpointPolicy": "v2"}),
    ],
)
def test_tables_beyond_are_refused_with_what_they_have(reader: int, writer: int, properties: dict[str, str]) -> None:
    """By the versions, or by a property that will raise them with the next commit."""
    with pytest.raises(errors.FailedPrecondition) as refused:
        maintenance.check_protocol("bills", reader, writer, properties)
    assert refused.value.reason == "PROTOCOL_TOO_NEW"
    assert all(name in refused.value.message for name in properties)


@pytest.mark.parametrize("path", ["/record", "/record/", "/record/egress_ledger/x.parquet", "/record//x"])
def test_nothing_is_exported_into_the_record(path: str) -> None:
    """Neither into a table nor beside one."""
    with pytest.raises(errors.InvalidArgument):
        maintenance.check_export(path, "/record/")


def test_a_neighbour_of_the_record_is_another_place() -> None:
    """A name that begins alike is no folder of it."""
    maintenance.check_export("/records/x.parquet", "/record")
    maintenance.check_export("s3://bucket/exports", "s3://bucket/export")
