"""Kinds of things that have names which a shell can complete, and which parameters of `fed` take them. Pure.

A parameter is found by what it is called: its metavar, or its own name in capitals.
"""

from __future__ import annotations

import re
from typing import Any

import click

#: What parameters are called, and the kind of what they take.
KINDS = {
    "NAMESPACE": "namespace",
    "DATASET": "dataset",
    "DATASET[@VERSION]": "dataset",
    "DATASET[@N]": "dataset",
    "DATASET@VERSION": "version",
    "VERSION": "version",
    "[ALIAS=]DATASET[@N]": "aliased",
    "[ALIAS=]DATASET[:MODEL]": "aliased",
    "ALIAS=DATASET": "aliased",
    "SITE": "site",
    "JOB": "job",
    "PIPELINE": "pipeline",
    "TRANSFER": "transfer",
    "RULE": "rule",
    "BUDGET": "budget",
    "BILL": "bill",
    "ESCROW": "escrow",
    "OPENING": "opening",
    "TOKEN": "token",
    "ERASURE|DATASET@VERSION": "version",
    "REGION": "region",
    "CONTEXT": "context",
    "[CONTEXT]": "context",
    "[NAMESPACE]": "namespace",
    "[KIND] NAME": "dataset",
}


class Name(click.ParamType[Any]):
    """The name of a thing of one kind; any text is taken, since the server knows better."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Text, as it is."""
        return click.STRING.convert(value, param, ctx)

    def __repr__(self) -> str:
        return self.kind.upper()


def kind_of(param: click.Parameter) -> str:
    """The kind of thing that a parameter takes; empty where that is free text."""
    called = param.metavar or re.sub(r"S$|_$", "", (param.name or "").upper())
    return KINDS.get(called, "")


def complete(param: click.Parameter) -> None:
    """Lets a parameter that takes text be completed, if it takes the name of a thing."""
    kind = kind_of(param)
    if kind and param.type is click.STRING:
        param.type = Name(kind)
