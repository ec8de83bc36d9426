"""Where a job runs: request and world in, plan out. Pure; every site that the world holds is ranked or rejected with a reason.

The least objective wins (money, and what time and carbon are worth), then the higher locality, then the name, so that the order
of sites and inputs does not matter. A site that an earlier attempt was lost at comes after all others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from federation.core import (
    arrivals,
    checks,
    copies,
    cost,
    counterfactuals,
    errors,
    filters,
    links,
    measured,
    plain,
    policy,
    prediction,
    premises,
    prepared,
    quota,
    ratecard,
    records,
    search,
    shortlist,
    site,
    units,
    waiting,
)
from federation.core import budget as budgets
from federation.core.job import (
    Candidate,
    Counterfactual,
    InputPlan,
    JobKind,
    JobRequest,
    PastAttempt,
    Plan,
    Rejection,
    Spot,
    Way,
)
from federation.core.world import World

Objectives = npt.NDArray[Any]

#: Steps that all searches of one decision may take together. A step takes some 20 microseconds, and planning happens inside the
#: write transaction, where others wait. Steps are counted and no clock is read, so that equal worlds get equal plans.
STEPS_MAX = 2_500
#: Ends of earlier attempts that speak against their site without ruling it out.
AVOIDED_REASONS = frozenset(
    {
        "LEASE_LOST",
        "COMPUTE_UNAVAILABLE",
        "COMPUTE_LOST",
        "NODE_LOST",
        "DRIVER_LOST",
        "LAUNCHER_LOST",
        "PREEMPTED",
        "NO_COMPUTE",
    }
)


def plan(
    request: JobRequest,
    world: World,
    *,
    at: str = "",
    explain: bool = True,
    ground: prepared.Prepared | None = None,
) -> Plan:
    """The best placement of a job in a world, everything it was compared with, and what it is compared to.

    `at` names the site that the assignment of many jobs has chosen: it then stands first. `explain` also tells what would have
    made other sites win. `ground` is what the world's sites, links and prices say whatever is asked, if it is at hand: it saves
    time, and is not believed of any others. InvalidArgument for what no site could answer: absurd sizes (SIZE_INVALID,
    RESOURCES_INVALID, DURATION_INVALID, AMOUNT_INVALID), an absurd world (WORLD_INVALID, WORLD_TOO_LARGE), inputs whose
    residencies exclude each other (RESIDENCY_CONTRADICTION), an ingestion that names no site (SITE_REQUIRED), a delivery to
    nowhere (SITE_UNKNOWN).
    """
    return decide(request, world, ground=ground).plan(at=at, explain=explain)


def decide(request: JobRequest, world: World, *, ground: prepared.Prepared | None = None) -> Decision:
    """The best placement of a job in a world, decided and not yet explained; refuses what `plan` refuses.

    What does not change the choice is computed only when it is asked for: so `decide(...).brief()` is the fastest answer, and
    `plan` the whole one.
    """
    checks.request(request)
    checks.look(world)
    sized, assumed = premises.sized(request, world)
    policy.binding(sized.residencies)
    return Decision(request, sized, ground, assumed)


def waits(plan_: Plan) -> bool:
    """Whether a plan without a choice may get one by waiting: some site refused for a reason that can pass."""
    return plan_.choice is None and any(rejection.resolvable for rejection in plan_.rejections)


class Decision:
    """One decision in the making: what is found for all sites, and remembered for those who explain it."""

    def __init__(
        self,
        request: JobRequest,
        world: World,
        ground: prepared.Prepared | None = None,
        assumed: tuple[str, ...] = (),
        steps: int = STEPS_MAX,
    ) -> None:
        """`assumed` are notes on what the world was made to say; `steps` are those that all of its searches may take."""
        self.request, self.world, self._assumed = request, world, assumed
        self._predictions: dict[str, prediction.Prediction] = {}
        self.terms = premises.terms(request, world)
        self.timed = bool(request.deadline_seconds) or request.hour_value_micros is not None
        self._budget = search.Budget(steps)
        self.ground = prepared.of(world, ground)
        self._options: dict[str, list[cost.Option] | Rejection] = {}
        #: Site -> what it may cost at the least, of those that the steps did not suffice for.
        self._doubts: dict[str, int] = {}
        expected = self.predicted("")
        volumes = [expected.read_bytes(item.alias, item.bytes) for item in world.inputs]
        premises.check_volumes(world.inputs, volumes)
        self.came = arrivals.Arrivals(world, self.ground, volumes, self._budget, idle=request.kind is JobKind.INGEST)
        self.total_bytes = sum(item.bytes for item in world.inputs)
        #: Share of the inputs' bytes that lie at each site that holds any.
        self.localities = premises.localities(world.inputs, self.total_bytes)
        either = request.spot is Spot.ALLOWED
        #: Sites where spot GPUs were taken away from an earlier attempt, and which may still have it on demand.
        self.preempted = {row.site: row for row in world.attempts if either and _taken_away(row)}
        lost = [row for row in world.attempts if row.reason in AVOIDED_REASONS]
        self.avoided = {row.site: row for row in lost if not (either and _taken_away(row))}
        self._landings: dict[tuple[str, str, str], int | str] = {}
        self.sites = self.ground.by_name
        #: What the search found, for sites where reading alone did not settle it.
        self.chosen: dict[str, copies.Chosen] = {}
        #: What is left of the namespace's quota for egress; None where it has none.
        self.egress_left = premises.egress_left(world)
        #: What one sweep of arrays found, for sites where that is certain.
        self.settled: dict[str, measured.Settled] = {}
        #: What a run costs at all sites, where nothing but money counts.
        self.spent = plain.spent(self)
        self._told: dict[str, Candidate] = {}

    @cached_property
    def ways(self) -> copies.Ways:
        """All ways to have the inputs, site by site."""
        return copies.Ways(self.request, self.world, self.came)

    @cached_property
    def _concerned(self) -> tuple[filters.Filter, ...]:
        """The filters that may refuse any site at all."""
        return filters.concerned(self.request, self.world)

    # What was decided

    def brief(self) -> Plan:
        """The choice, told with its inputs, the runner-up and the baseline; why sites are refused only where all are."""
        return self._plan(self.leading, () if self.leading else self._refusals(), told_in_full=1)

    def plan(self, *, at: str = "", explain: bool = True) -> Plan:
        """The choice and everything that it was compared with, as `planner.plan` promises."""
        ranked, forced = _forced(self.ranked, at)
        silent = not explain or forced or self.request.kind is JobKind.INGEST or self.doubtful
        found = () if silent else counterfactuals.find(self, ranked)
        return self._plan(ranked, self._refusals(), found=found, forced=forced)

    def _plan(
        self,
        ranked: Sequence[Candidate],
        refused: tuple[Rejection, ...],
        *,
        found: tuple[Counterfactual, ...] = (),
        forced: tuple[str, ...] = (),
        told_in_full: int = 2,
    ) -> Plan:
        told, kept = [self.told(candidate) for candidate in ranked[:told_in_full]], tuple[str, ...]()
        if told:
            copied, why = self.kept(told[0])
            if self._stopped(copied) is None:  # else a copy would exceed what the read does not
                told[0], kept = copied, why
        return Plan(
            revision=self.world.revision,
            decide_time=self.world.now,
            ranked=(*told, *ranked[told_in_full:]),
            rejections=refused,
            baseline_site=self.baseline_site,
            baseline_egress_micros=self.baseline_micros,
            notes=(*self._assumed, *kept, *self.notes(told[0] if told else None), *forced),
            counterfactuals=found,
            attempts=self.world.attempts,
        )

    def _refusals(self) -> tuple[Rejection, ...]:
        refused = (*self.rejections, *premises.unknown_sites(self.request, self.world))
        return tuple(sorted(refused, key=lambda rejection: rejection.site))

    @cached_property
    def leading(self) -> Sequence[Candidate]:
        """The choice and the runner-up, as far as there are two."""
        numbers = shortlist.leading(self, self.spent)
        if numbers is not None and self.spent is not None:
            return plain.candidates(self, np.array(numbers, dtype=np.intp), self.spent.compute)
        if self.world.caps or self.swept is None:
            return self.ranked[:2]
        return sorted((*self.swept.candidates(self, 2), *self._closer), key=rank)[:2]

    @cached_property
    def bounds(self) -> shortlist.Bounds | None:
        """What reads cost at the least; None where all regions are known already, or no such bound can be had."""
        came = self.came
        if came.solved or not came.reads or came.hopeless or not came.regions or not all(read.bytes for read in came.reads):
            return None
        seconds = self.predicted(self.request.resources.gpu_type if self.request.resources.gpus else "").seconds
        under = self.ground.lines_for(self.world, came.volume)
        return None if under.tiers is None else shortlist.Bounds(came, under, under.tiers, seconds)

    # All that it was decided from

    @cached_property
    def swept(self) -> plain.Everyday | None:
        """The sites where nothing but money counts; None where the request asks for more."""
        self.came.solve()
        return plain.sweep(self)

    @cached_property
    def _looked_at(self) -> list[Candidate | Rejection]:
        """What a closer look says of the sites that the sweep has left."""
        return self._answers([self.ground.sites[n] for n in self.swept.rest] if self.swept else self.ground.sites)

    @cached_property
    def _closer(self) -> list[Candidate]:
        return [answer for answer in self._looked_at if isinstance(answer, Candidate)]

    @cached_property
    def everyday(self) -> list[Candidate]:
        """Candidates of one option that read all inputs remotely, in the order of rank."""
        return self.swept.candidates(self) if self.swept else []

    @cached_property
    def _all(self) -> tuple[list[Candidate], list[Rejection]]:
        """All candidates in the order of rank, and why all other sites are refused."""
        refused = [answer for answer in self._looked_at if isinstance(answer, Rejection)]
        if self.swept is not None:
            barred = self._answers([self.ground.sites[n] for n in self.swept.barred])
            refused += [answer for answer in barred if isinstance(answer, Rejection)]
            refused += self.swept.refusals(self)
        ranked = sorted((*self.everyday, *self._closer), key=rank) if self._closer else self.everyday
        if self.world.caps:
            # Those that would exceed a hard budget are set aside, each by the way that was found for it.
            judged = [(row, self._stopped(self.told(row))) for row in ranked]
            ranked = [row for row, no in judged if no is None]
            refused += [no for _, no in judged if no is not None]
        return ranked, refused

    @property
    def ranked(self) -> list[Candidate]:
        """All candidates, in the order of rank."""
        return self._all[0]

    @property
    def rejections(self) -> list[Rejection]:
        """Why the other sites are refused, in any order."""
        return self._all[1]

    @cached_property
    def objectives(self) -> Objectives:
        """What the candidates are ranked by, in their order."""
        if self.swept is not None and self.ranked is self.everyday:
            return self.swept.objective[self.swept.ranked]
        return _objectives(self.ranked)

    def _answers(self, sites: Sequence[site.Site], below: int | None = None) -> list[Candidate | Rejection]:
        """What is said of sites, in any order: those where only reading or copying is still to be chosen, all at once.

        Those that a search is needed for and that are certain not to cost less than `below` are left out.
        """
        if not sites:
            return []
        answers: list[Candidate | Rejection] = []
        pending: list[measured.Pending] = []
        for at in sites:
            answer = self._answer(at, self._concerned)
            if isinstance(answer, measured.Pending):
                pending.append(answer)
            else:
                answers.append(answer)
        found = measured.settle(self, [row for row in pending if self._measurable(row)])
        hard = []
        for row in pending:
            settled = found.get(row.at.site)
            if settled is None:
                least = self._least(row)
                if below is None or least < below:
                    hard.append((least, row.at.site, row))
            else:
                answers.append(self._placed(row, settled))
        # The most promising first, so that what the steps do not suffice for is what hardly matters.
        answers += [self._searched(row, least) for least, _, row in sorted(hard, key=lambda entry: entry[:2])]
        return answers

    def least_with_all(self, at: site.Site) -> int | None:
        """What a site would cost at the least if it held all inputs and had room; None where it would not do even then."""
        offered = self.options(at)
        if isinstance(offered, Rejection) or cost.carbon_unknown(self.request, at, offered) is not None:
            return None
        landing, (option, taken) = self._landing(at), self._best(self._weighable(offered), at.offer.carbon_g_per_kwh)
        if option is None or taken is None or isinstance(landing, Rejection):
            return None
        return cost.objective(option, taken, self.terms, at.offer.carbon_g_per_kwh) // cost.UNIT + landing

    def with_replica(self, positions: Collection[int], at: site.Site, steps: int) -> tuple[Candidate | None, int]:
        """The choice if the site held a replica of those inputs, and how many of the steps are left then.

        None where there is no choice, or the steps do not suffice to tell.
        """
        inputs = tuple(
            replace(item, replica_sites=(*item.replica_sites, at.site)) if n in positions else item
            for n, item in enumerate(self.world.inputs)
        )
        other = Decision(self.request, replace(self.world, inputs=inputs), self.ground, steps=steps)
        choice = next(iter(other.leading), None)
        # A choice that needed no look at other sites is proven without one.
        return None if other._doubts else choice, other._budget.left

    def _least(self, row: measured.Pending) -> int:
        """What a site costs at the least, however its inputs come to it, in micro-dollars; less what may be rounded."""
        at, r = row.at, self.came.index[row.at.region]
        spans = [(option, taken) for option in row.options if (taken := cost.span(option)) is not None]
        run = min((cost.objective(*entry, self.terms, at.offer.carbon_g_per_kwh) for entry in spans), default=0) // cost.UNIT
        there = [*self.held.get(at.site, ()), *self.ways.arriving.get(at.site, ())]
        moved = self.ways.least[:, r].sum() - self.ways.least[there, r].sum()
        return max(run + row.landing + int(moved) - len(self.came.reads) - 4, 0)

    def _placed(self, row: measured.Pending, found: measured.Settled) -> Candidate | Rejection:
        taken = cost.span(row.option, found.reading, found.staging)
        assert taken is not None  # such an option always ends
        self.settled[row.at.site] = found
        moved = (found.egress_micros, found.egress_bytes, found.storage_micros)
        return self._made(row.at, row.option, taken, moved, row.landing)

    # One site

    def _answer(self, at: site.Site, concerned: Sequence[filters.Filter]) -> Candidate | Rejection | measured.Pending:
        refused = filters.reject(self.request, at, self.world, concerned)
        answer: Candidate | Rejection | measured.Pending
        if refused is not None and not (self.timed and refused.resolvable and refused.reason in filters.EXHAUSTED):
            answer = refused
        else:
            answer = self.candidate(at, refused)
        return self._too_late(at) or answer if isinstance(answer, Rejection) and answer.resolvable else answer

    def _too_late(self, at: site.Site) -> Rejection | None:
        """A site that would miss the deadline even if it had room and all inputs now: waiting for it helps nobody."""
        offered = self.options(at)
        if self.terms.limit is None or isinstance(offered, Rejection):
            return None
        spans = [taken for option in offered if (taken := cost.span(option)) is not None]
        return self._impossible(at, [*spans]) if spans and all(cost.late(taken, self.terms) for taken in spans) else None

    def candidate(  # noqa: PLR0911 - a "no" each
        self, at: site.Site, full: Rejection | None = None
    ) -> Candidate | Rejection | measured.Pending:
        """A site that no filter rules out, priced; `full` is its refusal if it has no room now."""
        offered = self.options(at)
        if isinstance(offered, Rejection):
            return offered
        refused = cost.carbon_unknown(self.request, at, offered) or self._unreadable(at)
        if refused is not None:
            return refused
        found = self._with_waits(at, offered, full)
        if isinstance(found, Rejection):
            return found
        landing = self._landing(at)
        if isinstance(landing, Rejection):
            return landing
        if self._needs_search(at, found):
            return measured.Pending(at, found, landing)
        option, taken = self._best(found, at.offer.carbon_g_per_kwh)
        if option is None or taken is None:
            return self._impossible(at, [cost.span(option) for option in found])
        r = self.came.index.get(at.region)
        egress, volume = (0, 0) if r is None else (self.came.egress[r], self.came.bytes[r])
        return self._made(at, option, taken, (egress, volume, 0), landing)

    @property
    def steps_left(self) -> int:
        """How many steps of searching are left once all sites were looked at, below 0 by what the last took too many."""
        _ = self._looked_at
        return self._budget.left

    @property
    def doubtful(self) -> bool:
        """Whether the steps did not suffice for some site: then nothing is told of what would have changed the choice."""
        _ = self._looked_at
        return bool(self._doubts)

    @cached_property
    def held(self) -> dict[str, frozenset[int]]:
        """Site -> the inputs, by position, of which it holds a replica."""
        return premises.held(self.world.inputs)

    @cached_property
    def columns(self) -> npt.NDArray[np.int64]:
        """The region of each candidate, by number, in the order of rank."""
        if self.swept is not None and self.ranked is self.everyday:
            return self.ground.region[self.swept.ranked]
        return np.array([self.came.index[candidate.region] for candidate in self.ranked], dtype=np.int64)

    @cached_property
    def plain_sites(self) -> frozenset[str]:
        """Candidates that read all inputs remotely, whose objective is money alone."""
        return frozenset(candidate.site for candidate in self.everyday)

    def supposed(self, sites: Sequence[site.Site], below: int | None = None) -> dict[str, Candidate]:
        """The candidates that changed sites would be, by name, each by itself; those that could not run the job are left out.

        Left out are also those that a hard budget would stop, that are certain not to cost less than `below`, and for which the
        steps do not suffice to tell. The decision itself stays as it is.
        """
        traces: tuple[dict[str, Any], ...] = (self._options, self.chosen, self.settled, self._doubts)
        remembered = [{at.site: trace.pop(at.site) for at in sites if at.site in trace} for trace in traces]
        answers = self._answers(sites, below)
        found = {row.site: row for row in answers if isinstance(row, Candidate) and row.site not in self._doubts}
        if self.world.caps:
            found = {name: row for name, row in found.items() if self._stopped(self._with_inputs(row)) is None}
        for trace, before in zip(traces, remembered, strict=True):
            for at in sites:
                trace.pop(at.site, None)
            trace.update(before)
        return found

    def _stopped(self, told: Candidate) -> Rejection | None:
        """The hard budget that a candidate, told with its inputs, would exceed."""
        return budgets.refusal(self.request, told, self.world.caps)

    def searched(self, at: site.Site) -> Candidate | Rejection:
        """What the search says of a site by itself, where it may be asked at all."""
        answer = self._answer(at, self._concerned)
        return self._searched(answer, self._least(answer)) if isinstance(answer, measured.Pending) else answer

    def options(self, at: site.Site) -> list[cost.Option] | Rejection:
        """Every way to compute at a site, whether it has room or not."""
        found = self._options.get(at.site)
        if found is None:
            found = cost.options(self.request, at, self._seconds)
            if self.preempted and at.site in self.preempted and isinstance(found, list):
                found = [option for option in found if not option.spot]
            self._options[at.site] = found
        return found

    def _seconds(self, gpu_type: str) -> int:
        return self.predicted(gpu_type).seconds

    def predicted(self, gpu_type: str) -> prediction.Prediction:
        """What to expect of a run on a GPU type."""
        found = self._predictions.get(gpu_type)
        if found is None:
            total = sum(item.bytes for item in self.world.inputs)
            found = prediction.predict(self.request, self.world.profile, gpu_type=gpu_type, input_bytes=total)
            self._predictions[gpu_type] = found
        return found

    def _unreadable(self, at: site.Site) -> Rejection | None:
        """Why the inputs cannot be had at a site, where no copy or relay could change that."""
        gone = self.came.hopeless
        if gone is None:
            r = self.came.index.get(at.region)
            gone = self.came.blocked.get(r) if r is not None else None
            if gone is None or (gone.reason == "PRICE_UNKNOWN" and self._other_ways(at)):
                return None
        return Rejection(site=at.site, reason=gone.reason, detail=gone.detail, resolvable=gone.resolvable)

    def _other_ways(self, at: site.Site) -> bool:
        r = self.came.index.get(at.region)
        return r is not None and (at.region in self.ways.relayed_regions or self.ways.copied(at, self.came, r))

    def _with_waits(self, at: site.Site, offered: list[cost.Option], full: Rejection | None) -> list[cost.Option] | Rejection:
        """The options that have room, or that will have it if the request says what waiting is worth."""
        offered = self._weighable(offered)
        if full is None and (not self.request.resources.gpus or filters.in_use(at, self.world) is None):
            return offered
        found = []
        for option in offered:
            wanted = self.request.resources
            wanted = wanted if wanted.gpu_type == option.gpu_type else replace(wanted, gpu_type=option.gpu_type)
            wait = waiting.seconds(wanted, at, self.world)
            if wait == 0 or (wait and self.timed):
                found.append(option._replace(wait=wait))
        return found or full or filters.no_type_free(self.request, at)

    def _weighable(self, offered: list[cost.Option]) -> list[cost.Option]:
        """The options whose carbon is known, where it counts."""
        return [option for option in offered if option.watts is not None] if self.request.carbon_tonne_micros else offered

    def _needs_search(self, at: site.Site, found: list[cost.Option]) -> bool:
        """Whether reading remotely may not be the best way here, or may keep the run waiting."""
        r = self.came.index.get(at.region)
        if r is None or not self.came.reads:
            return False
        return self.came.slowest[r] > min(option.seconds for option in found) or self._other_ways(at)

    def _measurable(self, row: measured.Pending) -> bool:
        """Whether there is one option, and nothing but reads and new copies of what has sources can bring the inputs to it."""
        at = row.at
        if len(row.options) > 1 or row.option.spot:
            return False
        return at.region not in self.ways.relayed_regions and at.site not in self.ways.arriving

    def _best(self, found: list[cost.Option], carbon_g_per_kwh: int | None) -> tuple[cost.Option | None, cost.Span | None]:
        """The option of the least objective that ends in time and within the quota; the first of equals."""
        least: int | None = None
        best: tuple[cost.Option | None, cost.Span | None] = (None, None)
        for option in found:
            taken = cost.span(option)
            if taken is None or cost.late(taken, self.terms) or cost.over_quota(taken, self.terms):
                continue
            value = cost.objective(option, taken, self.terms, carbon_g_per_kwh) if len(found) > 1 else 0
            if least is None or value < least:
                least, best = value, (option, taken)
        return best

    def _searched(self, row: measured.Pending, least: int) -> Candidate | Rejection:
        """The best of all ways to have the inputs, with the compute that they keep waiting.

        Where the steps of this decision do not suffice it is the best found, or reading remotely, and what it may cost at the
        `least` is remembered.
        """
        at, found, landing = row
        if self._budget.left <= 0:
            return self._read_remotely(row, least)
        ways = {read.position: self.ways.of(read, at, copies.keep_seconds(found)) for read in self.came.reads}
        joint = copies.Joint(self.world, self.came, at, ways)
        missing = joint.unpriced()
        if missing is not None:
            gone = arrivals.unpriced(self.came.reads[missing], at.region)
            return Rejection(site=at.site, reason=gone.reason, detail=gone.detail)
        clock = cost.Clock(found, self.terms, at.offer.carbon_g_per_kwh)
        hidden = min((option.seconds for option in found), default=0)
        try:
            chosen = joint.choose(clock.objective, hidden, self._budget)
            soonest = joint.choose(clock.soonest, hidden, self._budget) if chosen is None else None
        except search.Exhausted:
            return self._read_remotely(row, least)
        if chosen is None and soonest is None and any(cost.span(option) for option in found):
            gone = arrivals.unpriced(self.came.reads[self.came.order[0]], at.region)
            return Rejection(site=at.site, reason=gone.reason, detail=gone.detail)
        if chosen is None:
            spans = [cost.span(option, soonest.reading, soonest.staging) for option in found] if soonest else []
            return self._impossible(at, spans)
        if at.site in self._budget.unproven:
            self._doubts[at.site] = least
        option, taken = clock.best(chosen.reading, chosen.staging)
        self.chosen[at.site] = chosen
        storage = sum(had.storage_micros for had in chosen.had)
        return self._made(at, option, taken, (sum(chosen.charges), chosen.egress_bytes, storage), landing)

    def _read_remotely(self, row: measured.Pending, least: int) -> Candidate | Rejection:
        """The candidate of a site that no search steps were left for: by remote reads, maybe not its best way."""
        at, r = row.at, self.came.index[row.at.region]
        self._doubts[at.site] = least
        best: tuple[int, cost.Option, cost.Span] | None = None
        for option in row.options if r not in self.came.blocked else ():
            taken = cost.span(option, self.came.slowest[r])
            if taken is not None and not cost.late(taken, self.terms) and not cost.over_quota(taken, self.terms):
                value = cost.objective(option, taken, self.terms, at.offer.carbon_g_per_kwh)
                best = (value, option, taken) if best is None or value < best[0] else best
        if best is None:
            gone = arrivals.TOO_MANY_WAYS
            return Rejection(site=at.site, reason=gone.reason, detail=gone.detail)
        return self._made(at, best[1], best[2], (self.came.egress[r], self.came.bytes[r], 0), row.landing)

    def above(self, choice: Candidate) -> float:
        """By which share the choice may be above the least of all sites and ways, where not all could be compared."""
        own = max(self._budget.unproven.get(name, 0.0) for name in (choice.site, choice.region))
        least = min((bound for name, bound in self._doubts.items() if name != choice.site or not own), default=None)
        value = choice.objective_micros
        return max(own, 0.0 if least is None else (value - least) / max(value, 1))

    def _impossible(self, at: site.Site, spans: list[cost.Span | None]) -> Rejection:
        """Why none of the options will do: the deadline, the quota, or a market on which the run is never expected to end."""
        ending = [taken for taken in spans if taken is not None]
        timely = [taken for taken in ending if not cost.late(taken, self.terms)]
        if timely:
            left, needed = self.terms.gpu_seconds_left or 0, self.terms.gpus * min(taken.run for taken in timely)
            detail = f"it would take {needed} GPU-seconds, {max(left, 0)} are left of the namespace's quota for this month"
            return Rejection(site=at.site, reason="QUOTA_GPU_SECONDS", detail=detail, resolvable=True)
        if ending:
            taken = min(ending, key=lambda taken: taken.total)
            detail = (
                f"it would take {taken.total} s (waiting {taken.wait} s, copying {taken.stage} s, running {taken.run} s), "
                f"{max(self.terms.limit or 0, 0)} s are left"
            )
            return Rejection(site=at.site, reason="DEADLINE_MISSED", detail=detail)
        detail = "on its spot market the run would be cut off again and again"
        return Rejection(site=at.site, reason="SPOT_UNAVAILABLE", detail=detail)

    def _landing(self, at: site.Site) -> int | Rejection:
        """What bringing the outputs to where they are wanted costs from a site."""
        if not self._deliveries:
            return 0
        volumes: dict[str, int] = {}
        regions: dict[str, str] = {}
        for name, volume in self._deliveries:
            wanted = self.sites[name]
            if wanted.region != at.region:
                scope = ratecard.scope(at.region, wanted.region, at.account)
                volumes[scope] = volumes.get(scope, 0) + volume
                regions[scope] = wanted.region
        total = 0
        for scope, volume in volumes.items():
            tariff = self.world.rates.tariff(at.region, regions[scope])
            charge = tariff.charge(self.world.sent_bytes(scope), volume) if tariff else None
            if charge is None:
                return cost.price_unknown(at, f"the egress price of {at.region} to {regions[scope]} is unknown (outputs)")
            total += charge
        return total

    @cached_property
    def _deliveries(self) -> list[tuple[str, int]]:
        """Where outputs must lie in the end, and how large they are, as far as that is known."""
        expected, found = self.predicted(""), []
        for spec in self.request.outputs:
            if not spec.deliver_to:
                continue
            if spec.deliver_to not in self.sites:
                raise errors.InvalidArgument(
                    f"there is no site {spec.deliver_to} to deliver {spec.alias} to",
                    reason="SITE_UNKNOWN",
                    help="`fed site list` names them.",
                    violations={f"outputs.{spec.alias}.deliver_to": "must name a site"},
                )
            found.append((spec.deliver_to, expected.written_bytes(spec.alias) or 0))
        return found

    def _made(
        self, at: site.Site, option: cost.Option, taken: cost.Span, moved: tuple[int, int, int], landing: int
    ) -> Candidate | Rejection:
        egress, volume, storage = moved
        left = self.egress_left
        if quota.exceeded(egress + landing, left):
            detail = f"its egress is more than the {units.usd(max(left or 0, 0))} left of the namespace's quota for this month"
            return Rejection(site=at.site, reason="QUOTA_EGRESS", detail=detail, resolvable=True)
        grams, carbon_micros = cost.carbon(option, taken, self.terms, at.offer.carbon_g_per_kwh)
        avoided = self.avoided.get(at.site) if self.avoided else None
        fields = {
            "site": at.site,
            "region": at.region,
            "inputs": (),
            "compute_micros": cost.compute_micros(option, taken.run),
            "egress_micros": egress,
            "locality": self.locality(at),
            "compute_source": option.source,
            "egress_bytes": volume,
            "storage_micros": storage,
            "landing_micros": landing,
            "time_micros": cost.time_micros(taken, self.terms),
            "carbon_micros": carbon_micros,
            "carbon_grams": grams,
            "wait_seconds": taken.wait,
            "stage_seconds": taken.stage,
            "run_seconds": taken.run,
            "gpu_type": option.gpu_type,
            "spot": option.spot,
            "avoided": avoided.reason if avoided else "",
        }
        return records.made(Candidate, fields)

    def locality(self, at: site.Site) -> float:
        """Share of the inputs' bytes that lie at the site; 1 where there is nothing to read."""
        return self.localities.get(at.site, 0.0 if self.total_bytes else 1.0)

    # What is told of the choice and the runner-up

    def told(self, candidate: Candidate) -> Candidate:
        """The same with its inputs, in the request's order."""
        found = self._told.get(candidate.site)
        if found is None:
            found = self._told[candidate.site] = self._with_inputs(candidate)
        return found

    def _with_inputs(self, candidate: Candidate) -> Candidate:
        at, r = self.sites[candidate.site], self.came.index.get(candidate.region)
        if r is None:
            return candidate
        chosen = self.choice(at)
        if chosen is None:
            return records.made(Candidate, candidate.__dict__ | {"inputs": tuple(self._read(at, r))})
        rows = zip(self.came.reads, chosen.had, chosen.charges, chosen.seconds, self.baseline_charges, strict=True)
        inputs = tuple(
            copies.planned(read, had, charge, seconds, at, baseline, self._price_source(had, at))
            for read, had, charge, seconds, baseline in rows
        )
        return records.made(Candidate, candidate.__dict__ | {"inputs": inputs})

    def choice(self, at: site.Site) -> copies.Chosen | None:
        """What was found for a site where reading alone did not settle it."""
        settled = self.settled.get(at.site)
        if settled is None:
            return self.chosen.get(at.site)
        return copies.Joint(self.world, self.came, at, measured.had(self, at, settled)).only()

    def _read(self, at: site.Site, r: int) -> Iterator[InputPlan]:
        """Each input as the sweep of all regions found it: here, or read remotely."""
        into, name, region = self.world.rates.into(at.region), at.site, at.region
        loads = self.came.loads(r, self.held.get(name, ())) if self.world.speeds else {}
        rows = zip(self.came.reads, self.came.sources(r), self.came.charges(r), self.baseline_charges, strict=True)
        for read, source, charge, baseline in rows:
            item, origin = read.item, source.region
            tariff, here = into[origin], name in item.replica_sites
            fields = {
                "alias": item.alias,
                "dataset": item.dataset,
                "version": item.version,
                "way": Way.LOCAL if here else Way.REMOTE,
                "source_site": name if here else source.site,
                "source_region": origin,
                "destination_region": region,
                "bytes": read.bytes,
                "egress_micros": charge,
                "price_source": tariff.source if tariff else "",
                "baseline_micros": baseline,
            }
            if loads and not here:
                fields["seconds"] = loads.get(origin, 0)
            yield records.made(InputPlan, fields)

    def _price_source(self, had: copies.Had, at: site.Site) -> str:
        legs = had.legs or ((at.region, "", at.region, 0),)
        tariffs = [self.world.rates.tariff(origin, destination) for origin, _, destination, _ in legs]
        return "; ".join(dict.fromkeys(tariff.source for tariff in tariffs if tariff is not None))

    def kept(self, choice: Candidate) -> tuple[Candidate, tuple[str, ...]]:
        """The choice with remote reads made copies where keeping them pays, and notes that say why.

        Only where time has no value: a copy comes before the run. Sites are compared without it: what it saves comes later.
        """
        at, notes, inputs = self.sites[choice.site], [], []
        if (
            self.timed
            or self.request.no_copies
            or at.offer.storage_gb_month_micros is None
            or not any(item.read_logs for item in self.world.inputs)
        ):
            return choice, ()
        fetches = copies.Fetches(choice, self.world, self.sites)
        for plan_, read in zip(choice.inputs, self.world.inputs, strict=True):
            more = fetches.more(plan_, read)
            kept = None if more is None else copies.kept(plan_, read, at, plan_.egress_micros + more, self.world.now)
            if more is None or kept is None or 0 < kept[0] < choice.run_seconds:
                inputs.append(plan_)
                continue
            inputs.append(fetches.made(plan_, read, more, kept[0], at))
            notes.append(f"{plan_.alias}: copied and kept, {kept[1]}")
        if not notes:
            return choice, ()
        more_bytes = sum(new.bytes - old.bytes for new, old in zip(inputs, choice.inputs, strict=True))
        changed = replace(
            choice,
            inputs=tuple(inputs),
            egress_micros=sum(plan_.egress_micros for plan_ in inputs),
            egress_bytes=choice.egress_bytes + more_bytes,
            storage_micros=sum(plan_.storage_micros for plan_ in inputs),
        )
        return changed, tuple(notes)

    def notes(self, choice: Candidate | None) -> Iterator[str]:
        """Assumptions, and what was remembered of earlier attempts."""
        if self.request.kind is not JobKind.INGEST:
            yield from self.predicted(choice.gpu_type if choice else self.request.resources.gpu_type).notes
        yield from (
            f"{row.site} comes last: attempt {row.attempt} ended there with {row.reason}" for row in self.avoided.values()
        )
        yield from (f"{row.site} on demand alone: attempt {row.attempt} was preempted there" for row in self.preempted.values())
        expected = self.predicted("")
        for spec in self.request.outputs:
            if spec.deliver_to and expected.written_bytes(spec.alias) is None:
                yield f"{spec.alias}: its size is not known, so bringing it to {spec.deliver_to} is not priced"
        if choice is None:
            return
        above = self.above(choice)
        if above > 0:
            yield f"{choice.site}: the best of the ways that could be compared in time; at most {above:.2%} above the least"
        if self.baseline_micros is None:
            yield f"the baseline is unknown: no priced way brings all inputs to the cheapest compute ({self.baseline_site})"
        if self.timed:
            links = [(plan_.source_region, plan_.destination_region) for plan_ in choice.inputs if plan_.way is not Way.LOCAL]
            for origin, destination in dict.fromkeys(links):
                if origin != destination and (origin, destination) not in self.came.speeds:
                    yield f"{origin} to {destination} was never measured: no time is reckoned for it"

    # The baseline

    @cached_property
    def _baseline(self) -> tuple[str, int | None]:
        """Site and egress of the rule of thumb that a placement is measured against: bring everything to the cheapest compute.

        At the same prices, ignoring residency and capacity. Of equally cheap sites the one with the least egress, so that no
        saving is claimed that a lucky rule of thumb would have had too.
        """
        if self.request.kind is JobKind.INGEST:
            return "", 0
        best = self._cheapest_spent()
        others = self.ground.alive if self.spent is None else self.ground.alive & ~self.spent.priced
        for n in np.nonzero(others)[0].tolist():
            at = self.ground.sites[n]
            micros = self._cheapest(at)
            if micros is not None and (best is None or micros <= best[0]):
                egress = self._thumb(at)
                key = (micros, egress is None, egress or 0, at.site)
                best = key if best is None or key < best else best
        return (best[3], None if best[1] else best[2]) if best else ("", None)

    def _cheapest_spent(self) -> tuple[int, bool, int, str] | None:
        """The best of all sites that have a price in the arrays, whether they have room or not."""
        spent, ground = self.spent, self.ground
        if spent is None or not spent.priced.any():
            return None
        compute = np.where(spent.priced, spent.compute, links.BEYOND)
        least = int(compute.min())
        cheapest = np.nonzero(compute == least)[0].tolist()
        keys = ((self._thumb(ground.sites[n]), ground.names[n]) for n in cheapest)
        return min((least, egress is None, egress or 0, name) for egress, name in keys)

    def _cheapest(self, at: site.Site) -> int | None:
        """The least that a run costs at a site if no read keeps it waiting; None where it could not run, or nobody knows."""
        if self.request.resources.gpus and filters.gpu_type_missing(self.request, at, self.world):
            return None
        offered = self.options(at)
        if isinstance(offered, Rejection):
            return None
        spans = ((option, cost.run_seconds(option)) for option in offered)
        return min((cost.compute_micros(option, run) for option, run in spans if run is not None), default=None)

    def _thumb(self, at: site.Site) -> int | None:
        """What bringing all inputs to a site by remote reads costs."""
        r = self.came.index[at.region]
        if not self.came.solved and (self.bounds is None or self.bounds.exact(r) is None):
            self.came.solve()
        return None if self.came.hopeless or r in self.came.blocked else self.came.egress[r]

    @property
    def baseline_site(self) -> str:
        return self._baseline[0]

    @property
    def baseline_micros(self) -> int | None:
        return self._baseline[1]

    @cached_property
    def baseline_charges(self) -> Sequence[int | None]:
        """What bringing each input to the baseline's site would cost; None where that is unknown."""
        if not self.baseline_site or self.baseline_micros is None:
            return [None] * len(self.world.inputs)
        return self.came.charges(self.came.index[self.sites[self.baseline_site].region])


def rank(candidate: Candidate) -> tuple[bool, int, float, str]:
    """The sort key of candidates: first where no earlier attempt was lost, then by objective, locality and name."""
    return (bool(candidate.avoided), candidate.objective_micros, -candidate.locality, candidate.site)


def _objectives(ranked: Sequence[Candidate]) -> Objectives:
    """What candidates are ranked by, as an array: of Python's integers where int64 cannot hold one."""
    values = [candidate.objective_micros for candidate in ranked]
    return np.array(values, dtype=np.int64 if max(values, default=0) < links.BEYOND else object)


def _forced(ranked: list[Candidate], at: str) -> tuple[list[Candidate], tuple[str, ...]]:
    """The candidates with the assigned site first, and a note where that changed anything."""
    assigned = next((candidate for candidate in ranked if candidate.site == at), None)
    if assigned is None or ranked[0] is assigned:
        return ranked, ()
    others = [candidate for candidate in ranked if candidate is not assigned]
    return [assigned, *others], (f"{at} was chosen together with the other jobs that wait; alone it would be {ranked[0].site}",)


def _taken_away(row: PastAttempt) -> bool:
    """Whether an attempt ended because spot GPUs were taken away from it."""
    return row.spot and row.reason == "PREEMPTED"
