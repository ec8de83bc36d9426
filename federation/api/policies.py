"""The service Policies: which set holds, what another would change, and putting it in force."""

from __future__ import annotations

import typing

from google.protobuf.message import Message

from federation.api import mutations
from federation.api.calls import Call
from federation.api.store import Store
from federation.ports import Transaction
from federation.services import policies
from federation.v1 import policies_pb2
from federation.wire import codec


class PoliciesServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ctx = store.ctx

    async def get_policy_revision(self, request: policies_pb2.GetPolicyRevisionRequest, _call: Call) -> Message:
        number = policies.revision_number(request.name)
        return codec.to_message(await self._store.read(lambda tx: policies.get(tx, self._ctx, number)))

    async def apply_policies(self, request: policies_pb2.ApplyPoliciesRequest, call: Call) -> Message:
        def work(tx: Transaction) -> Message:
            made = policies.apply(tx, self._ctx, request.text, request.note, tuple(request.cases), request.etag)
            return codec.to_message(made)

        return await mutations.mutate(self._store, call, request, work)

    async def explain_policy_diff(self, request: policies_pb2.ExplainPolicyDiffRequest, _call: Call) -> Message:
        found = await self._store.read(lambda tx: policies.diff(tx, self._ctx, request.text, request.start))
        return policies_pb2.ExplainPolicyDiffResponse(
            flips=_flips(found),
            asked=found.asked,
            total=found.total,
            next_start=found.next_start,
        )

    async def explain_policy_replay(self, request: policies_pb2.ExplainPolicyReplayRequest, _call: Call) -> Message:
        store = self._store
        past = policies.Past(
            start=request.start,
            from_time=codec.to_time(request.from_time) if request.HasField("from_time") else None,
            to_time=codec.to_time(request.to_time) if request.HasField("to_time") else None,
        )
        found = await store.run(lambda: policies.replay(store.catalog, store.engine, self._ctx, request.text, past))
        return policies_pb2.ExplainPolicyReplayResponse(flips=_flips(found), asked=found.asked, next_start=found.next_start)


def _flips(found: policies.Compared) -> list[policies_pb2.PolicyFlip]:
    return [typing.cast("policies_pb2.PolicyFlip", codec.to_message(row)) for row in found.flips]
