"""Jobs: what was asked, the plan that was chosen for it, and its runs. Values only."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from federation.core import records
from federation.core.columns import ColumnClass
from federation.core.lineage import ColumnSource


class JobState(StrEnum):
    """Lifecycle of a job and of each of its runs (AIP-216). `lifecycle.TRANSITIONS` says which follow which."""

    PENDING = "PENDING"
    PLACED = "PLACED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"

    @property
    def terminal(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.REJECTED)


class JobKind(StrEnum):
    """RAY runs an entrypoint on a site's Ray cluster; INGEST lets a site's agent encrypt what already lies there."""

    RAY = "RAY"
    INGEST = "INGEST"


class Way(StrEnum):
    """How a run has an input: from its own region's replica, by remote read, or from a copy that is made at its site first."""

    LOCAL = "LOCAL"
    REMOTE = "REMOTE"
    COPY = "COPY"


class Spot(StrEnum):
    """Whether a job may run on GPUs that can be taken away from it."""

    NEVER = "NEVER"
    ALLOWED = "ALLOWED"
    ONLY = "ONLY"


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input: `alias` in the job, dataset and version (0 for the latest when the job is submitted).

    `read_percent` is how much of it a run reads, as far as the caller knows: 0 for not stated (all of it, once), 250 for two
    and a half times. What earlier runs of the same job read goes before it. In a pipeline the input may be the output
    `output` of the task `task` instead of a dataset. The job reads `column_classes` beside `default`, and no other.
    """

    alias: str
    dataset: str
    version: int = 0
    assumed_bytes: int = 0
    read_percent: int = 0
    task: str = ""
    output: str = ""
    column_classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One output: `alias` in the job and the dataset that gets a new version.

    `deliver_to` is a site where a replica of it must lie in the end; what bringing it there costs is part of the placement, by
    `assumed_bytes` unless earlier runs tell. `release` asks that it does not inherit the residency of inputs whose owners allow
    outputs of its size to leave (`Dataset.release_bytes_max`). `column_map` says
    from which columns of inputs its columns are made. `count_column` makes it an aggregate: the column in which each row says
    how many people are behind it, of which its site looks for the least before it is committed. With `column_classes` every
    file of it is Parquet, its columns sealed by them, and the run writes it with these and no others.
    """

    alias: str
    dataset: str
    kind: str = "DATA"
    deliver_to: str = ""
    assumed_bytes: int = 0
    release: bool = False
    column_map: tuple[ColumnSource, ...] = ()
    count_column: str = ""
    column_classes: tuple[ColumnClass, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What an attempt needs while it runs. An empty `gpu_type` takes any type."""

    cpus: int = 1
    gpus: int = 0
    gpu_type: str = ""
    memory_bytes: int = 0


# People pass secrets to their jobs in all of these. The job's own record has them, for the job needs them; events have not.
_HIDDEN = "***"
_USERINFO = re.compile(r"(?<=://)[^/@\s\"']+(?=@)")


def _env_told(env: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _HIDDEN) for name, _ in env)


def _words_told(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_USERINFO.sub(_HIDDEN, word) for word in words)


def _runtime_env_told(text: str) -> str:
    try:
        told = json.loads(text) if text else {}
    except ValueError:
        return _HIDDEN
    if not isinstance(told, dict):
        return _HIDDEN
    if isinstance(told.get("env_vars"), dict):
        told["env_vars"] = dict.fromkeys(told["env_vars"], _HIDDEN)
    return _USERINFO.sub(_HIDDEN, json.dumps(told, sort_keys=True, ensure_ascii=False)) if told else text


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What was asked.

    `sites` limits the candidates; empty means all. `duration_seconds` is the caller's estimate of the run time, and
    `duration_limit_seconds` ends a run that takes longer (0: no limit).
    `working_dir` is the digest of an uploaded package; `runtime_env` is Ray's, as JSON, without working_dir.
    `ingest_from` is the store prefix of an INGEST job. `principal` is set by the server from the caller's identity. What stands
    in `env` and in `runtime_env`'s env_vars may be secret: it is stored with the job and told in no event.

    Higher `priority` goes first. Time counts as `deadline_seconds` after submission (0: none), as `hour_value_micros`, what an
    hour less of waiting and running is worth (None: not stated), or both. `carbon_tonne_micros` is the price put on a tonne of
    CO2e (0: not weighed). `no_copies` forbids replicas made for this job. `pipeline` and `task` are set for a pipeline's jobs.
    `purpose` is what the result is for; policies decide by it, and by the `groups` of the submitter, which the server sets.
    `submission_id` is what the submitter calls it, once among their jobs; `metadata` is the submitter's, and goes to Ray.
    """

    kind: JobKind = JobKind.RAY
    label: str = ""
    namespace: str = ""
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    resources: Resources = Resources()
    sites: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = field(default=(), metadata=records.told(_words_told))
    working_dir: str = ""
    runtime_env: str = field(default="", metadata=records.told(_runtime_env_told))
    env: tuple[tuple[str, str], ...] = field(default=(), metadata=records.told(_env_told))
    duration_seconds: int = 600
    duration_limit_seconds: int = 0
    max_attempts: int = 3
    ingest_from: str = ""
    principal: str = ""
    priority: int = 0
    deadline_seconds: int = 0
    hour_value_micros: int | None = None
    carbon_tonne_micros: int = 0
    spot: Spot = Spot.NEVER
    no_copies: bool = False
    pipeline: str = ""
    task: str = ""
    purpose: str = ""
    groups: tuple[str, ...] = ()
    submission_id: str = ""
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Why a site was set aside. `resolvable`: waiting may help. Nothing here tells a price."""

    site: str
    reason: str
    detail: str
    resolvable: bool = False


@dataclass(frozen=True, kw_only=True)
class InputPlan:
    """How one input is had: which version, from which site's replica, over which pair of regions, at which estimate.

    `bytes` is what is expected to be read or copied. `baseline_micros` is what bringing it to the plan's baseline site would
    cost, None where a price for that is unknown. A COPY is kept for `keep_seconds` at `storage_micros`; `transfer` names one
    that is under way already and is shared. Where it comes through a third region, `via_site` gets a replica of its own
    first, and `egress_micros` has both legs. `seconds` is how long having it takes, 0 where the link was never measured.
    """

    alias: str
    dataset: str
    version: int
    way: Way
    source_site: str
    source_region: str
    destination_region: str
    bytes: int
    egress_micros: int
    price_source: str = ""
    baseline_micros: int | None = None
    storage_micros: int = 0
    keep_seconds: int = 0
    via_site: str = ""
    transfer: str = ""
    seconds: int = 0


@dataclass(frozen=True, kw_only=True)
class PastAttempt:
    """What became of an earlier attempt of the job. `spot`: on GPUs that could be taken away from it."""

    attempt: int
    site: str
    reason: str
    detail: str = ""
    spot: bool = False


@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """What would have made another site win: `change` at `site`, by how much it would then be cheaper than the choice.

    `change` is REPLICA_THERE (`subject` is the version), MORE_CAPACITY (what is missing), CHEAPER_COMPUTE (how much an hour) or
    CHEAPER_EGRESS (which link). `objective_micros` is what the job would be ranked by there. Where no site can take the job it
    is one of the first two, lets the site take it, and saves nothing.
    """

    site: str
    change: str
    subject: str
    saving_micros: int
    detail: str = ""
    objective_micros: int = 0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to run the job: a site, and for each input the cheapest allowed way to have it there.

    `inputs` are told for the choice and the runner-up. `total_micros` is money that will be spent; candidates are ranked by
    `objective_micros`, which adds the value put on time and carbon. `wait_seconds` is until the site has room, `stage_seconds`
    until copies are there, `run_seconds` from the first line to the last. `avoided` is the reason that an earlier attempt left
    here: such a site comes after all others.
    """

    site: str
    region: str
    inputs: tuple[InputPlan, ...]
    compute_micros: int
    egress_micros: int
    locality: float
    compute_source: str = ""
    egress_bytes: int = 0
    storage_micros: int = 0
    landing_micros: int = 0
    time_micros: int = 0
    carbon_micros: int = 0
    carbon_grams: int = 0
    wait_seconds: int = 0
    stage_seconds: int = 0
    run_seconds: int = 0
    gpu_type: str = ""
    spot: bool = False
    avoided: str = ""

    @property
    def total_micros(self) -> int:
        """Money that will be spent."""
        return self.compute_micros + self.egress_micros + self.storage_micros + self.landing_micros

    @property
    def objective_micros(self) -> int:
        """What candidates are ranked by."""
        return self.total_micros + self.time_micros + self.carbon_micros


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The chosen placement and everything that explains it, at one world revision. Stored with the job.

    `ranked[0]` is the choice, `ranked[1]` the runner-up; empty when every site was rejected.
    `baseline_*` is what bringing all inputs to the site with the cheapest compute would cost in egress, at the same
    prices and ignoring residency (None where a price for that is unknown): avoided cost is that minus the charge.
    `notes` name assumptions (an assumed size, a default duration).
    """

    revision: int
    decide_time: datetime
    ranked: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...]
    baseline_site: str = ""
    baseline_egress_micros: int | None = None
    notes: tuple[str, ...] = ()
    counterfactuals: tuple[Counterfactual, ...] = ()
    attempts: tuple[PastAttempt, ...] = ()

    @property
    def choice(self) -> Candidate | None:
        return self.ranked[0] if self.ranked else None

    @property
    def margin_micros(self) -> int | None:
        """By how much the runner-up is dearer than the choice; None where there are not two."""
        return self.ranked[1].objective_micros - self.ranked[0].objective_micros if len(self.ranked) > 1 else None

    def __repr__(self) -> str:
        chosen = self.choice
        where = f"site={chosen.site} egress={chosen.egress_bytes} B" if chosen else "site=none"
        return f"<Plan {where} ranked={len(self.ranked)} rejected={len(self.rejections)}>"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request with its plan and its present state. `attempt` counts from 1; 0 before the first placement.

    `transfers` are those that bring copies for it, which it waits for while it is PENDING. `decision` is the newest decision
    about it, which the record explains (`core/decision.py`). `traceparent` is the trace in which it was submitted, if any.
    """

    job: str
    request: JobRequest
    state: JobState = JobState.PENDING
    reason: str = ""
    detail: str = ""
    plan: Plan | None = None
    attempt: int = 0
    run: str = ""
    transfers: tuple[str, ...] = ()
    decision: str = ""
    cancel_requested: bool = False
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    end_time: datetime | None = None
    traceparent: str = ""

    def waits_for(self, site: str) -> bool:
        """Whether it waits and may begin at a site: it is to, or no site is chosen yet and what this one lacks can come."""
        if self.state is not JobState.PENDING or self.plan is None:
            return False
        if self.plan.choice is not None:
            return self.plan.choice.site == site
        return any(rejection.site == site and rejection.resolvable for rejection in self.plan.rejections)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One try of a job at a site. Only the job's current run may read or commit.

    `run` is the full resource name, `jobs/j-01k9.../runs/2`, whose last segment is the attempt; `job` is `j-01k9...`.
    `grants` are the ids of the read grants that were issued for it; `lease_time` is when its site's lease ends unless renewed.
    `outputs` are short version names (`ml/delay-model@1`), once committed. `held` is what it holds of its site's cluster, and
    `expected_seconds` how long its plan expects it to run: so that others can be told when there will be room.
    """

    run: str
    job: str
    attempt: int
    site: str
    state: JobState = JobState.PLACED
    reason: str = ""
    detail: str = ""
    exit_code: int | None = None
    submission_id: str = ""
    grants: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    gpu_type: str = ""
    spot: bool = False
    lease_time: datetime | None = None
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    held: Resources = Resources(cpus=0)
    expected_seconds: int = 0

    def taken(self, request: JobRequest) -> Resources:
        """What it holds of its site's cluster: what was asked for, of the GPU type that was chosen; nothing for an INGEST."""
        if request.kind is JobKind.INGEST:
            return Resources(cpus=0)
        asked = request.resources
        return asked if self.gpu_type in ("", asked.gpu_type) else dataclasses.replace(asked, gpu_type=self.gpu_type)


@dataclass(frozen=True, kw_only=True)
class InputAssignment:
    """An input as the agent must provide it: the plan's choice, the signed grant, and where and who its source is."""

    plan: InputPlan
    grant: bytes
    gateway: str
    signing_key: str
    dataset_uid: str


@dataclass(frozen=True, kw_only=True)
class OutputAssignment:
    """An output as the agent must take it. `dataset` is short (`ml/delay-model`)."""

    alias: str
    dataset: str
    dataset_uid: str


@dataclass(frozen=True, kw_only=True)
class StartRun:
    """Start this run."""

    job: Job
    run: Run
    inputs: tuple[InputAssignment, ...]
    outputs: tuple[OutputAssignment, ...]


@dataclass(frozen=True, kw_only=True)
class StopRun:
    """Stop this run."""

    run: str
    reason: str
