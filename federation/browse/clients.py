"""Whom the screen asks: one client on the event loop, and one for threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from federation.client import AsyncClient, Client


@dataclass(frozen=True, kw_only=True)
class Clients:
    """The client on the event loop, and the one for threads, both for whoever browses; and which day it is (UTC)."""

    loop: AsyncClient
    threads: Client
    today: Callable[[], date] = lambda: datetime.now(UTC).date()
