"""Times as options: days, seconds or months, UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import click

TIMES = click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m"))


def moment(_context: click.Context, _parameter: click.Parameter, value: datetime | None) -> datetime | None:
    """The time that was given, in UTC."""
    return None if value is None else value.replace(tzinfo=UTC)
