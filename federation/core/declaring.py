"""What must be done so that a catalog is as files declare it: a plan with each difference. Values in, values out; asks nobody.

A file speaks of the fields that it names: the others stay as they are, and are the catalog's defaults where it makes something.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Any, TypeAlias

from federation.core import declared, errors, ids, offers, pricefile, ratecard, site
from federation.core.declared import NOUNS, Declared, Problem

#: What can be deleted because no file declares it any more.
PRUNABLE = ("namespace", "site", "dataset", "rule", "budget")
#: Fields that change by themselves: that a file has older ones is nothing to tell.
_OF_A_MOMENT = frozenset(
    {
        *("etag", "uid", "create_time", "update_time", "heartbeat_time", "month_to_date_bytes", "reserved_bytes"),
        *("month", "spent_micros", "reserved_micros", "reason", "detail"),
    }
)

#: What a price is for, if nobody says it.
_GB = declared.PriceTier.gb_bytes

#: A resource as the catalog tells it, as plain JSON.
Plain: TypeAlias = Mapping[str, Any]


class Action(StrEnum):
    """What is done with a resource. REPLACE deletes it and makes it again, for what has no update; KEEP leaves it there."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    REPLACE = "REPLACE"
    DELETE = "DELETE"
    KEEP = "KEEP"
    UNCHANGED = "UNCHANGED"

    @property
    def changes(self) -> bool:
        """Whether it writes anything."""
        return self not in (Action.KEEP, Action.UNCHANGED)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field's value in the catalog and in the file; None where there is none."""

    field: str
    before: Any = None
    after: Any = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is done with one resource. `before` is what the catalog has of it, `wanted` what the file says, both plain.

    `ignored` are fields that the file says otherwise than the catalog and that cannot be set; `why` tells why it is kept.
    `needs` are resources without which it cannot be done.
    """

    action: Action
    noun: str
    name: str
    file: str = ""
    line: int = 0
    changes: tuple[Change, ...] = ()
    ignored: tuple[str, ...] = ()
    why: str = ""
    needs: tuple[str, ...] = ()
    before: Plain = field(default_factory=dict)
    wanted: Plain = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """Of what the plan was made from."""
        return str(self.before.get("etag", ""))


@dataclass(frozen=True, kw_only=True)
class State:
    """What the catalog has: resources by full name, its prices, the text of its policies, what may be deleted; and the day."""

    resources: Mapping[str, Plain] = field(default_factory=dict)
    egress: ratecard.RateCard = ratecard.NO_PRICES
    compute: offers.OfferCard = field(default_factory=lambda: offers.OfferCard(rows=()))
    prunable: tuple[tuple[str, Plain], ...] = ()
    today: date = date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps in the order in which they are done, and what is wrong with what is wanted: then nothing is done."""

    steps: tuple[Step, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether the catalog differs from what is declared."""
        return any(step.action.changes for step in self.steps)


def plan(wanted: Iterable[Declared], state: State) -> Plan:
    """What makes the catalog as it is wanted: what others need first, and what goes last, in the opposite order."""
    listed = _ordered(wanted)
    names = {one.name for one in listed}
    planner = _Planner(state, names)
    steps = [planner.step(one) for one in listed]
    gone = [(noun, row) for noun, row in state.prunable if _name(row) not in names]
    order = list(NOUNS)
    # The whole before its parts.
    gone.sort(key=lambda item: (-order.index(item[0]), not item[1].get("parts"), _name(item[1])))
    steps += [_gone(noun, row, names) for noun, row in gone]
    return Plan(steps=tuple(steps), problems=tuple(planner.problems))


def _name(row: Plain) -> str:
    return str(row["name"])


def _ordered(wanted: Iterable[Declared]) -> list[Declared]:
    """By kind, and within it each after those that it needs; else as it stands in the files. Circles stay as they stand."""
    order = list(NOUNS)
    listed = sorted(wanted, key=lambda one: order.index(one.noun.word))
    by_name = {one.name: one for one in listed}
    done: dict[str, Declared] = {}

    def take(one: Declared, above: frozenset[str]) -> None:
        for name in one.needs:
            if name in by_name and name not in above:
                take(by_name[name], above | {one.name})
        done.setdefault(one.name, one)

    for one in listed:
        if one.name not in done:
            take(one, frozenset({one.name}))
    return list(done.values())


def _gone(noun: str, row: Plain, names: set[str]) -> Step:
    """The step for what no file declares: it is deleted, unless it holds data or something that a file declares."""
    why = ""
    if row.get("latest_version"):
        why = f"it has versions: `fed dataset delete {ids.dataset(_name(row)).short}` says that they may go"
    elif row.get("legal_hold"):
        why = "it is under legal hold"
    elif noun == "namespace" and any(name.startswith(f"{_name(row)}/") for name in names):
        why = "it holds what a file declares"
    if why:
        return Step(action=Action.KEEP, noun=noun, name=_name(row), why=why, before=row)
    return Step(action=Action.DELETE, noun=noun, name=_name(row), before=row)


class _Planner:
    """Plans one resource after the other; prices that one of them brings hold for the next."""

    def __init__(self, state: State, names: set[str]) -> None:
        self.problems: list[Problem] = []
        self._names = names
        self._resources = state.resources
        self._egress = state.egress
        self._compute = state.compute
        self._today = state.today

    def step(self, one: Declared) -> Step:
        for name in one.needs:
            if name not in self._names and self._resources.get(name) is None:
                self._refuse(one, "name", f"it needs {name}, which is not there and not declared", "Declare that, too.")
        special = {"price": self._prices, "link": self._link, "policy": self._policy}.get(one.noun.word)
        return special(one) if special else self._resource(one)

    def _resource(self, one: Declared) -> Step:
        before = self._resources.get(one.name)
        if before is None:
            self._require_made(one)
            changes = tuple(Change(field=path, after=value) for path, value in _flat(one))
            return self._made(one, Action.CREATE, changes)
        if before.get("delete_time"):
            told = f"{ids.dataset(one.name).short} is deleted, which no file takes back"
            self._refuse(
                one, "name", told, f"`fed dataset undelete {ids.dataset(one.name).short}`, or take it out of the file."
            )
        changes = _changes(one, before)
        for change in changes:
            if change.field in one.noun.final:
                told = f"it is {change.before} and stays so"
                self._refuse(one, change.field, told, "Give what is new another name.")
        action = Action.UPDATE if changes else Action.UNCHANGED
        if changes and one.noun.word == "rule":
            action = Action.REPLACE
        return self._made(one, action, changes, before)

    def _made(self, one: Declared, action: Action, changes: tuple[Change, ...], before: Plain | None = None) -> Step:
        return Step(
            action=action,
            noun=one.noun.word,
            name=one.name,
            file=one.file,
            line=one.line,
            changes=changes,
            ignored=_ignored(one, before) if before else (),
            needs=one.needs,
            before=before or {},
            wanted=one.values,
        )

    def _require_made(self, one: Declared) -> None:
        missing = [name for name in one.noun.made if one.values.get(name) in (None, "")]
        if missing:
            told = f"it is not there yet, and cannot be made without {', '.join(missing)}"
            self._refuse(one, "name", told, f"Add {', '.join(missing)}, or correct its name.")

    def _refuse(self, one: Declared, path: str, what: str, cure: str) -> None:
        self.problems.append(one.problem(path, what, cure))

    # Policies and prices: one of each holds, made from what was given

    def _policy(self, one: Declared) -> Step:
        before = self._resources.get(one.name, {})
        text = one.values.get("text", "")
        if text == before.get("text"):
            return self._made(one, Action.UNCHANGED, (), before)
        if not one.values.get("tests"):
            told = "other policies than those that hold are applied with decisions that must come out"
            self._refuse(one, "tests", told, "Write `tests: [cases.yaml]`, as for `fed policy test`.")
        return self._made(one, Action.UPDATE, (Change(field="text", before=before.get("text", ""), after=text),), before)

    def _prices(self, one: Declared) -> Step:
        kept = one.values.get("replace") is not True
        changes, imported = [], {}
        if one.values.get("egress"):
            new = ratecard.parse(one.values["egress"]).rows
            after = self._card(one, ratecard.merged(self._egress.rows if kept else (), new))
            if set(after.rows) != set(self._egress.rows):
                changes.append(_rows("egress", ratecard.text(self._egress.rows), ratecard.text(after.rows)))
                imported["egress"] = one.values["egress"]
            self._egress = after
        if one.values.get("compute"):
            rows = offers.merged(self._compute.rows if kept else (), offers.parse(one.values["compute"]).rows)
            if set(rows) != set(self._compute.rows):
                changes.append(_rows("compute", offers.text(self._compute.rows), offers.text(rows)))
                imported["compute"] = one.values["compute"]
            self._compute = offers.OfferCard(rows=rows)
        step = self._made(one, Action.UPDATE if changes else Action.UNCHANGED, tuple(changes))
        return replace(step, wanted={**imported, "replace": not kept, "note": one.values.get("note", "")})

    def _card(self, one: Declared, rows: Iterable[ratecard.PriceRow]) -> ratecard.RateCard:
        try:
            return ratecard.RateCard(rows=tuple(rows))
        except errors.InvalidArgument as error:
            self._refuse(one, "egress" if "egress" in one.values else "name", error.message, error.help)
            return self._egress

    def _link(self, one: Declared) -> Step:
        source, destination = one.identity.values()
        one = _filled(one)
        told = self._resources.get(one.name) or {}
        tariff = self._egress.tariff(source, destination)
        before = {**told, **_listed(tariff, told, one.values)}
        changes = _changes(one, before)
        if ("tiers" not in one.values and "gb_micros" not in one.values) or not changes:
            return self._made(one, Action.UNCHANGED, (), before)
        if destination == source or ratecard.destination_class(source, destination) != destination:
            free = destination == source
            what = "inside a region nothing is charged" if free else "across providers a link costs what the internet costs"
            self._refuse(one, "name", what, "Take it out." if free else f"Declare links/{source}~{site.INTERNET}.")
            return self._made(one, Action.UNCHANGED, (), before)
        rows = self._price_rows(one, source, destination)
        try:
            ratecard.parse(ratecard.text(rows))
        except errors.InvalidArgument as error:
            self._refuse(one, "tiers" if one.values.get("tiers") else "gb_micros", error.message, error.help)
        merged = self._card(one, ratecard.merged(self._egress.rows, rows))
        holds = merged.tariff(source, destination)
        if holds is not None and holds.as_of != rows[0].as_of:
            what = f"a price of {holds.as_of} is known, which a price of {rows[0].as_of} does not take the place of"
            self._refuse(one, "as_of", what, f"Write as_of: {holds.as_of}, or a later day.")
        self._egress = merged
        return replace(
            self._made(one, Action.UPDATE, changes, before), wanted={"egress": ratecard.text(rows), "note": one.name}
        )

    def _price_rows(self, one: Declared, source: str, destination: str) -> tuple[ratecard.PriceRow, ...]:
        values = one.values
        tiers = values.get("tiers") or [values]
        provider, _, place = source.partition(":")
        to_provider, _, to_place = destination.partition(":")
        return tuple(
            ratecard.PriceRow(
                source_provider=provider,
                source_place=place,
                destination_provider=to_provider,
                destination_place=to_place or pricefile.ANY,
                upto_bytes=tier.get("upto_bytes"),
                gb_micros=tier["gb_micros"],
                gb_bytes=tier["gb_bytes"],
                as_of=values.get("as_of") or self._today.isoformat(),
                source=values.get("price_source", ""),
                million_requests_micros=values.get("million_requests_micros"),
            )
            for tier in tiers
        )


def _filled(one: Declared) -> Declared:
    """A link whose prices say for how many bytes they are."""
    values = dict(one.values)
    if "gb_micros" in values:
        values.setdefault("gb_bytes", _GB)
    if values.get("tiers"):
        values["tiers"] = [{"gb_bytes": _GB, **tier} for tier in values["tiers"]]
    return replace(one, values=values)


def _listed(tariff: ratecard.Tariff | None, told: Plain, wanted: Plain) -> dict[str, Any]:
    """A link's price as files write it.

    One price for all is as it was published. Of tiers it is what a listing tells of this month's next GB; so it is where a file
    has what a listing told, which is rounded.
    """
    if tariff is None:
        return {}
    tiers = [
        {"gb_micros": micros, "gb_bytes": unit} | ({} if tier.upto_bytes is None else {"upto_bytes": tier.upto_bytes})
        for tier, (micros, unit) in zip(tariff.tiers, tariff.listed, strict=True)
    ]
    first: dict[str, Any] = {"gb_micros": tiers[0]["gb_micros"], "gb_bytes": tiers[0]["gb_bytes"]}
    listed = {name: told.get(name) for name in first}
    if listed["gb_micros"] is not None and (not tariff.flat or listed == {name: wanted.get(name) for name in first}):
        first = listed
    return {
        **first,
        "tiers": tiers,
        "price_source": tariff.source,
        "as_of": tariff.as_of,
        "million_requests_micros": tariff.million_requests_micros,
    }


def _rows(name: str, before: str, after: str) -> Change:
    """The lines that only one of two CSV texts has."""
    old, new = (list(csv.reader(io.StringIO(text))) for text in (before, after))
    fewer, more = {tuple(row) for row in new}, {tuple(row) for row in old}
    return Change(
        field=name,
        before=_csv(row for row in old if tuple(row) not in fewer),
        after=_csv(row for row in new if tuple(row) not in more),
    )


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


# Differences


def _flat(one: Declared) -> Iterable[tuple[str, Any]]:
    """The declared fields, those of a table one by one, in their normal form."""
    for name, value in one.values.items():
        if isinstance(value, Mapping) and name != "labels":
            yield from ((f"{name}.{inner}", _normal(one, f"{name}.{inner}", item)) for inner, item in value.items())
        else:
            yield name, _normal(one, name, value)


def _changes(one: Declared, before: Plain) -> tuple[Change, ...]:
    """The declared fields that are other than before."""
    found = []
    for path, after in _flat(one):
        outer, _, inner = path.partition(".")
        held = (before.get(outer) or {}).get(inner) if inner else before.get(outer)
        held = _normal(one, path, held)
        if _bare(held) != _bare(after) and not (_empty(held) and _empty(after)):
            found.append(Change(field=path, before=held, after=after))
    return tuple(found)


def _empty(value: Any) -> bool:
    """Whether a value is a default that a catalog leaves out of its answers."""
    return value in (None, "", [], {})


def _bare(value: Any) -> Any:
    """A value whose tables, in lists, have no entry that says nothing: what is left out there is its default."""
    if isinstance(value, list):
        return [{key: inner for key, inner in item.items() if inner} if isinstance(item, Mapping) else item for item in value]
    return value


def _normal(one: Declared, path: str, value: Any) -> Any:
    """A value in the one form in which such are compared."""
    if path in one.noun.sets and value:
        items = [ids.dataset(item).short for item in value] if path == "parts" else value
        return sorted(set(items))
    if isinstance(value, list):
        return [_normal(one, "", item) for item in value]
    if isinstance(value, Mapping):
        return {key: item for key, item in sorted(value.items()) if item is not None}
    if path.endswith("_time") and value:
        return declared.time_text(value)
    return ids.dataset(value).short if path == "dataset" and value else value


def _ignored(one: Declared, before: Plain) -> tuple[str, ...]:
    """Fields that cannot be set and that the file has otherwise than the catalog."""
    return tuple(
        sorted(
            name
            for name, text in one.told.items()
            if text is not None and name not in _OF_A_MOMENT and _as_text(before.get(name)) not in (text, None)
        )
    )


def _as_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if isinstance(value, Mapping | list) else "" if value is None else str(value)
