"""The service Agent: what a site's agent says. The site is its certificate's; nothing in a request says it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime

from google.protobuf.message import Message

from federation import failpoints
from federation.api import changes
from federation.api.calls import Call
from federation.api.mutations import Use
from federation.api.store import Store
from federation.core import admission, errors, ids
from federation.core.erasure import EraseGenerations
from federation.core.job import JobState, StartRun, StopRun
from federation.core.keys import Escrow, FillEscrow, OpenEscrow, RotateKeys
from federation.core.metering import Usage
from federation.core.site import Capacity, Presence, Site
from federation.core.transfer import DropReplica, StartTransfer, StopTransfer, TransferState
from federation.crypto import grants, signing
from federation.ports import Transaction
from federation.services import (
    datasets,
    erasures,
    jobs,
    joining,
    leases,
    ledger,
    live_transfers,
    personal,
    retention,
    sites,
    witness,
)
from federation.services import keys as custody
from federation.services.context import Context
from federation.v1 import agent_pb2, catalog_pb2, jobs_pb2, ledger_pb2, sites_pb2, transfers_pb2
from federation.wire import codec, tls

#: How often a work stream looks by itself: what is due because of the time alone reaches it within this.
LOOK_SECONDS = 5.0

#: Grants that one call may settle.
SETTLEMENTS_MAX = 1000

Instruction = StartRun | StopRun | StartTransfer | StopTransfer | DropReplica | EraseGenerations | custody.Instruction


class AgentServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, files: tls.Source, *, heartbeat_seconds: int) -> None:
        self._store = store
        self._files = files
        self._ctx = store.ctx
        self._heartbeat_seconds = heartbeat_seconds
        self._stopping = False

    def stop(self) -> None:
        """Ends the work streams, so that agents look for another server at once."""
        self._stopping = True
        self._store.changes.notify()

    async def register(self, request: agent_pb2.RegisterRequest, call: Call) -> Message:
        findings = tuple(codec.to_value(row) for row in request.findings)
        agent_time = codec.to_time(request.agent_time) if request.HasField("agent_time") else None
        told = Presence(
            gateway=request.gateway,
            signing_key=request.signing_key,
            sealing_key=request.sealing_key,
            has_compute=request.has_compute,
            capacity=_capacity(request),
            compute_error=request.compute_error,
            dashboard=request.dashboard,
        )

        def work(tx: Transaction) -> Site:
            return sites.register(tx, call.principal.site, told, (*findings, admission.clock(agent_time, tx.now)))

        registered = await self._store.write(work, actor=call.principal.name)
        sites.require_admitted(registered)  # after it was written: people see why a site stays out
        return agent_pb2.RegisterResponse(
            site=codec.to_message(registered, sites_pb2.Site),
            grant_key=signing.public_hex(self._ctx.grant_key),
            lease_seconds=self._ctx.lease_seconds,
            heartbeat_seconds=self._heartbeat_seconds,
        )

    async def renew_certificate(self, request: agent_pb2.RenewCertificateRequest, call: Call) -> Message:
        certificate = await self._store.write(
            lambda tx: joining.renew(tx, self._ctx, call.principal.site, request.csr), actor=call.principal.name
        )
        return agent_pb2.RenewCertificateResponse(certificate=certificate, ca=self._files.current().ca)

    async def heartbeat(self, request: agent_pb2.HeartbeatRequest, call: Call) -> Message:
        def work(tx: Transaction) -> Message:
            answer = sites.heartbeat(
                tx,
                self._ctx,
                call.principal.site,
                capacity=_capacity(request),
                compute_error=request.compute_error,
                runs=tuple(request.runs),
                open_grants=tuple(request.open_grants),
            )
            return agent_pb2.HeartbeatResponse(
                current_runs=answer.current_runs,
                superseded_runs=answer.superseded_runs,
                closed_grants=answer.closed_grants,
                server_time=codec.from_time(tx.now),
            )

        return await self._store.write(work, actor=call.principal.name)

    async def work(self, _request: agent_pb2.WorkRequest, call: Call) -> AsyncIterator[Message]:
        site, sent = call.principal.site, set[tuple[str, str]]()
        joined = await self._store.read(lambda tx: sites.get_site(tx, site).join_time)
        while not self._stopping:
            changed = self._store.changes.event()
            due = await self._store.read(lambda tx: _due(tx, self._ctx, site, joined))
            for instruction in due:
                if _key(instruction) not in sent:
                    yield _instruction(instruction)
            sent = {_key(instruction) for instruction in due}
            await changes.wait(changed, LOOK_SECONDS)

    async def witness_heads(self, request: agent_pb2.WitnessHeadsRequest, call: Call) -> Message:
        at, ours = call.principal.site, signing.public_hex(self._ctx.grant_key)
        cosignature = codec.to_value(request.cosignature) if request.HasField("cosignature") else None
        refusals = tuple(map(codec.to_value, request.refusals))

        def work(tx: Transaction) -> None:
            if cosignature is not None:
                witness.take(tx, at, cosignature, ours)
            witness.refuse(tx, at, refusals)

        if cosignature is not None or refusals:
            await self._store.write(work, actor=call.principal.name)
        newest = await self._store.read(witness.newest)
        return agent_pb2.WitnessHeadsResponse(heads=[codec.to_message(head, ledger_pb2.RecordHead) for head in newest])

    async def accept_run(self, request: agent_pb2.AcceptRunRequest, call: Call) -> Message:
        return await self._run(
            call, lambda tx: jobs.accept_run(tx, self._ctx, call.principal.site, request.run, request.submission_id)
        )

    async def report_run(self, request: agent_pb2.ReportRunRequest, call: Call) -> Message:
        told = jobs.RunReport(
            state=_state(request.state),
            reason=request.reason,
            detail=request.detail,
            exit_code=request.exit_code if request.HasField("exit_code") else None,
            retryable=request.retryable,
        )
        return await self._run(call, lambda tx: jobs.report_run(tx, self._ctx, call.principal.site, request.run, told))

    async def finish_run(self, request: agent_pb2.FinishRunRequest, call: Call) -> Message:
        outputs = tuple(codec.to_value(output) for output in request.outputs)
        report = codec.to_value(request.lineage)

        def work(tx: Transaction) -> Message:
            run, versions = jobs.finish_run(tx, self._ctx, call.principal.site, request.run, outputs, report=report)
            return agent_pb2.FinishRunResponse(
                run=codec.to_message(run, jobs_pb2.Run),
                versions=[codec.to_message(version, catalog_pb2.Version) for version in versions],
            )

        answer = await self._store.write(work, actor=call.principal.name)
        failpoints.hit("server.after_commit")
        return answer

    async def commit_version(self, request: agent_pb2.CommitVersionRequest, call: Call) -> Message:
        new = codec.to_value(request.version)

        def work(tx: Transaction) -> Message:
            grant = grants.verify(signing.public_hex(self._ctx.grant_key), request.grant, now=tx.now, site=call.principal.site)
            return codec.to_message(personal.commit(tx, self._ctx, grant, new, call.principal.site))

        return await self._store.write(work, actor=call.principal.name)

    async def settle_grants(self, request: agent_pb2.SettleGrantsRequest, call: Call) -> Message:
        at = call.principal.site
        if len(request.settlements) > SETTLEMENTS_MAX:
            raise errors.InvalidArgument(
                f"{len(request.settlements)} settlements come in one call",
                reason="BATCH_TOO_LARGE",
                help=f"Send at most {SETTLEMENTS_MAX}.",
                violations={"settlements": f"must be at most {SETTLEMENTS_MAX}"},
            )

        def work(tx: Transaction) -> Message:
            usages = [_usage(row, at, tx.now) for row in request.settlements]
            outcomes = ledger.settle_all(tx, self._ctx, at, usages)
            return agent_pb2.SettleGrantsResponse(outcomes=[_outcome(outcome) for outcome in outcomes])

        return await self._store.write(work, actor=call.principal.name)

    async def report_usage(self, request: agent_pb2.ReportUsageRequest, call: Call) -> Message:
        usages = {row.grant: tuple(map(codec.to_value, row.traffic)) for row in request.usages}
        await self._store.write(
            lambda tx: ledger.note_reads(tx, call.principal.site, request.run, usages), actor=call.principal.name
        )
        return agent_pb2.ReportUsageResponse()

    async def get_sealed_version(self, request: agent_pb2.GetSealedVersionRequest, call: Call) -> Message:
        name = ids.version(request.version)

        def look(tx: Transaction) -> Message:
            datasets.readable_version(tx, name)
            return codec.to_message(datasets.sealed_version(tx, name, call.principal.site))

        return await self._store.read(look)

    async def list_sealed_versions(self, _request: agent_pb2.ListSealedVersionsRequest, call: Call) -> AsyncIterator[Message]:
        for sealed in await self._store.read(lambda tx: tuple(datasets.sealed_versions(tx, call.principal.site))):
            yield codec.to_message(sealed)

    async def report_transfer(self, request: agent_pb2.ReportTransferRequest, call: Call) -> Message:
        told = live_transfers.Report(
            state=_transfer_state(request.state),
            bytes_done=request.bytes_done,
            objects_done=request.objects_done,
            reason=request.reason,
            detail=request.detail,
            retryable=request.retryable,
            attempt=request.attempt,
        )
        return await self._store.write(
            lambda tx: codec.to_message(live_transfers.report(tx, call.principal.site, request.transfer, told)),
            actor=call.principal.name,
        )

    async def finish_transfer(self, request: agent_pb2.FinishTransferRequest, call: Call) -> Message:
        keys = tuple(codec.to_value(key) for key in request.keys)

        def work(tx: Transaction) -> Message:
            site = call.principal.site
            return codec.to_message(live_transfers.finish(tx, self._ctx, site, request.transfer, keys, request.object_bytes))

        return await self._store.write(work, actor=call.principal.name)

    async def finish_drop(self, request: agent_pb2.FinishDropRequest, call: Call) -> Message:
        def work(tx: Transaction) -> Message:
            retention.finish_drop(tx, call.principal.site, request.version)
            return agent_pb2.FinishDropResponse()

        return await self._store.write(work, actor=call.principal.name)

    async def report_keyring(self, request: agent_pb2.ReportKeyringRequest, call: Call) -> Message:
        told = (request.kind, request.kek, tuple(request.keks), request.destroyed)
        return await self._keys(call, lambda tx: custody.report(tx, call.principal.site, *told, rotation=request.rotation))

    async def read_keys(self, request: agent_pb2.ReadKeysRequest, call: Call) -> Message:
        def look(tx: Transaction) -> Message:
            found, after = custody.rows(
                tx,
                call.principal.site,
                other_than_kek=request.other_than_kek,
                lacking_escrow=request.lacking_escrow,
                after=request.after,
            )
            return agent_pb2.ReadKeysResponse(keys=[codec.to_message(key, agent_pb2.WrappedKey) for key in found], after=after)

        return await self._store.read(look)

    async def replace_keys(self, request: agent_pb2.ReplaceKeysRequest, call: Call) -> Message:
        changed = [(row.previous, codec.to_value(row.key)) for row in request.replacements]

        def work(tx: Transaction) -> Message:
            return agent_pb2.ReplaceKeysResponse(replaced=custody.replace(tx, call.principal.site, changed))

        return await self._store.write(work, actor=call.principal.name)

    async def finish_rotation(self, request: agent_pb2.FinishRotationRequest, call: Call) -> Message:
        return await self._keys(call, lambda tx: custody.finish_rotation(tx, call.principal.site, request.number))

    async def store_escrow(self, request: agent_pb2.StoreEscrowRequest, call: Call) -> Message:
        filled = tuple(codec.to_value(row) for row in request.keys)

        def work(tx: Transaction) -> Escrow:
            return custody.store(
                tx,
                call.principal.site,
                request.escrow,
                public_key=request.public_key,
                sealed_shares=dict(request.sealed_shares),
                filled=filled,
                complete=request.complete,
                skipped=request.skipped,
            )

        return await self._keys(call, work)

    async def read_escrow(self, request: agent_pb2.ReadEscrowRequest, call: Call) -> Message:
        def look(tx: Transaction) -> Message:
            found, after = custody.escrowed(tx, call.principal.site, request.opening, request.after)
            return agent_pb2.ReadEscrowResponse(
                keys=[codec.to_message(row, agent_pb2.EscrowedKey) for row in found], after=after
            )

        return await self._store.read(look)

    async def finish_escrow(self, request: agent_pb2.FinishEscrowRequest, call: Call) -> Message:
        given = [codec.to_value(key) for key in request.keys]
        return await self._keys(
            call, lambda tx: custody.give_back(tx, call.principal.site, request.opening, given, done=request.done)
        )

    async def _keys(self, call: Call, work: Callable[[Transaction], object]) -> Message:
        return await self._store.write(lambda tx: codec.to_message(work(tx)), actor=call.principal.name)

    async def issue_lease(self, request: agent_pb2.IssueLeaseRequest, call: Call) -> Message:
        asked = codec.to_value(request)
        # A refusal is committed too: the log tells who asked for what they may not have.
        granted = await self._store.write(
            lambda tx: leases.answer(tx, self._ctx, call.principal.site, asked), actor=call.principal.name
        )
        if isinstance(granted, errors.FederationError):
            raise granted
        return codec.to_message(granted)

    async def confirm_erasure(self, request: agent_pb2.ConfirmErasureRequest, call: Call) -> Message:
        def work(tx: Transaction) -> Message:
            erasures.confirm(tx, call.principal.site, request.erasure, request.signature)
            return agent_pb2.ConfirmErasureResponse()

        return await self._store.write(work, actor=call.principal.name)

    async def read_package(self, request: agent_pb2.ReadPackageRequest, _call: Call) -> AsyncIterator[Message]:
        pieces = await self._store.run(lambda: self._store.catalog.get_blob(request.digest))
        while piece := await self._store.run(lambda: next(pieces, b"")):
            yield agent_pb2.ReadPackageResponse(data=piece)

    async def _run(self, call: Call, use: Use) -> Message:
        return await self._store.write(lambda tx: codec.to_message(use(tx)), actor=call.principal.name)


def _capacity(request: agent_pb2.RegisterRequest | agent_pb2.HeartbeatRequest) -> Capacity:
    capacity: Capacity = codec.to_value(request.capacity)
    return capacity


def _due(tx: Transaction, ctx: Context, site: str, joined: datetime | None) -> tuple[Instruction, ...]:
    """What a stream of a site that joined at that time has to say; it lasts no longer than that holds."""
    place = sites.get_site(tx, site)
    sites.require_admitted(place)
    if place.join_time != joined:
        raise errors.Unauthenticated(
            f"site {site} has joined anew since this stream began",
            reason="CERTIFICATE_REPLACED",
            help="Begin the stream again, with the certificate that the site joined with.",
            metadata={"site": site},
        )
    return (
        *jobs.instructions(tx, ctx, site),
        *live_transfers.instructions(tx, ctx, site),
        *erasures.instructions(tx, site),
        *custody.instructions(tx, site),
    )


def _key(instruction: Instruction) -> tuple[str, str]:  # noqa: PLR0911 - one for each kind
    """What an instruction is about: one that is due for longer is sent once, another attempt of a transfer anew."""
    match instruction:
        case StartRun(run=run):
            return ("start", run.run)
        case StopRun(run=name):
            return ("stop", name)
        case StartTransfer(transfer=moved):
            return ("start transfer", f"{moved.transfer}/{moved.attempt}")
        case StopTransfer(transfer=name):
            return ("stop transfer", name)
        case DropReplica(version=version):
            return ("drop", version)
        case EraseGenerations(erasure=name):
            return ("erase", name)
        case RotateKeys() | FillEscrow() | OpenEscrow():
            return _custody_key(instruction)


def _custody_key(instruction: custody.Instruction) -> tuple[str, str]:
    match instruction:
        case RotateKeys(number=number):
            return ("rotate", str(number))
        case FillEscrow(escrow=escrow):
            # Anew whenever it got behind: its etag is another then.
            return ("fill escrow", f"{escrow.escrow}/{escrow.etag}")
        case OpenEscrow(opening=opening):
            return ("open escrow", opening.opening)


def _instruction(instruction: Instruction) -> Message:  # noqa: PLR0911 - one for each kind
    match instruction:
        case StartRun():
            failpoints.hit("server.before_assignment")
            return agent_pb2.Instruction(start=codec.to_message(instruction, agent_pb2.StartRun))
        case StopRun():
            return agent_pb2.Instruction(stop=codec.to_message(instruction, agent_pb2.StopRun))
        case StartTransfer():
            return agent_pb2.Instruction(start_transfer=codec.to_message(instruction, agent_pb2.StartTransfer))
        case StopTransfer():
            return agent_pb2.Instruction(stop_transfer=codec.to_message(instruction, agent_pb2.StopTransfer))
        case DropReplica():
            return agent_pb2.Instruction(drop=codec.to_message(instruction, agent_pb2.DropReplica))
        case EraseGenerations():
            return agent_pb2.Instruction(erase=codec.to_message(instruction, agent_pb2.EraseGenerations))
        case RotateKeys() | FillEscrow() | OpenEscrow():
            return _custody_instruction(instruction)


def _custody_instruction(instruction: custody.Instruction) -> Message:
    match instruction:
        case RotateKeys():
            return agent_pb2.Instruction(rotate_keys=codec.to_message(instruction, agent_pb2.RotateKeys))
        case FillEscrow():
            return agent_pb2.Instruction(fill_escrow=codec.to_message(instruction, agent_pb2.FillEscrow))
        case OpenEscrow():
            return agent_pb2.Instruction(open_escrow=codec.to_message(instruction, agent_pb2.OpenEscrow))


def _usage(row: agent_pb2.Settlement, at: str, now: datetime) -> Usage:
    return Usage(
        grant=row.grant,
        source_site=at,
        sent_bytes=row.sent_bytes,
        unsettled_bytes=row.unsettled_bytes,
        requests=row.requests,
        settle_time=now,
        traffic=tuple(map(codec.to_value, row.traffic)),
    )


def _outcome(outcome: ledger.Outcome) -> agent_pb2.SettlementOutcome:
    if outcome.entry is not None:
        entry = outcome.entry
        return agent_pb2.SettlementOutcome(grant=outcome.grant, entry=entry.entry, charge_micros=entry.charge_micros)
    refusal = outcome.refusal
    assert refusal is not None
    return agent_pb2.SettlementOutcome(grant=outcome.grant, reason=refusal.reason, detail=str(refusal))


def _state(number: int) -> JobState:
    known = jobs_pb2.JobState.DESCRIPTOR.values_by_number.get(number)
    name = known.name.removeprefix("JOB_STATE_") if known else ""
    if name not in JobState.__members__:
        raise errors.InvalidArgument(
            f"a run has no state number {number}", reason="STATE_INVALID", violations={"state": "must be a state of a run"}
        )
    return JobState(name)


def _transfer_state(number: int) -> TransferState:
    known = transfers_pb2.TransferState.DESCRIPTOR.values_by_number.get(number)
    name = known.name.removeprefix("TRANSFER_STATE_") if known else ""
    if name not in TransferState.__members__:
        raise errors.InvalidArgument(
            f"a transfer has no state number {number}",
            reason="STATE_INVALID",
            violations={"state": "must be a state of a transfer"},
        )
    return TransferState(name)
