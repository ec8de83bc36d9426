"""Field masks (AIP-134): which fields of a stored value an update may touch."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

from federation.core import errors

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def merge(stored: T, given: T, mask: frozenset[str], mutable: frozenset[str]) -> T:
    """`stored` with the fields that the mask names taken from `given`.

    An empty mask means every mutable field that `given` fills, `*` every mutable one. InvalidArgument
    (FIELD_MASK_INVALID) for a path that may not be changed.
    """
    foreign = sorted(mask - mutable - {"*"})
    if foreign:
        raise errors.InvalidArgument(
            f"the update mask names what cannot be changed: {', '.join(foreign)}",
            reason="FIELD_MASK_INVALID",
            help=f"These can: {', '.join(sorted(mutable))}.",
            violations=dict.fromkeys(foreign, "cannot be changed"),
        )
    return dataclasses.replace(stored, **{name: getattr(given, name) for name in _named(given, mask, mutable)})


def _named(given: DataclassInstance, mask: frozenset[str], mutable: frozenset[str]) -> frozenset[str]:
    if "*" in mask:
        return mutable
    if mask:
        return mask
    filled = {field.name for field in dataclasses.fields(given) if getattr(given, field.name) != field.default}
    return mutable & filled
