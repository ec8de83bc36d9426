"""Turns: who does, for all servers of a catalog, what one of them is enough for.

A turn spares work and is no fence: whoever sleeps beyond its own and goes on does harm to nothing, for what is done by turns
can be done twice. So a turn is a row without events, and its holder is believed until the next look.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from federation import ports
from federation.core.kinds import Turn

#: How long one lasts, and so how long nothing is done after its holder was killed; it is renewed when a third of it is over.
SECONDS = 3.0


class Turns:
    """The turns of one server, which calls itself `holder`. Threads may share it."""

    def __init__(self, catalog: ports.Catalog, holder: str, names: Iterable[str]) -> None:
        self._catalog = catalog
        self._holder = holder
        self._names = tuple(names)
        self._ours: frozenset[str] = frozenset()

    def hold(self) -> None:
        """Takes the turns that nobody has and renews ours. Often nothing is to be written; call it again each second."""
        if self._catalog.read(self._due):
            self._catalog.write(self._take, actor=self._holder)
        self._ours = frozenset(self._catalog.read(lambda tx: [name for name in self._names if self._is_ours(tx, name)]))

    def held(self, name: str) -> bool:
        """Whether it was ours when `hold` was called last."""
        return name in self._ours

    def release(self) -> None:
        """Gives ours up, so that another takes them at once."""
        self._ours = frozenset()

        def work(tx: ports.Transaction) -> None:
            for name in self._names:
                if self._is_ours(tx, name):
                    tx.delete(Turn, name)

        self._catalog.write(work, actor=self._holder)

    def _due(self, tx: ports.Transaction) -> list[str]:
        """Those that are free, and ours that are a third over."""
        rows = {name: tx.get(Turn, name) for name in self._names}
        renew = tx.now + timedelta(seconds=SECONDS * 2 / 3)
        return [
            name
            for name, row in rows.items()
            if row is None or row.expire_time <= (renew if row.holder == self._holder else tx.now)
        ]

    def _take(self, tx: ports.Transaction) -> None:
        for name in self._due(tx):
            row = Turn(name=name, holder=self._holder, expire_time=tx.now + timedelta(seconds=SECONDS))
            if tx.get(Turn, name) is None:
                tx.insert(row)
            else:
                tx.replace(row)

    def _is_ours(self, tx: ports.Transaction, name: str) -> bool:
        row = tx.get(Turn, name)
        return row is not None and row.holder == self._holder and row.expire_time > tx.now
