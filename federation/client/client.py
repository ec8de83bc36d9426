"""The client of a federation: its areas in one. Methods of the contract, and on top put, get, submit, wait, logs and check."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from federation.client.areas import (
    bills,
    catalog,
    changes,
    costs,
    data,
    identity,
    jobs,
    keys,
    lineage,
    pipelines,
    policies,
    record,
    sites,
    transfers,
)
from federation.client.connection import CALL_SECONDS, Connection


# From the last to the first, for Python wants what stands on another before it. The reference is told from the first on.
class Client(
    data.Data,
    identity.Identity,
    lineage.Lineage,
    record.Record,
    policies.Policies,
    keys.Keys,
    bills.Bills,
    costs.Costs,
    transfers.Transfers,
    pipelines.Pipelines,
    jobs.Jobs,
    changes.Changes,
    sites.Sites,
    catalog.Catalog,
):
    """Speaks for one person to one federation. Threads may share it, and a fork may inherit it.

    `target` is the catalog's `host:port`, `ca` the PEM bytes of its CA. Names are taken in both forms, `sales/flights` and
    `namespaces/sales/datasets/flights`. Every failure is an error of `federation.errors`. A mutation is done once, however
    often its call had to be repeated.
    """

    def __init__(self, target: str, token: str | Callable[[], str], ca: bytes, *, call_seconds: float = CALL_SECONDS) -> None:
        self._connection = self._connect(target, token, ca, call_seconds)

    @staticmethod
    def _connect(target: str, token: str | Callable[[], str], ca: bytes, call_seconds: float) -> Connection:
        return Connection(target, token, ca, call_seconds=call_seconds)

    def __repr__(self) -> str:
        return f"<Client {self._connection.target}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; a later call makes another."""
        self._connection.close()
