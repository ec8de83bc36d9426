"""The service Identity: who is calling, how people come in, and their tokens."""

from __future__ import annotations

import dataclasses
from importlib import metadata

from google.protobuf.message import Message

from federation import ports
from federation.api import mutations
from federation.api.authentication import PeopleDoor
from federation.api.calls import Call
from federation.api.pages import Listing, Pages
from federation.api.store import Store
from federation.core import errors, ids, kinds, policy
from federation.ports import Transaction
from federation.services import identity
from federation.v1 import identity_pb2
from federation.wire import codec, tls


class IdentityServicer:
    """Each function does the method of its name. `files` are the server's own TLS files, `federation` is its name."""

    def __init__(  # noqa: PLR0917 - what it is made of
        self, store: Store, pages_: Pages, door: PeopleDoor, people: ports.People | None, federation: str, files: tls.Source
    ) -> None:
        self._store = store
        self._pages = pages_
        self._door = door
        self._people = people
        self._federation = federation
        self._files = files

    async def who_am_i(self, _request: identity_pb2.WhoAmIRequest, call: Call) -> Message:
        answer = identity_pb2.WhoAmIResponse(
            principal=call.principal.name,
            role=str(call.principal.role),
            jurisdiction=call.principal.jurisdiction,
            groups=call.principal.groups,
            scopes=call.principal.scopes,
            credential=call.principal.token,
            server_version=metadata.version("dataset-federation"),
            revision=await self._store.run(self._store.catalog.revision),
        )
        answer.server_time.GetCurrentTime()
        if call.principal.expire_time:
            answer.expire_time.CopyFrom(codec.from_time(call.principal.expire_time))
        return answer

    async def find_entrance(self, _request: identity_pb2.FindEntranceRequest, _call: Call) -> Message:
        return identity_pb2.FindEntranceResponse(
            federation=self._federation,
            ca=self._files.current().ca,
            issuers=[codec.to_message(row, identity_pb2.Issuer) for row in (self._people.sign_ins() if self._people else ())],
        )

    async def create_token(self, request: identity_pb2.CreateTokenRequest, call: Call) -> Message:
        asked = request.token
        role = _role(asked.role)
        user = asked.user or call.principal.name

        def work(tx: Transaction) -> Message:
            ttl = codec.to_time(asked.expire_time) - tx.now if asked.HasField("expire_time") else None
            record, secret = identity.create_token(
                tx,
                self._store.ctx,
                user,
                role,
                asked.jurisdiction,
                ttl,
                groups=asked.groups,
                scopes=asked.scopes,
                creator=call.principal,
            )
            told = dataclasses.replace(identity.shown(record), secret="" if request.validate_only else secret)
            return codec.to_message(told)

        # The secret is in no store: a repeat cannot be answered, and must not make a second token in silence.
        return await mutations.mutate(self._store, call, request, work, replay=mutations.shown_once("token", "created"))

    async def list_tokens(self, request: identity_pb2.ListTokensRequest, call: Call) -> Message:
        own = {} if identity.sees_all(call.principal) else {"user": ids.child(call.principal.name, "users")}
        return await self._pages.stored(call, request, Listing(of=kinds.TokenRecord, where=own, show=identity.shown))

    async def revoke_token(self, request: identity_pb2.RevokeTokenRequest, call: Call) -> Message:
        ended: list[str] = []

        def work(tx: Transaction) -> Message:
            found, all_ended = identity.revoke_token(tx, call.principal, request.name)
            ended[:] = all_ended
            return codec.to_message(identity.shown(found))

        answer = await mutations.mutate(self._store, call, request, work)
        self._door.forget(ended)
        return answer


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
