"""Versions on their way to sites, and the rules that send them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from federation.client.areas import base, changes
from federation.core import transfer as moving
from federation.v1 import transfers_pb2
from federation.wire import codec


class Transfers(changes.Changes):
    """Transfers and replication rules."""

    def create_transfer(
        self,
        version: str,
        destination_site: str,
        *,
        source_site: str = "",
        keep_seconds: int = 0,
        priority: int = 0,
        bytes_per_second_max: int = 0,
        validate_only: bool = False,
        request_id: str = "",
    ) -> moving.Transfer:
        """Asks for a replica of a version, or of a dataset's newest, at a site; one that is on its way already is shared.

        From the source where that is cheapest, unless one is named. `keep_seconds` counts from its last read, 0 for always.
        """
        request = transfers_pb2.CreateTransferRequest(
            version=base.versioned(version),
            destination_site=destination_site,
            source_site=source_site,
            keep_seconds=keep_seconds,
            priority=priority,
            bytes_per_second_max=bytes_per_second_max,
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(moving.Transfer, "Transfers.CreateTransfer", request)

    def get_transfer(self, name: str) -> moving.Transfer:
        """One transfer."""
        request = transfers_pb2.GetTransferRequest(name=base.named(name, "transfers"))
        return self._value(moving.Transfer, "Transfers.GetTransfer", request)

    def list_transfers(self, *, filter: str = "") -> Iterator[moving.Transfer]:  # noqa: A002
        """All transfers, newest first."""
        return self._connection.pages("Transfers.ListTransfers", transfers_pb2.ListTransfersRequest(filter=filter))

    def cancel_transfer(self, name: str, *, etag: str = "", request_id: str = "") -> moving.Transfer:
        """Gives a transfer up. What waits for it is planned again."""
        request = transfers_pb2.CancelTransferRequest(name=base.named(name, "transfers"), etag=etag, request_id=request_id)
        return self._value(moving.Transfer, "Transfers.CancelTransfer", request)

    def wait_transfer(
        self, name: str, timeout: float | None = None, *, progress: Callable[[moving.Transfer], None] | None = None
    ) -> moving.Transfer:
        """The transfer once it has ended, however it ended; DeadlineExceeded (TRANSFER_UNFINISHED) after `timeout` seconds.

        `progress` hears of each change of it.
        """
        return self._ended(
            base.named(name, "transfers"),
            self.get_transfer,
            progress,
            timeout,
            unfinished=changes.unfinished("transfer", "show"),
        )

    def create_replication_rule(
        self, new: moving.ReplicationRule, *, validate_only: bool = False, request_id: str = ""
    ) -> moving.ReplicationRule:
        """Asks for a number of replicas of a dataset's newest version, from now on, at sites that a filter selects."""
        request = transfers_pb2.CreateReplicationRuleRequest(
            replication_rule_id=new.rule,
            replication_rule=codec.to_message(new, transfers_pb2.ReplicationRule),
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(moving.ReplicationRule, "Transfers.CreateReplicationRule", request)

    def get_replication_rule(self, name: str) -> moving.ReplicationRule:
        """One rule, with what keeps it from being fulfilled, if something does."""
        request = transfers_pb2.GetReplicationRuleRequest(name=base.named(name, "replicationRules"))
        return self._value(moving.ReplicationRule, "Transfers.GetReplicationRule", request)

    def list_replication_rules(self, *, filter: str = "") -> Iterator[moving.ReplicationRule]:  # noqa: A002
        """All rules, by name."""
        request = transfers_pb2.ListReplicationRulesRequest(filter=filter)
        return self._connection.pages("Transfers.ListReplicationRules", request)

    def delete_replication_rule(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Ends a rule; its replicas end once nobody reads them any more."""
        request = transfers_pb2.DeleteReplicationRuleRequest(
            name=base.named(name, "replicationRules"), etag=etag, request_id=request_id
        )
        self._connection.call("Transfers.DeleteReplicationRule", request)
