"""Partitioned datasets: a name for parts that lie apart and may never meet; only its parts are read and written."""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import dataset, errors, ids

PARTS_MAX = 400


def require_whole(stored: dataset.Dataset) -> None:
    """FailedPrecondition (DATASET_PARTITIONED) names the parts of a dataset that has no versions of its own."""
    if stored.parts:
        raise errors.FailedPrecondition(
            f"dataset {stored.name.short} cannot be read or written as a whole: its parts are {', '.join(stored.parts)}",
            reason="DATASET_PARTITIONED",
            help="Read or write one of its parts, or run a job over all of them: "
            f"fed job submit --scatter data={stored.name.short} ...",
            metadata={"dataset": stored.name.short, "parts": ",".join(stored.parts)},
        )


def checked(tx: ports.Transaction, changed: dataset.Dataset) -> dataset.Dataset:
    """The dataset with its parts in short form; InvalidArgument (PARTS_INVALID, RELEASE_INVALID) for what cannot be."""
    if changed.release_bytes_max < 0:
        told = f"{changed.release_bytes_max} bytes cannot be released"
        raise errors.InvalidArgument(
            told, reason="RELEASE_INVALID", help="Use 0 for none.", violations={"release_bytes_max": told}
        )
    if not changed.parts:
        return changed
    parts = tuple(_part(tx, changed, name) for name in changed.parts)
    if len(set(parts)) < len(parts) or len(parts) > PARTS_MAX:
        raise _invalid(changed, f"it must have different parts, and at most {PARTS_MAX}", "Name each part once.")
    if changed.latest_version:
        raise _invalid(changed, f"it has {changed.latest_version} versions of its own", "Make a new dataset of these parts.")
    if changed.residency or changed.release_bytes_max:
        raise _invalid(changed, "a residency or a release belongs to a part", "Give it to the parts that it binds.")
    return dataclasses.replace(changed, parts=parts)


def _part(tx: ports.Transaction, whole: dataset.Dataset, text: str) -> str:
    name = ids.dataset(text)
    found = tx.get(dataset.Dataset, name.short)
    if found is None or found.delete_time is not None:
        raise _invalid(whole, f"there is no dataset {name.short}", "Create the parts first, then what they make up.")
    if found.parts or name == whole.name:
        raise _invalid(whole, f"{name.short} is partitioned itself", "Name its parts instead.")
    return name.short


def _invalid(whole: dataset.Dataset, told: str, hint: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"dataset {whole.name.short} cannot be partitioned so: {told}",
        reason="PARTS_INVALID",
        help=hint,
        violations={"parts": told},
    )
