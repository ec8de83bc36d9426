"""The policies, and what another set of them would decide."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from federation.client.areas import base
from federation.core import authorization, records
from federation.v1 import policies_pb2
from federation.wire import codec


class Policies(base.Area):
    """Policies."""

    def get_policy_revision(self, number: int | None = None) -> authorization.PolicyRevision:
        """The policies that hold, or a revision before them; 0 is the set that is shipped."""
        request = policies_pb2.GetPolicyRevisionRequest(name=f"policies/{'-' if number is None else number}")
        return self._value(authorization.PolicyRevision, "Policies.GetPolicyRevision", request)

    def apply_policies(
        self,
        text: str,
        cases: Iterable[authorization.Case],
        *,
        note: str = "",
        etag: str = "",
        validate_only: bool = False,
        request_id: str = "",
    ) -> authorization.PolicyRevision:
        """Puts a set in force, if it is in order and decides the cases as expected. For administrators."""
        request = policies_pb2.ApplyPoliciesRequest(
            text=text,
            note=note,
            cases=[records.dumps(case) for case in cases],
            etag=etag,
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(authorization.PolicyRevision, "Policies.ApplyPolicies", request)

    def explain_policy_diff(self, text: str, start: int = 0) -> tuple[list[authorization.PolicyFlip], int, int, int]:
        """Decisions that a set would change: some of them, how many were asked, of how many, and where to go on (0: done)."""
        request = policies_pb2.ExplainPolicyDiffRequest(text=text, start=start)
        found = self._connection.call("Policies.ExplainPolicyDiff", request)
        return [codec.to_value(row) for row in found.flips], found.asked, found.total, found.next_start

    def explain_policy_replay(
        self, text: str, start: int = 0, *, from_time: datetime | None = None, to_time: datetime | None = None
    ) -> tuple[list[authorization.PolicyFlip], int, int]:
        """Past decisions that a set would make otherwise: some, how many were asked, and where to go on (0: done)."""
        request = policies_pb2.ExplainPolicyReplayRequest(text=text, start=start, **base.times(from_time, to_time))
        found = self._connection.call("Policies.ExplainPolicyReplay", request)
        return [codec.to_value(row) for row in found.flips], found.asked, found.next_start
