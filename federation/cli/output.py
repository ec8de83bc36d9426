"""How `fed` speaks: data to stdout in the format that was asked for, all else to stderr, bars and colours only for a terminal.

Every command answers through here. It says what it answers, a value or many; how that looks in each format is decided in this
file, in `formats` for programs and in `shapes` for people.
"""

from __future__ import annotations

import sys
import time
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from federation import config
from federation.cli import answers, formats
from federation.core import errors
from federation.core.screen import safe
from federation.shown import shapes, tables, wording

FORMATS = formats.ALL
#: A pipe has no width: nothing is cut or wrapped there.
_PIPE_WIDTH = 10_000
_LINE_EVERY_SECONDS = 15


class Output:
    """Where a command's answer goes. `format` is what `-o` says, `kind` the type that the command declares to answer."""

    def __init__(self) -> None:
        self.format = "table"
        self.kind: Any = None
        self._told_each = False
        self._widths: list[int] = []

    @property
    def for_people(self) -> bool:
        """Whether a person reads: a table, words, bars. Otherwise a program does, and has only what it asked for."""
        return self.format not in formats.PROGRAMS

    # Answers

    def rows(self, values: Iterable[Any], columns: Sequence[shapes.Column] | None = None) -> None:
        """Many values. Without any: `[]` in JSON and YAML, a header in CSV, nothing in JSON lines and as names.

        JSON and YAML come whole or not at all; in the formats that go line by line each value is written as it comes.
        """
        if self.for_people:
            listed = list(values)
            if listed:
                self.show(tables.table(listed, columns or shapes.columns(type(listed[0]), wide=self.format == "wide")))
            else:
                self.say("nothing to show")
        elif self.format in ("json", "yaml"):
            self._write([formats.told(value) for value in values])
        else:
            self._lines(values, columns)

    def item(
        self,
        value: Any,
        draw: Callable[[], None] | None = None,
        *,
        rows: Sequence[Any] | None = None,
    ) -> None:
        """One value: its fields one under the other, or as `draw` draws it for people.

        `rows` are what CSV, JSON lines and names have of a value that is a list with something beside it.
        """
        if self.for_people:
            draw() if draw else self.fields(wording.fields(value))
        elif rows is not None and self.format in ("jsonl", "csv", "name"):
            self._lines(rows)
        else:
            self._write(formats.told(value))

    def outcome(self, value: Any) -> None:
        """What a command made: one line of its table, or one value."""
        self.item(value, lambda: self.rows([value]))

    def done(self, done: str, name: str, words: str = "") -> None:
        """What a command did that answers nothing else: a word to the person; for programs what was done, and to what."""
        self.item(answers.Done(done=done, name=name, detail=words), lambda: self.say(words or f"{done} {name}"))

    def written(self, file: Path, rows: int, words: str) -> None:
        """A file that was written: a word to the person; for programs which, and how many rows it has."""
        self.item(answers.Written(file=str(file), rows=rows), lambda: self.say(words))

    def each(self, value: Any, columns: Sequence[shapes.Column] | None = None) -> None:
        """One of many values that come over time, at once: a line of its own; in YAML a document of its own."""
        if self.for_people:
            self._line_of_table(value, columns or shapes.columns(type(value), wide=self.format == "wide"))
        elif self.format == "yaml":
            sys.stdout.write(formats.yaml_text(formats.told(value), explicit_start=True))
        elif self.format == "csv":
            paths = formats.csv_paths(self.row_kind or type(value))
            sys.stdout.write(
                ("" if self._told_each else formats.csv_header(paths)) + formats.csv_row(formats.told(value), paths)
            )
        elif self.format == "name":
            sys.stdout.write(formats.name_of(value) + "\n")
        else:
            sys.stdout.write(formats.json_line(formats.told(value)))
        self._told_each = True
        sys.stdout.flush()

    @property
    def row_kind(self) -> Any:
        """The type of one value of what the command declares to answer."""
        return typing.get_args(self.kind)[0] if typing.get_origin(self.kind) is list else self.kind

    def _write(self, data: Any) -> None:
        """Plain values whole."""
        if self.format == "json":
            sys.stdout.write(formats.json_text(data))
        elif self.format == "yaml":
            sys.stdout.write(formats.yaml_text(data))
        else:
            self._lines([data])

    def _lines(self, values: Iterable[Any], columns: Sequence[shapes.Column] | None = None) -> None:
        """Plain values line by line, in the formats that are read so."""
        if self.format == "jsonl":
            for value in values:
                sys.stdout.write(formats.json_line(formats.told(value)))
        elif self.format == "name":
            for value in values:
                sys.stdout.write(formats.name_of(value) + "\n")
        else:
            self._csv(values, tuple(column.heading for column in columns or ()))

    def _csv(self, values: Iterable[Any], headings: tuple[str, ...]) -> None:
        """Rows under the columns of the declared kind; of a kind that has none under those that a table has."""
        paths = formats.csv_paths(self.row_kind) or headings
        if not paths:
            values = [formats.told(value) for value in values]
            paths = formats.paths_of(values)
        sys.stdout.write(formats.csv_header(paths))
        for value in values:
            sys.stdout.write(formats.csv_row(formats.told(value), paths))

    def _line_of_table(self, value: Any, columns: Sequence[shapes.Column]) -> None:
        """A line of a table whose other lines are not known yet: a column is as wide as anything in it was so far."""
        cells = [safe(column.show(value)).replace("\n", " ") for column in columns]
        lines = [cells] if self._told_each else [[column.heading for column in columns], cells]
        widths = self._widths or [0] * len(columns)
        self._widths = [max(width, *(len(line[at]) for line in lines)) for at, width in enumerate(widths)]
        for line in lines:
            shown = (
                f"{text:>{width}}" if column.number else f"{text:<{width}}"
                for text, width, column in zip(line, self._widths, columns, strict=True)
            )
            sys.stdout.write(" ".join(shown).rstrip() + "\n")

    # For people

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Names and values, one under the other."""
        grid = Table(box=None, show_header=False, pad_edge=False)
        grid.add_column(style="bold")
        grid.add_column(overflow="fold")
        for name, value in pairs:
            grid.add_row(name, safe(value))
        self.show(grid)

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

    def printed(self, data: bytes) -> None:
        """Bytes that a job printed: to stdout for a person, and beside the answer, to stderr, where a program reads that."""
        stream = sys.stdout if self.for_people else sys.stderr
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()

    def bytes(self, data: bytes) -> None:
        """Raw data, to stdout."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def say(self, text: str) -> None:
        """A word to the person, to stderr; silent where a program reads."""
        if self.for_people:
            _console(sys.stderr).print(safe(text))

    def warn(self, text: str) -> None:
        """What whoever reads the answer must know of it, person or program: to stderr."""
        _console(sys.stderr).print(Text.assemble(("warning: ", "bold yellow"), safe(text)))

    def error(self, error: errors.FederationError) -> None:
        """What went wrong and what to do, to stderr: as sentences, or as an object in JSON or YAML."""
        if self.format in ("json", "jsonl", "yaml"):
            body = {
                "reason": error.reason,
                "message": error.message,
                "help": error.help,
                "metadata": dict(error.metadata),
                "violations": dict(error.violations),
            }
            write = {"json": formats.json_text, "jsonl": formats.json_line, "yaml": formats.yaml_text}[self.format]
            sys.stderr.write(write({"error": body}))
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
    def interactive(self) -> bool:
        """Whether a person has both ends: keys come from a terminal, and what is shown goes to one."""
        return sys.stdin.isatty() and sys.stdout.isatty()

    @property
    def bars(self) -> bool:
        """Whether a person watches: bars and spinners are for terminals alone."""
        return self.for_people and sys.stderr.isatty()


def _console(stream: Any) -> Console:
    """A console that colours nothing in a pipe, whatever the environment asks for, and nothing at all under NO_COLOR."""
    terminal = stream.isatty()
    return Console(
        file=stream,
        width=None if terminal else _PIPE_WIDTH,
        force_terminal=terminal,
        no_color=bool(config.environment().get("NO_COLOR")),
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not terminal,
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
