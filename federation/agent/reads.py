"""What the processes of this site's runs say to have received, kept until their run is over, and then told to the catalog.

These counts check the meter and are never charged. A process is only heard about the inputs of its own run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from federation.agent import journal
from federation.core import errors, metering
from federation.v1 import gateway_pb2

#: Hours and inputs in one report, processes that may report on one grant, and what a counter may say.
COUNTS_MAX = 10_000
REPORTERS_MAX = 10_000
_COUNT_MAX = 2**53
_REPORTER = re.compile(r"[0-9a-z-]{1,64}")


def traffic(count: gateway_pb2.ReadCount) -> metering.Traffic:
    """One count of a report; InvalidArgument (REPORT_INVALID) for one that cannot be."""
    values = {name: int(getattr(count, name)) for name in metering.TRAFFIC_COUNTS}
    if not all(0 <= value <= _COUNT_MAX for value in values.values()):
        raise _invalid(f"of {count.input!r} something was counted that is negative or too large")
    if not 0 <= count.hour_seconds < 2**32 or count.hour_seconds % 3600:
        raise _invalid(f"{count.hour_seconds} is not the beginning of an hour")
    return metering.Traffic(hour_time=datetime.fromtimestamp(count.hour_seconds, UTC), **values)


def keep(book: journal.Journal, reporter: str, sequence: int, counts: Sequence[tuple[str, metering.Traffic]]) -> None:
    """Keeps a report. An older one than what is known of the same process changes nothing."""
    if not _REPORTER.fullmatch(reporter) or sequence < 1 or len(counts) > COUNTS_MAX:
        raise _invalid(f"report {sequence} of {reporter[:64]!r} with {len(counts)} counts is not one")
    # An input may be read under several of its names: under its grant they are one.
    of_grant: dict[str, list[metering.Traffic]] = {}
    for grant, counted in counts:
        of_grant.setdefault(grant, []).append(counted)
    for grant in of_grant:
        if book.reporters(grant) >= REPORTERS_MAX:
            raise errors.ResourceExhausted(
                f"{REPORTERS_MAX} processes have reported on {grant} already",
                reason="REPORTERS_EXHAUSTED",
                help="What they read is metered all the same.",
            )
    sums = [(grant, summed) for grant, counted in of_grant.items() for summed in metering.by_hour(counted)]
    book.report_reads(reporter, sequence, sums)


def _invalid(what: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"the report of reads is not valid: {what}",
        reason="REPORT_INVALID",
        help="Use the worker library of this release.",
        violations={"counts": "must be a process's totals by input and hour"},
    )
