"""`fed describe`: everything about one resource on one page, found by its kind and name, or by the form of its name alone."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from federation.cli import pages, pipelines, plans
from federation.cli.command import verb
from federation.cli.output import Output
from federation.cli.session import Session
from federation.core import errors, units
from federation.core.authorization import Rule
from federation.core.forecast import Forecast
from federation.core.lineage import RunFact, Sighting
from federation.core.metering import CostSummary
from federation.core.variance import Variance
from federation.shown import wording
from federation.shown.shapes import Column

_ID = "[0-9a-z]{20,}"
#: What names look like of which the form alone tells the kind: full names, and what people write.
_FORMS: Mapping[str, str] = {
    "job": f"jobs/[^/]+(/runs/[0-9]+)?|j-{_ID}",
    "pipeline": f"pipelines/[^/]+|p-{_ID}",
    "transfer": f"transfers/[^/]+|t-{_ID}",
    "version": "namespaces/[^/]+/datasets/[^/]+/versions/[0-9]+|[^/~]+/[^/~]+@[0-9]+",
    "dataset": "namespaces/[^/]+/datasets/[^/]+",
    "namespace": "namespaces/[^/]+",
    "site": "sites/[^/]+",
    "rule": "replicationRules/[^/]+",
    "budget": "budgets/[^/]+",
    "policy": "policies/[^/]+",
    "link": "(links/)?[^/~]+:[^/~]+~[^/~]+",
}
#: Kinds whose short names are single words: which of them there is must be asked.
_WORDS = ("namespace", "site", "rule", "budget")


@verb(
    None,
    "describe",
    answers=pages.PAGES,
    example="""fed describe sales/flights
# A version, a job, a link: the form of the name says which.
fed describe sales/flights@3
fed describe aws:eu-central-1~internet
# Or the kind says it.
fed describe site eu-1 -o yaml
fed describe policy -""",
)
@click.argument("words", metavar="[KIND] NAME", nargs=-1, required=True)
def describe(session: Session, *, words: tuple[str, ...]) -> None:
    """Tells everything about one resource on one page, with what surrounds it: versions, replicas, rules, runs, costs, events.

    KIND is dataset, version, namespace, site, link, job, pipeline, transfer, rule, budget or policy; without it the form of
    NAME says what it is. What you may not see is named, with the permission that it needs.
    """
    if len(words) > 2 or (len(words) == 2 and words[0] not in pages.KINDS):
        raise click.UsageError(f"say [KIND] NAME, where KIND is one of {', '.join(pages.KINDS)}")
    kind, name = words if len(words) == 2 else (recognised(session, words[0]), words[0])
    if kind == "job":
        name = re.sub("/runs/[0-9]+$", "", name)
    page = pages.page(session.client, kind, name)
    session.output.item(page, lambda: _draw(session.output, page))


def recognised(session: Session, name: str) -> str:
    """The kind of what has this name; of a single word that of what there is, where there is one alone."""
    for kind, form in _FORMS.items():
        if re.fullmatch(form, name):
            return kind
    if "/" in name:
        return "dataset"

    def there(kind: str) -> bool:
        try:
            pages.value(session.client, kind, name)
        except (errors.NotFound, errors.PermissionDenied):
            return False
        return True

    with ThreadPoolExecutor(len(_WORDS)) as pool:
        found = [kind for kind, yes in zip(_WORDS, pool.map(there, _WORDS), strict=True) if yes]
    if len(found) == 1:
        return found[0]
    if found:
        raise errors.InvalidArgument(
            f"{name} names a {' and a '.join(found)}",
            reason="NAME_AMBIGUOUS",
            help=f"Say which: `fed describe {found[0]} {name}`.",
            metadata={"name": name},
        )
    raise errors.NotFound(
        f"there is no {', '.join(_WORDS[:-1])} or {_WORDS[-1]} {name}",
        help="Say its kind, or its full name: `fed describe dataset sales/flights`.",
        metadata={"name": name},
    )


# The page


def _draw(out: Output, page: pages.Page) -> None:
    """The resource first, then its parts, each under its heading; what there is none of is left out."""
    main = getattr(page, page.kind)
    out.line(page.name)
    _MAIN.get(page.kind, _fields)(out, main)
    for field in dataclasses.fields(page):
        if field.name not in ("name", "kind", page.kind, "events", "not_shown"):
            _part(out, field.name, getattr(page, field.name))
    _part(out, "events", page.events)
    if page.not_shown:
        out.line()
        for row in page.not_shown:
            why = f"needs {row.needs}" if row.needs else f"{row.message} [{row.reason}]"
            out.line(f"not shown: {row.part.replace('_', ' ')}: {why}")


def _part(out: Output, name: str, value: Any) -> None:
    if not value:
        return
    if isinstance(value, str):
        out.fields([(name, value)])
        return
    out.line()
    title = name.replace("_", " ")
    if isinstance(value, tuple):
        out.line(f"{title}:")
        out.rows(value, _COLUMNS.get(type(value[0])))
    elif isinstance(value, pages.Ways):
        ways = " -> ".join(", ".join(names) or "nothing" for names in (value.made_of, ("this",), value.made_into))
        out.line(f"{title}: {ways}{'' if value.complete else ' (and more)'}")
    elif isinstance(value, pages.Spent):
        when = f" in {value.month}" if value.month else ""
        left = f"{units.size(value.total.egress_bytes)} left a region, {units.size(value.total.local_bytes)} stayed"
        out.line(f"{title}{when}: {units.usd(value.total.charge_micros)}; {left}")
        if value.rows:
            out.rows(value.rows, _COLUMNS[CostSummary])
    else:
        out.line(f"{title}:")
        out.fields(wording.foretold(value) if isinstance(value, Forecast) else wording.fields(value))


def _fields(out: Output, found: Any) -> None:
    out.fields(wording.fields(found))


def _job(out: Output, found: Any) -> None:
    out.rows([found])
    plans.show(out, found)


def _policy(out: Output, found: Any) -> None:
    out.fields([pair for pair in wording.fields(found) if pair[0] != "text"])


_MAIN: Mapping[str, Callable[[Output, Any], None]] = {"job": _job, "pipeline": pipelines.show, "policy": _policy}


def _text(heading: str, show: Callable[[Any], str]) -> Column:
    return Column(heading=heading, show=show)


def _number(heading: str, show: Callable[[Any], str]) -> Column:
    return Column(heading=heading, show=show, number=True)


#: Columns of what has none of its own, because no list shows it.
_COLUMNS: Mapping[type, Sequence[Column]] = {
    pages.Condition: (
        _text("CONDITION", lambda row: row.condition),
        _text("HOLDS", lambda row: "yes" if row.holds else "no"),
        _text("SINCE", lambda row: wording.moment(row.since) or "-"),
        _text("BECAUSE", lambda row: row.because),
    ),
    pages.ColumnFact: (
        _text("COLUMN", lambda row: row.column),
        _text("TYPE", lambda row: row.type),
        _text("CLASS", lambda row: row.column_class),
        _text("SENSITIVE", lambda row: "yes" if row.sensitive else ""),
    ),
    pages.Said: (
        _text("ACTION", lambda row: str(row.action)),
        _text("SITE", lambda row: row.site or "-"),
        _text("YOU MAY", lambda row: "yes" if row.allowed else "no"),
        _text("BY", lambda row: ", ".join(row.policies) or "-"),
        _text("BECAUSE", lambda row: row.because),
    ),
    RunFact: (
        _text("RUN", lambda row: row.run),
        _text("LABEL", lambda row: row.label),
        _text("BY", lambda row: row.principal),
        _text("SITE", lambda row: row.site),
        _text("STATE", lambda row: row.state),
        _text("ENDED", lambda row: wording.moment(row.end_time)),
    ),
    Sighting: (
        _text("MODEL", lambda row: row.model),
        _number("HOPS", lambda row: str(row.hops)),
        _text("SEEN", lambda row: row.seen),
        _text("TIME", lambda row: wording.moment(row.time)),
    ),
    CostSummary: (
        _text("KEY", lambda row: row.key or "-"),
        _number("ENTRIES", lambda row: f"{row.entries:,}"),
        _number("READ", lambda row: units.size(row.bytes)),
        _number("LEFT A REGION", lambda row: units.size(row.egress_bytes)),
        _number("CHARGE", lambda row: units.usd(row.charge_micros)),
    ),
    Variance: (
        _text("INPUT", lambda row: row.key),
        _number("EST. READ", lambda row: units.size(row.estimate_bytes)),
        _number("READ", lambda row: units.size(row.metered_bytes)),
        _number("EST. COST", lambda row: units.usd(row.estimate_micros)),
        _number("CHARGE", lambda row: units.usd(row.charge_micros)),
    ),
    Rule: (
        _text("POLICY", lambda row: row.policy),
        _text("EFFECT", lambda row: row.effect),
        _text("ACTIONS", lambda row: ", ".join(row.actions)),
        _text("BECAUSE", lambda row: row.because),
        _text("CONTROL", lambda row: row.control),
    ),
}
