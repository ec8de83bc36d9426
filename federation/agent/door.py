"""Who is calling a site's gateway: the bearer of a grant that the catalog signed, or a run. Nobody else gets in."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from federation import ports
from federation.agent import journal
from federation.core import errors, grants
from federation.crypto import grants as signed_grants
from federation.crypto import secrets

GRANT = "fed-grant-bin"
#: What a site adds to a grant that is its own: a bearer who is not that site gets nothing.
PROOF = "fed-proof-bin"
_BEARER = "bearer "


@dataclass(frozen=True, kw_only=True)
class GrantCaller:
    """The bearer of a grant: a person, or another site's gateway."""

    grant: grants.Grant
    token: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class RunCaller:
    """A run of this site, known by its token. Whether it is current is told by `Door.require_current`."""

    row: journal.RunRow

    @property
    def run(self) -> str:
        return self.row.run


Caller = GrantCaller | RunCaller


class Lease:
    """How long this site's runs may go on without a word from the catalog."""

    def __init__(self, clock: ports.Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: datetime | None = None

    def renew(self, asked: datetime, seconds: float) -> None:
        """Starts the lease anew from when the heartbeat was sent, so that it never ends later here than in the catalog."""
        with self._lock:
            self._until = asked + timedelta(seconds=seconds)

    def left_seconds(self) -> float:
        """How long it still lasts; 0 once it is over."""
        with self._lock:
            until = self._until
        return max(0.0, (until - self._clock.now()).total_seconds()) if until else 0.0

    def require(self) -> None:
        """Returns while it lasts; Unavailable (LEASE_LOST) after it: a catalog that comes back may say that all is well."""
        with self._lock:
            until = self._until
        if until is None or self._clock.now() >= until:
            raise errors.Unavailable(
                "this site has not heard from the catalog for longer than its lease",
                reason="LEASE_LOST",
                help="Wait for the catalog to answer again; the run may have been placed elsewhere by then.",
                retry_seconds=2,
            )


class Door:
    """Checks credentials. `grant_key` is the catalog's public key, hex."""

    def __init__(self, *, site: str, grant_key: str, book: journal.Journal, lease: Lease, clock: ports.Clock) -> None:
        self._site = site
        self._grant_key = grant_key
        self._book = book
        self._lease = lease
        self._clock = clock

    def admit(self, metadata: Iterable[tuple[str, str | bytes]], permission: str) -> Caller | None:
        """The caller by a call's metadata, as far as the method's permission wants one: `public`, `token` or `grant`."""
        if permission == "public":
            return None
        found = dict(metadata)
        token, bearer = found.get(GRANT), found.get("authorization")
        if isinstance(token, bytes) and permission == "grant":
            return self._bearer(token, found.get(PROOF))
        if isinstance(bearer, str) and bearer.lower().startswith(_BEARER):
            return self._run(bearer[len(_BEARER) :].strip())
        raise errors.Unauthenticated(
            "the call bears neither a grant nor a run's token",
            reason="CREDENTIALS_MISSING",
            help="Ask the catalog for a grant, or call from inside a job.",
        )

    def check(self, token: bytes) -> grants.Grant:
        """The grant, if the catalog signed it for this site and its time has not ended."""
        return signed_grants.verify(self._grant_key, token, now=self._clock.now(), site=self._site)

    def require_current(self, row: journal.RunRow) -> None:
        """Returns for a run that may read and write; FailedPrecondition (RUN_SUPERSEDED), Unavailable (LEASE_LOST) if not."""
        if row.state.over:
            raise superseded(row)
        self._lease.require()

    def _bearer(self, token: bytes, proof: str | bytes | None) -> GrantCaller:
        grant = self.check(token)
        if grant.for_site:
            signed_grants.check_proof(grant, proof if isinstance(proof, bytes) else b"", now=self._clock.now())
        return GrantCaller(grant=grant, token=token)

    def _run(self, token: str) -> RunCaller:
        row = self._book.token_run(secrets.digest(token))
        if row is None:
            raise errors.Unauthenticated(
                "the token is not one of a run at this site",
                reason="TOKEN_INVALID",
                help="A token holds for one attempt, at the gateway of the site where it runs.",
            )
        return RunCaller(row=row)


def superseded(row: journal.RunRow) -> errors.FailedPrecondition:
    """The refusal of a run that is over."""
    ended = row.outcome
    why = f"it ended as {ended.state}" if ended else "another attempt has taken its place, or its job was cancelled"
    return errors.FailedPrecondition(
        f"{row.run} is not current any more: {why}",
        reason="RUN_SUPERSEDED",
        help="It can neither read nor commit. Look at the job's newest run.",
        metadata={"run": row.run},
    )
