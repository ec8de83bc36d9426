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

    An empty mask means every mutable field that `given` fills, `*` every mutable one. `card.licence` is a field of a field.
    InvalidArgument (FIELD_MASK_INVALID) for a path that may not be changed.
    """
    foreign = sorted(mask - mutable - {"*"})
    if foreign:
        raise errors.InvalidArgument(
            f"the update mask names what cannot be changed: {', '.join(foreign)}",
            reason="FIELD_MASK_INVALID",
            help=f"These can: {', '.join(sorted(mutable))}.",
            violations=dict.fromkeys(foreign, "cannot be changed"),
        )
    named = _named(given, mask, mutable)
    changed = {name: getattr(given, name) for name in named if "." not in name}
    for path in named:
        outer, _, inner = path.partition(".")
        if inner and outer not in named:
            held = changed.get(outer, getattr(stored, outer))
            changed[outer] = dataclasses.replace(held, **{inner: getattr(getattr(given, outer), inner)})
    return dataclasses.replace(stored, **changed)


def _named(given: DataclassInstance, mask: frozenset[str], mutable: frozenset[str]) -> frozenset[str]:
    if "*" in mask:
        return frozenset(name for name in mutable if "." not in name)
    if mask:
        return mask
    filled = {field.name for field in dataclasses.fields(given) if getattr(given, field.name) != field.default}
    return mutable & filled
