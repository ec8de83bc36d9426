"""Providers' bills beside the ledger, and budgets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from federation.client import bills
from federation.client.areas import base
from federation.core import bill, budget
from federation.v1 import bills_pb2, budgets_pb2
from federation.wire import codec

#: A reconciliation reads every read of a month.
_RECONCILE_SECONDS = 600.0


class Bills(base.Area):
    """Bills and budgets."""

    def import_bill(self, delivered: bills.Delivered) -> bill.Bill:
        """Takes in one delivery of a provider's bill (see `client.bills.read`). The same again changes nothing."""

        def requests() -> Iterator[bills_pb2.ImportBillRequest]:
            yield bills_pb2.ImportBillRequest(
                provider=delivered.provider,
                account=delivered.account,
                month=delivered.month,
                digest=delivered.digest,
                source=delivered.source,
                skipped_lines=delivered.skipped_lines,
            )
            for piece in delivered.pieces():
                yield bills_pb2.ImportBillRequest(lines=piece)

        found: bill.Bill = codec.to_value(self._connection.upload("Bills.ImportBill", requests))
        return found

    def get_bill(self, name: str) -> bill.Bill:
        """One bill."""
        return self._value(bill.Bill, "Bills.GetBill", bills_pb2.GetBillRequest(name=base.named(name, "bills")))

    def list_bills(self, *, filter: str = "") -> Iterator[bill.Bill]:  # noqa: A002
        """All bills."""
        return self._connection.pages("Bills.ListBills", bills_pb2.ListBillsRequest(filter=filter))

    def reconcile_bills(
        self,
        month: str,
        provider: str = "aws",
        *,
        account: str = "",
        period: bill.Period = bill.Period.MONTH,
        validate_only: bool = False,
        request_id: str = "",
    ) -> bill.Reconciliation:
        """Splits a month's bills over who read and posts the differences. With `validate_only` nothing is posted."""
        request = bills_pb2.ReconcileBillsRequest(
            month=month,
            provider=provider,
            account=account,
            period=bills_pb2.Period.Value(f"PERIOD_{period}"),
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(bill.Reconciliation, "Bills.ReconcileBills", request, seconds=_RECONCILE_SECONDS)

    def create_budget(self, new: budget.Budget, *, request_id: str = "") -> budget.Budget:
        """Makes a budget. Administrators may."""
        request = budgets_pb2.CreateBudgetRequest(
            budget_id=new.budget, budget=codec.to_message(new, budgets_pb2.Budget), request_id=request_id
        )
        return self._value(budget.Budget, "Budgets.CreateBudget", request)

    def get_budget(self, name: str) -> budget.Budget:
        """One budget, with what this month has made of it."""
        return self._value(budget.Budget, "Budgets.GetBudget", budgets_pb2.GetBudgetRequest(name=base.named(name, "budgets")))

    def list_budgets(self, *, filter: str = "") -> Iterator[budget.Budget]:  # noqa: A002
        """All budgets, by name, with what this month has made of them."""
        return self._connection.pages("Budgets.ListBudgets", budgets_pb2.ListBudgetsRequest(filter=filter))

    def update_budget(self, changed: budget.Budget, fields: Iterable[str] = (), *, request_id: str = "") -> budget.Budget:
        """Changes the named fields, or all that are filled; Conflict when `changed.etag` is given and stale."""
        request = budgets_pb2.UpdateBudgetRequest(
            budget=codec.to_message(changed, budgets_pb2.Budget), update_mask=base.mask(fields), request_id=request_id
        )
        return self._value(budget.Budget, "Budgets.UpdateBudget", request)

    def delete_budget(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Ends a budget."""
        request = budgets_pb2.DeleteBudgetRequest(name=base.named(name, "budgets"), etag=etag, request_id=request_id)
        self._connection.call("Budgets.DeleteBudget", request)
