"""The service Budgets: what may be spent on egress in a month."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from federation.api import mutations
from federation.api.calls import Call
from federation.api.pages import Pages
from federation.api.store import Store
from federation.core import budget, ids, kinds
from federation.ports import Transaction
from federation.services import budgets
from federation.services.disclosure import Disclosure
from federation.v1 import budgets_pb2
from federation.wire import codec


class BudgetsServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages) -> None:
        self._store = store
        self._pages = pages_

    async def create_budget(self, request: budgets_pb2.CreateBudgetRequest, call: Call) -> Message:
        request.budget.name = f"budgets/{request.budget_id}"
        asked: budget.Budget = codec.to_value(request.budget)

        def work(tx: Transaction) -> Message:
            return codec.to_message(budgets.create(tx, self._store.ctx, call.principal, asked))

        return await mutations.mutate(self._store, call, request, work)

    async def get_budget(self, request: budgets_pb2.GetBudgetRequest, call: Call) -> Message:
        store = self._store
        return codec.to_message(await store.read(lambda tx: budgets.visible(tx, store.ctx, call.principal, request.name)))

    async def list_budgets(self, request: budgets_pb2.ListBudgetsRequest, call: Call) -> Message:
        def look(tx: Transaction) -> tuple[budget.Budget, ...]:
            known = Disclosure(tx, self._store.ctx, call.principal)
            return tuple(row for row in budgets.every(tx) if known.sees_scope(row.scope))

        values = await self._store.read(look)
        kind = kinds.KINDS[budget.Budget]
        return self._pages.computed(call, request, values, key=kind.key, fields=("scope",))

    async def update_budget(self, request: budgets_pb2.UpdateBudgetRequest, call: Call) -> Message:
        changed, mask = codec.to_value(request.budget), frozenset(request.update_mask.paths)
        return await mutations.mutate(
            self._store, call, request, lambda tx: codec.to_message(budgets.update(tx, changed, mask))
        )

    async def delete_budget(self, request: budgets_pb2.DeleteBudgetRequest, call: Call) -> Message:
        name = ids.child(request.name, "budgets")

        def work(tx: Transaction) -> Message:
            budgets.delete(tx, name, request.etag)
            return Empty()

        return await mutations.mutate(self._store, call, request, work)
