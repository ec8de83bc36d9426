"""The forms that single values of settings have: each reads a text, or says what to write."""

from __future__ import annotations

import re

from federation.core import errors
from federation.wire import https

_JURISDICTION = re.compile(r"[A-Z]{2,8}(-[A-Z0-9]{1,8})?")
_PAGE = re.compile(r"https?://[A-Za-z0-9._\[\]:-]{1,255}(/[A-Za-z0-9._~/-]{0,255})?")


def on_loopback(address: str) -> bool:
    """Whether only this machine reaches `host:port`."""
    return https.is_loopback(address.rpartition(":")[0].strip("[]"))


def page(text: str) -> str:
    """The address of a page for people, without a slash at its end."""
    if not _PAGE.fullmatch(text):
        raise errors.InvalidArgument(
            f"{text!r} is not the address of a page", help="Write for example https://ray.eu-1.example."
        )
    return text.rstrip("/")


def loopback(text: str) -> str:
    """An IPv4 address that only this machine reaches."""
    if not text.startswith("127.") or len(text.split(".")) != 4:
        raise errors.InvalidArgument(f"{text!r} is not a loopback address", help="Write for example 127.0.1.7.")
    return text


def jurisdiction(text: str) -> str:
    """Whose law holds: `EU`, `US`, `US-CA`."""
    if not _JURISDICTION.fullmatch(text):
        raise errors.InvalidArgument(
            f"{text!r} is not a jurisdiction", help="Write it in capitals, for example EU, US or US-CA."
        )
    return text
