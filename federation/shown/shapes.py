"""What people are shown of each kind of value in a table: its columns. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from federation.core import (
    authorization,
    bill,
    budget,
    card,
    chain,
    dataset,
    discovery,
    erasure,
    job,
    keys,
    leases,
    metering,
    offers,
    openlineage,
    people,
    pipeline,
    quota,
    ratecard,
    site,
    statistics,
    trail,
    transfer,
    units,
    watching,
    witness,
)
from federation.shown import wording
from federation.wire import codec


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table: its heading, what it shows of a value and from where to where in bold, whether it is a number."""

    heading: str
    show: Callable[[Any], str]
    number: bool = False
    emphasis: Callable[[Any], Iterable[tuple[int, int]]] = lambda _: ()


def columns(cls: type, *, wide: bool = False) -> Sequence[Column]:
    """The columns of a kind of value; `wide` has what does not fit into a hundred characters as well."""
    return (*_COLUMNS[cls], *_WIDE.get(cls, ())) if wide else _COLUMNS[cls]


def _text(heading: str, show: Callable[[Any], str]) -> Column:
    return Column(heading=heading, show=show)


def _count(heading: str, show: Callable[[Any], str]) -> Column:
    return Column(heading=heading, show=show, number=True)


def _joined(items: Iterable[str]) -> str:
    return ", ".join(items) or "-"


def _site_of(value: job.Job) -> str:
    return value.plan.choice.site if value.plan and value.plan.choice else "-"


def _gpus(capacity: site.Capacity) -> str:
    return _joined(f"{count} {kind}" for kind, count in capacity.gpus)


def _kept_out(place: site.Site) -> str:
    """Why a site that was tested is not let in."""
    return "" if place.grade else "; ".join(line for line in place.admission if line.startswith("refused"))


def _because(value: Any) -> str:
    return ": ".join(part for part in (value.reason, value.detail) if part)


def _found_in_name(value: discovery.Found) -> list[tuple[int, int]]:
    return [(span.start, span.end) for match in value.matches if match.field == "name" for span in match.spans]


def _found_elsewhere(value: discovery.Found) -> tuple[str, list[tuple[int, int]]]:
    """Where else the words stand, and from where to where in that."""
    told, bold = "", []
    for match in value.matches:
        if match.field != "name":
            told += f"{'; ' if told else ''}{match.field}: "
            bold += [(len(told) + span.start, len(told) + span.end) for span in match.spans]
            told += match.text
    return told, bold


def _link_price(link: site.Link) -> str:
    if link.gb_micros is None:
        return "unknown"
    return f"{units.usd(link.gb_micros)} / {_unit(link.gb_bytes)}"


def _unit(gb_bytes: int) -> str:
    return {10**9: "GB", 2**30: "GiB"}.get(gb_bytes, f"{gb_bytes:,} B")


def _figure(row: offers.OfferRow) -> str:
    if row.watts is not None:
        return f"{row.watts} W"
    return "-" if row.carbon_g_per_kwh is None else f"{row.carbon_g_per_kwh} g/kWh"


def _done(moved: transfer.Transfer) -> str:
    share = f" ({100 * moved.bytes_done // moved.object_bytes} %)" if moved.object_bytes else ""
    return f"{units.size(moved.bytes_done)} of {units.size(moved.object_bytes)}{share}"


def _verdict(found: chain.Verification) -> str:
    if found.findings:
        return "BROKEN"
    return "intact" if found.proven_position or not found.rows else "consistent, not proven"


def _downstream(value: erasure.Erasure) -> str:
    models = set(value.downstream_models)
    named = [f"{name} (model)" if name in models else name for name in value.downstream]
    return ", ".join(named + ([] if value.downstream_complete else ["and more"])) or "nothing"


def _alerts(value: budget.Budget) -> str:
    """Thresholds, those that were told with a mark."""
    return (
        ", ".join(f"{percent} %{'!' if percent in value.alerted_percents else ''}" for percent in value.alert_percents) or "-"
    )


def _share(error: float | None) -> str:
    return "-" if error is None else f"{100 * error:+.1f} %"


_SUM = (
    _count("ENTRIES", lambda v: f"{v.entries:,}"),
    _count("READ", lambda v: units.size(v.bytes)),
    _count("STAYED", lambda v: units.size(v.local_bytes)),
    _count("LEFT A REGION", lambda v: units.size(v.egress_bytes)),
    _count("CHARGE", lambda v: wording.money(v.charge_micros)),
    _count("CORRECTED", lambda v: wording.money(v.correction_micros)),
    _count("ESTIMATE", lambda v: wording.money(v.estimate_micros)),
    _count("AVOIDED", lambda v: wording.money(v.avoided_micros)),
    _count("UNSETTLED", lambda v: units.size(v.unsettled_bytes)),
)

_COLUMNS: dict[type, Sequence[Column]] = {
    watching.Change: (
        _count("REVISION", lambda v: str(v.revision)),
        _text("TIME", lambda v: wording.moment(v.time)),
        _text("KIND", lambda v: v.kind),
        _text("NAME", lambda v: v.name),
        _text("BY", lambda v: v.actor),
    ),
    dataset.Namespace: (
        _text("NAME", lambda v: v.name),
        _text("OWNER", lambda v: v.owner),
        _count("WEIGHT", lambda v: str(v.weight)),
        _text("CREATED", lambda v: wording.moment(v.create_time)),
        _text("DESCRIPTION", lambda v: v.description),
    ),
    dataset.Dataset: (
        _text("NAME", lambda v: v.name.short),
        _text("KIND", lambda v: str(v.kind)),
        _text("RESIDENCY", lambda v: ", ".join(v.residency) or "anywhere"),
        _count("VERSION", lambda v: str(v.latest_version or "-")),
        _text("OWNER", lambda v: v.owner),
        _text("CREATED", lambda v: wording.moment(v.create_time)),
        _text("DELETED", lambda v: wording.moment(v.delete_time)),
    ),
    card.CardFact: (
        _text("INHERITED", lambda v: wording.plainly(v.field)),
        _text("VALUE", lambda v: ", ".join(v.values)),
        _text("FROM", lambda v: v.source),
    ),
    discovery.Found: (
        Column(heading="NAME", show=lambda v: v.dataset.name.short, emphasis=_found_in_name),
        _text("KIND", lambda v: str(v.dataset.kind)),
        _text("OWNER", lambda v: v.dataset.owner),
        Column(heading="FOUND IN", show=lambda v: _found_elsewhere(v)[0], emphasis=lambda v: _found_elsewhere(v)[1]),
        _text("DESCRIPTION", lambda v: v.dataset.description),
    ),
    dataset.Version: (
        _text("VERSION", lambda v: v.name.short),
        _count("FILES", lambda v: f"{v.files:,}"),
        _count("SIZE", lambda v: units.size(v.total_bytes)),
        _count("ROWS", lambda v: f"{v.rows:,}" if v.rows >= 0 else "-"),
        _text("SIGNED BY", lambda v: v.signed_by),
        _text("MADE BY", lambda v: v.run or v.source or "put"),
        _text("CREATED", lambda v: wording.moment(v.create_time)),
    ),
    dataset.FileEntry: (
        _text("FILE", lambda v: v.path),
        _count("SIZE", lambda v: units.size(v.file_bytes)),
        _count("ROWS", lambda v: f"{v.rows:,}" if v.rows >= 0 else "-"),
        _count("STORED", lambda v: units.size(v.object_bytes)),
    ),
    statistics.ColumnStatistics: (
        _text("COLUMN", lambda v: v.column),
        _text("TYPE", lambda v: v.type),
        _count("NULLS", lambda v: "-" if v.nulls is None else f"{v.nulls:,}"),
        _text("LEAST", lambda v: "masked" if v.masked else v.least or "-"),
        _text("GREATEST", lambda v: "masked" if v.masked else v.greatest or "-"),
        _count("STORED", lambda v: units.size(v.stored_bytes)),
    ),
    dataset.Replica: (
        _text("VERSION", lambda v: v.version.short),
        _text("SITE", lambda v: v.site),
        _text("STATE", lambda v: str(v.state)),
        _count("STORED", lambda v: units.size(v.object_bytes)),
        _text("VERIFIED", lambda v: wording.moment(v.verify_time) or "-"),
        _text("ENDS", lambda v: wording.moment(v.expire_time) or "-"),
    ),
    transfer.Transfer: (
        _text("TRANSFER", lambda v: v.transfer),
        _text("VERSION", lambda v: f"{v.dataset}@{v.version}"),
        _text("FROM", lambda v: v.source_site or "-"),
        _text("TO", lambda v: v.destination_site),
        _text("STATE", lambda v: str(v.state)),
        _count("DONE", _done),
        _count("ESTIMATE", lambda v: wording.money(v.estimate_micros)),
        _text("FOR", lambda v: v.rule or ", ".join(v.jobs) or v.principal),
        _text("CREATED", lambda v: wording.moment(v.create_time)),
        _text("BECAUSE", _because),
    ),
    transfer.ReplicationRule: (
        _text("RULE", lambda v: v.rule),
        _text("DATASET", lambda v: v.dataset),
        _count("COPIES", lambda v: str(v.copies)),
        _text("SITES", lambda v: v.site_filter or "any"),
        _text("LIFETIME", lambda v: units.duration(v.lifetime_seconds) if v.lifetime_seconds else "for ever"),
        _text("BY", lambda v: v.principal),
        _text("WANTING", _because),
    ),
    site.Site: (
        _text("SITE", lambda v: v.site),
        _text("REGION", lambda v: v.region),
        _text("JURISDICTION", lambda v: v.jurisdiction),
        _text("STATE", lambda v: str(v.state)),
        _text("GRADE", lambda v: v.grade or "-"),
        _count("CPUS", lambda v: str(v.capacity.cpus or "-")),
        _text("GPUS", lambda v: _gpus(v.capacity)),
        _count("CPU HOUR", lambda v: wording.money(v.offer.cpu_hour_micros)),
        _text("GATEWAY", lambda v: v.gateway),
        _text("PROBLEM", lambda v: v.compute_error or _kept_out(v)),
    ),
    people.Token: (
        _text("TOKEN", lambda v: v.token),
        _text("USER", lambda v: v.user.removeprefix("users/")),
        _text("ROLE", lambda v: v.role),
        _text("JURISDICTION", lambda v: v.jurisdiction),
        _text("GROUPS", lambda v: ", ".join(v.groups)),
        _text("SCOPES", lambda v: ", ".join(v.scopes)),
        _text("ENDS", lambda v: f"{v.expire_time:%Y-%m-%d %H:%M}" if v.expire_time else "-"),
        _text("CREATOR", lambda v: v.creator),
    ),
    site.Link: (
        _text("FROM", lambda v: v.source_region),
        _text("TO", lambda v: v.destination_region),
        _count("NEXT GB", _link_price),
        _count("THIS MONTH", lambda v: units.size(v.month_to_date_bytes)),
        _count("RESERVED", lambda v: units.size(v.reserved_bytes)),
        _count("SPEED", lambda v: "-" if v.bytes_per_second is None else f"{units.size(v.bytes_per_second)}/s"),
        _text("AS OF", lambda v: v.as_of or "-"),
        _text("SOURCE", lambda v: v.price_source),
    ),
    job.Job: (
        _text("JOB", lambda v: v.job),
        _text("LABEL", lambda v: v.request.label or "-"),
        _text("STATE", lambda v: str(v.state)),
        _text("SITE", _site_of),
        _count("ATTEMPT", lambda v: str(v.attempt or "-")),
        _text("CREATED", lambda v: wording.moment(v.create_time)),
        _text("ENDED", lambda v: wording.moment(v.end_time) or "-"),
        _text("BECAUSE", _because),
    ),
    pipeline.Pipeline: (
        _text("PIPELINE", lambda v: v.pipeline),
        _text("LABEL", lambda v: v.request.label or "-"),
        _text("STATE", lambda v: str(v.state)),
        _count("TASKS", lambda v: f"{sum(row.state.terminal for row in v.tasks)}/{len(v.tasks)}"),
        _text("SITES", lambda v: _joined(dict.fromkeys(row.site for row in v.tasks if row.site))),
        _count("COST", lambda v: units.usd(v.plan.cost_micros) if v.plan and v.plan.tasks else "-"),
        _text("CREATED", lambda v: wording.moment(v.create_time)),
        _text("ENDED", lambda v: wording.moment(v.end_time) or "-"),
        _text("BECAUSE", _because),
    ),
    job.Run: (
        _text("RUN", lambda v: v.run),
        _text("SITE", lambda v: v.site),
        _text("STATE", lambda v: str(v.state)),
        _count("EXIT CODE", lambda v: "-" if v.exit_code is None else str(v.exit_code)),
        _text("STARTED", lambda v: wording.moment(v.start_time) or "-"),
        _text("ENDED", lambda v: wording.moment(v.end_time) or "-"),
        _text("OUTPUTS", lambda v: _joined(v.outputs)),
        _text("BECAUSE", _because),
    ),
    openlineage.Received: (
        _count("RUNS", lambda v: f"{v.runs:,}"),
        _count("ENDED", lambda v: f"{v.ended:,}"),
        _count("IGNORED", lambda v: f"{v.ignored:,}"),
    ),
    metering.LedgerEntry: (
        _text("TIME", lambda v: wording.moment(v.time)),
        _text("READ", lambda v: f"{v.namespace}/{v.dataset}@{v.version}"),
        _text("FROM", lambda v: v.source_region),
        _text("TO", lambda v: v.destination_region),
        _count("BYTES", lambda v: f"{v.bytes:,}"),
        _count("CHARGE", lambda v: wording.money(v.charge_micros)),
        _count("ESTIMATE", lambda v: wording.money(v.estimate_micros)),
        _count("AVOIDED", lambda v: wording.money(v.avoided_micros)),
        _text("BY", lambda v: v.run or (f"transfers/{v.transfer}" if v.transfer else v.principal)),
    ),
    metering.UsageRecord: (
        _text("HOUR", lambda v: f"{v.hour_time:%Y-%m-%d %H}h"),
        _text("READ", lambda v: f"{v.namespace}/{v.dataset}@{v.version}"),
        _text("FROM", lambda v: v.source_region),
        _text("TO", lambda v: v.destination_region),
        _text("COUNTER", lambda v: v.counter.lower()),
        _count("WHOLE", lambda v: f"{v.bytes:,}"),
        _count("ABORTED", lambda v: f"{v.aborted_bytes:,}"),
        _count("ANSWERS", lambda v: f"{v.responses:,}"),
        _count("RETRIES", lambda v: f"{v.retries:,}"),
        _count("CACHED", lambda v: f"{v.cached_bytes:,}"),
        _text("BY", lambda v: v.run or (f"transfers/{v.transfer}" if v.transfer else "a person")),
    ),
    metering.Agreement: (
        _text("HOUR", lambda v: f"{v.hour_time:%Y-%m-%d %H}h"),
        _text("RUN", lambda v: v.run),
        _text("FROM", lambda v: v.source_region),
        _text("TO", lambda v: v.destination_region),
        _count("SENT", lambda v: f"{v.sent_bytes:,}"),
        _count("RECEIVED", lambda v: f"{v.received_bytes:,}"),
        _count("ABORTED", lambda v: f"{v.aborted_bytes:,}"),
        _count("BROKEN OFF", lambda v: f"{v.broken_off_bytes:,}"),
        _count("RETRIES", lambda v: f"{v.retries:,}"),
        _count("CACHED", lambda v: f"{v.cached_bytes:,}"),
    ),
    quota.NamespaceUsage: (
        _text("NAMESPACE", lambda v: v.namespace or "(none)"),
        _text("MONTH", lambda v: v.month),
        _count("GPU HOURS", lambda v: f"{v.gpu_seconds / 3600:.2f}"),
        _count("RESERVED", lambda v: f"{v.reserved_gpu_seconds / 3600:.2f}"),
        _count("CPU HOURS", lambda v: f"{v.cpu_seconds / 3600:.2f}"),
        _count("EGRESS", lambda v: wording.money(v.egress_micros)),
        _count("RESERVED", lambda v: wording.money(v.reserved_egress_micros)),
    ),
    chain.SignedHead: (
        _text("TABLE", lambda v: v.table),
        _count("POSITION", lambda v: f"{v.position:,}"),
        _count("ROWS", lambda v: f"{v.rows:,}"),
        _text("SIGNED", lambda v: wording.moment(v.time)),
        _text("CHAIN", lambda v: v.chain[:16]),
        _text("KEY", lambda v: v.key),
    ),
    chain.Verification: (
        _text("TABLE", lambda v: v.table),
        _count("ROWS", lambda v: f"{v.rows:,}"),
        _count("FIRST LINK", lambda v: f"{v.chained_from:,}" if v.chained_from else "-"),
        _count("LAST", lambda v: f"{v.last_position:,}"),
        _count("PROVEN TO", lambda v: f"{v.proven_position:,}" if v.proven_position else "-"),
        _count("ROWS PROVEN", lambda v: f"{v.proven_rows:,}"),
        _count("CONSISTENT TO", lambda v: f"{v.consistent_position:,}"),
        _count("HEADS", lambda v: f"{v.heads:,}"),
        _text("VERDICT", _verdict),
    ),
    witness.AuditVerification: (
        _text("TABLE", lambda v: v.table),
        _count("ROWS", lambda v: f"{v.verification.rows:,}"),
        _count("LAST", lambda v: f"{v.verification.last_position:,}"),
        _count("PROVEN TO", lambda v: f"{v.verification.proven_position:,}" if v.verification.proven_position else "-"),
        _count("WITNESSED TO", lambda v: f"{v.witnessed_position:,}" if v.witnessed_position else "-"),
        _text("BY", lambda v: _joined(count.site for count in v.witnesses)),
        _text("VERDICT", lambda v: _verdict(v.verification) if v.intact else "BROKEN"),
    ),
    trail.AuditRow: (
        _count("POSITION", lambda v: f"{v.position}"),
        _text("TIME", lambda v: wording.moment(v.time)),
        _text("WHO", lambda v: f"{v.actor} for {v.subject}" if v.subject else v.actor),
        _text("KIND", lambda v: v.kind),
        _text("OUTCOME", lambda v: str(v.outcome)),
        _text("DATASET", lambda v: v.dataset or "-"),
        _text("SITE", lambda v: v.site or "-"),
        _text("RESOURCE", lambda v: v.resource),
    ),
    metering.CostSummary: (_text("KEY", lambda v: v.key), *_SUM),
    keys.SiteKeyring: (
        _text("SITE", lambda v: v.site),
        _text("KEYS", lambda v: v.kind or "-"),
        _text("KEK", lambda v: v.kek or "-"),
        _text("OTHERS", lambda v: ", ".join(kek for kek in v.keks if kek != v.kek) or "-"),
        _count("DESTROYED", lambda v: f"{v.destroyed:,}"),
        _text("ROTATION", lambda v: "under way" if v.rotating else f"{v.done} done" if v.done else "-"),
        _count("STUCK", lambda v: f"{v.stuck:,}"),
    ),
    keys.KeyUse: (
        _text("SITE", lambda v: v.site),
        _text("DATASET", lambda v: v.dataset),
        _count("GENERATIONS", lambda v: f"{v.generations:,}"),
        _text("CLASSES", lambda v: ", ".join(v.sensitivities)),
        _text("ROWS BY KEK", lambda v: ", ".join(f"{kek}: {count:,}" for kek, count in v.keks)),
        _count("ESCROWED", lambda v: f"{v.escrowed:,}"),
    ),
    keys.Escrow: (
        _text("ESCROW", lambda v: v.escrow),
        _text("SITE", lambda v: v.site),
        _text("DATASET", lambda v: v.dataset or "all"),
        _text("CUSTODIANS", lambda v: ", ".join(each.principal.removeprefix("users/") for each in v.custodians)),
        _count("THRESHOLD", lambda v: str(v.threshold)),
        _count("ROWS", lambda v: f"{v.keys:,}"),
        _text("COMPLETE", lambda v: "no" if v.behind else "yes"),
    ),
    keys.Opening: (
        _text("OPENING", lambda v: v.opening),
        _text("ESCROW", lambda v: v.escrow),
        _text("STATE", lambda v: str(v.state)),
        _text("BY", lambda v: v.principal),
        _text("APPROVED BY", lambda v: ", ".join(each.principal.removeprefix("users/") for each in v.approvals) or "-"),
        _count("ROWS", lambda v: f"{v.keys:,}"),
        _text("REASON", lambda v: v.reason),
    ),
    authorization.PolicyRevision: (
        _count("REVISION", lambda v: str(v.number)),
        _count("POLICIES", lambda v: str(v.policies)),
        _text("DIGEST", lambda v: v.digest[:16]),
        _text("BY", lambda v: v.principal or "-"),
        _text("APPLIED", lambda v: wording.moment(v.create_time)),
        _text("NOTE", lambda v: v.note),
    ),
    authorization.Problem: (
        _text("POLICY", lambda v: v.policy or "-"),
        _text("PROBLEM", lambda v: v.detail),
    ),
    authorization.Failure: (
        _text("CASE", lambda v: v.case),
        _text("BUT", lambda v: v.told),
    ),
    authorization.PolicyFlip: (
        _text("WHO", lambda v: ", ".join((v.principal, *(f"groups/{group}" for group in v.groups)))),
        _text("ACTION", lambda v: v.action),
        _text("DATASET", lambda v: v.dataset),
        _text("SITE", lambda v: v.site or "-"),
        _text("PURPOSE", lambda v: v.purpose or "-"),
        _text("NOW", lambda v: "allowed" if v.before else "denied"),
        _text("THEN", lambda v: "allowed" if v.after else "denied"),
        _text("BECAUSE", lambda v: v.because),
    ),
    budget.Budget: (
        _text("BUDGET", lambda v: v.budget),
        _text("SCOPE", lambda v: v.scope),
        _text("MONTH", lambda v: v.month),
        _count("LIMIT", lambda v: wording.money(v.limit_micros)),
        _count("SPENT", lambda v: wording.money(v.spent_micros)),
        _count("USED", lambda v: f"{100 * v.spent_micros / v.limit_micros:.1f} %"),
        _count("IN FLIGHT", lambda v: wording.money(v.reserved_micros)),
        _text("ALERTS", _alerts),
        _text("STOPS", lambda v: "yes" if v.hard else "no"),
    ),
    leases.Lease: (
        _text("LEASE", lambda v: v.lease),
        _text("USE", lambda v: str(v.use)),
        _text("OF", lambda v: v.short),
        _text("SITE", lambda v: v.site),
        _text("TO", lambda v: v.run or v.reader_site or v.principal),
        _text("KEY", lambda v: v.reader_key[:12]),
        _text("FROM", lambda v: wording.moment(v.issue_time) or "-"),
        _text("UNTIL", lambda v: wording.moment(v.expire_time) or "-"),
    ),
    erasure.Erasure: (
        _text("ERASURE", lambda v: v.erasure),
        _text("VERSION", lambda v: v.short),
        _text("STATE", lambda v: str(v.state)),
        _text("SITES", lambda v: f"{len(v.sites) - len(v.unconfirmed)} of {len(v.sites)} confirmed"),
        _text("WAITS FOR", lambda v: "; ".join(v.waits_for) or "-"),
        _text("MADE OF IT", _downstream),
        _text("REASON", lambda v: v.reason),
        _text("BY", lambda v: v.principal or "-"),
        _text("SINCE", lambda v: wording.moment(v.create_time) or "-"),
        _text("CERTIFIED", lambda v: wording.moment(v.certify_time) or "-"),
    ),
    erasure.SiteErasure: (
        _text("SITE", lambda v: v.site),
        _text("CONFIRMED", lambda v: wording.moment(v.confirm_time) or "not yet"),
        _text("SIGNED BY", lambda v: v.signing_key[:16] or "-"),
    ),
    bill.Bill: (
        _text("BILL", lambda v: v.bill),
        _count("VERSION", lambda v: str(v.version or "-")),
        _count("LINES", lambda v: f"{v.lines:,}"),
        _count("BYTES", lambda v: units.size(v.usage_bytes)),
        _count("COST", lambda v: wording.money(v.cost_micros)),
        _count("UNKNOWN", lambda v: wording.money(v.unknown_micros)),
        _count("REGIONAL", lambda v: wording.money(v.regional_micros)),
        _text("COVERS UP TO", lambda v: wording.moment(v.covered_time) or "-"),
        _text("FROM", lambda v: v.source),
    ),
    bill.LinkReconciliation: (
        _text("FROM", lambda v: v.source_region),
        _text("TO", lambda v: v.destination_region),
        _text("ACCOUNT", lambda v: v.account or "-"),
        _count("BILLED", lambda v: units.size(v.billed_bytes) if v.billed else "not on the bill"),
        _count("METERED", lambda v: units.size(v.metered_bytes) if v.billed else "-"),
        _count("BILL", lambda v: wording.money(v.billed_micros) if v.billed else "-"),
        _count("CHARGED", lambda v: wording.money(v.charged_micros)),
        _count("ALLOCATED", lambda v: wording.money(v.allocated_micros) if v.billed else "-"),
        _count("UNALLOCATED", lambda v: wording.money(v.unallocated_micros) if v.billed else "-"),
        _count("CORRECTION", lambda v: wording.money(v.correction_micros) if v.billed else "-"),
        _count("BYTES OFF BY", lambda v: _share(v.bytes_error)),
        _count("PRICE OFF BY", lambda v: _share(v.cost_error)),
    ),
    ratecard.TierUse: (
        _count("FROM", lambda v: units.size(v.from_bytes)),
        _count("UP TO", lambda v: "-" if v.upto_bytes is None else units.size(v.upto_bytes)),
        _count("A GB", lambda v: f"{units.usd(v.gb_micros)} / {_unit(v.gb_bytes)}"),
        _count("USED", lambda v: f"{v.used_bytes:,} B"),
        _count("CHARGE", lambda v: wording.money(v.charge_micros)),
    ),
    ratecard.CardInfo: (
        _count("NUMBER", lambda v: str(v.number)),
        _count("EGRESS ROWS", lambda v: f"{v.egress_rows:,}"),
        _count("COMPUTE ROWS", lambda v: f"{v.compute_rows:,}"),
        _text("IMPORTED", lambda v: wording.moment(v.create_time) or "-"),
        _text("BY", lambda v: v.principal or "-"),
        _text("NOTE", lambda v: v.note or "-"),
        _text("DIGEST", lambda v: v.digest[:12]),
    ),
    offers.OfferRow: (
        _text("REGION", lambda v: f"{v.provider}:{v.place}"),
        _text("ITEM", lambda v: str(v.item)),
        _text("TYPE", lambda v: v.type or "-"),
        _count("PRICE", lambda v: "-" if v.micros is None else units.usd(v.micros)),
        _count("SPOT", lambda v: "-" if v.spot_micros is None else units.usd(v.spot_micros)),
        _count("FIGURE", _figure),
        _text("AS OF", lambda v: v.as_of or "-"),
        _text("SOURCE", lambda v: v.source),
    ),
}


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{key}={value}" for key, value in pairs) or "-"


def _asked(wanted: job.Resources) -> str:
    """What a job asked for, in short."""
    gpus = f"{wanted.gpus} {wanted.gpu_type or 'GPU'}" if wanted.gpus else ""
    memory = units.size(wanted.memory_bytes) if wanted.memory_bytes else ""
    return ", ".join(part for part in (f"{wanted.cpus} CPU", gpus, memory) if part)


_RESOURCE = _text("NAME", lambda v: codec.NAMES[type(v)].build(v))
_CREATED = _text("CREATED", lambda v: wording.moment(v.create_time) or "-")
_UPDATED = _text("UPDATED", lambda v: wording.moment(v.update_time) or "-")
_ETAG = _text("ETAG", lambda v: v.etag or "-")

#: What `-o wide` has beside the columns above.
_WIDE: dict[type, Sequence[Column]] = {
    dataset.Namespace: (
        _count("GPU HOURS", lambda v: f"{v.gpu_seconds_quota / 3600:g}" if v.gpu_seconds_quota else "no limit"),
        _count("EGRESS", lambda v: wording.money(v.egress_micros_quota) if v.egress_micros_quota else "no limit"),
        _UPDATED,
        _ETAG,
    ),
    dataset.Dataset: (
        _text("CLASSIFICATION", lambda v: str(v.classification)),
        _text("PURPOSES", lambda v: _joined(v.purposes)),
        _text("READERS", lambda v: _joined(v.readers)),
        _text("USE ENDS", lambda v: wording.moment(v.use_expire_time) or "-"),
        _text("HOLD", lambda v: "yes" if v.legal_hold else "no"),
        _text("LABELS", lambda v: _labels(v.labels)),
        _text("PARTS", lambda v: _joined(v.parts)),
        _UPDATED,
        _ETAG,
        _text("DESCRIPTION", lambda v: v.description),
    ),
    dataset.Version: (
        _count("STORED", lambda v: units.size(v.object_bytes)),
        _count("COLUMNS", lambda v: str(len(v.columns) or "-")),
        _count("GENERATIONS", lambda v: str(len(v.generations))),
        _text("ERASED", lambda v: wording.moment(v.erase_time) or "-"),
        _text("MANIFEST", lambda v: v.manifest_digest),
    ),
    dataset.FileEntry: (_text("GENERATION", lambda v: v.generation), _text("SHA-256 SEALED", lambda v: v.object_sha256)),
    dataset.Replica: (_text("TRANSFER", lambda v: v.transfer or "-"), _CREATED, _ETAG),
    site.Site: (
        _text("ACCOUNT", lambda v: v.account or "-"),
        _text("COMPUTE", lambda v: "yes" if v.has_compute else "no"),
        _count("MEMORY", lambda v: units.size(v.capacity.memory_bytes) if v.capacity.memory_bytes else "-"),
        _text("HEARTBEAT", lambda v: wording.moment(v.heartbeat_time) or "-"),
        _text("JOINED", lambda v: wording.moment(v.join_time) or "-"),
        _text("SOURCES", lambda v: _joined(v.sources)),
        _ETAG,
    ),
    site.Link: (_RESOURCE,),
    people.Token: (_CREATED,),
    job.Job: (
        _text("NAMESPACE", lambda v: v.request.namespace or "-"),
        _text("BY", lambda v: v.request.principal or "-"),
        _text("NEEDS", lambda v: _asked(v.request.resources)),
        _text("INPUTS", lambda v: _joined(row.dataset for row in v.request.inputs)),
        _text("OUTPUTS", lambda v: _joined(row.dataset for row in v.request.outputs)),
        _count("PRIORITY", lambda v: str(v.request.priority)),
        _text("PURPOSE", lambda v: v.request.purpose or "-"),
        _count("ESTIMATE", lambda v: wording.money(v.plan.choice.total_micros) if v.plan and v.plan.choice else "-"),
        _text("PIPELINE", lambda v: v.request.pipeline or "-"),
        _ETAG,
    ),
    job.Run: (
        _text("SUBMISSION", lambda v: v.submission_id or "-"),
        _text("GPU TYPE", lambda v: v.gpu_type or "-"),
        _text("SPOT", lambda v: "yes" if v.spot else "no"),
        _text("LEASE ENDS", lambda v: wording.moment(v.lease_time) or "-"),
    ),
    pipeline.Pipeline: (_text("BY", lambda v: v.request.principal or "-"), _UPDATED, _ETAG),
    transfer.Transfer: (
        _text("CAUSE", lambda v: str(v.cause)),
        _count("PRIORITY", lambda v: str(v.priority)),
        _count("OBJECTS", lambda v: f"{v.objects_done:,} of {v.objects:,}"),
        _count("ATTEMPT", lambda v: str(v.attempt or "-")),
        _text("ENDED", lambda v: wording.moment(v.end_time) or "-"),
        _ETAG,
    ),
    transfer.ReplicationRule: (_CREATED, _UPDATED, _ETAG),
    metering.LedgerEntry: (
        _text("ENTRY", lambda v: v.entry),
        _text("PAYER", lambda v: v.payer or "-"),
        _text("LABEL", lambda v: v.label or "-"),
        _count("UNSETTLED", lambda v: f"{v.unsettled_bytes:,}"),
        _text("CORRECTS", lambda v: v.corrects or "-"),
        _text("PRICE FROM", lambda v: v.price_source),
    ),
    metering.UsageRecord: (_RESOURCE,),
    ratecard.CardInfo: (_RESOURCE,),
    chain.SignedHead: (_RESOURCE, _text("SIGNATURE", lambda v: v.signature)),
    bill.Bill: (
        _count("DELIVERIES", lambda v: str(v.deliveries)),
        _count("TAX", lambda v: wording.money(v.tax_micros)),
        _UPDATED,
        _ETAG,
    ),
    budget.Budget: (_text("BY", lambda v: v.principal or "-"), _UPDATED, _ETAG),
    keys.SiteKeyring: (_text("DEKS SINCE", lambda v: wording.moment(v.dek_time) or "-"), _UPDATED, _ETAG),
    keys.KeyUse: (_RESOURCE,),
    keys.Escrow: (_text("BY", lambda v: v.principal), _CREATED, _ETAG),
    keys.Opening: (
        _CREATED,
        _text("ENDS", lambda v: wording.moment(v.expire_time) or "-"),
    ),
    leases.Lease: (_text("PRINCIPAL", lambda v: v.principal), _text("CLASSES", lambda v: _joined(v.sensitivities))),
    erasure.Erasure: (_text("MANIFEST", lambda v: v.manifest_digest), _ETAG),
}
