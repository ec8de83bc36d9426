"""Witnesses of the record: what a site's agent makes of the heads that the catalog shows it, and what it co-signs. Pure.

Heads of a hash chain are no Merkle tree: from two of them nobody can tell whether the later one follows from the earlier one.
So a witness looks at what it can: that positions and rows never go back, and that at one position a table never has two links.
Whether the chain passes through every head that was witnessed is for whoever has the rows: the verifier. A history that was
written anew, or put back to an old backup, misses at least the newest head of any one witness.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from federation.core import errors, records
from federation.core.chain import SignedHead, Verification

#: The kinds of event by which witnesses are heard.
WITNESSED_KIND = "head.witnessed"
REFUSED_KIND = "head.refused"


class Doubt(StrEnum):
    """Why a witness refuses. The value is the reason that people see."""

    #: The head is not signed by the key that the witness knows as the catalog's.
    HEAD_FORGED = "HEAD_FORGED"
    #: The table has fewer rows, or ends earlier, than it once did.
    HEAD_ROLLED_BACK = "HEAD_ROLLED_BACK"
    #: The table has another link, or another number of rows, at a position than it once had.
    HEAD_FORKED = "HEAD_FORKED"
    #: A table that had heads has none.
    HEAD_MISSING = "HEAD_MISSING"


@dataclass(frozen=True, kw_only=True)
class Cosignature:
    """A site's word that it saw these heads at a time, and that none of them contradicts one that it saw before.

    `key` is the site's public key, `signature` its word, both hex; `crypto/witness.py` signs and checks.
    """

    site: str
    key: str
    time: datetime
    heads: tuple[SignedHead, ...]
    signature: str


@dataclass(frozen=True, kw_only=True)
class HeadRefusal:
    """A head that a site would not co-sign: `shown` to it (None: nothing was), after it had co-signed `seen`."""

    site: str
    time: datetime
    table: str
    reason: str
    detail: str
    shown: SignedHead | None = None
    seen: SignedHead | None = None


@dataclass(frozen=True, kw_only=True)
class WitnessLine:
    """A line of the file that a witness keeps: one of the two."""

    cosignature: Cosignature | None = None
    refusal: HeadRefusal | None = None


@dataclass(frozen=True, kw_only=True)
class WitnessCount:
    """How far one witness vouches for a table: how many of its heads the table agrees with, and the last one's position.

    `pinned` says that the caller knows the site's key; otherwise the table itself told whose key it is.
    """

    site: str
    heads: int
    position: int
    pinned: bool = False


@dataclass(frozen=True, kw_only=True)
class AuditVerification:
    """What was found of a table by its chain, by the catalog's heads, and by witnesses.

    Up to `witnessed_position` a witness vouches for every row. `forged_cosignatures` are not what they say they are.
    """

    verification: Verification
    witnesses: tuple[WitnessCount, ...] = ()
    forged_cosignatures: int = 0
    witnessed_position: int = 0

    @property
    def table(self) -> str:
        return self.verification.table

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.verification.intact and not self.forged_cosignatures


def fresh(seen: Mapping[str, SignedHead], shown: Iterable[SignedHead]) -> tuple[SignedHead, ...]:
    """Those heads that go further than what was seen of their tables, in order of their tables."""
    return tuple(
        head
        for head in sorted(shown, key=lambda head: head.table)
        if head.table not in seen or head.position > seen[head.table].position
    )


def doubts(
    seen: Mapping[str, SignedHead], shown: Iterable[SignedHead], *, site: str, time: datetime
) -> tuple[HeadRefusal, ...]:
    """What speaks against heads, by what was seen before. Whether they are signed is for `crypto/witness.py` to say."""
    told = {head.table: head for head in shown}

    def refusal(table: str, reason: Doubt, detail: str) -> HeadRefusal:
        return HeadRefusal(
            site=site, time=time, table=table, reason=str(reason), detail=detail, shown=told.get(table), seen=seen.get(table)
        )

    found = []
    for table, before in sorted(seen.items()):
        now = told.get(table)
        if now is None:
            detail = f"{table} had {before.rows:,} rows up to {before.position} and now has no head"
            found.append(refusal(table, Doubt.HEAD_MISSING, detail))
        elif now.position < before.position:
            detail = f"{table} came to {before.position} and now to {now.position} only"
            found.append(refusal(table, Doubt.HEAD_ROLLED_BACK, detail))
        elif now.position == before.position and (now.chain, now.rows) != (before.chain, before.rows):
            detail = f"{table} has another link at {now.position} than it had"
            found.append(refusal(table, Doubt.HEAD_FORKED, detail))
        elif now.position > before.position and not 0 < now.rows - before.rows <= now.position - before.position:
            detail = (
                f"{table} had {before.rows:,} rows up to {before.position}; up to {now.position} it cannot have {now.rows:,}"
            )
            found.append(refusal(table, Doubt.HEAD_FORKED, detail))
    return tuple(found)


def parse(text: bytes) -> tuple[WitnessLine, ...]:
    """The lines of a witness's file; InvalidArgument (WITNESS_INVALID) for a file that is none."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(records.loads(WitnessLine, line.decode()))
            except (TypeError, ValueError) as error:
                raise errors.InvalidArgument(
                    f"line {number} is not a witness's: {error}",
                    reason="WITNESS_INVALID",
                    help="Take the file `witness.jsonl` from a site agent's state folder, or name the site.",
                ) from error
    return tuple(found)
