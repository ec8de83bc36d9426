"""Sets of policies: which holds, what another would change, and putting one in force.

Applying a set makes a revision that never changes afterwards. A set is refused unless it is in order and decides all given
cases as expected. Earlier revisions stay, and can be applied again.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from federation import ports
from federation.core import authorization as values
from federation.core import columns, dataset, errors, kinds, records, site
from federation.core.authorization import Action, Case, Decided, PolicyFlip, PolicyRevision, Question, Subject
from federation.core.policy import Role
from federation.services import authorization, scan
from federation.services.context import Context
from federation.services.seam import seam

#: Questions that one diff, and one replay, asks at most; and flips that it tells.
ASKED_MAX = 20_000
#: Where past decisions are: the table of the record, the kind of event, and how many are read at once.
AUDIT, DECIDED, PAGE = "audit", "policy.decided", 1000
FLIPS_MAX = 1_000
CASES_MAX = 10_000
NOTE_MAX = 500
#: Actions that are asked about site by site.
_AT_SITES = (Action.RUN, Action.RELEASE_KEY, Action.REPLICATE, Action.WRITE)


def revision_number(name: str) -> int | None:
    """The number in `policies/3`; None for `policies/-`, the revision that holds."""
    text = name.removeprefix("policies/")
    if text in ("", "-"):
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 10:
        raise errors.InvalidArgument(
            f"{name!r} names no revision of the policies",
            reason="NAME_INVALID",
            help="Write policies/NUMBER, or policies/- for the one that holds.",
            violations={"name": "must be policies/NUMBER"},
        )
    return int(text)


def get(tx: ports.Transaction, ctx: Context, number: int | None = None) -> PolicyRevision:
    """The revision that holds, or the one of a number; NotFound where there is none."""
    if number is None:
        number = authorization.current(tx, ctx)[1]
    if number == 0:
        text = ctx.policies.default()
        engine = ctx.policies.compile(text)
        return PolicyRevision(number=0, text=text, digest=engine.digest, note="shipped", policies=len(engine.rules))
    found = tx.get(PolicyRevision, f"{number:010d}")
    if found is None:
        raise errors.NotFound(f"there is no revision {number} of the policies", metadata={"revision": str(number)})
    return found


def apply(  # noqa: PLR0917 - the set, why, its tests, and what it follows
    tx: ports.Transaction, ctx: Context, text: str, note: str, cases: Iterable[str], etag: str = ""
) -> PolicyRevision:
    """Puts a set in force and tells of it (`policy.applied`).

    InvalidArgument for a set that is not in order (POLICY_INVALID) or cases that are none (CASES_INVALID); FailedPrecondition
    (POLICY_TESTS_FAILED) names those that it decides otherwise; Conflict where another revision holds than the etag's.
    """
    engine = ctx.policies.compile(text)
    expected = tuple(_case(one) for one in cases)
    if not 0 < len(expected) <= CASES_MAX or len(note) > NOTE_MAX:
        raise errors.InvalidArgument(
            f"a set is applied with 1 to {CASES_MAX} expected decisions, and a note of at most {NOTE_MAX} characters",
            reason="CASES_INVALID",
            help="Write them into a file: `fed policy apply FILE --tests CASES`.",
        )
    failed = values.failures(expected, engine.decide)
    if failed:
        raise errors.FailedPrecondition(
            f"{len(failed)} of {len(expected)} expected decisions are others: "
            + "; ".join(f"{one.case}: {one.told}" for one in failed[:5]),
            reason="POLICY_TESTS_FAILED",
            help="`fed policy test` tells all of them.",
        )
    before = get(tx, ctx)
    if etag and etag != before.etag:
        raise errors.Conflict(f"revision {before.number} of the policies holds by now", help="Look at it, then apply again.")
    stored = tx.insert(
        PolicyRevision(
            number=before.number + 1,
            text=text,
            digest=engine.digest,
            note=note,
            principal=tx.actor,
            policies=len(engine.rules),
            create_time=tx.now,
        )
    )
    tx.emit("policy.applied", f"policies/{stored.number}", stored)
    return stored


def _case(text: str) -> Case:
    try:
        return records.loads(Case, text)
    except (TypeError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise errors.InvalidArgument(f"a case cannot be read: {error}", reason="CASES_INVALID") from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """The decisions that would change, how many were compared out of how many there are, and where to go on (0: at the end)."""

    flips: tuple[PolicyFlip, ...]
    asked: int
    total: int
    next_start: int = 0


def diff(tx: ports.Transaction, ctx: Context, text: str, start: int = 0) -> Compared:
    """What a set would change for the people, datasets and sites that there are: every action of each, with each, at each.

    People are those with tokens, those whom datasets or policies name, for each group that is named somebody who is in that
    alone, and somebody of each role, and of each jurisdiction, that somebody may have. Each is asked with no purpose, and with
    each that the dataset or a policy names; of what can be so or otherwise (a copy for a job, an aggregate) with both; and of
    each column class, also of one that a write leaves unsealed. Exact unless `next_start` says where it stopped.
    """
    engine = ctx.policies.compile(text)
    holds, _ = authorization.current(tx, ctx)
    named = holds.named | engine.named
    flips: dict[PolicyFlip, None] = {}
    number = start
    stored = [row for row in scan.every(tx, dataset.Dataset) if row.delete_time is None]
    places = tuple(scan.every(tx, site.Site))
    people = _people(tx, stored, places, named)
    asked_of = _asked_of(tx, stored, places, named)
    total = sum(len(people) * len(ways) for _, ways in asked_of)
    every = ((row, who, way) for row, ways in asked_of for who, way in itertools.product(people, ways))
    for row, who, way in itertools.islice(every, start, None):
        if number - start >= ASKED_MAX or len(flips) >= FLIPS_MAX:
            return Compared(flips=tuple(flips), asked=number - start, total=total, next_start=number)
        number += 1
        asked = _asked(tx, row, who, way)
        found = values.flip(asked, before=holds.decide(asked).allowed, after=engine.decide(asked))
        if found is not None:
            flips[found] = None
    return Compared(flips=tuple(flips), asked=number - start, total=total)


def _people(
    tx: ports.Transaction, stored: list[dataset.Dataset], places: Iterable[site.Site], named: frozenset[str]
) -> tuple[Subject, ...]:
    found = {
        Subject(name=f"users/{row.user}", role=row.role, groups=tuple(sorted(set(row.groups))), jurisdiction=row.jurisdiction)
        for row in scan.every(tx, kinds.TokenRecord)
    }
    parties = {row.owner for row in scan.every(tx, dataset.Namespace)} | {row.owner for row in stored}
    parties |= {name for row in stored for name in row.readers}
    parties |= {*_of_kind(named, "Party"), *(f"users/{name}" for name in _of_kind(named, "User"))}
    for party in parties:
        if party.startswith("users/") and party not in {each.name for each in found}:
            found.add(Subject(name=party))
        if party.startswith("groups/") and party != values.EVERYONE:
            found.add(Subject(name="users/-", groups=(party.removeprefix("groups/"),)))
    jurisdictions = {*_of_kind(named, "Jurisdiction"), *(place.jurisdiction for place in places)}
    jurisdictions |= {name for row in stored for name in row.residency}
    found |= {Subject(name="users/-", jurisdiction=name) for name in ("", *jurisdictions)}
    found |= {Subject(name="users/-", role=role) for role in (Role.ADMIN, Role.AUDITOR)}
    return tuple(sorted(found, key=lambda each: (each.name, each.groups, str(each.role), each.jurisdiction)))


def _of_kind(named: frozenset[str], kind: str) -> list[str]:
    return [name.removeprefix(f"{kind}::") for name in named if name.startswith(f"{kind}::")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Way:
    """One way to ask about an action with a dataset: where, for what, and what else few questions say."""

    action: Action
    at: site.Site | None
    purpose: str
    further: Mapping[str, Any]


def _asked_of(
    tx: ports.Transaction, stored: Iterable[dataset.Dataset], places: Sequence[site.Site], named: frozenset[str]
) -> list[tuple[dataset.Dataset, tuple[_Way, ...]]]:
    """Datasets with all ways to ask about them."""
    classes: dict[str, tuple[str, ...]] = {}
    for row in stored:
        newest = tx.get(dataset.Version, kinds.version_key(row.namespace, row.dataset, row.latest_version))
        classes[row.name.short] = columns.names(newest.column_classes)[1:] if newest else ()
    opened = sorted(set(itertools.chain(*classes.values())))
    purposes = _of_kind(named, "Purpose")
    return [
        (row, tuple(_ways(row, places, ("", *sorted({*row.purposes, *purposes})), classes[row.name.short], opened)))
        for row in stored
    ]


def _ways(
    row: dataset.Dataset, places: Sequence[site.Site], purposes: Sequence[str], own: Sequence[str], opened: Sequence[str]
) -> Iterator[_Way]:
    """Each action in every way in which it may be asked about a dataset.

    `own` are its column classes, `opened` those of any dataset: a job that reads one of these may leave it unsealed here.
    """
    for action in Action:
        bare = action in (Action.BROWSE, Action.DESTROY)
        where: Sequence[site.Site | None] = places if action in _AT_SITES else (None,)
        for purpose, place, further in itertools.product(
            ("",) if bare else purposes, where, _further(action, row, own, opened)
        ):
            yield _Way(action=action, at=place, purpose=purpose, further=further)


def _further(action: Action, row: dataset.Dataset, own: Sequence[str], opened: Sequence[str]) -> tuple[Mapping[str, Any], ...]:
    """What else may be so or otherwise."""
    match action:
        case Action.WRITE:
            return ({}, *({"unsealed_classes": (name,)} for name in opened))
        case Action.RELEASE_KEY:
            ways: tuple[Mapping[str, Any], ...] = ({},)
        case Action.REPLICATE:
            ways = {"for_job": False}, {"for_job": True}
        case Action.EXPORT:
            ways = {"aggregate": False}, {"aggregate": True, "group_size": row.group_size_min}
        case _:
            return ({},)
    return tuple({"column_class": name, **way} for name, way in itertools.product(("", *own), ways))


def _asked(tx: ports.Transaction, row: dataset.Dataset, who: Subject, way: _Way) -> Question:
    # A job acts as a user, whoever submits it.
    role = Role.USER if way.action in (Action.RUN, Action.RELEASE_KEY) else who.role
    asked = authorization.question(tx, dataclasses.replace(who, role=role), way.action, row, at=way.at, purpose=way.purpose)
    destination = who.jurisdiction if way.action is Action.EXPORT else ""
    return dataclasses.replace(asked, destination=destination, **way.further)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Past:
    """Which past decisions are asked again: those after the position `start`, from a time on and before another."""

    start: int = 0
    from_time: datetime | None = None
    to_time: datetime | None = None

    def has(self, time: datetime) -> bool:
        """Whether a decision of that time is one of them."""
        return (self.from_time is None or time >= self.from_time) and (self.to_time is None or time < self.to_time)


def replay(log: ports.EventLog, record: ports.RecordEngine | None, ctx: Context, text: str, past: Past = Past()) -> Compared:
    """Which past decisions a set would make otherwise, each with the facts of then. Nothing is told.

    All that the audit holds are asked again, and the log after it; without tables only what the log still has.
    """
    engine = ctx.policies.compile(text)
    flips: list[PolicyFlip] = []
    number = position = 0
    for position, body in _decided(log, record, past):
        if number >= ASKED_MAX or len(flips) >= FLIPS_MAX:
            return Compared(flips=tuple(flips), asked=number, total=number, next_start=position - 1)
        number += 1
        made = records.loads(Decided, body)
        if made.law:
            continue  # another set would have changed nothing
        found = values.flip(made.question, before=made.allowed, after=engine.decide(made.question), position=position)
        if found is not None:
            flips.append(found)
    return Compared(flips=tuple(flips), asked=number, total=number)


def _decided(log: ports.EventLog, record: ports.RecordEngine | None, past: Past) -> Iterator[tuple[int, str]]:
    """Position and body of each past decision, in order: out of the table up to where it has come, then out of the log."""
    upto, at = seam(log, record, AUDIT, DECIDED), past.start
    while record is not None and at < upto:
        page = record.query(
            f"SELECT position, body FROM {AUDIT} WHERE kind = '{DECIDED}'"  # noqa: S608 - our own names, numbers and times
            f" AND position > {at} AND position <= {upto}{_within(past)} ORDER BY position LIMIT {PAGE}"
        )
        yield from zip(page["position"].to_pylist(), page["body"].to_pylist(), strict=True)
        if page.num_rows < PAGE:
            break
        at = page["position"][-1].as_py()
    at = max(past.start, upto, log.floor())
    while events := log.events(at, limit=PAGE, kinds=(DECIDED,)):
        yield from ((event.position, event.body) for event in events if past.has(event.time))
        at = events[-1].position


def _within(past: Past) -> str:
    """The times as a condition, with the days by which the table is laid out."""
    parts = []
    for time, sign, day in ((past.from_time, ">=", ">="), (past.to_time, "<", "<=")):
        if time is not None:
            utc = time.astimezone(UTC)
            parts += [f"day {day} DATE '{utc:%Y-%m-%d}'", f"time {sign} TIMESTAMP '{utc:%Y-%m-%d %H:%M:%S.%f}Z'"]
    return "".join(f" AND {part}" for part in parts)
