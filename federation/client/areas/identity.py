"""Who the caller is, tokens, and how anybody comes in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from federation.client.areas import base
from federation.client.values import Entrance, WhoAmI
from federation.core import people
from federation.v1 import identity_pb2
from federation.wire import codec


class Identity(base.Area):
    """Identity."""

    def who_am_i(self) -> WhoAmI:
        """Who the server says the caller is.

        >>> client.who_am_i().principal
        'users/user'
        """
        answer = self._connection.call("Identity.WhoAmI", identity_pb2.WhoAmIRequest())
        return WhoAmI(
            principal=answer.principal,
            role=answer.role,
            jurisdiction=answer.jurisdiction,
            groups=tuple(answer.groups),
            scopes=tuple(answer.scopes),
            credential=answer.credential,
            expire_time=codec.to_time(answer.expire_time) if answer.HasField("expire_time") else None,
            server_version=answer.server_version,
            revision=answer.revision,
            server_time=codec.to_time(answer.server_time) if answer.HasField("server_time") else None,
        )

    def create_token(
        self,
        user: str = "",
        *,
        role: str = "USER",
        jurisdiction: str = "",
        groups: Iterable[str] = (),
        scopes: Iterable[str] = (),
        expires_in_seconds: int = 0,
        request_id: str = "",
    ) -> people.Token:
        """A new token, one's own unless `user` says whose, with its secret: it is told here and nowhere else.

        It has nothing that its creator lacks, and lasts as long as the server's settings say unless told otherwise.
        """
        token = identity_pb2.Token(user=user, role=role, jurisdiction=jurisdiction, groups=groups, scopes=scopes)
        if expires_in_seconds:
            token.expire_time.GetCurrentTime()
            token.expire_time.FromDatetime(codec.to_time(token.expire_time) + timedelta(seconds=expires_in_seconds))
        request = identity_pb2.CreateTokenRequest(token=token, request_id=request_id)
        made: people.Token = codec.to_value(self._connection.call("Identity.CreateToken", request))
        return made

    def list_tokens(self, *, filter: str = "") -> Iterator[people.Token]:  # noqa: A002 - the contract's word
        """Tokens, without their secrets: one's own, for administrators and auditors everybody's."""
        return self._connection.pages("Identity.ListTokens", identity_pb2.ListTokensRequest(filter=filter))

    def revoke_token(self, name: str, *, request_id: str = "") -> people.Token:
        """Ends a token at once, and all that were made with it."""
        request = identity_pb2.RevokeTokenRequest(name=base.named(name, "tokens"), request_id=request_id)
        ended: people.Token = codec.to_value(self._connection.call("Identity.RevokeToken", request))
        return ended

    def find_entrance(self) -> Entrance:
        """How anybody comes in: the federation's name, its CA, and who vouches for people. Needs no token."""
        answer = self._connection.call("Identity.FindEntrance", identity_pb2.FindEntranceRequest())
        return Entrance(
            federation=answer.federation, ca=answer.ca, issuers=tuple(codec.to_value(row) for row in answer.issuers)
        )
