"""Where the record's tables lie, and how their files get there: on a disk or in S3, durable before a commit may name them.

delta-rs does no fsync, so that after a power failure a log could name data that never came to the disk. Here data is synced
before its commit is made, and the commit's log before it counts. An object store does so by itself.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from federation.adapters import registry
from federation.core import errors

#: Rows of one row group: what a reader has in memory at once.
GROUP_ROWS = 128 * 1024
_BATCH_ROWS = 16 * 1024
#: An object store that does not answer is given up soon: the facts lie in the log, and the next round tries again.
_PATIENCE = {"max_retries": "4", "retry_timeout": "20s", "timeout": "30s", "connect_timeout": "5s"}
#: What is told of an S3 store: by our name (a site's store has the same), by pyarrow's, and by those of delta-rs.
_S3_OPTIONS = (
    ("key", "access_key", ("aws_access_key_id", "access_key_id")),
    ("secret", "secret_key", ("aws_secret_access_key", "secret_access_key")),
    ("token", "session_token", ("aws_session_token", "aws_token", "session_token")),
    ("region", "region", ("aws_region", "aws_default_region", "default_region")),
    ("endpoint_url", "endpoint_override", ("aws_endpoint_url", "aws_endpoint", "endpoint")),
)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A data file that is there for good, and that nothing refers to yet."""

    path: str
    day: date
    bytes: int
    rows: int
    first: int
    last: int
    time: float


class Place:
    """A folder, or a URL such as `s3://bucket/prefix` with its options, by our names or by those that delta-rs knows."""

    def __init__(self, root: str, options: Mapping[str, str] | None = None) -> None:
        self.root = root.rstrip("/")
        self.folder = _local(root)
        self._s3 = {} if self.folder else _s3_options(options or {})
        #: What delta-rs is told.
        self.options = None if self.folder else _delta_options(options or {})
        self._prefix, self._files = (str(self.folder), pafs.LocalFileSystem()) if self.folder else _bucket(self.root, self._s3)

    def probe(self) -> None:
        """Refuses (FailedPrecondition, STORE_DISHONEST) a store that overwrites on a conditional put or ignores ranges.

        Asked is the connector for sites' stores, which knows how; a folder keeps both promises.
        """
        if not self.folder:
            registry.load("storage", "s3")(self.root, self._s3).probe()

    def uri(self, table: str) -> str:
        """Where a table lies."""
        return f"{self.root}/{table}"

    def prepare(self) -> None:
        """Makes the folder, if it is one."""
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, table: str, day: date, rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> Written:
        """Writes one data file of rows in order of position, which are not held in memory all at once."""
        path = f"day={day}/part-{uuid.uuid4()}.zstd.parquet"
        with self._output(table, path) as file:
            first, last, count = _write(file, rows, schema)
            size = file.tell()
        return Written(path=path, day=day, bytes=size, rows=count, first=first, last=last, time=time.time())

    def read(self, table: str, path: str) -> Iterator[pa.RecordBatch]:
        """The rows of a data file in pieces, in the order in which they lie there."""
        with self._input(table, path) as file, pq.ParquetFile(file) as parquet:
            yield from parquet.iter_batches(batch_size=_BATCH_ROWS, use_threads=False)

    def list(self, table: str, prefix: str = "") -> list[str]:
        """All files of a table, by their paths in it, that begin with a prefix; none where there is no table."""
        if self.folder:
            root = self.folder / table
            found = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) if root.is_dir() else ()
        else:
            root_ = f"{self._prefix}/{table}"
            selector = pafs.FileSelector(root_, allow_not_found=True, recursive=True)
            infos = self._files.get_file_info(selector)
            found = (info.path.removeprefix(f"{root_}/") for info in infos if info.is_file)
        return sorted(path for path in found if path.startswith(prefix))

    def open(self, table: str, path: str) -> Any:
        """A file of a table, to be read as a stream."""
        return self._files.open_input_stream(f"{self._prefix}/{table}/{path}")

    def create(self, table: str, path: str) -> AbstractContextManager[Any]:
        """A new file of a table, durable once its context has ended."""
        if self.folder:
            (self.folder / table / path).parent.mkdir(parents=True, exist_ok=True)
        return self._output(table, path)

    def make_durable(self, table: str, before: int, version: int) -> None:
        """Brings the log's entries after `before`, up to `version`, onto the disk, with checkpoints among them."""
        if not self.folder:
            return
        log = self.folder / table / "_delta_log"
        for commit in range(before + 1, version + 1):
            _sync(log / f"{commit:020}.json")
            _sync(log / f"{commit:020}.checkpoint.parquet")
        _sync(log / "_last_checkpoint")
        for folder in (log, log.parent, self.folder):
            _sync(folder)

    @contextmanager
    def _output(self, table: str, path: str) -> Iterator[Any]:
        if not self.folder:
            with self._files.open_output_stream(f"{self._prefix}/{table}/{path}") as file:
                yield file
            return
        target = self.folder / table / path
        target.parent.mkdir(exist_ok=True)
        try:
            with target.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _sync(target.parent)
            _sync(target.parent.parent)
        except BaseException:
            target.unlink(missing_ok=True)  # half a file on a full disk takes room that is needed
            raise

    def _input(self, table: str, path: str) -> Any:
        if self.folder:
            return pa.OSFile(str(self.folder / table / path))
        return self._files.open_input_file(f"{self._prefix}/{table}/{path}")


def _write(file: Any, rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> tuple[int, int, int]:
    """Writes rows in groups of GROUP_ROWS; returns their first position, their last one, and how many they were."""
    first = last = count = 0
    with pq.ParquetWriter(file, schema, compression="zstd", compression_level=1, use_dictionary=_repetitive(schema)) as writer:
        for group in _groups(rows):
            table = pa.Table.from_batches(group, schema=schema)
            writer.write_table(table, row_group_size=GROUP_ROWS)
            first = first or table.column("position")[0].as_py()
            last = table.column("position")[-1].as_py()
            count += table.num_rows
    return first, last, count


def _groups(rows: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    group: list[pa.RecordBatch] = []
    for batch in rows:
        group.append(batch)
        if sum(part.num_rows for part in group) >= GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _repetitive(schema: pa.Schema) -> list[str]:
    """Columns worth a dictionary: texts, but for what is different in each row."""
    texts = (field.name for field in schema if pa.types.is_string(field.type))
    return [name for name in texts if name not in ("entry", "grant", "decision", "body", "body_sha256", "request_id")]


def _sync(path: Path) -> None:
    """Brings a file or folder onto the disk. One that is gone was tidied away by another, once it was needed no more."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _local(root: str) -> Path | None:
    """The folder that a root is, None for an object store."""
    url = urlparse(root)
    if url.scheme == "file":
        return Path(unquote(url.path))
    return None if "://" in root else Path(root)


def _delta_options(options: Mapping[str, str]) -> dict[str, str]:
    """The options of an S3 store as delta-rs knows them."""
    told, known = {name.lower() for _, _, names in _S3_OPTIONS for name in names}, _s3_options(options)
    rest = {name: value for name, value in options.items() if name.lower() not in told and name not in known}
    ours = {names[0]: known[name] for name, _, names in _S3_OPTIONS if name in known}
    plain = {"aws_allow_http": "true"} if known.get("endpoint_url", "").startswith("http://") else {}
    return {**_PATIENCE, **plain, **rest, **ours}


def _s3_options(options: Mapping[str, str]) -> dict[str, str]:
    """What is told of the store, by our names."""
    told = {name.lower(): value for name, value in options.items()}
    found = ((ours, next((told[name] for name in (ours, *names) if name in told), "")) for ours, _, names in _S3_OPTIONS)
    return {name: value for name, value in found if value}


def _bucket(root: str, options: Mapping[str, str]) -> tuple[str, Any]:
    """The bucket and prefix of an S3 url, and pyarrow's way there."""
    url = urlparse(root)
    if url.scheme != "s3":
        raise errors.InvalidArgument(
            f"the record's tables cannot lie at {root!r}",
            reason="TABLES_URL_INVALID",
            help="Name a folder, or s3://BUCKET/PREFIX.",
        )
    known = {theirs: options[ours] for ours, theirs, _ in _S3_OPTIONS if ours in options}
    if endpoint := known.get("endpoint_override"):
        scheme, _, host = endpoint.rpartition("://")
        known |= {"endpoint_override": host, "scheme": scheme or "https"}
    # Names of buckets and prefixes stand in URLs as they are.
    return f"{url.netloc}{url.path}", pafs.S3FileSystem(**known, connect_timeout=5, request_timeout=30)
