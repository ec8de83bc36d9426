"""How a command of `fed` is declared: its help, its example, its `-o`; and how a group of them is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from federation.cli import output
from federation.cli.session import Session

#: Commands that have no `-o`, each with the reason.
WITHOUT_OUTPUT = {
    "up": "it starts processes and tells how far it is",
    "down": "it ends processes and tells how far it is",
    "server": "it is a process, whose log lines are its output",
    "login": "it talks with a person",
    "logout": "it only tells that it is done",
    "agent join": "it writes files",
    "job logs": "it prints what the job printed, byte by byte",
    "mcp": "it is a process, which speaks a protocol",
    "ray": "it is a process, which speaks a protocol",
    "dataset get": "it writes files",
    "dataset certificate get": "it writes a file",
    "cost export": "it writes a file, whose kind its --format says",
    "world export": "it prints a world file, which is JSON",
    "world schema": "it prints a JSON Schema",
    "compliance schema": "it prints a JSON Schema",
    "key escrow keygen": "it writes files",
    "key backup": "it writes a file",
    "key restore": "it writes a file",
}


class Command(click.Command):
    """A command with an example under its help."""

    def __init__(self, *args: Any, example: str = "", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Shows the example."""
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
        super().format_epilog(ctx, formatter)


def noun(name: str, help: str) -> click.Group:  # noqa: A002 - click's word
    """A group of commands that deal with one kind of thing."""
    return click.Group(name, help=help, short_help=help.splitlines()[0])


def verb(
    group: click.Group | None,
    name: str,
    *,
    example: str,
    has_output: bool = True,
    formats: Sequence[str] = output.FORMATS,
) -> Callable[..., Command]:
    """Declares a command: the function gets the session first, its docstring is the help, `example` stands under it."""

    def declare(function: Callable[..., Any]) -> Command:
        found = click.command(name, cls=Command, example=example)(click.pass_obj(function))
        if has_output:
            found.params.append(_output_option(formats))
        if group is not None:
            group.add_command(found)
        return found

    return declare


def _output_option(formats: Sequence[str]) -> click.Option:
    return click.Option(
        ["-o", "--format", "output_format"],
        type=click.Choice(formats),
        default="table",
        show_default=True,
        expose_value=False,
        is_eager=True,
        callback=_set_format,
        help="How to show the answer.",
    )


def _set_format(ctx: click.Context, _: click.Parameter, value: str) -> None:
    session = ctx.find_object(Session)
    if session is not None:
        session.output.format = value
