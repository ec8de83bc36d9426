"""The service Identity: who is calling, and the tokens of people."""

from __future__ import annotations

from importlib import metadata

from google.protobuf.message import Message

from federation.api import mutations
from federation.api.calls import Call
from federation.api.store import Store
from federation.core import errors, policy
from federation.ports import Transaction
from federation.services import identity
from federation.v1 import identity_pb2
from federation.wire import codec


class IdentityServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def who_am_i(self, _request: identity_pb2.WhoAmIRequest, call: Call) -> Message:
        return identity_pb2.WhoAmIResponse(
            principal=call.principal.name,
            role=str(call.principal.role),
            jurisdiction=call.principal.jurisdiction,
            groups=call.principal.groups,
            scopes=call.principal.scopes,
            server_version=metadata.version("dataset-federation"),
            revision=await self._store.run(self._store.catalog.revision),
        )

    async def create_token(self, request: identity_pb2.CreateTokenRequest, call: Call) -> Message:
        asked = request.token
        role = _role(asked.role)

        def work(tx: Transaction) -> Message:
            ttl = codec.to_time(asked.expire_time) - tx.now if asked.HasField("expire_time") else None
            record, secret = identity.create_token(tx, self._store.ctx, asked.user, role, asked.jurisdiction, ttl)
            answer = identity_pb2.Token(
                user=f"users/{record.user}", role=str(record.role), jurisdiction=record.jurisdiction, secret=secret
            )
            if record.expire_time:
                answer.expire_time.CopyFrom(codec.from_time(record.expire_time))
            if request.validate_only:
                answer.ClearField("secret")
            return answer

        # The secret is in no store: a repeat cannot be answered, and must not make a second token in silence.
        shown = errors.FailedPrecondition(
            "this token was created, and its secret is shown only once",
            reason="SECRET_SHOWN_ONCE",
            help="Create another token with a new request_id.",
        )
        return await mutations.mutate(self._store, call, request, work, replay=shown)


def _role(text: str) -> policy.Role:
    known = {str(role): role for role in policy.Role if role is not policy.Role.AGENT}
    if text and text not in known:
        raise errors.InvalidArgument(
            f"{text!r} is no role of a person",
            reason="ROLE_INVALID",
            help=f"Use one of {', '.join(known)}.",
            violations={"token.role": f"must be one of {', '.join(known)}"},
        )
    return known.get(text, policy.Role.USER)
