"""What a namespace may spend in a month, and what it has. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NamespaceUsage:
    """What the jobs of a namespace have taken in one month: what is settled, and what is reserved by live runs' estimates.

    `gpu_seconds` are seconds of one GPU; CPU seconds are counted beside them for sites without GPUs.
    """

    namespace: str
    month: str
    gpu_seconds: int = 0
    reserved_gpu_seconds: int = 0
    cpu_seconds: int = 0
    reserved_cpu_seconds: int = 0
    egress_micros: int = 0
    reserved_egress_micros: int = 0
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class ShareUse:
    """What a namespace has used lately on one meter, `GPU` or `CPU`, in its seconds: `fairshare.Use` as it is stored.

    `amount` is as of `at_seconds` (since 1970) and fades from then on.
    """

    namespace: str
    meter: str
    amount: float = 0.0
    at_seconds: int = 0
    etag: str = ""


def left(limit: int, spent: int) -> int | None:
    """What is left of a limit, below 0 where more is spent already; None without one, which is told as 0."""
    return limit - spent if limit else None


def exceeded(wanted: int, left_: int | None) -> bool:
    """Whether so much is more than what is left. Who wants nothing is never refused."""
    return left_ is not None and wanted > max(left_, 0)
