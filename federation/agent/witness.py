"""The site as a witness of the record: keeps the heads that the catalog showed it, and refuses those that contradict them.

What it co-signs lies first in a file of its own, a JSON line each, which is only ever appended to; then the catalog is told.
Who suspects the catalog compares the tables with the file of any one site. A refusal stands in the file too, with the head that
was shown: two heads that contradict each other, both signed by the catalog, are the proof.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from federation.agent.catalog import Catalog
from federation.agent.identity import Identity
from federation.core import chain, records, witness
from federation.crypto import heads as signed_heads
from federation.crypto import witness as signed

_log = logging.getLogger(__name__)

#: Between two looks: what the catalog did between them nobody else has seen.
LOOK_SECONDS = 60.0
_PIECE_BYTES = 256 * 1024


class Witness:
    """Looks at the heads of the record. `look` is one look; one thread calls it, others may `read` the file."""

    def __init__(self, file: Path, *, site: str, identity: Identity, catalog: Catalog, now: Callable[[], datetime]) -> None:
        self._file = file
        self._site = site
        self._identity = identity
        self._catalog = catalog
        self._now = now
        self._lock = threading.Lock()
        #: Table -> the newest head that was co-signed; the catalog's key as it was then; what was refused last.
        self._seen: dict[str, chain.SignedHead] = {}
        self._key = ""
        self._refused: frozenset[tuple[str, str, str]] = frozenset()
        for line in self._lines():
            self._remember(line)

    def __repr__(self) -> str:
        return f"<Witness {self._site}: {len(self._seen)} tables>"

    def look(self, key: str) -> tuple[witness.HeadRefusal, ...]:
        """Asks for the newest heads, and co-signs or refuses them; returns what it refuses.

        `key` is the catalog's as this agent knows it now. Only where nothing was ever seen it is believed: another one later is
        refused, for whoever holds the tables could have made it.
        """
        shown = self._catalog.witness_heads()
        refusals = self._judge(shown, self._key or key)
        if refusals:
            self._refuse(refusals)
            self._catalog.witness_heads(refusals=refusals)
            return refusals
        fresh = witness.fresh(self._seen, shown)
        if fresh:
            cosignature = signed.sign(self._identity.signing_private, self._site, fresh, self._now())
            self._append(witness.WitnessLine(cosignature=cosignature))
            self._catalog.witness_heads(cosignature)
        return ()

    def read(self) -> Iterator[bytes]:
        """The file as it is now, in pieces."""
        with self._lock:
            size = self._file.stat().st_size if self._file.exists() else 0
        if not size:
            return
        with self._file.open("rb") as file:
            while size > 0 and (piece := file.read(min(size, _PIECE_BYTES))):
                size -= len(piece)
                yield piece

    def _judge(self, shown: Sequence[chain.SignedHead], key: str) -> tuple[witness.HeadRefusal, ...]:
        now = self._now()
        forged = tuple(
            witness.HeadRefusal(
                site=self._site,
                time=now,
                table=head.table,
                reason=str(witness.Doubt.HEAD_FORGED),
                detail=f"the head of {head.table} at {head.position} is not signed by the catalog's key {key[:16]}",
                shown=head,
                seen=self._seen.get(head.table),
            )
            for head in shown
            if head.key != key or not signed_heads.is_genuine(head)
        )
        return forged or witness.doubts(self._seen, shown, site=self._site, time=now)

    def _refuse(self, refusals: tuple[witness.HeadRefusal, ...]) -> None:
        """Keeps and logs refusals, each of them once."""
        for refusal in refusals:
            if _mark(refusal) not in self._refused:
                _log.error("%s does not co-sign: %s: %s", self._site, refusal.reason, refusal.detail)
                self._append(witness.WitnessLine(refusal=refusal))
        self._refused = frozenset(map(_mark, refusals))

    def _append(self, line: witness.WitnessLine) -> None:
        """Brings a line onto the disk before anybody is told of it. One that broke off is ended first."""
        text = records.dumps(line).encode() + b"\n"
        with self._lock, self._file.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                text = text if file.read(1) == b"\n" else b"\n" + text
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._remember(line)

    def _remember(self, line: witness.WitnessLine) -> None:
        if line.cosignature is not None:
            self._seen |= {head.table: head for head in line.cosignature.heads}
            self._key = line.cosignature.heads[-1].key
            self._refused = frozenset()
        elif line.refusal is not None:
            self._refused |= {_mark(line.refusal)}

    def _lines(self) -> Iterator[witness.WitnessLine]:
        """The lines of the file; one that a crash broke off was never told to anybody."""
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield records.loads(witness.WitnessLine, line.decode())
                except (TypeError, ValueError):
                    if line.strip():
                        _log.warning("line %d of %s says nothing and is passed over", number, self._file)


def _mark(refusal: witness.HeadRefusal) -> tuple[str, str, str]:
    """By what refusals are compared: table, reason, and the head that was shown."""
    return refusal.table, refusal.reason, refusal.shown.signature if refusal.shown else ""
