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
_SITE_KINDS = ("site.ready", "site.updated")


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
    """Follows a table's chain as `heads.verify` does, and past what witnesses have co-signed; the last answer is it.

    `cosigned` are co-signatures from the witnesses themselves; those that the table of audit holds are looked at as well. A
    head in either counts like one that was kept: the chain must pass through it. `pinned` are the keys by which the caller
    knows sites; of others the table itself tells whose key it is.
    """
    trusted = frozenset(keys)
    found = _Words(table, trusted, dict(pinned or {}))
    for each in cosigned:
        found.take(each, told_elsewhere=True)
    found.told = _site_keys(reader)
    for body in reader.bodies(WITNESSED_KIND):
        with contextlib.suppress(TypeError, ValueError):  # what is none: its row is judged by the chain
            found.take(records.loads(Cosignature, body), told_elsewhere=False)
    step = chain.Verification(table=table)
    for step in heads.verify(reader, table, (*kept, *found.heads()), trusted):
        yield AuditVerification(verification=step)
    yield found.counted(step)


def _site_keys(reader: ports.RecordReader) -> Mapping[str, frozenset[str]]:
    """The keys that each site ever had, as the table of audit tells."""
    found: dict[str, set[str]] = {}
    for kind in _SITE_KINDS:
        for body in reader.bodies(kind):
            with contextlib.suppress(TypeError, ValueError):  # what is none: its row is judged by the chain
                place = records.loads(site.Site, body)
                found.setdefault(place.site, set()).add(place.signing_key)
    return {name: frozenset(some) for name, some in found.items()}


class _Words:
    """Co-signatures on the way to a walk: of each witness the newest head of each hour."""

    def __init__(self, table: str, catalogs: frozenset[str], pinned: Mapping[str, frozenset[str]]) -> None:
        self.told: Mapping[str, frozenset[str]] = {}
        self._table = table
        self._catalogs = catalogs
        self._pinned = pinned
        self._forged = 0
        #: Site and hour -> head; whether the caller knows its key.
        self._hourly: dict[tuple[str, str], tuple[chain.SignedHead, bool]] = {}

    def take(self, cosignature: Cosignature, *, told_elsewhere: bool) -> None:
        name = cosignature.site
        pinned = name in self._pinned
        known = self._pinned.get(name) or self.told.get(name, frozenset())
        ours = [head for head in cosignature.heads if head.table == self._table and head.key in self._catalogs]
        if not ours:
            return
        if not signed.is_genuine(cosignature) or (pinned and cosignature.key not in known):
            self._forged += 1
            return
        if not told_elsewhere and cosignature.key not in known:
            self._forged += 1  # the table names a site that never had this key
            return
        for head in ours:
            at = name, f"{head.time:%Y-%m-%dT%H}"
            before = self._hourly.get(at)
            if before is None or before[0].position <= head.position:
                self._hourly[at] = head, pinned

    def heads(self) -> frozenset[chain.SignedHead]:
        """What the chain must pass through."""
        return frozenset(head for head, _ in self._hourly.values())

    def counted(self, step: chain.Verification) -> AuditVerification:
        """What was found, with those witnesses that the table agrees with."""
        agreed: dict[str, list[tuple[chain.SignedHead, bool]]] = {}
        for (name, _), (head, pinned) in self._hourly.items():
            if head.position <= step.proven_position:
                agreed.setdefault(name, []).append((head, pinned))
        counts = tuple(
            WitnessCount(
                site=name,
                heads=len(some),
                position=max(head.position for head, _ in some),
                pinned=all(pinned for _, pinned in some),
            )
            for name, some in sorted(agreed.items())
        )
        return AuditVerification(
            verification=step,
            witnesses=counts,
            forged_cosignatures=self._forged,
            witnessed_position=max((count.position for count in counts), default=0),
        )
