"""The immutable view that one decision is made from. It is assembled once, at one revision, and handed to the planner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

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
    rates: ratecard.RateCard = ratecard.NO_PRICES
    volumes: tuple[site.LinkVolume, ...] = ()
    output_residency: tuple[tuple[str, tuple[str, ...]], ...] = ()
    excluded: tuple[tuple[str, str], ...] = ()
    """Sites that this job must not take again, with the reason that an earlier attempt left."""

    def load(self, name: str) -> site.SiteLoad:
        """What is reserved at a site; nothing where no row is."""
        return self.reserved.get(name) or site.SiteLoad(site=name)

    def sent_bytes(self, scope: str) -> int:
        """Bytes already sent this month in a pricing scope."""
        return self._sent.get(scope, 0)

    @cached_property
    def site_names(self) -> frozenset[str]:
        """Names of all sites that the caller may see."""
        return frozenset(row.site for row in self.sites)

    @cached_property
    def exclusions(self) -> dict[str, str]:
        """Sites that the job must not take again -> the reason of the earlier attempt."""
        return dict(self.excluded)

    @cached_property
    def residencies(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Every residency that binds the job, with what it comes from: `input sales/orders` -> `("EU",)`."""
        named = [(f"input {row.dataset}", row.residency) for row in self.inputs]
        named += [(f"output {name}", residency) for name, residency in self.output_residency]
        return tuple(dict.fromkeys((name, residency) for name, residency in named if residency))

    # Found once for each world: one decision asks for each of them hundreds of times.
    @cached_property
    def reserved(self) -> dict[str, site.SiteLoad]:
        """Sites where runs have reserved something -> what."""
        return {row.site: row for row in self.loads}

    @cached_property
    def _sent(self) -> dict[str, int]:
        return {row.scope: row.sent_bytes for row in self.volumes}
