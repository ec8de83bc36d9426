"""The compliance report as a value: which data was used where, by whom, for what, under which policy, and what was refused.

It is made from the record alone, so the same record gives the same report to the byte. Nothing here reads anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from federation.core import schema
from federation.core.dataset import DataCard

#: The report's form; a field is added without a new one, nothing else is changed.
FORMAT = "fed/compliance/v1"


@dataclass(frozen=True, kw_only=True)
class TableProof:
    """How far a table that the report was made from is proven.

    It had `rows` up to `last_position`. A head that the catalog signed vouches for every row up to `proven_position`, and one
    that a site co-signed up to `witnessed_position`; `witnesses` are those sites. `findings` are what is wrong with it.
    """

    table: str
    rows: int
    last_position: int
    proven_position: int
    witnessed_position: int
    heads: int
    witnesses: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """Which part of the log the report covers, and why to believe that it is all of it.

    `first_position` and `last_position` are of the first and last entry of audit in its time, 0 for none; `entries` is how many
    there are, and `proven_entries` of how many a signed head vouches, or that are heads and co-signatures, signed themselves.
    `log_positions` of them were read from the log, because the tables do not hold them yet. `verified` says whether the tables
    were verified, `intact` that nothing was wrong.
    """

    first_position: int
    last_position: int
    entries: int
    proven_entries: int
    log_positions: int
    verified: bool
    intact: bool
    tables: tuple[TableProof, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Use:
    """One version that a run or a person read, under one grant or by one run's lineage.

    `kind` is the run's (`RAY`, ...) or PERSON; `run` and `job` are empty for a person. `state` is how the run ended, empty
    while it is not known. `net_bytes` and `net_micros` are what was read, corrections included. `columns` are those asked for,
    none where it may have been all. `decisions` are positions of the decisions that allowed it, also of those before the
    report's time, `policies` their policies' ids, `policy_digest` the set's. `leases` are the leases of keys under which it was
    opened.
    """

    time: datetime
    dataset: str
    version: int
    kind: str
    principal: str
    purpose: str = ""
    job: str = ""
    run: str = ""
    grant: str = ""
    state: str = ""
    site: str = ""
    source_region: str = ""
    destination_region: str = ""
    net_bytes: int = 0
    net_micros: int = 0
    columns: tuple[str, ...] = ()
    decisions: tuple[int, ...] = ()
    policies: tuple[str, ...] = ()
    policy_digest: str = ""
    leases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A decision of the policy that allowed something."""

    position: int
    time: datetime
    principal: str
    action: str
    dataset: str
    site: str = ""
    purpose: str = ""
    job: str = ""
    policies: tuple[str, ...] = ()
    because: str = ""
    control: str = ""
    policy_digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Something that was refused: who asked for what, and why it was not given. `source` is the kind of event that tells it.

    `times` is how often, where refusals are counted and not told one by one. Where nobody was let in, `principal` is the
    address that was called from.
    """

    position: int
    time: datetime
    source: str
    principal: str
    times: int = 1
    action: str = ""
    dataset: str = ""
    site: str = ""
    purpose: str = ""
    job: str = ""
    reason: str = ""
    detail: str = ""
    policies: tuple[str, ...] = ()
    control: str = ""
    policy_digest: str = ""


@dataclass(frozen=True, kw_only=True)
class LeaseUse:
    """A lease of keys that was granted: to a run, or under the grant of a person or of a transfer."""

    position: int
    time: datetime
    lease: str
    principal: str
    dataset: str
    version: int
    site: str
    reader_site: str = ""
    run: str = ""
    grant: str = ""
    use: str = ""


@dataclass(frozen=True, kw_only=True)
class Movement:
    """What left a region under one transfer: a version that was brought from one site to another."""

    time: datetime
    dataset: str
    version: int
    transfer: str
    principal: str
    source_site: str
    source_region: str
    destination_site: str
    destination_region: str
    net_bytes: int
    net_micros: int


@dataclass(frozen=True, kw_only=True)
class Egress:
    """What left one region for another in sum, by dataset."""

    dataset: str
    source_region: str
    destination_region: str
    net_bytes: int
    net_micros: int
    reads: int


@dataclass(frozen=True, kw_only=True)
class Loosened:
    """An output that was released from its inputs' residency, or a dataset that somebody declassified."""

    position: int
    time: datetime
    kind: str
    dataset: str
    principal: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Erased:
    """A step of an erasure: it was requested, confirmed by a site, or certified; `certificate` is the certificate's SHA-256."""

    position: int
    time: datetime
    kind: str
    erasure: str
    dataset: str
    version: int
    principal: str
    reason: str = ""
    certificate: str = ""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What somebody asked of the record itself: by which method, in which words."""

    position: int
    time: datetime
    principal: str
    method: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """An administrative act: who changed what."""

    position: int
    time: datetime
    kind: str
    resource: str
    principal: str


@dataclass(frozen=True, kw_only=True)
class Described:
    """A dataset or model that is in the report, as it was described at its end, or when it was last changed before."""

    dataset: str
    kind: str
    owner: str
    classification: str
    residency: tuple[str, ...]
    purposes: tuple[str, ...]
    card: DataCard
    deleted: bool = False
    position: int = 0


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A version that a model's version was made from, directly or through others, with what its card said."""

    node: str
    direct: bool
    card: DataCard


@dataclass(frozen=True, kw_only=True)
class ModelMade:
    """A version of a model that was made in the time of the report, and all data that it saw.

    `known_bias` and `sensitive_columns` are what the cards of that data tell, each with whose card it is.
    """

    model: str
    version: int
    run: str
    principal: str
    time: datetime
    purpose: str = ""
    sources: tuple[ModelSource, ...] = ()
    known_bias: tuple[str, ...] = ()
    sensitive_columns: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PolicySet:
    """A set of policies under which something was decided, by its digest, with how many decisions."""

    policy_digest: str
    allowed: int
    refused: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the record tells of a time: from `from_time` on and before `to_time`; of one dataset or namespace, if named."""

    format: str = FORMAT
    from_time: datetime
    to_time: datetime
    dataset: str = ""
    namespace: str = ""
    completeness: Completeness
    uses: tuple[Use, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    decisions: tuple[Decided, ...] = ()
    policy_sets: tuple[PolicySet, ...] = ()
    leases: tuple[LeaseUse, ...] = ()
    egress: tuple[Egress, ...] = ()
    transfers: tuple[Movement, ...] = ()
    loosened: tuple[Loosened, ...] = ()
    erasures: tuple[Erased, ...] = ()
    datasets: tuple[Described, ...] = ()
    models: tuple[ModelMade, ...] = ()
    questions: tuple[Question, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a report is about."""

    from_time: datetime
    to_time: datetime
    dataset: str = ""
    namespace: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is about everything."""
        return not self.dataset and not self.namespace

    def has(self, dataset: str) -> bool:
        """Whether a dataset is in it; what is about none is in a report about everything alone."""
        if self.dataset:
            return dataset == self.dataset
        return not self.namespace or dataset.startswith(f"{self.namespace}/")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a report."""
    return schema.json_schema(Report, title="A compliance report", identifier=f"urn:federation:schema:{FORMAT}")
