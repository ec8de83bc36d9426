"""Policies in Cedar: compiled once, asked of the few that a question can concern, and explained where they say no.

Cedar skips a policy that fails, a forbid too. So an answer is a yes only if Cedar allows, no policy failed and the request fits
the schema, which is always given. Names reach Cedar as values of entities; no text of a policy is ever made from one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from typing import Any, NamedTuple

import cedarpy

from federation.core import errors
from federation.core.authorization import (
    Action,
    Answer,
    DatasetFacts,
    NearMiss,
    Problem,
    Question,
    Rule,
    SiteFacts,
    Subject,
    general,
    general_site,
)

#: A longer text is no set of policies.
TEXT_BYTES_MAX = 1024 * 1024
#: Answers and slices that one compiled set remembers.
ANSWERS_MAX = 65_536
SLICES_MAX = 1024
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
#: What the context of every question has; see the schema.
_CONTEXT = re.compile(r"\b(now|use_ended|for_job|aggregate|unsealed_classes): ")
_ANNOTATIONS = ("id", "because", "control")
_AT_SITES = frozenset({Action.RUN, Action.RELEASE_KEY, Action.WRITE, Action.REPLICATE})
_BY_CLASS = frozenset({Action.RELEASE_KEY, Action.REPLICATE, Action.EXPORT})


class CedarPolicies:
    """Compiles texts of policies against the shipped schema.

    Questions are checked against the same with an optional context: what no policy of a slice reads is left out of them, for
    Cedar takes longer to read a question than to answer it.
    """

    def __init__(self) -> None:
        text = _shipped("schema.cedarschema")
        self._schema = cedarpy.Schema.from_str(text)
        self._requests = cedarpy.Schema.from_str(_CONTEXT.sub(r"\1?: ", text))

    def default(self) -> str:
        """The text of the policies that are shipped."""
        return _shipped("default.cedar")

    def problems(self, text: str) -> tuple[Problem, ...]:
        """All that keeps a text from being a set of policies; () for a good one."""
        try:
            _parsed(text, self._schema)
        except _Wrong as wrong:
            return wrong.problems
        return ()

    def compile(self, text: str) -> CedarEngine:
        """The set of policies; InvalidArgument (POLICY_INVALID) tells all that is wrong with the text."""
        try:
            return CedarEngine(_parsed(text, self._schema), self._requests)
        except _Wrong as wrong:
            told = "; ".join(map(str, wrong.problems[:5]))
            more = f" and {len(wrong.problems) - 5} more" if len(wrong.problems) > 5 else ""
            raise errors.InvalidArgument(
                f"the policies are not in order: {told}{more}",
                reason="POLICY_INVALID",
                help="`fed policy lint FILE` tells all of it.",
                violations={each.policy or "text": each.detail for each in wrong.problems},
            ) from None


class CedarEngine:
    """One compiled set of policies. Immutable but for what it remembers; several threads may ask at once."""

    def __init__(self, parsed: Mapping[str, _Policy], schema: cedarpy.Schema) -> None:
        self._schema = schema
        self._parsed = parsed
        canonical = json.dumps({name: row.json for name, row in sorted(parsed.items())}, sort_keys=True)
        self.digest = hashlib.sha256(canonical.encode()).hexdigest()
        self.rules = tuple(row.rule for row in parsed.values())
        self._index = _Index(parsed)
        self._named = frozenset(name for row in parsed.values() for name in row.named)
        self._asked = frozenset(name for row in parsed.values() for name in row.asked)
        self._weighed = frozenset(name for row in parsed.values() for name in row.weighed)
        # Each compiled set has memories of its own, which go with it.
        self._answer = functools.lru_cache(ANSWERS_MAX)(self.decide_anew)
        self._slice = functools.lru_cache(SLICES_MAX)(self._sliced)
        self._read = functools.lru_cache(SLICES_MAX)(self._reads)
        self._probe = functools.lru_cache(SLICES_MAX)(self._probes)
        self._place = functools.lru_cache(ANSWERS_MAX)(lambda place: general_site(place, self._named))
        self._facts = functools.lru_cache(SLICES_MAX)(_entities)

    def decide(self, question: Question) -> Answer:
        """The answer, remembered for all questions that differ in nothing that a policy asks about."""
        return self._answer(self.general(question))

    def general(self, question: Question) -> Question:
        """The question without what no policy of the set asks about."""
        return general(question, self._named, self._asked, self._weighed)

    def general_site(self, place: SiteFacts) -> SiteFacts:
        """The site without what no policy of the set asks about."""
        return self._place(place)

    def decide_anew(self, question: Question) -> Answer:
        """The answer to this very question, worked out."""
        concerned = self.concerned(question)
        apply = self._may_apply(concerned, question)
        request = _request(question, self._read(concerned))
        entities = self._facts(question.subject, question.dataset, question.site)
        found = cedarpy.is_authorized(request, self._slice(apply), entities, schema=self._schema)
        failed = tuple(sorted(found.diagnostics.errors))
        reasons = tuple(sorted(found.diagnostics.reasons))
        if found.decision is cedarpy.Decision.Allow and not failed:
            first = self._parsed[reasons[0]].rule
            return Answer(allowed=True, policies=reasons, because=first.because, control=first.control)
        if failed or found.decision is not cedarpy.Decision.Deny:
            return Answer(allowed=False, errors=failed or ("the request does not fit the schema",))
        if reasons:
            first = self._parsed[reasons[0]].rule
            return Answer(allowed=False, policies=reasons, because=first.because, control=first.control)
        return Answer(allowed=False, nearest=self._nearest(concerned, request, entities))

    def concerned(self, question: Question) -> tuple[str, ...]:
        """The policies that can concern a question, by their scopes; all others are left out of its decision."""
        return self._index.concerned(question)

    def _may_apply(self, concerned: tuple[str, ...], question: Question) -> tuple[str, ...]:
        """Those whose first condition does not rule them out already: many ask first what kind of dataset it is, and alike."""
        tests = {name: self._parsed[name].first for name in concerned}
        holds = {test: test is None or test.holds(question) for test in set(tests.values())}
        return tuple(name for name in concerned if holds[tests[name]])

    def _reads(self, concerned: tuple[str, ...]) -> frozenset[str]:
        return frozenset(name for policy in concerned for name in self._parsed[policy].asked)

    def _sliced(self, concerned: tuple[str, ...]) -> cedarpy.PolicySet:
        return _policy_set({name: self._parsed[name].json for name in concerned})

    def _nearest(self, concerned: tuple[str, ...], request: Mapping[str, Any], entities: cedarpy.Entities) -> NearMiss | None:
        """The permit of which the largest share of conditions holds, and the first of them that does not.

        Conditions are asked one after another, each together with those before it: so one that only makes sense after the
        others (`context has site && context.site...`) never fails.
        """
        permits = [name for name in concerned if self._parsed[name].rule.effect == "permit" and self._parsed[name].conditions]
        if not permits:
            return None
        asked = cedarpy.is_authorized(dict(request), self._probe(tuple(permits)), entities, schema=self._schema)
        held = Counter(name.rpartition("#")[0] for name in asked.diagnostics.reasons)
        count = {name: len(self._parsed[name].conditions) for name in permits}
        # One whose conditions all hold does not match by its scope, which is no condition that somebody could meet.
        missed = [name for name in permits if held[name] < count[name]]
        if not missed:
            return None
        best = max(missed, key=lambda name: (held[name] / count[name], [-ord(letter) for letter in name]))
        rule = self._parsed[best].rule
        return NearMiss(policy=best, because=rule.because, missed=_condition_text(self._parsed[best].conditions[held[best]]))

    def _probes(self, permits: tuple[str, ...]) -> cedarpy.PolicySet:
        """For each permit, one policy for each number of its first conditions."""
        made = {}
        for name in permits:
            row = self._parsed[name]
            for number in range(1, len(row.conditions) + 1):
                kept = [{"kind": "when", "body": body} for body in row.conditions[:number]]
                made[f"{name}#{number}"] = {**row.json, "conditions": kept, "annotations": {}}
        return _policy_set(made)


# What is compiled


class _Policy(NamedTuple):
    """One policy: as its rule, as JSON, its `when` and `unless` taken apart, and what it names and reads.

    `weighed` are the attributes that it reads otherwise than to ask whether the principal is in them.
    `principal` and `resource` are the entity that its scope is limited to, '' for none. `first` is the first of its conditions
    where that compares one plain fact with a constant: if it does not hold, nothing that comes after it is ever looked at.
    """

    rule: Rule
    json: Mapping[str, Any]
    conditions: tuple[Any, ...]
    named: frozenset[str]
    asked: frozenset[str]
    weighed: frozenset[str]
    principal: str
    resource: str
    first: _Test | None


class _Test(NamedTuple):
    """A condition that can be told without Cedar: a fact that every question has, and what it is compared with."""

    fact: str
    operator: str
    value: bool | int | str

    def holds(self, question: Question) -> bool:
        return bool(_OPERATORS[self.operator](_FACTS[self.fact](question), self.value))


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FACTS: Mapping[str, Callable[[Question], bool | int | str]] = {
    "resource.kind": lambda asked: asked.dataset.kind,
    "resource.classification": lambda asked: asked.dataset.classification,
    "resource.legal_hold": lambda asked: asked.dataset.legal_hold,
    "resource.group_size_min": lambda asked: asked.dataset.group_size_min,
    "principal.role": lambda asked: str(asked.subject.role),
}


def _test(condition: Any) -> _Test | None:
    """A condition as a test, None for one that only Cedar understands."""
    if not isinstance(condition, dict) or len(condition) != 1:
        return None
    ((sign, body),) = condition.items()
    if sign == "." and _fact(condition) == "resource.legal_hold":
        return _Test("resource.legal_hold", "==", True)
    if sign not in _OPERATORS or set(body["right"]) != {"Value"} or isinstance(body["right"]["Value"], dict | list):
        return None
    fact = _fact(body["left"])
    return _Test(fact, sign, body["right"]["Value"]) if fact else None


def _fact(node: Any) -> str:
    """`resource.kind` of the node that reads it; '' for any other."""
    path = node.get(".") if isinstance(node, dict) else None
    name = f"{path['left'].get('Var', '')}.{path['attr']}" if isinstance(path, dict) and isinstance(path["left"], dict) else ""
    return name if name in _FACTS else ""


class _Wrong(Exception):
    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__()
        self.problems = tuple(problems)


def _parsed(text: str, schema: cedarpy.Schema) -> dict[str, _Policy]:
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX:
        raise _Wrong([Problem(policy="", detail=f"the text is larger than {TEXT_BYTES_MAX:,} bytes")])
    try:
        found = json.loads(cedarpy.policies_to_json_str(text))
    except (ValueError, UnicodeError) as error:
        raise _Wrong([Problem(policy="", detail=" ".join(str(error).split()))]) from None
    if found.get("templates") or found.get("templateLinks"):
        raise _Wrong([Problem(policy="", detail="templates are not used here: write the policy out")])
    rows = list(found["staticPolicies"].values())
    wrong = list(_lint(rows))
    if wrong:
        raise _Wrong(wrong)
    checked = cedarpy.validate_policies(text, schema)
    if not checked.validation_passed:
        names = checked.id_annotations_by_policy_id
        raise _Wrong(Problem(policy=names.get(row.policy_id, ""), detail=" ".join(row.error.split())) for row in checked.errors)
    return {row["annotations"]["id"]: _policy(row) for row in rows}


def _lint(rows: Iterable[Mapping[str, Any]]) -> Iterator[Problem]:
    """What Cedar would take and we do not: a policy that nobody can refer to or explain, a permit of everything."""
    seen: set[str] = set()
    count = 0
    for count, row in enumerate(rows, 1):
        told = row.get("annotations", {})
        name = told.get("id") or ""
        where = name or f"policy number {count}"
        for annotation in _ANNOTATIONS:
            if not (told.get(annotation) or "").strip():
                yield Problem(policy=where, detail=f"it has no @{annotation}")
        if name and not _ID.fullmatch(name):
            yield Problem(policy=where, detail="its @id is not lower-case letters, digits, '.', '_' and '-'")
        if name in seen:
            yield Problem(policy=where, detail="another policy has the same @id")
        seen.add(name)
        if row["effect"] == "permit" and row["action"]["op"] == "All":
            yield Problem(policy=where, detail="a permit must name its actions, or it allows those that are yet to come")
    if not count:
        yield Problem(policy="", detail="there is no policy: nothing would be allowed, to anybody")


def _policy(row: Mapping[str, Any]) -> _Policy:
    told = row["annotations"]
    rule = Rule(
        policy=told["id"],
        effect=row["effect"],
        because=told["because"],
        control=told["control"],
        actions=_actions(row["action"]),
        text=_text(row),
    )
    conditions = tuple(part for condition in row["conditions"] for part in _parts(condition))
    principal, resource = (_entity(row[part]) for part in ("principal", "resource"))
    named = frozenset(_named(row))
    first = _test(conditions[0]) if conditions else None
    asked, weighed = frozenset(_asked(row)), frozenset(_weighed(row))
    return _Policy(rule, row, conditions, named, asked, weighed, principal, resource, first)


def _actions(scope: Mapping[str, Any]) -> tuple[str, ...]:
    if scope["op"] == "All":
        return tuple(Action)
    entities = scope.get("entities") or [scope["entity"]]
    return tuple(entity["id"] for entity in entities)


def _parts(condition: Mapping[str, Any]) -> Iterator[Any]:
    """A condition taken apart at its `and`s; an `unless` is one part."""
    if condition["kind"] == "unless":
        yield {"!": {"arg": condition["body"]}}
        return
    waiting = [condition["body"]]
    while waiting:
        body = waiting.pop()
        if isinstance(body, dict) and set(body) == {"&&"}:
            waiting += [body["&&"]["right"], body["&&"]["left"]]
        else:
            yield body


def _entity(scope: Mapping[str, Any]) -> str:
    entity = scope.get("entity")
    return _key(entity) if entity else ""


def _key(entity: Mapping[str, str]) -> str:
    return f"{entity['type'].removeprefix('Fed::')}::{entity['id']}"


def _named(node: Any) -> Iterator[str]:
    """All entities that a policy names, wherever."""
    if isinstance(node, dict):
        if set(node) == {"type", "id"}:
            yield _key(node)
        for value in node.values():
            yield from _named(value)
    elif isinstance(node, list):
        for value in node:
            yield from _named(value)


def _asked(node: Any) -> Iterator[str]:
    """All attributes that a policy reads; `tags` for any label."""
    if isinstance(node, dict):
        if "attr" in node:
            yield node["attr"]
        if node.keys() & {"hasTag", "getTag"}:
            yield "tags"
        for value in node.values():
            yield from _asked(value)
    elif isinstance(node, list):
        for value in node:
            yield from _asked(value)


def _weighed(node: Any) -> Iterator[str]:
    """All attributes that a policy reads otherwise than by `principal in resource.ATTRIBUTE`."""
    if isinstance(node, dict):
        if set(node) == {"in"} and node["in"]["left"] == {"Var": "principal"} and _of_resource(node["in"]["right"]):
            return
        if "attr" in node:
            yield node["attr"]
        for value in node.values():
            yield from _weighed(value)
    elif isinstance(node, list):
        for value in node:
            yield from _weighed(value)


def _of_resource(node: Any) -> bool:
    return isinstance(node, dict) and set(node) == {"."} and node["."]["left"] == {"Var": "resource"}


class _Index:
    """Which policies can concern a question, by its action and by the one entity that a policy's scope may be limited to.

    So thousands of policies for as many namespaces or groups cost a decision no more than the few that are about its own.
    """

    def __init__(self, parsed: Mapping[str, _Policy]) -> None:
        self._scopes: dict[str, dict[str, list[str]]] = {str(action): {} for action in Action}
        self._principals = {name: row.principal for name, row in parsed.items() if row.principal}
        for name, row in parsed.items():
            # Limited by both, it is found by what it is about, and then left out for those whom it is not about.
            for action in row.rule.actions:
                self._scopes[action].setdefault(row.resource or row.principal, []).append(name)

    def concerned(self, question: Question) -> tuple[str, ...]:
        scopes = self._scopes[str(question.action)]
        facts, who = question.dataset, question.subject
        mine = {f"User::{_user(who.name)}", *(f"Party::{party}" for party in who.parties)}
        keys = ("", f"Namespace::{facts.namespace}", f"Dataset::{facts.short}", *mine)
        found = [name for key in keys for name in scopes.get(key, ())]
        about = (name for name in found if self._principals.get(name) is None or self._principals[name] in mine)
        return tuple(sorted(about))


# What Cedar is handed


def _policy_set(policies: Mapping[str, Any]) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_json_str(json.dumps({"templates": {}, "staticPolicies": policies, "templateLinks": []}))


def _text(row: Mapping[str, Any]) -> str:
    whole = json.dumps({"templates": {}, "staticPolicies": {"p": row}, "templateLinks": []})
    return cedarpy.policies_from_json_str(whole).strip()


def _condition_text(body: Any) -> str:
    """A condition as Cedar writes it: `principal in resource.readers`."""
    scope = {part: {"op": "All"} for part in ("principal", "action", "resource")}
    text = _text({"effect": "permit", **scope, "conditions": [{"kind": "when", "body": body}], "annotations": {}})
    inner = re.search(r"when\s*\{(.*)\}\s*;?\s*$", text, re.DOTALL)
    # It puts every operand in parentheses; those around a plain path say nothing.
    return re.sub(r"\(([a-z_.]+)\)", r"\1", " ".join((inner.group(1) if inner else text).split()))


def _user(name: str) -> str:
    return name.removeprefix("users/")


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": f"Fed::{kind}", "id": name}


def _ref(kind: str, name: str) -> dict[str, dict[str, str]]:
    return {"__entity": _uid(kind, name)}


def _refs(kind: str, names: Iterable[str]) -> list[dict[str, dict[str, str]]]:
    return [_ref(kind, name) for name in names]


def _request(question: Question, read: frozenset[str]) -> dict[str, Any]:
    """The question without what is not `read`."""
    context = {name: value for name, value in _context(question) if name in read}
    return {
        "principal": _uid("User", _user(question.subject.name)),
        "action": _uid("Action", str(question.action)),
        "resource": _uid("Dataset", question.dataset.short),
        "context": context,
    }


def _context(question: Question) -> Iterator[tuple[str, Any]]:
    yield "now", {"__extn": {"fn": "datetime", "arg": question.time.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    if question.action not in (Action.BROWSE, Action.DESTROY):
        yield "use_ended", question.use_ended
        if question.purpose:
            yield "purpose", _ref("Purpose", question.purpose)
        if question.job is not None:
            job = question.job
            yield "job", {"label": job.label, "namespace": job.namespace, "code": job.code}
        if question.column_class and question.action in _BY_CLASS:
            yield "column_class", question.column_class
    if question.action in _AT_SITES and question.site is not None:
        yield "site", _ref("Site", question.site.site)
    if question.action is Action.REPLICATE:
        yield "for_job", question.for_job
    if question.action is Action.WRITE:
        yield "unsealed_classes", list(question.unsealed_classes)
    if question.action is Action.EXPORT:
        yield "aggregate", question.aggregate
        if question.destination:
            yield "destination", _ref("Jurisdiction", question.destination)
        if question.group_size is not None:
            yield "group_size", question.group_size


def _entities(who: Subject, facts: DatasetFacts, place: SiteFacts | None) -> cedarpy.Entities:
    """The entities of one question: who asks, the dataset, and the site with what it lies in."""
    rows = [
        {
            "uid": _uid("User", _user(who.name)),
            "attrs": {"role": str(who.role), "jurisdiction": who.jurisdiction},
            "parents": [_uid("Party", party) for party in who.parties],
        },
        _dataset(facts),
    ]
    if place is not None:
        rows.append(
            {
                "uid": _uid("Site", place.site),
                "attrs": {"grade": place.grade, "jurisdiction": _ref("Jurisdiction", place.jurisdiction)},
                "parents": [_uid("Region", place.region), _uid("Jurisdiction", place.jurisdiction)],
            }
        )
    return cedarpy.Entities.from_json_str(json.dumps(rows))


def _dataset(facts: DatasetFacts) -> dict[str, Any]:
    return {
        "uid": _uid("Dataset", facts.short),
        "attrs": {
            "owners": _refs("Party", facts.owners),
            "readers": _refs("Party", facts.readers),
            "kind": facts.kind,
            "classification": facts.classification,
            "residency": _refs("Jurisdiction", facts.residency),
            "purposes": _refs("Purpose", facts.purposes),
            "legal_hold": facts.legal_hold,
            "group_size_min": facts.group_size_min,
        },
        "parents": [_uid("Namespace", facts.namespace)],
        "tags": dict(facts.labels),
    }


def _shipped(name: str) -> str:
    return (resources.files("federation.policies") / name).read_text(encoding="utf-8")
