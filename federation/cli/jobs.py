"""What commands that start jobs share: building the request from options, waiting, following."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from federation.cli import exits, plans
from federation.cli.session import Session
from federation.core import errors, ids, units
from federation.core.job import InputSpec, Job, JobRequest, JobState, OutputSpec, Resources, Spot
from federation.core.lineage import ColumnSource


def pairs(texts: Iterable[str], option: str) -> tuple[tuple[str, str], ...]:
    """`KEY=VALUE` texts as sorted pairs."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{option} {text!r} is not KEY=VALUE")
        found[key] = value
    return tuple(sorted(found.items()))


def inputs(texts: Iterable[str], sizes: Iterable[str] = ()) -> tuple[InputSpec, ...]:
    """`[alias=]NAMESPACE/DATASET[@VERSION][,read=PERCENT]` texts, with sizes to assume: `1TB` for all, `alias=1TB` for one."""
    assumed = _assumed(sizes)
    specs = []
    for text in texts:
        name_, wishes = _wishes("--input", text, ("read",))
        alias, name = _aliased(name_)
        dataset, number = ids.dataset_or_version(name)
        assumed_bytes = assumed.get(alias, assumed.get("", 0))
        read_percent = _percent(wishes["read"]) if "read" in wishes else 0
        specs.append(
            InputSpec(
                alias=alias,
                dataset=dataset.short,
                version=number or 0,
                assumed_bytes=assumed_bytes,
                read_percent=read_percent,
            )
        )
    unknown = set(assumed) - {spec.alias for spec in specs} - {""}
    if unknown:
        raise click.UsageError(f"--assume-size names {', '.join(sorted(unknown))}, which is no input")
    return tuple(specs)


def outputs(texts: Iterable[str], column_maps: Iterable[str] = ()) -> tuple[OutputSpec, ...]:
    """`[alias=]NAMESPACE/DATASET[:KIND][,deliver=SITE][,size=SIZE][,release]` texts, with maps of their columns."""
    specs = []
    for text in texts:
        named, wishes = _wishes("--output", text, ("deliver", "size", "release"))
        alias, name = _aliased(named.removesuffix(":MODEL").removesuffix(":DATA"))
        if wishes.get("release"):
            raise click.UsageError(f"--output {text!r}: release takes no value")
        specs.append(
            OutputSpec(
                alias=alias,
                dataset=ids.dataset(name).short,
                kind="MODEL" if named.endswith(":MODEL") else "DATA",
                deliver_to=ids.child(wishes["deliver"], "sites") if "deliver" in wishes else "",
                assumed_bytes=units.parse_size(wishes["size"]) if "size" in wishes else 0,
                release="release" in wishes,
            )
        )
    maps = _column_maps(column_maps)
    if unknown := set(maps) - {spec.alias for spec in specs}:
        raise click.UsageError(f"--column-map names {', '.join(sorted(unknown))}, which is no output")
    return tuple(dataclasses.replace(spec, column_map=tuple(maps.get(spec.alias, ()))) for spec in specs)


def _column_maps(texts: Iterable[str]) -> dict[str, list[ColumnSource]]:
    """`OUTPUT.COLUMN=INPUT.COLUMN[,INPUT.COLUMN]` texts, by output."""
    found: dict[str, list[ColumnSource]] = {}
    for text in texts:
        made, equals, sources = text.partition("=")
        alias, dot, column = made.partition(".")
        if not (equals and dot and alias and column and all(sources.split(","))):
            raise click.UsageError(f"--column-map {text!r} is not OUTPUT.COLUMN=INPUT.COLUMN[,INPUT.COLUMN]")
        found.setdefault(alias, []).extend(ColumnSource(column=column, source=source) for source in sources.split(","))
    return found


def _wishes(option: str, text: str, known: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """What stands before the first comma, and the words after it: `read=25%`, `release`."""
    name, *words = text.split(",")
    found: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in known or key in found:
            raise click.UsageError(f"{option} {text!r}: {word!r} is not one of {', '.join(known)}, or stands there twice")
        found[key] = value
    return name, found


def _percent(text: str) -> int:
    """`25%` or `25`, whole and above 0; `250%` for two and a half times."""
    digits = text.removesuffix("%").strip()
    if not digits.isascii() or not digits.isdigit() or not int(digits):
        raise click.UsageError(f"read={text!r} is not a percentage such as 25% or 250%")
    return int(digits)


def _aliased(text: str) -> tuple[str, str]:
    """Alias and name; without an alias the dataset's own last word is it."""
    alias, equals, name = text.partition("=")
    if equals:
        return ids.alias(alias), name
    return ids.alias(text.rpartition("/")[2].partition("@")[0].replace("-", "_")), text


def _assumed(sizes: Iterable[str]) -> dict[str, int]:
    found = {}
    for text in sizes:
        alias, _, size = text.rpartition("=")
        found[alias] = units.parse_size(size)
    return found


def request(
    *,
    inputs_: tuple[InputSpec, ...],
    outputs_: tuple[OutputSpec, ...],
    entrypoint: tuple[str, ...],
    cpus: int,
    gpus: int,
    gpu_type: str,
    memory: str,
    sites: tuple[str, ...],
    duration: str,
    time_limit: str,
    max_attempts: int,
    runtime_env: Path | None,
    env: tuple[str, ...],
    label: str,
    priority: int = 0,
    deadline: str = "",
    hour_value: str = "",
    carbon_price: str = "",
    spot: str = "never",
    no_copies: bool = False,
    purpose: str = "",
) -> JobRequest:
    """The request that the options say."""
    first = [spec.dataset for spec in outputs_] + [spec.dataset for spec in inputs_]
    return JobRequest(
        label=label,
        namespace=first[0].partition("/")[0] if first else "",
        inputs=inputs_,
        outputs=outputs_,
        resources=Resources(
            cpus=cpus,
            gpus=gpus or (1 if gpu_type else 0),
            gpu_type=gpu_type,
            memory_bytes=units.parse_size(memory) if memory else 0,
        ),
        sites=sites,
        entrypoint=entrypoint,
        runtime_env=read_runtime_env(runtime_env),
        env=pairs(env, "--env"),
        duration_seconds=units.parse_duration(duration),
        duration_limit_seconds=units.parse_duration(time_limit) if time_limit else 0,
        max_attempts=max_attempts,
        priority=priority,
        deadline_seconds=units.parse_duration(deadline) if deadline else 0,
        hour_value_micros=units.micros(_dollars(hour_value)) if hour_value else None,
        carbon_tonne_micros=units.micros(_dollars(carbon_price)) if carbon_price else 0,
        spot=Spot(spot.upper()),
        no_copies=no_copies,
        purpose=purpose,
    )


def _dollars(text: str) -> str:
    """`$2.50` or `2.50`."""
    return text.strip().removeprefix("$")


def read_runtime_env(path: Path | None) -> str:
    """Ray's runtime_env from a YAML or JSON file, as JSON."""
    if path is None:
        return ""
    import json  # noqa: PLC0415 - few jobs have one

    import yaml  # noqa: PLC0415

    try:
        data = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise errors.NotFound(f"there is no file {path}", reason="FILE_MISSING", help="Check --runtime-env.") from None
    except yaml.YAMLError as error:
        raise errors.InvalidArgument(f"{path} is not YAML or JSON: {error}", reason="RUNTIME_ENV_INVALID") from None
    if not isinstance(data, dict) or "working_dir" in data:
        raise errors.InvalidArgument(
            f"{path} is no runtime_env for a job here",
            reason="RUNTIME_ENV_INVALID",
            help="Write a table as for Ray, without working_dir: --working-dir sends that.",
        )
    return json.dumps(data, sort_keys=True)


def answer(session: Session, started: Job, *, wait: bool, follow: bool) -> int:
    """Shows a submitted job, waits for it if asked, and gives the exit code."""
    out = session.output
    if out.for_people:
        out.line(started.job)
        if started.plan is not None and started.request.entrypoint:
            plans.show(out, started)
    if (wait or follow) and not started.state.terminal:
        started = _follow(session, started) if follow else wait_for(session, started)
    if not out.for_people:
        out.item(started)
    elif started.state.terminal:
        tell_end(session, started)
    else:
        out.say(f"watch it: fed job show {started.job}    its output: fed job logs -f {started.job}")
    return exits.code_of_state(started.state)


def tell_end(session: Session, ended: Job) -> None:
    """Says how a job ended, and what to do if it did not end well."""
    because = ": ".join(part for part in (ended.reason, ended.detail) if part)
    session.output.say(f"{ended.job} {ended.state}" + (f" ({because})" if because else ""))
    if ended.state is JobState.REJECTED:
        session.output.say(f"what to do: `fed job explain {ended.job}` tells why each site was set aside")
    elif ended.state is JobState.FAILED:
        session.output.say(f"what to do: `fed job logs {ended.job}` shows what it printed")


def wait_for(session: Session, job: Job, timeout_seconds: float | None = None) -> Job:
    """The job once it has ended; DeadlineExceeded when that takes longer than the caller is ready to wait."""
    with session.output.waiting(f"{job.job} {job.state}") as tell:
        return session.client.wait(
            job.job, timeout_seconds, progress=lambda now: None if now.state.terminal else tell(_where(now))
        )


def lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of what comes in pieces; the last one also where it does not end."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")


def _where(job: Job) -> str:
    place = f" at {job.plan.choice.site}" if job.plan and job.plan.choice and job.attempt else ""
    return f"{job.job} {job.state}{place}"


def _follow(session: Session, job: Job) -> Job:
    """Prints what the job prints until it has ended: to stderr where a program reads stdout."""
    for data in session.client.logs(job.job, follow=True):
        session.output.printed(data)
    return wait_for(session, job)
