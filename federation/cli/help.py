"""`fed help`: what no single command can tell."""

from __future__ import annotations

from dataclasses import dataclass

from federation.cli import exits
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.shown import shapes


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One thing that can be said by name, and what it means."""

    name: str
    meaning: str


#: What `fed` reads from its environment.
ENVIRONMENT = (
    Topic(name="FED_CONFIG", meaning="File of contexts instead of ~/.config/fed/config.yaml."),
    Topic(name="FED_CONTEXT", meaning="Name of the context instead of the current one."),
    Topic(name="FED_TARGET", meaning="host:port of the server instead of the context's."),
    Topic(name="FED_TOKEN", meaning="Token instead of the context's token file."),
    Topic(name="FED_CA", meaning="File of the CA's certificate instead of the context's."),
    Topic(
        name="FED_COMPLETION_MS",
        meaning="How long a shell's completion may wait for live names; 300 without it, 0 for no wait.",
    ),
    Topic(name="NO_COLOR", meaning="Anything here: no colours."),
)
#: The words of `-o`.
FORMATS = (
    Topic(name="table", meaning="Lines and columns for people. The default."),
    Topic(name="wide", meaning="The same with more columns, where the kind has more to tell."),
    Topic(name="json", meaning="One JSON document: an object, or an array, which is [] when there is nothing."),
    Topic(name="jsonl", meaning="One JSON object a line, each written as it comes; nothing when there is nothing."),
    Topic(name="yaml", meaning="What json has, as YAML that versions 1.1 and 1.2 read alike."),
    Topic(
        name="csv",
        meaning="RFC 4180 with a header, also of nothing. Nested fields have dots, lists and maps are JSON in their cell.",
    ),
    Topic(name="name", meaning="One resource name a line; of what is no resource its first field."),
)

help = noun("help", "What no single command can tell.")  # noqa: A001 - the word that people type
_NAME = shapes.Column(heading="NAME", show=lambda row: row.name)
_MEANING = shapes.Column(heading="MEANING", show=lambda row: row.meaning)


@verb(help, "exit-codes", answers=list[exits.Exit], example="fed help exit-codes")
def exit_codes(session: Session) -> None:
    """Lists the exit codes of `fed` and what they mean."""
    code = shapes.Column(heading="CODE", show=lambda row: str(row.code), number=True)
    session.output.rows(exits.TABLE, (code, _MEANING))


@verb(help, "environment", answers=list[Topic], example="fed help environment")
def environment(session: Session) -> None:
    """Lists the environment variables that `fed` reads."""
    session.output.rows(ENVIRONMENT, (_NAME, _MEANING))


@verb(help, "formats", answers=list[Topic], example="fed help formats")
def formats(session: Session) -> None:
    """Lists the formats that every command can answer in, and what each promises.

    A field may come to an answer; none goes or changes its meaning within a major version. A field without a value is left out
    of JSON and YAML. Errors go to stderr, as an object in the formats json, jsonl and yaml. docs/cli.md has the schemas.
    """
    session.output.rows(FORMATS, (_NAME, _MEANING))
