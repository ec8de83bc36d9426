"""What commands that start jobs share: reading what they are told, waiting, following."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from federation.cli import exits, plans
from federation.cli.session import Session
from federation.core import errors
from federation.core.job import Job, JobState


def pairs(texts: Iterable[str], option: str) -> tuple[tuple[str, str], ...]:
    """`KEY=VALUE` texts as sorted pairs."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{option} {text!r} is not KEY=VALUE")
        found[key] = value
    return tuple(sorted(found.items()))


def read_runtime_env(path: Path) -> dict[str, Any]:
    """Ray's runtime_env from a YAML or JSON file."""
    import yaml  # noqa: PLC0415 - few jobs have one

    try:
        data = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise errors.NotFound(f"there is no file {path}", reason="FILE_MISSING", help="Check its name.") from None
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise errors.InvalidArgument(f"{path} is not YAML or JSON: {error}", reason="RUNTIME_ENV_INVALID") from None
    if not isinstance(data, dict):
        raise errors.InvalidArgument(
            f"{path} is no runtime_env", reason="RUNTIME_ENV_INVALID", help="Write a table as for Ray."
        )
    return data


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
