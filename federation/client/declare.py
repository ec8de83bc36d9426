"""A catalog made as files declare it: the files read, the catalog looked at, the plan carried out. `fed apply` is a face of it.

What is to be done is decided in `core.declaring`, from what was read and seen here. A plan may be carried out again whenever it
broke off: what is done already is seen to be as declared, and what somebody else has changed since is refused by its etag.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from federation import strict
from federation.client import policy_cases
from federation.client.client import Client
from federation.core import (
    authorization,
    budget,
    dataset,
    declared,
    declaring,
    errors,
    ids,
    offers,
    ratecard,
    schema,
    site,
    transfer,
)
from federation.core.declared import Declared, Problem
from federation.core.declaring import Action, Plan, State, Step
from federation.core.written import Written
from federation.wire.plain import plain

T = TypeVar("T")

#: What a folder's files end in to be read.
SUFFIXES = (".yaml", ".yml", ".json")
#: Files are read whole; no declaration is larger, and no rate card.
FILE_BYTES_MAX = 64 * 1024 * 1024
_CALLS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Files:
    """What files declare. `cases` are the decisions that must come out before policies are applied."""

    resources: tuple[Declared, ...]
    cases: tuple[authorization.Case, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prune:
    """What may be deleted if no file declares it: all of these nouns, and the datasets that have each of these labels."""

    nouns: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a step: done, not (with the error), or not tried, because `left` had to come before it.

    Of one that was only tried: that it would be done, or with which error not; `unknown` is what has to be there first to tell.
    """

    step: Step
    error: errors.FederationError | None = None
    left: str = ""
    unknown: str = ""

    @property
    def ok(self) -> bool:
        return self.error is None and not self.left


# Reading


def load(paths: Iterable[Path], text: str | None = None) -> Files:
    """What these files, and those of these folders, declare; and a text, which errors call `-`.

    InvalidArgument (DECLARATION_INVALID) tells all that is wrong in all of them, each with its file and line.
    """
    documents: list[tuple[str, Written]] = []
    problems: list[Problem] = []
    sources = itertools.chain([("-", text)] if text is not None else [], ((str(path), None) for path in _files(paths)))
    for source, given in sources:
        try:
            content = read_text(Path(source)) if given is None else given
            documents += [(source, written) for written in strict.documents(content, source)]
        except errors.InvalidArgument as error:
            line = int(error.metadata.get("line", "1"))
            told = next(iter(error.violations.values()), error.message.removeprefix(f"{source}: "))
            problems.append(Problem(file=source, line=line, path="", what=told, cure=error.help))
    found, wrong = declared.read(documents)
    reader = _Beside()
    found = tuple(reader.filled(one) for one in found)
    refuse((*problems, *wrong, *reader.problems))
    return Files(resources=found, cases=tuple(reader.cases))


def refuse(problems: Iterable[Problem]) -> None:
    """InvalidArgument (DECLARATION_INVALID) with all of them, if there are any."""
    told = list(dict.fromkeys(problems))
    if not told:
        return
    number = f"{len(told)} things are" if len(told) > 1 else "one thing is"
    raise errors.InvalidArgument(
        f"{number} wrong with what is declared; nothing was applied",
        reason="DECLARATION_INVALID",
        help="Mend them and apply again; docs/schemas/declarative.schema.json tells editors what may stand where.",
        violations={
            row.place + (f" ({number})" if number else ""): " ".join(filter(None, (f"{row.what}.", row.cure)))
            for number, row in _numbered(told)
        },
    )


def _numbered(problems: list[Problem]) -> Iterator[tuple[int, Problem]]:
    """Each with how many of the same place went before it, so that none is told in another's place."""
    seen: dict[str, int] = {}
    for problem in problems:
        yield seen.get(problem.place, 0), problem
        seen[problem.place] = seen.get(problem.place, 0) + 1


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        else:
            yield path


def read_text(path: Path) -> str:
    """A file's text; InvalidArgument (FILE_UNREADABLE) where it is none."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise errors.InvalidArgument(f"{path}: it has more than {FILE_BYTES_MAX:,} bytes", reason="FILE_UNREADABLE")
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise errors.InvalidArgument(f"{path}: it cannot be read: {why}", reason="FILE_UNREADABLE") from None


class _Beside:
    """Reads the files that declarations name: beside the file that names them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.cases: list[authorization.Case] = []

    def filled(self, one: Declared) -> Declared:
        """The declaration with the text of the files that it names in the place of their names."""
        values = dict(one.values)
        folder = Path(one.file).parent
        for field, text in (("file", "text"), ("egress_file", "egress"), ("compute_file", "compute")):
            if values.get(field):
                found = self._read(one, field, lambda at=folder / values[field]: read_text(at))  # type: ignore[misc]
                values |= {text: found or ""}
                self._check(one, field, text, found)
        for name in values.get("tests") or ():
            self.cases += self._read(one, "tests", lambda at=folder / name: policy_cases.read(at)) or ()  # type: ignore[misc]
        return dataclasses.replace(one, values=values)

    def _check(self, one: Declared, field: str, text: str, found: str | None) -> None:
        check = one.noun.checks.get(text)
        if check and found:
            self._read(one, field, lambda: check(found))

    def _read(self, one: Declared, field: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except errors.InvalidArgument as error:
            self.problems.append(one.problem(field, error.message, error.help))
            return None


# Looking


def look(client: Client, wanted: Iterable[Declared], prune: Prune = Prune()) -> State:
    """What the catalog has of what is wanted and needed for it, and of what may be deleted. Only reads, several at once."""
    listed = tuple(wanted)
    words = {one.noun.word for one in listed}
    names = dict.fromkeys(name for one in listed for name in (one.name, *one.needs))
    with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
        links = pool.submit(_links, client) if "link" in words else None
        card = pool.submit(client.get_rate_card) if words & {"link", "price"} else None
        rows = pool.map(lambda name: (name, _get(client, name)), names)
        gone = pool.map(lambda noun: [(noun, plain(row)) for row in _all(client, noun, prune)], _prunable(prune))
        resources = dict(rows) | (links.result() if links else {})
        prunable = tuple(itertools.chain.from_iterable(gone))
        held = card.result() if card else None
    return State(
        resources=resources,
        egress=ratecard.parse(held.egress.decode()) if held else ratecard.NO_PRICES,
        compute=offers.parse(held.compute.decode()) if held else offers.OfferCard(rows=()),
        prunable=prunable,
        today=datetime.now(UTC).date(),
    )


def _links(client: Client) -> dict[str, Any]:
    return {found["name"]: found for found in map(plain, client.list_links())}


def _get(client: Client, name: str) -> Mapping[str, Any] | None:
    """A resource as plain JSON; None where it is not there."""
    collection, _, rest = name.partition("/")
    if collection == "policies":
        return {"name": name, **plain(client.get_policy_revision())}
    getters: Mapping[str, Callable[[str], Any]] = {
        "namespaces": client.get_dataset if "/datasets/" in rest else client.get_namespace,
        "sites": client.get_site,
        "replicationRules": client.get_replication_rule,
        "budgets": client.get_budget,
    }
    try:
        return plain(getters[collection](name)) if collection in getters else None
    except errors.NotFound:
        return None


def _prunable(prune: Prune) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*prune.nouns, *(("dataset",) if prune.labels else ()))))


def _all(client: Client, noun: str, prune: Prune) -> Iterator[Any]:
    if noun == "dataset":
        labelled = " AND ".join(f"labels.{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in prune.labels)
        yield from client.list_datasets(filter=labelled)
        return
    listing: Mapping[str, Callable[[], Iterable[Any]]] = {
        "namespace": client.list_namespaces,
        "site": client.list_sites,
        "rule": client.list_replication_rules,
        "budget": client.list_budgets,
    }
    yield from listing[noun]()


def plan(client: Client, files: Files, prune: Prune = Prune()) -> Plan:
    """What must be done so that the catalog is as declared. Nothing is changed; InvalidArgument tells all that cannot be.

    Policies are tried at the server: whether they are in order, and whether each decision comes out as expected.
    """
    found = declaring.plan(files.resources, look(client, files.resources, prune))
    problems = list(found.problems)
    declared_by = {one.name: one for one in files.resources}
    for step in found.steps:
        if step.noun == "policy" and step.action.changes and not problems:
            try:
                client.apply_policies(str(step.wanted["text"]), files.cases, etag=step.etag, validate_only=True)
            except (errors.InvalidArgument, errors.FailedPrecondition) as error:
                problems.append(declared_by[step.name].problem("file", error.message, error.help))
            except errors.PermissionDenied:
                pass  # that it may not be applied is told when it is
    refuse(problems)
    return found


# Trying


def try_out(client: Client, found: Plan, files: Files) -> tuple[Outcome, ...]:
    """What the catalog would say to each step of a plan, without an effect: what `carry_out` would be refused is told now.

    Each is asked of the catalog as it is. So of what needs something that is yet to be made only that is told which can be told
    without that, such as that its caller may not do it; and no step sees what another one would change. What passes, such as
    that the catalog is away, is raised.
    """
    trial, made = _Trial(client), {step.name for step in found.steps if step.action is Action.CREATE}

    def tried(step: Step) -> Outcome:
        absent = next((name for name in step.needs if name in made), "")
        unknown = ""
        for call in _calls(step) if step.action.changes else ():
            error = _tried(trial, call, files)
            quota_of_new = step.action is Action.CREATE and call.action is Action.UPDATE
            if isinstance(error, errors.NotFound) and (absent or quota_of_new):
                unknown = absent
            elif error is not None and error.passes:
                raise error  # nothing was said of it
            elif error is not None:
                return Outcome(step=step, error=error)
        return Outcome(step=step, unknown=unknown)

    with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
        outcomes = list(pool.map(tried, found.steps))
    undone: dict[str, None] = {}
    for at, outcome in enumerate(outcomes):
        before = next((name for name in outcome.step.needs if name in undone), "")
        if before and outcome.error is None:
            outcomes[at] = Outcome(step=outcome.step, left=before)
        if not outcomes[at].ok:
            undone[outcome.step.name] = None
    return tuple(outcomes)


def _calls(step: Step) -> tuple[Step, ...]:
    """The calls that a step is done by, each as a step of its own: when they are only tried, none sees what another did."""
    if step.action is Action.REPLACE:
        free = f"{step.name.partition('/')[0]}/try-{uuid.uuid4().hex}"  # its own name is taken until it is deleted
        return dataclasses.replace(step, action=Action.DELETE), dataclasses.replace(step, action=Action.CREATE, name=free)
    if step.noun == "namespace" and step.action is not Action.DELETE:
        said = {key: value for key, value in step.wanted.items() if key not in _QUOTA}
        rest, quota = ([row for row in step.changes if (row.field in _QUOTA) is part] for part in (False, True))
        alone = dataclasses.replace(step, wanted=said, changes=tuple(rest))
        return alone, dataclasses.replace(step, action=Action.UPDATE, changes=tuple(quota))
    return (step,)


class _Trial(Client):
    """The same caller, whose changes are only tried."""

    def __init__(self, client: Client) -> None:
        self._connection = client._connection.trying()


# Doing


def carry_out(client: Client, found: Plan, files: Files) -> Iterator[Outcome]:
    """Does a plan step by step and tells of each. What fails leaves what needs it undone, and whatever was to be deleted."""
    undone: list[str] = []
    for step in found.steps:
        gone = step.action is Action.DELETE
        before = next((name for name in undone if gone or name in step.needs), "")
        if not step.action.changes:
            yield Outcome(step=step)
        elif before:
            undone += [] if gone else [step.name]
            yield Outcome(step=step, left=before)
        else:
            error = _tried(client, step, files)
            undone += [step.name] if error and not gone else []
            yield Outcome(step=step, error=error)


def _tried(client: Client, step: Step, files: Files) -> errors.FederationError | None:
    try:
        _do(client, step, files)
    except errors.FederationError as error:
        return error
    return None


def _do(client: Client, step: Step, files: Files) -> None:
    if step.action is Action.DELETE:
        _delete(client, step)
    elif step.noun in ("price", "link"):
        client.import_rate_card(**step.wanted)
    elif step.noun == "policy":
        text, note = str(step.wanted["text"]), str(step.wanted.get("note", ""))
        client.apply_policies(text, files.cases, note=note, etag=step.etag)
    else:
        _MAKERS[step.noun](client, step)


def _delete(client: Client, step: Step) -> None:
    deleters: Mapping[str, Callable[..., Any]] = {
        "namespace": client.delete_namespace,
        "site": client.delete_site,
        "dataset": client.delete_dataset,
        "rule": client.delete_replication_rule,
        "budget": client.delete_budget,
    }
    deleters[step.noun](step.name, etag=step.etag)


#: What a namespace may take of what all share, as it is made.
_QUOTA = {"weight": 1, "gpu_seconds_quota": 0, "egress_micros_quota": 0}


def _namespace(client: Client, step: Step) -> None:
    """A namespace, and then its quota, if that is other than it is: another permission, and another call."""
    name = ids.child(step.name, "namespaces")
    paths = [change.field for change in step.changes if change.field not in _QUOTA]
    said = {key: step.wanted[key] for key in ("description", "owner") if key in step.wanted}
    etag = step.etag
    if step.action is Action.CREATE:
        etag = client.create_namespace(dataset.Namespace(name=name, **said)).etag
    elif paths:
        etag = client.update_namespace(dataset.Namespace(name=name, etag=etag, **said), paths).etag
    held = {key: step.before.get(key, default) for key, default in _QUOTA.items()}
    quota = {key: step.wanted.get(key, value) for key, value in held.items()}
    if quota != held:
        client.set_quota(name, etag=etag, **quota)


def _dataset(client: Client, step: Step) -> None:
    name = ids.dataset(step.name)
    value = schema.read(dataset.Dataset, {**name._asdict(), **_said(step)}, source=step.name)
    if step.action is Action.CREATE:
        client.create_dataset(value)
    else:
        client.update_dataset(dataclasses.replace(value, etag=step.etag), [change.field for change in step.changes])


def _site(client: Client, step: Step) -> None:
    """A site is declared; what its offer does not say in the file stays as it is."""
    said = _said(step)
    sources = tuple(said.pop("sources", ()))
    if "offer" in said:
        said["offer"] = {**step.before.get("offer", {}), **said["offer"]}
    kept = {key: step.before[key] for key in ("region", "jurisdiction") if key in step.before}
    value = schema.read(site.Site, {"site": ids.child(step.name, "sites"), **kept, **said}, source=step.name)
    value = dataclasses.replace(value, sources=sources, etag=step.etag)
    if step.action is Action.CREATE:
        client.create_site(value)
    else:
        client.update_site(value, dict.fromkeys(change.field.partition(".")[0] for change in step.changes))


def _rule(client: Client, step: Step) -> None:
    """A rule has no update: one that is other than declared ends, and another begins; what both want stays where it is."""
    kept = {key: step.before[key] for key in ("dataset", "copies", "site_filter", "lifetime_seconds") if key in step.before}
    value = {"rule": ids.child(step.name, "replicationRules"), **kept, **_said(step)}
    value["dataset"] = ids.dataset(value["dataset"]).short
    if step.action is Action.REPLACE:
        client.delete_replication_rule(step.name, etag=step.etag)
    client.create_replication_rule(schema.read(transfer.ReplicationRule, value, source=step.name))


def _budget(client: Client, step: Step) -> None:
    kept = {key: step.before[key] for key in ("scope", "limit_micros") if key in step.before}
    value = schema.read(budget.Budget, {"budget": ids.child(step.name, "budgets"), **kept, **_said(step)}, source=step.name)
    if step.action is Action.CREATE:
        client.create_budget(value)
    else:
        client.update_budget(dataclasses.replace(value, etag=step.etag), [change.field for change in step.changes])


_MAKERS: Mapping[str, Callable[[Client, Step], None]] = {
    "namespace": _namespace,
    "dataset": _dataset,
    "site": _site,
    "rule": _rule,
    "budget": _budget,
}


def _said(step: Step) -> dict[str, Any]:
    """What the file says, as plain JSON without what it takes away."""
    return {key: value for key, value in step.wanted.items() if value is not None}
