"""Who may call what, as a page: every method of the contract by role and relation, printed from the contract's own options.

Run: python -m federation.api.matrix docs/authorization.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from federation.core import policy
from federation.core.policy import Role
from federation.wire import methods

_HEAD = """# Who may call what

Printed from the options in `protos/federation/v1` and from `core/policy.py` by `make authorization-docs`; a test compares, and
others try every cell at real ports. This is the first door only: which datasets a caller may use, where and what for, is
decided by the policies, and a refusal there tells nothing that the caller may not see.

- A token may be narrowed by scopes: a permission, or a noun with `.*`. It then does what its scopes and its role allow both.
- A token that has ended, one that nobody was given, and none at all open what is public, and nothing else.
- A site that is not admitted may register, and nothing else.
"""
_PEOPLE = (Role.ADMIN, Role.USER, Role.AUDITOR)
#: What the gateway's permissions ask for, and who has it.
_GATEWAY = {
    "public": ("yes", "yes", "yes"),
    "grant": ("what the grant says", "inputs and outputs of its plan", "no"),
    "token": ("no", "its own run", "no"),
}


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_people(), "", *_agents(), "", *_gateway()]) + "\n"


def _people() -> Iterable[str]:
    yield "## People, at the port for people"
    yield ""
    yield "| method | permission | administrator | user | auditor | agent | nobody |"
    yield "|---|---|---|---|---|---|---|"
    for row in _rows(methods.PEOPLE):
        public = row.permission == policy.PUBLIC
        cells = ["yes" if public or row.permission in policy.PERMISSIONS[role] else "no" for role in _PEOPLE]
        anybody = "yes" if public else "no"
        yield f"| {row.key} | {row.permission} | {' | '.join(cells)} | {anybody} | {anybody} |"


def _agents() -> Iterable[str]:
    yield "## Agents, at the port for agents, by certificate"
    yield ""
    yield "| method | permission | of its own site | of another site | people | nobody |"
    yield "|---|---|---|---|---|---|"
    for row in _rows(methods.AGENTS):
        yield f"| {row.key} | {row.permission} | yes | no | no | no |"


def _gateway() -> Iterable[str]:
    yield "## A site's gateway"
    yield ""
    yield "| method | asks for | bearer of a grant | run of the site, while current | nobody |"
    yield "|---|---|---|---|---|"
    for row in _rows(methods.GATEWAY):
        yield f"| {row.key} | {row.permission} | {' | '.join(_GATEWAY[row.permission])} |"


def _rows(services: Iterable[str]) -> Iterable[methods.Method]:
    for service in services:
        yield from methods.service(service)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
