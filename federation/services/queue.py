"""The queue: jobs that wait are placed together, by priority and fair share, and no newcomer overtakes who waits for a site."""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import assignment, errors, fairshare, job, site
from federation.services import placement, placing, scan, shares
from federation.services.context import Context

#: Different plans that are made in one look at the queue: jobs that ask for the same share one, and the rest wait for the next.
PLANS_MAX = 300
#: What leaving a job waiting counts beside its options, which are always to be preferred to that.
_UNPLACED_FACTOR = 4
_UNPLACED_MICROS = 10**9
_SOLVER_SECONDS = 0.5


def offer(tx: ports.Transaction, ctx: Context, waiting: job.Job, plan: job.Plan) -> job.Job:
    """Follows the plan of a job that has just come, or come back, at once, unless others wait for the room that it would take.

    Then it joins them, and all are placed together at the next look at the queue.
    """
    chosen = plan.choice
    if chosen is None or not placing.ready(plan):
        return placing.follow(tx, ctx, waiting, plan)
    ahead = sum(_wants(other, chosen.site) for other in _pending(tx) if other.job != waiting.job)
    if not ahead:
        return placing.follow(tx, ctx, waiting, plan)
    detail = f"{ahead} other job{'s' if ahead > 1 else ''} may want {chosen.site} too: all are placed together"
    return placing.wait(tx, ctx, waiting, plan, placing.QUEUED, detail=detail)


def again(tx: ports.Transaction, ctx: Context, waiting: job.Job, *, revision: int = 0) -> job.Job:
    """Plans a job that has come back from a run that failed, and follows the plan as for one that has just come."""
    try:
        plan = placing.think(tx, ctx, waiting, revision=revision)
    except errors.FederationError as refused:
        return placing.refuse(tx, ctx, waiting, refused)
    return offer(tx, ctx, waiting, plan)


def place(tx: ports.Transaction, ctx: Context, revision: int = 0) -> int:
    """Plans all that wait, and places together what can begin now. Returns how many jobs were changed.

    Where not all fit, priorities and fair shares say who goes, and for whom room is kept; where they go is then decided
    together, so that all who go cost least in sum.
    """
    waiting = sorted(_pending(tx), key=lambda one: (-one.request.priority, one.job))
    if not waiting:
        return 0
    look = _Look(tx, ctx, revision)
    changed, contenders = 0, []
    for one in waiting:
        try:
            plan = look.plan(one)
        except errors.FederationError as refused:
            placing.refuse(tx, ctx, one, refused)
            changed += 1
            continue
        if plan is None:
            continue
        after = one if placing.ready(plan) else placing.follow(tx, ctx, one, plan)
        changed += after != one
        if not after.state.terminal:
            contenders.append((after, plan))
    return changed + _place_together(tx, ctx, contenders, look)


def _pending(tx: ports.Transaction) -> tuple[job.Job, ...]:
    return tuple(scan.every(tx, job.Job, where={"state": str(job.JobState.PENDING)}))


def _wants(other: job.Job, at: str) -> bool:
    """Whether a waiting job might take room at a site as soon as there is some."""
    if other.plan is None or other.reason == placing.QUEUED:
        return True
    if other.plan.choice is not None and other.plan.choice.site == at:
        return True
    return any(rejection.site == at and rejection.resolvable for rejection in other.plan.rejections)


class _Look:
    """One look at the queue: what all its plans see alike, and the plans, one for all jobs that ask for the same."""

    def __init__(self, tx: ports.Transaction, ctx: Context, revision: int) -> None:
        self.seen = placement.view(tx, ctx)
        self.revision = revision
        self._tx = tx
        self._ctx = ctx
        self._plans: dict[job.JobRequest, job.Plan] = {}
        self._made = 0

    def plan(self, waiting: job.Job) -> job.Plan | None:
        """The plan of a waiting job; None if this look has made enough of them."""
        # Whose job it is stays: where it may run depends on them. So does the code that a policy may name.
        # A deadline counts from submission and earlier attempts are a job's own: such jobs share nothing.
        alone = bool(waiting.attempt or waiting.transfers or waiting.request.deadline_seconds)
        shape = dataclasses.replace(waiting.request, entrypoint=(), runtime_env="", env=(), task="")
        known = None if alone else self._plans.get(shape)
        # What is not explained because it was for one job may have to be for another.
        if known is not None and (known.choice or known.counterfactuals or placing.says_no_more(waiting, known)):
            return known
        if self._made >= PLANS_MAX:
            return None
        self._made += 1
        made = placing.think(self._tx, self._ctx, waiting, revision=self.revision, seen=self.seen)
        if not alone:
            self._plans[shape] = made
        return made


def _place_together(tx: ports.Transaction, ctx: Context, contenders: list[tuple[job.Job, job.Plan]], look: _Look) -> int:
    """Begins what fits, of those that are ready; the others only say for which room they wait."""
    ready = {one.job: (one, plan) for one, plan in contenders if placing.ready(plan)}
    if not ready:
        return 0
    if len(contenders) == 1:
        (one, plan) = contenders[0]
        return int(placing.follow(tx, ctx, one, plan) != one)
    rooms = _Rooms(look.seen)
    queue, kept = _admitted(tx, contenders, rooms, look.seen)
    found = assignment.assign(queue, rooms.free, rooms.resources, minimize=_minimize(ctx))
    asked = {each.job: each for each in queue}
    placed = {name: asked[name].options[position].site for name, position in found.placed}
    changed = sum(_begin(tx, ctx, ready[name][0], at, look.revision) != ready[name][0] for name, at in placed.items())
    for name, (one, plan) in ready.items():
        if name not in placed:
            changed += placing.wait(tx, ctx, one, plan, placing.QUEUED, detail=_queued_because(plan, kept)) != one
    return changed


def _admitted(
    tx: ports.Transaction, contenders: list[tuple[job.Job, job.Plan]], rooms: _Rooms, seen: placement.View
) -> tuple[list[assignment.Queued], frozenset[str]]:
    """Who goes now, by priority and fair share, with the sites that each may go to; and the sites where room is kept."""
    claims = {one.job: _claims(one, plan, rooms) for one, plan in contenders}
    namespaces = sorted({one.request.namespace for one, _ in contenders})
    admission = fairshare.admit(
        [_contender(one, plan, claims[one.job]) for one, plan in contenders],
        [
            fairshare.Held(site=held.site, demand=rooms.demand(held.resources), end_seconds=shares.seconds(held.end_time))
            for held in seen.occupations
        ],
        [(room.site, room.free) for room in rooms.free],
        [shares.share(tx, namespace) for namespace in namespaces],
        [use for namespace in namespaces for use in shares.uses(tx, namespace)],
        now_seconds=shares.seconds(tx.now),
        half_life_seconds=shares.HALF_LIFE_SECONDS,
    )
    kept = frozenset(reservation.site for reservation in admission.reserved)
    goes = dict(admission.admitted)
    queue = []
    for one, plan in contenders:
        if one.job in goes and placing.ready(plan):
            at = claims[one.job][goes[one.job]].site
            # Who was admitted beside a reservation keeps its site: moving there could take the room that is kept.
            allowed = {at} if at in kept else {claim.site for claim in claims[one.job]} - kept
            queue.append(_queued(one, plan, rooms, allowed))
    return queue, kept


def _contender(one: job.Job, plan: job.Plan, claims: tuple[fairshare.Claim, ...]) -> fairshare.Contender:
    meter, count = shares.measured(one.request.resources)
    return fairshare.Contender(
        job=one.job,
        namespace=one.request.namespace,
        claims=claims,
        predicted_seconds=plan.choice.run_seconds if plan.choice else one.request.duration_seconds,
        units=count,
        meter=meter,
        priority=one.request.priority,
        submit_seconds=shares.seconds(one.create_time) if one.create_time else 0,
    )


def _claims(one: job.Job, plan: job.Plan, rooms: _Rooms) -> tuple[fairshare.Claim, ...]:
    """The sites that a job could go to, cheapest first, and after them those that are only full for it now."""
    asked = one.request.resources
    sites = [(candidate.site, rooms.demand(asked, candidate.gpu_type)) for candidate in plan.ranked]
    for rejection in plan.rejections:
        if rejection.reason in placing.FULL_REASONS and rejection.resolvable:
            sites += [(rejection.site, rooms.demand(asked, kind)) for kind in rooms.kinds(rejection.site, asked)]
    return tuple(fairshare.Claim(site=name, demand=demand) for name, demand in sites)


def _queued_because(plan: job.Plan, kept: frozenset[str]) -> str:
    wanted = sorted({candidate.site for candidate in plan.ranked} & kept)
    others = f"; {', '.join(wanted)} keeps room for a job that waits longer" if wanted else ""
    return f"others go first, by priority and fair share, and there is no room beside them{others}"


def _begin(tx: ports.Transaction, ctx: Context, one: job.Job, at: str, revision: int) -> job.Job:
    """Plans again, at the site that was chosen: those placed before it in the same look have moved tiers and loads."""
    try:
        plan = placing.think(tx, ctx, one, revision=revision, at=at)
    except errors.FederationError as refused:
        return placing.refuse(tx, ctx, one, refused)
    return placing.follow(tx, ctx, one, plan)


class _Rooms:
    """What sites have left, as vectors over one list of resources: CPUs, memory, and each type of GPU."""

    def __init__(self, seen: placement.View) -> None:
        loads = {load.site: load for load in seen.loads}
        self._types = sorted({name for at in seen.sites for name, _ in at.capacity.gpus})
        self.resources = ("CPUs", "memory", *(f"{name or 'untyped'} GPUs" for name in self._types))
        self.free = tuple(assignment.Room(at.site, self._left(at, loads.get(at.site))) for at in seen.sites)
        self._kinds = {at.site: tuple(name for name, count in at.capacity.gpus if count) for at in seen.sites}

    def demand(self, asked: job.Resources, gpu_type: str = "") -> tuple[int, ...]:
        """What a run takes, of the GPU type that its plan chose."""
        kind = gpu_type or asked.gpu_type
        return (asked.cpus, asked.memory_bytes, *(asked.gpus if name == kind else 0 for name in self._types))

    def kinds(self, at: str, asked: job.Resources) -> tuple[str, ...]:
        """The types of GPU that a job could get at a site; one empty type where it asks for none."""
        if asked.gpu_type or not asked.gpus:
            return (asked.gpu_type,)
        return self._kinds[at]

    def _left(self, at: site.Site, load: site.SiteLoad | None) -> tuple[int, ...]:
        load, has = load or site.SiteLoad(site=at.site), at.capacity
        untyped = sum(count for held in (load.gpus, has.used_gpus) for name, count in held if not name)
        gpus = []
        for kind in self._types:
            held = sum(count for rows in (load.gpus, has.used_gpus) for name, count in rows if name == kind and kind)
            gpus.append(max(dict(has.gpus).get(kind, 0) - held - untyped, 0))
        cpus = max(has.cpus - load.cpus - has.used_cpus, 0)
        return (cpus, max(has.memory_bytes - load.memory_bytes - has.used_memory_bytes, 0), *gpus)


def _queued(one: job.Job, plan: job.Plan, rooms: _Rooms, allowed: frozenset[str] | set[str]) -> assignment.Queued:
    """A job as the assignment sees it: the sites that have room for it now; leaving it waiting is worse than any of them."""
    options = tuple(
        assignment.Option(candidate.site, candidate.objective_micros, rooms.demand(one.request.resources, candidate.gpu_type))
        for candidate in plan.ranked
        if candidate.site in allowed and not candidate.wait_seconds and not candidate.stage_seconds
    )
    dearest = max((option.cost_micros for option in options), default=0)
    return assignment.Queued(
        job=one.job,
        options=options,
        unplaced_micros=_UNPLACED_FACTOR * dearest + _UNPLACED_MICROS,
        priority=one.request.priority,
    )


def _minimize(ctx: Context) -> assignment.Minimize | None:
    """The solver with its time limit, where there is one: the queue is placed inside a transaction, and that must be short."""
    solver = ctx.solver
    return None if solver is None else lambda asked: solver.minimize(asked, seconds=_SOLVER_SECONDS)
