"""Calls that were refused, in the log: by whom, of what, and why. What the policy refuses it tells itself, as a decision."""

from __future__ import annotations

from datetime import timedelta

from federation import ports
from federation.core import errors, trail
from federation.services.context import Context, Strangers

STRANGERS_EVERY = timedelta(minutes=1)
#: Places and reasons that are counted apart; all others together.
STRANGERS_MAX = 1000


#: Refusals for what stands against a call, whatever its caller may do: who tried is told as well.
OF_THE_MATTER = frozenset({"LEGAL_HOLD"})


def concerns(error: errors.FederationError) -> bool:
    """Whether a call that ends like this is one that its caller may not make."""
    return isinstance(error, errors.PermissionDenied) or error.reason in OF_THE_MATTER


def note(tx: ports.Transaction, method: str, principal: str, refused: errors.FederationError) -> None:
    """Tells of one call that its caller may not make."""
    told = trail.CallRefused(
        method=method,
        principal=principal,
        reason=refused.reason,
        detail=refused.message,
        dataset=refused.metadata.get("dataset", ""),
        site=refused.metadata.get("site", ""),
    )
    tx.emit(trail.CALL_REFUSED_KIND, f"methods/{method}", told)


def count_stranger(memory: Strangers, place: str, reason: str) -> None:
    """Counts a call by somebody who was not let in. They could fill the log: it is told once a minute, by their address."""
    at = place, reason
    memory.counts[at if at in memory.counts or len(memory.counts) < STRANGERS_MAX else ("others", reason)] += 1


def tell_strangers(tx: ports.Transaction, ctx: Context) -> int:
    """Tells, once a minute, from where how many calls came that nobody was let in with. Returns from how many places."""
    memory = ctx.strangers
    if not memory.counts or (memory.told_time is not None and tx.now < memory.told_time + STRANGERS_EVERY):
        return 0
    counts, memory.counts = memory.counts, type(memory.counts)()
    memory.told_time = tx.now
    told = tuple((place, reason, times) for (place, reason), times in sorted(counts.items()))
    tx.emit(trail.STRANGERS_KIND, "methods/-", trail.StrangersRefused(counts=told))
    return len(told)
