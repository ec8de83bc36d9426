"""The panes of policies: the set that holds and those before it, policy by policy, and what was decided lately by them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from federation.browse import apart, fitting, gathering, panes
from federation.browse.clients import Clients
from federation.browse.panes import Pane
from federation.browse.place import HOLDS, Kind, Place
from federation.client import AsyncClient
from federation.core import errors
from federation.core.authorization import PolicyRevision, Rule
from federation.core.screen import safe
from federation.core.trail import AuditRow
from federation.shown import shapes, wording

_WATCHED = 'type = "policies"'
_DECISIONS_MAX = 100
_DECISIONS = (
    f"The newest {_DECISIONS_MAX} decisions that something followed from, and refusals, are read from the audit.\n\n"
    "That you read them stands in the audit as well, with your name.\n\nPress p to read them."
)
_RULES = (
    shapes.Column(heading="POLICY", show=lambda v: v.rule.policy),
    shapes.Column(heading="EFFECT", show=lambda v: v.rule.effect),
    shapes.Column(heading="ACTIONS", show=lambda v: ", ".join(v.rule.actions)),
    shapes.Column(heading="BECAUSE", show=lambda v: v.rule.because),
    shapes.Column(heading="CONTROL", show=lambda v: v.rule.control),
)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A policy of a revision."""

    revision: str
    rule: Rule


def section(_: Place, clients: Clients) -> list[Pane]:
    """The set that holds, who put it in force, all revisions, and what was decided by them."""
    client = clients.loop

    async def decisions(_: str) -> Sequence[AuditRow]:
        rows: list[AuditRow] = []
        async for row in client.list_audit_entries(filter='kind = "policy.*"'):
            rows.append(row)
            if len(rows) == _DECISIONS_MAX:
                break
        return rows

    async def purposes() -> Sequence[str]:
        return ()

    return [
        _rules(client, HOLDS),
        _text(client, HOLDS),
        panes.TablePane(
            "Revisions",
            lambda _: _newest_first(client),
            fitting.pick(PolicyRevision, "REVISION", "POLICIES", "BY", "APPLIED", "NOTE", "DIGEST"),
            opens=lambda row: Place(kind=Kind.REVISION, name=str(row.number)),
            noun="revisions",
            watched=_WATCHED,
        ),
        panes.AskedPane(
            "Decisions",
            decisions,
            fitting.pick(AuditRow, "TIME", "OUTCOME", "WHO", "DATASET", "SITE", "KIND", "RESOURCE", "POSITION"),
            name_of=lambda row: f"auditEntries/{row.position}",
            noun="decisions",
            empty="Nothing was decided lately.",
            warning=_DECISIONS,
            purposes=purposes,
        ),
    ]


def revision(where: Place, clients: Clients) -> list[Pane]:
    """A set that holds or held."""
    return [_rules(clients.loop, where.name), _text(clients.loop, where.name)]


def policy(where: Place, clients: Clients) -> list[Pane]:
    """One policy: what it is about, and its text."""

    async def drawn() -> RenderableType:
        rules = {row.policy: row for row in await _compiled(await _revision(clients.loop, where.name))}
        if where.part not in rules:
            raise errors.NotFound(f"there is no policy {where.part} in this revision", help="Esc leads back to those that are.")
        rule = rules[where.part]
        told = (
            ("policy", rule.policy),
            ("effect", rule.effect),
            ("actions", ", ".join(rule.actions)),
            ("because", rule.because),
            ("control", rule.control),
        )
        return Group(panes.pairs(told), Text(""), Text(safe(rule.text)))

    return [panes.TextPane("Policy", drawn, watched=_watched(where.name))]


def _rules(client: AsyncClient, number: str) -> Pane:
    async def rows(_: str) -> AsyncIterator[_Held]:
        for rule in await _compiled(await _revision(client, number)):
            yield _Held(revision=number, rule=rule)

    return panes.TablePane(
        "Policies",
        rows,
        _RULES,
        opens=lambda row: Place(kind=Kind.POLICY, name=row.revision, part=row.rule.policy),
        noun="policies",
        watched=_watched(number),
    )


def _text(client: AsyncClient, number: str) -> Pane:
    async def drawn() -> RenderableType:
        found = await _revision(client, number)
        pairs = [pair for pair in wording.fields(found) if pair[0] != "text"]
        return Group(panes.pairs(pairs), Text(""), Text(safe(found.text)))

    return panes.TextPane("Revision", drawn, watched=_watched(number))


def _watched(number: str) -> str:
    """A revision never changes; which of them holds does."""
    return _WATCHED if number == HOLDS else ""


async def _revision(client: AsyncClient, number: str) -> PolicyRevision:
    return await client.get_policy_revision(None if number == HOLDS else int(number))


async def _newest_first(client: AsyncClient) -> AsyncIterator[PolicyRevision]:
    """The revision that holds, and all before it, piece by piece as they are wanted."""
    newest = await _revision(client, HOLDS)
    yield newest
    async for found in gathering.asked(client.get_policy_revision, range(newest.number - 1, -1, -1)):
        yield found


async def _compiled(found: PolicyRevision) -> Sequence[Rule]:
    """Its policies one by one."""
    from federation.bootstrap import policies  # noqa: PLC0415 - a server's wiring, needed by this pane alone

    def compiled() -> Sequence[Rule]:
        return policies.compiler().compile(found.text).rules

    return await apart.run(compiled)
