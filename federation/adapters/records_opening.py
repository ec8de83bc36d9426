"""Opens Delta tables of the record, and none whose log names a file outside of the table.

A log is text that whoever may write there has written. DataFusion follows an absolute path, a URL, `..` and `%2e%2e` in it to
any file that this process may read; so paths are looked at before anything is read by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable

from federation.core import errors

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
#: More than a name that was encoded and encoded again has of layers.
_LAYERS = 4


def open_table(uri: str, options: Mapping[str, str] | None) -> DeltaTable:
    """The table as it is now; deltalake's own errors where there is none, DataCorrupt (TABLE_ESCAPES) for a hostile log."""
    handle = DeltaTable(uri, storage_options=dict(options) if options else None)
    check(handle, uri)
    return handle


def check(handle: DeltaTable, where: str) -> None:
    """Returns for a handle whose files all lie in their table."""
    check_paths(pa.table(handle.get_add_actions()).column("path").to_pylist(), where)


def check_paths(paths: Iterable[str], where: str) -> None:
    """Returns when all paths of a log lie in its table; DataCorrupt (TABLE_ESCAPES) names the first that does not."""
    for path in paths:
        if _escapes(path):
            raise errors.DataCorrupt(
                f"the log of {where} names {path!r}, which is not a file of the table",
                reason="TABLE_ESCAPES",
                help="Somebody else wrote into the log: restore it from a backup, and see who may write there.",
                metadata={"table": where, "path": path},
            )


def _escapes(path: str) -> bool:
    for _ in range(_LAYERS):
        bare = unquote(path)
        bad = bool(
            bare.startswith("/")
            or "\\" in bare
            or _SCHEME.match(bare)
            or any(part in ("", ".", "..") for part in bare.split("/"))
            or any(ord(c) < 32 or ord(c) == 127 for c in bare)
        )
        if bad or bare == path:
            return bad
        path = bare
    return True
