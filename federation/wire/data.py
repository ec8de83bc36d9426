"""The way of data between a gateway and whoever reads or writes: manifests checked, files decrypted and encrypted on this side.

A gateway passes on ciphertext and sealed keys alone. Each reader and writer has a key pair of its own, made here, to which the
gateway seals the DEKs; what a manifest names is used only after its digest and signature were found good.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from federation.core import columns as columns_core
from federation.core import dataset, errors, grants, ids, leases
from federation.core.keys import DEFAULT
from federation.crypto import container, hpke, manifest, modular, tags
from federation.crypto import grants as signed_grants
from federation.v1 import catalog_pb2, gateway_pb2
from federation.wire import codec, counting, objects
from federation.wire.gateway import GatewayClient
from federation.wire.pauses import Pauses
from federation.wire.readahead import FileReader, Source

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "FileReader",
    "FileWriter",
    "NewFile",
    "OpenedVersion",
    "VersionWriter",
    "by_columns",
    "describe",
    "grant_audience",
    "open_version",
    "run_audience",
]

#: Ciphertext in one message.
MESSAGE_BYTES = 1 << 20
#: Of each file that was opened lately about 100 kB stay in memory.
_SOURCES_KEPT = 64
#: Ciphertext of a file that is being written stays in memory up to here, then goes to an unnamed temporary file.
_SPOOL_BYTES = 32 << 20
#: How long pyarrow may remember a key of a file, at most; each file has keys of its own.
_KEYS_KEPT = timedelta(seconds=leases.LIFE_SECONDS)
#: DEKs by generation and class of columns.
_Deks = Mapping[tuple[str, str], bytes]
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"


def run_audience(run: str) -> str:
    """For whom a run's keys are sealed."""
    return f"run:{run}"


def grant_audience(grant: grants.Grant | bytes) -> str:
    """For whom the keys of a grant, or of its signed form, are sealed."""
    value = signed_grants.peek(grant) if isinstance(grant, bytes) else grant
    return f"grant:{value.grant}"


@dataclass(frozen=True, kw_only=True)
class OpenedVersion:
    """A version that can be read: its manifest, found good, and the keys of its generations."""

    gateway: GatewayClient
    input: str
    version: str
    manifest: dataset.Manifest
    deks: Mapping[str, bytes] = field(repr=False)
    counts: counting.InputCounts | None = field(default=None, repr=False, compare=False)
    _sources: _Sources = field(default_factory=lambda: _Sources(), repr=False, compare=False)  # noqa: PLW0108 - it is defined below

    @cached_property
    def entries(self) -> Mapping[str, dataset.FileEntry]:
        """Files by path."""
        return {entry.path: entry for entry in self.manifest.files}

    def entry(self, path: str) -> dataset.FileEntry:
        """One of the files; NotFound (FILE_NOT_FOUND)."""
        found = self.entries.get(path)
        if found is None:
            raise errors.NotFound(
                f"{self.version} has no file {path!r}",
                reason="FILE_NOT_FOUND",
                help=f"It has {len(self.entries)} files; paths are case-sensitive.",
                metadata={"version": self.version, "path": path},
            )
        return found

    def open(self, path: str) -> FileReader:
        """One of the files, for reading. Nothing is fetched before it is read.

        FailedPrecondition (PME_PROFILE) where its columns are sealed by classes: it is read by `columns`.
        """
        if self.manifest.column_classes:
            raise by_columns(self.version)
        return self.open_sealed(path)

    def columns(self, path: str) -> modular.ColumnFile:
        """One of the files whose columns are sealed by classes, with those classes open that were asked for."""
        file = self.open_sealed(path)
        keyholder = self.keyholder(self.entry(path).generation)
        return keyholder.open(cast("BinaryIO", file), self.manifest.column_classes)

    def keyholder(self, generation: str) -> modular.Keyholder:
        """The keys of the classes that are open, of one generation. A file that is opened by it keeps them."""
        self._renew()
        deks = self.deks.by_class(generation) if isinstance(self.deks, _Leased) else {DEFAULT: self.deks[generation]}
        return modular.Keyholder(self.manifest.dataset_uid, generation, deks, lifetime=_KEYS_KEPT)

    def open_sealed(self, path: str) -> FileReader:
        """One of the files as it came out of its container: its columns are sealed yet, where they are sealed by classes."""
        entry = self.entry(path)
        self._renew()
        source = self._sources.get(path, lambda: self._source(entry))
        return FileReader(source, name=f"{self.version}/{path}", watcher=self.counts, delay=source.delay)

    def _renew(self) -> None:
        if isinstance(self.deks, _Leased) and self.deks.over:
            self._sources.clear()
            self.deks.renew()

    def exactly(self, path: str) -> Source:
        """One of the files, by ranges: what is asked for is fetched, in whole chunks, and nothing ahead of it."""
        return self._source(self.entry(path))

    def _source(self, entry: dataset.FileEntry) -> _Source:
        fetch = objects.ObjectFetch(self.gateway, self.input, entry, self.counts)
        reader = container.RangedReader(
            self.deks[entry.generation],
            container.context(self.manifest.dataset_uid, entry.generation, entry.object_id),
            object_bytes=entry.object_bytes,
            commitment=entry.commitment,
            fetch=fetch,
        )
        return _Source(objects.SealedObject(reader, fetch), version=self.version, path=entry.path)


class _Source:
    """One file's plaintext. What is wrong with its object is told with the name that people know it by."""

    def __init__(self, object_: objects.SealedObject, *, version: str, path: str) -> None:
        self._object = object_
        self.delay = object_.delay
        self._version = version
        self._path = path

    @property
    def size(self) -> int:
        return self._object.size

    def read_into(self, offset: int, target: memoryview) -> int:
        """As the object itself; DataCorrupt (OBJECT_MISSING) where the store does not have the object any more."""
        try:
            return self._object.read_into(offset, target)
        except (errors.DataCorrupt, errors.NotFound) as error:
            if not isinstance(error, errors.DataCorrupt) and error.reason != "OBJECT_MISSING":
                raise
            raise errors.DataCorrupt(
                f"{self._version}/{self._path} cannot be read: {error.message}",
                reason=error.reason,
                help=error.help,
                metadata={"version": self._version, "path": self._path, **error.metadata},
            ) from error


class _Sources:
    """Readers of the files that were opened lately: opening one again fetches neither its header nor its end again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Source] = OrderedDict()

    def clear(self) -> None:
        """Keeps none; those of open files live as long as these."""
        with self._lock:
            self._kept.clear()

    def get(self, path: str, make: Callable[[], _Source]) -> _Source:
        with self._lock:
            if path not in self._kept:
                self._kept[path] = make()
            self._kept.move_to_end(path)
            if len(self._kept) > _SOURCES_KEPT:
                self._kept.popitem(last=False)
            return self._kept[path]


def open_version(
    gateway: GatewayClient,
    *,
    audience: str,
    input: str = "",  # noqa: A002 - the contract's word
    manifest_digest: str = "",
    counts: counting.InputCounts | None = None,
    column_classes: Iterable[str] = (),
) -> OpenedVersion:
    """Opens a run's input, or the version of the grant that the gateway client bears. What is read of it is told to `counts`.

    DataCorrupt (MANIFEST_INVALID) for a manifest that is not what its site signed, or not the one of `manifest_digest` if that
    is given; (KEY_MISSING) when a generation came without its key. Its `column_classes` are open beside `default`.
    """
    private, public = hpke.new_pair()
    asked, classes = time.monotonic(), tuple(column_classes)
    answer = gateway.open_version(public, input, column_classes=classes)
    if manifest_digest not in ("", answer.manifest_digest):
        raise _manifest_invalid(answer, "it is not the one that was asked for")
    opened = _opened(gateway, input, answer, private, audience)
    deks = _unsealed_all(private, answer, audience)
    until = asked + answer.lease_seconds
    leased = _Leased(gateway, input, audience, answer.manifest_digest, deks, column_classes=classes, until=until)
    return dataclasses.replace(opened, counts=counts, deks=leased)


class _Leased(Mapping[str, bytes]):
    """The DEKs of a version by generation, for as long as their lease lasts. Files that are open keep theirs."""

    def __init__(
        self,
        gateway: GatewayClient,
        input_: str,
        audience: str,
        manifest_digest: str,
        deks: _Deks,
        *,
        column_classes: tuple[str, ...],
        until: float,
    ) -> None:
        self._gateway = gateway
        self._input = input_
        self._audience = audience
        self._digest = manifest_digest
        self._deks = deks
        self._classes = column_classes
        self._until = until
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<{len(self._deks)} keys>"

    def __getitem__(self, generation: str) -> bytes:
        return self._held()[generation, DEFAULT]

    def __iter__(self) -> Iterator[str]:
        return iter(_by_generation(self._deks))

    def __len__(self) -> int:
        return len(_by_generation(self._deks))

    def by_class(self, generation: str) -> dict[str, bytes]:
        """The DEKs of one generation by class of columns."""
        return {name: dek for (of, name), dek in self._held().items() if of == generation}

    def _held(self) -> _Deks:
        """The keys; of a lease that another thread found to be over meanwhile, those that it gets."""
        if held := self._deks:
            return held
        self.renew()
        return self._deks

    @property
    def over(self) -> bool:
        """Whether the lease has run out: nothing more may be opened under it."""
        return time.monotonic() >= self._until

    def renew(self) -> None:
        """Lets go of the keys and asks for a new lease, unless another thread has done so meanwhile."""
        with self._lock:
            if not self.over:
                return
            self._deks = {}
            asked = time.monotonic()
            private, public = hpke.new_pair()
            answer = self._gateway.open_version(public, self._input, keys_only=True, column_classes=self._classes)
            if answer.manifest_digest != self._digest:
                raise _manifest_invalid(answer, "it is not the one that was opened before")
            self._deks = _unsealed_all(private, answer, self._audience)
            self._until = asked + answer.lease_seconds


def _opened(
    gateway: GatewayClient, input_: str, answer: gateway_pb2.OpenVersionResponse, private: bytes, audience: str
) -> OpenedVersion:
    listed = _checked(answer)
    deks = _by_generation(_unsealed_all(private, answer, audience))
    missing = sorted(set(listed.generations) - set(deks))
    if missing:
        raise errors.DataCorrupt(
            f"{answer.version} came without the keys of {', '.join(missing)}",
            reason="KEY_MISSING",
            help="Run `fed fsck` at the site that stores it.",
            metadata={"version": answer.version},
        )
    return OpenedVersion(gateway=gateway, input=input_, version=answer.version, manifest=listed, deks=deks)


def _checked(answer: gateway_pb2.OpenVersionResponse) -> dataset.Manifest:
    """The manifest, once it is what was announced, signed, and of that dataset."""
    digest = manifest.digest(answer.manifest)
    if digest != answer.manifest_digest:
        raise _manifest_invalid(answer, "its digest is not the one that was announced")
    manifest.verify(answer.manifest_signing_key, answer.dataset_uid, digest, answer.manifest_signature)
    listed = manifest.decode(answer.manifest)
    if listed.dataset_uid != answer.dataset_uid:
        raise _manifest_invalid(answer, "it is another dataset's")
    return listed


def _manifest_invalid(answer: gateway_pb2.OpenVersionResponse, why: str) -> errors.DataCorrupt:
    return errors.DataCorrupt(
        f"the manifest of {answer.version} is not valid: {why}",
        reason="MANIFEST_INVALID",
        help="Run `fed fsck` at the site that stores it.",
        metadata={"version": answer.version},
    )


def _unsealed_all(private: bytes, answer: gateway_pb2.OpenVersionResponse, audience: str) -> _Deks:
    whom = leases.audience(audience, answer.lease)
    return {
        (key.generation, key.sensitivity or DEFAULT): _unsealed(private, key, answer.dataset_uid, whom) for key in answer.keys
    }


def _unsealed(private: bytes, key: gateway_pb2.SealedKey, dataset_uid: str, audience: str) -> bytes:
    info = hpke.dek_info(dataset_uid, key.generation, audience, key.sensitivity or DEFAULT)
    return hpke.open_(private, key.sealed, info)


def _by_generation(deks: _Deks) -> dict[str, bytes]:
    """Those of class `default`, which open containers."""
    return {generation: dek for (generation, name), dek in deks.items() if name == DEFAULT}


def by_columns(name: str) -> errors.FailedPrecondition:
    """The refusal of files as bytes where columns are sealed by classes."""
    return errors.FailedPrecondition(
        f"the columns of {name} are sealed by classes, so its files are not read as bytes",
        reason="PME_PROFILE",
        help='Read columns: federation.inputs["ALIAS"].table(columns=[...]), .pandas(columns=[...]) or .ray(columns=[...]).',
        metadata={"version": name},
    )


@dataclass(frozen=True, kw_only=True)
class NewFile:
    """A file to be written: its path in the version and where its bytes come from."""

    path: str
    data: BinaryIO
    rows: int = -1


class VersionWriter:
    """Writes a version of a run's output, or of the dataset that a grant names: each file encrypted as it is read, in one pass.

    Files are there when `put_file` or `put_files` returns, and become a version with `complete`; until then nobody sees them.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        *,
        audience: str,
        output: str = "",
        with_base: bool = False,
        column_classes: Iterable[columns_core.ColumnClass] = (),
    ) -> None:
        private, public = hpke.new_pair()
        self.column_classes = tuple(column_classes)
        asked = [codec.to_message(each, catalog_pb2.ColumnClass) for each in self.column_classes]
        answer = gateway.begin_write(public, output, with_base=with_base, column_classes=asked)
        self.write: str = answer.write
        self.generation: str = answer.generation
        self.dataset: str = answer.dataset
        self.dataset_uid: str = answer.dataset_uid
        #: The newest version at this site, where there is one and it was asked for.
        self.base = _opened(gateway, output, answer.base, private, audience) if answer.HasField("base") else None
        self._gateway = gateway
        whom = leases.audience(audience, answer.lease)
        self._dek = _unsealed(private, answer.key, answer.dataset_uid, whom)
        deks = {each.sensitivity: _unsealed(private, each, answer.dataset_uid, whom) for each in answer.class_keys}
        #: What seals columns, where they are sealed by classes.
        self.keyholder = (
            modular.Keyholder(answer.dataset_uid, answer.generation, deks | {DEFAULT: self._dek}, lifetime=_KEYS_KEPT)
            if self.column_classes
            else None
        )
        self._reused: list[str] = []

    def __repr__(self) -> str:
        return f"<VersionWriter {self.dataset} write={self.write}>"

    def unchanged(self, data: BinaryIO, entry: dataset.FileEntry) -> bool:
        """Whether those bytes, read to their end, are the file that the base version has as `entry`."""
        if self.base is None:
            return False
        tagger = tags.Tagger(self.base.deks[entry.generation])
        total = 0
        while piece := data.read(MESSAGE_BYTES):
            tagger.update(piece)
            total += len(piece)
        return total == entry.file_bytes and bool(entry.tag) and secrets.compare_digest(tagger.hexdigest(), entry.tag)

    def put_file(self, path: str, data: BinaryIO, rows: int = -1) -> dataset.FileEntry:
        """Writes one file. While the gateway is away it waits and begins the file again, if the data can seek.

        After such a beginning the entry's object may be that of another try; path, length, tag and rows hold. With column
        classes it is refused as `Keyholder.seal` refuses it.
        """
        sent: list[dataset.FileEntry] = []
        with self._by_classes(NewFile(path=path, data=data, rows=rows)) as file:
            start = file.data.tell() if file.data.seekable() else -1

            def messages() -> Iterator[gateway_pb2.PutObjectsRequest]:
                if start >= 0:
                    file.data.seek(start)
                return self._messages([file], sent)

            self._put(messages, again=start >= 0)
        return sent[-1]

    def create(self, path: str) -> FileWriter:
        """A file that is encrypted as it is written, and sent when it is closed: with column classes, written anew by them."""
        return FileWriter(self, ids.relative_path(path))

    def put_files(self, files: Iterable[NewFile]) -> tuple[dataset.FileEntry, ...]:
        """Writes files in one stream, all of them or none."""
        entries: list[dataset.FileEntry] = []

        def stored() -> Iterator[NewFile]:
            for each in files:
                with self._by_classes(each) as file:
                    yield file

        self._gateway.put_objects(self._messages(stored(), entries))
        return tuple(entries)

    def reuse(self, path: str) -> None:
        """Keeps a file of the base version as it is."""
        if self.base is None:
            raise errors.FailedPrecondition(
                f"{self.dataset} has no version at this site to reuse {path!r} of", reason="BASE_MISSING"
            )
        self._reused.append(self.base.entry(path).path)

    def complete(self, columns: Mapping[str, str] | None = None) -> gateway_pb2.CompleteWriteResponse:
        """Ends the write: a person's version is committed when this returns, a run's when the run succeeds."""
        return self._gateway.complete_write(
            gateway_pb2.CompleteWriteRequest(write=self.write, reused_paths=self._reused, columns=dict(columns or {}))
        )

    def abort(self) -> None:
        """Drops everything that was written."""
        self._gateway.abort_write(self.write)

    @contextlib.contextmanager
    def _by_classes(self, file: NewFile) -> Iterator[NewFile]:
        """The file as it is stored: as it is given or, with column classes, its columns sealed by them."""
        if self.keyholder is None:
            yield file
            return
        try:
            with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as sealed:
                rows = self.keyholder.seal(file.path, file.data, sealed, self.column_classes)
                sealed.seek(0)
                yield NewFile(path=file.path, data=cast("BinaryIO", sealed), rows=rows)
        except OSError as error:  # to close it may fail as well: what was yet in its buffer finds no room either
            if error.errno not in _FULL:
                raise
            raise _no_room(file.path, error) from error

    def _put(self, messages: Callable[[], Iterator[gateway_pb2.PutObjectsRequest]], *, again: bool) -> None:
        """Sends one file; again and again while the gateway is away."""
        pauses = Pauses()
        tries = 0
        while True:
            tries += 1
            try:
                self._gateway.put_objects(messages())
            except errors.Unavailable as error:
                if not again:
                    raise
                pauses.wait(error)
            except (errors.InvalidArgument, errors.AlreadyExists) as error:
                # The try before was stored, and its answer was lost.
                if tries == 1 or error.reason not in ("PATH_DUPLICATE", "OBJECT_EXISTS"):
                    raise
                return
            else:
                return

    def _messages(self, files: Iterable[NewFile], entries: list[dataset.FileEntry]) -> Iterator[gateway_pb2.PutObjectsRequest]:
        for file in files:
            sealing = _Sealing(self._dek, self.dataset_uid, self.generation, ids.relative_path(file.path))
            yield self._header(file.path, sealing.object_id)
            while piece := file.data.read(MESSAGE_BYTES):
                yield gateway_pb2.PutObjectsRequest(data=sealing.update(piece))
            yield gateway_pb2.PutObjectsRequest(data=sealing.finalize())
            entries.append(sealing.entry(file.rows))
            yield gateway_pb2.PutObjectsRequest(trailer=_trailer(entries[-1]))

    def _header(self, path: str, object_id: str) -> gateway_pb2.PutObjectsRequest:
        return gateway_pb2.PutObjectsRequest(
            header=gateway_pb2.PutObjectsRequest.Header(write=self.write, object_id=object_id, path=path)
        )

    def _begin(self, path: str) -> _Sealing:
        # What is yet to be sealed by columns waits under a key that nobody else ever has, the class `default` neither.
        dek = secrets.token_bytes(len(self._dek)) if self.column_classes else self._dek
        return _Sealing(dek, self.dataset_uid, self.generation, path)

    def _put_sealed(self, sealed: BinaryIO, entry: dataset.FileEntry) -> None:
        def messages() -> Iterator[gateway_pb2.PutObjectsRequest]:
            sealed.seek(0)
            yield self._header(entry.path, entry.object_id)
            while piece := sealed.read(MESSAGE_BYTES):
                yield gateway_pb2.PutObjectsRequest(data=piece)
            yield gateway_pb2.PutObjectsRequest(trailer=_trailer(entry))

        self._put(messages, again=True)


class FileWriter(io.BufferedIOBase):
    """One file of a version, for writing from front to back. It is part of the version once `close` has returned.

    Only ciphertext is kept until then. Left by way of an exception, or discarded, it writes nothing. ResourceExhausted
    (STORAGE_FULL) when there is no room for it, here or at the site.
    """

    def __init__(self, writer: VersionWriter, path: str) -> None:
        super().__init__()
        self.name = path
        self.mode = "wb"
        self.rows = -1
        #: Names and types, of a Parquet file.
        self.columns: tuple[tuple[str, str], ...] = ()
        self._writer = writer
        self._sealing = writer._begin(path)
        self._sealed = cast("BinaryIO", tempfile.SpooledTemporaryFile(_SPOOL_BYTES))  # noqa: SIM115 - closed by `discard`
        self._position = 0

    def __repr__(self) -> str:
        return f"<FileWriter {self._writer.dataset}/{self.name}>"

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Buffer, /) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        with memoryview(data) as view, view.cast("B") as flat:
            for start in range(0, len(flat), MESSAGE_BYTES):
                self._keep(self._sealing.update(flat[start : start + MESSAGE_BYTES]))
            self._position += len(flat)
            return len(flat)

    def discard(self) -> None:
        """Ends it without a trace."""
        self._sealed.close()
        super().close()

    def close(self) -> None:
        if self.closed:
            return
        try:
            self._keep(self._sealing.finalize())
            rows = self._counted()
            if self._writer.column_classes:
                with self._plain() as plain:
                    self._writer.put_file(self.name, cast("BinaryIO", plain))
            else:
                self._writer._put_sealed(self._sealed, self._sealing.entry(rows))
        finally:
            self.discard()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        # Whoever forgot to close it did not say that it is whole.
        if not self.closed:
            self.discard()

    def _keep(self, sealed: bytes) -> None:
        try:
            self._sealed.write(sealed)
        except OSError as error:
            self.discard()
            if error.errno not in _FULL:
                raise
            raise _no_room(self.name, error) from error

    def _counted(self) -> int:
        """Rows, from the footer of a Parquet file, unless somebody said; its columns are kept beside."""
        if not self.name.lower().endswith(".parquet") or (self.rows >= 0 and self.columns):
            return self.rows
        try:
            with self._plain() as plain:
                footer = pyarrow.parquet.read_metadata(plain)
            self.columns = columns(footer.schema.to_arrow_schema())
            return int(footer.num_rows)
        except (pa.ArrowException, OSError):
            return self.rows

    def _plain(self) -> FileReader:
        """What was written, for reading: only here is it ever in the clear."""
        return FileReader(self._sealing.reader(self._sealed))


def _no_room(name: str, error: OSError) -> errors.ResourceExhausted:
    return errors.ResourceExhausted(
        f"there is no room for {name!r} on this machine: {error.strerror}",
        reason="STORAGE_FULL",
        help="It is kept, encrypted, in the temporary folder until it is whole: make room there, or set TMPDIR.",
    )


def _object_id() -> str:
    number = secrets.randbits(130)
    return "o-" + "".join(_BASE32[(number >> (5 * place)) & 31] for place in range(26))


class _Sealing:
    """A file on its way into its container, with the tag of its plaintext."""

    def __init__(self, dek: bytes, dataset_uid: str, generation: str, path: str) -> None:
        self.object_id = _object_id()
        self._dek = dek
        self._generation = generation
        self._path = path
        self._context = container.context(dataset_uid, generation, self.object_id)
        self._sealer = container.Sealer(dek, self._context)
        self._tagger = tags.Tagger(dek)

    def update(self, data: bytes | memoryview) -> bytes:
        self._tagger.update(data)
        return self._sealer.update(data)

    def finalize(self) -> bytes:
        return self._sealer.finalize()

    def entry(self, rows: int) -> dataset.FileEntry:
        """What the manifest will say of it, once it is final."""
        return dataset.FileEntry(
            path=self._path,
            file_bytes=self._sealer.file_bytes,
            object_id=self.object_id,
            generation=self._generation,
            object_bytes=self._sealer.object_bytes,
            object_sha256=self._sealer.object_sha256,
            commitment=self._sealer.commitment,
            tag=self._tagger.hexdigest(),
            rows=rows,
        )

    def reader(self, sealed: BinaryIO) -> container.RangedReader:
        """Reads the plaintext back."""
        lock = threading.Lock()

        def fetch(offset: int, length: int) -> bytes:
            with lock:  # threads read ahead of whoever reads
                sealed.seek(offset)
                return sealed.read(length)

        entry = self.entry(-1)
        return container.RangedReader(
            self._dek, self._context, object_bytes=entry.object_bytes, commitment=entry.commitment, fetch=fetch
        )


def _trailer(entry: dataset.FileEntry) -> gateway_pb2.PutObjectsRequest.Trailer:
    return gateway_pb2.PutObjectsRequest.Trailer(
        file_bytes=entry.file_bytes,
        object_bytes=entry.object_bytes,
        object_sha256=entry.object_sha256,
        tag=entry.tag,
        rows=entry.rows,
    )


def describe(path: Path) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Rows (-1 where only reading it all would tell) and columns of a Parquet or CSV file; (-1, ()) of anything else.

    A file that only pretends to be one is described as anything else: it is stored all the same.
    """
    try:
        if path.suffix.lower() == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                return file.metadata.num_rows, columns(file.schema_arrow)
        if path.suffix.lower() == ".csv":
            with pyarrow.csv.open_csv(path) as reader:
                return -1, columns(reader.schema)
    except (pa.ArrowException, OSError):
        return -1, ()
    return -1, ()


def columns(schema: pa.Schema) -> tuple[tuple[str, str], ...]:
    """Names and types of a schema's columns."""
    return tuple((column.name, str(column.type)) for column in schema)
