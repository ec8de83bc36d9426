"""How a command of `fed` is declared: its help, examples, `-o`, what it answers, and what completes its words.

All of that is data on the command, so that `tree` can walk it: help, the shells' completion, docs/cli.md, the schemas of
answers and the tests read the same declaration.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from federation import config, traces
from federation.cli import formats as kinds
from federation.cli import names
from federation.cli.session import Session

#: Commands that have no `-o`, each with the reason.
WITHOUT_OUTPUT = {
    "server": "it is a process: its log lines, a JSON object each, are what it tells",
    "browse": "it has the whole screen, for a person",
    "mcp": "it is a process, which speaks a protocol on stdout",
    "ray": "it is a process, which speaks a protocol",
}


#: Commands that run on until they are ended: no one thing that somebody waits for.
_RUN_ON = frozenset({"server", "agent", "mcp", "ray", "browse", "events"})


@dataclass(frozen=True, kw_only=True)
class Example:
    """A command line that could be typed as it is, and what it is for."""

    line: str
    says: str = ""


class Command(click.Command):
    """A command with examples under its help, and with what it answers: a type, or `list` of one."""

    def __init__(self, *args: Any, examples: Iterable[Example] = (), answers: Any = None, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = tuple(examples)
        self._answers = answers

    @property
    def answers(self) -> Any:
        """The type of what it answers, loaded where it was named as `module:name`; None for a command without `-o`."""
        if not isinstance(self._answers, str):
            return self._answers
        module, _, name = self._answers.removeprefix("list[").removesuffix("]").partition(":")
        found = getattr(importlib.import_module(module), name)
        return kinds.many(found) if self._answers.startswith("list[") else found

    def invoke(self, ctx: click.Context) -> Any:
        """Runs it."""
        words = ctx.command_path.split()[1:]
        if not words or words[0] in _RUN_ON or not traces.configure("fed", config.environment()):
            return super().invoke(ctx)
        with traces.span(" ".join(("fed", *words))):
            return super().invoke(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Shows the examples."""
        if self.examples:
            with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
                indent = " " * formatter.current_indent
                for example in self.examples:
                    if example.says:
                        formatter.write(f"{indent}# {example.says}\n")
                    for line in example.line.splitlines():
                        formatter.write(f"{indent}{line}\n")
        super().format_epilog(ctx, formatter)


def noun(name: str, help: str) -> click.Group:  # noqa: A002 - click's word
    """A group of commands that deal with one kind of thing."""
    return click.Group(name, help=help, short_help=help.splitlines()[0])


def verb(
    group: click.Group | None,
    name: str,
    *,
    example: str,
    answers: Any = None,
    formats: Sequence[str] = kinds.ALL,
    has_output: bool = True,
) -> Callable[..., Command]:
    """Declares a command: the function gets the session first, its docstring is the help.

    `example` has one command line or more; one that begins with `#` says what the next is for. `answers` is the type of what it
    answers, or `list[...]` of it; as text (`module:name`) where that loads slowly. CSV's header and JSON's schema come from it.
    A parameter whose metavar (or name, where it has none) is a kind of thing, like SITE, is completed with the names of such
    things: see `names`.
    """

    def declare(function: Callable[..., Any]) -> Command:
        found = click.command(name, cls=Command, examples=examples(example), answers=answers)(click.pass_obj(function))
        for param in found.params:
            names.complete(param)
        if has_output:
            taken = any("--format" in param.opts for param in found.params)
            found.params.append(_output_option(("-o",) if taken else ("-o", "--format"), formats))
        if group is not None:
            group.add_command(found)
        return found

    return declare


def as_one(
    parameter: str, value: Callable[..., Any], options: Sequence[Callable[..., Any]]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options that belong together, for a command that gets one `value` of what they say, as `parameter`, in their place."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*args: Any, **given: Any) -> Any:
            said = {name: given.pop(name) for name in own}
            return function(*args, **{parameter: value(**said)}, **given)

        params = click.command()(_with(lambda: None, options)).params
        own = [param.name for param in params if param.name and param.expose_value]
        return _with(called, options)

    return declare


def _with(function: Callable[..., Any], options: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function


def examples(text: str) -> tuple[Example, ...]:
    """Examples from text: a line that ends with a backslash goes on in the next, and one that begins with # tells of it."""
    found: list[Example] = []
    says = ""
    lines: list[str] = []
    for line in text.splitlines():
        if not lines and line.startswith("#"):
            says = line.removeprefix("#").strip()
            continue
        lines.append(line)
        if not line.endswith("\\"):
            found.append(Example(line="\n".join(lines), says=says))
            says, lines = "", []
    return tuple(found)


def _output_option(called: Sequence[str], known: Sequence[str]) -> click.Option:
    def choose(ctx: click.Context, _: click.Parameter, value: str) -> None:
        session = ctx.find_object(Session)
        if session is not None:
            session.output.format = value
            session.output.kind = ctx.command.answers if isinstance(ctx.command, Command) else None

    return click.Option(
        [*called, "output_format"],
        type=click.Choice(known),
        default="table",
        show_default=True,
        expose_value=False,
        is_eager=True,
        callback=choose,
        help="How to show the answer.",
    )
