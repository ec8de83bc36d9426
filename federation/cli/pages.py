"""Everything about one resource on one page: which parts it has, and how they are asked for, several at once.

A part that its reader may not see, or that cannot be had now, is named in `not_shown` and never merely absent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from federation.cli import events
from federation.cli.formats import Together
from federation.core import authorization, budget, errors, keys, listing, metering
from federation.core.authorization import Action, PolicyRevision, Rule
from federation.core.budget import Budget
from federation.core.card import CardFact
from federation.core.dataset import Dataset, Namespace, Replica, Version
from federation.core.forecast import Forecast
from federation.core.job import Job, JobState, Run
from federation.core.keys import SiteKeyring
from federation.core.leases import Lease
from federation.core.lineage import Graph, RunFact, Sighting
from federation.core.metering import CostSummary
from federation.core.pipeline import Pipeline
from federation.core.policy import Role
from federation.core.quota import NamespaceUsage
from federation.core.ratecard import TierUse
from federation.core.site import Link, Site, SiteState
from federation.core.transfer import ReplicationRule, Transfer
from federation.core.variance import Variance
from federation.core.watching import Change
from federation.wire import codec

if TYPE_CHECKING:
    from federation.client import Client

T = TypeVar("T")

#: So many of what there may be very many of; each list's own command has all.
ROWS = 10
_CALLS_AT_ONCE = 8
#: A listing that no filter narrows is looked through no further.
_SCANNED = 500
_QUOTED_BYTES = 10**12


@dataclass(frozen=True, kw_only=True)
class NotShown:
    """A part of a page that is not there, and why. `needs` is the permission without which it is not told."""

    part: str
    needs: str = ""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One thing that has to be so for a resource to be of use, or that a job has to come to: whether it is, since when, why."""

    condition: str
    holds: bool
    since: datetime | None = None
    because: str = ""


@dataclass(frozen=True, kw_only=True)
class ColumnFact:
    """A column of a dataset's newest version: its type, the class of the key that it is under, whether its card warns of it."""

    column: str
    type: str
    column_class: str
    sensitive: bool


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the policies that hold say to the reader of the page: whether an action is allowed (at a site), and by which."""

    action: Action
    site: str
    allowed: bool
    policies: tuple[str, ...]
    because: str


@dataclass(frozen=True, kw_only=True)
class Ways:
    """Where data came from and what was made of it, one step each way; `complete` unless there is more of it than is told."""

    made_of: tuple[str, ...]
    made_into: tuple[str, ...]
    complete: bool


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What left regions this month, by one key (`by`), and all of it."""

    month: str
    by: str
    total: CostSummary
    rows: tuple[CostSummary, ...]


@dataclass(frozen=True, kw_only=True)
class Page(Together):
    """What every page has: which resource it is of, of which kind, its newest events (names alone), and what is not shown."""

    name: str
    kind: str
    events: tuple[Change, ...] = ()
    not_shown: tuple[NotShown, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetPage(Page):
    """A dataset: newest versions first, replicas and columns of the newest, its transfers, the jobs that read or write it.

    Those run or wait; of jobs that have ended `read_by` has the runs that read it last.
    """

    dataset: Dataset
    inherited: tuple[CardFact, ...] = ()
    columns: tuple[ColumnFact, ...] = ()
    versions: tuple[Version, ...] = ()
    replicas: tuple[Replica, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    rules: tuple[ReplicationRule, ...] = ()
    budgets: tuple[Budget, ...] = ()
    lineage: Ways | None = None
    running: tuple[Job, ...] = ()
    waiting: tuple[Job, ...] = ()
    read_by: tuple[RunFact, ...] = ()
    egress: Spent | None = None
    policies: tuple[Said, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VersionPage(Page):
    """A version: where it lies and comes to, its columns, jobs that read it, who was given its keys, which models saw it."""

    version: Version
    replicas: tuple[Replica, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    columns: tuple[ColumnFact, ...] = ()
    lineage: Ways | None = None
    running: tuple[Job, ...] = ()
    waiting: tuple[Job, ...] = ()
    models: tuple[Sighting, ...] = ()
    leases: tuple[Lease, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NamespacePage(Page):
    """A namespace: its datasets (the first), the jobs that it pays for, what those have taken this month, what bounds them."""

    namespace: Namespace
    datasets: tuple[Dataset, ...] = ()
    running: tuple[Job, ...] = ()
    waiting: tuple[Job, ...] = ()
    usage: NamespaceUsage | None = None
    budgets: tuple[Budget, ...] = ()
    egress: Spent | None = None


@dataclass(frozen=True, kw_only=True)
class SitePage(Page):
    """A site: what has to be so, the links from its region, what runs there or waits for it, what comes and goes, its keys."""

    site: Site
    conditions: tuple[Condition, ...] = ()
    links: tuple[Link, ...] = ()
    running: tuple[Job, ...] = ()
    waiting: tuple[Job, ...] = ()
    incoming: tuple[Transfer, ...] = ()
    outgoing: tuple[Transfer, ...] = ()
    replicas: tuple[Replica, ...] = ()
    keyring: tuple[SiteKeyring, ...] = ()
    egress: Spent | None = None


@dataclass(frozen=True, kw_only=True)
class LinkPage(Page):
    """A link: its tiers as the next terabyte would fall into them, what goes over it and went this month, what bounds it."""

    link: Link
    tiers: tuple[TierUse, ...] = ()
    sites: tuple[Site, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    budgets: tuple[Budget, ...] = ()
    egress: Spent | None = None


@dataclass(frozen=True, kw_only=True)
class JobPage(Page):
    """A job: its plan, how far it has come, its runs, what it waits for, its estimate against the meter, its logs' command."""

    job: Job
    conditions: tuple[Condition, ...] = ()
    runs: tuple[Run, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    variances: tuple[Variance, ...] = ()
    egress: Spent | None = None
    logs: str = ""


@dataclass(frozen=True, kw_only=True)
class PipelinePage(Page):
    """A pipeline and its jobs."""

    pipeline: Pipeline
    jobs: tuple[Job, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TransferPage(Page):
    """A transfer: the version that it brings, the rule and the jobs that want it, what it cost."""

    transfer: Transfer
    version: Version | None = None
    rule: ReplicationRule | None = None
    jobs: tuple[Job, ...] = ()
    egress: Spent | None = None


@dataclass(frozen=True, kw_only=True)
class RulePage(Page):
    """A replication rule: the replicas of the newest version, and the transfers that it made."""

    rule: ReplicationRule
    replicas: tuple[Replica, ...] = ()
    transfers: tuple[Transfer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BudgetPage(Page):
    """A budget, what it was spent on this month, and what will have been spent when that is over."""

    budget: Budget
    forecast: Forecast | None = None
    egress: Spent | None = None


@dataclass(frozen=True, kw_only=True)
class PolicyPage(Page):
    """The policies that hold, or a revision before them, one by one."""

    policy: PolicyRevision
    policies: tuple[Rule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Partly:
    """A part of which something was not looked at, and what."""

    rows: tuple[Any, ...]
    message: str


class _Parts:
    """Asks for the parts of a page, several at once, and keeps what cannot be had."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.missing: list[NotShown] = []
        self._pool = pool
        self._asked: dict[str, Future[Any]] = {}

    def ask(self, part: str, call: Callable[[], Any]) -> None:
        """Begins to ask for a part."""
        self._asked[part] = self._pool.submit(call)

    def got(self) -> dict[str, Any]:
        """All parts that were asked for and can be had, by their names."""
        found = {}
        for part, future in self._asked.items():
            try:
                told = future.result()
                if isinstance(told, _Partly):
                    self.missing.append(NotShown(part=part, reason="MORE_THERE", message=told.message))
                    told = told.rows
                found[part] = told
            except errors.FederationError as error:
                needs = error.metadata.get("permission", "")
                self.missing.append(NotShown(part=part, needs=needs, reason=error.reason, message=error.message))
        return found


def value(client: Client, kind: str, name: str) -> Any:
    """The resource itself; NotFound where it is not there."""
    return _RECIPES[kind][1](client, name)


def page(client: Client, kind: str, name: str) -> Page:
    """The page of one resource; NotFound where it is not there. Which parts are told follows from who asks."""
    cls, main, recipe = _RECIPES[kind]
    found = main(client, name)
    with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
        parts = _Parts(pool)
        for part, call in recipe(client, found):
            parts.ask(part, call)
        told = parts.got()
    full = f"policies/{found.number}" if kind == "policy" else codec.NAMES[type(found)].build(found)
    made: Page = cls(name=full, kind=kind, **{kind: found}, **told, not_shown=tuple(parts.missing))
    return made


Recipe = Callable[[Any, Any], Iterable[tuple[str, Callable[[], Any]]]]


def _first(rows: Iterable[T], most: int = ROWS) -> tuple[T, ...]:
    return tuple(islice(rows, most))


def _events(client: Client, within: str) -> tuple[str, Callable[[], Any]]:
    return "events", lambda: tuple(deque(events.newest(client, f'within = "{within}"', names_only=True), ROWS))


def _spent(client: Client, by: str, where: str) -> tuple[str, Callable[[], Any]]:
    month = metering.month(datetime.now(UTC))

    def call() -> Spent:
        told = " AND ".join(filter(None, (f'month = "{month}"', where)))
        rows, total = client.summarize_costs(by, filter=told)
        dearest = sorted(rows, key=lambda row: -row.charge_micros)
        return Spent(month=month, by=by, total=total, rows=_first(dearest))

    return "egress", call


def _budgets(client: Client, *scopes: str) -> tuple[str, Callable[[], Any]]:
    return "budgets", lambda: tuple(row for row in client.list_budgets() if row.scope in scopes)


#: States of jobs that have a run, newest first among what people look for; those that wait have none.
_RUNNING = (JobState.RUNNING, JobState.STARTING, JobState.PLACED)
_PARTS_OF_WORK = {"running": _RUNNING, "waiting": (JobState.PENDING,)}


def _work(client: Client, concerns: Callable[[Job], bool], *parts: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Jobs that run and that wait, as far as they concern the resource."""
    for part in parts or _PARTS_OF_WORK:
        yield part, lambda states=_PARTS_OF_WORK[part]: _jobs_in(client, states, concerns)  # type: ignore[misc]


def _jobs_in(client: Client, states: Iterable[JobState], concerns: Callable[[Job], bool]) -> tuple[Job, ...] | _Partly:
    """The newest jobs in these states, of which no more are looked through than is reasonable."""
    kept: list[Job] = []
    beyond = []
    for state in states:
        rows = _first(client.list_jobs(filter=f'state = "{state}"'), _SCANNED + 1)
        kept += filter(concerns, rows[:_SCANNED])
        beyond += [str(state)] if len(rows) > _SCANNED else []
    if not beyond:
        return _first(kept)
    message = f"of the jobs in {' and '.join(beyond)} the newest {_SCANNED} were looked at, and there are more"
    return _Partly(rows=_first(kept), message=message)


def _concerned(name: str, *, written: bool = True) -> Callable[[Job], bool]:
    """Whether a job reads, or writes, a dataset or a version by its short name."""

    def concerns(row: Job) -> bool:
        read = (f"{each.dataset}@{each.version}" if "@" in name else each.dataset for each in row.request.inputs)
        return name in read or (written and name in {each.dataset for each in row.request.outputs})

    return concerns


def _transfers(client: Client, **where: str) -> Callable[[], tuple[Transfer, ...]]:
    """Those that have not ended."""
    return lambda: _first(client.list_transfers(filter=listing.render({**where, "live": "1"})))


def _dataset(client: Client, found: Dataset) -> Iterator[tuple[str, Callable[[], Any]]]:
    name = found.name
    numbers = range(found.latest_version, max(0, found.latest_version - ROWS), -1)
    yield "inherited", lambda: client.explain_card(name.short).facts
    yield "versions", lambda: tuple(client.get_version(name.version(number)) for number in numbers)
    if found.latest_version:
        newest = name.version(found.latest_version)
        yield "replicas", lambda: tuple(client.list_replicas(newest))
        yield "columns", lambda: _columns(client.get_version(newest), found)
    yield "transfers", _transfers(client, dataset=name.short)
    yield "rules", lambda: tuple(client.list_replication_rules(filter=f'dataset = "{name.short}"'))
    yield _budgets(client, budget.scope(dataset=name.short))
    yield "lineage", lambda: _ways(client, name.short)
    yield from _work(client, _concerned(name.short))
    yield "read_by", lambda: _readers(client, name.short)
    yield _spent(client, "link", f'namespace = "{name.namespace}" AND dataset = "{name.dataset}"')
    yield "policies", lambda: _said(client, found)
    yield _events(client, name.resource)


def _columns(newest: Version, of: Dataset | None) -> tuple[ColumnFact, ...]:
    classes = {column: row.name for row in newest.column_classes for column in row.columns}
    sensitive = set(of.card.sensitive_columns) if of else set()
    return tuple(
        ColumnFact(
            column=name, type=type_, column_class=classes.get(name, keys.DEFAULT), sensitive=name.partition(".")[0] in sensitive
        )
        for name, type_ in newest.columns
    )


def _ways(client: Client, name: str) -> Ways:
    """One step each way. An edge is of a run: what the runs around it have read and made are the datasets beside it."""
    up = client.get_lineage(name, direction="upstream", depth=1)
    down = client.get_lineage(name, direction="downstream", depth=1)

    def beside(graph: Graph, direction: str) -> tuple[str, ...]:
        nodes = (edge.node.partition("@")[0] for edge in graph.edges if edge.direction == direction)
        return tuple(dict.fromkeys(node for node in nodes if node != name.partition("@")[0]))

    return Ways(made_of=beside(up, "in"), made_into=beside(down, "out"), complete=up.complete and down.complete)


def _readers(client: Client, name: str) -> tuple[RunFact, ...]:
    graph = client.get_lineage(name, direction="downstream", depth=1)
    read = {edge.run for edge in graph.edges if edge.direction == "in" and edge.node.partition("@")[0] == name}
    return _first(sorted((run for run in graph.runs if run.run in read), key=lambda run: run.end_time, reverse=True))


def _said(client: Client, found: Dataset) -> tuple[Said, ...]:
    """The policies that hold, asked here what they would say to the reader, without a purpose, at each site."""
    from federation.bootstrap import policies  # noqa: PLC0415 - a server's wiring, needed by few verbs

    me = client.who_am_i()
    engine = policies.compiler().compile(client.get_policy_revision().text)
    who = authorization.Subject(
        name=me.principal, role=Role(me.role), groups=tuple(sorted(me.groups)), jurisdiction=me.jurisdiction
    )
    facts = authorization.dataset_facts(found, client.get_namespace(found.namespace))
    now = datetime.now(UTC)
    ended = found.use_expire_time is not None and found.use_expire_time <= now
    asked: list[tuple[Action, Site | None]] = [(action, None) for action in (Action.EXPORT, Action.WRITE, Action.DESTROY)]
    asked += [(Action.RUN, place) for place in client.list_sites()]
    rows = []
    for action, place in asked:
        at = authorization.site_facts(place) if place else None
        question = authorization.Question(
            subject=who,
            action=action,
            dataset=facts,
            time=authorization.to_minute(now),
            site=at,
            use_ended=ended,
            destination=me.jurisdiction if action is Action.EXPORT else "",
        )
        answer = engine.decide(question)
        because = answer.because or (f"missed: {answer.nearest.missed}" if answer.nearest else "")
        where = place.site if place else ""
        rows.append(Said(action=action, site=where, allowed=answer.allowed, policies=answer.policies, because=because))
    return tuple(rows)


def _version(client: Client, found: Version) -> Iterator[tuple[str, Callable[[], Any]]]:
    short = found.name.short
    yield "replicas", lambda: tuple(client.list_replicas(short))
    yield "transfers", _transfers(client, dataset=found.name.dataset.short, version=str(found.number))
    yield from _work(client, _concerned(short, written=False))
    yield "columns", lambda: _columns(found, client.get_dataset(found.name.dataset.short))
    yield "lineage", lambda: _ways(client, short)
    yield "models", lambda: _first(client.find_models(short).models)
    yield "leases", lambda: _first(client.list_leases(filter=f'version = "{short}"'))
    yield _events(client, found.name.resource)


def _namespace(client: Client, found: Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "datasets", lambda: _first(client.list_datasets(found.name))
    yield from _work(client, lambda row: row.request.namespace == found.name)
    yield "usage", lambda: next((row for row in client.summarize_usage() if row.namespace == found.name), None)
    yield _budgets(client, budget.scope(namespace=found.name))
    yield _spent(client, "link", f'payer = "{found.name}"')
    yield _events(client, f"namespaces/{found.name}")


def _site(client: Client, found: Site) -> Iterator[tuple[str, Callable[[], Any]]]:
    def running() -> tuple[Job, ...]:
        rows = (row for state in _RUNNING for row in client.list_runs(filter=f'site = "{found.site}" AND state = "{state}"'))
        return tuple(client.get_job(row.job) for row in _first(rows))

    yield "conditions", lambda: _of_site(found)
    yield "links", lambda: tuple(row for row in client.list_links() if row.source_region == found.region)
    yield "running", running
    yield from _work(client, lambda row: row.waits_for(found.site), "waiting")
    yield "incoming", _transfers(client, destination_site=found.site)
    yield "outgoing", _transfers(client, source_site=found.site)
    yield "replicas", lambda: _first(client.list_replicas(filter=f'site = "{found.site}"'))
    yield "keyring", lambda: tuple(row for row in client.list_keyrings() if row.site == found.site)
    yield _spent(client, "dataset", f'source_site = "{found.site}"')
    yield _events(client, f"sites/{found.site}")


def _of_site(found: Site) -> tuple[Condition, ...]:
    """What has to be so before a job can run there."""
    silent = {SiteState.DECLARED: "its agent was never heard of", SiteState.LOST: "its agent is silent"}.get(found.state, "")
    bound = f", held down to {found.grade_max}: {found.grade_reason}" if found.grade_max else ""
    refused = "; ".join(line for line in found.admission if line.startswith("refused")) or "it was not tested"
    return (
        Condition(condition="answers", holds=not silent, since=found.heartbeat_time, because=silent),
        Condition(
            condition="is let in",
            holds=bool(found.grade),
            since=found.admit_time,
            because=f"grade {found.grade}{bound}" if found.grade else refused,
        ),
        Condition(
            condition="runs jobs",
            holds=found.has_compute and not found.compute_error,
            because=found.compute_error or ("" if found.has_compute else "it has no cluster"),
        ),
        Condition(condition="co-signs the record", holds=not found.witness_error, because=found.witness_error),
    )


def _link(client: Client, found: Link) -> Iterator[tuple[str, Callable[[], Any]]]:
    ends = (found.source_region, found.destination_region)
    yield "tiers", lambda: client.price_egress(*ends, _QUOTED_BYTES).tiers
    yield "sites", lambda: tuple(row for row in client.list_sites() if row.region in ends)
    yield "transfers", lambda: _over(client, *ends)
    yield _budgets(client, budget.scope(link="~".join(ends)))
    yield _spent(client, "dataset", f'source_region = "{ends[0]}" AND destination_region = "{ends[1]}"')


def _over(client: Client, source_region: str, destination_region: str) -> tuple[Transfer, ...]:
    """The transfers that are under way from one region to another."""
    regions = {row.site: row.region for row in client.list_sites()}
    ends = (source_region, destination_region)
    live = client.list_transfers(filter='live = "1"')
    return _first(row for row in live if (regions.get(row.source_site), regions.get(row.destination_site)) == ends)


def _job(client: Client, found: Job) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "conditions", lambda: _of_job(found, client.get_run(found.run) if found.run else None)
    yield "runs", lambda: tuple(client.list_runs(found.job))
    yield "logs", lambda: f"fed job logs -f {found.job}"
    if found.transfers:
        yield "transfers", lambda: tuple(client.get_transfer(name) for name in found.transfers)
    if found.state is JobState.SUCCEEDED:
        yield "variances", lambda: client.summarize_variances("input", filter=f'job = "{found.job}"')[0]
    yield "egress", lambda: _spent_by(client, found)
    yield _events(client, f"jobs/{found.job}")


def _of_job(found: Job, newest: Run | None) -> tuple[Condition, ...]:
    """How far a job has come, and what keeps it from the next step."""
    run = None if found.state is JobState.PENDING else newest  # of one that waits to be tried again the newest has ended
    why = ": ".join(filter(None, (found.reason, found.detail)))
    return (
        Condition(
            condition="placed",
            holds=run is not None,
            since=run.create_time if run else None,
            because=f"at {run.site}" if run else why,
        ),
        Condition(condition="started", holds=bool(run and run.start_time), since=run.start_time if run else None),
        Condition(
            condition="ended",
            holds=found.state.terminal,
            since=found.end_time,
            because=": ".join(filter(None, (str(found.state), why))) if found.state.terminal else "",
        ),
    )


def _spent_by(client: Client, found: Job) -> Spent:
    """Of all months: a job may run over the end of one."""
    rows, total = client.summarize_costs("dataset", filter=f'job = "{found.job}"')
    return Spent(month="", by="dataset", total=total, rows=rows)


def _pipeline(client: Client, found: Pipeline) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "jobs", lambda: tuple(client.list_jobs(filter=f'pipeline = "{found.pipeline}"'))
    yield _events(client, f"pipelines/{found.pipeline}")


def _transfer(client: Client, found: Transfer) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "version", lambda: client.get_version(f"{found.dataset}@{found.version}")
    if found.rule:
        yield "rule", lambda: client.get_replication_rule(found.rule)
    if found.jobs:
        yield "jobs", lambda: tuple(client.get_job(name) for name in found.jobs)
    yield _spent(client, "link", f'transfer = "{found.transfer}"')
    yield _events(client, f"transfers/{found.transfer}")


def _rule(client: Client, found: ReplicationRule) -> Iterator[tuple[str, Callable[[], Any]]]:
    def newest() -> tuple[Replica, ...]:
        of = client.get_dataset(found.dataset)
        return tuple(client.list_replicas(of.name.version(of.latest_version))) if of.latest_version else ()

    yield "replicas", newest
    yield "transfers", lambda: _first(client.list_transfers(filter=f'rule = "{found.rule}"'))
    yield _events(client, f"replicationRules/{found.rule}")


def _budget(client: Client, found: Budget) -> Iterator[tuple[str, Callable[[], Any]]]:
    where = budget.ledger_filter(found.scope)
    yield "forecast", lambda: client.forecast_costs(filter=where)
    yield _spent(client, "dataset", where)
    yield _events(client, f"budgets/{found.budget}")


def _policy(client: Client, found: PolicyRevision) -> Iterator[tuple[str, Callable[[], Any]]]:
    from federation.bootstrap import policies  # noqa: PLC0415 - a server's wiring, needed by few verbs

    yield "policies", lambda: tuple(policies.compiler().compile(found.text).rules)
    yield _events(client, f"policies/{found.number}")


def _the_link(client: Client, name: str) -> Link:
    """One link; there is none of two regions where no site is."""
    source, _, destination = name.removeprefix("links/").partition("~")
    for row in client.list_links():
        if (row.source_region, row.destination_region) == (source, destination):
            return row
    raise errors.NotFound(
        f"link {source}~{destination} does not exist", help="`fed link list` shows what is there.", metadata={"link": name}
    )


def _the_policy(client: Client, name: str) -> PolicyRevision:
    number = name.removeprefix("policies/")
    if number not in ("", "-") and not number.isdecimal():
        raise errors.InvalidArgument(
            f"{name!r} names no revision of the policies", reason="NAME_INVALID", help="Write a number, or -."
        )
    return client.get_policy_revision(int(number) if number.isdecimal() else None)


_RECIPES: Mapping[str, tuple[type[Any], Callable[[Any, str], Any], Recipe]] = {
    "dataset": (DatasetPage, lambda client, name: client.get_dataset(name), _dataset),
    "version": (VersionPage, lambda client, name: client.get_version(name), _version),
    "namespace": (NamespacePage, lambda client, name: client.get_namespace(name), _namespace),
    "site": (SitePage, lambda client, name: client.get_site(name), _site),
    "link": (LinkPage, _the_link, _link),
    "job": (JobPage, lambda client, name: client.get_job(name), _job),
    "pipeline": (PipelinePage, lambda client, name: client.get_pipeline(name), _pipeline),
    "transfer": (TransferPage, lambda client, name: client.get_transfer(name), _transfer),
    "rule": (RulePage, lambda client, name: client.get_replication_rule(name), _rule),
    "budget": (BudgetPage, lambda client, name: client.get_budget(name), _budget),
    "policy": (PolicyPage, _the_policy, _policy),
}

#: The kinds of which there are pages.
KINDS = tuple(_RECIPES)
PAGES = (
    DatasetPage
    | VersionPage
    | NamespacePage
    | SitePage
    | LinkPage
    | JobPage
    | PipelinePage
    | TransferPage
    | RulePage
    | BudgetPage
    | PolicyPage
)
