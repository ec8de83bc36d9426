"""`fed policy`: who may use which data where and for what, as files: checked, tried, compared, put in force."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import click

from federation import ports
from federation.cli import exits
from federation.cli.command import noun, verb
from federation.cli.moments import TIMES, moment
from federation.cli.session import Session
from federation.core import authorization, errors

policy = noun("policy", "Who may use which data, where and for what: policies as files.")

_FILE = click.argument("file", type=click.Path(path_type=Path))
_TESTS = click.option(
    "--tests", multiple=True, required=True, type=click.Path(path_type=Path), help="Expected decisions; repeat for more files."
)


@verb(policy, "show", answers=authorization.PolicyRevision, example="fed policy show --revision 0")
@click.option("--revision", type=click.IntRange(0), default=None, help="A revision before; 0 is the set that is shipped.")
def show(session: Session, revision: int | None) -> None:
    """Shows the policies that hold, as Cedar text with who applied them and when."""
    found = session.client.get_policy_revision(revision)
    session.output.item(found, lambda: _show(session, found))


def _show(session: Session, found: authorization.PolicyRevision) -> None:
    by = f" by {found.principal}" if found.principal else ""
    session.output.say(f"revision {found.number}{by}, {found.policies} policies, digest {found.digest[:16]}: {found.note}")
    session.output.line(found.text)


@verb(policy, "lint", answers=list[authorization.Problem], example="fed policy lint policies.cedar")
@_FILE
def lint(session: Session, file: Path) -> int:
    """Says all that is wrong with a file of policies: syntax, names and types, and policies without id, reason or control."""
    found = _compiler().problems(_text(file))
    session.output.rows(found)
    return exits.ERROR if found else exits.OK


@verb(policy, "test", answers=list[authorization.Failure], example="fed policy test policies.cedar --tests cases.yaml")
@_FILE
@_TESTS
def test(session: Session, file: Path, tests: tuple[Path, ...]) -> int:
    """Asks expected decisions of a file of policies, and says which are others."""
    engine, cases = _compiler().compile(_text(file)), _cases(tests)
    failed = authorization.failures(cases, engine.decide)
    session.output.rows(failed)
    used = {name for case in cases for name in engine.decide(case.question).policies}
    for name in sorted({rule.policy for rule in engine.rules} - used):
        session.output.say(f"no case is decided by {name}")
    session.output.say(f"{len(cases) - len(failed)} of {len(cases)} decisions are as expected")
    return exits.ERROR if failed else exits.OK


@verb(policy, "diff", answers=list[authorization.PolicyFlip], example="fed policy diff policies.cedar")
@_FILE
@click.option("-n", "--limit", type=click.IntRange(1), default=10_000, show_default=True, help="Tell at most so many changes.")
def diff(session: Session, file: Path, limit: int) -> None:
    """Lists who could do what, with which dataset and where, otherwise than now, if the file were applied."""
    text = _text(file)

    def ask(start: int) -> tuple[list[authorization.PolicyFlip], int, int]:
        flips, asked, _, following = session.client.explain_policy_diff(text, start)
        return flips, asked, following

    _tell(session, ask, limit, 0, "questions")


@verb(policy, "replay", answers=list[authorization.PolicyFlip], example="fed policy replay policies.cedar")
@_FILE
@click.option("--start", type=click.IntRange(0), default=0, help="From which position of the log on.")
@click.option("--from", "from_", type=TIMES, callback=moment, help="Decided from this time (UTC) on, like 2026-11-01.")
@click.option("--to", type=TIMES, callback=moment, help="Decided before this time (UTC).")
@click.option("-n", "--limit", type=click.IntRange(1), default=10_000, show_default=True, help="Tell at most so many changes.")
def replay(  # noqa: PLR0917 - click hands over each option by itself
    session: Session, file: Path, start: int, from_: datetime | None, to: datetime | None, limit: int
) -> None:
    """Asks past decisions again, under a file of policies, and lists those that would be others.

    All that the table audit holds, and the log after it.
    """
    text = _text(file)

    def ask(at: int) -> tuple[list[authorization.PolicyFlip], int, int]:
        return session.client.explain_policy_replay(text, at, from_time=from_, to_time=to)

    _tell(session, ask, limit, start, "past decisions")


@verb(
    policy,
    "apply",
    answers=authorization.PolicyRevision,
    example='fed policy apply policies.cedar --tests cases.yaml --note "the DPO asked for it"',
)
@_FILE
@_TESTS
@click.option("--note", default="", help="Why; it is kept with it.")
@click.option("--etag", default="", help="Refuse if another revision holds than this etag's.")
@click.option("--dry-run", is_flag=True, help="Check it, and apply nothing.")
def apply(  # noqa: PLR0917 - click hands over each option by itself
    session: Session, file: Path, tests: tuple[Path, ...], note: str, etag: str, dry_run: bool
) -> None:
    """Puts a file of policies in force, if it is in order and every expected decision comes out."""
    made = session.client.apply_policies(_text(file), _cases(tests), note=note, etag=etag, validate_only=dry_run)
    session.output.outcome(made)


def _tell(
    session: Session,
    ask: Callable[[int], tuple[list[authorization.PolicyFlip], int, int]],
    limit: int,
    start: int,
    what: str,
) -> None:
    found: list[authorization.PolicyFlip] = []
    asked = 0
    while True:
        flips, number, start = ask(start)
        found, asked = found + flips, asked + number
        if not start or len(found) >= limit:
            break
    session.output.rows(found[:limit])
    rest = "" if not start and len(found) <= limit else f"; it is bounded: there are more, go on from {start}"
    session.output.say(f"{len(found[:limit])} of {asked} {what} change{rest}")


def _cases(paths: Iterable[Path]) -> tuple[authorization.Case, ...]:
    from federation.client import policy_cases  # noqa: PLC0415 - the client is slow to load, and `fed --help` needs none

    return tuple(case for path in paths for case in policy_cases.read(path))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InvalidArgument(f"{file} cannot be read: {error}", reason="POLICY_INVALID") from None


def _compiler() -> ports.PolicyCompiler:
    from federation.bootstrap import policies  # noqa: PLC0415 - a server's wiring, needed by few verbs

    return policies.compiler()
