"""A provider's bill on its way to the catalog: read from files, spooled, sent in pieces; memory does not grow with it."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from federation import frames, ports
from federation.core import errors

#: Lines in one message.
_LINES = 5_000
_SPOOL_BYTES = 32 << 20
_LENGTH = 8


class Delivered:
    """One delivery of one bill: what it is, and its lines, packed, in a spool."""

    def __init__(self, provider: str, account: str, month: str, source: str, spool: IO[bytes]) -> None:
        self.provider, self.account, self.month, self.source = provider, account, month, source
        self.lines = 0
        self.skipped_lines = 0
        self._spool = spool
        self._digest = hashlib.sha256()

    def __repr__(self) -> str:
        return f"<Delivered {self.provider} {self.account} {self.month} lines={self.lines}>"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the packed lines: the same lines are the same delivery."""
        return self._digest.hexdigest()

    def add(self, piece: ports.BillPiece) -> None:
        """Spools some lines more."""
        self.skipped_lines += piece.skipped
        self.lines += piece.lines.num_rows
        for start in range(0, piece.lines.num_rows, _LINES):
            data = frames.to_bytes(piece.lines.slice(start, _LINES).combine_chunks())
            self._digest.update(data)
            self._spool.write(len(data).to_bytes(_LENGTH))
            self._spool.write(data)

    def pieces(self) -> Iterator[bytes]:
        """The packed lines, from the first on, each time it is asked."""
        self._spool.seek(0)
        while length := self._spool.read(_LENGTH):
            yield self._spool.read(int.from_bytes(length))


@contextlib.contextmanager
def read(reader: ports.BillReader, paths: Sequence[Path]) -> Iterator[tuple[Delivered, ...]]:
    """The deliveries that files hold, one for each payer and month; InvalidArgument (BILL_EMPTY) where they bill nothing."""
    found: dict[tuple[str, str, str], Delivered] = {}
    source = ", ".join(path.name for path in paths)
    with contextlib.ExitStack() as stack:
        for piece in reader.read(paths):
            key = (piece.provider, piece.account, piece.month)
            if key not in found:
                spool = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES))
                found[key] = Delivered(*key, source, spool)
            found[key].add(piece)
        if not found:
            raise errors.InvalidArgument(
                f"{source} holds no line of a bill", reason="BILL_EMPTY", help="Name the files of one delivery."
            )
        yield tuple(delivered for _, delivered in sorted(found.items()))
