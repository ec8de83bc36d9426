"""The last release, frozen: what it stored, how it was spoken to, and its code, to be run beside this one.

`make baseline` writes it anew from what is here now; that is done when a release is made, and at no other time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import lzma
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import types
import typing
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from federation import ports
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import ManualClock, SeededIds
from federation.core import kinds, watching

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "released"
#: A SQLite catalog with a value of every kind, and an event of each that people are told of.
CATALOG = FOLDER / "catalog.db.xz"
#: The contract as descriptors.
CONTRACT = FOLDER / "contract.binpb"
#: The packages `federation` and `connectors`.
CODE = FOLDER / "code.tar.xz"
_TIME = datetime(2026, 1, 1, tzinfo=UTC)


# What was stored


def restored(path: Path) -> None:
    """Writes the frozen catalog into a SQLite file."""
    path.write_bytes(lzma.decompress(CATALOG.read_bytes()))


def bodies(path: Path) -> dict[type, Any]:
    """What it stored of each kind that there was, as JSON values; of the frozen catalog as `restored`."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        found = {cls: kind.table for cls, kind in kinds.KINDS.items() if kind.table in tables}
        query = "SELECT body FROM {}"
        return {cls: json.loads(connection.execute(query.format(table)).fetchone()[0]) for cls, table in found.items()}


def filled(hint: Any) -> Any:
    """A value of a type in which every field says something: what is left out would be lost unseen."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return filled(next(arg for arg in args if arg is not types.NoneType))
    if origin is tuple:
        return tuple(filled(arg) for arg in args if arg is not Ellipsis)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        return hint(**{field.name: filled(hints[field.name]) for field in dataclasses.fields(hint) if field.init})
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return list(hint)[-1]
    plain: dict[Any, Any] = {str: "x-1", int: 7, float: 0.5, bool: True, bytes: b"x", datetime: _TIME, Any: "x-1"}
    return plain[hint]


def stored(tx: ports.Transaction) -> None:
    """One value of every kind, and one event of each type that is watched."""
    for cls in kinds.KINDS:
        tx.insert(filled(cls))
    for noun, row in watching.TOLD.items():
        tx.emit(f"{noun}.created", f"{row.collection}/x-1", filled(row.value))


# How it was spoken to


class Contract:
    """A client made of the frozen descriptors alone: it knows what its release knew, and nothing since."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        found = descriptor_pb2.FileDescriptorSet.FromString(CONTRACT.read_bytes())
        self._pool = descriptor_pool.DescriptorPool()
        for file in found.file:
            self._pool.Add(file)
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),)
        self.methods = {
            f"{service.name}.{method.name}": (file.package, method)
            for file in found.file
            for service in file.service
            for method in service.method
        }

    def message(self, name: str, /, **fields: Any) -> Any:
        """A message of that release."""
        return self._class(f"federation.v1.{name}")(**fields)

    def call(self, key: str, request: Any = None, *, timeout: float = 10) -> Any:
        """One method; with an empty request unless one is given. A stream answers with its first message."""
        package, method = self.methods[key]
        wanted, answered = (self._class(name.removeprefix(".")) for name in (method.input_type, method.output_type))
        shape = "_".join("stream" if flows else "unary" for flows in (method.client_streaming, method.server_streaming))
        function = getattr(self._channel, shape)(
            f"/{package}.{key.replace('.', '/')}",
            request_serializer=wanted.SerializeToString,
            response_deserializer=answered.FromString,
        )
        asked = wanted() if request is None else request
        answer = function(iter([asked]) if method.client_streaming else asked, timeout=timeout, metadata=self._metadata)
        if not method.server_streaming:
            return answer
        first = next(answer, None)
        answer.cancel()
        return first

    def _class(self, name: str) -> type[message.Message]:
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))


# Its code


@contextlib.contextmanager
def code() -> Iterator[Path]:
    """A folder with its packages, to be put first on the path of a process."""
    with tempfile.TemporaryDirectory(prefix="fed-released") as folder, tarfile.open(CODE) as archive:
        archive.extractall(folder, filter="data")
        yield Path(folder)


def migrations() -> dict[str, bytes]:
    """Its migrations, by file name."""
    place = "federation/adapters/migrations/versions/"
    with tarfile.open(CODE) as archive:
        found = [member for member in archive.getmembers() if member.name.startswith(place)]
        return {Path(member.name).name: file.read() for member in found if (file := archive.extractfile(member)) is not None}


# Freezing


def freeze() -> None:
    """Writes all of it anew. The same code gives the same bytes."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.db"
        with contextlib.closing(SqlCatalog(f"sqlite:///{path}", ManualClock(), SeededIds())) as catalog:
            catalog.write(stored, actor="users/ada")
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("VACUUM")
        CATALOG.write_bytes(lzma.compress(path.read_bytes(), preset=9))
    buf = Path(sys.executable).with_name("buf")
    subprocess.run([buf, "build", "protos", "--exclude-source-info", "-o", CONTRACT], cwd=ROOT, check=True)
    with tarfile.open(CODE, "w:xz", preset=9) as archive:
        for path in sorted(_sources()):
            data = path.read_bytes()
            member = tarfile.TarInfo(str(path.relative_to(ROOT)))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def _sources() -> Iterator[Path]:
    for package in ("federation", "connectors"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyi":
                yield path


if __name__ == "__main__":
    freeze()
