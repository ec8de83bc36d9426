"""Ingest: what lies in place at a site is encrypted there into a new version, and nothing crosses a region.

The agent does this work itself, for the plaintext is the site's own. It reads only from the sources that its settings name, and
leaves it to another process to make sense of what is in a file (`airlock.py`).
"""

from __future__ import annotations

import logging
import posixpath
import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from datetime import timedelta
from typing import BinaryIO

from federation import ports
from federation.agent import airlock, journal, uploads, writes
from federation.core import dataset, errors, ids, units
from federation.core.keys import DEFAULT
from federation.crypto import container, tags

_log = logging.getLogger(__name__)

FILES_MAX = 1_000_000
PIECE = 1 << 20
_CSV_HEAD = 1 << 20
#: What a Parquet file ends with: its footer's length, and who it is.
_TAIL = 8
_MAGIC = b"PAR1"


class Sealing(uploads.Ciphertext):
    """The ciphertext of a file, encrypted while it is read. `sealer` tells of the object, once it was read to its end.

    With `count_lines` those of a CSV file are counted on the way.
    """

    def __init__(self, source: BinaryIO, dek: bytes, context: bytes, *, count_lines: bool = False) -> None:
        super().__init__()
        self._source = source
        self._count_lines = count_lines
        self.sealer = container.Sealer(dek, context)
        self._tagger = tags.Tagger(dek)
        self._finished = False
        self._lines = 0
        self._quoted = False
        self._last = b""
        self.file_bytes = 0

    def next_piece(self) -> bytes:
        """The next ciphertext; what does not fill a chunk is held back, so several reads may make one piece."""
        while not self._finished:
            plain = self._source.read(PIECE)
            if not plain:
                self._finished = True
                return self.sealer.finalize()
            self.file_bytes += len(plain)
            self._tagger.update(plain)
            if self._count_lines:
                self._look(plain)
            sealed = self.sealer.update(plain)
            if sealed:
                return sealed
        return b""

    def tag(self) -> str:
        """The file's keyed digest. Once, after the last read."""
        return self._tagger.hexdigest()

    def csv_rows(self) -> int:
        """Records of a CSV file behind its header; -1 where quotes might hide line ends."""
        if self._quoted or not self.file_bytes:
            return -1
        return max(self._lines - 1 + (self._last != b"\n"), 0)

    def _look(self, plain: bytes) -> None:
        self._lines += plain.count(b"\n")
        self._quoted = self._quoted or b'"' in plain
        self._last = plain[-1:]


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One ingest: from where, with what, into which write."""

    url: str
    source: ports.SourceReader
    row: journal.WriteRow
    dek: bytes = field(repr=False)
    stopping: Callable[[], bool]


class Ingester:
    """Does ingests. `sources` gives for each allowed prefix what reads there; `log` takes a line for the run's log."""

    def __init__(
        self,
        *,
        sources: Mapping[str, ports.SourceReader],
        writer: writes.Writes,
        clock: ports.Clock,
        ids_: ports.Ids,
        log: Callable[[str, bytes], object],
        threads: int = 4,
    ) -> None:
        self._sources = sources
        self._writer = writer
        self._clock = clock
        self._ids = ids_
        self._log = log
        self._threads = threads
        self._glass = airlock.Airlock()

    def close(self) -> None:
        """Ends the process that looks into files."""
        self._glass.close()

    def ingest(self, run: journal.RunRow, stopping: Callable[[], bool]) -> bool:
        """Writes the run's output from its source, to the end; False when it was asked to stop before.

        What an earlier try of the same run has written is dropped: a new try has a new key generation.
        """
        url = run.start.job.request.ingest_from
        source = self._source(url)
        self._writer.drop_run(run.run)
        output = run.start.outputs[0]
        owner = writes.Owner(
            run=run.run,
            alias=output.alias,
            dataset=ids.dataset(output.dataset).short,
            dataset_uid=output.dataset_uid,
            expire_time=self._clock.now() + timedelta(days=1),
        )
        row, deks = self._writer.begin(owner)
        task = _Task(url=url, source=source, row=row, dek=deks[DEFAULT], stopping=stopping)
        files = self._list(task)
        self._say(run.run, f"{len(files)} files, {units.size(sum(file.bytes for file in files))} at {url}")
        if not self._store(task, files):
            self._writer.drop(row.write)
            return False
        done = self._writer.complete(row, columns=_columns(self._glass, source, url, files), source=url)
        self._say(run.run, f"encrypted into generation {done.generation} of {owner.dataset}")
        return True

    def _source(self, url: str) -> ports.SourceReader:
        for prefix in sorted(self._sources, key=len, reverse=True):
            if covers(prefix, url):
                return self._sources[prefix]
        allowed = ", ".join(sorted(self._sources)) or "none"
        raise errors.PermissionDenied(
            f"{url!r} is not under a source of this site; its sources are: {allowed}",
            reason="SOURCE_NOT_ALLOWED",
            help="Let whoever runs the site add it to the site's sources.",
            metadata={"url": url, "sources": allowed},
        )

    def _list(self, task: _Task) -> list[ports.ObjectInfo]:
        files = []
        for info in task.source.list(task.url):
            ids.relative_path(info.key)
            files.append(info)
            if len(files) > FILES_MAX:
                raise errors.ResourceExhausted(
                    f"there are more than {FILES_MAX} files under {task.url}",
                    reason="TOO_MANY_FILES",
                    help="Ingest it in parts.",
                )
        if not files:
            raise errors.NotFound(f"there is no file under {task.url}", reason="SOURCE_EMPTY", help="Check the URL.")
        return files

    def _store(self, task: _Task, files: list[ports.ObjectInfo]) -> bool:
        """Encrypts and stores all files, a few at a time; the first that fails ends it. False when it was asked to stop."""
        failed = threading.Event()

        def one(info: ports.ObjectInfo) -> dataset.FileEntry | None:
            if failed.is_set() or task.stopping():
                return None
            try:
                return self._one(task, info)
            except BaseException:
                failed.set()
                raise

        with futures.ThreadPoolExecutor(self._threads, thread_name_prefix="ingest") as pool:
            group: list[dataset.FileEntry] = []
            for entry in pool.map(one, files):
                if entry is None:
                    return False
                group.append(entry)
                if len(group) == writes.GROUP:
                    self._writer.add(task.row, group)
                    group = []
        self._writer.add(task.row, group)
        return True

    def _one(self, task: _Task, info: ports.ObjectInfo) -> dataset.FileEntry:
        row, object_id = task.row, self._ids.new("o")
        with task.source.open(task.url, info.key) as file:
            context = container.context(row.dataset_uid, row.generation, object_id)
            sealing = Sealing(file, task.dek, context, count_lines=_is_csv(info))
            self._writer.put(row, object_id, sealing)
        if sealing.file_bytes != info.bytes:
            raise errors.FailedPrecondition(
                f"{info.key!r} was {info.bytes} bytes long when it was listed, and {sealing.file_bytes} came",
                reason="SOURCE_CHANGED",
                help="Ingest again when nobody writes there.",
                metadata={"path": info.key},
            )
        return dataset.FileEntry(
            path=info.key,
            file_bytes=sealing.file_bytes,
            object_id=object_id,
            generation=row.generation,
            object_bytes=sealing.sealer.object_bytes,
            object_sha256=sealing.sealer.object_sha256,
            commitment=sealing.sealer.commitment,
            tag=sealing.tag(),
            rows=_rows(task, info, sealing, self._glass),
        )

    def _say(self, run: str, line: str) -> None:
        _log.info("%s: %s", run, line)
        self._log(run, f"[ingest] {line}\n".encode())


def covers(prefix: str, url: str) -> bool:
    """Whether a URL lies at or under a prefix: by whole path segments, and never by way of `..`."""
    scheme, mark, path = url.rpartition("://")
    known, known_mark, folder = prefix.rpartition("://")
    if (scheme, mark) != (known, known_mark) or posixpath.normpath(path) != path.rstrip("/") or "\0" in path:
        return False
    base = folder.rstrip("/")
    return path.rstrip("/") == base or path.startswith(f"{base}/")


def _rows(task: _Task, info: ports.ObjectInfo, sealing: Sealing, glass: airlock.Airlock) -> int:
    if _is_csv(info):
        return sealing.csv_rows()
    if info.key.lower().endswith(".parquet"):
        seen = _parquet(glass, task.source, task.url, info)
        return -1 if seen is None else seen.rows
    return -1


def _is_csv(info: ports.ObjectInfo) -> bool:
    return info.key.lower().endswith(".csv")


def _columns(
    glass: airlock.Airlock, source: ports.SourceReader, url: str, files: list[ports.ObjectInfo]
) -> tuple[tuple[str, str], ...]:
    """Names and types of the columns, by the first file that tells them."""
    for info in files:
        name = info.key.lower()
        if name.endswith(".parquet"):
            seen = _parquet(glass, source, url, info)
            if seen is not None:
                return seen.columns
        elif name.endswith(".csv"):
            seen = _csv(glass, source, url, info)
            return () if seen is None else seen.columns
    return ()


def _parquet(glass: airlock.Airlock, source: ports.SourceReader, url: str, info: ports.ObjectInfo) -> airlock.Look | None:
    """What a Parquet file's footer tells; None for one that is too large, or that is none."""
    with source.open(url, info.key) as file:
        if not file.seekable() or info.bytes < _TAIL + len(_MAGIC):
            return None
        file.seek(info.bytes - _TAIL)
        tail = file.read(_TAIL)
        size = int.from_bytes(tail[:4], "little")
        if tail[4:] != _MAGIC or not 0 < size <= min(airlock.LOOK_BYTES_MAX, info.bytes - _TAIL):
            return None
        file.seek(info.bytes - _TAIL - size)
        return glass.parquet(file.read(size))


def _csv(glass: airlock.Airlock, source: ports.SourceReader, url: str, info: ports.ObjectInfo) -> airlock.Look | None:
    with source.open(url, info.key) as file:
        head = file.read(_CSV_HEAD)
    if len(head) == _CSV_HEAD:
        head = head[: head.rfind(b"\n") + 1]
    return glass.csv(head)
