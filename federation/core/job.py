"""Jobs: what was asked, the plan that was chosen for it, and its runs. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


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
    """How a run has an input: from its own region's replica, or by remote read from another site."""

    LOCAL = "LOCAL"
    REMOTE = "REMOTE"


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input: `alias` in the job, dataset and version (0 for the latest when the job is submitted)."""

    alias: str
    dataset: str
    version: int = 0
    assumed_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One output: `alias` in the job and the dataset that gets a new version."""

    alias: str
    dataset: str
    kind: str = "DATA"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What an attempt needs while it runs. An empty `gpu_type` takes any type."""

    cpus: int = 1
    gpus: int = 0
    gpu_type: str = ""
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What was asked.

    `sites` limits the candidates; empty means all. `duration_seconds` is the caller's estimate of the run time, and
    `duration_limit_seconds` ends a run that takes longer (0: no limit).
    `working_dir` is the digest of an uploaded package; `runtime_env` is Ray's, as JSON, without working_dir.
    `ingest_from` is the store prefix of an INGEST job. `principal` is set by the server from the caller's identity.
    """

    kind: JobKind = JobKind.RAY
    label: str = ""
    namespace: str = ""
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    resources: Resources = Resources()
    sites: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    working_dir: str = ""
    runtime_env: str = ""
    env: tuple[tuple[str, str], ...] = ()
    duration_seconds: int = 600
    duration_limit_seconds: int = 0
    max_attempts: int = 3
    ingest_from: str = ""
    principal: str = ""


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

    `baseline_micros` is what bringing it to the plan's baseline site would cost, None where a price for that is unknown.
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


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to run the job: a site, and for each input the cheapest allowed way to have it there."""

    site: str
    region: str
    inputs: tuple[InputPlan, ...]
    compute_micros: int
    egress_micros: int
    locality: float
    compute_source: str = ""

    @property
    def total_micros(self) -> int:
        return self.compute_micros + self.egress_micros

    @property
    def egress_bytes(self) -> int:
        """Bytes that would leave a region."""
        return sum(i.bytes for i in self.inputs if i.source_region != i.destination_region)


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

    @property
    def choice(self) -> Candidate | None:
        return self.ranked[0] if self.ranked else None

    def __repr__(self) -> str:
        chosen = self.choice
        where = f"site={chosen.site} egress={chosen.egress_bytes} B" if chosen else "site=none"
        return f"<Plan {where} ranked={len(self.ranked)} rejected={len(self.rejections)}>"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request with its plan and its present state. `attempt` counts from 1; 0 before the first placement."""

    job: str
    request: JobRequest
    state: JobState = JobState.PENDING
    reason: str = ""
    detail: str = ""
    plan: Plan | None = None
    attempt: int = 0
    run: str = ""
    cancel_requested: bool = False
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    end_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One try of a job at a site. Only the job's current run may read or commit.

    `run` is the full resource name, `jobs/j-01k9.../runs/2`, whose last segment is the attempt; `job` is `j-01k9...`.
    `grants` are the ids of the read grants that were issued for it; `lease_time` is when its site's lease ends unless renewed.
    `outputs` are short version names (`ml/delay-model@1`), once committed.
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
    lease_time: datetime | None = None
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None


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
