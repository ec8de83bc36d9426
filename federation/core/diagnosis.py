"""What `fed doctor` finds: a sentence for each thing it looked at, how bad that is, and what to do. Values and rules; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from federation.core import admission, units

#: Seconds that two clocks may be apart: grants and leases are judged by both.
CLOCK_SECONDS_GOOD = 2.0
CLOCK_SECONDS_MAX = 30.0
#: A certificate or token that ends sooner is told.
ENDS_SOON = timedelta(days=7)
#: Events may wait this long for the record's tables.
LAG_SECONDS = 120.0
DISK_BYTES_GOOD = 5 * 10**9
DISK_BYTES_MIN = 500 * 10**6


class Level(StrEnum):
    """GOOD: nothing to do. WARNING: it works, and will not for ever. BROKEN: something does not work."""

    GOOD = "GOOD"
    WARNING = "WARNING"
    BROKEN = "BROKEN"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One thing that was looked at. `subject` is where (`you`, `server`, `eu-1`), `check` what, `help` what to do."""

    subject: str
    check: str
    level: Level
    detail: str
    help: str = ""


def worst(found: Iterable[Diagnosis]) -> Level:
    """The worst level of all; GOOD for none."""
    order = list(Level)
    return max((row.level for row in found), key=order.index, default=Level.GOOD)


def clock(subject: str, apart_seconds: float) -> Diagnosis:
    """Compares this clock with the catalog's."""
    apart = abs(apart_seconds)
    level = Level.GOOD if apart <= CLOCK_SECONDS_GOOD else Level.WARNING if apart <= CLOCK_SECONDS_MAX else Level.BROKEN
    way = "behind" if apart_seconds > 0 else "ahead of"
    detail = f"{apart:.1f} s {way} the catalog's clock"
    return _of(
        subject, "clock", level, detail, "Let an NTP service set the clock: grants and leases are judged by both clocks."
    )


def ends(subject: str, check: str, end: datetime, now: datetime, advice: str) -> Diagnosis:
    """Judges a certificate or a token by when it ends."""
    left = end - now
    level = Level.BROKEN if left <= timedelta() else Level.WARNING if left < ENDS_SOON else Level.GOOD
    told = f"ended at {end:%Y-%m-%d %H:%M} UTC" if left <= timedelta() else f"good until {end:%Y-%m-%d %H:%M} UTC"
    return _of(subject, check, level, told, advice)


def disk(subject: str, what: str, free_bytes: int) -> Diagnosis:
    """Judges how much room a disk has."""
    level = Level.GOOD if free_bytes >= DISK_BYTES_GOOD else Level.WARNING if free_bytes >= DISK_BYTES_MIN else Level.BROKEN
    advice = f"Make room for {what}; `fed gc` shows what nobody needs any more."
    return _of(subject, "disk", level, f"{units.size(free_bytes)} free for {what}", advice)


def secret_file(subject: str, path: str, mode: int | None) -> Diagnosis:
    """A file that only its owner may read; None where it is not there."""
    if mode is None:
        return _of(subject, "permissions", Level.BROKEN, f"{path} is not there", "Put it there, or say where it is.")
    level = Level.BROKEN if mode & 0o077 else Level.GOOD
    return _of(subject, "permissions", level, f"{path} has mode {mode:04o}", f"Run: chmod 600 {path}")


def settings_file(subject: str, path: str, mode: int) -> Diagnosis:
    """A file that others may read and nobody else may write."""
    level = Level.BROKEN if mode & 0o022 else Level.GOOD
    return _of(subject, "permissions", level, f"{path} has mode {mode:04o}", f"Run: chmod go-w {path}")


def lag(subject: str, table: str, waiting: int, seconds: float) -> Diagnosis:
    """How far a table of the record is behind the catalog's log."""
    level = Level.GOOD if seconds <= LAG_SECONDS else Level.WARNING
    told = f"{table} lacks {waiting} events, the oldest for {units.duration(round(seconds))}" if seconds else f"{table} has all"
    return _of(subject, "record", level, told, "See `FederationRecordBehind` in docs/operations.md; nothing is lost meanwhile.")


def versions(subject: str, theirs: str, server: str) -> Diagnosis:
    """Compares a release with the server's."""
    level = Level.GOOD if theirs == server else Level.WARNING
    told = f"release {theirs or 'unknown'}" + ("" if theirs == server else f", the server's is {server}")
    return _of(subject, "version", level, told, "Upgrade servers first, then agents and clients.")


def broken(subject: str, check: str, detail: str, advice: str) -> Diagnosis:
    """A diagnosis that something does not work."""
    return _of(subject, check, Level.BROKEN, detail, advice)


def good(subject: str, check: str, detail: str) -> Diagnosis:
    """A diagnosis that something works."""
    return _of(subject, check, Level.GOOD, detail, "")


_ADMISSION_HELP = {
    "store": "See what the store answered; an S3 store must know conditional puts, a folder must be writable by the agent.",
    "gateway_tls": "Give the gateway a certificate of the federation's CA for the address that it is reached at.",
    "compute": "Start Ray with RAY_AUTH_MODE=token, give the agent its token, and use a release without known holes.",
    "keys": "Keys in files are as safe as their disk: use a key service, or encrypt it (docs/keys.md).",
    "disk": "Make room in the agent's state folder.",
    "clock": "Let an NTP service set the site's clock.",
}


def admitted(subject: str, found: admission.Finding) -> Diagnosis:
    """A finding of a site's admission test."""
    level = {"A": Level.GOOD, admission.REFUSED: Level.BROKEN}.get(found.grade, Level.WARNING)
    return _of(subject, found.check, level, found.detail, _ADMISSION_HELP.get(found.check, "See docs/operations.md."))


def _of(subject: str, check: str, level: Level, detail: str, advice: str) -> Diagnosis:
    return Diagnosis(subject=subject, check=check, level=level, detail=detail, help="" if level is Level.GOOD else advice)
