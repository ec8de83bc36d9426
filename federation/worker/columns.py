"""Inputs whose columns are sealed by classes: read as tables, and lent to Spark.

    people = federation.inputs["people"].table(columns=["id", "country"])
    federation.inputs["people"].ray(columns=["id", "country"])
    with federation.inputs["people"].spark() as sealed: ...

A column is looked at by name once it is known to be open: of a closed one pyarrow must not be asked anything
(`crypto.modular.ColumnFile`). Its class is told in COLUMN_CLASS_CLOSED.
"""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from federation.crypto import modular
from federation.wire import data
from federation.worker import failures

_PIECE_BYTES = 4 << 20
#: Where a file is memory alone, if the machine has such a place.
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of ours is made in it, 0700


@dataclass(frozen=True, kw_only=True)
class Lent:
    """Files of an input as Spark reads them: their columns are sealed, and the file `keys` opens those of the lease.

    `settings` are Hadoop's for Spark, and `property_` the Java property that names the keys.
    """

    files: tuple[str, ...]
    keys: str = field(repr=False)

    @property
    def settings(self) -> dict[str, str]:
        """Hadoop settings that Spark needs."""
        return {
            "parquet.crypto.factory.class": "org.apache.parquet.crypto.keytools.PropertiesDrivenCryptoFactory",
            "parquet.encryption.kms.client.class": "FederationKeys",
        }

    @property
    def property_(self) -> tuple[str, str]:
        """Name and value of the Java property by which `FederationKeys` finds its keys."""
        return "federation.keys", self.keys


def table(opened: data.OpenedVersion, paths: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
    """These columns of the files, or all that are open, as one table."""
    with failures.shaped():
        return pa.concat_tables([opened.columns(path).read(columns) for path in paths])


def names(opened: data.OpenedVersion, paths: Sequence[str], columns: Sequence[str] | None = None) -> list[str]:
    """The columns that would be read; refused as `table` refuses."""
    with failures.shaped():
        return opened.columns(paths[0]).choose(columns)


@contextlib.contextmanager
def lend(opened: data.OpenedVersion, paths: Sequence[str]) -> Iterator[Lent]:
    """The files, sealed, with master keys of the open classes beside them, in a folder that lasts as long as the block.

    The folder is 0700 and in memory where the machine has such a place; nothing of it is left afterwards.
    """
    with (
        tempfile.TemporaryDirectory(prefix="fed-lent-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder,
        failures.shaped(),
    ):
        root = Path(folder)
        lines = []
        for generation in opened.manifest.generations:
            keys = opened.keyholder(generation)
            lines += [f"{name}={base64.b64encode(master).decode()}" for name, master in keys.masters()]
        path = root / "keys"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("\n".join(lines))
        files = []
        for number, name in enumerate(paths):
            target = root / f"{number:06d}.parquet"
            with opened.open_sealed(name) as source, target.open("xb") as out:
                modular.check(cast("BinaryIO", source))
                while piece := source.read(_PIECE_BYTES):
                    out.write(piece)
            files.append(str(target))
        yield Lent(files=tuple(files), keys=str(path))
