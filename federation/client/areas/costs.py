"""What reading has cost, what it would cost, and by which prices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from federation import frames
from federation.client import focus_file
from federation.client.areas import base
from federation.core import focus, forecast, metering, ratecard, variance
from federation.v1 import costs_pb2
from federation.wire import codec

#: A sum reads a month of tables or years of them.
_SUMMARIZE_SECONDS = 120.0


class Costs(base.Area):
    """Costs and prices."""

    def list_ledger_entries(self, *, filter: str = "") -> Iterator[metering.LedgerEntry]:  # noqa: A002
        """The egress ledger, newest first."""
        return self._connection.pages("Costs.ListLedgerEntries", costs_pb2.ListLedgerEntriesRequest(filter=filter))

    def list_usage(self, *, filter: str = "") -> Iterator[metering.UsageRecord]:  # noqa: A002
        """What was counted under grants by hour, by gateways and by readers, newest grants first."""
        return self._connection.pages("Costs.ListUsage", costs_pb2.ListUsageRequest(filter=filter))

    def summarize_variances(
        self,
        by: str,
        *,
        filter: str = "",  # noqa: A002
    ) -> tuple[tuple[variance.Variance, ...], variance.Variance]:
        """Estimates of runs that succeeded beside what was metered, by `job`, `label`, `link` or `input`, and their total."""
        answer = self._connection.call("Costs.SummarizeVariances", costs_pb2.SummarizeVariancesRequest(by=by, filter=filter))
        return tuple(codec.to_value(row) for row in answer.variances), codec.to_value(answer.total)

    def summarize_costs(
        self,
        by: str,
        *,
        filter: str = "",  # noqa: A002
        from_time: datetime | None = None,
        to_time: datetime | None = None,
    ) -> tuple[tuple[metering.CostSummary, ...], metering.CostSummary]:
        """The ledger summed by one of `metering.SUMMARY_KEYS` or several with commas, and the total."""
        request = costs_pb2.SummarizeCostsRequest(by=by, filter=filter, **base.times(from_time, to_time))
        answer = self._connection.call("Costs.SummarizeCosts", request, seconds=_SUMMARIZE_SECONDS)
        return tuple(codec.to_value(row) for row in answer.summaries), codec.to_value(answer.total)

    def export_ledger(
        self,
        *,
        filter: str = "",  # noqa: A002
        from_time: datetime | None = None,
        to_time: datetime | None = None,
    ) -> Iterator[metering.LedgerEntry]:
        """The egress ledger in bulk, in the order in which it was entered."""
        request = costs_pb2.ExportLedgerRequest(filter=filter, **base.times(from_time, to_time))
        for answer in self._connection.stream("Costs.ExportLedger", request):
            yield from frames.values(metering.LedgerEntry, frames.unpack(metering.LedgerEntry, answer.entries))

    def export_focus(
        self,
        path: Path,
        version: str = "1.4",
        format: str = "parquet",  # noqa: A002
        *,
        filter: str = "",  # noqa: A002
        from_time: datetime | None = None,
        to_time: datetime | None = None,
        terms: focus.Terms | None = None,
    ) -> int:
        """Writes the egress ledger as a FOCUS file (1.2 or 1.4; parquet or csv); returns how many rows it has."""
        entries = self.export_ledger(filter=filter, from_time=from_time, to_time=to_time)
        return focus_file.write(entries, path, version, format, terms or focus.Terms())

    def forecast_costs(self, *, filter: str = "", today: date | None = None) -> forecast.Forecast:  # noqa: A002
        """What this month will have cost at its end, from its days and the eight weeks before; see `core.forecast`."""
        today = today or datetime.now(UTC).date()
        begin = datetime(today.year, today.month, today.day, tzinfo=UTC) - timedelta(days=forecast.DAYS_MAX)
        first = begin.replace(day=1)
        sums, _ = self.summarize_costs("day", filter=filter, from_time=first)
        return forecast.forecast({date.fromisoformat(row.key): row.charge_micros for row in sums}, today)

    def price_egress(
        self,
        source_region: str,
        destination_region: str,
        volume_bytes: int,
        *,
        month_to_date_bytes: int | None = None,
        requests: int = 0,
        account: str = "",
    ) -> ratecard.Quote:
        """What a volume would cost now, or after a stated volume of a month; a destination may be `internet`.

        >>> client.price_egress("aws:us-east-2", "internet", 10 * 2**40, month_to_date_bytes=0).charge_micros
        921510000
        """
        request = costs_pb2.PriceEgressRequest(
            source_region=source_region, destination_region=destination_region, account=account
        )
        # An unset month is what the federation has counted; a number beyond 64 bits is told as our error.
        for name, number in (
            ("volume_bytes", volume_bytes),
            ("month_to_date_bytes", month_to_date_bytes),
            ("requests", requests),
        ):
            if number is not None:
                codec.assign(request, name, number)
        return self._value(ratecard.Quote, "Costs.PriceEgress", request)

    def import_rate_card(
        self,
        *,
        egress: str = "",
        compute: str = "",
        note: str = "",
        replace: bool = False,
        validate_only: bool = False,
        request_id: str = "",
    ) -> ratecard.CardInfo:
        """Imports price rows as CSV into a new rate card; what is left empty stays as it is. For administrators."""
        request = costs_pb2.ImportRateCardRequest(
            egress=egress.encode(),
            compute=compute.encode(),
            note=note,
            replace=replace,
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(ratecard.CardInfo, "Costs.ImportRateCard", request)

    def get_rate_card(self, name: str = "-") -> ratecard.CardInfo:
        """A rate card with its rows: by number, `-` for the one that holds, `0` for the one from before all imports."""
        request = costs_pb2.GetRateCardRequest(name=f"rateCards/{name.removeprefix('rateCards/')}")
        return self._value(ratecard.CardInfo, "Costs.GetRateCard", request)

    def list_rate_cards(self, *, filter: str = "") -> Iterator[ratecard.CardInfo]:  # noqa: A002
        """All imported rate cards, newest first, without their rows."""
        return self._connection.pages("Costs.ListRateCards", costs_pb2.ListRateCardsRequest(filter=filter))
