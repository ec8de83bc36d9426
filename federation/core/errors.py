"""The one error family. Each error carries its data and a stable reason; `wire.errors` alone maps them to gRPC.

A message says what was wrong, with the value, and what to do about it. `reason` is UPPER_SNAKE and never changes
once published; people and programs match on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

#: The reason of a call too many.
RATE_LIMITED = "RATE_LIMITED"


class FederationError(Exception):
    """Root of all errors that the federation raises on purpose.

    `reason` is stable and UPPER_SNAKE, `message` is for people, `help` says what to do next,
    `metadata` holds the values that matter, as strings, and `violations` the fields of a request that were wrong.
    """

    default_reason = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        help: str = "",  # noqa: A002 - the word that users read
        metadata: Mapping[str, str] | None = None,
        violations: Mapping[str, str] | None = None,
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.help = help
        self.metadata: Mapping[str, str] = MappingProxyType(dict(metadata or {}))
        self.violations: Mapping[str, str] = MappingProxyType(dict(violations or {}))
        self.retry_seconds = retry_seconds

    @property
    def passes(self) -> bool:
        """Whether the same call may go through later, without anybody doing anything."""
        return isinstance(self, Unavailable)

    def retold(self, words: Callable[[str], str]) -> FederationError:
        """The same refusal with all that it says put through `words`; kind and reason stay."""
        return type(self)(
            words(self.message),
            reason=self.reason,
            help=words(self.help),
            metadata={key: words(value) for key, value in self.metadata.items()},
            violations={field: words(text) for field, text in self.violations.items()},
            retry_seconds=self.retry_seconds,
        )

    def __str__(self) -> str:
        return f"{self.message} [{self.reason}]" + (f" {self.help}" if self.help else "")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.reason}: {self.message}>"

    def __reduce__(self) -> tuple[object, ...]:
        fields = ("reason", "help", "retry_seconds")
        kept = {name: getattr(self, name) for name in fields}
        return (
            _rebuild,
            (type(self), self.message, {**kept, "metadata": dict(self.metadata), "violations": dict(self.violations)}),
        )


def _rebuild(cls: type[FederationError], message: str, fields: dict[str, Any]) -> FederationError:
    return cls(message, **fields)


class InvalidArgument(FederationError):
    """The request is wrong whatever the state of the system."""

    default_reason = "INVALID_ARGUMENT"


class NotFound(FederationError):
    """The named thing is not there, or the caller may not know that it is."""

    default_reason = "NOT_FOUND"


class AlreadyExists(FederationError):
    """A thing of that name is there already."""

    default_reason = "ALREADY_EXISTS"


class Conflict(FederationError):
    """Somebody else changed it first: read it again and redo (a stale etag, a lost race)."""

    default_reason = "ETAG_MISMATCH"


class FailedPrecondition(FederationError):
    """The state of the system does not allow this now."""

    default_reason = "FAILED_PRECONDITION"


class PermissionDenied(FederationError):
    """The caller is known and may not do this; residency refusals are of this kind."""

    default_reason = "PERMISSION_DENIED"


class Unauthenticated(FederationError):
    """The caller is not known: no token, a wrong one, or one that has ended."""

    default_reason = "UNAUTHENTICATED"


class ResourceExhausted(FederationError):
    """A limit or a budget is reached, or a disk is full."""

    default_reason = "RESOURCE_EXHAUSTED"


class OutOfRange(FederationError):
    """A position that is no longer, or not yet, there."""

    default_reason = "OUT_OF_RANGE"


class Unavailable(FederationError):
    """A part is down for now; the same call may go through later."""

    default_reason = "UNAVAILABLE"


class RateLimited(ResourceExhausted, Unavailable):
    """A call too many: the one refusal of `ResourceExhausted` that ends by waiting, for `retry_seconds` at least."""

    default_reason = RATE_LIMITED


class DeadlineExceeded(FederationError):
    """It took longer than the caller was ready to wait."""

    default_reason = "DEADLINE_EXCEEDED"


class Cancelled(FederationError):
    """The caller, or somebody for them, asked for it to stop."""

    default_reason = "CANCELLED"


class DataCorrupt(FederationError):
    """Stored bytes are not what the manifest says: flipped, swapped, truncated, or never encrypted."""

    default_reason = "DATA_CORRUPT"
