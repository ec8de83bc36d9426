"""Reading all values of a kind, page by page, so that no listing is cut off without a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from federation import ports
from federation.core import kinds

T = TypeVar("T")
PAGE = 1000


def every(
    tx: ports.Transaction,
    cls: type[T],
    *,
    parent: str | tuple[str, ...] = "",
    where: Mapping[str, str | tuple[str, ...]] | None = None,
    keys: tuple[str, ...] = (),
) -> Iterator[T]:
    """All values of a kind, in key order. What is changed on the way is seen as it was when its page was read."""
    after = ""
    while True:
        page = tx.list(cls, parent=parent, where=where, keys=keys, after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = kinds.KINDS[cls].key(page[-1])
