"""Providers' bills: taken in delivery by delivery, and reconciled with the ledger: what they charge is split over who read.

Lines go into the log by the thousand, and from there into the table `bill_lines`; what reconciling needs, sums by link and
span, is stored beside. Every step can be repeated: a delivery counts once it is whole, and only differences are posted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from federation import frames, ports
from federation.core import bill, budget, errors, ids, metering, policy, site
from federation.services import ledger, scan
from federation.services.context import Context

KIND = "bill.lines"
LINES_MAX = 50_000
_CELL = ("account", "source_region", "destination_region", "start_time", "end_time")


# Taking a delivery in


def begin(tx: ports.Transaction, ctx: Context, principal: policy.Principal, asked: bill.Bill) -> bill.Bill:
    """The bill that a delivery is of, with the delivery counted; unchanged where this very delivery is there already.

    `asked` says provider, account, month, digest (of the lines) and source. InvalidArgument for names that make no bill.
    """
    bill.month_start(asked.month)
    name = ids.segment(bill.bill_id(asked.provider, asked.account, asked.month), "bill")
    stored = tx.get(bill.Bill, name)
    if stored is not None and stored.version and stored.digest == asked.digest:
        return stored
    if stored is None:
        fresh = bill.Bill(
            bill=name,
            provider=asked.provider,
            account=asked.account,
            month=asked.month,
            deliveries=1,
            principal=principal.name,
            uid=ctx.ids.new("u"),
            create_time=tx.now,
            update_time=tx.now,
        )
        stored = tx.insert(fresh)
    else:
        stored = tx.replace(dataclasses.replace(stored, deliveries=stored.deliveries + 1))
    tx.emit("bill.begun", f"bills/{stored.bill}", stored)
    return stored


class Delivery:
    """One delivery on its way in: its sums so far. Memory grows with links and spans, not with lines."""

    def __init__(self, begun: bill.Bill) -> None:
        self.bill = begun
        self.number = begun.deliveries
        self.lines = 0
        self._cells: dict[tuple[str, str, str], dict[tuple[int, int], tuple[int, int]]] = {}
        self._totals = dict.fromkeys(("unknown_lines", "regional_lines", "cost", "unknown", "regional", "tax", "bytes"), 0)
        self._covered: datetime | None = None

    def numbered(self, lines: pa.Table) -> pa.Table:
        """Lines as they are kept: of this bill, delivery and number. InvalidArgument (BILL_INVALID) for what is no line."""
        rows = lines.num_rows
        if not 0 < rows <= LINES_MAX:
            raise _invalid(f"{rows} lines at once", f"Send 1 to {LINES_MAX}.")
        _check(lines, self.bill.month)
        columns = {
            "bill": pa.array([self.bill.bill] * rows),
            "version": pa.array([self.number] * rows, pa.int64()),
            "line": pa.array(range(self.lines + 1, self.lines + rows + 1), pa.int64()),
        }
        for name, column in columns.items():
            lines = lines.set_column(lines.schema.get_field_index(name), lines.schema.field(name), column)
        return lines

    def add(self, lines: pa.Table) -> None:
        """Sums lines that were stored."""
        self.lines += lines.num_rows
        cost = lines.column("cost_picos").cast(pa.decimal128(38, 0))
        known = pc.and_(pc.not_equal(lines["source_region"], ""), pc.not_equal(lines["destination_region"], ""))
        regional = pc.and_(known, pc.equal(lines["source_region"], lines["destination_region"]))
        tax = pc.equal(lines["kind"], str(bill.LineKind.TAX))
        usage = pc.equal(lines["kind"], str(bill.LineKind.USAGE))
        split = pc.and_(pc.and_(known, pc.invert(regional)), pc.invert(tax))
        self._count("cost", cost, None)
        self._count("unknown", cost, pc.and_(pc.invert(known), pc.invert(tax)))
        self._count("regional", cost, pc.and_(regional, pc.invert(tax)))
        self._count("tax", cost, tax)
        self._totals["unknown_lines"] += pc.sum(pc.and_(pc.invert(known), pc.invert(tax))).as_py() or 0
        self._totals["regional_lines"] += pc.sum(regional).as_py() or 0
        # What is taken off again has no bytes of its own, whatever its line says.
        used = pc.if_else(usage, lines["usage_bytes"], 0)
        self._totals["bytes"] += pc.sum(used.filter(split)).as_py() or 0
        latest = pc.max(lines["end_time"].filter(usage)).as_py()
        if latest is not None:
            self._covered = max(self._covered or latest, latest)
        grouped = pa.table({**{name: lines[name] for name in _CELL}, "bytes": used, "picos": cost}).filter(split)
        for row in grouped.group_by(_CELL).aggregate([("bytes", "sum"), ("picos", "sum")]).to_pylist():
            cells = self._cells.setdefault((row["account"], row["source_region"], row["destination_region"]), {})
            span = (int(row["start_time"].timestamp()), int(row["end_time"].timestamp()))
            before = cells.get(span, (0, 0))
            cells[span] = (before[0] + row["bytes_sum"], before[1] + int(row["picos_sum"]))

    def _count(self, name: str, cost: pa.ChunkedArray, where: pa.ChunkedArray | None) -> None:
        found = pc.sum(cost if where is None else cost.filter(where)).as_py()
        self._totals[name] += int(found or 0)

    def charges(self) -> Iterator[bill.LinkCharge]:
        """What was charged for each link."""
        for (account, source_region, destination_region), cells in sorted(self._cells.items()):
            yield bill.LinkCharge(
                bill=self.bill.bill,
                version=self.number,
                account=account,
                source_region=source_region,
                destination_region=destination_region,
                cells=tuple((*span, *amounts) for span, amounts in sorted(cells.items())),
            )

    def whole(self, *, digest: str, source: str, skipped_lines: int, now: datetime) -> bill.Bill:
        """The bill, now that this delivery of it is complete."""
        of = self._totals
        end = bill.month_end(self.bill.month)
        return dataclasses.replace(
            self.bill,
            version=self.number,
            digest=digest,
            lines=self.lines,
            skipped_lines=skipped_lines,
            unknown_lines=of["unknown_lines"],
            regional_lines=of["regional_lines"],
            cost_micros=bill.micros(of["cost"]),
            unknown_micros=bill.micros(of["unknown"]),
            regional_micros=bill.micros(of["regional"]),
            tax_micros=bill.micros(of["tax"]),
            usage_bytes=of["bytes"],
            covered_time=min(self._covered, end) if self._covered else bill.month_start(self.bill.month),
            source=source,
            update_time=now,
        )


def _check(lines: pa.Table, month: str) -> None:
    start, end = bill.month_start(month), bill.month_end(month)
    kinds = set(lines["kind"].unique().to_pylist())
    regions = set(lines["source_region"].unique().to_pylist()) | set(lines["destination_region"].unique().to_pylist())
    wrong = sorted(region for region in regions if region not in ("", site.INTERNET) and not ids.REGION.fullmatch(region))
    if not kinds <= {str(kind) for kind in bill.LineKind}:
        raise _invalid(f"lines are of the kinds {', '.join(sorted(kinds))}", f"Use {', '.join(bill.LineKind)}.")
    if wrong:
        raise _invalid(f"{wrong[0]!r} is not a region", "Write it like aws:eu-central-1.")
    if pc.min(lines["usage_bytes"]).as_py() < 0:
        raise _invalid("a line has fewer than no bytes", "Say what a credit takes off as cost.")
    # A refund may be for an earlier month; usage may not.
    usage = lines.filter(pc.equal(lines["kind"], str(bill.LineKind.USAGE)))
    if usage.num_rows and not start <= pc.min(usage["start_time"]).as_py() < end:
        raise _invalid(f"a line of usage begins outside {month}", "Send each month as a bill of its own.")
    if pc.any(pc.less_equal(lines["end_time"], lines["start_time"])).as_py():
        raise _invalid("a line ends before it begins", "Check its times.")


def add_lines(tx: ports.Transaction, of: Delivery, lines: pa.Table) -> None:
    """Puts numbered lines into the log, many as one event."""
    tx.emit_rows(KIND, f"bills/{of.bill.bill}", frames.to_bytes(lines), lines.num_rows)


def finish(tx: ports.Transaction, of: Delivery, *, digest: str, source: str, skipped_lines: int) -> bill.Bill:
    """Makes a delivery the bill, now that it is whole; Conflict (BILL_SUPERSEDED) if a later one has become it before."""
    stored = tx.get(bill.Bill, of.bill.bill)
    if stored is None or stored.version > of.number:
        raise errors.Conflict(
            f"delivery {of.number} of bill {of.bill.bill} was overtaken by a later one",
            reason="BILL_SUPERSEDED",
            help="`fed bill show` tells what is there.",
        )
    for old in list(scan.every(tx, bill.LinkCharge, parent=f"{stored.bill}/{stored.version}")):
        tx.delete(bill.LinkCharge, f"{old.bill}/{old.version:06d}/{old.account}/{old.link}")
    for charge in of.charges():
        tx.insert(charge)
    found = of.whole(digest=digest, source=source, skipped_lines=skipped_lines, now=tx.now)
    changed = tx.replace(dataclasses.replace(found, deliveries=stored.deliveries))
    tx.emit("bill.imported", f"bills/{changed.bill}", changed)
    return changed


def get(tx: ports.Transaction, name: str) -> bill.Bill:
    """One bill; NotFound when it is not there."""
    key = ids.child(name, "bills")
    found = tx.get(bill.Bill, key)
    if found is None:
        raise errors.NotFound(f"bill {key} does not exist", help="`fed bill list` shows what is there.", metadata={"bill": key})
    return found


def _invalid(problem: str, cure: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"the bill's lines cannot be taken: {problem}", reason="BILL_INVALID", help=cure)


# Reconciling


@dataclasses.dataclass(frozen=True, kw_only=True)
class Posting:
    """A correction to be made: the share that an entry bears, and by how much what it was charged differs."""

    share: bill.Share
    number: int
    diff_micros: int
    bills: str
    source: str


def draft(
    tx: ports.Transaction, month: str, provider: str, period: bill.Period, account: str = ""
) -> tuple[bill.Reconciliation, tuple[Posting, ...]]:
    """How a month's bills compare with the ledger, and what is to be posted. Changes nothing; reads one link's month at a time.

    `account` narrows it to one payer's bill. NotFound (BILL_MISSING) where none was imported.
    """
    bill.month_start(month)
    where = {"month": month, "provider": provider} | ({"account": account} if account else {})
    bills = tuple(row for row in scan.every(tx, bill.Bill, where=where) if row.version)
    if not bills:
        raise errors.NotFound(
            f"no bill of {provider} for {month} was imported",
            reason="BILL_MISSING",
            help="`fed bill import FILE --provider aws` imports one; `fed bill list` shows what is there.",
            metadata={"month": month, "provider": provider},
        )
    links, postings = [], []
    charges = _charges(tx, bills)
    for (of_account, link), found in sorted(charges.items()):
        row, posted = _link(tx, month, period, of_account, link, found)
        links.append(row)
        postings += posted
    links += _unbilled(tx, month, provider, {link for _, link in charges})
    return _summed(month, provider, period, bills, links), tuple(postings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Charged:
    """What the bills of one account charge for a link, all together."""

    bills: tuple[bill.Bill, ...]
    cells: tuple[tuple[int, int, int, int], ...]

    @property
    def covered_seconds(self) -> int:
        return min(int(row.covered_time.timestamp()) for row in self.bills if row.covered_time)


def _charges(tx: ports.Transaction, bills: Sequence[bill.Bill]) -> dict[tuple[str, str], _Charged]:
    """(account, link) -> its charges. Accounts that no site sends from are together the empty one, as in the ledger."""
    known = {row.account for row in scan.every(tx, site.Site)}
    found: dict[tuple[str, str], _Charged] = {}
    for row in bills:
        for charge in scan.every(tx, bill.LinkCharge, parent=f"{row.bill}/{row.version}"):
            key = (charge.account if charge.account in known else "", charge.link)
            before = found.get(key, _Charged(bills=(), cells=()))
            of = before.bills if row in before.bills else (*before.bills, row)
            found[key] = _Charged(bills=of, cells=(*before.cells, *charge.cells))
    return found


def _link(  # noqa: PLR0917 - one link
    tx: ports.Transaction, month: str, period: bill.Period, account: str, link: str, charged: _Charged
) -> tuple[bill.LinkReconciliation, list[Posting]]:
    reads = _reads(tx, month, account, link, charged.covered_seconds)
    found = bill.split(charged.cells, reads, period)
    shares = {share.entry: share for share in found.shares}
    names = " + ".join(row.bill for row in charged.bills)
    source = " + ".join(f"{row.bill} version {row.version}" for row in charged.bills)
    postings = []
    for read in reads:
        share = shares.get(read.entry) or bill.Share(entry=read.entry, period=month, bytes=read.bytes, of_bytes=0, micros=0)
        diff = share.micros - read.charge_micros - read.corrected_micros
        if diff:
            postings.append(Posting(share=share, number=read.corrections + 1, diff_micros=diff, bills=names, source=source))
    diffs = {posting.share.entry: posting.diff_micros for posting in postings}
    billed_bytes = sum(used for _, _, used, _ in charged.cells)
    return bill.reconciled(account, link, billed_bytes, reads, found, diffs), postings


def _reads(tx: ports.Transaction, month: str, account: str, link: str, covered_seconds: int) -> list[bill.Read]:
    """The entries of a link that bills cover, with what earlier reconciliations have made of them, oldest first."""
    source_region, _, destination_region = link.partition("~")
    where = {"month": month, "source_region": source_region, "destination_region": destination_region}
    reads: dict[str, bill.Read] = {}
    corrected: dict[str, tuple[int, int]] = {}
    for line in scan.every(tx, metering.LedgerEntry, where=where):
        if line.account != account:
            continue
        if line.bill:
            micros, number = corrected.get(line.corrects, (0, 0))
            corrected[line.corrects] = (micros + line.charge_micros, number + 1)
        elif not line.corrects and line.time.timestamp() < covered_seconds:
            seconds = int(line.time.timestamp())
            reads[line.entry] = bill.Read(entry=line.entry, seconds=seconds, bytes=line.bytes, charge_micros=line.charge_micros)
    return [
        dataclasses.replace(read, corrected_micros=corrected[entry][0], corrections=corrected[entry][1])
        if entry in corrected
        else read
        for entry, read in reads.items()
    ]


def _unbilled(tx: ports.Transaction, month: str, provider: str, billed: set[str]) -> Iterator[bill.LinkReconciliation]:
    """Links of the provider that the ledger charges for, though no bill mentions them."""
    for spend in scan.every(tx, budget.Spend, parent=month):
        kind, _, link = spend.scope.partition("/")
        source_region, _, destination_region = link.partition("~")
        if kind == "links" and source_region.startswith(f"{provider}:") and link not in billed and spend.charge_micros:
            yield bill.LinkReconciliation(
                account="",
                source_region=source_region,
                destination_region=destination_region,
                billed=False,
                charged_micros=spend.charge_micros,
            )


def _summed(
    month: str, provider: str, period: bill.Period, bills: Sequence[bill.Bill], links: Sequence[bill.LinkReconciliation]
) -> bill.Reconciliation:
    billed = [row for row in links if row.billed]
    return bill.Reconciliation(
        month=month,
        provider=provider,
        period=period,
        bills=tuple(f"{row.bill}@{row.version}" for row in bills),
        links=tuple(links),
        billed_micros=sum(row.billed_micros for row in billed),
        charged_micros=sum(row.charged_micros for row in billed),
        allocated_micros=sum(row.allocated_micros for row in billed),
        unallocated_micros=sum(row.unallocated_micros for row in billed),
        correction_micros=sum(row.correction_micros for row in billed),
        entries=sum(row.entries for row in billed),
    )


def post(tx: ports.Transaction, postings: Sequence[Posting]) -> int:
    """Appends corrections to the ledger, those that are not there yet. Returns how many."""
    done = 0
    for posting in postings:
        of = tx.get(metering.LedgerEntry, posting.share.entry)
        if of is None:
            raise AssertionError(f"{posting.share.entry} was there and is not")
        entry = bill.correction(
            of,
            posting.share,
            number=posting.number,
            diff_micros=posting.diff_micros,
            bills=posting.bills,
            source=posting.source,
            time=tx.now,
        )
        if tx.get(metering.LedgerEntry, entry.entry) is None:
            ledger.post(tx, entry)
            done += 1
    return done


def keep(tx: ports.Transaction, found: bill.Reconciliation) -> bill.Reconciliation:
    """Stores how a month was reconciled, in the place of what was stored before."""
    known = tx.get(bill.Reconciliation, f"{found.month}/{found.provider}")
    stamped = dataclasses.replace(found, create_time=tx.now)
    stored = tx.replace(stamped) if known else tx.insert(stamped)
    tx.emit("bill.reconciled", f"reconciliations/{stored.month}/{stored.provider}", stored)
    return stored
