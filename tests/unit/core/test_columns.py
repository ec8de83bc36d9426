"""Column classes as people write them: refused for what would leave a column open, before a key is made."""

from __future__ import annotations

import pytest

from federation.core import columns, errors
from federation.core.columns import ColumnClass


def test_classes_come_in_order_with_their_columns() -> None:
    """However they were written."""
    found = columns.parse(["pii=email, ssn", "health=diagnosis"])
    assert found == (ColumnClass(name="health", columns=("diagnosis",)), ColumnClass(name="pii", columns=("email", "ssn")))
    assert columns.names(found) == ("default", "health", "pii")
    assert columns.wanted(["pii", "default", "health", "pii"]) == ("default", "health", "pii")


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["pii"],
        ["pii="],
        ["pii=a,,b"],
        ["PII=a"],
        ["default=a"],
        ["pii=a:b"],
        ["pii=a.b"],
        ["a=x", "b=x"],
        ["a=x", "a=y"],
    ],
)
def test_what_is_no_class_is_refused(texts: list[str]) -> None:
    """By reason; a column in two classes too."""
    with pytest.raises(errors.InvalidArgument) as caught:
        columns.parse(texts)
    assert caught.value.reason == "COLUMN_CLASS_INVALID"


def test_classes_that_came_from_elsewhere_are_checked_alike() -> None:
    """A message, or a manifest, can say what no command line can."""
    for bad in (
        [ColumnClass(name="a", columns=())],
        [ColumnClass(name="a", columns=("x",)), ColumnClass(name="a", columns=("y",))],
    ):
        with pytest.raises(errors.InvalidArgument):
            columns.checked(bad)
    many = [ColumnClass(name=f"c{number}", columns=(str(number),)) for number in range(columns.CLASSES_MAX + 1)]
    with pytest.raises(errors.InvalidArgument, match="there are 1 to 16"):
        columns.checked(many)


def test_a_class_that_a_version_does_not_have_is_named() -> None:
    """With those that it has."""
    with pytest.raises(errors.InvalidArgument, match="no column class 'salary'; it has default, pii") as caught:
        columns.require_known("hr/people@1", columns.parse(["pii=ssn"]), ["pii", "salary"])
    assert caught.value.reason == "COLUMN_CLASS_UNKNOWN"
