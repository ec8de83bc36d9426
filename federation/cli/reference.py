"""Prints what is made of the commands' declarations: docs/cli.md, the schema of answers, and the tree that completion reads.

Run: python -m federation.cli.reference (`make cli-docs`). A test compares.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from federation.cli import answers, app, command, completion, exits, help, tree  # noqa: A004 - the noun
from federation.cli import names as kinds

_HEAD = """# The command line

Printed from the declarations of the commands by `make cli-docs`; a test compares. `fed help` has the tables of this page, `fed
COMMAND --help` and `fed help COMMAND` what is said of one command. Every command but {without} takes `-o, --format` with one of
the formats below, and `-h, --help`; they are not repeated. What a command answers with `-o json` is described in
[schemas/answers.schema.json](schemas/answers.schema.json), under the words of the command.
"""


def files() -> dict[str, str]:
    """Everything that is printed, by its path in the repository."""
    known = tree.leaves()
    schema = answers.schemas({words: found.answers for words, found in known.items() if found.answers is not None})
    return {
        "docs/cli.md": page(schema),
        "docs/schemas/answers.schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n",
        "federation/cli/completion.json": json.dumps(completion.index(app.fed), separators=(",", ":"), indent=0) + "\n",
    }


def page(schema: dict[str, Any]) -> str:
    """docs/cli.md."""
    parts = [
        _HEAD.format(without=" and ".join(", ".join(f"`fed {name}`" for name in command.WITHOUT_OUTPUT).rsplit(", ", 1))),
        "## Exit codes\n\n" + _table(("code", "meaning", "errors"), _exits()),
        "## Formats\n\n" + _topics("format", help.FORMATS),
        "## Environment\n\n" + _topics("variable", help.ENVIRONMENT),
        "## How things are named\n\n" + _topics("word", help.NAMES),
        "## Options before all commands\n\n" + _params(app.fed),
    ]
    for path, found in tree.walk():
        if len(path) == 1:
            parts.append(f"## fed {path[0]}\n\n{_text(found.help)}")
        elif isinstance(found, click.Group):
            parts.append(f"### fed {' '.join(path)}\n\n{_text(found.help)}")
        if isinstance(found, command.Command):
            parts.append(_command(path, found, schema["commands"].get(" ".join(path))))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _exits() -> Iterator[tuple[str, ...]]:
    for row in exits.TABLE:
        told = (*row.errors, *(f"`{reason}`" for reason in row.reasons))
        yield str(row.code), row.meaning, ", ".join(told)


def _topics(heading: str, topics: Iterable[help.Topic]) -> str:
    return _table((heading, "meaning"), ((f"`{topic.name}`", topic.meaning) for topic in topics))


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _command(path: tuple[str, ...], found: command.Command, answer: Any) -> str:
    """A command: what it is for, how it is typed, its options, what it answers."""
    words = " ".join(path)
    title = f"### fed {words}\n\n{_text(found.help)}\n\n" if len(path) > 1 else ""
    examples = "\n".join(line for example in found.examples for line in (*_said(example), *example.line.splitlines()))
    return "\n\n".join(
        part
        for part in (
            f"{title}```\nusage: {_usage(words, found)}\n\n{examples}\n```",
            _params(found),
            f"[Answers](schemas/answers.schema.json) {_answered(answer)}." if answer is not None else "",
        )
        if part
    )


def _said(example: command.Example) -> tuple[str, ...]:
    return (f"# {example.says}",) if example.says else ()


def _usage(words: str, found: click.Command) -> str:
    context = click.Context(found, info_name=f"fed {words}")
    options = _options(found)
    needed = [f"{param.opts[0]} {param.make_metavar(context)}" for param in options if param.required]
    more = ["[OPTIONS]"] if any(not param.required for param in options) else []
    arguments = [param.make_metavar(context) for param in found.params if isinstance(param, click.Argument)]
    return " ".join((f"fed {words}", *needed, *more, *arguments))


def _options(found: click.Command) -> list[click.Option]:
    """Its own options: without those that every command has, and those that are refused."""
    return [
        param
        for param in found.params
        if isinstance(param, click.Option) and param.name not in ("output_format", "version") and not param.hidden
    ]


def _params(found: click.Command) -> str:
    context = click.Context(found)
    rows = [f"- `{_called(param, context)}`{_facts(param)}: {_text(param.help)}" for param in _options(found)]
    return "\n".join(rows)


def _called(param: click.Option, context: click.Context) -> str:
    names = ", ".join(param.opts) + (f" / {', '.join(param.secondary_opts)}" if param.secondary_opts else "")
    if param.is_flag:
        return names
    if param.metavar is None and isinstance(param.type, kinds.Name):
        return f"{names} {kinds.called(param)}"
    return f"{names} {param.make_metavar(context)}"


def _facts(param: click.Option) -> str:
    """What is to be known of an option besides its help: that it is needed, may be repeated, or has a default."""
    default = param.default
    facts = ["required"] * param.required + ["repeatable"] * param.multiple
    if param.secondary_opts and isinstance(default, bool):
        facts.append(f"default {(param.opts if default else param.secondary_opts)[0]}")
    elif not param.is_flag and isinstance(default, str | int | float) and default != "":
        facts.append(f"default {default}")
    return f" ({', '.join(facts)})" if facts else ""


def _answered(answer: dict[str, Any]) -> str:
    """A schema in few words: the kinds that it names, or what it says of itself."""
    if answer.get("type") == "array":
        return f"a list of {_answered(answer['items'])}"
    if "anyOf" in answer:
        return " or ".join(_answered(each) for each in answer["anyOf"])
    if "$ref" in answer:
        return f"`{answer['$ref'].rpartition('/')[2]}`"
    said = str(answer.get("description") or "an object").split(". ")[0].rstrip(".")
    return said[:1].lower() + said[1:]


def _text(text: str | None) -> str:
    """Help as Markdown: paragraphs stay, lines flow, and what looks like HTML is not."""
    parts = re.split(r"\n\s*\n", (text or "").strip())
    return "\n\n".join(" ".join(part.split()).replace("<", "&lt;").replace("*", "\\*") for part in parts)


def main() -> None:
    """Writes all of it into the repository."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    for path, text in files().items():
        (root / path).write_text(text)


if __name__ == "__main__":
    main()
