"""The federation as a file, and a request as one: planning without a server, also in a world that does not exist.

A world file holds all that a placement is decided from, and nothing else: no keys, no addresses, no names of files. People may
change anything in it and see what would happen. Both files have a JSON Schema, made from the classes here (`schemas`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from federation.core import (
    authorization,
    dataset,
    errors,
    ids,
    metering,
    offers,
    profile,
    ratecard,
    schema,
    site,
    transfer,
    units,
    world,
)
from federation.core.authorization import DatasetFacts, Question
from federation.core.job import InputSpec, JobRequest, PastAttempt, Resources

T = TypeVar("T")

FORMAT = 1
#: What a world may hold at most; it is refused (WORLD_TOO_LARGE) before any work that grows with it.
FILE_BYTES_MAX = 64 * 1024 * 1024
REQUEST_BYTES_MAX = 4 * 1024 * 1024
INPUTS_MAX = 1_000
LISTS_MAX: Mapping[str, int] = {
    "sites": 10_000,
    "loads": 10_000,
    "egress": 200_000,
    "compute": 200_000,
    "volumes": 200_000,
    "reservations": 200_000,
    "speeds": 200_000,
    "occupations": 100_000,
    "datasets": 100_000,
    "profiles": 100_000,
    "budgets": 100_000,
    "queue": 100_000,
}
#: A file whose lists lie deeper is no world.
_DEPTH_MAX = 100
_PIECE_CHARS = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    """One version of a dataset: what would cross a region if it were read, and where it lies.

    `bytes` are those of its objects, as they are stored, `files` their number. `replica_sites` are the sites with a readable
    replica. `arriving` are live transfers of it; `read_logs` say when it was read at sites, from which it is decided whether a
    copy pays.
    """

    number: int
    bytes: int
    files: int = 0
    replica_sites: tuple[str, ...] = ()
    arriving: tuple[transfer.Transfer, ...] = ()
    read_logs: tuple[transfer.ReadLog, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Governance:
    """What policies know of a dataset beside its name and residency. `owners` are its own and its namespace's."""

    owners: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    kind: str = "DATA"
    classification: dataset.Classification = dataset.Classification.INTERNAL
    purposes: tuple[str, ...] = ()
    use_expire_time: datetime | None = None
    legal_hold: bool = False
    group_size_min: int = 0
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetRow:
    """A dataset, `sales/flights`, with its residency and those versions that a request may read.

    `residency` holds jurisdictions (`EU`); empty means anywhere. A dataset without versions can be written to. Outputs of at
    most `release_bytes_max` that are made from it may leave its residency (0: none). The world's policies are asked
    with what `governance` says; without it nothing is asked of the dataset.
    """

    dataset: str
    residency: tuple[str, ...] = ()
    release_bytes_max: int = 0
    versions: tuple[VersionRow, ...] = ()
    governance: Governance | None = None


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job that waits for its placement: its request, when it was submitted, and what became of its earlier attempts."""

    job: str
    request: JobRequest
    submit_time: datetime | None = None
    attempts: tuple[PastAttempt, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WorldFile:
    """All that placements are decided from, at one moment.

    `format_version` is 1. `revision` is the position of the catalog's newest event, `time` the moment of the look. `egress` and
    `compute` are the rate card's rows, `rate_card` its number; a site's own offer goes before `compute`. `volumes` are what
    links have carried this month, `reservations` what quotes in flight will still send, `speeds` what links were measured to
    carry, `occupations` what live runs hold, `profiles` what earlier runs took, `budgets` what namespaces may spend and have,
    `queue` the jobs that wait. `policies` is the set that holds, as Cedar's text: sites where it says no are rejected with the
    words that a server would use. Without it no policy is asked, residency is.
    """

    format_version: int
    time: datetime
    revision: int = 0
    datasets: tuple[DatasetRow, ...] = ()
    sites: tuple[site.Site, ...]
    loads: tuple[site.SiteLoad, ...] = ()
    rate_card: int = 0
    egress: tuple[ratecard.PriceRow, ...] = ()
    compute: tuple[offers.OfferRow, ...] = ()
    volumes: tuple[site.LinkVolume, ...] = ()
    reservations: tuple[site.LinkReservation, ...] = ()
    speeds: tuple[site.LinkSpeed, ...] = ()
    occupations: tuple[world.Occupation, ...] = ()
    profiles: tuple[profile.JobProfile, ...] = ()
    budgets: tuple[world.Budget, ...] = ()
    queue: tuple[QueuedJob, ...] = ()
    policies: str = ""


@dataclass(frozen=True, kw_only=True)
class RequestFile:
    """What is asked: `format_version` is 1, `request` the job.

    `submit_time` is from when its deadline counts (the world's time if it is left out), `attempts` what became of earlier runs
    of it.
    """

    format_version: int
    request: JobRequest
    submit_time: datetime | None = None
    attempts: tuple[PastAttempt, ...] = ()


# Reading and writing


def parse_world(text: str | bytes, source: str = "world") -> WorldFile:
    """A world from JSON text; InvalidArgument (WORLD_TOO_LARGE, WORLD_INVALID) says where and what is wrong."""
    return world_file(parse_json(text, source, reason="WORLD_INVALID"), source)


def world_file(data: Any, source: str = "world") -> WorldFile:
    """A world from plain values, however they were written."""
    if isinstance(data, dict):
        for name, most in LISTS_MAX.items():
            if isinstance(found := data.get(name), list) and len(found) > most:
                raise _too_large(f"{source}: {name} holds {len(found):,} rows, more than {most:,}")
    found = _read(WorldFile, data, source, "WORLD_INVALID")
    _check_world(found, source)
    return found


def parse_request(text: str | bytes, source: str = "request") -> RequestFile:
    """A request from JSON text; InvalidArgument (REQUEST_INVALID, WORLD_TOO_LARGE) says where and what is wrong."""
    return request_file(parse_json(text, source, reason="REQUEST_INVALID", bytes_max=REQUEST_BYTES_MAX), source)


def request_file(data: Any, source: str = "request") -> RequestFile:
    """A request from plain values, however they were written."""
    inputs = data.get("request", {}).get("inputs") if isinstance(data, dict) and isinstance(data.get("request"), dict) else None
    if isinstance(inputs, list) and len(inputs) > INPUTS_MAX:
        raise _too_large(f"{source}: request.inputs holds {len(inputs):,} rows, more than {INPUTS_MAX:,}")
    return _read(RequestFile, data, source, "REQUEST_INVALID")


def parse_json(text: str | bytes, source: str, *, reason: str, bytes_max: int = FILE_BYTES_MAX) -> Any:
    """JSON text as plain values: no key twice, nothing that is not a number, and not more than `bytes_max`."""
    if len(text) > bytes_max:
        raise _too_large(f"{source}: it has {units.size(len(text))}, more than {units.size(bytes_max)}")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise _invalid(reason, f"{source}: it is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are kinds of it
        raise _invalid(reason, f"{source}: this is not JSON: {error}") from None


def pieces(file: WorldFile | RequestFile) -> Iterator[str]:
    """The file as JSON text, in pieces of some hundred kilobytes: a line for each row, so that worlds compare well."""
    held: list[str] = []
    size = 0
    for part in _parts(schema.plain(file)):
        held.append(part)
        size += len(part)
        if size >= _PIECE_CHARS:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)


def _parts(data: Mapping[str, Any]) -> Iterator[str]:
    opening = "{\n"
    for name, value in data.items():
        yield f"{opening}  {json.dumps(name)}: "
        opening = ",\n"
        if isinstance(value, list):
            between = "[\n    "
            for row in value:
                yield between + json.dumps(row, ensure_ascii=False)
                between = ",\n    "
            yield "\n  ]"
        else:
            yield json.dumps(value, ensure_ascii=False)
    yield "\n}\n"


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema of the file."""
    return {
        f"{name}.schema.json": schema.json_schema(cls, title=title, identifier=f"urn:federation:schema:{name}:{FORMAT}")
        for name, cls, title in (("world", WorldFile, "A world to plan in"), ("request", RequestFile, "A job to plan"))
    }


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} stands in one object twice")
    return made


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _read(cls: type[T], data: Any, source: str, reason: str) -> T:
    found = schema.read(cls, data, reason=reason, source=source)
    version = getattr(found, "format_version", None)
    if version != FORMAT:
        raise _invalid(reason, f"{source}: $.format_version is {version}; this program reads {FORMAT}")
    return found


def _check_world(file: WorldFile, source: str) -> None:
    """What no single row shows: names that come twice, and sites that are not there."""
    _unique_rows(source, "sites", (row.site for row in file.sites))
    _unique_rows(source, "loads", (row.site for row in file.loads))
    _unique_rows(source, "datasets", (row.dataset for row in file.datasets))
    _unique_rows(source, "volumes", (f"{row.month}/{row.scope}" for row in file.volumes))
    _unique_rows(source, "reservations", (row.scope for row in file.reservations))
    _unique_rows(source, "profiles", (f"{row.namespace}/{row.label}" for row in file.profiles))
    _unique_rows(source, "queue", (row.job for row in file.queue))
    known = {row.site for row in file.sites}
    for i, place in enumerate(file.sites):
        _match(source, f"$.sites[{i}].site", place.site, ids.SEGMENT.fullmatch, "a site's name such as eu-1")
        _match(source, f"$.sites[{i}].region", place.region, ids.REGION.fullmatch, "provider:place")
    for i, row in enumerate(file.datasets):
        _check_dataset(source, f"$.datasets[{i}]", row, known)
    for i, price in enumerate(file.egress):
        if price.gb_bytes < 1:
            raise _invalid("WORLD_INVALID", f"{source}: $.egress[{i}].gb_bytes is {price.gb_bytes}, a GB has 1 byte or more")
    for i, figure in enumerate(file.compute):
        if figure.told is None:
            raise _invalid("WORLD_INVALID", f"{source}: $.compute[{i}] is of {figure.item} and does not tell its figure")


def _check_dataset(source: str, path: str, row: DatasetRow, known: Collection[str]) -> None:
    try:
        ids.dataset(row.dataset)
    except errors.FederationError as error:
        raise _invalid("WORLD_INVALID", f"{source}: {path}.dataset: {error.message}") from None
    _unique_rows(source, f"{path[2:]}.versions", (str(version.number) for version in row.versions))
    for i, version in enumerate(row.versions):
        for name in version.replica_sites:
            if name not in known:
                raise _invalid(
                    "WORLD_INVALID",
                    f"{source}: {path}.versions[{i}].replica_sites names {name!r}, which is not among the sites",
                )


def _unique_rows(source: str, name: str, keys: Iterable[str]) -> None:
    seen: dict[str, int] = {}
    for i, key in enumerate(keys):
        if seen.setdefault(key, i) != i:
            raise _invalid("WORLD_INVALID", f"{source}: $.{name}[{i}] is {key[:80]!r}, which $.{name}[{seen[key]}] is already")


def _match(source: str, path: str, text: str, fits: Callable[[str], object], what: str) -> None:
    if not fits(text):
        raise _invalid("WORLD_INVALID", f"{source}: {path} is {text[:80]!r}, it must be {what}")


def _invalid(reason: str, message: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(message, reason=reason, help="The file's JSON Schema says what may stand there.")


def _too_large(message: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        message, reason="WORLD_TOO_LARGE", help="Leave out what the plan does not need: `fed world export --dataset ...`."
    )


# The world of a request


def world_of(file: WorldFile, asked: RequestFile) -> tuple[JobRequest, world.World]:
    """The request with its versions fixed, and the world that its placement is decided from.

    NotFound (DATASET_NOT_IN_WORLD, VERSION_NOT_IN_WORLD) where the file does not hold what is read; SITE_NOT_IN_WORLD for a
    site that the request names.
    """
    datasets = {row.dataset: row for row in file.datasets}
    request = _complete(file, asked.request, datasets)
    card = offers.OfferCard(rows=file.compute, number=file.rate_card)
    month = metering.month(file.time)
    seen = world.World(
        revision=file.revision,
        now=file.time,
        inputs=tuple(_input(datasets, spec) for spec in request.inputs),
        sites=tuple(offers.filled(row, card) for row in file.sites),
        loads=file.loads,
        rates=ratecard.RateCard(rows=file.egress, number=file.rate_card),
        volumes=tuple(row for row in file.volumes if row.month == month),
        output_residency=tuple((spec.dataset, _residency(datasets, spec.dataset)) for spec in request.outputs),
        excluded=tuple((past.site, past.reason) for past in asked.attempts if past.reason in world.SPEAKS_AGAINST_SITE),
        reservations=file.reservations,
        speeds=file.speeds,
        occupations=file.occupations,
        profile=_profile(file, request),
        budget=next((row for row in file.budgets if row.usage.namespace == request.namespace), None),
        attempts=asked.attempts,
        submit_time=asked.submit_time,
    )
    return request, seen


def questions(file: WorldFile, request: JobRequest) -> tuple[Question, ...]:
    """What the world's policies are asked of a request, without a site, of datasets that the world knows them of.

    For the request's `principal` and `groups`, as a user: who submits a job is never asked as an administrator.
    """
    rows = {row.dataset: row for row in file.datasets}
    return tuple(
        Question(
            subject=authorization.acting(request),
            action=need.action,
            dataset=_facts(row, row.governance),
            time=authorization.to_minute(file.time),
            purpose=request.purpose,
            use_ended=row.governance.use_expire_time is not None and row.governance.use_expire_time <= file.time,
            job=authorization.job_facts(request),
            column_class=need.column_class,
            unsealed_classes=need.unsealed_classes,
        )
        for need in authorization.needs(request)
        if (row := rows.get(need.dataset)) is not None and row.governance is not None
    )


def _facts(row: DatasetRow, known: Governance) -> DatasetFacts:
    namespace, name = ids.dataset(row.dataset)
    return DatasetFacts(
        namespace=namespace,
        dataset=name,
        owners=tuple(sorted(set(known.owners))),
        readers=tuple(sorted(set(known.readers))),
        kind=known.kind,
        classification=known.classification.level,
        residency=row.residency,
        purposes=known.purposes,
        legal_hold=known.legal_hold,
        group_size_min=known.group_size_min,
        labels=known.labels,
    )


def queued(file: WorldFile, name: str) -> RequestFile:
    """The request of a job that waits in the world's queue."""
    for row in file.queue:
        if row.job == name:
            return RequestFile(format_version=FORMAT, request=row.request, submit_time=row.submit_time, attempts=row.attempts)
    raise errors.NotFound(f"no job {name} waits in this world", reason="JOB_NOT_IN_WORLD", metadata={"job": name})


def _complete(file: WorldFile, request: JobRequest, datasets: Mapping[str, DatasetRow]) -> JobRequest:
    """As a server completes it: names in short form, versions fixed, what is 0 by default."""
    known = {row.site for row in file.sites}
    for name in request.sites:
        if name not in known:
            raise errors.NotFound(
                f"the request names site {name}, which this world has not",
                reason="SITE_NOT_IN_WORLD",
                help=f"It has {', '.join(sorted(known)[:10]) or 'none'}{', and others' if len(known) > 10 else ''}.",
                metadata={"site": name},
            )
    return dataclasses.replace(
        request,
        inputs=tuple(_pinned(datasets, spec) for spec in request.inputs),
        outputs=tuple(dataclasses.replace(spec, dataset=ids.dataset(spec.dataset).short) for spec in request.outputs),
        resources=dataclasses.replace(request.resources, cpus=request.resources.cpus or Resources.cpus),
        duration_seconds=request.duration_seconds or JobRequest.duration_seconds,
    )


def _pinned(datasets: Mapping[str, DatasetRow], spec: InputSpec) -> InputSpec:
    ids.alias(spec.alias)
    name = ids.dataset(spec.dataset).short
    row = datasets.get(name)
    if row is None or not row.versions:
        raise errors.NotFound(
            f"the input {spec.alias} reads {name}, of which this world has nothing",
            reason="DATASET_NOT_IN_WORLD",
            help=f"Export it: `fed world export --dataset {name}`.",
            metadata={"dataset": name},
        )
    numbers = [version.number for version in row.versions]
    if spec.version and spec.version not in numbers:
        raise errors.NotFound(
            f"the input {spec.alias} reads {name}@{spec.version}; this world has {', '.join(map(str, numbers[:20]))}",
            reason="VERSION_NOT_IN_WORLD",
            help=f"Export it: `fed world export --dataset {name}@{spec.version}`.",
            metadata={"version": f"{name}@{spec.version}"},
        )
    return dataclasses.replace(spec, dataset=name, version=spec.version or max(numbers))


def _input(datasets: Mapping[str, DatasetRow], spec: InputSpec) -> world.WorldInput:
    row = datasets[spec.dataset]
    version = next(version for version in row.versions if version.number == spec.version)
    return world.WorldInput(
        alias=spec.alias,
        dataset=row.dataset,
        version=version.number,
        bytes=version.bytes,
        residency=row.residency,
        replica_sites=version.replica_sites,
        files=version.files,
        arriving=version.arriving,
        read_logs=version.read_logs,
    )


def _residency(datasets: Mapping[str, DatasetRow], name: str) -> tuple[str, ...]:
    return datasets[name].residency if name in datasets else ()


def _profile(file: WorldFile, request: JobRequest) -> profile.JobProfile | None:
    wanted = (request.namespace, request.label)
    return next((row for row in file.profiles if request.label and (row.namespace, row.label) == wanted), None)
