"""`fed help`: what no single command can tell, and, as `fed help COMMAND`, what one tells of itself."""

from __future__ import annotations

from dataclasses import dataclass

import click

from federation.cli import exits
from federation.cli.command import verb
from federation.cli.session import Session
from federation.shown import shapes


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One thing that can be said by name, and what it means."""

    name: str
    meaning: str


#: What `fed` and the programs that it starts read from their environment.
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
    Topic(name="FED_LOG_FORMAT", meaning="`text`: `fed server` and `fed agent` log lines for people, not JSON."),
    Topic(name="NO_COLOR", meaning="Anything here: no colours."),
    Topic(name="XDG_CONFIG_HOME", meaning="Folder of fed/config.yaml instead of ~/.config."),
    Topic(name="XDG_STATE_HOME", meaning="Folder of what `fed up` keeps instead of ~/.local/state."),
    Topic(name="XDG_CACHE_HOME", meaning="Folder of what can be fetched again instead of ~/.cache."),
    Topic(
        name="OTEL_EXPORTER_OTLP_ENDPOINT",
        meaning="Where traces go (OpenTelemetry); OTEL_EXPORTER_OTLP_TRACES_ENDPOINT goes before it. None without it.",
    ),
    Topic(name="OTEL_SDK_DISABLED", meaning="`true`: no traces."),
    Topic(name="OTEL_TRACES_EXPORTER", meaning="`none`: no traces."),
    Topic(name="OTEL_SERVICE_NAME", meaning="What the process is called in traces."),
)
#: How things are named on the command line.
NAMES = (
    Topic(name="NAMESPACE", meaning="A room for datasets: sales."),
    Topic(name="DATASET", meaning="NAMESPACE/NAME: sales/flights."),
    Topic(name="VERSION", meaning="DATASET@NUMBER: sales/flights@3. Where [@N] or [@VERSION] may be left out, the newest."),
    Topic(name="SITE", meaning="A site of the federation: eu-1. `fed site list`."),
    Topic(name="REGION", meaning="PROVIDER:PLACE: aws:eu-central-1."),
    Topic(name="JOB", meaning="What `fed job submit` printed: j-01k9... . `fed job list`."),
    Topic(name="TRANSFER, RULE, PIPELINE, TOKEN", meaning="As their `list` shows them."),
    Topic(name="users/NAME, groups/NAME", meaning="A person, or those of a group, where owners and readers are named."),
    Topic(name="ALIAS=", meaning="What a dataset is called inside a job; without it the dataset's own word."),
    Topic(name="sizes", meaning="2GB, 2GiB, 1.5TB, or bytes."),
    Topic(name="durations", meaning="90s, 10m, 6h, 30d."),
    Topic(name="times", meaning="2026-11-28 or 2026-11-28T12:00:00, UTC."),
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


class Help(click.Group):
    """The topics as commands; and behind any other words, the help of the command with these words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a topic it lists them: nobody who asks for help has made a mistake."""
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["--help"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The topic, or what shows a command's help."""
        root = ctx.find_root()
        if (found := super().get_command(ctx, cmd_name)) is not None or not isinstance(root.command, click.Group):
            return found
        inner = root.command.get_command(root, cmd_name)
        return None if inner is None else _help_of(inner, cmd_name)


def _help_of(found: click.Command, name: str) -> click.Command:
    @click.pass_context
    def show(context: click.Context, words: tuple[str, ...]) -> None:
        inner, root = found, context.find_root()
        at = click.Context(inner, info_name=name, parent=root)
        for word in words:
            below = inner.get_command(at, word) if isinstance(inner, click.Group) else None
            if below is None:
                raise click.UsageError(f"there is no command {at.command_path} {word}", context)
            inner, at = below, click.Context(below, info_name=word, parent=at)
        context.ensure_object(Session).output.line(inner.get_help(at))

    words = click.Argument(["words"], nargs=-1)
    return click.Command(name, params=[words], callback=show, help=f"Shows the help of `fed {name}`.", hidden=True)


help = Help(  # noqa: A001 - the word that people type
    "help",
    help="What no single command can tell. `fed help job submit` shows the help of a command.",
    short_help="What no single command can tell.",
)
_NAME = shapes.Column(heading="NAME", show=lambda row: row.name)
_MEANING = shapes.Column(heading="MEANING", show=lambda row: row.meaning)


@verb(help, "exit-codes", answers=list[exits.Exit], example="fed help exit-codes")
def exit_codes(session: Session) -> None:
    """Lists the exit codes of `fed` and what they mean; with -o wide also which errors end so."""
    code = shapes.Column(heading="CODE", show=lambda row: str(row.code), number=True)
    errors = shapes.Column(heading="ERRORS", show=lambda row: ", ".join((*row.errors, *row.reasons)))
    session.output.rows(exits.TABLE, (code, _MEANING, errors) if session.output.format == "wide" else (code, _MEANING))


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


@verb(help, "names", answers=list[Topic], example="fed help names")
def names(session: Session) -> None:
    """Lists how things, sizes and times are written on the command line: what DATASET or VERSION in a usage line means."""
    session.output.rows(NAMES, (_NAME, _MEANING))
