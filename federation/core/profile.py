"""What earlier runs of the same job took and read: the figures that the next plan predicts from. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

#: A profile remembers this many runs.
SAMPLES_MAX = 20


@dataclass(frozen=True, kw_only=True)
class AliasRead:
    """What one run read of one input: `read_bytes` of the version's `version_bytes`."""

    alias: str
    read_bytes: int
    version_bytes: int


@dataclass(frozen=True, kw_only=True)
class AliasWritten:
    """What one run wrote of one output."""

    alias: str
    object_bytes: int


@dataclass(frozen=True, kw_only=True)
class RunSample:
    """One run that succeeded: where, on what, how long, and what it read and wrote."""

    run: str
    site: str
    gpu_type: str = ""
    gpus: int = 0
    cpus: int = 0
    seconds: int
    reads: tuple[AliasRead, ...] = ()
    writes: tuple[AliasWritten, ...] = ()
    end_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class JobProfile:
    """The newest runs of jobs of one name in one namespace, oldest first. Made from lineage, and can be made from it again."""

    namespace: str
    label: str
    samples: tuple[RunSample, ...] = ()
    etag: str = ""
