"""The root of `fed`: finds the noun, runs the verb, and turns what goes wrong into a message and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NoReturn

import click

from federation.cli import exits, names
from federation.cli.session import Session
from federation.core import errors

#: Each word after `fed` and the module that has it under the same name. Loaded when it is asked for: `fed` starts fast.
WORDS = {
    "namespace": "federation.cli.namespace",
    "dataset": "federation.cli.dataset",
    "search": "federation.cli.search",
    "browse": "federation.cli.browse",
    "apply": "federation.cli.apply",
    "describe": "federation.cli.describe",
    "version": "federation.cli.version",
    "replica": "federation.cli.replica",
    "site": "federation.cli.site",
    "link": "federation.cli.link",
    "job": "federation.cli.job",
    "pipeline": "federation.cli.pipeline",
    "transfer": "federation.cli.transfer",
    "rule": "federation.cli.rule",
    "plan": "federation.cli.plan",
    "world": "federation.cli.world",
    "cost": "federation.cli.cost",
    "bill": "federation.cli.bill",
    "budget": "federation.cli.budget",
    "price": "federation.cli.price",
    "policy": "federation.cli.policy",
    "ledger": "federation.cli.ledger",
    "audit": "federation.cli.audit",
    "compliance": "federation.cli.compliance",
    "lineage": "federation.cli.lineage",
    "key": "federation.cli.key",
    "lease": "federation.cli.lease",
    "events": "federation.cli.events",
    "token": "federation.cli.token",
    "context": "federation.cli.context",
    "login": "federation.cli.login",
    "logout": "federation.cli.login",
    "whoami": "federation.cli.whoami",
    "fsck": "federation.cli.fsck",
    "doctor": "federation.cli.doctor",
    "gc": "federation.cli.gc",
    "backup": "federation.cli.backup",
    "restore": "federation.cli.backup",
    "up": "federation.cli.local",
    "status": "federation.cli.local",
    "down": "federation.cli.local",
    "server": "federation.cli.processes",
    "agent": "federation.cli.processes",
    "sql": "federation.cli.sql",
    "engine": "federation.cli.engine",
    "mcp": "federation.cli.mcp",
    "ray": "federation.cli.ray",
    "completion": "federation.cli.scripts",
    "help": "federation.cli.help",
}


class Fed(click.Group):
    """The root group. Errors of ours become a message on stderr and the exit code that `exits.TABLE` gives them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The words, in the order of the table above."""
        return list(WORDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Loads the module of a word."""
        if cmd_name not in WORDS:
            return None
        found: click.Command = getattr(importlib.import_module(WORDS[cmd_name]), cmd_name)
        return found

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **extra: Any) -> NoReturn:
        """Runs a command line and exits. Nothing that a user can cause ends in a traceback."""
        # Whoever closed them wants no output (`>&-`): Python leaves nothing in their place.
        sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115 - until the process ends
        sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115 - as above
        session = Session()
        extra.pop("standalone_mode", None)
        try:
            result = super().main(args, prog_name or "fed", standalone_mode=False, obj=session, **extra)
            code = result if isinstance(result, int) else exits.OK
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output has had enough (`fed dataset list | head`); nothing more can be said to them.
            _let_go_of_stdout()
            code = exits.OK
        except (KeyboardInterrupt, click.Abort):
            session.output.say("interrupted")
            code = exits.INTERRUPTED
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            code = exits.USAGE
        except click.ClickException as error:
            session.output.error(_usage(error))
            code = exits.USAGE
        except errors.FederationError as error:
            session.output.error(error)
            code = exits.code_of(error)
        except OSError as error:
            session.output.error(_refused_by_the_system(error))
            code = exits.ERROR
            try:
                sys.stdout.flush()
            except OSError:
                _let_go_of_stdout()
        finally:
            with contextlib.suppress(errors.FederationError):
                session.close()
        sys.exit(code)


def _let_go_of_stdout() -> None:
    """What is left of the output goes nowhere, or the interpreter would fail over it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refused_by_the_system(error: OSError) -> errors.FederationError:
    """What a disk or a path that cannot be used comes to, where nobody nearer knew better."""
    where = f"{error.filename}: " if error.filename else ""
    return errors.FailedPrecondition(
        f"{where}{error.strerror or error}",
        reason="SYSTEM_REFUSED",
        help="See that the path is there and yours to use, and that its disk has room.",
    )


def _usage(error: click.ClickException) -> errors.InvalidArgument:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "fed"
    message = error.format_message().rstrip(".")
    return errors.InvalidArgument(message, reason="USAGE", help=f"See `{command} --help`.")


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"fed {metadata.version('dataset-federation')}")
        ctx.exit()


@click.command(cls=Fed, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--context", metavar="CONTEXT", default="", help="The federation to talk to, by its context's name.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
@click.pass_obj
def fed(session: Session, context: str) -> None:
    """Sends the job to the data.

    Datasets lie encrypted at sites in several regions; jobs run beside them. `fed up` starts a federation on this machine, `fed
    dataset put` encrypts data into it, `fed job submit` finds the best site for a job and runs it there.
    """
    session.context = context


for _param in fed.params:
    names.complete(_param)
