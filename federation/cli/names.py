"""Kinds of things that have names which a shell can complete, and which parameters of `fed` take them.

A parameter is found by what it is called: its metavar, or its own name in capitals. This is the one place that decides it.
"""

from __future__ import annotations

import re
from typing import Any

import click
from click.shell_completion import CompletionItem

#: What parameters are called, and the kind of what they take: one of `wire.names`, or put together by `completion`.
KINDS = {
    "NAMESPACE": "namespace",
    "[NAMESPACE]": "namespace",
    "DATASET": "dataset",
    "DATASET[@VERSION]": "dataset or version",
    "[DATASET[@VERSION]]": "dataset or version",
    "DATASET[@VERSION]|RUN|URL": "dataset or version",
    "DATASET[@N]": "dataset or version",
    "DATASET@VERSION": "dataset or version",
    "ERASURE|DATASET@VERSION": "dataset or version",
    "VERSION": "dataset or version",
    "[ALIAS=]DATASET[@N]": "aliased",
    "[ALIAS=]DATASET[:MODEL]": "aliased",
    "ALIAS=DATASET": "aliased",
    "SITE": "site",
    "REGION": "region",
    "JOB": "job",
    "[JOB]": "job",
    "PIPELINE": "pipeline",
    "TRANSFER": "transfer",
    "RULE": "rule",
    "BUDGET": "budget",
    "BILL": "bill",
    "ESCROW": "escrow",
    "OPENING": "opening",
    "TOKEN": "token",
    "CONTEXT": "context",
    "[CONTEXT]": "context",
    "[KIND] NAME": "dataset or version",
}


class Name(click.ParamType[Any]):
    """The name of a thing of one kind; any text is taken, since the server knows better."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Text, as it is."""
        return click.STRING.convert(value, param, ctx)

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's signature
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """What there is of the kind that begins so, if the server tells it in time."""
        from federation.cli import completion  # noqa: PLC0415 - for shells alone

        return completion.live(self.kind, incomplete, ctx.find_root().params.get("context") or "")

    def __repr__(self) -> str:
        return self.kind.upper()


def called(param: click.Parameter) -> str:
    """What a parameter is called: its metavar, or its own name in capitals, of one and not of many."""
    return param.metavar or re.sub(r"S$|_$", "", (param.name or "").upper())


def complete(param: click.Parameter) -> None:
    """Lets a parameter that takes text be completed, if it takes the name of a thing."""
    kind = KINDS.get(called(param))
    if kind and param.type is click.STRING:
        param.type = Name(kind)
