"""Which old versions are let go of: a rule, and what it says of each version. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from federation.core import errors


class Kept(StrEnum):
    """Why a version stays, in the order in which it is asked."""

    NEWEST = "NEWEST"
    YOUNG = "YOUNG"
    LEGAL_HOLD = "LEGAL_HOLD"
    LEASED = "LEASED"
    IN_USE = "IN_USE"
    WANTED = "WANTED"
    MODEL = "MODEL"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Keep the newest `keep_versions`, whatever their age, and all that are younger than `keep_seconds`.

    Versions from which models that still exist were made are kept as well, unless `even_if_models`.
    """

    keep_versions: int = 1
    keep_seconds: int = 0
    even_if_models: bool = False

    def __post_init__(self) -> None:
        if self.keep_versions < 1 or self.keep_seconds < 0:
            raise errors.InvalidArgument(
                f"a rule that keeps {self.keep_versions} versions for {self.keep_seconds} s would leave nothing",
                reason="RULE_INVALID",
                help="Keep one version at least; `fed dataset delete` lets go of all.",
                violations={"keep_versions": "must be 1 or more", "keep_seconds": "must be 0 or more"},
            )

    def spares(self, place: int, create_time: datetime | None, now: datetime) -> Kept | None:
        """Whether it keeps a version by itself: the one that is `place`th newest, counted from 0."""
        if place < self.keep_versions:
            return Kept.NEWEST
        young = create_time is None or now - create_time < timedelta(seconds=self.keep_seconds)
        return Kept.YOUNG if young else None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the rule says of a version that lies at `sites`: `kept` says why it stays (`Kept`), '' that it goes.

    `object_bytes` are of all its replicas; what newer versions share of them stays.
    """

    version: str
    create_time: datetime | None
    object_bytes: int
    sites: tuple[str, ...]
    kept: str = ""
    detail: str = ""
