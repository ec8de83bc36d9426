"""The admission test of a site: what was found, and which grade that leaves. Pure.

Each finding says the best grade that a site can have with it; the site's grade is the worst of these, and one that keeps the
site out ends the matter. What must be found at all is `MANDATORY`: a test that was not made is not passed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from federation.core import errors

#: From the best to the worst. A: isolated jobs, protected keys, room, a true clock. B: keys in a plain file, or little room.
#: C: jobs share an account with the agent, or the cluster could not be asked.
GRADES = ("A", "B", "C")
REFUSED = ""
#: How a finding begins that says that the cluster did not answer: it is tested as soon as it does, and runs nothing before.
UNASKED = "could not be asked"
#: What is tested at every site, by whoever can: the agent all but the clock, the catalog the clock.
MANDATORY = ("store", "gateway_tls", "compute", "keys", "disk", "clock")
#: What a site's clock may differ from the catalog's by, in seconds, for each grade. Leases and grants are judged by both.
CLOCK_SECONDS = (("A", 2.0), ("B", 10.0), ("C", 30.0))
#: Free bytes that a site's state folder must have for each grade: journals, spools and packages lie there.
DISK_BYTES = (("A", 10 * 10**9), ("B", 10**9), ("C", 250 * 10**6))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one part of the test found: the best `grade` that a site can have with it, `REFUSED` for none."""

    check: str
    grade: str
    detail: str

    @property
    def line(self) -> str:
        """The finding as one line of text, for people; `parsed` reads it back."""
        return f"{self.grade or 'refused'} {self.check}: {self.detail}"


def parsed(line: str) -> Finding:
    """Reads a finding back from its line."""
    grade, _, rest = line.partition(" ")
    check, _, detail = rest.partition(": ")
    return Finding(check=check, grade=REFUSED if grade == "refused" else grade, detail=detail)


def clock(agent_time: datetime | None, now: datetime) -> Finding:
    """Compares the site's clock with the catalog's; the time that the message took is part of the difference."""
    if agent_time is None:
        return Finding(check="clock", grade=REFUSED, detail="the agent did not tell its time")
    apart = abs((now - agent_time).total_seconds())
    grade = next((name for name, most in CLOCK_SECONDS if apart <= most), REFUSED)
    return Finding(check="clock", grade=grade, detail=f"{apart:.1f} s apart from the catalog's")


def disk(free_bytes: int) -> Finding:
    """Judges the room in the state folder."""
    grade = next((name for name, least in DISK_BYTES if free_bytes >= least), REFUSED)
    return Finding(check="disk", grade=grade, detail=f"{free_bytes / 10**9:.1f} GB free in the state folder")


def whole(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings in order, with a refusal for each mandatory test that is missing, and for what no test is named like."""
    given = tuple(findings)
    made = {row.check for row in given}
    missing = (Finding(check=name, grade=REFUSED, detail="was not tested") for name in MANDATORY if name not in made)
    known = tuple(row if row.grade in (*GRADES, REFUSED) else _unknown(row) for row in given)
    return (*known, *missing)


def grade(findings: Iterable[Finding], grade_max: str = "") -> str:
    """The grade that findings leave, not better than an administrator's `grade_max`; `REFUSED` where one keeps the site out."""
    rows = tuple(findings)
    if not rows or any(row.grade == REFUSED for row in rows):
        return REFUSED
    return max((*(row.grade for row in rows), grade_max or GRADES[0]), key=GRADES.index)


def refusal(site: str, findings: Iterable[Finding]) -> errors.FailedPrecondition:
    """SITE_NOT_ADMITTED with the lines that failed."""
    failed = [row.line for row in findings if row.grade == REFUSED] or ["refused: it was never tested"]
    return errors.FailedPrecondition(
        f"site {site} is not admitted: {'; '.join(failed)}",
        reason="SITE_NOT_ADMITTED",
        help="Mend what failed; its agent tests itself again by itself.",
        metadata={"site": site, "failed": "; ".join(failed)[:1000]},
    )


def _unknown(row: Finding) -> Finding:
    return Finding(check=row.check, grade=REFUSED, detail=f"the grade {row.grade[:8]!r} is none")
