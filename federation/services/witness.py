"""Witnesses of the record at the catalog: what sites co-sign is kept in the log, and tables are proven by it.

A witness helps against whoever holds the catalog's own key: what the catalog signed and a site saw can be found at that site.
The catalog keeps co-signatures too, so that an exported table tells by itself who vouches for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from federation import ports
from federation.core import chain, errors, events, records, site
from federation.core.witness import (
    REFUSED_KIND,
    WITNESSED_KIND,
    AuditVerification,
    Cosignature,
    HeadRefusal,
    WitnessCount,
)
from federation.crypto import witness as signed
from federation.services import heads, sites

#: Refusals that one call may tell.
REFUSALS_MAX = 100
#: Events by which the log tells whose a key is: the value is a site.
_SITE_KINDS = ("site.ready", "site.updated", "site.graded")
#: Of a witness and an hour so many are looked at, if the newest is not good.
_CANDIDATES = 3


def newest(tx: ports.Transaction) -> tuple[chain.SignedHead, ...]:
    """The newest head of each table that has one: what a witness is shown."""
    found = (tx.list(chain.SignedHead, parent=table, newest_first=True, limit=1) for table in events.TABLES)
    return tuple(head for few in found for head in few)


def take(tx: ports.Transaction, at: str, cosignature: Cosignature, key: str) -> None:
    """Keeps a site's co-signature of heads that `key`, the catalog's, has signed. Telling it twice does no harm.

    InvalidArgument (COSIGNATURE_INVALID) for another site's, for another key than the site has, and for heads of others.
    """
    stored = sites.get_site(tx, at)
    ours = bool(cosignature.heads) and all(head.key == key and head.table in events.TABLES for head in cosignature.heads)
    if (cosignature.site, cosignature.key) != (at, stored.signing_key) or not ours or not signed.is_genuine(cosignature):
        raise errors.InvalidArgument(
            f"this is no co-signature of site {at} under heads of this catalog",
            reason="COSIGNATURE_INVALID",
            help="See that the agent's key is the one that it has registered.",
            metadata={"site": at},
        )
    tx.emit(WITNESSED_KIND, f"sites/{at}", cosignature)
    if stored.witness_error:
        sites.note_witness(tx, stored, "")


def refuse(tx: ports.Transaction, at: str, refusals: Iterable[HeadRefusal]) -> None:
    """Keeps that a site would not co-sign, and makes it the site's condition. What was told already is not told again."""
    told = tuple(refusals)[:REFUSALS_MAX]
    stored = sites.get_site(tx, at)
    words = "; ".join(f"{each.reason}: {each.detail}" for each in told)[:1000]
    if not told or words == stored.witness_error:
        return
    for each in told:
        tx.emit(REFUSED_KIND, f"sites/{at}", dataclasses.replace(each, site=at))
    sites.note_witness(tx, stored, words)


def verify(
    reader: ports.RecordReader,
    table: str,
    kept: Iterable[chain.SignedHead],
    keys: Iterable[str],
    *,
    cosigned: Iterable[Cosignature] = (),
    pinned: Mapping[str, frozenset[str]] | None = None,
) -> Iterator[AuditVerification]:
    """Follows a table's chain as `heads.verify` does, and past what witnesses have co-signed; the last answer is all of it.

    `cosigned` are co-signatures from the witnesses themselves; those that the table of audit holds are looked at as well. A
    head in either counts like one that was kept: the chain must pass through it. `pinned` are the keys by which the caller
    knows sites; of others the table itself tells whose key it is.
    """
    found = _Words(table, frozenset(keys), dict(pinned or {}), _site_keys(reader))
    for each in cosigned:
        found.take(each, from_table=False)
    for body in reader.bodies(WITNESSED_KIND):
        with contextlib.suppress(TypeError, ValueError):  # what is none: its row is judged by the chain
            found.take(records.loads(Cosignature, body), from_table=True)
    agreed = found.chosen()
    step = chain.Verification(table=table)
    for step in heads.verify(reader, table, (*kept, *(word.head for word in agreed)), keys):
        yield AuditVerification(verification=step)
    yield _counted(step, agreed, found.forged)


def _site_keys(reader: ports.RecordReader) -> Mapping[str, frozenset[str]]:
    """The keys that each site ever had, as the table of audit tells."""
    found: dict[str, set[str]] = {}
    for kind in _SITE_KINDS:
        for body in reader.bodies(kind):
            with contextlib.suppress(TypeError, ValueError):  # as above
                place = records.loads(site.Site, body)
                found.setdefault(place.site, set()).add(place.signing_key)
    return {name: frozenset(some) for name, some in found.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Word:
    """One witness's word on one head. `from_table`: it is the table itself that tells of it."""

    head: chain.SignedHead
    cosignature: Cosignature
    from_table: bool
    pinned: bool


class _Words:
    """Co-signatures on the way to a walk: of each witness the newest good one of each hour. A head vouches for all before."""

    def __init__(
        self,
        table: str,
        catalogs: frozenset[str],
        pinned: Mapping[str, frozenset[str]],
        told: Mapping[str, frozenset[str]],
    ) -> None:
        self.forged = 0
        self._table = table
        self._catalogs = catalogs
        self._pinned = pinned
        self._told = told
        #: Site and hour -> the newest few. Whether they are good is looked at in the end: that takes its time.
        self._hourly: dict[tuple[str, str], list[_Word]] = {}

    def take(self, cosignature: Cosignature, *, from_table: bool) -> None:
        """One more, of which only the head of this table counts, and only if one of the catalog's keys is named."""
        for head in cosignature.heads:
            if head.table == self._table and head.key in self._catalogs:
                pinned = cosignature.site in self._pinned
                word = _Word(head=head, cosignature=cosignature, from_table=from_table, pinned=pinned)
                known = self._hourly.setdefault((cosignature.site, f"{head.time:%Y-%m-%dT%H}"), [])
                known.append(word)
                known.sort(key=lambda each: (each.head.position, each.head.chain), reverse=True)
                del known[_CANDIDATES:]

    def chosen(self) -> tuple[_Word, ...]:
        """The newest good one of each; counts those before it that are not good."""
        return tuple(word for known in self._hourly.values() if (word := self._first(known)) is not None)

    def _first(self, known: Iterable[_Word]) -> _Word | None:
        for word in known:
            if self._is_good(word):
                return word
            self.forged += 1
        return None

    def _is_good(self, word: _Word) -> bool:
        """Whether the site has signed it, with the key that the caller knows; else one that the table of audit tells of.

        A file from the witness needs no key to be known: what matters are its heads, and those are the catalog's own word.
        """
        name, key = word.cosignature.site, word.cosignature.key
        known = key in self._pinned[name] if word.pinned else not word.from_table or key in self._told.get(name, ())
        return known and signed.is_genuine(word.cosignature)


def _counted(step: chain.Verification, agreed: Iterable[_Word], forged: int) -> AuditVerification:
    """What was found, with those witnesses that the table agrees with."""
    words: dict[str, list[_Word]] = {}
    for word in agreed:
        if word.head.position <= step.proven_position:
            words.setdefault(word.cosignature.site, []).append(word)
    counts = tuple(
        WitnessCount(
            site=name,
            heads=len(some),
            position=max(word.head.position for word in some),
            pinned=all(word.pinned for word in some),
        )
        for name, some in sorted(words.items())
    )
    return AuditVerification(
        verification=step,
        witnesses=counts,
        forged_cosignatures=forged,
        witnessed_position=max((count.position for count in counts), default=0),
    )
