"""Who asks something of the record is in the log before the answer: for methods that read and so are no mutations."""

from __future__ import annotations

from federation.api.calls import Call
from federation.api.store import Store
from federation.services import trail


async def queried(store: Store, call: Call, text: str) -> None:
    """Tells in the log, durably, that the caller asks; `text` is what they ask, in their words."""
    await store.write(lambda tx: trail.note(tx, call.method.key, text), actor=call.principal.name)
