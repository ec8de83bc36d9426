"""The immutable view that one decision is made from. It is assembled once, at one revision, and handed to the planner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from federation.core import job, profile, quota, ratecard, sent, site, transfer
from federation.core.budget import Cap

#: What an attempt may end with that speaks against its site for this job's next one.
SPEAKS_AGAINST_SITE = frozenset({"STORAGE_FULL", "STORE_DISHONEST"})


@dataclass(frozen=True, kw_only=True)
class WorldInput:
    """One input of the request as the catalog knows it: the version that will be read and where it lies.

    `bytes` are those of the version's objects, `files` their number. `arriving` are live transfers of it; `read_logs` say when
    it was read at sites.
    """

    alias: str
    dataset: str
    version: int
    bytes: int
    residency: tuple[str, ...]
    replica_sites: tuple[str, ...]
    files: int = 0
    arriving: tuple[transfer.Transfer, ...] = ()
    read_logs: tuple[transfer.ReadLog, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Occupation:
    """What one live run holds at a site, and when it is expected to give it back."""

    site: str
    run: str
    resources: job.Resources
    end_time: datetime


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the request's namespace may spend in a month (0: no limit) and what it has."""

    gpu_seconds_quota: int = 0
    egress_micros_quota: int = 0
    usage: quota.NamespaceUsage


@dataclass(frozen=True, kw_only=True)
class World:
    """Inputs with their replicas, sites with what is reserved there, prices and the month's volumes.

    `sites` are those that the caller may see. `output_residency` holds what already binds datasets that the job writes to.
    `revision` is the catalog's at the time of the look; `now` is handed in, the core has no clock. `submit_time` is when the
    job was submitted (None: now), from which its deadline counts. `reservations` are quotes in flight, `speeds` what links
    were measured to carry, `occupations` what live runs hold, `profile` what earlier runs of the job took, and `attempts`
    what became of the job's own.
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
    forbidden: tuple[tuple[str, str], ...] = ()
    """Sites where the policy forbids it, with the policy and why."""
    reservations: tuple[site.LinkReservation, ...] = ()
    speeds: tuple[site.LinkSpeed, ...] = ()
    occupations: tuple[Occupation, ...] = ()
    profile: profile.JobProfile | None = None
    budget: Budget | None = None
    caps: tuple[Cap, ...] = ()
    """Hard budgets, with what of them is spent and in flight."""
    attempts: tuple[job.PastAttempt, ...] = ()
    submit_time: datetime | None = None

    def load(self, name: str) -> site.SiteLoad:
        """What is reserved at a site; nothing where no row is."""
        return self.reserved.get(name) or site.SiteLoad(site=name)

    def sent_bytes(self, scope: str) -> int:
        """Bytes that count before the next ones in a pricing scope: sent this month, or still to come of quotes in flight."""
        return self._sent.get(scope, 0)

    @property
    def scopes(self) -> frozenset[str]:
        """Pricing scopes in which something counts as sent."""
        return frozenset(self._sent)

    @cached_property
    def site_names(self) -> frozenset[str]:
        """Names of all sites that the caller may see."""
        return frozenset(row.site for row in self.sites)

    @cached_property
    def exclusions(self) -> dict[str, str]:
        """Sites that the job must not take again -> the reason of the earlier attempt."""
        return dict(self.excluded)

    @cached_property
    def denials(self) -> dict[str, str]:
        """Sites where the policy forbids the job -> the policy and why."""
        return dict(self.forbidden)

    @cached_property
    def residencies(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Every residency that binds the job, with what it comes from: `input sales/orders` -> `("EU",)`."""
        named = [(f"input {row.dataset}", row.residency) for row in self.inputs if row.residency]
        named += [(f"output {name}", residency) for name, residency in self.output_residency if residency]
        return tuple(dict.fromkeys(named))

    # Found once for each world: one decision asks for each of them hundreds of times.
    @cached_property
    def reserved(self) -> dict[str, site.SiteLoad]:
        """Sites where runs have reserved something -> what."""
        return {row.site: row for row in self.loads}

    @cached_property
    def occupied(self) -> dict[str, tuple[Occupation, ...]]:
        """Sites where live runs hold something -> which."""
        found: dict[str, list[Occupation]] = {}
        for row in self.occupations:
            found.setdefault(row.site, []).append(row)
        return {name: tuple(rows) for name, rows in found.items()}

    @cached_property
    def _sent(self) -> dict[str, int]:
        return sent.by_scope(self.volumes, self.reservations)
