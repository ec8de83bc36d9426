"""Counts what leaves this site under each grant. Bytes are granted in quanta, durably, before they are sent.

So a process that dies hides nothing: what was granted and never counted is settled as unsettled bytes, and charged. Nothing
leaves under a grant that is closed, superseded, or used up. What is counted is also kept by the hour, answers that went whole
apart from those that ended early, so that it can be compared with what readers and stores have counted.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from federation.agent import journal
from federation.core import errors, grants, metering, units

_log = logging.getLogger(__name__)

#: Grants that the catalog is told of in one call.
SETTLED_AT_ONCE = 500


@dataclasses.dataclass
class Response:
    """One answer under way: the hour that it counts in, and what of it has left."""

    hour: datetime
    sent_bytes: int = 0


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
        #: What was written down last; None where the hours have changed since.
        self._folded: tuple[int, int] | None = (row.counted_bytes, row.requests)
        self._traffic = {counted.hour_time: counted for counted in book.traffic(row.grant)}
        self._lock = threading.Lock()

    def begin(self, hour: datetime) -> Response:
        """Counts one request, whose answer counts in that hour."""
        with self._lock:
            self._check_open()
            self._requests += 1
            self._count(hour, aborted_responses=1)
        return Response(hour)

    def take(self, response: Response, size: int) -> None:
        """Lets `size` more bytes of an answer leave, or refuses: GRANT_CLOSED, BUDGET_EXHAUSTED.

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
            response.sent_bytes += size
            self._count(response.hour, aborted_bytes=size)

    def end(self, response: Response) -> None:
        """Counts an answer as whole. Until then it counts as one that ended early: so it is if nobody comes to say this."""
        sent = response.sent_bytes
        with self._lock:
            if not self.closed:
                self._count(response.hour, bytes=sent, aborted_bytes=-sent, responses=1, aborted_responses=-1)
                self._folded = None

    def fold(self) -> None:
        """Writes the counters to the journal; an account that was idle since the last time gives back its unused quantum."""
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

    def _count(self, hour: datetime, **counts: int) -> None:
        known = self._traffic.get(hour) or metering.Traffic(hour_time=hour)
        self._traffic[hour] = dataclasses.replace(known, **{name: getattr(known, name) + n for name, n in counts.items()})

    def _write(self, granted: int) -> None:
        self._book.count(
            self.grant,
            granted_bytes=granted,
            counted_bytes=self._counted,
            requests=self._requests,
            traffic=self._traffic.values(),
        )
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

    `settle` tells the catalog, for good, and answers which grants it refuses; it may raise Unavailable, and is then called
    again another time.
    """

    def __init__(
        self,
        book: journal.Journal,
        *,
        site: str,
        quantum_bytes: int,
        settle: Callable[[tuple[metering.Usage, ...]], Mapping[str, errors.FederationError]],
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

    def send(self, account: Account, pieces: Iterable[bytes], *, size: int, ask_seconds: int = 0) -> Iterator[bytes]:
        """The pieces, each counted before it is handed on; stops with the refusal of `take`.

        `size` bytes are the whole answer, which counts in the hour of `ask_seconds` (see `metering.hour_asked`).
        """
        response = account.begin(metering.hour_asked(ask_seconds, self._now()))
        if not size:
            account.end(response)
        for piece in pieces:
            account.take(response, len(piece))
            if response.sent_bytes == size:  # not after the last: nobody may ask for more than that
                account.end(response)
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
        return self.settle_all((grant,)).get(grant)

    def settle_all(self, names: Iterable[str]) -> dict[str, metering.Usage]:
        """Closes grants and tells the catalog in one call what left under each; those that are not known here are left out."""
        rows = [row for name in names if (row := self._finish(name)) is not None]
        usages = {row.grant: self._usage(row) for row in rows}
        untold = [usages[row.grant] for row in rows if row.state is journal.GrantState.SETTLING]
        for at in range(0, len(untold), SETTLED_AT_ONCE):
            batch = tuple(untold[at : at + SETTLED_AT_ONCE])
            refused = self._settle(batch)
            for usage in batch:
                if usage.grant in refused:  # asking again would be answered alike, and nobody may be kept from settling
                    _log.error(
                        "the catalog refuses what left under %s (%d bytes): %s",
                        *(usage.grant, usage.charged_bytes, refused[usage.grant]),
                    )
                self._book.settle_grant(usage.grant, journal.GrantState.SETTLED)
        with self._lock:
            for name in usages:
                self._accounts.pop(name, None)
        return usages

    def _finish(self, grant: str) -> journal.GrantRow | None:
        """The account of a grant under which nothing more leaves."""
        with self._lock:  # or an account could be opened between the last count and the settling
            account = self._accounts.get(grant)
            if account is not None:
                account.close()
            self._book.settle_grant(grant, journal.GrantState.SETTLING)
        return self._book.grant(grant)

    def _usage(self, row: journal.GrantRow) -> metering.Usage:
        return metering.Usage(
            grant=row.grant,
            source_site=self._site,
            sent_bytes=row.counted_bytes,
            unsettled_bytes=row.unsettled_bytes,
            requests=row.requests,
            settle_time=self._now(),
            traffic=self._book.traffic(row.grant),
        )


def closed(grant: str) -> errors.FailedPrecondition:
    """The refusal of a grant that has ended."""
    return errors.FailedPrecondition(
        f"grant {grant} is closed: its run has ended, or another attempt has taken its place",
        reason="GRANT_CLOSED",
        help="A superseded attempt cannot read. Submit the job again if it is still wanted.",
        metadata={"grant": grant},
    )
