"""A job's request made whole before anything is decided: checked, filled with defaults, its input versions fixed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable

from federation import ports
from federation.core import authorization, columns, dataset, errors, ids, job, kinds, lineage, policy
from federation.services import datasets, scan, sites

ATTEMPTS_MAX = 10
#: Text that a request may carry in `runtime_env`, and in `entrypoint`, `env` and `metadata` each.
TEXT_BYTES_MAX = 64 * 1024

RESERVED_ENV = "FED_"
PRIORITY_MAX = 1000
DEADLINE_SECONDS_MAX = 366 * 86400
#: A million dollars, for an hour or for a tonne of CO2e.
WEIGHT_MICROS_MAX = 10**12
#: A run that reads an input a thousand times over.
READ_PERCENT_MAX = 100_000
ASSUMED_BYTES_MAX = 2**60


def complete(tx: ports.Transaction, principal: policy.Principal, request: job.JobRequest, *, assuming: bool) -> job.JobRequest:
    """The request as it is stored: by this caller, names in short form, each input at a version that exists.

    InvalidArgument for what is wrong in itself, NotFound and FailedPrecondition for datasets and sites that cannot be used.
    Assumed sizes are for plans alone: refused unless `assuming`.
    """
    _check_shape(request)
    _check_texts(request)
    if not assuming and any(spec.assumed_bytes for spec in request.inputs):
        raise _wrong("inputs", "an assumed size is for planning only", "Use `fed job plan`, or leave it out.")
    authorization.purpose(request.purpose) if request.purpose else None
    filled = dataclasses.replace(request, principal=principal.name, groups=tuple(sorted(set(principal.groups))))
    _look_up(tx, request)
    return dataclasses.replace(
        filled,
        inputs=tuple(_pinned(tx, spec) for spec in request.inputs),
        outputs=tuple(_output(tx, spec) for spec in request.outputs),
        sites=_sites(tx, request),
        resources=_resources(request),
        duration_seconds=request.duration_seconds or job.JobRequest.duration_seconds,
        max_attempts=request.max_attempts or job.JobRequest.max_attempts,
    )


def require_unused(tx: ports.Transaction, request: job.JobRequest) -> None:
    """AlreadyExists (SUBMISSION_ID_TAKEN) where the submitter has called a job so before."""
    if not request.submission_id:
        return
    where = {"principal": request.principal, "submission_id": request.submission_id}
    for earlier in tx.list(job.Job, where=where, limit=1):
        raise errors.AlreadyExists(
            f"you have submitted a job as {request.submission_id!r} before: {earlier.job}",
            reason="SUBMISSION_ID_TAKEN",
            help="Choose another id, or leave it out.",
            metadata={"job": earlier.job, "submission_id": request.submission_id},
        )


def _look_up(tx: ports.Transaction, request: job.JobRequest) -> None:
    """Has the transaction read all inputs' datasets and versions at once: then asking for each costs nothing."""
    names = tuple({ids.dataset(spec.dataset).short: None for spec in request.inputs})
    if len(names) < 2:
        return
    stored = {each.name.short: each for each in scan.every(tx, dataset.Dataset, keys=names)}
    read = [(each, spec.version) for spec in request.inputs if (each := stored.get(ids.dataset(spec.dataset).short))]
    keys = {kinds.version_key(*each.name, number or each.latest_version): None for each, number in read}
    if keys:
        list(scan.every(tx, dataset.Version, keys=tuple(keys)))


def _check_shape(request: job.JobRequest) -> None:
    _check_aliases("inputs", [spec.alias for spec in request.inputs])
    _check_aliases("outputs", [spec.alias for spec in request.outputs])
    targets = [ids.dataset(spec.dataset).short for spec in request.outputs]
    if len(set(targets)) < len(targets):
        raise _wrong("outputs", "two outputs write to one dataset", "Write them as files of one output.")
    if request.namespace:
        ids.segment(request.namespace, "namespace")
    if request.kind is job.JobKind.INGEST:
        if not request.ingest_from or request.inputs or len(request.outputs) != 1:
            raise _wrong("ingest_from", "an ingest has a source, one output and no inputs")
        if request.outputs[0].column_classes:
            raise _wrong(
                "outputs.column_classes", "an ingest takes files as they are", "Put them: `fed dataset put --profile pme`."
            )
    elif not request.entrypoint or not request.entrypoint[0]:
        raise _wrong("entrypoint", "a job needs a command to run", "Put it after `--`: `fed job submit ... -- python main.py`.")
    if request.ingest_from and request.kind is not job.JobKind.INGEST:
        raise _wrong("ingest_from", "only an ingest has a source")
    for spec in request.outputs:
        lineage.check_sources(
            spec.column_map, frozenset(each.alias for each in request.inputs), f"outputs.{spec.alias}.column_map"
        )
    _check_numbers(request)


def _check_aliases(field: str, aliases: list[str]) -> None:
    for alias in aliases:
        ids.alias(alias)
    twice = sorted({alias for alias in aliases if aliases.count(alias) > 1})
    if twice:
        raise _wrong(field, f"the alias {twice[0]!r} is given twice", "Give each its own: `--input ALIAS=DATASET`.")


def _check_numbers(request: job.JobRequest) -> None:
    asked = request.resources
    numbers = {
        "resources.cpus": asked.cpus,
        "resources.gpus": asked.gpus,
        "resources.memory_bytes": asked.memory_bytes,
        "duration_seconds": request.duration_seconds,
        "duration_limit_seconds": request.duration_limit_seconds,
        "max_attempts": request.max_attempts,
        "inputs.version": min((spec.version for spec in request.inputs), default=0),
        "inputs.assumed_bytes": min((spec.assumed_bytes for spec in request.inputs), default=0),
    }
    for field, number in numbers.items():
        if number < 0:
            raise _wrong(field, f"{number} is negative")
    _check_weights(request)
    if request.max_attempts > ATTEMPTS_MAX:
        raise _wrong("max_attempts", f"{request.max_attempts} is more than {ATTEMPTS_MAX}")
    if asked.gpu_type and not asked.gpus:
        raise _wrong("resources.gpus", f"a GPU type ({asked.gpu_type}) without a number of GPUs", "Add `--gpus N`.")


def _check_weights(request: job.JobRequest) -> None:
    """What a person weighs a placement by, and what is said of inputs and outputs, each within reason."""
    ranges = [
        ("priority", request.priority, -PRIORITY_MAX, PRIORITY_MAX),
        ("deadline_seconds", request.deadline_seconds, 0, DEADLINE_SECONDS_MAX),
        ("hour_value_micros", request.hour_value_micros or 0, 0, WEIGHT_MICROS_MAX),
        ("carbon_tonne_micros", request.carbon_tonne_micros, 0, WEIGHT_MICROS_MAX),
    ]
    ranges += [(f"inputs.{spec.alias}.read_percent", spec.read_percent, 0, READ_PERCENT_MAX) for spec in request.inputs]
    ranges += [(f"outputs.{spec.alias}.assumed_bytes", spec.assumed_bytes, 0, ASSUMED_BYTES_MAX) for spec in request.outputs]
    for field, number, least, most in ranges:
        if not least <= number <= most:
            raise _wrong(field, f"{number} is not from {least} to {most}", f"Use {least} to {most}.")


def _check_texts(request: job.JobRequest) -> None:
    reserved = sorted(name for name, _ in request.env if name.startswith(RESERVED_ENV) or not name or "=" in name)
    if reserved:
        raise _wrong("env", f"{reserved[0]!r} cannot be set by a job", f"{RESERVED_ENV}... is the launcher's.")
    if request.submission_id and not ids.SUBMISSION.fullmatch(request.submission_id):
        raise _wrong(
            "submission_id",
            f"{request.submission_id[:200]!r} is not 1 to 128 letters, digits, '.', '_' and '-'",
            "Choose another, or leave it out.",
        )
    if any(not name for name, _ in request.metadata):
        raise _wrong("metadata", "an empty name", "Give each entry a name.")
    _check_length("metadata", (text for pair in request.metadata for text in pair))
    _check_length("entrypoint", request.entrypoint)
    _check_length("env", (text for pair in request.env for text in pair))
    _check_length("runtime_env", (request.runtime_env,))
    if request.runtime_env:
        _check_runtime_env(request.runtime_env)


def _check_length(field: str, texts: Iterable[str]) -> None:
    length = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    if length > TEXT_BYTES_MAX:
        raise _wrong(field, f"{length} bytes are more than {TEXT_BYTES_MAX}", "Put it in a file of the working directory.")


def _check_runtime_env(text: str) -> None:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong("runtime_env", f"is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise _wrong("runtime_env", "is not a JSON object")
    if "working_dir" in parsed:
        raise _wrong("runtime_env", "must not name a working_dir", "Use `--working-dir`: it travels by its digest.")


def _pinned(tx: ports.Transaction, spec: job.InputSpec) -> job.InputSpec:
    """The input at a fixed version: what is read is decided when the job is submitted, not when it starts."""
    stored = datasets.whole_dataset(tx, ids.dataset(spec.dataset))
    name = ids.VersionName(stored.name, spec.version or datasets.latest(stored))
    version = datasets.readable_version(tx, name)
    beside = columns.wanted(spec.column_classes)[1:]
    columns.require_known(name.short, version.column_classes, beside)
    return dataclasses.replace(spec, dataset=stored.name.short, version=name.number, column_classes=beside)


def _sites(tx: ports.Transaction, request: job.JobRequest) -> tuple[str, ...]:
    """The sites that may take the job, empty for all. An ingest may only go where its source is declared."""
    places = tuple(sites.get_site(tx, name) for name in request.sites)
    if request.kind is not job.JobKind.INGEST or not places:
        return tuple(place.site for place in places)
    able = tuple(place.site for place in places if any(_within(request.ingest_from, prefix) for prefix in place.sources))
    if able:
        return able
    known = sorted({prefix for place in places for prefix in place.sources})
    raise errors.FailedPrecondition(
        f"{request.ingest_from} is not among the sources of {', '.join(place.site for place in places)}",
        reason="SOURCE_NOT_ALLOWED",
        help=f"Declared there: {', '.join(known)}." if known else "Declare the source with its site in the federation file.",
        metadata={"source": request.ingest_from},
    )


def _within(url: str, prefix: str) -> bool:
    folder = prefix.rstrip("/")
    return url.rstrip("/") == folder or url.startswith(f"{folder}/")


def _output(tx: ports.Transaction, spec: job.OutputSpec) -> job.OutputSpec:
    kind = spec.kind or str(dataset.DatasetKind.DATA)
    if kind not in tuple(dataset.DatasetKind):
        raise _wrong("outputs.kind", f"{kind!r} is no kind of dataset", "Use DATA or MODEL.")
    if spec.column_classes and spec.count_column:
        # Its site counts in the files; it would need the keys of columns in the process that looks into strangers' files.
        raise _wrong(
            "outputs.count_column", "the columns of an aggregate are not sealed by classes", "Leave out one of the two."
        )
    return dataclasses.replace(
        spec,
        dataset=ids.dataset(spec.dataset).short,
        kind=kind,
        deliver_to=sites.get_site(tx, spec.deliver_to).site if spec.deliver_to else "",
        column_classes=columns.checked(spec.column_classes) if spec.column_classes else (),
    )


def _resources(request: job.JobRequest) -> job.Resources:
    """At least one CPU: the contract cannot tell 0 from unset, and a run's launcher needs one."""
    return dataclasses.replace(request.resources, cpus=request.resources.cpus or job.Resources.cpus)


def _wrong(field: str, why: str, hint: str = "") -> errors.InvalidArgument:
    return errors.InvalidArgument(f"the job's {field}: {why}", reason="JOB_REQUEST_INVALID", help=hint, violations={field: why})
