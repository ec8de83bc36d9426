"""Finds connectors by kind, through the entry points that this distribution and others declare. The one way to a connector."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any, Literal

from federation.core import errors

Group = Literal["storage", "sources", "keys", "compute", "bills", "engines"]

_DISTRIBUTION = "dataset-federation"


def load(group: Group, kind: str) -> Callable[..., Any]:
    """The class of a connector.

    InvalidArgument (KIND_UNKNOWN) names the kinds there are; FailedPrecondition (EXTRA_MISSING) says what to install when a
    connector's own library is not there.
    """
    entries = {entry.name: entry for entry in metadata.entry_points(group=f"federation.{group}")}
    entry = entries.get(kind)
    if entry is None:
        raise errors.InvalidArgument(
            f"there is no {group} connector of kind {kind!r}",
            reason="KIND_UNKNOWN",
            help=f"Known kinds: {', '.join(sorted(entries)) or 'none'}.",
            violations={"kind": f"must be one of {', '.join(sorted(entries))}"},
        )
    try:
        loaded: Callable[..., Any] = entry.load()
    except ModuleNotFoundError as error:
        raise _extra_missing(group, entry, error) from error
    return loaded


def _extra_missing(group: str, entry: metadata.EntryPoint, error: ModuleNotFoundError) -> errors.FailedPrecondition:
    distribution = entry.dist.name if entry.dist else _DISTRIBUTION
    extras = (entry.dist.metadata.get_all("Provides-Extra") or []) if entry.dist else []
    wanted = f"{distribution}[{entry.name}]" if entry.name in extras else distribution
    return errors.FailedPrecondition(
        f"the {group} connector {entry.name!r} needs the module {error.name}, which is not installed",
        reason="EXTRA_MISSING",
        help=f"Run `pip install '{wanted}'`.",
        metadata={"module": error.name or "", "kind": entry.name},
    )
