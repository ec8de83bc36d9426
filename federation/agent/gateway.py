"""A site's one listener: versions are opened and read here, and written, by runs of the site, by people, and by other sites.

Only ciphertext and sealed keys pass through it. A run reaches the inputs and outputs of its plan and nothing else; the bearer
of a grant reaches what the grant names. What leaves is metered before it leaves.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc

from federation import metrics, ports
from federation.agent import (
    calls,
    check,
    door,
    journal,
    leasing,
    logs,
    metering,
    reads,
    remote,
    runs,
    sealing,
    uploads,
    versions,
    witness,
    writes,
)
from federation.agent.identity import Identity
from federation.core import columns, errors, grants, ids, job, leases, lineage
from federation.crypto import grants as signed_grants
from federation.crypto import hpke, secrets
from federation.v1 import gateway_pb2
from federation.wire import codec, tls
from federation.wire.rates import Rates

#: Calls at the same time; more wait. Streams that only wait for news may take this many of them.
THREADS = 96
FOLLOWERS = 32
_FOLLOW_SECONDS = 1.0
#: A log that is followed before its run has come here is waited for so long.
_ARRIVAL = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the gateway is made of."""

    site: str
    clock: ports.Clock
    identity: Identity
    book: journal.Journal
    entrance: door.Door
    rates: Rates
    opener: versions.Versions
    leaser: leasing.Leasing
    meter: metering.Meter
    remotes: remote.Remotes
    writer: writes.Writes
    runner: runs.Runs
    log: logs.Logs
    counted: metrics.Agent
    checker: check.Checker
    witness: witness.Witness


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """To whom keys are handed: for whom they are sealed, under which grant or for which run, and as it was asked."""

    audience: str
    grant: str
    run: str
    request: gateway_pb2.OpenVersionRequest | gateway_pb2.BeginWriteRequest
    second: bool = False

    @property
    def nonce(self) -> str:
        """Good for one lease; a second one of the same call has one of its own, made of it."""
        return secrets.digest(self.request.nonce) if self.second else self.request.nonce

    @property
    def key(self) -> bytes:
        return self.request.reader_key

    @property
    def sensitivities(self) -> tuple[str, ...]:
        """The classes of columns whose keys are handed out: `default`, and those that were asked for of what is read."""
        asked = self.request
        return columns.wanted(asked.column_classes if isinstance(asked, gateway_pb2.OpenVersionRequest) else ())

    @property
    def keys_only(self) -> bool:
        return isinstance(self.request, gateway_pb2.OpenVersionRequest) and self.request.keys_only

    def again(self) -> _Reader:
        """The same reader for the second lease of a call."""
        return dataclasses.replace(self, second=True)


class Gateway:
    """Each function does the method of its name; see protos/federation/v1/gateway.proto for the promises."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._followers = threading.BoundedSemaphore(FOLLOWERS)
        self._stopping = threading.Event()

    def serve(self, server: grpc.Server) -> None:
        """Answers at a listener from now on."""
        entrance = calls.Entrance(self._parts.entrance, self._parts.rates, self._parts.counted)
        server.add_generic_rpc_handlers((calls.generic_handler("Gateway", self, entrance),))
        server.start()

    def stop(self) -> None:
        """Ends the streams that wait for news."""
        self._stopping.set()

    # Runs

    def exchange_ticket(self, request: gateway_pb2.ExchangeTicketRequest, _caller: None, _context: Any) -> Any:
        parts, digest = self._parts, secrets.digest(request.ticket)
        run = parts.book.ticket_run(digest)
        row = parts.book.run(run) if run else None
        if row is None or not request.nonce:
            raise errors.Unauthenticated(
                "the ticket is not one of this site's, or came without a nonce",
                reason="TICKET_INVALID",
                help="A ticket is made for one attempt and exchanged by its launcher.",
            )
        if row.state.over:
            raise door.superseded(row)
        token = parts.identity.token(run, request.nonce)
        if not parts.book.use_ticket(digest, request.nonce, secrets.digest(token)):
            raise errors.Unauthenticated(
                f"the ticket of {run} was used already",
                reason="TICKET_USED",
                help="Each attempt gets a new one.",
                metadata={"run": run},
            )
        parts.runner.begun(run)
        return gateway_pb2.ExchangeTicketResponse(
            token=token,
            run=run,
            attempt=row.attempt,
            inputs=[_input_binding(row.start, given, parts.site) for given in row.start.inputs],
            outputs=[_output_binding(row.start, output) for output in row.start.outputs],
        )

    def report_reads(self, request: gateway_pb2.ReportReadsRequest, caller: door.RunCaller, _context: Any) -> Any:
        counts = [(_grant_of(caller, count.input), reads.traffic(count)) for count in request.counts]
        reads.keep(self._parts.book, request.reporter, request.sequence, counts)
        return gateway_pb2.ReportReadsResponse()

    def finish_attempt(self, request: gateway_pb2.FinishAttemptRequest, caller: door.RunCaller, _context: Any) -> Any:
        finished = self._parts.runner.finish(
            caller.run, exit_code=request.exit_code, reason=request.reason, detail=request.detail
        )
        return gateway_pb2.FinishAttemptResponse(versions=finished)

    def report_lineage(self, request: gateway_pb2.ReportLineageRequest, caller: door.RunCaller, _context: Any) -> Any:
        self._parts.entrance.require_current(caller.row)
        report: lineage.LineageReport = codec.to_value(request.report)
        lineage.check_report(
            report,
            inputs=frozenset(given.plan.alias for given in caller.row.start.inputs),
            outputs=frozenset(output.alias for output in caller.row.start.outputs),
        )
        self._parts.book.add_report(caller.run, report)
        return gateway_pb2.ReportLineageResponse()

    def append_logs(self, messages: Iterator[gateway_pb2.AppendLogsRequest], caller: door.RunCaller, _context: Any) -> Any:
        kept = 0
        for message in messages:
            kept = self._parts.log.append(caller.run, message.data)
        return gateway_pb2.AppendLogsResponse(kept_bytes=kept)

    # Reading

    def open_version(self, request: gateway_pb2.OpenVersionRequest, caller: door.Caller, _context: Any) -> Any:
        _check_reader_key(request.reader_key)
        if isinstance(caller, door.GrantCaller):
            return self._open_for_grant(caller, request)
        given = self._input(caller, request.input)
        reader = _Reader(
            audience=sealing.run_audience(caller.run), grant=_grant_of(caller, request.input), run=caller.run, request=request
        )
        if given.plan.source_site == self._parts.site:
            self._account(given)
            return self._opened(self._parts.opener.open(_version_name(given)), reader)
        handed = self._parts.remotes.open(given, reader.sensitivities)
        lease = self._lease(reader, handed.version, tuple(sorted({key.generation for key in handed.keys})))
        answer = gateway_pb2.OpenVersionResponse(
            version=handed.version,
            dataset_uid=handed.dataset_uid,
            manifest=b"" if request.keys_only else handed.data,
            manifest_digest=handed.manifest_digest,
            manifest_signature=handed.manifest_signature,
            manifest_signing_key=handed.manifest_signing_key,
        )
        return self._sealed(answer, lease, reader, self._parts.remotes.deks(given, handed))

    def read_object(self, request: gateway_pb2.ReadObjectRequest, caller: door.Caller, _context: Any) -> Iterator[Any]:
        if isinstance(caller, door.GrantCaller):
            _require(caller.grant, grants.Access.READ)
            account = self._parts.meter.open(caller.grant, caller.token)
            pieces = self._metered(account, caller.grant.version, request)
        else:
            given = self._input(caller, request.input)
            if given.plan.source_site == self._parts.site:
                pieces = self._metered(self._account(given), _version_name(given), request)
            else:
                pieces = self._parts.remotes.read(
                    given,
                    object_id=request.object_id,
                    generation=request.generation,
                    offset=request.offset,
                    length=request.length,
                    ask_seconds=request.ask_seconds,
                )
        for piece in pieces:
            yield gateway_pb2.ReadObjectResponse(data=piece)

    def close_grant(self, _request: gateway_pb2.CloseGrantRequest, caller: door.Caller, _context: Any) -> Any:
        bearer = _bearer(caller, grants.Access.READ)
        usage = self._parts.meter.close(bearer.grant, bearer.token)
        return gateway_pb2.CloseGrantResponse(sent_bytes=usage.sent_bytes, unsettled_bytes=usage.unsettled_bytes)

    # Writing

    def begin_write(self, request: gateway_pb2.BeginWriteRequest, caller: door.Caller, _context: Any) -> Any:
        _check_reader_key(request.reader_key)
        asked: tuple[columns.ColumnClass, ...] = tuple(codec.to_value(each) for each in request.column_classes)
        owner, audience = self._owner(caller, request.output, columns.checked(asked) if asked else ())
        reader = _Reader(audience=audience, grant=owner.grant, run=owner.run, request=request)
        # A run reads the inputs of its plan alone; the version that it adds to is none of them unless it is named as one.
        wanted = request.with_base and isinstance(caller, door.GrantCaller) and not asked
        base = self._parts.opener.newest(owner.dataset_uid) if wanted else None
        if base is not None and base.manifest.column_classes:
            base = None  # what was sealed by columns is no file that another version could take over
        row, deks = self._parts.writer.begin(owner, base=base.name if base else "")
        sensitivities = columns.names(row.column_classes)
        try:
            lease = self._lease(reader, row.dataset, (row.generation,), use=leases.Use.WRITE, sensitivities=sensitivities)
            opened = self._opened(base, reader.again()) if base else None
        except errors.FederationError:
            if row.grant:  # a run's write may be that of others too
                self._parts.writer.drop(row.write)
            raise
        handed = [sealing.Dek(row.generation, name, deks[name]) for name in sensitivities]
        key, *class_keys = _keys(self._parts.leaser.seal(lease, handed, audience=audience, reader_key=request.reader_key))
        return gateway_pb2.BeginWriteResponse(
            write=row.write,
            generation=row.generation,
            dataset=row.dataset,
            dataset_uid=row.dataset_uid,
            key=key,
            class_keys=class_keys,
            base=opened,
            lease=lease.lease,
        )

    def put_objects(self, messages: Iterator[gateway_pb2.PutObjectsRequest], caller: door.Caller, _context: Any) -> Any:
        count, size = self._parts.writer.put_stream(_parts(messages), **self._whose(caller))
        return gateway_pb2.PutObjectsResponse(objects=count, object_bytes=size)

    def complete_write(self, request: gateway_pb2.CompleteWriteRequest, caller: door.Caller, _context: Any) -> Any:
        writer = self._parts.writer
        row = writer.of(request.write, **self._whose(caller))
        row = writer.complete(row, reused_paths=request.reused_paths, columns=request.columns.items())
        if row.grant:
            row = writer.commit(row)
        assert row.version is not None
        return gateway_pb2.CompleteWriteResponse(
            version=row.committed, files=row.version.files, total_bytes=row.version.total_bytes
        )

    def abort_write(self, request: gateway_pb2.AbortWriteRequest, caller: door.Caller, _context: Any) -> Any:
        row = self._parts.book.write(request.write)
        if row is not None:  # dropping what is gone already is dropping it
            self._parts.writer.drop(self._parts.writer.of(request.write, **self._whose(caller, current=False)).write)
        return gateway_pb2.AbortWriteResponse()

    # Looking on

    def read_logs(self, request: gateway_pb2.ReadLogsRequest, caller: door.Caller, context: Any) -> Iterator[Any]:
        run = _bearer(caller, grants.Access.LOGS).grant.run
        if not request.follow:
            for data in self._parts.log.stream(run):
                yield gateway_pb2.ReadLogsResponse(data=data)
            return
        if not self._followers.acquire(blocking=False):
            raise errors.ResourceExhausted(
                f"{FOLLOWERS} logs are being followed here already",
                reason="FOLLOWERS_EXHAUSTED",
                help="Read without following.",
                retry_seconds=10,
            )
        try:
            for data in self._follow(run, context):
                yield gateway_pb2.ReadLogsResponse(data=data)
        finally:
            self._followers.release()

    def check_store(self, request: gateway_pb2.CheckStoreRequest, caller: door.Caller, _context: Any) -> Iterator[Any]:
        _bearer(caller, grants.Access.CHECK)
        checker = self._parts.checker
        found = checker.remove_orphans() if request.remove_orphans else checker.check(read_objects=request.read_objects)
        for finding in found:
            yield gateway_pb2.CheckStoreResponse(
                finding=finding.finding,
                object=finding.object,
                version=finding.version,
                detail=finding.detail,
                bytes=finding.bytes,
            )

    def read_witness(self, _request: gateway_pb2.ReadWitnessRequest, caller: door.Caller, _context: Any) -> Iterator[Any]:
        _bearer(caller, grants.Access.CHECK)
        for piece in self._parts.witness.read():
            yield gateway_pb2.ReadWitnessResponse(data=piece)

    def _follow(self, run: str, context: Any) -> Iterator[bytes]:
        position, begin = 0, self._parts.clock.now()
        while context.is_active() and not self._stopping.is_set():
            row = self._parts.book.run(run)
            ended = row.closed if row else self._parts.clock.now() - begin > _ARRIVAL
            data, position = self._parts.log.read(run, position)
            if data:
                yield data
            elif ended:
                return
            else:
                self._parts.log.wait(_FOLLOW_SECONDS)

    def _open_for_grant(self, caller: door.GrantCaller, request: gateway_pb2.OpenVersionRequest) -> Any:
        grant = caller.grant
        _require(grant, grants.Access.READ)
        # A key is named by its fingerprint: whole, it is too long for a header.
        if (grant.for_site or grant.reader_sealing_key) and grant.reader_sealing_key != hpke.fingerprint(request.reader_key):
            raise errors.PermissionDenied(
                f"grant {grant.grant} hands keys to site {grant.reader_site} alone, and this is not its sealing key",
                reason="READER_KEY_FOREIGN",
                metadata={"grant": grant.grant, "reader_site": grant.reader_site},
            )
        account = self._parts.meter.open(grant, caller.token)
        if account.closed:
            raise metering.closed(grant.grant)
        reader = _Reader(audience=sealing.grant_audience(grant.grant), grant=grant.grant, run="", request=request)
        answer = self._opened(self._parts.opener.open(grant.version), reader)
        keys = sealing.from_wire(answer.keys)
        answer.keys_signature = sealing.sign(
            self._parts.identity, grant=grant.grant, version=answer.version, manifest_digest=answer.manifest_digest, keys=keys
        )
        return answer

    def _opened(self, opened: versions.Opened, reader: _Reader) -> Any:
        lease = self._lease(reader, opened.name, opened.manifest.generations)
        answer = gateway_pb2.OpenVersionResponse(
            version=opened.name,
            dataset_uid=opened.sealed.dataset_uid,
            manifest=b"" if reader.keys_only else opened.data,
            manifest_digest=opened.sealed.version.manifest_digest,
            manifest_signature=opened.sealed.version.signature,
            manifest_signing_key=opened.sealed.signing_key,
        )
        return self._sealed(answer, lease, reader, self._parts.opener.deks(opened, lease.sensitivities))

    def _lease(
        self,
        reader: _Reader,
        name: str,
        generations: tuple[str, ...],
        *,
        use: leases.Use = leases.Use.READ,
        sensitivities: tuple[str, ...] = (),
    ) -> leases.Lease:
        """Asks the catalog for the lease under which the keys of a version, or of one being written, may be handed out."""
        found, number = ids.dataset_or_version(name)
        return self._parts.leaser.lease(
            reader.nonce,
            reader.key,
            use=use,
            grant=reader.grant,
            run=reader.run,
            dataset=found.short,
            version=number or 0,
            generations=generations,
            sensitivities=sensitivities or reader.sensitivities,
        )

    def _sealed(
        self, answer: gateway_pb2.OpenVersionResponse, lease: leases.Lease, reader: _Reader, deks: Iterable[sealing.Dek]
    ) -> gateway_pb2.OpenVersionResponse:
        answer.keys.extend(_keys(self._parts.leaser.seal(lease, deks, audience=reader.audience, reader_key=reader.key)))
        answer.lease = lease.lease
        answer.lease_seconds = int((lease.expire_time - lease.issue_time).total_seconds())
        return answer

    def _metered(self, account: metering.Account, version: str, request: gateway_pb2.ReadObjectRequest) -> Iterator[bytes]:
        opened = self._parts.opener.open(version)
        entry = opened.entry(request.generation, request.object_id)
        found = self._parts.opener.read(opened, entry, request.offset, request.length, reader=account.grant)
        for piece in self._parts.meter.send(account, found.pieces, size=found.size, ask_seconds=request.ask_seconds):
            self._parts.counted.sent_bytes.inc(len(piece))
            yield piece

    def _account(self, given: job.InputAssignment) -> metering.Account:
        """The account of a run's own grant at this site: its local reads are metered like everybody's."""
        account = self._parts.meter.open(self._parts.entrance.check(given.grant), given.grant)
        if account.closed:
            raise metering.closed(account.grant)
        return account

    def _input(self, caller: door.RunCaller, name: str) -> job.InputAssignment:
        self._parts.entrance.require_current(caller.row)
        return find_input(caller.row.start, name)

    def _owner(
        self, caller: door.Caller, output: str, column_classes: tuple[columns.ColumnClass, ...]
    ) -> tuple[writes.Owner, str]:
        """Whose write it is, and for whom its keys are sealed. A person names its column classes, for a run its job has."""
        if isinstance(caller, door.GrantCaller):
            grant = caller.grant
            _require(grant, grants.Access.WRITE)
            owner = writes.Owner(
                grant=grant.grant,
                grant_token=caller.token,
                dataset=grant.dataset,
                dataset_uid=grant.dataset_uid,
                expire_time=grant.expire_time,
                column_classes=column_classes,
            )
            return owner, sealing.grant_audience(grant.grant)
        self._parts.entrance.require_current(caller.row)
        found = find_output(caller.row.start, output)
        declared = _declared(caller.row.start, found)
        if column_classes != declared:
            raise _other_classes(found, declared)
        owner = writes.Owner(
            run=caller.run,
            alias=found.alias,
            dataset=ids.dataset(found.dataset).short,
            dataset_uid=found.dataset_uid,
            expire_time=self._parts.clock.now() + writes.ABANDONED,
            column_classes=declared,
        )
        return owner, sealing.run_audience(caller.run)

    def _whose(self, caller: door.Caller, *, current: bool = True) -> dict[str, str]:
        if isinstance(caller, door.GrantCaller):
            _require(caller.grant, grants.Access.WRITE)
            return {"grant": caller.grant.grant}
        if current:
            self._parts.entrance.require_current(caller.row)
        return {"run": caller.run}


def listen(address: str, credentials: tls.Source) -> tuple[grpc.Server, int]:
    """A listener that has its port and answers nobody yet; `Gateway.serve` starts it.

    Unavailable (ADDRESS_IN_USE) when the address is taken.
    """
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="gateway"), options=tls.SERVER_OPTIONS
    )
    try:
        return server, server.add_secure_port(address, tls.server_credentials(credentials, require_client=False))
    except RuntimeError as error:
        raise errors.Unavailable(
            f"the gateway cannot listen at {address}: {error}",
            reason="ADDRESS_IN_USE",
            help="Give it another address, or end who has it.",
        ) from error


def find_input(start: job.StartRun, name: str) -> job.InputAssignment:
    """The input of a run's plan by alias, dataset or version; PermissionDenied (INPUT_NOT_IN_PLAN) for any other."""
    for given in start.inputs:
        version = ids.VersionName(ids.dataset(given.plan.dataset), given.plan.version)
        if name in (given.plan.alias, version.dataset.short, version.dataset.resource, version.short, version.resource):
            return given
    known = ", ".join(f"{given.plan.alias}={_version_name(given)}" for given in start.inputs) or "none"
    raise errors.PermissionDenied(
        f"{name!r} is not an input of {start.run.run}; its inputs are: {known}",
        reason="INPUT_NOT_IN_PLAN",
        help="Name it with --input when the job is submitted.",
        metadata={"run": start.run.run, "input": name},
    )


def _grant_of(caller: door.RunCaller, name: str) -> str:
    """The id of the grant under which a run reads an input."""
    return signed_grants.peek(find_input(caller.row.start, name).grant).grant


def find_output(start: job.StartRun, name: str) -> job.OutputAssignment:
    """The output of a run by alias or dataset; PermissionDenied (OUTPUT_NOT_IN_PLAN) for any other."""
    for output in start.outputs:
        dataset = ids.dataset(output.dataset)
        if name in (output.alias, dataset.short, dataset.resource):
            return output
    known = ", ".join(f"{output.alias}={ids.dataset(output.dataset).short}" for output in start.outputs) or "none"
    raise errors.PermissionDenied(
        f"{name!r} is not an output of {start.run.run}; its outputs are: {known}",
        reason="OUTPUT_NOT_IN_PLAN",
        help="Name it with --output when the job is submitted.",
        metadata={"run": start.run.run, "output": name},
    )


def _version_name(given: job.InputAssignment) -> str:
    return ids.VersionName(ids.dataset(given.plan.dataset), given.plan.version).short


def _input_binding(start: job.StartRun, given: job.InputAssignment, site: str) -> gateway_pb2.Binding:
    wanted = (spec.column_classes for spec in start.job.request.inputs if spec.alias == given.plan.alias)
    return gateway_pb2.Binding(
        alias=given.plan.alias,
        dataset=ids.dataset(given.plan.dataset).short,
        version=given.plan.version,
        remote=given.plan.source_site != site,
        column_classes=next(wanted, ()),
    )


def _output_binding(start: job.StartRun, output: job.OutputAssignment) -> gateway_pb2.Binding:
    return gateway_pb2.Binding(
        alias=output.alias,
        dataset=ids.dataset(output.dataset).short,
        column_classes=columns.texts(_declared(start, output)),
    )


def _declared(start: job.StartRun, output: job.OutputAssignment) -> tuple[columns.ColumnClass, ...]:
    """The column classes that the job says an output is sealed by."""
    return next((spec.column_classes for spec in start.job.request.outputs if spec.alias == output.alias), ())


def _other_classes(output: job.OutputAssignment, declared: tuple[columns.ColumnClass, ...]) -> errors.FailedPrecondition:
    told = " ".join(columns.texts(declared)) or "none"
    return errors.FailedPrecondition(
        f"output {output.alias!r} would be written with other column classes than its job declares ({told})",
        reason="COLUMN_CLASS_INVALID",
        help="Write it by federation.outputs or fed://, with the release of the SDK that the site runs.",
        metadata={"output": output.alias},
    )


def _bearer(caller: door.Caller, access: grants.Access) -> door.GrantCaller:
    if not isinstance(caller, door.GrantCaller):
        raise errors.PermissionDenied(
            f"a run's token does not allow {access}", reason="GRANT_INVALID", help="Bear a grant of the catalog."
        )
    _require(caller.grant, access)
    return caller


def _require(grant: grants.Grant, access: grants.Access) -> None:
    if grant.access is not access:
        raise errors.PermissionDenied(
            f"grant {grant.grant} allows {grant.access}, not {access}", reason="GRANT_INVALID", metadata={"grant": grant.grant}
        )


def _check_reader_key(key: bytes) -> None:
    if len(key) != hpke.PUBLIC:
        raise errors.InvalidArgument(
            f"reader_key is {len(key)} bytes long, an MLKEM768-X25519 public key has {hpke.PUBLIC}",
            reason="SEALING_KEY_INVALID",
            violations={"reader_key": f"must be {hpke.PUBLIC} bytes"},
        )


def _keys(sealed: tuple[sealing.SealedDek, ...]) -> list[gateway_pb2.SealedKey]:
    return [gateway_pb2.SealedKey(generation=key.generation, sealed=key.sealed, sensitivity=key.sensitivity) for key in sealed]


def _parts(messages: Iterator[gateway_pb2.PutObjectsRequest]) -> Iterator[uploads.Part]:
    for message in messages:
        match message.WhichOneof("part"):
            case "header":
                header = message.header
                yield uploads.Header(write=header.write, object_id=header.object_id, path=header.path)
            case "data":
                yield message.data
            case "trailer":
                trailer = message.trailer
                yield uploads.Trailer(
                    file_bytes=trailer.file_bytes,
                    object_bytes=trailer.object_bytes,
                    object_sha256=trailer.object_sha256,
                    tag=trailer.tag,
                    rows=trailer.rows,
                )
            case _:
                raise uploads.stream_invalid("a message had nothing in it")
