"""Databases that have the catalog's tables already, for tests that are not about how these come to be: copied, not migrated."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from pathlib import Path

from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import SystemClock, UlidIds


def make(url: str) -> None:
    """Brings an empty database to the tables of this release, as a server does."""
    with contextlib.closing(SqlCatalog(url, SystemClock(), UlidIds())):
        pass


def sqlite(path: Path) -> str:
    """URL of an empty catalog in a new file."""
    path.write_bytes(_sqlite())
    return f"sqlite:///{path}"


@functools.cache
def _sqlite() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.db"
        make(f"sqlite:///{path}")
        assert [entry.name for entry in Path(folder).iterdir()] == [path.name], "a part of it lies elsewhere"
        return path.read_bytes()
