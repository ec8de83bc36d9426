"""Plans a pipeline: looks at the catalog once, finds where each task may run at what cost, and places all of them as a whole.

A pipeline is placed as if nothing else ran: its later tasks begin when other runs have long ended, and each job waits for
room by itself. A site that is down is passed over; a task that nothing else can take is planned for its return.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from federation import ports
from federation.core import (
    errors,
    handover,
    ids,
    job,
    planner,
    policy,
    prediction,
    prepared,
    profile,
    ratecard,
    site,
    tasks,
    units,
)
from federation.core.pipeline import PipelinePlan, PipelineRequest, TaskPlan, TaskRejection, TaskSpec
from federation.services import outputs, placement, requests
from federation.services.context import Context

#: How long a solver may hold up the catalog, where no exact method of our own is quick enough.
SOLVER_SECONDS = 5.0
NOTES_MAX = 50
#: What an output is taken to have that nobody tells the size of: an unknown size is not nothing.
UNKNOWN_BYTES = 10**9

#: What binds each output of each task: task -> alias -> bounds.
Bounds = Mapping[str, Mapping[str, tuple[outputs.Bound, ...]]]


@dataclass(frozen=True, kw_only=True)
class Option:
    """Where one task may run: site -> what it costs there; and why each other site was set aside.

    `waits` are sites that are down now, which it is planned for because nothing else can take it.
    """

    task: str
    costs: Mapping[str, int]
    rejections: tuple[job.Rejection, ...] = ()
    notes: tuple[str, ...] = ()
    waits: Mapping[str, job.Rejection] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one planning sees: the federation, the request with the inputs that are there already, what binds each output.

    `fixed` are tasks that run, with their sites, and `excluded` the sites that a task has failed at for good.
    """

    seen: placement.View
    request: PipelineRequest
    bounds: Bounds
    revision: int
    fixed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    excluded: Mapping[str, tuple[tuple[str, str], ...]] = dataclasses.field(default_factory=dict)

    @property
    def ordered(self) -> tuple[TaskSpec, ...]:
        """The tasks, each after what it needs."""
        by_name = {spec.task: spec for spec in self.request.tasks}
        return tuple(by_name[name] for name in tasks.order(self.request))


def complete(tx: ports.Transaction, principal: policy.Principal, request: PipelineRequest) -> PipelineRequest:
    """The request as it is stored: a graph that can be run, each job checked and filled, each dataset input at a version."""
    tasks.check(request)
    namespace = request.namespace or _namespace(request)
    filled = dataclasses.replace(request, principal=principal.name, namespace=namespace)
    return dataclasses.replace(filled, tasks=tuple(_task(tx, principal, filled, spec) for spec in request.tasks))


def _namespace(request: PipelineRequest) -> str:
    written = [row.dataset for spec in request.tasks for row in spec.request.outputs]
    read = [row.dataset for spec in request.tasks for row in tasks.stored(spec.request)]
    named = [ids.dataset(text).namespace for text in (*reversed(written), *read)]
    return named[0] if named else ""


def _task(tx: ports.Transaction, principal: policy.Principal, of: PipelineRequest, spec: TaskSpec) -> TaskSpec:
    label = spec.request.label or "-".join(part for part in (of.label, spec.task) if part)
    alone = dataclasses.replace(
        spec.request,
        inputs=tasks.stored(spec.request),
        label=label,
        namespace=spec.request.namespace or of.namespace,
        task="",
        pipeline="",
    )
    with named(spec.task):
        made = requests.complete(tx, principal, alone, assuming=False)
    pinned = {row.alias: row for row in made.inputs}
    inputs = tuple(pinned.get(row.alias, row) for row in spec.request.inputs)
    return dataclasses.replace(spec, request=dataclasses.replace(made, inputs=inputs))


class named:  # noqa: N801 - reads as a word: `with named(task):`
    """Errors that are raised inside name the task that they are about."""

    def __init__(self, task: str) -> None:
        self._task = task

    def __enter__(self) -> None:
        """Nothing has to be done before."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, errors.FederationError) and "task" not in error.metadata:
            raise type(error)(
                f"task {self._task}: {error.message}",
                reason=error.reason,
                help=error.help,
                metadata={**error.metadata, "task": self._task},
                violations={f"tasks.{self._task}.{field}": told for field, told in error.violations.items()},
            ) from error


def bounds(tx: ports.Transaction, request: PipelineRequest) -> Bounds:
    """What binds each output of each task, carried along the graph from the datasets that it begins with.

    InvalidArgument (RESIDENCY_CONTRADICTION) names the datasets that a task would bring together and that may not meet;
    PermissionDenied (RELEASE_NOT_ALLOWED) names the one that an output may not leave.
    """
    found: dict[str, dict[str, tuple[outputs.Bound, ...]]] = {}
    by_name = {spec.task: spec for spec in request.tasks}
    for name in tasks.order(request):
        spec = by_name[name]
        upstream = [bound for row in tasks.fed(spec.request) for bound in found[row.task][row.output]]
        alone = dataclasses.replace(spec.request, inputs=tasks.stored(spec.request))
        try:
            with named(name):
                targets = outputs.settle(tx, alone, upstream)
        except errors.InvalidArgument as error:
            raise _with_way_out(error) from error
        found[name] = {target.spec.alias: target.bounds for target in targets}
    return found


def _with_way_out(error: errors.InvalidArgument) -> errors.InvalidArgument:
    if error.reason != "RESIDENCY_CONTRADICTION":
        return error
    return errors.InvalidArgument(
        error.message,
        reason=error.reason,
        help="Let small results leave instead: ask for the release of the outputs that are read (`release: true`, --release)"
        " and have the owners allow it: fed dataset update DATASET --release-max 1MB.",
        metadata=error.metadata,
        violations=error.violations,
    )


def look(
    tx: ports.Transaction,
    ctx: Context,
    request: PipelineRequest,
    *,
    revision: int = 0,
    fixed: Mapping[str, str] | None = None,
    excluded: Mapping[str, tuple[tuple[str, str], ...]] | None = None,
) -> Look:
    """Reads all that planning a pipeline needs, with sites as if nothing ran on them. Raises as `bounds` does."""
    return Look(
        seen=quiet(placement.view(tx, ctx)),
        request=request,
        bounds=bounds(tx, request),
        revision=revision,
        fixed=fixed or {},
        excluded=excluded or {},
    )


def quiet(seen: placement.View) -> placement.View:
    """The same federation, as if nothing ran in it."""
    idle = tuple(
        dataclasses.replace(
            each,
            capacity=dataclasses.replace(each.capacity, used_cpus=0, used_memory_bytes=0, used_gpus=(), queued=0),
        )
        for each in seen.sites
    )
    return dataclasses.replace(_with_sites(seen, idle), loads=(), occupations=())


def _well(seen: placement.View) -> placement.View:
    """The same federation, as if every site that is lost now had come back."""
    back = tuple(
        dataclasses.replace(each, state=site.SiteState.READY, compute_error="")
        if each.state is site.SiteState.LOST
        else dataclasses.replace(each, compute_error="")
        for each in seen.sites
    )
    return _with_sites(seen, back)


def _with_sites(seen: placement.View, sites: tuple[site.Site, ...]) -> placement.View:
    """The same federation with these sites instead, prepared once for all tasks."""
    known = prepared.Prepared(sites, seen.rates, seen.speeds, seen.prepared)
    return dataclasses.replace(seen, sites=sites, prepared=known)


def option(tx: ports.Transaction, ctx: Context, at: Look, spec: TaskSpec) -> Option:
    """Where a task may run, by the same planner as every job. A task that runs stays where it is, at no further cost."""
    if spec.task in at.fixed:
        return Option(task=spec.task, costs={at.fixed[spec.task]: 0})
    found = _plan(tx, ctx, at, spec, at.seen)
    notes = tuple(f"{spec.task}: {note}" for note in found.notes if "baseline" not in note)
    if found.ranked or not planner.waits(found):
        costs = {each.site: each.objective_micros for each in found.ranked}
        return Option(task=spec.task, costs=costs, rejections=found.rejections, notes=notes)
    later = _plan(tx, ctx, at, spec, _well(at.seen))
    down = {row.site: row for row in found.rejections if row.resolvable}
    costs = {each.site: each.objective_micros for each in later.ranked}
    notes += tuple(f"{spec.task} waits for {name}: {down[name].detail}" for name in sorted(costs) if name in down)
    return Option(task=spec.task, costs=costs, rejections=found.rejections, notes=notes, waits=down)


def _plan(tx: ports.Transaction, ctx: Context, at: Look, spec: TaskSpec, seen: placement.View) -> job.Plan:
    """The plan of one task by itself: its inputs that are datasets, and what its other inputs will bind it to."""
    alone = dataclasses.replace(spec.request, inputs=tasks.stored(spec.request))
    here = placement.world(tx, ctx, alone, revision=at.revision, seen=seen)
    carried = tuple(
        (bound.dataset, bound.residency) for row in tasks.fed(spec.request) for bound in at.bounds[row.task][row.output]
    )
    here = dataclasses.replace(
        here,
        output_residency=tuple(dict.fromkeys((*here.output_residency, *carried))),
        excluded=at.excluded.get(spec.task, ()),
        # Quotas are kept when its job is placed, by what was used until then.
        budget=None,
    )
    with named(spec.task):
        return planner.plan(alone, here, ground=seen.prepared)


def place(tx: ports.Transaction, ctx: Context, at: Look, options: Mapping[str, Option]) -> PipelinePlan:
    """Places all open tasks as a whole. FailedPrecondition where no sites go together; every task has an option."""
    flows, notes = _flows(tx, at)
    stages = [handover.Stage(task=spec.task, costs=options[spec.task].costs) for spec in at.ordered]
    places = {each.site: handover.Place(region=each.region, account=each.account) for each in at.seen.sites}
    solve = ctx.solver.minimize if ctx.solver is not None else None
    whole = handover.place(stages, flows, places, _price(at.seen), solve=solve, seconds=SOLVER_SECONDS)
    told = (note for name in (spec.task for spec in at.ordered) for note in options[name].notes)
    return PipelinePlan(
        revision=at.revision,
        decide_time=tx.now,
        tasks=tuple(_task_plan(share, places) for share in whole.shares),
        cost_micros=whole.cost_micros,
        bound_micros=whole.bound_micros,
        proven=whole.proven,
        method=whole.method,
        separate_micros=whole.separate_micros,
        notes=tuple(dict.fromkeys((*told, *notes)))[:NOTES_MAX],
    )


def _task_plan(share: handover.Share, places: Mapping[str, handover.Place]) -> TaskPlan:
    return TaskPlan(
        task=share.task,
        site=share.site,
        region=places[share.site].region,
        own_micros=share.own_micros,
        handover_micros=share.handover_micros,
    )


def rejected(found: Option) -> tuple[TaskRejection, ...]:
    """Why a task has no site, as the plan keeps it."""
    return tuple(
        TaskRejection(task=found.task, site=row.site, reason=row.reason, detail=row.detail, resolvable=row.resolvable)
        for row in found.rejections
    )


def _flows(tx: ports.Transaction, at: Look) -> tuple[list[handover.Flow], list[str]]:
    """What tasks hand to each other, by what earlier runs of the same job wrote, or by what the request assumes."""
    by_name = {spec.task: spec for spec in at.request.tasks}
    flows, notes = [], []
    for spec in at.ordered:
        for row in tasks.fed(spec.request):
            written = _written(tx, by_name[row.task], row.output)
            if written is None:
                notes.append(f"{row.task}.{row.output}: {units.size(UNKNOWN_BYTES)} assumed, its size is not known")
                written = UNKNOWN_BYTES
            read = units.divide_half_even(written * (row.read_percent or 100), 100)
            flows.append(handover.Flow(before=row.task, after=spec.task, bytes=read))
    return flows, notes


def _written(tx: ports.Transaction, spec: TaskSpec, alias: str) -> int | None:
    known = tx.get(profile.JobProfile, f"{spec.request.namespace}/{spec.request.label}")
    return prediction.predict(spec.request, known).written_bytes(alias)


def _price(seen: placement.View) -> handover.Price:
    """What handing bytes over costs at this month's tiers, with what is on its way already. Each flow is priced by itself."""
    sent: dict[str, int] = {row.scope: row.sent_bytes for row in seen.volumes}
    for row in seen.reservations:
        sent[row.scope] = sent.get(row.scope, 0) + row.reserved_bytes

    alike: dict[int, tuple[handover.Place, handover.Place]] = {}

    @functools.cache
    def link(source: handover.Place, destination: handover.Place) -> tuple[int, int]:
        """Which tariff, and what was sent before: links that are alike in both cost the same."""
        tariff = seen.rates.tariff(source.region, destination.region)
        alike.setdefault(id(tariff), (source, destination))
        return id(tariff), sent.get(ratecard.scope(source.region, destination.region, source.account), 0)

    @functools.cache
    def charge(tariff: int, before: int, size: int) -> int | None:
        source, destination = alike[tariff]
        found = seen.rates.price(source.region, destination.region, before, size)
        return found.micros if found else None

    def price(source: handover.Place, destination: handover.Place, size: int) -> int | None:
        return 0 if source.region == destination.region else charge(*link(source, destination), size)

    return price


def options(tx: ports.Transaction, ctx: Context, at: Look) -> dict[str, Option]:
    """Where each open task may run."""
    return {spec.task: option(tx, ctx, at, spec) for spec in at.ordered}


def unplaceable(found: Mapping[str, Option]) -> Iterator[Option]:
    """The tasks that no site can take."""
    return (each for each in found.values() if not each.costs)
