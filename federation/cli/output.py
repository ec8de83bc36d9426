"""How `fed` speaks: data to stdout as a table or as JSON, everything else to stderr, bars and colours only for a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from federation.cli import shapes
from federation.core import errors
from federation.core.screen import safe, safe_json
from federation.wire.plain import plain

FORMATS = ("table", "json")
#: A pipe has no width: nothing is cut or wrapped there.
_PIPE_WIDTH = 10_000
_LINE_EVERY_SECONDS = 15


class Output:
    """Where a command's answer goes. `format` is `table` or `json`."""

    def __init__(self) -> None:
        self.format = "table"

    @property
    def json(self) -> bool:
        return self.format == "json"

    def rows(self, values: Iterable[Any], columns: Sequence[shapes.Column] | None = None) -> None:
        """Many values: a table, or a JSON array that is `[]` when there are none."""
        listed = list(values)
        if self.json:
            self.write_json([plain(value) for value in listed])
        elif listed:
            self.show(table(listed, columns or shapes.columns(type(listed[0]))))
        else:
            self.say("nothing to show")

    def item(self, value: Any) -> None:
        """One value: its fields one under the other, or a JSON object."""
        if self.json:
            self.write_json(plain(value))
        else:
            self.fields(shapes.fields(value))

    def outcome(self, value: Any) -> None:
        """What a command made: one line of its table, or a JSON object."""
        if self.json:
            self.item(value)
        else:
            self.rows([value])

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Names and values, one under the other."""
        grid = Table(box=None, show_header=False, pad_edge=False)
        grid.add_column(style="bold")
        grid.add_column(overflow="fold")
        for name, value in pairs:
            grid.add_row(name, safe(value))
        self.show(grid)

    def write_json(self, data: Any) -> None:
        """Plain values as JSON, indented."""
        sys.stdout.write(safe_json(json.dumps(data, indent=2, ensure_ascii=False)) + "\n")

    def json_line(self, data: Any) -> None:
        """Plain values as one line of JSON, at once: for whoever follows something as it goes on."""
        sys.stdout.write(safe_json(json.dumps(data, ensure_ascii=False)) + "\n")
        sys.stdout.flush()

    def show(self, renderable: RenderableType) -> None:
        """Something drawn, to stdout; in a pipe without the blanks that fill up a table's lines."""
        console = _console(sys.stdout)
        if console.is_terminal:
            console.print(renderable)
            return
        with console.capture() as captured:
            console.print(renderable)
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))

    def line(self, text: str = "") -> None:
        """A line of data, to stdout."""
        sys.stdout.write(f"{text}\n")

    def bytes(self, data: bytes) -> None:
        """Raw data, to stdout."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def say(self, text: str) -> None:
        """A word to the person, to stderr; silent where JSON is read by a program."""
        if not self.json:
            _console(sys.stderr).print(safe(text))

    def error(self, error: errors.FederationError) -> None:
        """What went wrong and what to do, to stderr."""
        if self.json:
            body = {
                "reason": error.reason,
                "message": error.message,
                "help": error.help,
                "metadata": dict(error.metadata),
                "violations": dict(error.violations),
            }
            sys.stderr.write(safe_json(json.dumps({"error": body}, indent=2, ensure_ascii=False)) + "\n")
            return
        console = _console(sys.stderr)
        console.print(Text.assemble(("error: ", "bold red"), safe(error.message), (f" [{error.reason}]", "dim")))
        for field, problem in error.violations.items():
            if problem not in error.message:
                console.print(Text.assemble("  ", (field, "bold"), ": ", safe(problem)))
        if error.help:
            console.print(Text.assemble(("what to do: ", "bold"), safe(error.help)))

    @contextmanager
    def transfer(self, what: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
        """A bar of bytes while they move; yields what to call with each number of bytes more. Silent without a terminal."""
        if not self.bars:
            yield lambda _: None
            return
        parts = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*parts, console=_console(sys.stderr), transient=True) as progress:
            task = progress.add_task(what, total=total_bytes)
            yield lambda number: progress.advance(task, number)

    @contextmanager
    def waiting(self, what: str) -> Iterator[Callable[[str], None]]:
        """A line that tells what is waited for; yields what to call when that changes. Plain lines without a terminal."""
        if not self.bars:
            yield _plain_teller(self.say)
            return
        parts = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.elapsed:.0f} s", style="dim"))
        with Progress(*parts, console=_console(sys.stderr), transient=True) as progress:
            task = progress.add_task(safe(what), total=None)
            yield lambda text: progress.update(task, description=safe(text))

    @contextmanager
    def steps(self) -> Iterator[Callable[[str, str], None]]:
        """Several things at once: yields what to call with a thing and what became of it. A line for each."""
        begun: dict[str, float] = {}
        console = _console(sys.stderr)

        def tell(name: str, state: str) -> None:
            seconds = time.monotonic() - begun.setdefault(name, time.monotonic())
            after = f" after {seconds:.1f} s" if seconds > 0.05 else ""
            console.print(Text.assemble((f"{safe(name):<14}", "bold"), safe(state), (after, "dim")))

        if not self.bars:
            yield tell
            return
        with Progress(
            SpinnerColumn(), TextColumn("{task.elapsed:.0f} s", style="dim"), console=console, transient=True
        ) as progress:
            progress.add_task("", total=None)
            yield tell

    @property
    def bars(self) -> bool:
        """Whether a person watches: bars and spinners are for terminals alone."""
        return not self.json and sys.stderr.isatty()


def table(values: Sequence[Any], columns: Sequence[shapes.Column]) -> Table:
    """Values as a table without lines."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column.heading, justify="right" if column.number else "left", overflow="fold", no_wrap=column.number)
    for value in values:
        drawn.add_row(*(Text(safe(column.show(value))) for column in columns))
    return drawn


def _console(stream: Any) -> Console:
    terminal = stream.isatty()
    return Console(
        file=stream, width=None if terminal else _PIPE_WIDTH, highlight=False, markup=False, emoji=False, soft_wrap=not terminal
    )


def _plain_teller(say: Callable[[str], None]) -> Callable[[str], None]:
    """Says each new thing once, and what is waited for again after a while, so that a log shows that it lives."""
    last: tuple[str, float] = ("", 0.0)

    def tell(text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if text != last[0] or now - last[1] > _LINE_EVERY_SECONDS:
            last = (text, now)
            say(text)

    return tell
