"""`fed apply`: a federation set up from files: what differs is shown, then made so."""

from __future__ import annotations

import difflib
import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from federation.cli import exits, formats, jobs
from federation.cli.command import verb
from federation.cli.output import Output
from federation.cli.session import Session
from federation.core import errors
from federation.core.declaring import PRUNABLE, Action, Change, Plan, Step
from federation.core.screen import safe

if TYPE_CHECKING:
    from federation.client import declare

_CONTEXT_LINES = 2
_DONE = {
    Action.CREATE: "created",
    Action.UPDATE: "updated",
    Action.REPLACE: "replaced",
    Action.DELETE: "deleted",
    Action.KEEP: "kept",
    Action.UNCHANGED: "unchanged",
}


class State(StrEnum):
    """What became of a resource: done, nothing to do, failed, or left undone because another failed.

    Of what is only tried: planned, refused, or to be left because another is refused.
    """

    PLANNED = "PLANNED"
    REFUSED = "REFUSED"
    DONE = "DONE"
    UNCHANGED = "UNCHANGED"
    FAILED = "FAILED"
    LEFT = "LEFT"


@dataclass(frozen=True, kw_only=True)
class Difference(formats.Together):
    """One field's value in the catalog and in the file; what is not there is left out."""

    field: str
    before: Any = None
    after: Any = None


@dataclass(frozen=True, kw_only=True)
class Applied(formats.Together):
    """One resource: what was to be done with it, from which file, each field's difference, and what became of that.

    `ignored` are fields of the file that cannot be set; `reason` and `message` tell why something was not done, or how much of
    it could be tried.
    """

    name: str
    kind: str
    action: Action
    state: State
    file: str = ""
    line: int = 0
    changes: tuple[Difference, ...] = ()
    ignored: tuple[str, ...] = ()
    reason: str = ""
    message: str = ""


@verb(
    None,
    "apply",
    answers=list[Applied],
    example="""# All files of a folder; what differs is shown and made so.
fed apply -f examples/declarative
# Only show it, and what the server would refuse; the exit code is 1 if something differs.
fed apply -f federation/ --dry-run --exit-code
# What another command printed, or a program made of it: fed dataset show sales/flights -o yaml | fed apply -f -
fed apply -f -
# Delete the datasets of a team that no file declares any more.
fed apply -f federation/ --prune --selector team=ops --yes""",
)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="A file of YAML or JSON documents, a folder of such, or - for stdin; repeat for several.",
)
@click.option("--dry-run", is_flag=True, help="Show what differs and what the server would refuse of it, and change nothing.")
@click.option("--exit-code", is_flag=True, help="With --dry-run: exit with 1 if something differs.")
@click.option("--prune", is_flag=True, help="Delete what no file declares, of what --prune-kind and --selector name.")
@click.option(
    "--prune-kind",
    "kinds",
    multiple=True,
    type=click.Choice(PRUNABLE),
    help="With --prune: all of this kind; repeat for several.",
)
@click.option(
    "--selector",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="With --prune: datasets with this label; repeat for several.",
)
@click.option("--yes", is_flag=True, help="Delete without asking.")
def apply(
    session: Session,
    *,
    files: tuple[Path, ...],
    dry_run: bool,
    exit_code: bool,
    prune: bool,
    kinds: tuple[str, ...],
    labels: tuple[str, ...],
    yes: bool,
) -> int:
    """Makes the catalog as files declare it: namespaces, datasets, sites, links, prices, policies, rules, budgets.

    All files are checked before anything is done, and all that is wrong is told at once, with file and line. Fields that a file
    does not name stay as they are. What is as declared is left alone, so it can be repeated at any time, also after a failure.
    docs/declarative.md has the fields, and what cannot be declared.
    """
    if exit_code and not dry_run:
        raise click.UsageError("--exit-code goes with --dry-run")
    if prune != bool(kinds or labels):
        raise click.UsageError("--prune goes with --prune-kind or --selector, and only together")
    from federation.client import declare  # noqa: PLC0415 - it takes gRPC with it; see `Session.client`

    read = declare.load((path for path in files if str(path) != "-"), _stdin(files))
    if prune and not read.resources:
        raise click.UsageError("nothing is declared, and that prunes nothing: is it the right folder?")
    found = declare.plan(session.client, read, declare.Prune(nouns=kinds, labels=_pairs(labels)))
    if session.output.for_people:
        _show(session.output, found)
    if dry_run:
        refused = _try(session, found, read)
        return refused or (exits.ERROR if exit_code and found.differs else exits.OK)
    _confirm(found, files, yes=yes)
    return _do(session, found, read)


def _stdin(files: tuple[Path, ...]) -> str | None:
    return sys.stdin.read() if Path("-") in files else None


def _pairs(labels: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return jobs.pairs(labels, "--selector")


def _confirm(found: Plan, files: tuple[Path, ...], *, yes: bool) -> None:
    """Asks before something is deleted: of a person at a terminal, of all others by --yes."""
    gone = [step.name for step in found.steps if step.action is Action.DELETE]
    if not gone or yes:
        return
    if Path("-") in files or not sys.stdin.isatty():
        raise click.UsageError(f"{len(gone)} would be deleted, such as {gone[0]}: say --yes, or look with --dry-run")
    click.confirm(f"Delete {len(gone)}: {', '.join(gone)}?", abort=True, err=True)


def _try(session: Session, found: Plan, read: declare.Files) -> int:
    """Asks the server what it would say, tells of all that it would refuse, and gives the exit code of the first."""
    from federation.client import declare  # noqa: PLC0415 - as above

    out = session.output
    rows, code = [], exits.OK
    for outcome in declare.try_out(session.client, found, read):
        step, error = outcome.step, outcome.error
        code = code or (exits.OK if error is None else exits.code_of(error))
        if error is not None:
            rows.append(_told(step, State.REFUSED, reason=error.reason, message=error.message))
        elif outcome.left:
            rows.append(_told(step, State.LEFT, message=f"{outcome.left} comes before it, which would be refused"))
        else:
            untold = f"all of it can be tried once {outcome.unknown} is there" if outcome.unknown else ""
            rows.append(_told(step, State.PLANNED if step.action.changes else State.UNCHANGED, message=untold))
        if out.for_people and error is not None:
            out.line(f"{_place(step)}{step.action.lower()} {step.name}: would be refused")
            out.error(error)
    _answer(out, rows, "nothing was applied: ")
    later = sum(row.state is State.PLANNED and bool(row.message) for row in rows)
    if out.for_people and later:
        out.say(f"{later} of them can be tried only in part before what they need is there")
    return code


def _place(step: Step) -> str:
    """Where a step is declared; nothing for what is deleted because it is nowhere."""
    return f"{step.file}:{step.line}: " if step.file else ""


def _do(session: Session, found: Plan, read: declare.Files) -> int:
    """Does it, tells of each at once, and gives the exit code of what failed first."""
    from federation.client import declare  # noqa: PLC0415 - as above

    out = session.output
    rows, code = [], exits.OK
    for outcome in declare.carry_out(session.client, found, read):
        if outcome.error is not None:
            code = code or _code(outcome.error)
        rows.append(_outcome(outcome))
        if out.for_people and rows[-1].state is not State.UNCHANGED:
            out.line(_line(rows[-1]))
            if outcome.error is not None:
                out.error(outcome.error)
    _answer(out, rows, "")
    return code


def _code(error: errors.FederationError) -> int:
    """The exit code for what failed on the way. USAGE says that nothing was changed, which is not so here."""
    code = exits.code_of(error)
    return exits.ERROR if code == exits.USAGE else code


def _outcome(outcome: declare.Outcome) -> Applied:
    if outcome.left:
        return _told(outcome.step, State.LEFT, message=f"{outcome.left} comes before it, which was not done")
    if outcome.error is not None:
        return _told(outcome.step, State.FAILED, reason=outcome.error.reason, message=outcome.error.message)
    return _told(outcome.step, State.DONE if outcome.step.action.changes else State.UNCHANGED)


def _told(step: Step, state: State, reason: str = "", message: str = "") -> Applied:
    return Applied(
        name=step.name,
        kind=step.noun,
        action=step.action,
        state=state,
        file=step.file,
        line=step.line,
        changes=tuple(Difference(field=row.field, before=row.before, after=row.after) for row in step.changes),
        ignored=step.ignored,
        reason=reason,
        message=message or step.why,
    )


def _line(row: Applied) -> str:
    if row.state is State.FAILED:
        return f"{row.action.lower()} {row.name}: failed"
    if row.state is State.LEFT:
        return f"{row.action.lower()} {row.name}: left, {row.message}"
    return f"{_DONE[row.action]} {row.name}"


def _answer(out: Output, rows: list[Applied], before: str) -> None:
    """What became of all: to programs a value each, to people the numbers."""
    if not out.for_people:
        out.rows(rows)
        return
    undone = (State.FAILED, State.LEFT, State.REFUSED)
    counts = Counter(row.state.lower() if row.state in undone else _DONE[row.action] for row in rows)
    if before:
        words = {_DONE[action]: f"to {action.lower()}" for action in Action if action.changes}
        counts = Counter({words.get(word, word): number for word, number in counts.items()})
    out.say(before + (", ".join(f"{number} {word}" for word, number in counts.items()) or "nothing is declared"))


# The difference, as people read it


def _show(out: Output, found: Plan) -> None:
    text = Text()
    for step in found.steps:
        if step.action.changes:
            text.append_text(_difference(step))
        elif step.action is Action.KEEP:
            text.append(f"keep {step.name}: {step.why}\n", "yellow")
        if step.ignored:
            text.append(f"{_place(step)}{step.name}: cannot be set: {', '.join(step.ignored)}\n", "yellow")
    if text:
        out.show(text[:-1] if text.plain.endswith("\n") else text)


def _difference(step: Step) -> Text:
    """A unified difference of the fields that change, with the names of both sides above it."""
    made, gone = step.action is Action.CREATE, step.action is Action.DELETE
    text = Text()
    text.append(f"--- {'nothing' if made else step.name}\n", "bold")
    text.append(f"+++ {'nothing' if gone else f'{step.name} ({step.file}:{step.line})'}\n", "bold")
    if gone:
        text.append(f"-name: {step.name}\n", "red")
    if step.action is Action.REPLACE:
        text.append(" # ends, and is made again\n", "yellow")
    for change in step.changes:
        for line in _lines(change):
            text.append(f"{safe(line)}\n", {"-": "red", "+": "green", "@": "cyan"}.get(line[0]))
    return text


def _lines(change: Change) -> Iterator[str]:
    """The lines of one field: the value before and after, and of a text of many lines those that differ."""
    texts = [change.before, change.after]
    if all(isinstance(text, str) for text in texts) and any("\n" in str(text) for text in texts):
        yield f" {change.field}: |"
        old, new = (str(text).splitlines() for text in texts)
        # After the two lines that name files, which there are none of.
        yield from itertools.islice(difflib.unified_diff(old, new, lineterm="", n=_CONTEXT_LINES), 2, None)
        return
    for sign, value in zip("-+", texts, strict=True):
        if value is not None:
            yield from (f"{sign}{line}" for line in formats.yaml_text(_nested(change.field, value)).splitlines())


def _nested(path: str, value: Any) -> Mapping[str, Any]:
    """`card.licence` as a table in a table."""
    outer, dot, inner = path.partition(".")
    return {outer: {inner: value}} if dot else {outer: value}
