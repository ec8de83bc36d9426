"""Holds what commands print against what they declare, in the tests that run real commands."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import jsonschema
from referencing import Registry

from federation.cli import answers, tree


@functools.cache
def schema() -> dict[str, Any]:
    """The schema of all answers."""
    return answers.schemas({words: found.answers for words, found in tree.leaves().items() if found.answers is not None})


@functools.cache
def validator(words: str) -> jsonschema.Draft202012Validator:
    """What one command may answer."""
    whole = schema()
    return jsonschema.Draft202012Validator({**whole["commands"][words], "$defs": whole["$defs"]}, registry=Registry())


def check(words: Sequence[str], stdout: str) -> None:
    """Fails where a command that was asked for JSON printed what its schema does not have."""
    if "-o" not in words or words[list(words).index("-o") + 1] != "json" or not stdout:
        return
    known = next((name for name in (" ".join(words[:length]) for length in (3, 2, 1)) if name in schema()["commands"]), None)
    assert known is not None, words
    if known == "transfer watch":
        return
    validator(known).validate(json.loads(stdout))
