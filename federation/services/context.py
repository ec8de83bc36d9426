"""What every use case is handed beside its transaction: identifiers, prices, the grant key and the terms of leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from federation import ports
from federation.core import leases, prepared, ratecard, site
from federation.core import offers as offer_cards
from federation.crypto import certificates


class Cards:
    """A cache of parsed rate and offer cards, by their number: a card never changes once it is stored."""

    def __init__(self) -> None:
        self.newest = 0
        self.rates: dict[int, ratecard.RateCard] = {}
        self.offers: dict[int, offer_cards.OfferCard] = {}


class Engines:
    """A cache of compiled policies, by their revision, which never changes.

    `unseen` counts who asked for datasets that they may not know of, or that are not there, since it was last told.
    """

    def __init__(self) -> None:
        self.newest = 0
        self.compiled: dict[int, ports.PolicyEngine] = {}
        self.unseen: Counter[str] = Counter()
        self.told_time: datetime | None = None


class Strangers:
    """How often somebody called who was not let in, by address and reason, since it was last told."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.told_time: datetime | None = None


class Untold:
    """A `ports.Telemetry` that records nothing."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """A context that measures nothing."""
        del name
        return nullcontext()

    def trace(self) -> str:
        """No trace."""
        return ""


class Seen(NamedTuple):
    """What one look at the federation found of its sites, links, prices and what was sent, and what was worked out from them.

    `filled` are sites as they are stored and with what the offer card adds, by the object's id.
    """

    offers: offer_cards.OfferCard
    rates: ratecard.RateCard
    filled: Mapping[int, tuple[site.Site, site.Site]]
    sites: tuple[site.Site, ...]
    speeds: tuple[site.LinkSpeed, ...]
    volumes: tuple[site.LinkVolume, ...]
    reservations: tuple[site.LinkReservation, ...]
    prepared: prepared.Prepared


class Sight:
    """A cache of the last look at the federation: the next one computes again only what has changed since."""

    def __init__(self) -> None:
        self.last: Seen | None = None


@dataclass(frozen=True, kw_only=True)
class Context:
    """What one catalog server works with: its settings, keys, policies and caches. Made once, by the wiring.

    `grant_key` is the catalog's private Ed25519 key. A run's lease, and a site's silence, last `lease_seconds`; a grant lasts
    `grant_seconds` at least, and a lease of data keys `key_lease_seconds`. A read across regions may move `budget_factor` times
    the version's bytes and `budget_slack_bytes` more before its gateway stops it, so that reading twice works and reading for
    ever does not. `rates` and `offers` hold until prices are imported: `services.pricing` says which are used; `cards` is its
    memory, as `sight` is that of `placement`.
    At most `transfers_per_site` transfers run into one site at once. A token lasts `token_days` unless asked otherwise, and
    never more than `token_days_max`.
    `solver` is asked where pipelines are too wide for exact methods of our own; None: the best found, with its proven bound.
    `authority` signs certificates of sites, which name them in `trust_domain`; None where another CA does.
    `policies` compiles what `services.authorization` asks, and `engines` is its memory; `strangers` is that of
    `services.refusals`. `telemetry` is told how work goes.
    `start_time` is when this server began to listen: silence before it proves nothing about a site. None: always listening.
    """

    ids: ports.Ids
    rates: ratecard.RateCard
    policies: ports.PolicyCompiler
    engines: Engines = field(default_factory=Engines, repr=False, compare=False)
    strangers: Strangers = field(default_factory=Strangers, repr=False, compare=False)
    offers: offer_cards.OfferCard = offer_cards.NO_OFFERS
    cards: Cards = field(default_factory=Cards, repr=False, compare=False)
    sight: Sight = field(default_factory=Sight, repr=False, compare=False)
    grant_key: bytes = field(repr=False)
    lease_seconds: int = 15
    grant_seconds: int = 43_200
    key_lease_seconds: int = leases.LIFE_SECONDS
    package_bytes_max: int = 64 * 1024 * 1024
    budget_factor: int = 4
    budget_slack_bytes: int = 1024 * 1024
    transfers_per_site: int = 4
    token_days: int = 30
    token_days_max: int = 366
    start_time: datetime | None = None
    solver: ports.Solver | None = None
    authority: certificates.Authority | None = None
    trust_domain: str = "federation"
    telemetry: ports.Telemetry = field(default_factory=Untold, repr=False, compare=False)

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
