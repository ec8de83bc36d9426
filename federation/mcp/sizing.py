"""Answers sized for models: what is too long is cut where it says least, and each cut is told. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

#: A model reads some four bytes a token: an answer takes 8,000 of them at most.
ANSWER_BYTES_MAX = 32_000
ROWS_MAX = 100
TEXT_CHARS_MAX = 2_000


def rows(found: Iterable[Any], limit: int, how: str) -> dict[str, Any]:
    """At most `limit` rows of a listing; `more` says how to ask for others where there are more."""
    shown: list[Any] = []
    for row in found:
        if len(shown) == limit:
            return {"rows": shown, "more": how}
        shown.append(row)
    return {"rows": shown}


def fit(answer: dict[str, Any], bytes_max: int = ANSWER_BYTES_MAX) -> dict[str, Any]:
    """The answer within so many bytes of JSON: empty fields are left out, long texts cut, then the longest lists halved.

    `left_off` names each list that was cut, with the number of its rows that are not shown.
    """
    answer = _trimmed(answer)
    left_off: dict[str, int] = {}
    while _size(answer) > bytes_max:
        halvable = (found for found in _lists(answer) if len(found[1]) > 1)
        path, longest = max(halvable, key=lambda found: _size(found[1]), default=("", []))
        if not longest:
            break
        kept = len(longest) // 2
        left_off[path] = left_off.get(path, 0) + len(longest) - kept
        del longest[kept:]
    return answer | {"left_off": left_off} if left_off else answer


def _trimmed(item: Any) -> Any:
    if isinstance(item, dict):
        trimmed = {key: _trimmed(inner) for key, inner in item.items()}
        return {key: inner for key, inner in trimmed.items() if inner not in ("", None, [], {}, ())}
    if isinstance(item, list | tuple):
        return [_trimmed(inner) for inner in item]
    if isinstance(item, str) and len(item) > TEXT_CHARS_MAX:
        return f"{item[:TEXT_CHARS_MAX]}… ({len(item) - TEXT_CHARS_MAX} characters more)"
    return item


def _lists(item: Any, path: str = "") -> Iterable[tuple[str, list[Any]]]:
    if isinstance(item, list):
        yield path, item
        for inner in item:
            yield from _lists(inner, f"{path}[]")
    elif isinstance(item, dict):
        for key, inner in item.items():
            yield from _lists(inner, f"{path}.{key}" if path else key)


def _size(item: Any) -> int:
    return len(json.dumps(item, ensure_ascii=False).encode())
