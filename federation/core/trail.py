"""The trail: the log as people read it, entry by entry, with who, what, about which data, where, and how it went. Pure.

Dataset, site, subject and outcome are read from an event's name and body, as those are; kinds need not be known here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from federation.core import audit, errors
from federation.core.events import Event

#: What people's queries of the record are told as, and how much of their words.
QUERIED_KIND = "record.queried"
#: Calls that their callers may not make, and those with which nobody was let in.
CALL_REFUSED_KIND = "call.refused"
STRANGERS_KIND = "stranger.refused"
TEXT_MAX = 2000
_EQUAL = frozenset({"principal", "kind", "name", "dataset", "site", "outcome", "request_id"})
_TERM = re.compile(r'\s*([a-z_]+)\s*(=|>=|<)\s*"((?:[^"\\]|\\["\\])*)"\s*(AND\b|\Z)?')
_DATASET = re.compile(r"namespaces/([^/]+)/datasets/([^/]+)")
_SITE = re.compile(r"(?:^sites|/replicas)/([^/]+)")
#: How kinds end that tell of a refusal, or of many that were counted.
_REFUSED = ("refused", "denied", "rejected", "unseen")


class Outcome(StrEnum):
    """How it went: something was done, or something was asked and allowed or refused."""

    DONE = "DONE"
    ALLOWED = "ALLOWED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """One entry. `resource` is what it happened to, `actor` who did it, `subject` for whom, where that is another.

    `dataset` and `site` are what it is about, empty for none. `body` is the value after, as JSON.
    """

    position: int
    time: datetime
    kind: str
    resource: str
    actor: str
    subject: str
    outcome: Outcome
    dataset: str
    site: str
    request_id: str
    body: str
    body_sha256: str


@dataclass(frozen=True, kw_only=True)
class Queried:
    """What somebody asked of the record: by which method (`Records.QueryRecords`), in which words, at most `TEXT_MAX` of them.

    `sha256` is of all of the words, `characters` how many there were.
    """

    method: str
    text: str
    sha256: str
    characters: int


@dataclass(frozen=True, kw_only=True)
class CallRefused:
    """A call that its caller may not make: of which method, why, and about which dataset or site, where it is about one."""

    method: str
    principal: str
    reason: str
    detail: str
    dataset: str = ""
    site: str = ""


@dataclass(frozen=True, kw_only=True)
class StrangersRefused:
    """How often calls were refused for want of an identity, since it was last told: by address and reason."""

    counts: tuple[tuple[str, str, int], ...]


def queried(method: str, text: str) -> Queried:
    """The fact that somebody asked."""
    whole = text.encode("utf-8", "replace")
    return Queried(method=method, text=text[:TEXT_MAX], sha256=hashlib.sha256(whole).hexdigest(), characters=len(text))


def of_event(event: Event) -> AuditRow:
    """An event as an entry."""
    told = audit.entry(event)
    return of_columns({"position": event.position, **{f.name: getattr(told, f.name) for f in dataclasses.fields(told)}})


def of_columns(row: Mapping[str, Any]) -> AuditRow:
    """A row of the table of audit as an entry."""
    told = _object(row["body"])
    actor = row["actor"]
    subject = text(told, "principal")
    return AuditRow(
        position=row["position"],
        time=row["time"].astimezone(UTC),
        kind=row["kind"],
        resource=row["name"],
        actor=actor,
        subject="" if subject == actor else subject,
        outcome=_outcome(row["kind"], told),
        dataset=_dataset(row["name"], told),
        site=_site(row["name"], told),
        request_id=row["request_id"],
        body=row["body"],
        body_sha256=row["body_sha256"],
    )


# Bodies: whatever stands there, reading goes on


def body(row: AuditRow) -> Mapping[str, Any]:
    """The value after, as plain JSON; nothing for what is no object."""
    return _object(row.body)


def text(told: Mapping[str, Any], name: str) -> str:
    """A field that holds text, '' where it holds none."""
    found = told.get(name, "")
    return found if isinstance(found, str) else ""


def texts(told: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A field that holds a list of texts."""
    found = told.get(name)
    return tuple(map(str, found)) if isinstance(found, list) else ()


def number(told: Mapping[str, Any], name: str) -> int:
    """A field that holds a whole number, 0 where it holds none."""
    found = told.get(name, 0)
    return found if isinstance(found, int) else 0


def inner(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that holds an object, an empty one where it holds none."""
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _object(written: str) -> Mapping[str, Any]:
    try:
        found = json.loads(written)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _outcome(kind: str, told: Mapping[str, Any]) -> Outcome:
    allowed = told.get("allowed")
    if isinstance(allowed, bool):
        return Outcome.ALLOWED if allowed else Outcome.REFUSED
    return Outcome.REFUSED if kind.rpartition(".")[2] in _REFUSED else Outcome.DONE


def _dataset(name: str, told: Mapping[str, Any]) -> str:
    named = _DATASET.search(name)
    if named:
        return f"{named[1]}/{named[2]}"
    found, namespace = text(told, "dataset"), text(told, "namespace")
    return f"{namespace}/{found}" if namespace and found and "/" not in found else found


def _site(name: str, told: Mapping[str, Any]) -> str:
    named = _SITE.search(name)
    return named[1] if named else text(told, "site")


# Filters


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which entries: those whose fields equal what is given ('' for all), from `from_time` on and before `to_time`.

    `principal` is the actor or the subject. `kind` may end in `*`, for all that begin so.
    """

    principal: str = ""
    kind: str = ""
    name: str = ""
    dataset: str = ""
    site: str = ""
    outcome: str = ""
    request_id: str = ""
    from_time: datetime | None = None
    to_time: datetime | None = None

    def has(self, row: AuditRow) -> bool:
        """Whether an entry is one of them."""
        begins = self.kind.removesuffix("*") if self.kind.endswith("*") else None
        return (
            self.principal in ("", row.actor, row.subject)
            and (row.kind.startswith(begins) if begins is not None else self.kind in ("", row.kind))
            and self.name in ("", row.resource)
            and self.dataset in ("", row.dataset)
            and self.site in ("", row.site)
            and self.outcome in ("", str(row.outcome))
            and self.request_id in ("", row.request_id)
            and (self.from_time is None or row.time >= self.from_time)
            and (self.to_time is None or row.time < self.to_time)
        )

    def sql(self) -> str:
        """A condition on the table of audit that all of them fulfil, and few others: `has` says which do."""
        parts = [make(value) for name, make in _SQL.items() if _plain(value := getattr(self, name))]
        parts.append(between("time", self.from_time, self.to_time))
        return " AND ".join((self.days_sql(), *(f"({part})" for part in parts)))

    def days_sql(self) -> str:
        """The days on which they can be, as a condition on the partition."""
        parts = ["TRUE"]
        if self.from_time is not None:
            parts.append(f"day >= DATE '{self.from_time:%Y-%m-%d}'")
        if self.to_time is not None:
            parts.append(f"day <= DATE '{self.to_time:%Y-%m-%d}'")
        return " AND ".join(parts)


EVERYTHING = Selection()


def _plain(value: str) -> bool:
    """Whether a text stands in JSON, and in SQL, as it is; what does not is left to `has`."""
    return bool(value) and value.isprintable() and "\\" not in value and '"' not in value


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _tells(name: str, value: str) -> str:
    pair = f'"{name}":"{value}"'
    return f"strpos(body, {_quoted(pair)}) > 0"


def _kind_sql(value: str) -> str:
    return f"starts_with(kind, {_quoted(value[:-1])})" if value.endswith("*") else f"kind = {_quoted(value)}"


def _dataset_sql(value: str) -> str:
    namespace, _, name = value.partition("/")
    resource = _quoted(f"namespaces/{namespace}/datasets/{name}")
    return f"strpos(name, {resource}) > 0 OR {_tells('dataset', value)} OR {_tells('dataset', name)}"


def _outcome_sql(value: str) -> str:
    refused = " OR ".join(f"ends_with(kind, '.{word}')" for word in _REFUSED)
    known = {
        "ALLOWED": "strpos(body, '\"allowed\":true') > 0",
        "REFUSED": f"strpos(body, '\"allowed\":false') > 0 OR {refused}",
    }
    return known.get(value, "TRUE")


_SQL: Mapping[str, Callable[[str], str]] = {
    "principal": lambda value: f"actor = {_quoted(value)} OR {_tells('principal', value)}",
    "kind": _kind_sql,
    "name": lambda value: f"name = {_quoted(value)}",
    "dataset": _dataset_sql,
    "site": lambda value: f"strpos(name, {_quoted(value)}) > 0 OR {_tells('site', value)}",
    "outcome": _outcome_sql,
    "request_id": lambda value: f"request_id = {_quoted(value)}",
}


def between(column: str, begin: datetime | None, end: datetime | None) -> str:
    """A condition in SQL: a column's time is not before `begin`, and before `end`; None is no bound."""
    bounds = ((">=", begin), ("<", end))
    parts = (f"{column} {sign} TIMESTAMP '{time:%Y-%m-%d %H:%M:%S.%f}Z'" for sign, time in bounds if time is not None)
    return " AND ".join(parts) or "TRUE"


def parse(text: str) -> Selection:
    """A filter (AIP-160, the part of it that is needed): terms joined by AND; InvalidArgument (FILTER_INVALID) otherwise."""
    given: dict[str, Any] = {}
    position = 0
    while text[position:].strip():
        term = _TERM.match(text, position)
        if not term:
            raise _invalid(text, f"cannot be read from position {position}: {text[position : position + 40]!r}")
        name, operator, value = term[1], term[2], re.sub(r"\\(.)", r"\1", term[3])
        field = name if name in _EQUAL and operator == "=" else _BOUNDS.get((name, operator))
        if field is None:
            raise _invalid(text, f"there is no term {name} {operator}")
        if field in given:
            raise _invalid(text, f"names {name!r} twice")
        given[field] = value if field in _EQUAL else time_of(value)
        position = term.end()
        if term[4] is None:
            raise _invalid(text, f"expected AND at position {position}: {text[position : position + 40]!r}")
        if term[4] and not text[position:].strip():
            raise _invalid(text, "ends with AND")
    return Selection(**given)


_BOUNDS = {("time", ">="): "from_time", ("time", "<"): "to_time"}


def time_of(text: str) -> datetime:
    """`2026-11-28` or `2026-11-28T10:00:00Z` as UTC; InvalidArgument (TIME_INVALID) for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise errors.InvalidArgument(
            f"{text!r} is no time",
            reason="TIME_INVALID",
            help="Write 2026-11-28 or 2026-11-28T10:00:00Z.",
            violations={"time": "must be a date or a time as in RFC 3339"},
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _invalid(text: str, why: str) -> errors.InvalidArgument:
    known = ", ".join(sorted(_EQUAL))
    return errors.InvalidArgument(
        f"the filter {text[:200]!r} {why}",
        reason="FILTER_INVALID",
        help=f'Write field = "value", time >= "2026-11-01" or time < "...", joined by AND. Fields: {known}.',
        violations={"filter": why},
        metadata={"fields": known},
    )
