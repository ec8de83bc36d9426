"""A client for the federation that this person has chosen, as `fed` itself finds it."""

from __future__ import annotations

from collections.abc import Callable

from federation import config
from federation.client import login
from federation.client.aio import AsyncClient
from federation.client.client import Client


def connect(context: str = "") -> Client:
    """A client for the named context, the current one without a name; FED_TARGET, FED_TOKEN and FED_CA go before it.

    NotFound (CONTEXT_MISSING) when none is chosen: `fed up` and `fed context use` choose one. Nothing is dialled yet.
    """
    settings = config.client(context)
    return Client(settings.target, bearer(settings), settings.ca)


def connect_async(context: str = "") -> AsyncClient:
    """The same for an event loop."""
    settings = config.client(context)
    return AsyncClient(settings.target, bearer(settings), settings.ca)


def bearer(settings: config.ClientSettings) -> str | Callable[[], str]:
    """What a person shows: their API token, or what they have from signing in, which is renewed when it ends."""
    return settings.token or (login.Kept(settings.signed_in).token if settings.signed_in else "")
