"""What every use case is handed beside its transaction: identifiers, prices, the grant key and the terms of leases."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from federation import ports
from federation.core import ratecard


@dataclass(frozen=True, kw_only=True)
class Context:
    """The terms on which one catalog works. Made once, by the wiring; immutable.

    `grant_key` is the catalog's private Ed25519 key. A run's lease, and a site's silence, last `lease_seconds`; a grant lasts
    `grant_seconds` at least. A read across regions may move `budget_factor` times the version's bytes and `budget_slack_bytes`
    more before its gateway stops it, so that reading twice works and reading for ever does not.
    `start_time` is when this server began to listen: silence before it proves nothing about a site. None: always listening.
    """

    ids: ports.Ids
    rates: ratecard.RateCard
    grant_key: bytes = field(repr=False)
    lease_seconds: int = 15
    grant_seconds: int = 43_200
    package_bytes_max: int = 64 * 1024 * 1024
    budget_factor: int = 4
    budget_slack_bytes: int = 1024 * 1024
    start_time: datetime | None = None

    @property
    def lease(self) -> timedelta:
        """How long a site may be silent."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def grant_life(self) -> timedelta:
        """How long a grant opens anything, at least."""
        return timedelta(seconds=self.grant_seconds)

    def budget_bytes(self, version_bytes: int) -> int:
        """What may leave a region under one grant to read a version of that many bytes."""
        return self.budget_factor * version_bytes + self.budget_slack_bytes

    def silent(self, heard_time: datetime, now: datetime) -> bool:
        """Whether a lease that was last renewed at `heard_time` is over, as far as this server can know."""
        heard = heard_time if self.start_time is None else max(heard_time, self.start_time)
        return heard + self.lease <= now
