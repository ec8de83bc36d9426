"""What a site does with its own keys when it is told to: re-wraps its rows, fills an escrow, opens one.

All of it is done here because only here it can be. Each piece may be done again: rows are put in the place of those that they
were made from, an escrow takes each row once, and a rotation that broke off goes on to the KEK that it had begun.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading

from federation import failpoints, ports
from federation.agent import catalog as agent_catalog
from federation.agent import journal
from federation.agent.identity import Identity
from federation.core import dataset, errors, keys
from federation.crypto import escrow as escrows
from federation.crypto import hpke

_log = logging.getLogger(__name__)

Instruction = keys.RotateKeys | keys.FillEscrow | keys.OpenEscrow
_RETRY_SECONDS = 5.0
TRANSIENT = (errors.Unavailable, errors.DeadlineExceeded)


class Custody:
    """Follows instructions one after the other, in a thread of its own: `run` until `stop`."""

    def __init__(
        self, *, site: str, keys: ports.SiteKeys, identity: Identity, book: journal.Journal, catalog: agent_catalog.Catalog
    ) -> None:
        self._site = site
        self._keys = keys
        self._identity = identity
        self._book = book
        self._catalog = catalog
        self._work: queue.SimpleQueue[Instruction | None] = queue.SimpleQueue()
        self._stopping = threading.Event()

    def begin(self) -> keys.SiteKeyring:
        """Tells the catalog the names of the site's keys; KEKs that it has found to be without rows go."""
        ring = self._catalog.report_keyring(self._keys.status())
        return self._retire(ring)

    def take(self, instruction: Instruction) -> None:
        """Queues an instruction for `run`."""
        self._work.put(instruction)

    def stop(self) -> None:
        """Ends `run`."""
        self._stopping.set()
        self._work.put(None)

    def run(self) -> None:
        """Carries out what was queued; what failed because the catalog or the key service was away is tried again."""
        while (instruction := self._work.get()) is not None and not self._stopping.is_set():
            try:
                self.follow(instruction)
            except TRANSIENT as error:
                _log.warning("%s: %s waits: %s", self._site, type(instruction).__name__, error)
                self._stopping.wait(_RETRY_SECONDS)
                self._work.put(instruction)
            except errors.FederationError as error:
                _log.warning("%s: %s is not done: %s", self._site, type(instruction).__name__, error)
            except Exception:
                self._work.put(instruction)
                raise

    def follow(self, instruction: Instruction) -> None:
        """Carries an instruction out."""
        match instruction:
            case keys.RotateKeys():
                self._rotate(instruction)
            case keys.FillEscrow():
                self._fill(instruction.escrow)
            case keys.OpenEscrow():
                self._open(instruction.opening, instruction.escrow)

    # Rotation

    def _rotate(self, told: keys.RotateKeys) -> None:
        if not told.target:
            self._keys.rotate()
            failpoints.hit("agent.kek_made")
        # A keyring that was restored meanwhile may have another current KEK than the one that was begun with.
        target = self._catalog.report_keyring(self._keys.status(), rotation=told.number).target
        # What is no version yet first: nothing new names an old KEK from here on.
        self._book.rekey(lambda key: self._rewrapped(key) or key)
        for page in self._catalog.wrapped_keys(other_than_kek=target):
            changed = [(key.wrapped, new) for key in page if (new := self._rewrapped(key)) is not None]
            if changed:
                self._catalog.replace_keys(changed)
                failpoints.hit("agent.rows_rewrapped")
        ring = self._catalog.finish_rotation(told.number)
        failpoints.hit("agent.rotation_finished")
        self._retire(ring)

    def _rewrapped(self, key: dataset.WrappedKey) -> dataset.WrappedKey | None:
        """The row under the current KEK; None where it does not open, which is the row's own trouble and told by `fed fsck`."""
        try:
            return self._keys.rewrap(key)
        except (errors.DataCorrupt, errors.PermissionDenied) as error:
            if error.reason not in ("KEY_INVALID", "KEY_NOT_OURS"):
                raise
            _log.warning("%s: a row of generation %s is not re-wrapped: %s", self._site, key.generation, error)
            return None

    def _retire(self, ring: keys.SiteKeyring) -> keys.SiteKeyring:
        status = self._keys.status()
        gone = [kek for kek in status.keks if kek in ring.retired and kek != status.kek]
        if gone:
            # Whatever was being written down as the rotation began.
            self._book.rekey(lambda key: self._rewrapped(key) or key)
        for kek in gone:
            try:
                self._keys.retire(kek)
            except errors.FailedPrecondition as error:
                _log.warning("%s: %s stays: %s", self._site, kek, error)
        return self._catalog.report_keyring(self._keys.status()) if gone else ring

    # Escrow

    def _fill(self, escrow: keys.Escrow) -> None:
        if not escrow.public_key:
            public_key, sealed = escrows.split(escrow, self._identity.sealing_public)
            escrow = self._catalog.store_escrow(escrow.escrow, public_key=public_key, sealed_shares=sealed)
        public = bytes.fromhex(escrow.public_key)
        skipped = 0
        for page in self._catalog.wrapped_keys(lacking_escrow=escrow.escrow):
            filled = tuple(row for key in page if (row := self._escrowed(escrow, public, key)) is not None)
            self._catalog.store_escrow(escrow.escrow, filled=filled)
            skipped += len(page) - len(filled)
        self._catalog.store_escrow(escrow.escrow, complete=True, skipped=skipped)

    def _escrowed(self, escrow: keys.Escrow, public: bytes, key: dataset.WrappedKey) -> keys.EscrowedKey | None:
        row = keys.EscrowedKey(
            escrow=escrow.escrow,
            generation=key.generation,
            sensitivity=key.sensitivity,
            dataset_uid=key.dataset_uid,
            sealed="",
        )
        try:
            inside = self._keys.inside(key)
        except (errors.DataCorrupt, errors.FailedPrecondition) as error:
            if error.reason not in ("KEY_INVALID", "KEY_DESTROYED"):
                raise
            return None
        return dataclasses.replace(row, sealed=hpke.seal(public, inside, escrows.key_info(row)).hex())

    def _open(self, opening: keys.Opening, escrow: keys.Escrow) -> None:
        approvals = opening.approvals[: escrow.threshold]
        private = escrows.combine(escrow, opening, approvals, self._identity.sealing_private)
        for page in self._catalog.escrowed(opening.opening):
            adopted = [key for row in page if (key := self._adopted(private, row)) is not None]
            self._catalog.finish_escrow(opening.opening, adopted)
        self._catalog.finish_escrow(opening.opening, (), done=True)

    def _adopted(self, private: bytes, row: keys.EscrowedKey) -> dataset.WrappedKey | None:
        inside = hpke.open_(private, bytes.fromhex(row.sealed), escrows.key_info(row))
        try:
            return self._keys.adopt(inside, row.generation, row.dataset_uid, row.sensitivity)
        except errors.FailedPrecondition as error:
            if error.reason != "KEY_DESTROYED":
                raise
            return None  # erased since: an escrow brings nothing back
