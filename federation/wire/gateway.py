"""A site's gateway as its callers see it: a person with a grant, a run with its token, another site's gateway.

Calls are the contract's, one method each; a failed one raises an error of our family. What can be repeated without harm is
repeated for as long as the other side is away, since a gateway's restart takes seconds. Nothing here decrypts.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Self, TypeVar

import grpc

from federation.core import errors, lineage
from federation.v1 import catalog_pb2, gateway_pb2, gateway_pb2_grpc, lineage_pb2
from federation.wire import codec, methods, tls
from federation.wire import errors as wire_errors
from federation.wire.pauses import Pauses, persistent

T = TypeVar("T")

#: For a call that moves no data.
CALL_SECONDS = 60
NONCE_BYTES = 16
#: For one that nobody waits for.
REPORT_SECONDS = 5
#: For one that waits for a commit at the catalog.
COMMIT_SECONDS = 180
#: How long a person waits who is told something, before the first word of it.
TOLD_SECONDS = 15
_READ_OBJECT = methods.TABLE["Gateway.ReadObject"]
#: Field 1, length-delimited.
_DATA_TAG = 0x0A
_VARINT_BYTES_MAX = 6


class GatewayClient:
    """Calls one gateway with a run's `token` or with a signed `grant`.

    The channel is made at the first call in each process, so a client may be pickled, or inherited by a fork, whatever it
    did before. Its pickle holds the token: it stays inside the cluster that the token was made for.
    """

    def __init__(self, target: str, ca: bytes, *, token: str = "", grant: bytes = b"") -> None:
        self.target = target
        self._ca = ca
        self._token = token
        self._grant = grant
        self._channel = tls.ProcessChannel(target, tls.Tls(ca), metadata=self._metadata, window_bytes=tls.DATA_WINDOW_BYTES)

    def __repr__(self) -> str:
        return f"<GatewayClient {self.target}>"

    def __reduce__(self) -> tuple[object, ...]:
        return (_restored, (self.target, self._ca, self._token, self._grant))

    def close(self) -> None:
        """Ends the channel of this process; the next call makes another."""
        self._channel.close()

    def exchange_ticket(self, ticket: str, nonce: str) -> gateway_pb2.ExchangeTicketResponse:
        """A run's token for its one-time ticket; the same ticket and nonce are answered alike."""
        request = gateway_pb2.ExchangeTicketRequest(ticket=ticket, nonce=nonce)
        return persistent(lambda: self._call(lambda stub: stub.ExchangeTicket(request, timeout=CALL_SECONDS)))

    def open_version(
        self,
        reader_key: bytes,
        input: str = "",  # noqa: A002 - the contract's word
        *,
        keys_only: bool = False,
        column_classes: Iterable[str] = (),
    ) -> gateway_pb2.OpenVersionResponse:
        """The version that an input or the grant stands for: its manifest, and its keys sealed to `reader_key` under a lease.

        With `keys_only` it comes without the manifest; of `column_classes` the keys come too. Each try is a use of
        its own: its nonce is good for one lease.
        """
        classes = tuple(column_classes)

        def ask() -> gateway_pb2.OpenVersionResponse:
            request = gateway_pb2.OpenVersionRequest(
                input=input,
                reader_key=reader_key,
                nonce=secrets.token_hex(NONCE_BYTES),
                keys_only=keys_only,
                column_classes=classes,
            )
            return self._call(lambda stub: stub.OpenVersion(request, timeout=CALL_SECONDS))

        return persistent(ask)

    def read_object(self, request: gateway_pb2.ReadObjectRequest) -> Generator[bytes | memoryview]:
        """The pieces of a range of ciphertext. Asked for at once, so that they come while the caller does something else."""
        return read_object(self._channel.get(), request)

    def begin_write(
        self,
        reader_key: bytes,
        output: str = "",
        *,
        with_base: bool = False,
        column_classes: Iterable[catalog_pb2.ColumnClass] = (),
    ) -> gateway_pb2.BeginWriteResponse:
        """A new version to write, or the same again for a run's output that is being written."""
        classes = tuple(column_classes)

        def begin() -> gateway_pb2.BeginWriteResponse:
            request = gateway_pb2.BeginWriteRequest(
                output=output,
                reader_key=reader_key,
                with_base=with_base,
                nonce=secrets.token_hex(NONCE_BYTES),
                column_classes=classes,
            )
            return self._call(lambda stub: stub.BeginWrite(request, timeout=CALL_SECONDS))

        # A run's output is one write however often it is begun; a person's would be another each time.
        return persistent(begin) if self._token else begin()

    def put_objects(self, requests: Iterable[gateway_pb2.PutObjectsRequest]) -> gateway_pb2.PutObjectsResponse:
        """Sends files; they are stored, all of them, when this returns. The stream is taken as fast as the gateway writes."""
        with wire_errors.translated(sent := wire_errors.Outgoing(requests)):
            answer: gateway_pb2.PutObjectsResponse = self._stub().PutObjects(sent)
            return answer

    def complete_write(self, request: gateway_pb2.CompleteWriteRequest) -> gateway_pb2.CompleteWriteResponse:
        """Ends a write: a person's is committed when this returns."""
        return self._call(lambda stub: stub.CompleteWrite(request, timeout=COMMIT_SECONDS))

    def abort_write(self, write: str) -> None:
        """Drops a write and what it stored."""
        request = gateway_pb2.AbortWriteRequest(write=write)
        self._call(lambda stub: stub.AbortWrite(request, timeout=CALL_SECONDS))

    def report_reads(self, reporter: str, sequence: int, counts: list[gateway_pb2.ReadCount]) -> None:
        """Tells what a process of a run has received so far. Not repeated: the next report has it all again."""
        request = gateway_pb2.ReportReadsRequest(reporter=reporter, sequence=sequence, counts=counts)
        self._call(lambda stub: stub.ReportReads(request, timeout=REPORT_SECONDS))

    def finish_attempt(self, exit_code: int, *, reason: str = "", detail: str = "") -> tuple[str, ...]:
        """Says how a run's entrypoint ended; with 0 its outputs are committed when this returns their versions."""
        request = gateway_pb2.FinishAttemptRequest(exit_code=exit_code, reason=reason, detail=detail)
        return tuple(self._call(lambda stub: stub.FinishAttempt(request, timeout=COMMIT_SECONDS)).versions)

    def report_lineage(self, report: lineage.LineageReport) -> None:
        """Tells which columns the run reads and writes; telling it twice is telling it once."""
        request = gateway_pb2.ReportLineageRequest(report=codec.to_message(report, lineage_pb2.LineageReport))
        persistent(lambda: self._call(lambda stub: stub.ReportLineage(request, timeout=CALL_SECONDS)))

    def append_logs(self, pieces: Iterable[bytes]) -> int:
        """Sends what a run prints; returns how many bytes were kept."""
        with _Sending(gateway_pb2.AppendLogsRequest(data=piece) for piece in pieces) as sending:
            return int(self._call(lambda stub: stub.AppendLogs(sending)).kept_bytes)

    def read_logs(self, *, follow: bool = False) -> Iterator[bytes]:
        """What a run has printed; with `follow` until it ends."""
        request = gateway_pb2.ReadLogsRequest(follow=follow)
        for response in self._told(lambda stub: stub.ReadLogs(request)):
            yield response.data

    def check_store(
        self, *, read_objects: bool = False, remove_orphans: bool = False
    ) -> Iterator[gateway_pb2.CheckStoreResponse]:
        """What is wrong between the site's store and the catalog; or the orphans that were removed."""
        request = gateway_pb2.CheckStoreRequest(read_objects=read_objects, remove_orphans=remove_orphans)
        yield from self._told(lambda stub: stub.CheckStore(request))

    def read_witness(self) -> Iterator[gateway_pb2.ReadWitnessResponse]:
        """What the site has co-signed as a witness of the record."""
        yield from self._told(lambda stub: stub.ReadWitness(gateway_pb2.ReadWitnessRequest()))

    def close_grant(self) -> gateway_pb2.CloseGrantResponse:
        """Settles the grant that this client bears."""
        return self._call(lambda stub: stub.CloseGrant(gateway_pb2.CloseGrantRequest(), timeout=CALL_SECONDS))

    def _told(self, begin: Callable[[gateway_pb2_grpc.GatewayStub], Iterable[T]]) -> Iterator[T]:
        """The messages of a stream, which is begun again while the gateway is away and nothing of it has come."""
        pauses, begun = Pauses(TOLD_SECONDS), False
        while True:
            try:
                with wire_errors.translated():
                    for message in begin(self._stub()):
                        begun = True
                        yield message
            except errors.Unavailable as error:
                if begun:
                    raise
                pauses.wait(error)
            else:
                return

    def _call(self, call: Callable[[gateway_pb2_grpc.GatewayStub], T]) -> T:
        with wire_errors.translated():
            return call(self._stub())

    def _stub(self) -> gateway_pb2_grpc.GatewayStub:
        return gateway_pb2_grpc.GatewayStub(self._channel.get())

    def _metadata(self) -> tls.Metadata:
        if self._grant:
            return [("fed-grant-bin", self._grant)]
        return [("authorization", f"Bearer {self._token}")] if self._token else []


class _Sending(Iterator[T]):
    """Messages of a call that gRPC takes in a thread of its own, which outlives a call that failed.

    Once the context has ended nothing more is taken: whoever made the messages may seek or close what they come from. An error
    of theirs, which gRPC would only log, is raised in place of the call's.
    """

    def __init__(self, messages: Iterable[T]) -> None:
        self._messages = iter(messages)
        self._lock = threading.Lock()
        self._ended = False
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ended = True
        if self._error is not None:
            raise self._error

    def __next__(self) -> T:
        with self._lock:
            if self._ended:
                raise StopIteration
            try:
                return next(self._messages)
            except StopIteration:
                raise
            except Exception as error:
                self._error = error
                raise


def _pieces(call: Any) -> Generator[bytes | memoryview]:
    with wire_errors.translated():
        try:
            yield from call
        finally:
            call.cancel()


def read_object(
    channel: grpc.Channel,
    request: gateway_pb2.ReadObjectRequest,
    *,
    metadata: tuple[tuple[str, str | bytes], ...] = (),
    timeout: float | None = None,
) -> Generator[bytes | memoryview]:
    """The pieces of a range of ciphertext, as `GatewayClient.read_object`, over any channel."""
    with wire_errors.translated():
        call = channel.unary_stream(
            _READ_OBJECT.path, request_serializer=_READ_OBJECT.request.SerializeToString, response_deserializer=_data
        )
        return _pieces(call(request, metadata=metadata, timeout=timeout))


def _data(message: bytes) -> bytes | memoryview:
    """The data of a ReadObjectResponse as a view of the message: parsed the usual way each byte would be copied twice more.

    A message of exactly one field, the data, is its tag, its length as a varint, and the bytes; any other is parsed.
    """
    length = shift = 0
    for at in range(1, min(len(message), _VARINT_BYTES_MAX)):
        length |= (message[at] & 0x7F) << shift
        shift += 7
        if message[at] < 0x80:
            if message[0] == _DATA_TAG and at + 1 + length == len(message):
                return memoryview(message)[at + 1 :]
            break
    return gateway_pb2.ReadObjectResponse.FromString(message).data


def _restored(target: str, ca: bytes, token: str, grant: bytes) -> GatewayClient:
    return GatewayClient(target, ca, token=token, grant=grant)
