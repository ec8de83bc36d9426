"""Secrets as values that no log, error or debugger prints, and tokens for people and runs."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any, Final, NoReturn


class Secret:
    """Holds bytes that must not be seen. `reveal()` is the one way to them, so each use can be found; it does not pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value: Final = value

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Secret does not travel; hand over what it opens, sealed")


def new_token(prefix: str = "fed") -> str:
    """A bearer token of 32 random bytes: `fed_` and 43 URL-safe characters. The prefix tells scanners of leaked secrets."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def digest(token: str) -> str:
    """What is stored of a token: its SHA-256, hex. A token is too random to be guessed from it."""
    return hashlib.sha256(token.encode()).hexdigest()
