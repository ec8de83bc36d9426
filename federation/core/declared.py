"""What may be declared in files: the kinds of resources and their fields, read into plain values, with all that is wrong told.

A document has the fields that `-o yaml` prints of the resource, and its full name (`namespaces/sales/datasets/flights`) says
what it is. What only the catalog can tell (`etag`, `latest_version`) may stand there and is not read. Looks nothing up.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from federation.core import authorization, budget, card, dataset, errors, ids, offers, ratecard, schema, site, transfer
from federation.core.written import Written

FORMAT = 1
IDENTIFIER = f"urn:federation:schema:declarative:{FORMAT}"
_SHOWN_CHARS = 60
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_NOTHING = ("", "~", "null")
_NAME = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
_REGION = r"[a-z][a-z0-9-]{0,31}:[a-z0-9][a-z0-9-]{0,62}"


@dataclass(frozen=True, kw_only=True)
class PriceTier:
    """One tier of a link's price: what `gb_bytes` bytes cost, up to `upto_bytes` of a month; the last has no upper bound."""

    gb_micros: int
    gb_bytes: int = 10**9
    upto_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class LinkPrice:
    """What a link shall cost. `gb_micros` is one price for all that is sent, `tiers` are several, the lowest first.

    `price_source` says where the price is from, `as_of` since when it holds (today, if nobody says). Where a newer price is
    known, that one holds.
    """

    gb_micros: int
    gb_bytes: int = 10**9
    price_source: str = ""
    as_of: str = ""
    tiers: tuple[PriceTier, ...] = ()
    million_requests_micros: int = 0


@dataclass(frozen=True, kw_only=True)
class Prices:
    """A rate card's rows as CSV: `egress` and `compute`, or files that hold them, beside this one.

    Rows of a link and date take the place of those that are there; with `replace` there are no others. `note` says why, and
    is kept with the card.
    """

    egress: str = ""
    egress_file: str = ""
    compute: str = ""
    compute_file: str = ""
    replace: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class PolicySet:
    """Cedar policies: as `text`, or in `file`, beside this one. `tests` are files of decisions that must come out.

    `note` says why, and is kept with them.
    """

    text: str = ""
    file: str = ""
    tests: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong in a file, where, and what to do about it."""

    file: str
    line: int
    path: str
    what: str
    cure: str = ""

    @property
    def place(self) -> str:
        """`datasets.yaml:12: card.licence`."""
        return f"{self.file}:{self.line}" + (f": {self.path}" if self.path else "")


@dataclass(frozen=True, kw_only=True)
class Noun:
    """One kind of resource that may be declared: `word` is how `fed` calls it, `pattern` what its full names look like.

    `form` says the same to people. `cls` has its fields, of which `fields` may be declared, and `shown`, where that is another
    class, those that commands print; `made` are those that it needs when it is made, `final` those
    that it keeps then, `sets` lists whose order says nothing. `told` is what commands print of it beside all that. `checks`
    are what is known of single values without asking anybody.
    """

    word: str
    pattern: str
    form: str
    cls: type
    fields: tuple[str, ...]
    shown: type | None = None
    made: tuple[str, ...] = ()
    final: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    told: tuple[str, ...] = ()
    checks: Mapping[str, Callable[[Any], Any]] = dataclasses.field(default_factory=dict)

    def matches(self, name: str) -> bool:
        """Whether this is the full name of one."""
        return re.fullmatch(self.pattern, name) is not None

    @functools.cached_property
    def given(self) -> tuple[str, ...]:
        """Fields that may stand in a file and are not read: the name tells them, or only the catalog can."""
        told = (field.name for field in dataclasses.fields(self.shown or self.cls))
        return tuple(dict.fromkeys(name for name in (*told, *self.told) if name not in (*self.fields, "name")))


def _list_of(check: Callable[[tuple[str, ...]], Any]) -> Callable[[Any], Any]:
    return lambda items: check(tuple(items))


def _parties(field: str) -> Callable[[Any], Any]:
    return lambda items: authorization.parties((items,) if isinstance(items, str) else items, field)


def _scope(text: str) -> None:
    budget.check(budget.Budget(budget="any", scope=text, limit_micros=1))
    kind, _, rest = text.partition("/")
    if kind == "namespaces":
        ids.segment(rest, "namespace")
    elif kind == "datasets":
        ids.dataset(rest)


_DATASET = (
    *("kind", "description", "residency", "labels", "owner", "parts", "release_bytes_max", "classification"),
    *("purposes", "readers", "use_expire_time", "legal_hold", "group_size_min", "card"),
)
#: In the order in which they are applied: each before what may need it.
NOUNS: Mapping[str, Noun] = {
    noun.word: noun
    for noun in (
        Noun(
            word="namespace",
            pattern=f"namespaces/{_NAME}",
            form="namespaces/NAME",
            cls=dataset.Namespace,
            fields=("description", "owner", "weight", "gpu_seconds_quota", "egress_micros_quota"),
            checks={"owner": _parties("owner")},
        ),
        Noun(
            word="site",
            pattern=f"sites/{_NAME}",
            form="sites/NAME",
            cls=site.Site,
            fields=("region", "jurisdiction", "account", "offer", "sources"),
            made=("region", "jurisdiction"),
            sets=frozenset({"sources"}),
            checks={"region": ids.region, "account": lambda text: text and ids.segment(text, "account")},
        ),
        Noun(
            word="price",
            pattern="rateCards/(-|[0-9]{1,10})",
            form="rateCards/-",
            cls=Prices,
            shown=ratecard.CardInfo,
            fields=("egress", "egress_file", "compute", "compute_file", "replace", "note"),
            checks={"egress": ratecard.parse, "compute": offers.parse},
        ),
        Noun(
            word="link",
            pattern=f"links/{_REGION}~({_REGION}|{site.INTERNET})",
            form="links/REGION~REGION or links/REGION~internet",
            cls=LinkPrice,
            shown=site.Link,
            fields=("gb_micros", "gb_bytes", "price_source", "as_of", "tiers", "million_requests_micros"),
        ),
        Noun(
            word="policy",
            pattern="policies/(-|[0-9]{1,10})",
            form="policies/-",
            cls=PolicySet,
            shown=authorization.PolicyRevision,
            fields=("text", "file", "tests", "note"),
        ),
        Noun(
            word="dataset",
            pattern=f"namespaces/{_NAME}/datasets/{_NAME}",
            form="namespaces/NAMESPACE/datasets/NAME",
            cls=dataset.Dataset,
            fields=_DATASET,
            final=frozenset({"kind"}),
            sets=frozenset(
                {"residency", "purposes", "readers", "parts", "card.sensitive_columns", "card.without"},
            ),
            told=("replicas", "made_of", "inherited", "unseen_sources"),
            checks={
                "owner": _parties("owner"),
                "readers": _parties("readers"),
                "purposes": _list_of(authorization.purposes),
                "parts": lambda names: [ids.dataset(name) for name in names],
                "card": lambda given: card.checked(_card(given)),
            },
        ),
        Noun(
            word="rule",
            pattern=f"replicationRules/{_NAME}",
            form="replicationRules/NAME",
            cls=transfer.ReplicationRule,
            fields=("dataset", "copies", "site_filter", "lifetime_seconds"),
            made=("dataset",),
            checks={"dataset": ids.dataset},
        ),
        Noun(
            word="budget",
            pattern=f"budgets/{_NAME}",
            form="budgets/NAME",
            cls=budget.Budget,
            fields=("scope", "limit_micros", "alert_percents", "hard"),
            made=("scope", "limit_micros"),
            final=frozenset({"scope"}),
            sets=frozenset({"alert_percents"}),
            checks={
                "scope": _scope,
                "limit_micros": lambda limit: budget.check(budget.Budget(budget="any", scope=budget.ALL, limit_micros=limit)),
            },
        ),
    )
}

#: What has a name and cannot be declared, by the last collection of that name, with the reason and the way instead.
ACTS: Mapping[str, str] = {
    "versions": "a version is data: `fed dataset put` or a job makes one",
    "replicas": "replicas follow from rules: declare replicationRules/NAME",
    "jobs": "a job is done once: `fed job submit`",
    "runs": "a run is made for a job: `fed job submit`",
    "pipelines": "a pipeline is done once: `fed pipeline submit FILE`",
    "transfers": "a transfer is done once: declare replicationRules/NAME, or `fed transfer create`",
    "tokens": "a token is a secret that is shown once: `fed token create`",
    "escrows": "an escrow is made by its custodians' shares: `fed key escrow create`",
    "openings": "an opening is asked for and approved by people: `fed key escrow open`",
    "bills": "a bill is what a provider delivers: `fed bill import`",
    "erasures": "an erasure cannot be taken back: `fed dataset erase`",
    "leases": "a lease is given by the catalog when data is read",
    "keyring": "keys are turned over, not declared: `fed key rotate`",
    "ledgerEntries": "the ledger is written by what was metered",
    "usage": "usage is what was metered",
    "auditEntries": "the audit is written by what happened",
    "recordHeads": "the record is written by what happened",
}


def _card(given: Mapping[str, Any]) -> dataset.DataCard:
    return schema.read(dataset.DataCard, dict(given))


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One resource as a file wants it: `values` are the fields that it says, plain; of others it says nothing.

    `told` are fields that it says and that are not read, and `lines` where each field stands.
    """

    noun: Noun
    name: str
    values: Mapping[str, Any]
    file: str
    line: int
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    lines: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def place(self) -> str:
        """`datasets.yaml:12`."""
        return f"{self.file}:{self.line}"

    def problem(self, path: str, what: str, cure: str = "") -> Problem:
        """That something is wrong with it, at the line of that field."""
        line = self.lines.get(path, self.lines.get(path.partition(".")[0], self.line))
        return Problem(file=self.file, line=line, path=path, what=what, cure=cure)

    @property
    def needs(self) -> tuple[str, ...]:
        """Full names of what must be there before it."""
        if self.noun.word == "dataset":
            parent, _, _ = self.name.partition("/datasets/")
            return (parent, *(ids.dataset(part).resource for part in self.values.get("parts", ())))
        if self.noun.word == "rule":
            return tuple(ids.dataset(text).resource for text in (self.values.get("dataset"),) if text)
        if self.noun.word == "budget":
            kind, _, rest = str(self.values.get("scope", "")).partition("/")
            if kind == "datasets":
                return (ids.dataset(rest).resource,)
            return (f"namespaces/{rest}",) if kind == "namespaces" else ()
        return ()

    @property
    def identity(self) -> Mapping[str, str]:
        """What the name tells, by the fields that `-o` prints it in."""
        last = self.name.rpartition("/")[2]
        if self.noun.word == "dataset":
            return ids.dataset(self.name)._asdict()
        if self.noun.word == "link":
            return dict(zip(("source_region", "destination_region"), last.split("~"), strict=True))
        return {self.noun.word: last} if self.noun.word in ("site", "rule", "budget") else {}


# The schema


@functools.cache
def schemas() -> Mapping[str, Any]:
    """The JSON Schema (2020-12) of such a file: `$defs` has each kind of resource by its word."""
    found: dict[str, Any] = {}
    nouns = {noun.word: _resource(noun, found) for noun in NOUNS.values()}
    several = [
        {"if": {"properties": {"name": {"pattern": f"^{noun.pattern}$"}}}, "then": {"$ref": f"#/$defs/{noun.word}"}}
        for noun in NOUNS.values()
    ]
    names = {"type": "string", "pattern": "^(" + "|".join(noun.pattern for noun in NOUNS.values()) + ")$"}
    resource = {"type": "object", "required": ["name"], "properties": {"name": names}, "allOf": several}
    return {
        "$schema": schema.DIALECT,
        "$id": IDENTIFIER,
        "title": "What a federation shall be, for fed apply -f",
        "anyOf": [{"$ref": "#/$defs/resource"}, {"type": "array", "items": {"$ref": "#/$defs/resource"}}],
        "$defs": {"resource": resource, **nouns, **{name: found[name] for name in sorted(found)}},
    }


def _resource(noun: Noun, found: dict[str, Any]) -> dict[str, Any]:
    given = {"readOnly": True, "description": "The catalog tells it; it may stand here and is not read."}
    return {
        "type": "object",
        "description": " ".join((noun.cls.__doc__ or "").split("\n\n")[0].split()),
        "properties": {
            "name": {"type": "string", "pattern": f"^{noun.pattern}$", "description": f"Its full name: {noun.form}."},
            "format_version": {"type": "integer", "minimum": FORMAT, "maximum": FORMAT},
            **schema.properties(noun.cls, noun.fields, found),
            **dict.fromkeys(noun.given, given),
        },
        "required": ["name"],
        "additionalProperties": False,
    }


# Reading


def read(documents: Iterable[tuple[str, Written]]) -> tuple[tuple[Declared, ...], tuple[Problem, ...]]:
    """What these documents, each with its file's name, declare, and all that is wrong in them."""
    found: dict[str, Declared] = {}
    problems: list[Problem] = []
    for file, written in documents:
        reader = _Reader(file)
        one = reader.resource(written)
        problems += reader.problems
        if one is None:
            continue
        first = found.setdefault(one.name, one)
        if first is not one:
            told = f"{one.name} is declared a second time: first at {first.place}"
            problems.append(one.problem("name", told, "Keep one of both."))
    return tuple(found.values()), tuple(problems)


class _Reader:
    """Reads one document and notes all that is wrong with it."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file

    def wrong(self, line: int, path: str, what: str, cure: str = "") -> None:
        self.problems.append(Problem(file=self._file, line=line, path=path, what=what, cure=cure))

    def resource(self, written: Written) -> Declared | None:
        table = written.value
        if not isinstance(table, Mapping):
            self.wrong(written.line, "", "this is no resource", "Begin with `name: ` and its full name.")
            return None
        noun, name = self._noun(table, written.line)
        if noun is None:
            return None
        shape = schemas()["$defs"][noun.word]["properties"]
        lines = {key: inner.line for key, inner in table.items()}
        values, told = {}, {}
        for key, inner in table.items():
            if key not in shape:
                self._unknown(inner.line, key, [*noun.fields, "name"])
            elif shape[key].get("readOnly"):
                told[key] = inner.value if isinstance(inner.value, str) else None
            else:
                values[key] = self.value(inner, shape[key], key)
        for key in ("name", "format_version"):
            values.pop(key, None)
        one = Declared(noun=noun, name=name, values=values, file=self._file, line=written.line, told=told, lines=lines)
        if not self.problems:
            self._check(one)
        return one

    def _noun(self, table: Mapping[str, Written], line: int) -> tuple[Noun | None, str]:
        if "name" not in table or not isinstance(table["name"].value, str) or not table["name"].value:
            forms = ", ".join(noun.form for noun in NOUNS.values())
            self.wrong(line, "name", "it is missing: which resource is this?", f"Write its full name, such as {forms}.")
            return None, ""
        name, at = table["name"].value, table["name"].line
        noun = next((noun for noun in NOUNS.values() if noun.matches(name)), None)
        if noun is not None:
            return noun, name if noun.word not in ("price", "policy") else noun.form
        *_, collection, _last = ("", *name.split("/")) if "/" in name else ("", "", "")
        if collection in ACTS:
            self.wrong(at, "name", f"{_shown(name)} cannot be declared: {ACTS[collection]}")
        else:
            forms = ", ".join(noun.form for noun in NOUNS.values())
            self.wrong(at, "name", f"{_shown(name)} is no full name of what can be declared", f"Write one of {forms}.")
        return None, ""

    def _unknown(self, line: int, path: str, known: Iterable[str]) -> None:
        key = path.rpartition(".")[2]
        near = difflib.get_close_matches(key[:_SHOWN_CHARS], known, n=1)
        cure = f"Did you mean {near[0]!r}?" if near else f"Write one of: {', '.join(sorted(known))}."
        self.wrong(line, path, "no such key is known here", cure)

    def _check(self, one: Declared) -> None:
        for key, check in one.noun.checks.items():
            if one.values.get(key):
                try:
                    check(one.values[key])
                except errors.InvalidArgument as error:
                    self.wrong(one.lines[key], key, error.message, error.help)
        for problem in _together(one):
            self.problems.append(problem)

    # Values by their schema

    def value(self, written: Written, shape: Mapping[str, Any], path: str) -> Any:
        """The plain value; None where it is wrong, which is noted."""
        if "$ref" in shape:
            shape = schemas()["$defs"][shape["$ref"].rpartition("/")[2]]
        if "anyOf" in shape:  # a value, or null
            if not written.quoted and written.value in _NOTHING:
                return None
            shape = shape["anyOf"][0]
        read = {"object": self._object, "array": self._array}.get(shape["type"], self._scalar)
        return read(written, shape, path)

    def _object(self, written: Written, shape: Mapping[str, Any], path: str) -> Any:
        if not isinstance(written.value, Mapping):
            self.wrong(written.line, path, f"it is {_shown(written.value)}, a table belongs here", "Write `key: value` lines.")
            return None
        known, others = shape.get("properties", {}), shape["additionalProperties"]
        made = {}
        for key, inner in written.value.items():
            if key in known or others:
                made[key] = self.value(inner, known.get(key, others), f"{path}.{key}")
            else:
                self._unknown(inner.line, f"{path}.{key}", known)
        missing = [key for key in shape.get("required", ()) if key not in written.value]
        if missing:
            self.wrong(written.line, path, f"it lacks {', '.join(missing)}", "Add what is missing.")
        return made

    def _array(self, written: Written, shape: Mapping[str, Any], path: str) -> Any:
        if not isinstance(written.value, tuple):
            self.wrong(written.line, path, f"it is {_shown(written.value)}, a list belongs here", "Write `[ONE, TWO]`.")
            return None
        return [self.value(inner, shape["items"], f"{path}[{number}]") for number, inner in enumerate(written.value)]

    def _scalar(self, written: Written, shape: Mapping[str, Any], path: str) -> Any:
        text = written.value
        if not isinstance(text, str):
            self.wrong(written.line, path, f"it is {_shown(text)}, one value belongs here", f"Write `{path}: VALUE`.")
            return None
        try:
            return _SCALARS[shape["type"]](text, written.quoted, shape)
        except _NotSo as wrong:
            self.wrong(written.line, path, f"{_shown(text)} is {wrong.what}", wrong.cure)
            return None


class _NotSo(Exception):
    """A scalar that is not what its schema wants."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.what = what
        self.cure = cure


def _text(text: str, quoted: bool, shape: Mapping[str, Any]) -> str:
    if not quoted and text in _NOTHING:
        raise _NotSo("nothing", 'Leave the key out, and it stays as it is; write "" to empty it.')
    if "enum" in shape and text not in shape["enum"]:
        raise _NotSo(f"not one of {', '.join(shape['enum'])}", f"Write one of: {', '.join(shape['enum'])}.")
    return time_text(text) if shape.get("format") == "date-time" else text


def _whole(text: str, quoted: bool, shape: Mapping[str, Any]) -> int:
    if quoted or not _INTEGER.fullmatch(text):
        raise _NotSo("not a whole number", "Write figures alone, without quotes, units and separators.")
    least, most = shape.get("minimum", -schema.INTEGER_MAX), shape.get("maximum", schema.INTEGER_MAX)
    if not least <= int(text) <= most:
        raise _NotSo(f"not {least:,} to {most:,}", f"Write a whole number from {least:,} to {most:,}.")
    return int(text)


def _decimal(text: str, quoted: bool, shape: Mapping[str, Any]) -> float:
    if quoted or not _NUMBER.fullmatch(text) or not 0 <= float(text) <= shape["maximum"]:
        raise _NotSo("not a number of 0 or more", "Write a number without quotes.")
    return float(text)


def _truth(text: str, quoted: bool, _shape: Mapping[str, Any]) -> bool:
    if quoted or text not in ("true", "false"):
        raise _NotSo("neither true nor false", "Write true or false, without quotes.")
    return text == "true"


_SCALARS: Mapping[str, Callable[[str, bool, Mapping[str, Any]], Any]] = {
    "string": _text,
    "integer": _whole,
    "number": _decimal,
    "boolean": _truth,
}


def time_text(text: str) -> str:
    """A time with its offset in the one form in which times are compared: UTC, RFC 3339."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise _NotSo("not a time with its offset from UTC", "Write it like 2027-12-31T00:00:00Z.")
    return found.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _shown(value: Any) -> str:
    """A value in a message, never too long."""
    if not isinstance(value, str):
        return "a table" if isinstance(value, Mapping) else "a list"
    return repr(value if len(value) <= _SHOWN_CHARS else value[:_SHOWN_CHARS] + "...")


def _together(one: Declared) -> Iterator[Problem]:
    """What is wrong between fields."""
    values = one.values
    for key, part in one.identity.items():
        if one.told.get(key, part) != part:
            yield one.problem(
                key, f"it is {_shown(one.told[key])}, and the name says {part}", "Leave it out: the name tells it."
            )
    for text, file in (("text", "file"), ("egress", "egress_file"), ("compute", "compute_file")):
        if values.get(text) and values.get(file):
            yield one.problem(file, f"{text} and {file} say the same thing twice", "Write one of both.")
    if one.noun.word == "link" and (values.get("tiers") or "gb_micros" in values):
        if not values.get("price_source"):
            yield one.problem("price_source", "a price without a source is not a price", "Say where it is from.")
        if values.get("tiers") and "gb_micros" in values:
            yield one.problem("gb_micros", "a link has one price or tiers", "Leave gb_micros out, or tiers.")
    if one.noun.word == "policy" and not (values.get("text") or values.get("file")):
        yield one.problem("file", "it says no policies", "Write `file: policies.cedar`.")
