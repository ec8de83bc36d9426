"""The catalog as a site's agent calls it: values in, values out, errors of our family, over mTLS.

Calls that may be repeated are repeated a few times while the catalog does not answer; after that Unavailable goes to the
caller, who knows whether to wait.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import grpc

from federation import jitter
from federation.agent import journal
from federation.core import (
    admission,
    chain,
    dataset,
    erasure,
    errors,
    job,
    keys,
    leases,
    lineage,
    metering,
    site,
    transfer,
    witness,
)
from federation.v1 import agent_pb2, agent_pb2_grpc, audit_pb2, jobs_pb2, lineage_pb2, sites_pb2, transfers_pb2
from federation.wire import codec, tls
from federation.wire import errors as wire_errors

T = TypeVar("T")

#: What a site is told to do.
Instruction = (
    job.StartRun
    | job.StopRun
    | transfer.StartTransfer
    | transfer.StopTransfer
    | transfer.DropReplica
    | keys.RotateKeys
    | keys.FillEscrow
    | keys.OpenEscrow
    | erasure.EraseGenerations
)

CALL_SECONDS = 20.0
TRIES = 4
#: Connections with certificates of before, and the newest: streams of older ones begin anew.
_CHANNELS_MAX = 2


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What the catalog answers to a registering agent. `grant_key` is the public key, hex, that grants are signed with."""

    site: site.Site
    grant_key: str
    lease_seconds: int
    heartbeat_seconds: int


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The catalog's answers to a heartbeat: which runs are current, which are not, and which grants are to be settled."""

    current_runs: tuple[str, ...] = ()
    superseded_runs: tuple[str, ...] = ()
    closed_grants: tuple[str, ...] = ()
    server_time: datetime | None = None


class Catalog:
    """The Agent service, called as the site that the certificate names.

    A certificate that has changed is used by calls that begin from then on; streams of before live on over their connection.
    """

    def __init__(self, target: str, credentials: tls.Source) -> None:
        self._target = target
        self._credentials = credentials
        self._lock = threading.Lock()
        self._channels: list[grpc.Channel] = []
        self._connect(credentials.current())
        self._closing = threading.Event()

    def __repr__(self) -> str:
        return f"<Catalog {self._target}>"

    def close(self) -> None:
        """Ends all calls."""
        self._closing.set()
        with self._lock:
            for channel in self._channels:
                channel.close()

    @property
    def _stub(self) -> Any:
        """The generated stub on a connection with the present certificate. Typed `Any`: its messages carry the types."""
        with self._lock:
            identity = self._credentials.current()
            if identity is not self._identity and not self._closing.is_set():
                self._connect(identity)
            return self._newest

    def _connect(self, identity: tls.Tls) -> None:
        """Opens a connection with a new certificate. The one before stays open for its streams; any older one is closed."""
        self._identity = identity
        self._channels.append(tls.channel(self._target, identity))
        self._newest = agent_pb2_grpc.AgentStub(self._channels[-1])
        if len(self._channels) > _CHANNELS_MAX:
            self._channels.pop(0).close()

    def register(self, told: site.Presence, findings: Iterable[admission.Finding], now: Callable[[], datetime]) -> Registration:
        """Tells the catalog the site's keys, gateway and capacity, and what its admission test found.

        FailedPrecondition (SITE_NOT_JOINED, SITE_NOT_ADMITTED) where the site is not let in. `now` is its clock.
        """
        request = agent_pb2.RegisterRequest(
            gateway=told.gateway,
            signing_key=told.signing_key,
            sealing_key=told.sealing_key,
            has_compute=told.has_compute,
            capacity=codec.to_message(told.capacity, sites_pb2.Capacity),
            compute_error=told.compute_error,
            findings=[codec.to_message(row, agent_pb2.AdmissionFinding) for row in findings],
            dashboard=told.dashboard,
        )

        def register(request: agent_pb2.RegisterRequest, **how: Any) -> agent_pb2.RegisterResponse:
            request.agent_time.CopyFrom(codec.from_time(now()))
            answered: agent_pb2.RegisterResponse = self._stub.Register(request, **how)
            return answered

        answer = self._call(register, request)
        return Registration(
            site=codec.to_value(answer.site),
            grant_key=answer.grant_key,
            lease_seconds=answer.lease_seconds,
            heartbeat_seconds=answer.heartbeat_seconds,
        )

    def renew_certificate(self, csr: bytes) -> tuple[bytes, bytes]:
        """A new certificate for the site, and the CAs to trust (PEM); FailedPrecondition (CA_ELSEWHERE) where it signs none."""
        answer = self._call(self._stub.RenewCertificate, agent_pb2.RenewCertificateRequest(csr=csr))
        return bytes(answer.certificate), bytes(answer.ca)

    def heartbeat(
        self, *, capacity: site.Capacity, compute_error: str, runs: tuple[str, ...], open_grants: tuple[str, ...]
    ) -> Heartbeat:
        """Renews the leases of the runs. Sent once: the next heartbeat is its repetition."""
        request = agent_pb2.HeartbeatRequest(
            capacity=codec.to_message(capacity, sites_pb2.Capacity),
            compute_error=compute_error,
            runs=runs,
            open_grants=open_grants,
        )
        answer = self._once(self._stub.Heartbeat, request)
        return Heartbeat(
            current_runs=tuple(answer.current_runs),
            superseded_runs=tuple(answer.superseded_runs),
            closed_grants=tuple(answer.closed_grants),
            server_time=codec.to_time(answer.server_time) if answer.HasField("server_time") else None,
        )

    def witness_heads(
        self, cosignature: witness.Cosignature | None = None, refusals: tuple[witness.HeadRefusal, ...] = ()
    ) -> tuple[chain.SignedHead, ...]:
        """Tells what the site co-signed, or refused to; answers with the newest head of each of the record's tables."""
        request = agent_pb2.WitnessHeadsRequest(
            cosignature=None if cosignature is None else codec.to_message(cosignature, audit_pb2.Cosignature),
            refusals=[codec.to_message(refusal, audit_pb2.HeadRefusal) for refusal in refusals],
        )
        return tuple(codec.to_value(head) for head in self._call(self._stub.WitnessHeads, request).heads)

    def work(self) -> WorkStream:
        """Opens the stream of the site's work."""
        return WorkStream(self._stream(self._stub.Work, agent_pb2.WorkRequest()))

    def accept_run(self, run: str, submission_id: str) -> job.Run:
        """Takes a run; FailedPrecondition (RUN_SUPERSEDED) when it is no longer current."""
        return self._value(self._stub.AcceptRun, agent_pb2.AcceptRunRequest(run=run, submission_id=submission_id), job.Run)

    def report_run(
        self,
        run: str,
        state: job.JobState,
        *,
        reason: str = "",
        detail: str = "",
        exit_code: int | None = None,
        retryable: bool = False,
    ) -> job.Run:
        """Tells that a run has started, failed or was cancelled."""
        request = agent_pb2.ReportRunRequest(
            run=run,
            state=jobs_pb2.JobState.Value(f"JOB_STATE_{state}"),
            reason=reason,
            detail=detail[:4000],
            exit_code=exit_code,
            retryable=retryable,
        )
        return self._value(self._stub.ReportRun, request, job.Run)

    def finish_run(
        self, run: str, outputs: tuple[dataset.NewVersion, ...], report: lineage.LineageReport
    ) -> tuple[job.Run, tuple[dataset.Version, ...]]:
        """Commits all outputs of a run and ends it, or does nothing. `report` is what its code told of columns."""
        request = agent_pb2.FinishRunRequest(
            run=run,
            outputs=[codec.to_message(output, agent_pb2.NewVersion) for output in outputs],
            lineage=codec.to_message(report, lineage_pb2.LineageReport),
        )
        answer = self._call(self._stub.FinishRun, request)
        return codec.to_value(answer.run), tuple(codec.to_value(version) for version in answer.versions)

    def commit_version(self, grant: bytes, version: dataset.NewVersion) -> dataset.Version:
        """Commits what a person wrote under a grant."""
        request = agent_pb2.CommitVersionRequest(grant=grant, version=codec.to_message(version, agent_pb2.NewVersion))
        return self._value(self._stub.CommitVersion, request, dataset.Version)

    def settle_grants(self, usages: tuple[metering.Usage, ...]) -> dict[str, errors.FederationError]:
        """Tells what left under grants, for good; returns those that are refused, with the reason. In one call."""
        request = agent_pb2.SettleGrantsRequest(
            settlements=[
                agent_pb2.Settlement(
                    grant=usage.grant,
                    sent_bytes=usage.sent_bytes,
                    unsettled_bytes=usage.unsettled_bytes,
                    requests=usage.requests,
                    traffic=_traffic(usage.traffic),
                )
                for usage in usages
            ]
        )
        answer = self._call(self._stub.SettleGrants, request)
        return {row.grant: errors.FailedPrecondition(row.detail, reason=row.reason) for row in answer.outcomes if row.reason}

    def report_usage(self, run: str, usages: Mapping[str, tuple[metering.Traffic, ...]]) -> None:
        """Tells what the processes of a run have received, by grant."""
        request = agent_pb2.ReportUsageRequest(
            run=run,
            usages=[agent_pb2.ReadUsage(grant=grant, traffic=_traffic(counted)) for grant, counted in usages.items()],
        )
        self._call(self._stub.ReportUsage, request)

    def sealed_version(self, version: str) -> dataset.SealedVersion:
        """A version, by short or full name, with its keys as they are wrapped for this site."""
        return self._value(
            self._stub.GetSealedVersion, agent_pb2.GetSealedVersionRequest(version=version), dataset.SealedVersion
        )

    def sealed_versions(self) -> Iterator[dataset.SealedVersion]:
        """All versions of which this site holds a replica."""
        stream = self._stream(self._stub.ListSealedVersions, agent_pb2.ListSealedVersionsRequest())
        for message in wire_errors.translated_stream(stream):
            yield codec.to_value(message)

    def report_transfer(
        self,
        start: transfer.StartTransfer,
        *,
        bytes_done: int = 0,
        objects_done: int = 0,
        failure: journal.Failure | None = None,
    ) -> transfer.Transfer:
        """Tells how far an attempt of a transfer is, or that it failed; answers with the transfer as it now is."""
        request = agent_pb2.ReportTransferRequest(
            transfer=start.transfer.transfer,
            attempt=start.transfer.attempt,
            state=transfers_pb2.TRANSFER_STATE_FAILED if failure else transfers_pb2.TRANSFER_STATE_RUNNING,
            bytes_done=bytes_done,
            objects_done=objects_done,
        )
        if failure is None:  # the next report is its repetition
            value: transfer.Transfer = codec.to_value(self._once(self._stub.ReportTransfer, request))
            return value
        request.reason, request.detail, request.retryable = failure.reason, failure.detail[:4000], failure.retryable
        request.bytes_done, request.objects_done = failure.bytes_done, failure.objects_done
        return self._value(self._stub.ReportTransfer, request, transfer.Transfer)

    def finish_transfer(self, name: str, keys: tuple[dataset.WrappedKey, ...], object_bytes: int) -> transfer.Transfer:
        """Makes what a transfer has stored here a replica. One that may not be any more is answered as CANCELLED."""
        request = agent_pb2.FinishTransferRequest(
            transfer=name, keys=[codec.to_message(key, agent_pb2.WrappedKey) for key in keys], object_bytes=object_bytes
        )
        return self._value(self._stub.FinishTransfer, request, transfer.Transfer)

    def finish_drop(self, version: str) -> None:
        """Tells that a replica's objects are gone."""
        self._call(self._stub.FinishDrop, agent_pb2.FinishDropRequest(version=version))

    def report_keyring(self, status: keys.ConnectorStatus, *, rotation: int = 0) -> keys.SiteKeyring:
        """Tells the names of the site's keys; with `rotation`, that the current KEK is what it goes to."""
        request = agent_pb2.ReportKeyringRequest(
            kind=status.kind, kek=status.kek, keks=status.keks, destroyed=len(status.destroyed), rotation=rotation
        )
        return self._value(self._stub.ReportKeyring, request, keys.SiteKeyring)

    def wrapped_keys(self, *, other_than_kek: str = "", lacking_escrow: str = "") -> Iterator[tuple[dataset.WrappedKey, ...]]:
        """The site's rows that another KEK wraps, or that an escrow lacks, page by page."""
        request = agent_pb2.ReadKeysRequest(other_than_kek=other_than_kek, lacking_escrow=lacking_escrow)
        while True:
            answer = self._call(self._stub.ReadKeys, request)
            yield tuple(codec.to_value(key) for key in answer.keys)
            if not answer.after:
                return
            request.after = answer.after

    def replace_keys(self, changed: Iterable[tuple[str, dataset.WrappedKey]]) -> int:
        """Puts re-wrapped rows in the place of those whose `wrapped` they were made from; the number of those that were."""
        rows = [
            agent_pb2.Replacement(previous=previous, key=codec.to_message(key, agent_pb2.WrappedKey))
            for previous, key in changed
        ]
        return int(self._call(self._stub.ReplaceKeys, agent_pb2.ReplaceKeysRequest(replacements=rows)).replaced)

    def finish_rotation(self, number: int) -> keys.SiteKeyring:
        """Ends a rotation; the answer names the KEKs that may go."""
        return self._value(self._stub.FinishRotation, agent_pb2.FinishRotationRequest(number=number), keys.SiteKeyring)

    def store_escrow(
        self,
        escrow: str,
        *,
        public_key: str = "",
        sealed_shares: Mapping[str, str] | None = None,
        filled: Iterable[keys.EscrowedKey] = (),
        complete: bool = False,
        skipped: int = 0,
    ) -> keys.Escrow:
        """Stores an escrow's own key and shares, and what was put into it; `complete` but for `skipped` rows."""
        request = agent_pb2.StoreEscrowRequest(
            escrow=escrow,
            public_key=public_key,
            sealed_shares=sealed_shares or {},
            keys=[codec.to_message(row, agent_pb2.EscrowedKey) for row in filled],
            complete=complete,
            skipped=skipped,
        )
        return self._value(self._stub.StoreEscrow, request, keys.Escrow)

    def escrowed(self, opening: str) -> Iterator[tuple[keys.EscrowedKey, ...]]:
        """What is in an escrow whose opening is approved, page by page."""
        request = agent_pb2.ReadEscrowRequest(opening=opening)
        while True:
            answer = self._call(self._stub.ReadEscrow, request)
            yield tuple(codec.to_value(row) for row in answer.keys)
            if not answer.after:
                return
            request.after = answer.after

    def finish_escrow(self, opening: str, given: Iterable[dataset.WrappedKey], *, done: bool = False) -> keys.Opening:
        """Gives rows of an opened escrow back to the site; `done` ends the opening."""
        rows = [codec.to_message(key, agent_pb2.WrappedKey) for key in given]
        request = agent_pb2.FinishEscrowRequest(opening=opening, keys=rows, done=done)
        return self._value(self._stub.FinishEscrow, request, keys.Opening)

    def issue_lease(self, asked: leases.Asked) -> leases.Lease:
        """The lease under which keys may be handed out; a refusal says why not."""
        return self._value(self._stub.IssueLease, codec.to_message(asked, agent_pb2.IssueLeaseRequest), leases.Lease)

    def confirm_erasure(self, name: str, signature: bytes) -> None:
        """Tells that the secrets of an erasure are destroyed here."""
        self._call(self._stub.ConfirmErasure, agent_pb2.ConfirmErasureRequest(erasure=name, signature=signature))

    def package(self, digest: str) -> Iterator[bytes]:
        """A package's bytes; not checked here."""
        stream = self._stream(self._stub.ReadPackage, agent_pb2.ReadPackageRequest(digest=digest))
        for message in wire_errors.translated_stream(stream):
            yield message.data

    def _value(self, method: Callable[..., Any], request: Any, kind: type[T]) -> T:
        value: T = codec.to_value(self._call(method, request))
        assert isinstance(value, kind)
        return value

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        for attempt in range(1, TRIES):
            try:
                return self._once(method, request)
            except errors.Unavailable as error:
                if self._closing.wait(backoff(attempt, seconds_max=2) + (error.retry_seconds or 0)):
                    raise
        return self._once(method, request)

    def _once(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            with wire_errors.translated(), self._open():
                return method(request, timeout=CALL_SECONDS)
        except errors.ResourceExhausted as error:
            if not error.passes:
                raise
            # A catalog that is called too often is away for a moment: whoever waits for it knows how.
            raise errors.Unavailable(
                error.message, reason=error.reason, help=error.help, retry_seconds=error.retry_seconds
            ) from error

    def _stream(self, method: Callable[..., Any], request: Any) -> Any:
        with self._open():
            return method(request)

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # grpc's word for a call on a channel that was closed
            raise errors.Unavailable(f"the catalog at {self._target} is not being called any more: {error}") from error


class WorkStream:
    """Instructions as they come. `cancel` from another thread ends it."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[Instruction]:
        for message in wire_errors.translated_stream(self._call):
            kind = message.WhichOneof("instruction")
            if kind is not None:  # a newer catalog may know instructions that this agent does not
                yield codec.to_value(getattr(message, kind))

    def cancel(self) -> None:
        """Ends the stream; harmless when it has ended."""
        self._call.cancel()


def _traffic(traffic: Iterable[metering.Traffic]) -> list[agent_pb2.Traffic]:
    return [codec.to_message(counted, agent_pb2.Traffic) for counted in traffic]


def backoff(attempt: int, *, seconds_max: float) -> float:
    """Seconds to wait before the next try: doubling from a tenth of a second up to the most, of which half is by chance."""
    longest = min(seconds_max, 0.1 * float(1 << min(attempt, 16)))
    return jitter.pause(longest, longest / 2)
