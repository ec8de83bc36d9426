"""Counts what leaves this site under each grant. Bytes are granted in quanta, durably, before they are sent.

So a process that dies hides nothing: what was granted and never counted is settled as unsettled bytes, and charged. Nothing
leaves under a grant that is closed, superseded, or used up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from federation.agent import journal
from federation.core import errors, grants, metering, units

_log = logging.getLogger(__name__)

#: Answers of the catalog that stay the same: a catalog restored from before a grant was issued has nothing to charge it to.
FINAL = (errors.NotFound, errors.PermissionDenied, errors.FailedPrecondition, errors.InvalidArgument)


class Account:
    """The counters of one grant in this process. All changes happen under its lock; the journal follows quantum by quantum."""

    def __init__(self, row: journal.GrantRow, *, bytes_max: int, quantum_bytes: int, book: journal.Journal) -> None:
        self.grant = row.grant
        self.job = row.job
        self.attempt = row.attempt
        self.bytes_max = bytes_max
        self.closed = row.state is not journal.GrantState.OPEN
        self._book = book
        self._quantum_bytes = quantum_bytes
        self._granted = row.granted_bytes
        self._unsettled = row.unsettled_bytes
        self._counted = row.counted_bytes
        self._requests = row.requests
        self._folded = (row.counted_bytes, row.requests)
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Counts one request."""
        with self._lock:
            self._check_open()
            self._requests += 1

    def take(self, size: int) -> None:
        """Lets `size` more bytes leave, or refuses: GRANT_CLOSED, BUDGET_EXHAUSTED.

        Durable before it returns where a quantum begins.
        """
        with self._lock:
            self._check_open()
            counted = self._counted + size
            if self.bytes_max and counted > self.bytes_max:
                raise self._exhausted(size)
            if counted + self._unsettled > self._granted:
                self._grant(counted)
            self._counted = counted

    def fold(self) -> None:
        """Writes the counters down; an account that rested since the last time gives back what it had left of its quantum."""
        with self._lock:
            if self.closed:
                return
            rested = self._folded == (self._counted, self._requests)
            granted = self._counted + self._unsettled if rested else self._granted
            if not rested or granted != self._granted:
                self._write(granted)

    def close(self) -> None:
        """Lets nothing more leave, and writes down the final counters."""
        with self._lock:
            if not self.closed:
                self._write(self._counted + self._unsettled)
                self.closed = True

    def _grant(self, needed: int) -> None:
        room = self.bytes_max - needed if self.bytes_max else self._quantum_bytes
        self._write(needed + self._unsettled + min(self._quantum_bytes, room))

    def _write(self, granted: int) -> None:
        self._book.count(self.grant, granted_bytes=granted, counted_bytes=self._counted, requests=self._requests)
        self._granted = granted
        self._folded = (self._counted, self._requests)

    def _check_open(self) -> None:
        if self.closed:
            raise closed(self.grant)

    def _exhausted(self, size: int) -> errors.ResourceExhausted:
        return errors.ResourceExhausted(
            f"grant {self.grant} allows {self.bytes_max} bytes ({units.size(self.bytes_max)}) to leave; {self._counted} have, "
            f"and the next {size} would pass it",
            reason="BUDGET_EXHAUSTED",
            help="Read each part once, or submit the job where its input lies.",
            metadata={"bytes_max": str(self.bytes_max), "sent_bytes": str(self._counted), "next_bytes": str(size)},
        )


class Meter:
    """The accounts of all grants under which bytes leave this site.

    `settle` tells the catalog, for good; it may raise Unavailable, and is then called again another time.
    """

    def __init__(
        self,
        book: journal.Journal,
        *,
        site: str,
        quantum_bytes: int,
        settle: Callable[[metering.Usage], None],
        now: Callable[[], datetime],
    ) -> None:
        self._book = book
        self._site = site
        self._quantum_bytes = quantum_bytes
        self._settle = settle
        self._now = now
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}
        book.write_off()

    def open(self, grant: grants.Grant, token: bytes) -> Account:
        """The account of a grant that was checked, made at its first use.

        Refused once a later attempt has shown up (GRANT_CLOSED).
        """
        with self._lock:
            account = self._accounts.get(grant.grant)
            if account is not None:
                return account
            row = self._book.open_grant(grant.grant, token=token, run=grant.run, attempt=grant.attempt)
            if self._book.newest_attempt(row) > row.attempt:
                raise closed(grant.grant)
            account = Account(row, bytes_max=grant.bytes_max, quantum_bytes=self._quantum_bytes, book=self._book)
            self._accounts[grant.grant] = account
            for other in self._accounts.values():
                if other.job and other.job == account.job and other.attempt < account.attempt:
                    other.close()
            return account

    def send(self, account: Account, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces, each counted before it is handed on; stops with the refusal of `take`."""
        account.begin()
        for piece in pieces:
            account.take(len(piece))
            yield piece

    def open_grants(self) -> tuple[str, ...]:
        """Grants that are not settled yet."""
        return tuple(row.grant for row in self._book.unsettled_grants())

    def fold(self) -> None:
        """Writes down all counters; called now and then, and before the process ends."""
        with self._lock:
            accounts = list(self._accounts.values())
        for account in accounts:
            account.fold()

    def close(self, grant: grants.Grant, token: bytes) -> metering.Usage:
        """Settles a grant that was checked, also one under which nothing was ever read: that nothing left is a fact too."""
        self._book.open_grant(grant.grant, token=token, run=grant.run, attempt=grant.attempt)
        usage = self.settle(grant.grant)
        assert usage is not None
        return usage

    def settle(self, grant: str) -> metering.Usage | None:
        """Closes a grant and tells the catalog what left under it.

        Again is harmless; None for a grant that is not known here.
        """
        with self._lock:  # or an account could be opened between the last count and the settling
            account = self._accounts.get(grant)
            if account is not None:
                account.close()
            self._book.settle_grant(grant, journal.GrantState.SETTLING)
        row = self._book.grant(grant)
        if row is None:
            return None
        usage = metering.Usage(
            grant=grant,
            source_site=self._site,
            sent_bytes=row.counted_bytes,
            unsettled_bytes=row.unsettled_bytes,
            requests=row.requests,
            settle_time=self._now(),
        )
        if row.state is journal.GrantState.SETTLING:
            self._tell(usage)
            self._book.settle_grant(grant, journal.GrantState.SETTLED)
        with self._lock:
            self._accounts.pop(grant, None)
        return usage

    def _tell(self, usage: metering.Usage) -> None:
        try:
            self._settle(usage)
        except FINAL as error:  # asking again would be answered alike, and nobody else may be kept from settling
            _log.error("the catalog refuses what left under %s (%d bytes): %s", usage.grant, usage.charged_bytes, error)


def closed(grant: str) -> errors.FailedPrecondition:
    """The refusal of a grant that has ended."""
    return errors.FailedPrecondition(
        f"grant {grant} is closed: its run has ended, or another attempt has taken its place",
        reason="GRANT_CLOSED",
        help="A superseded attempt cannot read. Submit the job again if it is still wanted.",
        metadata={"grant": grant},
    )
