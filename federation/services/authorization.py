"""Asks the policy whether a person may do something with a dataset. Everything that lets something happen asks here.

`require` writes the decision into the log in the transaction of its effect, so that no effect is without it. A refusal leaves
no trace in a transaction that fails: it is carried by the error, and whoever ends the call writes it down (`note`). Looking at
what is there is not told look by look, or the log would hold little else; who looks for what they may not know of is counted,
and told once a minute.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from federation import ports
from federation.core import authorization, columns, dataset, errors, ids, job, site, tasks
from federation.core.authorization import Action, Answer, Decided, JobFacts, PolicyRevision, Question, Subject
from federation.core.policy import Principal
from federation.services.context import Context

UNSEEN_EVERY = timedelta(minutes=1)
#: Callers that are counted apart; all others together.
UNSEEN_MAX = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unseen:
    """How often callers asked for datasets that they may not know of, or that are not there, since it was last told."""

    counts: tuple[tuple[str, int], ...]


# Which policies hold


def current(tx: ports.Transaction, ctx: Context) -> tuple[ports.PolicyEngine, int]:
    """The policies that hold now, and their revision: the newest that was applied, else the shipped set as revision 0.

    Numbers have no gaps and revisions are never removed: one look by key tells whether there is a newer one.
    """
    memory = ctx.engines
    known = memory.newest
    if known in memory.compiled and tx.get(PolicyRevision, _key(known + 1)) is None:
        return memory.compiled[known], known
    stored = next(iter(tx.list(PolicyRevision, limit=1, newest_first=True)), None)
    if stored is None:
        engine = memory.compiled.setdefault(0, ctx.policies.compile(ctx.policies.default()))
        return engine, 0
    engine = memory.compiled.get(stored.number) or ctx.policies.compile(stored.text)
    if stored.create_time != tx.now:
        # One that this very transaction made may yet be taken back, and another may get its number.
        memory.compiled[stored.number] = engine
        memory.newest = max(known, stored.number)
    return engine, stored.number


def _key(number: int) -> str:
    return f"{number:010d}"


# Asking


def question(
    tx: ports.Transaction,
    who: Subject,
    action: Action,
    stored: dataset.Dataset,
    *,
    at: site.Site | None = None,
    purpose: str = "",
    of: JobFacts | None = None,
) -> Question:
    """The question with all facts that the catalog has. `at` is a site of the registry.

    What few questions say (`destination`, `group_size`, a column class and the like) is added with `dataclasses.replace`.
    """
    return Question(
        subject=who,
        action=action,
        dataset=authorization.dataset_facts(stored, tx.get(dataset.Namespace, stored.namespace)),
        time=authorization.to_minute(tx.now),
        site=authorization.site_facts(at) if at else None,
        purpose=purpose,
        use_ended=ended(stored, tx.now),
        job=of,
    )


def run_question(
    tx: ports.Transaction, request: job.JobRequest, action: Action, stored: dataset.Dataset, at: site.Site | None = None
) -> Question:
    """`question` for a job, which acts as whoever submitted it and for the purpose that they named."""
    who, facts = authorization.acting(request), authorization.job_facts(request)
    return question(tx, who, action, stored, at=at, purpose=request.purpose, of=facts)


def ended(stored: dataset.Dataset, now: datetime) -> bool:
    """Whether the time for which a dataset may be used is over."""
    return stored.use_expire_time is not None and stored.use_expire_time <= now


def answer(tx: ports.Transaction, ctx: Context, asked: Question) -> Answer:
    """What the policy says. Nothing is written into the log."""
    return current(tx, ctx)[0].decide(asked)


def require(
    tx: ports.Transaction,
    ctx: Context,
    asked: Question,
    *,
    job: str = "",
    law: Callable[[], None] = lambda: None,
) -> Decided:
    """Decides about something that is about to happen, and writes the decision into the log; raises where it is no.

    NotFound, as for a dataset that was never there, for somebody who may not know of it; else Denied (POLICY_DENIED). `law` is
    a rule that no policy can lift: it raises PermissionDenied where it is broken, and its words go before the policy's.
    """
    engine, revision = current(tx, ctx)
    found = engine.decide(asked)
    decision = authorization.decided(asked, found, digest=engine.digest, revision=revision, job=job)
    if not found.allowed and not _browsable(engine, asked):
        ctx.engines.unseen[_counted(ctx, asked.subject.name)] += 1
        raise absent(ids.DatasetName(asked.dataset.namespace, asked.dataset.dataset))
    try:
        law()
    except errors.PermissionDenied as broken:
        refused = dataclasses.replace(decision, allowed=False, law=broken.reason)
        raise authorization.Denied.of(broken, refused) from None
    if not found.allowed:
        raise authorization.denial(decision, found)
    note(tx, decision)
    return decision


def note(tx: ports.Transaction, decision: Decided) -> None:
    """Writes a decision into the log; policies that failed are told apart, for they are to be mended at once."""
    name = f"namespaces/{decision.question.dataset.namespace}/datasets/{decision.question.dataset.dataset}"
    tx.emit("policy.decided", name, decision)
    if decision.errors:
        tx.emit("policy.failed", name, decision)


def release_key(
    tx: ports.Transaction,
    ctx: Context,
    of: job.Job,
    stored: dataset.Dataset,
    at: site.Site,
    *,
    column_classes: Iterable[str],
) -> None:
    """Asks anew whether a run may have a dataset's keys where it runs: labels, readers and policies change while it waits.

    It is asked of the dataset and of each column class beside `default`; the decisions are told, and it raises where one is no.
    To be called in the transaction that grants the lease, before it.
    """
    asked = run_question(tx, of.request, Action.RELEASE_KEY, stored, at)
    for each in ("", *column_classes):
        require(tx, ctx, dataclasses.replace(asked, column_class=each), job=f"jobs/{of.job}")


def allowed_classes(
    tx: ports.Transaction, ctx: Context, asked: Question, classes: Iterable[str], *, job: str = ""
) -> tuple[str, ...]:
    """Those of a dataset's column classes for which the answer is yes, as it was without one. Tells each decision."""
    engine, revision = current(tx, ctx)
    found = []
    for each in classes:
        one = dataclasses.replace(asked, column_class=each)
        said = engine.decide(one)
        note(tx, authorization.decided(one, said, digest=engine.digest, revision=revision, job=job))
        if said.allowed:
            found.append(each)
    return tuple(found)


# Jobs


def require_inputs(tx: ports.Transaction, ctx: Context, principal: Principal, request: job.JobRequest) -> None:
    """Raises unless the submitter may use each input somewhere, and write to each output that is there.

    NotFound for an input that is not there or that they may not know of. Where it may run is asked site by site. Of inputs that
    another task is yet to make only the column classes matter, which outputs may leave unsealed.
    """
    who, of = authorization.subject(principal), authorization.job_facts(request)
    known = dataclasses.replace(request, inputs=tasks.stored(request))
    for spec in known.inputs:
        stored = visible(tx, ctx, principal, ids.dataset(spec.dataset))
        _precheck(tx, ctx, question(tx, _plain(who), Action.RUN, stored, purpose=request.purpose, of=of))
        opened = question(tx, _plain(who), Action.RELEASE_KEY, stored, purpose=request.purpose, of=of)
        for each in spec.column_classes:
            _precheck(tx, ctx, dataclasses.replace(opened, column_class=columns.name(each)))
    for written in request.outputs:
        name = ids.dataset(written.dataset)
        target = tx.get(dataset.Dataset, name.short) or _made(tx, name, principal.name, written.kind)
        asked = question(tx, _plain(who), Action.WRITE, target, purpose=request.purpose, of=of)
        _precheck(tx, ctx, dataclasses.replace(asked, unsealed_classes=authorization.unsealed(request, written)))
    released = [spec for spec in request.outputs if spec.release]
    if released:
        mine = dataclasses.replace(known, principal=who.name, groups=who.groups)
        # Counted when there is something to count: till then an aggregate is taken for as good as it must be.
        counted = all(spec.count_column for spec in released)
        for asked in _releases(tx, mine):
            assumed = asked.dataset.group_size_min if counted else None
            _precheck(tx, ctx, dataclasses.replace(asked, group_size=assumed))


def require_release(
    tx: ports.Transaction, ctx: Context, request: job.JobRequest, *, job: str, group_size: int | None = None
) -> None:
    """Tells of the decisions that let an output leave the residency of its inputs, one for each that binds; else raises.

    `group_size` is that of its smallest group, as its site has counted it, None where nobody has.
    """
    for asked in _releases(tx, request):
        require(tx, ctx, dataclasses.replace(asked, group_size=group_size), job=job)


def _releases(tx: ports.Transaction, request: job.JobRequest) -> Iterator[Question]:
    for name in dict.fromkeys(ids.dataset(spec.dataset).short for spec in request.inputs):
        stored = tx.get(dataset.Dataset, name)
        if stored is not None and stored.residency:
            yield dataclasses.replace(run_question(tx, request, Action.EXPORT, stored), aggregate=True)


def _plain(who: Subject) -> Subject:
    """The submitter without their role, as which the job will act: so what is asked now is what will be asked when it runs."""
    return Subject(name=who.name, groups=who.groups)


def _precheck(tx: ports.Transaction, ctx: Context, asked: Question) -> None:
    """Raises as `require` does; a yes is not written into the log, since nothing happens yet because of it."""
    if not answer(tx, ctx, asked).allowed:
        require(tx, ctx, asked)


def _made(tx: ports.Transaction, name: ids.DatasetName, owner: str, kind: str) -> dataset.Dataset:
    """An output dataset that does not exist yet. Its namespace's owner decides over it, or `owner` where that is new, too."""
    whose = "" if tx.get(dataset.Namespace, name.namespace) else owner
    model = kind == dataset.DatasetKind.MODEL
    return dataset.Dataset(
        namespace=name.namespace,
        dataset=name.dataset,
        owner=whose,
        kind=dataset.DatasetKind.MODEL if model else dataset.DatasetKind.DATA,
    )


def forbidden_sites(
    tx: ports.Transaction, ctx: Context, request: job.JobRequest, sites: Iterable[site.Site]
) -> tuple[tuple[str, str], ...]:
    """Sites where the policy lets a job not read one of its inputs or write one of its outputs, each with why."""
    asked = tuple(_needed(tx, request))
    return authorization.denials(current(tx, ctx)[0], asked, sites) if asked else ()


def require_run(tx: ports.Transaction, ctx: Context, of: job.Job, at: site.Site) -> None:
    """Tells of the decisions that let a run begin at a site, one for each dataset that it reads or writes."""
    for asked in _needed(tx, of.request):
        if asked.action is not Action.RELEASE_KEY:  # that is asked when a key is
            require(tx, ctx, dataclasses.replace(asked, site=authorization.site_facts(at)), job=f"jobs/{of.job}")


def _needed(tx: ports.Transaction, request: job.JobRequest) -> Iterator[Question]:
    """What a job must be allowed of datasets that are there, asked without a site."""
    for need in authorization.needs(request):
        stored = tx.get(dataset.Dataset, ids.dataset(need.dataset).short)
        if stored is not None:
            asked = run_question(tx, request, need.action, stored)
            yield dataclasses.replace(asked, column_class=need.column_class, unsealed_classes=need.unsealed_classes)


# Looking


def may_browse(tx: ports.Transaction, ctx: Context, principal: Principal, stored: dataset.Dataset) -> bool:
    """Whether somebody may know that a dataset is there."""
    return browser(tx, ctx, principal)(stored)


def browser(tx: ports.Transaction, ctx: Context, principal: Principal) -> Callable[[dataset.Dataset], bool]:
    """`may_browse` for many datasets: who asks, and by which policies, is looked up once."""
    engine, _ = current(tx, ctx)
    who = authorization.subject(principal)
    return lambda stored: engine.decide(question(tx, who, Action.BROWSE, stored)).allowed


def prepare(tx: ports.Transaction, stored: Iterable[dataset.Dataset]) -> None:
    """Reads at once what will be asked about many datasets one after the other: their namespaces, whose owners decide, too."""
    names = tuple({each.namespace for each in stored})
    if len(names) > 1:
        tx.list(dataset.Namespace, keys=names, limit=len(names))


def visible(
    tx: ports.Transaction,
    ctx: Context,
    principal: Principal,
    name: ids.DatasetName,
    *,
    as_absent: errors.NotFound | None = None,
) -> dataset.Dataset:
    """One dataset, also a deleted one; NotFound, in the same words, when it is not there or they may not know that it is.

    `as_absent` is what is told of a part of it instead. What is not there is asked about as well, so that both take as long.
    """
    stored = tx.get(dataset.Dataset, name.short)
    asked = stored or dataset.Dataset(namespace=name.namespace, dataset=name.dataset)
    if may_browse(tx, ctx, principal, asked) and stored is not None:
        return stored
    ctx.engines.unseen[_counted(ctx, principal.name)] += 1
    raise as_absent or absent(name)


def absent(name: ids.DatasetName) -> errors.NotFound:
    """What is said of a dataset that is not there, and of one that its caller may not know of."""
    return errors.NotFound(
        f"dataset {name.short} does not exist",
        help=f"`fed dataset list {name.namespace}` shows what is there.",
        metadata={"dataset": name.short},
    )


def namespace_absent(name: str) -> errors.NotFound:
    """What is said of a namespace that is not there, and of one that its caller may not know of."""
    return errors.NotFound(
        f"namespace {name} does not exist",
        help="`fed namespace list` shows what is there.",
        metadata={"namespace": name},
    )


def _browsable(engine: ports.PolicyEngine, asked: Question) -> bool:
    bare = Question(subject=asked.subject, action=Action.BROWSE, dataset=asked.dataset, time=asked.time)
    return engine.decide(bare).allowed


def _counted(ctx: Context, name: str) -> str:
    unseen = ctx.engines.unseen
    return name if name in unseen or len(unseen) < UNSEEN_MAX else "others"


def tell_unseen(tx: ports.Transaction, ctx: Context) -> int:
    """Writes into the log, once a minute, who asked for what is hidden from them or not there; returns how many they are."""
    memory = ctx.engines
    if not memory.unseen or (memory.told_time is not None and tx.now < memory.told_time + UNSEEN_EVERY):
        return 0
    counts, memory.unseen = memory.unseen, type(memory.unseen)()
    memory.told_time = tx.now
    tx.emit("policy.unseen", "policies/-", Unseen(counts=tuple(sorted(counts.items()))))
    return len(counts)
