"""The tree of commands as data: each with its words, and whether a line is one of them. For docs, completion and tests."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click

from federation.cli import app, command
from federation.core import errors

#: What a shell does with the words after these is not ours.
_SHELL = frozenset(("|", "||", "&&", ";", ">", ">>", "<", "&"))


def walk(group: click.Group = app.fed, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and every group below one, with its words, in the order of the help."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if found is None:
            continue
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from walk(found, (*path, name))


def leaves() -> dict[str, command.Command]:
    """Every command that does something, by its words."""
    return {" ".join(path): found for path, found in walk() if isinstance(found, command.Command)}


def check(line: str) -> list[str]:
    """Reads a line as `fed` would and does nothing: its command's words; InvalidArgument (EXAMPLE_INVALID) if it is none."""
    lexer = shlex.shlex(line.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    end = next((at for at, word in enumerate(words) if word in _SHELL), len(words))
    if words[:1] != ["fed"]:
        raise _wrong(line, "does not begin with fed")
    found: click.Command = app.fed
    context = click.Context(found, info_name="fed")
    path, rest = [], words[1:end]
    try:
        while isinstance(found, click.Group) and rest and not rest[0].startswith("-"):
            name, inner, rest = found.resolve_command(context, rest)
            if inner is None or name is None:
                raise _wrong(line, f"names no command {rest[:1]}")
            found, context = inner, click.Context(inner, info_name=name, parent=context)
            path.append(name)
        _check_params(found, context, rest)
    except click.ClickException as error:
        raise _wrong(line, error.format_message()) from None
    return path


def _check_params(found: click.Command, context: click.Context, rest: list[str]) -> None:
    """Options exist, values are of their kind, nothing is missing or too much. Files are not looked for."""
    given, left, order = found.make_parser(context).parse_args(args=list(rest))
    if left:
        raise click.UsageError(f"has words too many: {left}")
    for param in found.get_params(context):
        value = given.get(param.name or "")
        if param.required and (param.name not in given or param.value_is_missing(value)):
            raise click.MissingParameter(ctx=context, param=param)
        if param in order and isinstance(value, str | tuple | list) and not isinstance(param.type, click.Path | click.File):
            param.type_cast_value(context, value)


def _wrong(line: str, problem: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"{line!r} {problem}", reason="EXAMPLE_INVALID", help="`fed --help` lists what there is.")
