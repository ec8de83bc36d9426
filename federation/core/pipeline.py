"""Pipelines: a DAG of jobs that is placed as a whole. Values only; `elimination` finds the placement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from federation.core import job


class PipelineState(StrEnum):
    """Lifecycle of a pipeline."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"

    @property
    def terminal(self) -> bool:
        return self not in (PipelineState.PENDING, PipelineState.RUNNING)


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One job of a pipeline. Inputs of other tasks are named by `InputSpec.task` and `.output`; `after` orders without data.

    An `optional` task may fail or find no site: what comes after it goes on without its outputs, and the pipeline names it.
    """

    task: str
    request: job.JobRequest
    after: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class PipelineRequest:
    """What was asked. `principal` is set by the server; `parts_min` optional tasks at least must succeed."""

    label: str = ""
    namespace: str = ""
    tasks: tuple[TaskSpec, ...] = ()
    parts_min: int = 0
    principal: str = ""


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """Where one task runs: its own cost (compute and inputs that are datasets) and what its inputs from other tasks cost."""

    task: str
    site: str
    region: str
    own_micros: int
    handover_micros: int = 0


@dataclass(frozen=True, kw_only=True)
class TaskRejection:
    """Why a site was set aside for a task."""

    task: str
    site: str
    reason: str
    detail: str
    resolvable: bool = False


@dataclass(frozen=True, kw_only=True)
class PipelinePlan:
    """The placement of all tasks. `bound_micros` is proven: no placement is cheaper; equal to `cost_micros` where `proven`.

    `method` says how it was found; `separate_micros` is what placing each task by itself would cost. `rejections` are those
    of the tasks that no site can run, by task.
    """

    revision: int
    decide_time: datetime
    tasks: tuple[TaskPlan, ...] = ()
    cost_micros: int = 0
    bound_micros: int = 0
    proven: bool = False
    method: str = ""
    separate_micros: int | None = None
    rejections: tuple[TaskRejection, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TaskRun:
    """What became of a task: its job once there is one. `left_out` is why an optional task was gone without."""

    task: str
    state: job.JobState = job.JobState.PENDING
    job: str = ""
    site: str = ""
    reason: str = ""
    detail: str = ""
    left_out: str = ""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A request with its plan and its present state."""

    pipeline: str
    request: PipelineRequest
    state: PipelineState = PipelineState.PENDING
    reason: str = ""
    detail: str = ""
    plan: PipelinePlan | None = None
    tasks: tuple[TaskRun, ...] = ()
    cancel_requested: bool = False
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    end_time: datetime | None = None
