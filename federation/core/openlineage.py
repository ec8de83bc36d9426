"""OpenLineage (spec 2-0-2), both ways: what our runs tell others, and what is taken from events that others send. Pure.

Our names: a job's namespace is the federation's name; a dataset is `sales/flights` in `fed://FEDERATION`, its version in the
facet `version`. A run's id is a UUID made of its name, so that it is the same whoever asks, however often.

https://openlineage.io/docs/spec/object-model, https://openlineage.io/docs/spec/naming
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeGuard

from federation.core import dataset as datasets
from federation.core import errors, ids, job, lineage

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"
#: Our own facets, at the version of their schemas in docs/schemas/openlineage.
FACET_VERSION = "1-0-0"
#: Makes run ids: UUID version 5 of a run's name in this namespace.
_RUNS = uuid.UUID("6f1d2c9e-52f4-5b0e-9a55-1f2f3c6a7d10")
_SCHEME = "fed://"
_KINDS = {"DATA": "DATASET", "MODEL": "MODEL"}

#: What one event may hold: more is refused, by name.
DATASETS_MAX = 1000
NAME_CHARS_MAX = 1024
EVENT_BYTES_MAX = 1 << 20
_INTEGER_MAX = 2**63 - 1


class EventType(StrEnum):
    """OpenLineage's words for what has become of a run."""

    START = "START"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    ABORT = "ABORT"
    FAIL = "FAIL"
    OTHER = "OTHER"

    @property
    def terminal(self) -> bool:
        return self in (EventType.COMPLETE, EventType.ABORT, EventType.FAIL)


#: Our states as events; a state that is not here tells nothing.
TYPE_OF_STATE = {
    job.JobState.STARTING: EventType.START,
    job.JobState.RUNNING: EventType.RUNNING,
    job.JobState.SUCCEEDED: EventType.COMPLETE,
    job.JobState.FAILED: EventType.FAIL,
    job.JobState.PENDING: EventType.FAIL,
    job.JobState.CANCELLED: EventType.ABORT,
}
#: Events as the outcome of a foreign run.
STATE_OF_TYPE = {
    EventType.COMPLETE: job.JobState.SUCCEEDED,
    EventType.FAIL: job.JobState.FAILED,
    EventType.ABORT: job.JobState.CANCELLED,
}


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How this federation is called where its events go.

    `schemas` is the URL under which the schemas of our facets lie, `producer` names who tells: both URIs.
    """

    federation: str
    producer: str = "urn:dataset-federation"
    schemas: str = "urn:dataset-federation:schemas"

    @property
    def datasets(self) -> str:
        """The namespace of our datasets."""
        return f"{_SCHEME}{self.federation}"

    def facet(self, name: str) -> str:
        """The schema of one of our facets."""
        between = ":" if self.schemas.startswith("urn:") else "/"
        return between.join((self.schemas.rstrip("/"), FACET_VERSION, f"{name}.json"))


def run_id(run: str) -> str:
    """The UUID of a run, by its full name."""
    return str(uuid.uuid5(_RUNS, run))


# What we tell


@dataclass(frozen=True, kw_only=True)
class Read:
    """An input of a run as its events tell it: how it is had, and once the run has ended what was read of it."""

    plan: job.InputPlan
    version: datasets.Version | None = None
    edge: lineage.Edge | None = None


@dataclass(frozen=True, kw_only=True)
class Made:
    """An output of a run; before it is committed nothing but its dataset is known."""

    dataset: str
    kind: str = "DATA"
    version: datasets.Version | None = None
    edge: lineage.Edge | None = None


def run_event(
    terms: Terms,
    of: job.Job,
    run: job.Run,
    *,
    time: datetime,
    reads: Iterable[Read] = (),
    made: Iterable[Made] = (),
) -> dict[str, Any]:
    """The event that a run's present state is; KeyError for a state that tells nothing (see TYPE_OF_STATE)."""
    reads = tuple(reads)
    type_ = TYPE_OF_STATE[run.state]
    sources = {read.plan.alias: _dataset(terms, read.plan.dataset) for read in reads}
    inputs = [_input(terms, read) for read in reads]
    if of.request.kind is job.JobKind.INGEST:
        inputs.append(_place(of.request.ingest_from))
    return {
        "eventType": str(type_),
        "eventTime": _time(time),
        "producer": terms.producer,
        "schemaURL": SPEC,
        "run": {"runId": run_id(run.run), "facets": dict(_run_facets(terms, of, run))},
        "job": {
            "namespace": terms.federation,
            "name": job_name(of),
            "facets": {
                "jobType": _official(
                    terms,
                    "2-0-3",
                    "JobType",
                    "Job",
                    processingType="BATCH",
                    integration="FEDERATION",
                    jobType=str(of.request.kind),
                )
            },
        },
        "inputs": inputs,
        "outputs": [_output(terms, each, sources) for each in made],
    }


def put_event(terms: Terms, fact: lineage.RunFact, made: Made) -> dict[str, Any]:
    """The one event of a put by a person: it is over when it is told."""
    return {
        "eventType": str(EventType.COMPLETE),
        "eventTime": _time(fact.end_time),
        "producer": terms.producer,
        "schemaURL": SPEC,
        "run": {"runId": run_id(fact.run), "facets": {}},
        "job": {"namespace": terms.federation, "name": f"put/{made.dataset}", "facets": {}},
        "inputs": [],
        "outputs": [_output(terms, made, {})],
    }


def job_name(of: job.Job) -> str:
    """What stays the same from run to run: the label in its namespace, a pipeline's task, or the job itself."""
    request = of.request
    if request.pipeline:
        return (
            f"{request.namespace}/{request.pipeline}.{request.task}"
            if request.namespace
            else f"{request.pipeline}.{request.task}"
        )
    name = request.label or of.job
    return f"{request.namespace}/{name}" if request.namespace else name


def _run_facets(terms: Terms, of: job.Job, run: job.Run) -> Iterator[tuple[str, Any]]:
    chosen = of.plan.choice if of.plan else None
    if of.plan and chosen:
        yield (
            "placement",
            _ours(
                terms,
                "PlacementRunFacet",
                job=of.job,
                run=run.run,
                attempt=run.attempt,
                site=run.site,
                region=chosen.region,
                locality=chosen.locality,
                objectiveMicros=chosen.objective_micros,
                computeMicros=chosen.compute_micros,
                egressMicros=chosen.egress_micros,
                egressBytes=chosen.egress_bytes,
                candidates=len(of.plan.ranked),
                rejections=[{"site": no.site, "reason": no.reason} for no in of.plan.rejections],
                runnerUp=of.plan.ranked[1].site if len(of.plan.ranked) > 1 else None,
                baselineSite=of.plan.baseline_site or None,
                baselineEgressMicros=of.plan.baseline_egress_micros,
                worldRevision=of.plan.revision,
            ),
        )
    if of.request.pipeline:
        parent = {"run": {"runId": run_id(f"pipelines/{of.request.pipeline}")}}
        parent["job"] = {"namespace": terms.federation, "name": of.request.pipeline}
        yield "parent", _official(terms, "1-1-0", "Parent", "Run", **parent)
    if TYPE_OF_STATE.get(run.state) in (EventType.FAIL, EventType.ABORT):
        message = f"{run.reason}: {run.detail}" if run.detail else run.reason or str(run.state)
        yield "errorMessage", _official(terms, "1-0-1", "ErrorMessage", "Run", message=message, programmingLanguage="python")


def _input(terms: Terms, read: Read) -> dict[str, Any]:
    plan, edge, version = read.plan, read.edge, read.version
    sent = edge.bytes if edge else None
    facets = dict(_version_facets(terms, plan.version, version))
    statistics = _counts(
        rowCount=_rows(version), size=version.total_bytes if version else None, fileCount=version.files if version else None
    )
    input_facets = {
        "dataLocality": _ours(
            terms,
            "DataLocalityInputDatasetFacet",
            way=str(plan.way),
            sourceSite=plan.source_site,
            sourceRegion=plan.source_region,
            destinationRegion=plan.destination_region,
            estimateBytes=plan.bytes,
            estimateMicros=plan.egress_micros,
            baselineMicros=plan.baseline_micros,
            bytes=sent,
            chargeMicros=edge.charge_micros if edge else None,
            columns=list(edge.columns) if edge and edge.columns else None,
        )
    }
    if statistics:
        input_facets["inputStatistics"] = _official(terms, "1-0-0", "InputStatistics", "InputDataset", **statistics)
    return {"namespace": terms.datasets, "name": _short(plan.dataset), "facets": facets, "inputFacets": input_facets}


def _output(terms: Terms, made: Made, sources: Mapping[str, dict[str, str]]) -> dict[str, Any]:
    version = made.version
    facets = dict(_version_facets(terms, version.number if version else 0, version))
    kind = _KINDS.get(made.kind, made.kind)
    facets["datasetType"] = _official(terms, "1-0-1", "DatasetType", "Dataset", datasetType=kind)
    links: dict[str, list[dict[str, Any]]] = {}
    for link in made.edge.column_map if made.edge else ():
        alias, _, column = link.source.partition(".")
        if alias in sources:
            links.setdefault(link.column, []).append({**sources[alias], "field": column})
    if links:
        fields = {column: {"inputFields": found} for column, found in links.items()}
        facets["columnLineage"] = _official(terms, "1-2-0", "ColumnLineage", "Dataset", fields=fields)
    told: dict[str, Any] = {"namespace": terms.datasets, "name": made.dataset, "facets": facets}
    if version:
        statistics = _counts(rowCount=_rows(version), size=version.total_bytes, fileCount=version.files)
        told["outputFacets"] = {
            "outputStatistics": _official(terms, "1-0-2", "OutputStatistics", "OutputDataset", **statistics)
        }
    return told


def _version_facets(terms: Terms, number: int, version: datasets.Version | None) -> Iterator[tuple[str, Any]]:
    if number:
        yield "version", _official(terms, "1-0-1", "DatasetVersion", "Dataset", datasetVersion=str(number))
    if version and version.columns:
        fields = [{"name": name, "type": type_} for name, type_ in version.columns]
        yield "schema", _official(terms, "1-2-0", "Schema", "Dataset", fields=fields)


def _place(url: str) -> dict[str, Any]:
    """A foreign place as a dataset: `s3://bucket`, `clicks`."""
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    return {"namespace": f"{scheme}://{authority}" if authority else scheme, "name": path.strip("/") or "/", "facets": {}}


def _dataset(terms: Terms, name: str) -> dict[str, str]:
    return {"namespace": terms.datasets, "name": _short(name)}


def _short(name: str) -> str:
    return ids.dataset(name).short


def _rows(version: datasets.Version | None) -> int | None:
    return version.rows if version and version.rows >= 0 else None


def _counts(**values: int | None) -> dict[str, int]:
    return {name: value for name, value in values.items() if value is not None}


def _official(terms: Terms, version: str, name: str, of: str, **values: Any) -> dict[str, Any]:
    schema = f"{name}{of}Facet"
    return {"_producer": terms.producer, "_schemaURL": f"{_FACETS}/{version}/{schema}.json#/$defs/{schema}", **values}


def _ours(terms: Terms, name: str, **values: Any) -> dict[str, Any]:
    told = {key: value for key, value in values.items() if value is not None}
    return {"_producer": terms.producer, "_schemaURL": terms.facet(name), **told}


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


# What others tell


@dataclass(frozen=True, kw_only=True)
class ForeignDataset:
    """One input or output of an event. `version` is the number of a version of ours, 0 where the event names none.

    `sources` are (column, name of the source's dataset as `node`, column there).
    """

    namespace: str
    name: str
    version: str = ""
    columns: tuple[str, ...] = ()
    sources: tuple[tuple[str, str, str], ...] = ()
    bytes: int | None = None
    rows: int | None = None

    @property
    def place(self) -> str:
        """As one name, which holds `://`: the namespace, as far as it is a URL, and the name behind it."""
        return place(self.namespace, self.name)


@dataclass(frozen=True, kw_only=True)
class ForeignEvent:
    """A run event of somebody else's job, as far as lineage takes it in."""

    run: str
    type: EventType
    time: datetime
    job_namespace: str
    job_name: str
    producer: str
    reason: str = ""
    inputs: tuple[ForeignDataset, ...] = ()
    outputs: tuple[ForeignDataset, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ForeignRun:
    """A run of somebody else, as far as its events have told: they add up, in whatever order they come.

    `type` is the last word on it, once that is terminal; lineage has it from then on. Only who told of it first may go on.
    """

    run: str
    principal: str
    job_namespace: str
    job_name: str
    producer: str
    type: EventType = EventType.OTHER
    reason: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None
    inputs: tuple[ForeignDataset, ...] = ()
    outputs: tuple[ForeignDataset, ...] = ()
    etag: str = ""

    def with_event(self, event: ForeignEvent) -> ForeignRun:
        """After one more event. A repeated one changes nothing; once a terminal one has come, only datasets are added."""
        ended = self.type.terminal
        begun = event.time if event.type in (EventType.START, EventType.RUNNING) else None
        starts = [time for time in (self.start_time, begun) if time is not None]
        return replace(
            self,
            type=self.type if ended else event.type,
            reason=self.reason or event.reason,
            start_time=min(starts, default=None),
            end_time=self.end_time if ended or not event.type.terminal else event.time,
            inputs=_added(self.inputs, event.inputs),
            outputs=_added(self.outputs, event.outputs),
        )


@dataclass(frozen=True, kw_only=True)
class Received:
    """What became of events that were sent: `runs` were told of, `ended` of them are in lineage now, `ignored` had no run."""

    runs: int = 0
    ended: int = 0
    ignored: int = 0


def _added(known: tuple[ForeignDataset, ...], more: tuple[ForeignDataset, ...]) -> tuple[ForeignDataset, ...]:
    """Each dataset once, in the order in which they were told first; what a later event tells of one goes before."""
    by_place = {each.place: each for each in known}
    for each in more:
        before = by_place.get(each.place)
        by_place[each.place] = each if before is None else _completed(before, each)
    if len(by_place) > DATASETS_MAX:
        raise _invalid("inputs", f"add up to more than {DATASETS_MAX} datasets of one run")
    return tuple(by_place.values())


def _completed(before: ForeignDataset, now: ForeignDataset) -> ForeignDataset:
    return replace(
        now,
        version=now.version or before.version,
        columns=now.columns or before.columns,
        sources=now.sources or before.sources,
        bytes=before.bytes if now.bytes is None else now.bytes,
        rows=before.rows if now.rows is None else now.rows,
    )


def place(namespace: str, name: str) -> str:
    """The node of a foreign dataset: `s3://bucket/clicks`, `postgres://crm:5432/public.customers`, `dbt://staging.orders`."""
    head = namespace.rstrip("/")
    return f"{head}/{name.strip('/')}" if "://" in head else f"{head}://{name.lstrip('/')}"


def parse(data: Any) -> ForeignEvent | None:
    """A run event from JSON values; None for a legal event of another kind (a job's or a dataset's own: no run, no lineage).

    InvalidArgument (OPENLINEAGE_INVALID) names the field that is wrong and why.
    """
    event = _object(data, "")
    _text(event, "schemaURL", "")
    producer = _text(event, "producer", "")
    time = _parse_time(_text(event, "eventTime", ""))
    if "run" not in event:
        if "job" not in event and "dataset" not in event:
            raise _invalid("run", "is missing: this is neither a run's, nor a job's, nor a dataset's event")
        return None
    run, of = _object(event["run"], "run"), _object(event.get("job"), "job")
    type_ = event.get("eventType", "OTHER")
    if type_ not in EventType.__members__:
        raise _invalid("eventType", f"{str(type_)[:40]!r} is none of {', '.join(EventType)}")
    return ForeignEvent(
        run=_uuid(_text(run, "runId", "run")),
        type=EventType(type_),
        time=time,
        job_namespace=_text(of, "namespace", "job"),
        job_name=_text(of, "name", "job"),
        producer=producer,
        reason=_failure(run),
        inputs=_datasets(event, "inputs"),
        outputs=_datasets(event, "outputs"),
    )


def _datasets(event: Mapping[str, Any], side: str) -> tuple[ForeignDataset, ...]:
    listed = event.get(side)
    if listed is None:
        return ()
    if not isinstance(listed, list) or len(listed) > DATASETS_MAX:
        raise _invalid(side, f"must be a list of at most {DATASETS_MAX} datasets")
    return tuple(_foreign(_object(each, f"{side}[{at}]"), side, f"{side}[{at}]") for at, each in enumerate(listed))


def _foreign(each: Mapping[str, Any], side: str, where: str) -> ForeignDataset:
    facets = _facets(each, "facets", where)
    kind = "inputFacets" if side == "inputs" else "outputFacets"
    statistics = _facets(each, kind, where).get("inputStatistics" if side == "inputs" else "outputStatistics", {})
    version = facets.get("version", {}).get("datasetVersion", "")
    return ForeignDataset(
        namespace=_text(each, "namespace", where),
        name=_text(each, "name", where),
        version=version if isinstance(version, str) and len(version) <= NAME_CHARS_MAX else "",
        columns=tuple(_field_names(facets.get("schema", {}).get("fields"))),
        sources=tuple(_column_sources(facets.get("columnLineage", {}).get("fields"))),
        bytes=_count(statistics.get("size")),
        rows=_count(statistics.get("rowCount")),
    )


def _field_names(fields: Any) -> Iterator[str]:
    for field in fields[: lineage.COLUMNS_MAX] if isinstance(fields, list) else ():
        name = field.get("name") if isinstance(field, dict) else None
        if _is_column(name):
            yield name


def _column_sources(fields: Any) -> Iterator[tuple[str, str, str]]:
    left = lineage.COLUMNS_MAX
    for column, made in fields.items() if isinstance(fields, dict) else ():
        found = made.get("inputFields") if isinstance(made, dict) else None
        for source in found if isinstance(found, list) and _is_column(column) else ():
            values = [str(source.get(key, "")) for key in ("namespace", "name", "field")] if isinstance(source, dict) else []
            if left and all(values) and values and _is_column(values[2]):
                left -= 1
                yield column, place(values[0], values[1]), values[2]


def _is_column(name: Any) -> TypeGuard[str]:
    return isinstance(name, str) and 0 < len(name) <= lineage.COLUMN_CHARS_MAX and name.isprintable()


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _INTEGER_MAX else None


def _failure(run: Mapping[str, Any]) -> str:
    message = _facets(run, "facets", "run").get("errorMessage", {}).get("message", "")
    return re.sub(r"\s+", " ", message).strip()[:NAME_CHARS_MAX] if isinstance(message, str) else ""


def _facets(of: Mapping[str, Any], key: str, where: str) -> Mapping[str, Mapping[str, Any]]:
    """Facets by name; those that are not objects are refused, for every official one is."""
    facets = of.get(key)
    if facets is None:
        return {}
    return {name: _object(facet, f"{where}.{key}.{name}") for name, facet in _object(facets, f"{where}.{key}").items()}


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(where or "event", "must be a JSON object")
    return value


def _text(of: Mapping[str, Any], key: str, where: str) -> str:
    value = of.get(key)
    name = f"{where}.{key}" if where else key
    if not isinstance(value, str) or not 0 < len(value) <= NAME_CHARS_MAX or not value.isprintable():
        raise _invalid(name, f"must be 1 to {NAME_CHARS_MAX} printable characters")
    return value


def _parse_time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _invalid("eventTime", f"{text[:40]!r} is no time with its zone, like 2026-11-28T12:00:00Z")


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise _invalid("run.runId", f"{text[:40]!r} is no UUID") from None


def _invalid(field: str, why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"the event is not valid OpenLineage: {field} {why}",
        reason="OPENLINEAGE_INVALID",
        help="Send a RunEvent of spec 2-0-2 or an earlier 2-0 or 1-0.",
        violations={field: why},
    )
