"""A compliance report as a page: one HTML file that loads nothing, runs nothing and sends nothing; and its sums in words.

Rows that differ in nothing but their time are told together, with how often, so that every use and every refusal stands in it
and a year of them can be read; one by one they are in the report's JSON. Whatever a name or a reason holds is text.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, TypeVar

from federation.core import units
from federation.core.compliance import (
    Described,
    Egress,
    Erased,
    Loosened,
    ModelMade,
    Movement,
    PolicySet,
    Refusal,
    Report,
    TableProof,
    Use,
)
from federation.core.dataset import DataCard
from federation.core.picture import escaped
from federation.core.screen import safe

T = TypeVar("T")

_CSS = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--bar:#f6f8fa;--good:#1a7f37;
  --bad:#cf222e;--warn:#9a6700}
@media(prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#f0f6fc;--soft:#9198a1;--line:#3d444d;--bar:#161b22;--good:#3fb950;
  --bad:#f85149;--warn:#d29922}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1240px;padding:28px 24px 60px;background:var(--paper);color:var(--ink);
  font:14px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
h1{font-size:22px;margin:0 0 2px}
h2{font-size:16px;margin:34px 0 4px}
p{margin:4px 0 10px;color:var(--soft);max-width:100ch}
.proof{border:1px solid var(--line);border-left:5px solid var(--mark);border-radius:6px;padding:10px 14px;margin:16px 0;
  background:var(--bar)}
.proof b{color:var(--mark)}
.good{--mark:var(--good)}.bad{--mark:var(--bad)}.warn{--mark:var(--warn)}
dl{display:flex;flex-wrap:wrap;gap:10px;margin:16px 0}
dl div{flex:1 1 130px;border:1px solid var(--line);border-radius:6px;padding:8px 12px}
dt{color:var(--soft);font-size:12px}
dd{margin:0;font-size:19px;font-weight:600;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13px}
th{text-align:left;color:var(--soft);font-weight:600;border-bottom:1px solid var(--line);padding:5px 12px 5px 0;
  vertical-align:bottom}
td{border-bottom:1px solid var(--line);padding:5px 12px 5px 0;vertical-align:top;overflow-wrap:anywhere;white-space:pre-line;
  min-width:8ch}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.missing{color:var(--warn)}
footer{margin-top:36px;color:var(--soft);font-size:12px}
@media print{body{max-width:none;padding:0;font-size:11px}h2{break-after:avoid}tr{break-inside:avoid}}
"""
#: What a card does not say is marked: nobody has looked, or nobody has written it down.
_MISSING = "not stated"


#: The columns that hold numbers, whichever table they are in.
_NUMBERS = frozenset(
    {
        "Times",
        "Reads",
        "Read",
        "Bytes",
        "Charged",
        "Position",
        "Allowed",
        "Refused",
        "Rows",
        "Last",
        "Signed to",
        "Co-signed to",
    }
)


class _Section(NamedTuple):
    """A table of the page: what it is called, what it tells, its headings, and its rows from a report."""

    title: str
    said: str
    columns: tuple[str, ...]
    rows: Callable[[Report], Iterable[tuple[str, ...]]]


class _Timed(Protocol):
    @property
    def time(self) -> datetime: ...


def html(report: Report) -> str:
    """The page, whole."""
    style = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
    title = f"Compliance report {_day(report.from_time)} to {_day(report.to_time)}"
    parts = (
        f"<h1>{_text(title)}</h1><p>{_text(_scope(report))}</p>",
        _proof(report),
        _tiles(report),
        *(_section(section, report) for section in _SECTIONS),
        f"<footer>{_text(_foot(report))}</footer>",
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def sums(report: Report) -> list[tuple[str, str]]:
    """The report in a few lines, as names and values."""
    _, verdict, detail = _verdict(report)
    reasons: dict[str, int] = defaultdict(int)
    for refusal in report.refusals:
        reasons[refusal.reason or refusal.source] += refusal.times
    told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
    return [
        ("time", _scope(report)),
        ("record", f"{verdict}: {detail}"),
        *((name, value) for name, value in _figures(report)),
        ("refused for", told or "nothing"),
    ]


# Head


def _scope(report: Report) -> str:
    about = (report.dataset and f"dataset {report.dataset}") or (report.namespace and f"namespace {report.namespace}")
    return f"From {_moment(report.from_time)} until before {_moment(report.to_time)}, of {about or 'the whole federation'}"


def _verdict(report: Report) -> tuple[str, str, str]:
    """How far the record that this rests on is proven: a colour, a word, and a sentence."""
    found = report.completeness
    entries = f"{found.entries:,} entries of audit, positions {found.first_position:,} to {found.last_position:,}"
    if not found.verified:
        return "warn", "Not verified", f"{entries}. The server had no tables to verify: all of it is read from its log."
    if not found.intact:
        wrong = "; ".join(f"{table.table}: {each}" for table in found.tables for each in table.findings)
        return "bad", "Broken", f"the record is not what it was: {wrong}"
    audit = next((table for table in found.tables if table.table == "audit"), None)
    proven, witnessed = (audit.proven_position, audit.witnessed_position) if audit else (0, 0)
    late = f" {found.log_positions:,} of them are so new that no table has them yet." if found.log_positions else ""
    sites = ", ".join(audit.witnesses) if audit and audit.witnesses else ""
    seen = f", and co-signed up to {witnessed:,} by {sites}" if sites else "; no site has co-signed it"
    signed = found.proven_entries + found.log_positions == found.entries
    word, colour = ("Intact", "good") if signed else ("Intact, not all signed", "warn")
    return colour, word, f"{entries}. Every table follows from its first row; audit is signed up to {proven:,}{seen}.{late}"


def _proof(report: Report) -> str:
    colour, word, detail = _verdict(report)
    return f'<div class="proof {colour}"><b>{_text(word)}.</b> {_text(detail)}</div>'


def _figures(report: Report) -> list[tuple[str, str]]:
    return [
        ("uses of data", f"{len(report.uses):,}"),
        ("datasets and models used", f"{len({use.dataset for use in report.uses}):,}"),
        ("people", f"{len({use.principal for use in report.uses}):,}"),
        ("decisions that allowed", f"{len(report.decisions):,}"),
        ("leases of keys", f"{len(report.leases):,}"),
        ("refusals", f"{sum(refusal.times for refusal in report.refusals):,}"),
        ("left a region", units.size(sum(each.net_bytes for each in report.egress))),
        ("charged for it", units.usd(sum(each.net_micros for each in report.egress))),
    ]


def _tiles(report: Report) -> str:
    tiles = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in _figures(report))
    return f"<dl>{tiles}</dl>"


def _foot(report: Report) -> str:
    return f"Form {report.format}. The same record gives the same report. Times are UTC. Positions are those of fed audit show."


# What stands in the sections


def _uses(report: Report) -> Iterator[tuple[str, ...]]:
    def key(use: Use) -> tuple[str, ...]:
        policies = ", ".join(use.policies) + (f"\nset {use.policy_digest[:12]}" if use.policy_digest else "")
        return use.dataset, _where(use), use.principal, use.purpose, policies

    for (dataset, where, principal, purpose, policies), rows in _alike(report.uses, key):
        versions = ", ".join(str(number) for number in sorted({use.version for use in rows}))
        yield (
            f"{dataset}@{versions}",
            where,
            principal,
            purpose or _MISSING,
            policies or _MISSING,
            f"{len(rows):,}",
            units.size(sum(use.net_bytes for use in rows)),
            units.usd(sum(use.net_micros for use in rows)),
        )


def _where(use: Use) -> str:
    if use.source_region == use.destination_region:
        return f"{use.site}\n{use.source_region}"
    return f"{use.site}\n{use.source_region} to {use.destination_region}"


def _refusals(report: Report) -> Iterator[tuple[str, ...]]:
    def key(row: Refusal) -> tuple[str, ...]:
        asked = row.action or row.source
        about = "\n".join(filter(None, (row.dataset, row.site and f"at {row.site}", row.purpose and f"for {row.purpose}")))
        why = ": ".join(filter(None, (row.reason, row.detail)))
        policy = ", ".join(row.policies) + (f"\n{row.control}" if row.control else "")
        return row.principal, asked, about, why, policy

    for (principal, asked, about, why, policy), rows in _alike(report.refusals, key):
        times = sum(row.times for row in rows)
        yield principal, asked, about or "-", why or "-", policy or "-", f"{times:,}", _between(rows), f"{rows[0].position}"


def _model(made: ModelMade) -> tuple[str, ...]:
    seen = "\n".join(f"{source.node}{'' if source.direct else ' (through others)'}" for source in made.sources)
    licences = sorted({source.card.licence or _MISSING for source in made.sources})
    return (
        f"{made.model}@{made.version}\n{_moment(made.time)}",
        f"{made.principal}\n{made.run}",
        made.purpose or _MISSING,
        seen or _MISSING,
        "\n".join(made.known_bias) or _MISSING,
        "\n".join(made.sensitive_columns) or _MISSING,
        "\n".join(licences),
    )


def _described(row: Described) -> tuple[str, ...]:
    marks = " (model)" if row.kind == "MODEL" else ""
    return (
        f"{row.dataset}{marks}{' (deleted)' if row.deleted else ''}",
        row.owner or _MISSING,
        row.classification,
        ", ".join(row.residency) or "any",
        ", ".join(row.purposes) or "any",
        *_card(row.card),
    )


def _card(card: DataCard) -> tuple[str, ...]:
    told = (card.origin, card.licence, card.consent, card.known_bias, ", ".join(card.sensitive_columns))
    return tuple(text or _MISSING for text in told)


def _table_proof(row: TableProof) -> tuple[str, ...]:
    found = "\n".join(row.findings) or "nothing wrong"
    proven, witnessed = f"{row.proven_position:,}", f"{row.witnessed_position:,}"
    return row.table, f"{row.rows:,}", f"{row.last_position:,}", proven, witnessed, ", ".join(row.witnesses) or "-", found


def _left(row: Egress) -> tuple[str, ...]:
    read = f"{row.reads:,}", units.size(row.net_bytes), units.usd(row.net_micros)
    return row.dataset, row.source_region, row.destination_region, *read


def _copied(row: Movement) -> tuple[str, ...]:
    return (
        f"{row.dataset}@{row.version}",
        f"{row.source_site} ({row.source_region})",
        f"{row.destination_site} ({row.destination_region})",
        row.principal,
        _moment(row.time),
        units.size(row.net_bytes),
        units.usd(row.net_micros),
    )


def _loosened(row: Loosened) -> tuple[str, ...]:
    return row.kind, row.dataset, row.principal, row.detail, _moment(row.time), f"{row.position}"


def _erased(row: Erased) -> tuple[str, ...]:
    step = row.kind.removeprefix("erasure."), row.principal, row.reason, row.certificate
    return f"{row.dataset}@{row.version}", *step, _moment(row.time), f"{row.position}"


def _policies(row: PolicySet) -> tuple[str, ...]:
    return row.policy_digest, f"{row.allowed:,}", f"{row.refused:,}"


def _changes(report: Report) -> Iterator[tuple[str, ...]]:
    for changed, rows in _alike(report.changes, lambda row: (row.kind, row.resource, row.principal)):
        yield *changed, f"{len(rows):,}", _between(rows), f"{rows[0].position}"


def _questions(report: Report) -> Iterator[tuple[str, ...]]:
    for asked, rows in _alike(report.questions, lambda row: (row.principal, row.method, row.text)):
        yield *asked, f"{len(rows):,}", _between(rows)


#: In this order.
_SECTIONS = (
    _Section(
        "What was used",
        "Which data was read where, by whom, for which purpose, and which policies let it be.",
        ("Dataset", "Where", "By whom", "Purpose", "Policies", "Times", "Read", "Charged"),
        _uses,
    ),
    _Section(
        "What was refused",
        "Every refusal: by the policy, at the door, of a key, of a job that no site may run, of a head that a site disowns.",
        ("Who", "Asked for", "Data and site", "Why", "Policy", "Times", "When", "Position"),
        _refusals,
    ),
    _Section(
        "Models and what they saw",
        "Versions of models that were made in this time, with all data behind them, through however many runs.",
        ("Model", "Made by", "Purpose", "Seen", "Known bias", "Sensitive columns", "Licences"),
        lambda report: map(_model, report.models),
    ),
    _Section(
        "Data cards",
        "What is known of the data and models in this report, as it was at its end.",
        (
            "Dataset",
            "Owner",
            "Classification",
            "Residency",
            "Purposes",
            "Source",
            "Licence",
            "Consent",
            "Known bias",
            "Sensitive columns",
        ),
        lambda report: map(_described, report.datasets),
    ),
    _Section(
        "What left a region",
        "Sums of what was read across regions, corrections included.",
        ("Dataset", "From", "To", "Reads", "Bytes", "Charged"),
        lambda report: map(_left, report.egress),
    ),
    _Section(
        "Copies between sites",
        "Versions that were brought from one site to another.",
        ("Version", "From", "To", "For", "When", "Bytes", "Charged"),
        lambda report: map(_copied, report.transfers),
    ),
    _Section(
        "What was loosened",
        "Outputs that were let out of their inputs' residency, and declassifications.",
        ("What", "Dataset", "By whom", "Detail", "When", "Position"),
        lambda report: map(_loosened, report.loosened),
    ),
    _Section(
        "Erasures",
        "Versions whose keys were destroyed, step by step, up to the certificate.",
        ("Version", "Step", "By whom", "Reason", "Certificate (SHA-256)", "When", "Position"),
        lambda report: map(_erased, report.erasures),
    ),
    _Section(
        "Sets of policies",
        "Under which sets decisions were made; fed policy show has their text.",
        ("Digest", "Allowed", "Refused"),
        lambda report: map(_policies, report.policy_sets),
    ),
    _Section(
        "Administrative acts",
        "Who changed what holds: sites, people's tokens, datasets, policies, keys, prices, budgets.",
        ("What", "Which", "By whom", "Times", "When", "Position"),
        _changes,
    ),
    _Section(
        "Questions to the record",
        "Who read audit, ledger and reports, and in which words.",
        ("By whom", "Method", "Words", "Times", "When"),
        _questions,
    ),
    _Section(
        "The tables of the record",
        "How far each is proven: by its chain, by heads that the catalog signed, and by sites that co-signed them.",
        ("Table", "Rows", "Last", "Signed to", "Co-signed to", "By", "Found"),
        lambda report: map(_table_proof, report.completeness.tables),
    ),
)


# Tables


def _section(section: _Section, report: Report) -> str:
    body = "".join(f"<tr>{''.join(map(_cell, section.columns, row))}</tr>" for row in section.rows(report))
    heads = "".join(f'<th{_class(heading)} scope="col">{_text(heading)}</th>' for heading in section.columns)
    table = (
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
        if body
        else "<p>Nothing.</p>"
    )
    return f"<section><h2>{_text(section.title)}</h2><p>{_text(section.said)}</p>{table}</section>"


def _cell(heading: str, text: str) -> str:
    style = ' class="missing"' if text == _MISSING else _class(heading)
    return f"<td{style}>{_text(text)}</td>"


def _class(heading: str) -> str:
    return ' class="number"' if heading in _NUMBERS else ""


def _alike(rows: Iterable[T], key: Callable[[T], tuple[str, ...]]) -> Iterator[tuple[tuple[str, ...], list[T]]]:
    """Rows that differ in nothing that is shown, together, in the order of their keys."""
    grouped: dict[tuple[str, ...], list[T]] = defaultdict(list)
    for row in rows:
        grouped[key(row)].append(row)
    yield from sorted(grouped.items(), key=lambda item: item[0])


def _between(rows: Sequence[_Timed]) -> str:
    times = [row.time for row in rows]
    first, last = _moment(min(times)), _moment(max(times))
    return first if first == last else f"{first}\nto {last}"


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"


def _day(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d}"


def _text(text: str) -> str:
    """Text as the page has it: nothing in it begins an element, or turns the direction of what follows."""
    return "\n".join(escaped(line) for line in safe(text).split("\n"))
