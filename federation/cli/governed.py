"""The options by which people say how a dataset may be used: by whom, for what, until when, and how careful one must be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from federation.core import dataset as values

F = TypeVar("F", bound=Callable[..., Any])

_LEVELS = click.Choice(tuple(str(level) for level in values.Classification))
_TIME = click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """What the options said: a dataset that has those fields, and their names."""

    fields: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.fields)

    def put(self, value: values.Dataset) -> values.Dataset:
        """The dataset with these fields."""
        return dataclasses.replace(value, **self.fields)


def _utc(_context: click.Context, _parameter: click.Parameter, value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)


_RESTRICTING = (
    click.option("--classification", type=_LEVELS, default=None, help="How much harm its misuse would do."),
    click.option(
        "--purpose", "purposes", multiple=True, metavar="PURPOSE", help="What it may be used for; repeat for several."
    ),
    click.option("--use-until", type=_TIME, callback=_utc, default=None, help="When its use ends (UTC), like 2027-12-31."),
    click.option(
        "--group-size-min", type=click.IntRange(0), default=None, help="Only aggregates of groups this large may leave."
    ),
)
_OWN = (
    click.option(
        "--reader", "readers", multiple=True, metavar="users/NAME|groups/NAME", help="Who may use it; repeat for several."
    ),
    click.option("--legal-hold/--no-legal-hold", default=None, help="Nothing of it may be destroyed."),
)
_LIFTING = (
    click.option("--any-purpose", is_flag=True, help="It may be used for every purpose."),
    click.option("--no-use-end", is_flag=True, help="Its use does not end."),
)
_NO_READERS = (click.option("--no-readers", is_flag=True, help="Only its owners may use it."),)


def _with(options: tuple[Callable[[F], F], ...]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


create_options = _with(_RESTRICTING + _OWN)
update_options = _with(_RESTRICTING + _OWN + _LIFTING + _NO_READERS)
declassify_options = _with(_RESTRICTING + _LIFTING)


def said(
    *,
    classification: str | None = None,
    purposes: tuple[str, ...] = (),
    use_until: datetime | None = None,
    group_size_min: int | None = None,
    readers: tuple[str, ...] = (),
    legal_hold: bool | None = None,
    any_purpose: bool = False,
    no_use_end: bool = False,
    no_readers: bool = False,
) -> Said:
    """What these options say."""
    for given, lifted, names in (
        (purposes, any_purpose, "--purpose and --any-purpose"),
        (use_until, no_use_end, "--use-until and --no-use-end"),
        (readers, no_readers, "--reader and --no-readers"),
    ):
        if given and lifted:
            raise click.UsageError(f"{names} exclude each other")
    fields: dict[str, Any] = {}
    if classification is not None:
        fields["classification"] = values.Classification(classification)
    if purposes or any_purpose:
        fields["purposes"] = tuple(sorted(set(purposes)))
    if use_until is not None or no_use_end:
        fields["use_expire_time"] = use_until
    if group_size_min is not None:
        fields["group_size_min"] = group_size_min
    if readers or no_readers:
        fields["readers"] = tuple(sorted(set(readers)))
    if legal_hold is not None:
        fields["legal_hold"] = legal_hold
    return Said(fields=fields)
