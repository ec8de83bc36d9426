"""The immutable view that one decision is made from. It is assembled once, at one revision, and handed to the planner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from federation.core import ratecard, site


@dataclass(frozen=True, kw_only=True)
class WorldInput:
    """One input of the request as the catalog knows it: the version that will be read and where it lies."""

    alias: str
    dataset: str
    version: int
    bytes: int
    residency: tuple[str, ...]
    replica_sites: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class World:
    """Inputs with their replicas, sites with what is reserved there, prices and the month's volumes.

    `sites` are those that the caller may see. `output_residency` holds what already binds datasets that the job writes to.
    `revision` is the catalog's at the time of the look; `now` is handed in, the core has no clock.
    """

    revision: int
    now: datetime
    inputs: tuple[WorldInput, ...]
    sites: tuple[site.Site, ...]
    loads: tuple[site.SiteLoad, ...] = ()
    rates: ratecard.RateCard = ratecard.RateCard(rows=())
    volumes: tuple[site.LinkVolume, ...] = ()
    output_residency: tuple[tuple[str, tuple[str, ...]], ...] = ()
    excluded: tuple[tuple[str, str], ...] = ()
    """Sites that this job must not take again, with the reason that an earlier attempt left."""

    def load(self, name: str) -> site.SiteLoad:
        """What is reserved at a site; nothing where no row is."""
        return next((row for row in self.loads if row.site == name), site.SiteLoad(site=name))

    def sent_bytes(self, scope: str) -> int:
        """Bytes already sent this month in a pricing scope."""
        return next((row.sent_bytes for row in self.volumes if row.scope == scope), 0)
