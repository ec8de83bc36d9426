"""A gateway that the worker's side is tried against: real TLS, gRPC and encryption, and faults on demand.

It keeps all in memory and knows one run. What the agent's own gateway does beyond that is tried with the agent's own tests.
"""

from __future__ import annotations

import functools
import hashlib
import io
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import pyarrow as pa
from grpc_status import rpc_status

from connectors.storage.memory import MemoryStore
from federation import config
from federation.adapters.system import UlidIds
from federation.core import columns, dataset, errors, leases, lineage
from federation.crypto import container, hpke, layout, manifest, modular, secrets, signing
from federation.local import pki
from federation.v1 import gateway_pb2, gateway_pb2_grpc
from federation.wire import codec, data, tls
from federation.wire import errors as wire_errors
from federation.wire.gateway import GatewayClient

LEASE = "l-00000000000000000000000001"
RUN = "jobs/j-00000000000000000000000001/runs/1"


@dataclass
class Write:
    """A write in the making."""

    write: str
    generation: str
    dek: bytes
    dataset: str
    files: dict[str, dataset.FileEntry] = field(default_factory=dict)
    state: str = "OPEN"


@dataclass(frozen=True)
class Input:
    """A version that can be opened."""

    version: str
    manifest: bytes
    deks: Mapping[str, bytes]
    #: DEKs of column classes that the run may read, by generation and class.
    class_deks: Mapping[tuple[str, str], bytes] = field(default_factory=dict)


class GatewayStub(gateway_pb2_grpc.GatewayServicer):
    """Serves `inputs` and takes `outputs` by alias. `fault` is asked before each answer and may raise or sleep."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.columns_told: list[lineage.LineageReport] = []
        self.uid = "d-stub"
        self.ticket = secrets.new_token("ticket")
        self.token = secrets.new_token("run")
        self.nonce = ""
        self.inputs: dict[str, Input] = {}
        self.outputs: dict[str, Write | str] = {}
        self.versions: list[str] = []
        self.logs = b""
        self.finished: list[gateway_pb2.FinishAttemptRequest] = []
        self.lease_seconds = 300
        self.ranges: list[tuple[int, int]] = []
        #: Bytes of each answer that went whole, and all reports of what was received.
        self.sent: list[int] = []
        self.reports: list[gateway_pb2.ReportReadsRequest] = []
        self.fault: Callable[[str], None] = lambda _method: None
        self.refuse_commit = False
        self._ids = UlidIds()
        self._signing = signing.new_private()
        self._lock = threading.Lock()

    # -- what tests prepare and look at ------------------------------------------------------------------------------------

    def add_input(self, alias: str, version: str, files: Mapping[str, bytes]) -> Input:
        """Encrypts files into the store and makes them an input."""
        generation, dek = self._ids.new("g"), hashlib.sha256(alias.encode()).digest()
        entries = tuple(self._stored(generation, dek, path, content) for path, content in files.items())
        listed = manifest.encode(dataset.Manifest(dataset_uid=self.uid, files=entries))
        self.inputs[alias] = Input(version, listed, {generation: dek})
        return self.inputs[alias]

    def add_columns(self, alias: str, version: str, files: Mapping[str, pa.Table], classes: str, *, granted: bool) -> None:
        """An input whose columns are sealed by one class (`pii=email`), which the run may read or not."""
        generation, column_classes = self._ids.new("g"), columns.parse([classes])
        deks = {name: hashlib.sha256(f"{alias}/{name}".encode()).digest() for name in columns.names(column_classes)}
        keyholder = modular.Keyholder(self.uid, generation, deks, lifetime=timedelta(minutes=5))
        entries = []
        for path, table in files.items():
            sink = io.BytesIO()
            keyholder.write(table, sink, column_classes)
            entries.append(self._stored(generation, deks["default"], path, sink.getvalue()))
        listed = dataset.Manifest(dataset_uid=self.uid, files=tuple(entries), column_classes=column_classes)
        beside = {(generation, name): dek for name, dek in deks.items() if granted and name != "default"}
        self.inputs[alias] = Input(version, manifest.encode(listed), {generation: deks["default"]}, beside)

    def written(self, alias: str) -> dict[str, bytes]:
        """The plaintext of what was written to an output."""
        write = self.outputs[alias]
        assert isinstance(write, Write)
        return {path: self._plain(write, entry) for path, entry in write.files.items()}

    def _stored(self, generation: str, dek: bytes, path: str, content: bytes) -> dataset.FileEntry:
        object_id = self._ids.new("o")
        sealer = container.Sealer(dek, container.context(self.uid, generation, object_id))
        sealed = sealer.update(content) + sealer.finalize()
        self.store.put(layout.object_key(self.uid, generation, object_id), io.BytesIO(sealed))
        return dataset.FileEntry(
            path=path,
            file_bytes=len(content),
            object_id=object_id,
            generation=generation,
            object_bytes=len(sealed),
            object_sha256=sealer.object_sha256,
            commitment=sealer.commitment,
        )

    def _plain(self, write: Write, entry: dataset.FileEntry) -> bytes:
        key = layout.object_key(self.uid, entry.generation, entry.object_id)

        def fetch(offset: int, length: int) -> bytes:
            return b"".join(self.store.read(key, offset, length))

        where = container.context(self.uid, entry.generation, entry.object_id)
        reader = container.RangedReader(
            write.dek, where, object_bytes=entry.object_bytes, commitment=entry.commitment, fetch=fetch
        )
        return reader.read_at(0, reader.size)

    # -- the service -------------------------------------------------------------------------------------------------------

    def ExchangeTicket(self, request, context):  # noqa: N802
        with self._answering("ExchangeTicket", context, token=False):
            if request.ticket != self.ticket or self.nonce not in ("", request.nonce):
                raise errors.Unauthenticated("the ticket is not valid", reason="TICKET_INVALID")
            self.nonce = request.nonce
            return gateway_pb2.ExchangeTicketResponse(
                token=self.token,
                run=RUN,
                attempt=1,
                inputs=[
                    gateway_pb2.Binding(
                        alias=a,
                        dataset=i.version.split("@")[0],
                        version=1,
                        column_classes=sorted({name for _, name in i.class_deks}),
                    )
                    for a, i in self.inputs.items()
                ],
                outputs=[
                    gateway_pb2.Binding(alias=a, dataset=o if isinstance(o, str) else o.dataset)
                    for a, o in self.outputs.items()
                ],
            )

    def OpenVersion(self, request, context):  # noqa: N802
        with self._answering("OpenVersion", context):
            found = next((i for alias, i in self.inputs.items() if request.input in (alias, i.version.split("@")[0])), None)
            if found is None:
                raise errors.PermissionDenied(
                    f"{request.input} is not an input of this run", reason="INPUT_NOT_IN_PLAN", help="Declare it with --input."
                )
            digest = manifest.digest(found.manifest)
            return gateway_pb2.OpenVersionResponse(
                version=found.version,
                dataset_uid=self.uid,
                manifest=found.manifest,
                manifest_digest=digest,
                manifest_signature=manifest.sign(self._signing, self.uid, digest),
                manifest_signing_key=signing.public_hex(self._signing),
                keys=[
                    *(self._sealed(request.reader_key, generation, dek) for generation, dek in found.deks.items()),
                    *(
                        self._sealed(request.reader_key, generation, dek, name)
                        for (generation, name), dek in found.class_deks.items()
                        if name in request.column_classes
                    ),
                ],
                lease=LEASE,
                lease_seconds=self.lease_seconds,
            )

    def ReadObject(self, request, context):  # noqa: N802
        with self._answering("ReadObject", context):
            key = layout.object_key(self.uid, request.generation, request.object_id)
            self.ranges.append((request.offset, request.length))
            sent = 0
            for piece in self.store.read(key, request.offset, request.length):
                self.fault("ReadObject.piece")
                sent += len(piece)
                if sent == request.length:
                    self.sent.append(sent)
                yield gateway_pb2.ReadObjectResponse(data=piece)

    def BeginWrite(self, request, context):  # noqa: N802
        with self._answering("BeginWrite", context), self._lock:
            alias = next((a for a, o in self.outputs.items() if request.output in (a, getattr(o, "dataset", o))), "")
            known = self.outputs.get(alias)
            if known is None:
                raise errors.PermissionDenied(f"{request.output} is not an output of this run", reason="OUTPUT_NOT_IN_PLAN")
            if isinstance(known, str):
                generation = self._ids.new("g")
                known = Write(self._ids.new("w"), generation, hashlib.sha256(generation.encode()).digest(), known)
                self.outputs[alias] = known
            return gateway_pb2.BeginWriteResponse(
                write=known.write,
                generation=known.generation,
                dataset=known.dataset,
                dataset_uid=self.uid,
                key=self._sealed(request.reader_key, known.generation, known.dek),
                class_keys=[
                    self._sealed(request.reader_key, known.generation, hashlib.sha256(row.name.encode()).digest(), row.name)
                    for row in request.column_classes
                ],
                lease=LEASE,
            )

    def PutObjects(self, request_iterator, context):  # noqa: N802
        with self._answering("PutObjects", context):
            count = size = 0
            for header, sealed, trailer in _files(request_iterator):
                write = self._write(header.write)
                if write.state != "OPEN":
                    raise errors.FailedPrecondition("the write takes no more files", reason="WRITE_CLOSED")
                if header.path in write.files:
                    raise errors.InvalidArgument("the path is there", reason="PATH_DUPLICATE")
                assert hashlib.sha256(sealed).hexdigest() == trailer.object_sha256
                self.store.put(layout.object_key(self.uid, write.generation, header.object_id), io.BytesIO(sealed))
                write.files[header.path] = dataset.FileEntry(
                    path=header.path,
                    file_bytes=trailer.file_bytes,
                    object_id=header.object_id,
                    generation=write.generation,
                    object_bytes=trailer.object_bytes,
                    object_sha256=trailer.object_sha256,
                    commitment=sealed[container.SALT : container.HEADER].hex(),
                    tag=trailer.tag,
                    rows=trailer.rows,
                )
                count, size = count + 1, size + len(sealed)
            self.fault("PutObjects.stored")
            return gateway_pb2.PutObjectsResponse(objects=count, object_bytes=size)

    def CompleteWrite(self, request, context):  # noqa: N802
        with self._answering("CompleteWrite", context):
            write = self._write(request.write)
            write.state = "COMPLETE"
            total = sum(entry.file_bytes for entry in write.files.values())
            return gateway_pb2.CompleteWriteResponse(files=len(write.files), total_bytes=total)

    def AbortWrite(self, request, context):  # noqa: N802
        with self._answering("AbortWrite", context):
            self._write(request.write).state = "ABORTED"
            return gateway_pb2.AbortWriteResponse()

    def FinishAttempt(self, request, context):  # noqa: N802
        with self._answering("FinishAttempt", context):
            self.finished.append(request)
            if self.refuse_commit:
                raise errors.FailedPrecondition("attempt 1 is superseded", reason="RUN_SUPERSEDED")
            if request.exit_code == 0:
                self.versions = [f"{w.dataset}@1" for w in self.outputs.values() if isinstance(w, Write) and w.files]
            return gateway_pb2.FinishAttemptResponse(versions=self.versions)

    def ReportLineage(self, request, context):  # noqa: N802
        with self._answering("ReportLineage", context):
            self.columns_told.append(codec.to_value(request.report))
            return gateway_pb2.ReportLineageResponse()

    @property
    def told(self) -> lineage.LineageReport:
        """What all processes have told of columns."""
        return functools.reduce(lineage.LineageReport.merged, self.columns_told, lineage.LineageReport())

    def ReportReads(self, request, context):  # noqa: N802
        with self._answering("ReportReads", context):
            self.reports.append(request)
            return gateway_pb2.ReportReadsResponse()

    def AppendLogs(self, request_iterator, context):  # noqa: N802
        with self._answering("AppendLogs", context):
            for request in request_iterator:
                self.logs += request.data
            return gateway_pb2.AppendLogsResponse(kept_bytes=len(self.logs))

    def _write(self, name: str) -> Write:
        found = next((w for w in self.outputs.values() if isinstance(w, Write) and w.write == name), None)
        if found is None:
            raise errors.NotFound(f"no write {name}", reason="WRITE_MISSING")
        return found

    def _sealed(self, reader_key: bytes, generation: str, dek: bytes, sensitivity: str = "default") -> gateway_pb2.SealedKey:
        info = hpke.dek_info(self.uid, generation, leases.audience(data.run_audience(RUN), LEASE), sensitivity)
        return gateway_pb2.SealedKey(generation=generation, sealed=hpke.seal(reader_key, dek, info), sensitivity=sensitivity)

    @contextmanager
    def _answering(self, method: str, context: grpc.ServicerContext, *, token: bool = True) -> Iterator[None]:
        try:
            if token and dict(context.invocation_metadata()).get("authorization") != f"Bearer {self.token}":
                raise errors.Unauthenticated("the token is not a run's", reason="TOKEN_INVALID")
            self.fault(method)
            yield
        except errors.FederationError as error:
            context.abort_with_status(rpc_status.to_status(wire_errors.to_rich_status(error)))


def _files(requests):
    """Header, ciphertext and trailer of each file of a stream."""
    for request in requests:
        header, pieces = request.header, []
        for part in requests:
            if part.WhichOneof("part") == "trailer":
                yield header, b"".join(pieces), part.trailer
                break
            pieces.append(part.data)


@dataclass(frozen=True)
class Served:
    """A stub that listens, and what a client needs to call it."""

    stub: GatewayStub
    target: str
    ca: bytes
    client: GatewayClient


@contextmanager
def serving(folder: Path, stub: GatewayStub | None = None) -> Iterator[Served]:
    """Listens on loopback over TLS with a CA made in `folder`."""
    stub = stub or GatewayStub()
    layout_ = config.Layout(root=folder)
    pki.ensure(layout_, ("eu-1",))
    files = layout_.agent_tls("eu-1")
    ca = files.ca.read_bytes()
    server = grpc.server(ThreadPoolExecutor(16), options=tls.SERVER_OPTIONS)
    gateway_pb2_grpc.add_GatewayServicer_to_server(stub, server)
    own = tls.Files(files.ca, files.cert, files.key)
    port = server.add_secure_port("127.0.0.1:0", tls.server_credentials(own, require_client=False))
    server.start()
    client = GatewayClient(f"127.0.0.1:{port}", ca, token=stub.token)
    try:
        yield Served(stub, f"127.0.0.1:{port}", ca, client)
    finally:
        client.close()
        server.stop(None).wait()
