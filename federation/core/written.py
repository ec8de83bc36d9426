"""What a file says, each value with the line where it stands: between its syntax and its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Written:
    """One value as it was written: text, a list or a table. `line` counts from 1 and is its key's; `quoted` is only text."""

    value: Value
    line: int
    quoted: bool = False


Value: TypeAlias = str | tuple[Written, ...] | Mapping[str, Written]
