"""Questions to the policy and its answers, as values: who wants to do what with which dataset, where and for which purpose.

Facts come from the catalog's own rows, from certificates and from its clock, never from the body of a request. What decides is
an engine behind a port; here is what it is asked, what it says, and how a refusal is told.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from federation.core import columns, dataset, errors, job, site
from federation.core.policy import Principal, Role

#: The group that everybody is in.
EVERYONE = "groups/everyone"
_PARTY = re.compile(r"(users|groups)/[a-z0-9][a-z0-9._@-]{0,127}")
_PURPOSE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
NAMES_MAX = 1000
#: Stands for the time in questions whose answer does not depend on it.
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class Action(StrEnum):
    """What may be done with a dataset. The words are those of the policies."""

    BROWSE = "browse"
    RUN = "run"
    RELEASE_KEY = "release_key"
    REPLICATE = "replicate"
    EXPORT = "export"
    WRITE = "write"
    DESTROY = "destroy"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Who asks: `users/ada`, with role, groups (`analysts`) and the jurisdiction where an administrator says they are."""

    name: str
    role: Role = Role.USER
    groups: tuple[str, ...] = ()
    jurisdiction: str = ""

    @property
    def parties(self) -> tuple[str, ...]:
        """All that `owners` and `readers` may know them by: themselves, their groups, everyone."""
        return (self.name, *(f"groups/{group}" for group in self.groups), EVERYONE)


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What policies know of a dataset. `owners` are its owner and its namespace's; `classification` is its level, 0 to 3."""

    namespace: str
    dataset: str
    classification: int
    owners: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    kind: str = "DATA"
    residency: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    legal_hold: bool = False
    group_size_min: int = 0
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def short(self) -> str:
        return f"{self.namespace}/{self.dataset}"


@dataclass(frozen=True, kw_only=True)
class SiteFacts:
    """What policies know of a site, from the registry."""

    site: str
    region: str
    jurisdiction: str
    grade: str = ""


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """What policies know of a job: its label, who pays for it, and the digest of the code that it runs."""

    label: str = ""
    namespace: str = ""
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question. `time` is to the minute, so that answers can be kept for one; `use_ended` is exact.

    `destination` is the jurisdiction to which an EXPORT goes. An export of an aggregate says the size of its smallest group,
    None where nobody counted. `for_job`: a REPLICATE that a job's plan wants. `column_class`: for a class of columns beside
    `default`; "" for the dataset and its class `default`. `unsealed_classes`: of a WRITE by a job, the column classes that it
    reads and that this output does not seal.
    """

    subject: Subject
    action: Action
    dataset: DatasetFacts
    time: datetime
    site: SiteFacts | None = None
    purpose: str = ""
    use_ended: bool = False
    job: JobFacts | None = None
    for_job: bool = False
    destination: str = ""
    aggregate: bool = False
    group_size: int | None = None
    column_class: str = ""
    unsealed_classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a job must be allowed: to do this with a dataset, and which classes of columns that is about, as in a `Question`."""

    action: Action
    dataset: str
    column_class: str = ""
    unsealed_classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NearMiss:
    """The permit that came closest, and its first condition that did not hold."""

    policy: str
    because: str
    missed: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the policy says. `policies` are the ids that decided, () where none permits; `errors` are policies that failed.

    `because` and `control` are those of the first of them, by id. `nearest` is told where nothing forbids but nothing permits.
    """

    allowed: bool
    policies: tuple[str, ...] = ()
    because: str = ""
    control: str = ""
    nearest: NearMiss | None = None
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One policy: its annotations, whether it permits or forbids, the actions that it is about, and its text."""

    policy: str
    effect: str
    because: str
    control: str
    actions: tuple[str, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a set of policies: in which policy ('' where that is not known), and what."""

    policy: str
    detail: str

    def __str__(self) -> str:
        return f"{self.policy}: {self.detail}" if self.policy else self.detail


@dataclass(frozen=True, kw_only=True)
class PolicyRevision:
    """One state of the policies, as it was applied: `number` counts from 1, the newest holds. It never changes.

    Number 0 is the set that is shipped, which holds until another is applied.
    """

    number: int
    text: str
    digest: str
    note: str = ""
    principal: str = ""
    policies: int = 0
    create_time: datetime | None = None
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """One decision as the log keeps it (`policy.decided`): the whole question, so that it can be asked again, and the answer.

    `revision` and `digest` tell under which set of policies.
    """

    principal: str
    action: Action
    dataset: str
    site: str
    purpose: str
    allowed: bool
    policies: tuple[str, ...]
    because: str
    control: str
    digest: str
    revision: int
    question: Question
    errors: tuple[str, ...] = ()
    job: str = ""


# Facts


def subject(principal: Principal) -> Subject:
    """A caller as the policy knows them."""
    groups = tuple(sorted(set(principal.groups)))
    return Subject(name=principal.name, role=principal.role, groups=groups, jurisdiction=principal.jurisdiction)


def acting(request: job.JobRequest) -> Subject:
    """For whom a job acts: its submitter with the groups of then, as a user and never as an administrator."""
    return Subject(name=request.principal, groups=request.groups)


def dataset_facts(stored: dataset.Dataset, namespace: dataset.Namespace | None) -> DatasetFacts:
    """A dataset as the policy knows it."""
    owners = (stored.owner, namespace.owner if namespace else "")
    return DatasetFacts(
        namespace=stored.namespace,
        dataset=stored.dataset,
        owners=tuple(sorted({owner for owner in owners if owner})),
        readers=tuple(sorted(set(stored.readers))),
        kind=str(stored.kind),
        classification=stored.classification.level,
        residency=stored.residency,
        purposes=stored.purposes,
        legal_hold=stored.legal_hold,
        group_size_min=stored.group_size_min,
        labels=stored.labels,
    )


def site_facts(place: site.Site) -> SiteFacts:
    """A site as the policy knows it."""
    return SiteFacts(site=place.site, region=place.region, jurisdiction=place.jurisdiction, grade=place.grade)


def job_facts(request: job.JobRequest) -> JobFacts:
    """A job as the policy knows it."""
    return JobFacts(label=request.label, namespace=request.namespace, code=request.working_dir)


def needs(request: job.JobRequest) -> tuple[Need, ...]:
    """What a job must be allowed where it runs, each once: to read inputs, to have keys of column classes, to write outputs."""
    found = [Need(action=Action.RUN, dataset=spec.dataset) for spec in request.inputs]
    found += [
        Need(action=Action.RELEASE_KEY, dataset=spec.dataset, column_class=each)
        for spec in request.inputs
        for each in spec.column_classes
    ]
    found += [
        Need(action=Action.WRITE, dataset=spec.dataset, unsealed_classes=unsealed(request, spec)) for spec in request.outputs
    ]
    return tuple(dict.fromkeys(found))


def unsealed(request: job.JobRequest, written: job.OutputSpec) -> tuple[str, ...]:
    """The column classes that a job names of its inputs and that this output does not seal, in order.

    A class is known by its name: `pii` of one input is sealed by the output's `pii`, whichever columns that has.
    """
    sealed = {one.name for one in written.column_classes}
    return tuple(each for each in columns.wanted(_named(request.inputs))[1:] if each not in sealed)


def _named(inputs: Iterable[job.InputSpec]) -> Iterator[str]:
    for spec in inputs:
        yield from spec.column_classes


def to_minute(now: datetime) -> datetime:
    """The time as questions tell it."""
    return now.replace(second=0, microsecond=0)


# Telling


def decided(question: Question, answer: Answer, *, digest: str, revision: int, job: str = "") -> Decided:
    """A decision as the log keeps it."""
    return Decided(
        principal=question.subject.name,
        action=question.action,
        dataset=question.dataset.short,
        site=question.site.site if question.site else "",
        purpose=question.purpose,
        allowed=answer.allowed,
        policies=answer.policies,
        because=answer.because,
        control=answer.control,
        digest=digest,
        revision=revision,
        question=question,
        errors=answer.errors,
        job=job,
    )


def told(answer: Answer) -> str:
    """Why the answer is no, in one line: what forbids it and after which rule, or the permit that came closest."""
    if answer.errors:
        return "a policy could not be evaluated, so nothing is allowed; an administrator finds it as policy.failed in the audit"
    if answer.policies:
        control = f", {answer.control}" if answer.control else ""
        return f"{answer.because} (policy {', '.join(answer.policies)}{control})"
    near = answer.nearest
    if near is None:
        return "no policy permits it"
    return f"no policy permits it; the nearest is {near.policy} ({near.because}), which needs: {near.missed}"


class Denied(errors.PermissionDenied):
    """The policy says no. `decision` goes into the log in a transaction of its own, for that which failed leaves no trace."""

    default_reason = "POLICY_DENIED"

    def __init__(self, message: str, *, decision: Decided | None = None, **told: object) -> None:
        super().__init__(message, **told)  # type: ignore[arg-type]
        self.decision = decision

    @classmethod
    def of(cls, error: errors.PermissionDenied, decision: Decided) -> Denied:
        """Another refusal, in its own words, with a decision to be kept."""
        return cls(error.message, decision=decision, reason=error.reason, help=error.help, metadata=error.metadata)


def denial(decision: Decided, answer: Answer) -> Denied:
    """The refusal of a question, for somebody who may know that the dataset is there."""
    of, opened = decision.question.column_class, ", ".join(decision.question.unsealed_classes)
    what = f"column class {of} of {decision.dataset}" if of else decision.dataset
    what += f" with column class {opened} unsealed" if opened else ""
    where = f" at {decision.site}" if decision.site else ""
    purpose = f" for {decision.purpose}" if decision.purpose else ""
    near = answer.nearest
    return Denied(
        f"{decision.principal} may not {decision.action.replace('_', ' ')} {what}{where}{purpose}: {told(answer)}",
        decision=decision,
        help=f"`fed dataset show {decision.dataset}` tells its owner, who can change what it says.",
        metadata={
            "action": str(decision.action),
            "dataset": decision.dataset,
            "site": decision.site,
            "policy": ",".join(answer.policies),
            "because": answer.because,
            "control": answer.control,
            "nearest": near.policy if near else "",
            "missed": near.missed if near else "",
            "policy_revision": str(decision.revision),
        },
    )


class Decides(Protocol):
    """What a compiled set of policies is asked; see the port `PolicyEngine`."""

    def decide(self, question: Question) -> Answer: ...
    def general(self, question: Question) -> Question: ...
    def general_site(self, place: SiteFacts) -> SiteFacts: ...


def denials(engine: Decides, asked: Iterable[Question], sites: Iterable[site.Site]) -> tuple[tuple[str, str], ...]:
    """Sites where one of these questions, asked there, is answered with no: each with which dataset and why.

    Sites, and datasets, that are alike in what the policies can tell apart get one answer, which is worked out once.
    """
    bare: dict[Question, str] = {}
    for one in asked:
        bare.setdefault(engine.general(one), one.dataset.short)
    if not bare:
        return ()
    known: dict[SiteFacts, str] = {}
    found = []
    for place in sites:
        alike = engine.general_site(site_facts(place))
        if alike not in known:
            known[alike] = _denial(engine, bare, alike)
        if known[alike]:
            found.append((place.site, known[alike]))
    return tuple(found)


def _denial(engine: Decides, bare: Mapping[Question, str], at: SiteFacts) -> str:
    for asked, name in bare.items():
        found = engine.decide(dataclasses.replace(asked, site=at))
        if not found.allowed:
            return f"{name}: {told(found)}"
    return ""


# What people write into datasets


def parties(names: Iterable[str], field: str) -> tuple[str, ...]:
    """Users and groups checked, each once, sorted."""
    found = tuple(sorted(set(names)))
    for name in found:
        if not _PARTY.fullmatch(name):
            raise errors.InvalidArgument(
                f"{field} {name!r} is neither a user nor a group",
                reason="PARTY_INVALID",
                help=f"Write users/NAME or groups/NAME; {EVERYONE} is everybody.",
                violations={field: "must match users/NAME or groups/NAME"},
            )
    _few(found, field)
    return found


def purposes(names: Iterable[str]) -> tuple[str, ...]:
    """Purposes checked, each once, sorted."""
    found = tuple(sorted({purpose(name) for name in names}))
    _few(found, "purposes")
    return found


def purpose(name: str) -> str:
    """`name`, if it can name a purpose."""
    if not _PURPOSE.fullmatch(name):
        raise errors.InvalidArgument(
            f"{name!r} is no purpose",
            reason="PURPOSE_INVALID",
            help="Use lower-case letters, digits, '.', '_' and '-', for example fraud-detection.",
            violations={"purpose": "must match [a-z0-9][a-z0-9._-]{0,62}"},
        )
    return name


def _few(found: tuple[str, ...], field: str) -> None:
    if len(found) > NAMES_MAX:
        raise errors.InvalidArgument(
            f"{field} has {len(found)} names, more than {NAMES_MAX}",
            reason="TOO_MANY_NAMES",
            help="Put people into groups.",
            violations={field: f"at most {NAMES_MAX}"},
        )


def general(question: Question, named: frozenset[str], asked: frozenset[str], weighed: frozenset[str]) -> Question:
    """The question without what no policy asks about, so that the same answer serves all that differ in nothing else.

    `named` are entities that policies name (`Site::eu-1`), `asked` the attributes that they read, and `weighed` those that they
    read otherwise than to look for whoever asks in them: of other lists of parties only the asker's own names matter. Sound
    because names reach policies only as entities, and no attribute of the schema holds a site, a region, a dataset or a
    namespace to compare with.
    """
    facts, who = question.dataset, question.subject
    itself = f"Dataset::{facts.short}" in named
    return Question(
        subject=who if "jurisdiction" in asked or not who.jurisdiction else dataclasses.replace(who, jurisdiction=""),
        action=question.action,
        dataset=DatasetFacts(
            namespace=facts.namespace if itself or f"Namespace::{facts.namespace}" in named else "-",
            dataset=facts.dataset if itself else "-",
            classification=facts.classification,
            owners=facts.owners if "owners" in weighed else _own(facts.owners, who),
            readers=facts.readers if "readers" in weighed else _own(facts.readers, who),
            kind=facts.kind if "kind" in asked else "",
            residency=facts.residency if "residency" in asked else (),
            purposes=facts.purposes,
            legal_hold=facts.legal_hold,
            group_size_min=facts.group_size_min,
            labels=facts.labels if "tags" in asked else (),
        ),
        time=question.time if "now" in asked else _NO_TIME,
        site=general_site(question.site, named) if question.site else None,
        purpose=question.purpose,
        use_ended=question.use_ended,
        job=question.job if "job" in asked else None,
        for_job=question.for_job,
        destination=question.destination,
        aggregate=question.aggregate,
        group_size=question.group_size,
        column_class=question.column_class if "column_class" in asked else "",
        unsealed_classes=question.unsealed_classes if "unsealed_classes" in asked else (),
    )


def _own(names: tuple[str, ...], who: Subject) -> tuple[str, ...]:
    """Those of some parties that somebody is or belongs to."""
    return tuple(name for name in names if name in who.parties) if names else names


def general_site(place: SiteFacts, named: frozenset[str]) -> SiteFacts:
    """A site without its name and its region's, unless policies name them: sites that are alike then get the same answers."""
    return dataclasses.replace(
        place,
        site=place.site if f"Site::{place.site}" in named else "-",
        region=place.region if f"Region::{place.region}" in named else "-",
    )


# Sets of policies compared


@dataclass(frozen=True, kw_only=True)
class Case:
    """An expected decision: what is asked, whether it is allowed, and by which policies, if that is said."""

    name: str
    question: Question
    allowed: bool
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A case that a set of policies decides otherwise, and what it says."""

    case: str
    told: str


@dataclass(frozen=True, kw_only=True)
class PolicyFlip:
    """A decision that two sets of policies make differently. `position` is where in the log it was made, 0 for nowhere."""

    principal: str
    groups: tuple[str, ...] = ()
    action: str
    dataset: str
    site: str = ""
    purpose: str = ""
    before: bool
    after: bool
    because: str = ""
    position: int = 0


def failures(cases: Iterable[Case], decide: Callable[[Question], Answer]) -> tuple[Failure, ...]:
    """The cases that are decided otherwise than expected."""
    found = []
    for case in cases:
        answer = decide(case.question)
        if answer.allowed is not case.allowed or (case.policies and answer.policies != tuple(sorted(case.policies))):
            said = f"allowed by {', '.join(answer.policies)}" if answer.allowed else f"denied: {told(answer)}"
            found.append(Failure(case=case.name, told=f"it is {said}"))
    return tuple(found)


def flip(asked: Question, *, before: bool, after: Answer, position: int = 0) -> PolicyFlip | None:
    """How a decision changes, None where it does not."""
    if before is after.allowed:
        return None
    return PolicyFlip(
        principal=asked.subject.name,
        groups=asked.subject.groups,
        action=str(asked.action),
        dataset=asked.dataset.short,
        site=asked.site.site if asked.site else "",
        purpose=asked.purpose,
        before=before,
        after=after.allowed,
        because=after.because if after.allowed else told(after),
        position=position,
    )
