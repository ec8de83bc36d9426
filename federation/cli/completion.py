"""What a shell completes in a line of `fed`: commands, options, words of a choice, files, and names from the running catalog.

A person waits at each press of the key. So the tree of commands is read from `completion.json`, which is printed from the
declarations (`index`, `make cli-docs`), and no command is loaded; names are asked for by `asker`, which keeps to a deadline;
and what goes wrong is left out without a word.
"""

from __future__ import annotations

import contextlib
import json
from importlib import resources
from typing import Any

import click
from click import shell_completion
from click.shell_completion import CompletionItem

from federation.cli import asker
from federation.cli.names import Name
from federation.environment import environment

#: The variable by which a script says what it wants, as Click has it.
VARIABLE = "_FED_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
_MORE = "..."


def main() -> int:
    """Answers a shell, and never fails: a person who completes a word wants to read no error."""
    try:
        with contextlib.suppress(Exception):
            return shell_completion.shell_complete(tree(), {}, "fed", VARIABLE, environment()[VARIABLE])
        return 0
    finally:
        asker.end()


def script(shell: str) -> str:
    """What a shell has to run once, so that it completes."""
    found = shell_completion.get_completion_class(shell)
    if found is None:
        raise ValueError(shell)
    return found(click.Group(), {}, "fed", VARIABLE).source()


# The tree of commands, as data and back


def index(command: click.Command, context: click.Context | None = None) -> dict[str, Any]:
    """A command, with those below it, as far as completion must know of it."""
    node: dict[str, Any] = {"help": command.get_short_help_str(100)}
    inner = click.Context(command, parent=context)
    if isinstance(command, click.Group):
        found = ((name, command.get_command(inner, name)) for name in command.list_commands(inner))
        node["commands"] = {name: index(each, inner) for name, each in found if each is not None}
    params = [_param(param) for param in command.params if not getattr(param, "hidden", False)]
    return node | ({"params": params} if params else {})


def _param(param: click.Parameter) -> dict[str, Any]:
    told: dict[str, Any] = {"name": param.name}
    if isinstance(param, click.Option):
        told["options"] = "/".join((*param.opts, *param.secondary_opts)) if param.secondary_opts else param.opts
        told |= {"help": (param.help or "").split(". ")[0], "flag": param.is_flag, "multiple": param.multiple}
    if param.nargs != 1:
        told["nargs"] = param.nargs
    if isinstance(param.type, Name):
        told["kind"] = param.type.kind
    elif isinstance(param.type, click.Choice):
        told["choices"] = [str(choice) for choice in param.type.choices]
    elif isinstance(param.type, click.Path):
        told["path"] = "file" if param.type.file_okay else "dir"
    elif param.type is click.UNPROCESSED:
        told["path"] = "file"  # what is run is a program with files
    return {key: value for key, value in told.items() if value}


class _Verb(click.Command):
    """A command whose parameters are made when they are asked for."""

    def __init__(self, name: str, node: dict[str, Any]) -> None:
        super().__init__(name, help=node["help"], context_settings=_SETTINGS)
        self._node = node

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Made at the first call."""
        self.params = self.params or [_made(param) for param in self._node.get("params", ())]
        return super().get_params(ctx)


class _Noun(click.Group):
    """A group whose commands are made when they are asked for."""

    def __init__(self, name: str, node: dict[str, Any]) -> None:
        super().__init__(name, help=node["help"], context_settings=_SETTINGS)
        self.params = [_made(param) for param in node.get("params", ())]
        self._node = node

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order of the help."""
        return list(self._node["commands"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of that name."""
        found = self._node["commands"].get(cmd_name)
        return None if found is None else _command(cmd_name, found)


_SETTINGS = {"help_option_names": ["-h", "--help"]}


def tree() -> click.Group:
    """The tree of commands as it was printed into `completion.json`: it completes, and runs nothing."""
    return _Noun("fed", json.loads(resources.files("federation.cli").joinpath("completion.json").read_bytes()))


def _command(name: str, node: dict[str, Any]) -> click.Command:
    return _Noun(name, node) if "commands" in node else _Verb(name, node)


def _made(told: dict[str, Any]) -> click.Parameter:
    type_: click.ParamType[Any] = click.STRING
    if "kind" in told:
        type_ = Name(told["kind"])
    elif "choices" in told:
        type_ = click.Choice(told["choices"])
    elif "path" in told:
        type_ = click.Path(file_okay=told["path"] == "file")
    nargs = told.get("nargs", 1)
    if "options" not in told:
        return click.Argument([told["name"]], type=type_, nargs=nargs, required=False)
    words = [told["options"]] if isinstance(told["options"], str) else told["options"]
    if told.get("flag"):
        return click.Option([*words, told["name"]], is_flag=True, help=told.get("help"))
    return click.Option(
        [*words, told["name"]], type=type_, nargs=nargs, multiple=told.get("multiple", False), help=told.get("help")
    )


# Names


def live(kind: str, begun: str, context: str) -> list[CompletionItem[str]]:
    """Names of a kind that begin so, from the catalog of a context, or of the current one; none where it takes too long."""
    head = ""
    if kind == "aliased":
        alias, equals, rest = begun.rpartition("=")
        head, begun, kind = alias + equals, rest, "dataset or version"
    if kind == "dataset or version":
        kind = "version" if "@" in begun else "dataset"
    names, more = asker.ask(kind, begun, context)
    if more:
        names = [*names, f"{begun}{_MORE}"]  # so that no shell takes what the first of many have in common for all
    return [CompletionItem(head + name, type="open" if name.endswith("/") else "plain") for name in names]


# Shells


class _Bash(shell_completion.BashComplete):
    """Bash breaks words also at `=`, `@` and `:`, so it is given the line, and answered with what follows the last of them."""

    source_template = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            plain) COMPREPLY+=("$value") ;;
            open) COMPREPLY+=("$value"); compopt -o nospace 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            dir) compopt -o dirnames 2>/dev/null ;;
        esac
    done < <(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || complete -F %(complete_func)s %(prog_name)s
"""  # noqa: E501 - one line of Bash

    def source(self) -> str:
        """For every Bash that has `complete`: what an older one lacks is left out there."""
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is being typed, and that one."""
        line = environment()["COMP_LINE"]
        words = shell_completion.split_arg_string(line)
        return (words[1:], "") if line[-1:].isspace() else (words[1:-1], words[-1])

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Without what stands before the last sign at which Bash has broken the word."""
        _, word = self.get_completion_args()
        option, equals, _ = word.partition("=") if word.startswith("-") else ("", "", "")
        whole = f"{option}{equals}{item.value}"
        signs = environment().get("COMP_WORDBREAKS", "")
        head = max((at + 1 for at, sign in enumerate(word) if sign in signs), default=0)
        return f"{item.type},{whole[head:] if whole.startswith(word[:head]) else item.value}"


class _Plain:
    """What a shell that knows no `open` is told: names that go on are names like others."""

    def format_completion(self, item: CompletionItem[str]) -> str:
        """As Click has it."""
        if item.type == "open":
            item = CompletionItem(item.value, help=item.help)
        return super().format_completion(item)  # type: ignore[misc,no-any-return]


class _Zsh(_Plain, shell_completion.ZshComplete):
    """As Click has it."""


class _Fish(_Plain, shell_completion.FishComplete):
    """As Click has it; fish itself adds no blank behind a slash."""


for _shell in (_Bash, _Zsh, _Fish):
    shell_completion.add_completion_class(_shell)
