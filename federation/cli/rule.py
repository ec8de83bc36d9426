"""`fed rule`: how many replicas of a dataset there shall be, and where."""

from __future__ import annotations

import click

from federation.cli.answers import Done
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import ids, units
from federation.core.transfer import ReplicationRule

rule = noun("rule", "How many replicas of a dataset there shall be, and where.")


@verb(
    rule,
    "create",
    answers=ReplicationRule,
    example="fed rule create eu-copies sales/flights --copies 2 --sites 'jurisdiction = \"EU\"'",
)
@click.argument("name", metavar="RULE")
@click.argument("dataset", metavar="DATASET")
@click.option(
    "--copies", type=click.IntRange(1), default=1, show_default=True, help="How many sites shall hold its newest version."
)
@click.option(
    "--sites",
    "site_filter",
    metavar="EXPRESSION",
    default="",
    help="Which sites, by region, jurisdiction or site.",
)
@click.option("--lifetime", default="", metavar="30d", help="End the rule, and what it made, after this time.")
def create(session: Session, *, name: str, dataset: str, copies: int, site_filter: str, lifetime: str) -> None:
    """Wants a number of replicas of a dataset's newest version, from now on.

    Missing ones are brought to the sites where storing and sending them is cheapest; each new version is followed. What keeps a
    rule from being fulfilled stands in `fed rule show`.
    """
    asked = ReplicationRule(
        rule=name,
        dataset=ids.dataset(dataset).short,
        copies=copies,
        site_filter=site_filter,
        lifetime_seconds=units.parse_duration(lifetime) if lifetime else 0,
    )
    session.output.outcome(session.client.create_replication_rule(asked))


@verb(rule, "list", answers=list[ReplicationRule], example="fed rule list --filter 'dataset = \"sales/flights\"'")
@click.option("--filter", "filter_", metavar="EXPRESSION", default="", help="For example 'dataset = \"sales/flights\"'.")
def list_(session: Session, *, filter_: str) -> None:
    """Lists rules, and what keeps each from being fulfilled."""
    session.output.rows(session.client.list_replication_rules(filter=filter_))


@verb(rule, "show", answers=ReplicationRule, example="fed rule show eu-copies")
@click.argument("name", metavar="RULE")
def show(session: Session, *, name: str) -> None:
    """Shows a rule and what keeps it from being fulfilled, if something does."""
    session.output.item(session.client.get_replication_rule(name))


@verb(rule, "delete", answers=Done, example="fed rule delete eu-copies")
@click.argument("name", metavar="RULE")
@click.option("--etag", default="", help="Refuse if it changed since this etag was read.")
def delete(session: Session, *, name: str, etag: str) -> None:
    """Ends a rule. Replicas that only it wanted are dropped once nobody reads them."""
    session.client.delete_replication_rule(name, etag=etag)
    session.output.done("deleted", f"replicationRules/{ids.child(name, 'replicationRules')}", f"rule {name} has ended")
