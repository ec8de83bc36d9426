"""What is refused at the edge of the server is in the log before its caller hears of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from federation.api.store import Store
from federation.core import errors
from federation.services import refusals


class Refusals:
    """Writes refusals of one server's calls into its catalog."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextlib.asynccontextmanager
    async def told(self, method: str, principal: str, request_id: str = "") -> AsyncIterator[None]:
        """Lets a refusal through once it is written down."""
        try:
            yield
        except errors.FederationError as error:
            refused = error
            if refusals.concerns(refused) and not refused.in_log:
                await self._store.write(
                    lambda tx: refusals.note(tx, method, principal, refused),
                    actor=principal,
                    request_id=request_id,
                )
            raise

    def stranger(self, place: str, refused: errors.Unauthenticated) -> None:
        """Counts a call that nobody was let in with."""
        refusals.count_stranger(self._store.ctx.strangers, place, refused.reason)
