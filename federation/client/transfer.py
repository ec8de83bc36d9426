"""Data between the caller's machine and a site's gateway: what is encrypted here leaves, what arrives is decrypted here."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from federation.client.files import LocalFile
from federation.client.values import Access, Finding
from federation.core import columns, dataset, errors, ids, statistics
from federation.wire.gateway import GatewayClient
from federation.wire.pauses import persistent

if TYPE_CHECKING:
    import pyarrow as pa

    from federation.wire import counting, data

#: Hears of progress: how many more bytes are done.
Progress = Callable[[int], None]
_PIECE_BYTES = 4 * 1024 * 1024
#: Files below this go together in streams of at most so many files and bytes: no call is made for one small file. They come so
#: many at a time, since each of them costs a round trip.
_SMALL_BYTES = 8 * 1024 * 1024
_SMALL_AT_ONCE = 16
_BATCH_FILES = 512
_BATCH_BYTES = 64 * 1024 * 1024


def put(
    ca: bytes,
    access: Access,
    found: Sequence[LocalFile],
    progress: Progress,
    column_classes: tuple[columns.ColumnClass, ...] = (),
) -> str:
    """Writes files as a new version under a grant; returns its short name. When it fails, nothing of it stays.

    With `column_classes` each file, which must be Parquet, is written anew with its columns sealed by them.
    """
    from federation.wire import data  # noqa: PLC0415 - the data path loads numpy and pyarrow; listing a catalog needs neither

    with _gateway(ca, access) as gateway:
        audience = data.grant_audience(access.grant)
        writer = data.VersionWriter(gateway, audience=audience, with_base=not column_classes, column_classes=column_classes)
        try:
            described = {file.path: data.describe(file.source) for file in found}
            changed = [file for file in found if not _reused(writer, file, progress)]
            for batch in batches(changed):
                _send(writer, batch, described, progress)
            return writer.complete(dict(_common(columns for _, columns in described.values()))).version
        except BaseException:
            with contextlib.suppress(errors.FederationError):  # the gateway drops a write that nobody goes on with
                writer.abort()
            raise


def get(
    ca: bytes,
    access: Access,
    folder: Path,
    *,
    overwrite: bool,
    progress: Progress,
    column_classes: tuple[str, ...] = (),
) -> list[Path]:
    """Reads the version of a grant into a folder: all of it, authenticated, or nothing.

    Where columns are sealed by classes it is those of `default` and of `column_classes`, as plain Parquet.
    """
    from federation.client import sealing  # noqa: PLC0415 - as above
    from federation.wire import data  # noqa: PLC0415 - as above

    with _gateway(ca, access) as gateway:
        audience = data.grant_audience(access.grant)
        opened = data.open_version(gateway, audience=audience, column_classes=column_classes)
        targets = {entry.path: folder / ids.relative_path(entry.path) for entry in opened.manifest.files}
        _refuse_existing(targets.values(), overwrite=overwrite)
        with _staged(folder) as stage:
            told = threading.Lock()

            def receive(path: str) -> None:
                if opened.manifest.column_classes:
                    with _new_file(stage / path) as file:
                        sealing.receive(opened, path, file)
                    with told:
                        progress(opened.entry(path).file_bytes)
                    return
                with opened.open(path) as source, _new_file(stage / path) as file:
                    while piece := source.read(_PIECE_BYTES):
                        file.write(piece)
                        with told:
                            progress(len(piece))

            _each(receive, (path for path in targets if opened.entry(path).file_bytes < _SMALL_BYTES))
            for path in targets:
                if opened.entry(path).file_bytes >= _SMALL_BYTES:  # they are read in parallel pieces
                    receive(path)
            for path, target in targets.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                (stage / path).replace(target)
        with contextlib.suppress(errors.Unavailable):  # what was read is here; the gateway settles the grant by itself
            gateway.close_grant()
    return list(targets.values())


def preview(ca: bytes, access: Access, *, rows: int, columns: Sequence[str], path: str, masked: bool) -> pa.Table:
    """The first rows of a file of the version of a grant; see `client.preview`."""
    from federation.client import preview as previews  # noqa: PLC0415 - as above

    tally, sensitive = previews.Tally(), access.sensitive_columns if masked else ()
    with _opened(ca, access, tally) as opened:
        return previews.preview(opened, tally, rows=rows, columns=columns, path=path, sensitive=sensitive)


def manifest(ca: bytes, access: Access) -> dataset.Manifest:
    """The manifest of the version of a grant, found good."""
    with _opened(ca, access) as opened:
        return opened.manifest


def describe(ca: bytes, access: Access, *, path: str, masked: bool) -> statistics.FileStatistics:
    """What the footer of a file of the version of a grant says; see `client.describe_file`."""
    from federation.client import preview as previews  # noqa: PLC0415 - as above

    tally, sensitive = previews.Tally(), access.sensitive_columns if masked else ()
    with _opened(ca, access, tally) as opened:
        return previews.statistics(opened, tally, path, sensitive)


@contextlib.contextmanager
def _opened(ca: bytes, access: Access, tally: counting.InputCounts | None = None) -> Iterator[data.OpenedVersion]:
    """The version of a grant, which is settled afterwards."""
    from federation.wire import data  # noqa: PLC0415 - as above

    with _gateway(ca, access) as gateway:
        opened = data.open_version(gateway, audience=data.grant_audience(access.grant), counts=tally)
        try:
            yield opened
        finally:
            with contextlib.suppress(errors.Unavailable):  # the gateway settles the grant by itself
                gateway.close_grant()


def logs(ca: bytes, access: Access, *, follow: bool) -> Generator[bytes]:
    """What a run has printed, in the pieces that come."""
    with _gateway(ca, access) as gateway:
        yield from gateway.read_logs(follow=follow)


def check(ca: bytes, access: Access, *, read_objects: bool = False, remove_orphans: bool = False) -> Iterator[Finding]:
    """What a site's gateway finds wrong; or the orphans that it has removed."""
    with _gateway(ca, access) as gateway:
        for found in gateway.check_store(read_objects=read_objects, remove_orphans=remove_orphans):
            yield Finding(
                finding=found.finding,
                object=found.object,
                version=found.version,
                detail=found.detail,
                bytes=found.bytes,
            )


def read_witness(ca: bytes, access: Access) -> bytes:
    """The file of what a site has witnessed, as it is."""
    with _gateway(ca, access) as gateway:
        return b"".join(piece.data for piece in gateway.read_witness())


def batches(found: Iterable[LocalFile]) -> Iterator[list[LocalFile]]:
    """Files as they are sent: a big one by itself, so that it alone is sent again if it must be, small ones together."""
    batch: list[LocalFile] = []
    batch_bytes = 0
    for file in found:
        if file.file_bytes >= _SMALL_BYTES:
            yield [file]
            continue
        if len(batch) == _BATCH_FILES or batch_bytes + file.file_bytes > _BATCH_BYTES:
            yield batch
            batch, batch_bytes = [], 0
        batch.append(file)
        batch_bytes += file.file_bytes
    if batch:
        yield batch


def _reused(writer: data.VersionWriter, file: LocalFile, progress: Progress) -> bool:
    """Whether the version before has this very file: then it stays there, and nothing is sent."""
    entry = writer.base.entries.get(file.path) if writer.base else None
    if entry is None or entry.file_bytes != file.file_bytes:
        return False
    with _readable(file) as opened:
        same = writer.unchanged(opened, entry)
    if same:
        writer.reuse(file.path)
        progress(file.file_bytes)
    return same


def _send(
    writer: data.VersionWriter, batch: list[LocalFile], described: dict[str, tuple[int, Columns]], progress: Progress
) -> None:
    from federation.wire import data  # noqa: PLC0415 - as above

    if len(batch) == 1:
        with _readable(batch[0]) as opened:
            writer.put_file(batch[0].path, opened, described[batch[0].path][0])
    else:

        def files() -> Iterator[data.NewFile]:
            for file in batch:
                with _readable(file) as opened:
                    yield data.NewFile(path=file.path, data=opened, rows=described[file.path][0])

        persistent(lambda: writer.put_files(files()))
    progress(sum(file.file_bytes for file in batch))


Columns = tuple[tuple[str, str], ...]


def _common(found: Iterable[Columns]) -> Columns:
    """The columns that all files have that have any; () where they differ."""
    distinct = {columns for columns in found if columns}
    return distinct.pop() if len(distinct) == 1 else ()


@contextlib.contextmanager
def _readable(file: LocalFile) -> Iterator[BinaryIO]:
    try:
        with file.source.open("rb") as opened:
            yield opened
    except OSError as error:
        raise errors.FailedPrecondition(
            f"{file.source} cannot be read any more: {error.strerror}",
            reason="FILE_UNREADABLE",
            help="It changed while it was being put; put it again.",
            metadata={"path": str(file.source)},
        ) from None


def require_gateway(access: Access) -> str:
    """Where the gateway of a grant is; FailedPrecondition (SITE_NOT_READY) where its site has none yet."""
    if not access.gateway:
        raise errors.FailedPrecondition(
            f"site {access.site} has no gateway yet",
            reason="SITE_NOT_READY",
            help="Start its agent, or choose another site.",
            metadata={"site": access.site},
        )
    return access.gateway


@contextlib.contextmanager
def _gateway(ca: bytes, access: Access) -> Iterator[GatewayClient]:
    gateway = GatewayClient(require_gateway(access), ca, grant=access.grant)
    try:
        yield gateway
    finally:
        gateway.close()


def _each(work: Callable[[str], None], names: Iterable[str]) -> None:
    """Does the work for each name, many at a time. After an error no more of it is begun, and the first one is raised."""
    with ThreadPoolExecutor(_SMALL_AT_ONCE, thread_name_prefix="fed-get") as pool:
        waiting = [pool.submit(work, name) for name in names]
        try:
            for each in waiting:
                each.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _refuse_existing(targets: Iterable[Path], *, overwrite: bool) -> None:
    present = [] if overwrite else [target for target in targets if target.exists() or target.is_symlink()]
    if present:
        more = f" and {len(present) - 1} more" if len(present) > 1 else ""
        raise errors.AlreadyExists(
            f"{present[0]}{more} exists already",
            reason="FILE_EXISTS",
            help="Choose an empty folder, or ask to overwrite.",
            metadata={"path": str(present[0])},
        )


@contextlib.contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A hidden folder inside a folder, gone afterwards, and the folder too if it was made for this and is empty."""
    made = not folder.exists()
    stage = folder / f".fed-get-{secrets.token_hex(4)}"
    try:
        stage.mkdir(parents=True)
        yield stage
    except OSError as error:
        raise errors.ResourceExhausted(
            f"{folder} cannot be written: {error.strerror}",
            reason="FILE_UNWRITABLE",
            help="See the folder's permissions and the room on its disk.",
            metadata={"path": str(error.filename or folder)},
        ) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if made:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def _new_file(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")
