"""Which panes each place has: one function for each kind of place, by the subject that it belongs to."""

from __future__ import annotations

from collections.abc import Callable

from federation.browse import (
    fitting,
    governing,
    sides_data,
    sides_money,
    sides_sites,
    sides_work,
)
from federation.browse.clients import Clients
from federation.browse.panes import Pane
from federation.browse.place import Kind, Place
from federation.core import discovery


def of(where: Place, clients: Clients) -> list[Pane]:
    """The panes of a place, in their order; the first is shown first."""
    return _SIDES[where.kind](where, clients)


_SIDES: dict[Kind, Callable[[Place, Clients], list[Pane]]] = {
    Kind.DATA: sides_data.all_namespaces,
    Kind.NAMESPACE: sides_data.of_namespace,
    Kind.DATASET: sides_data.of_dataset,
    Kind.VERSION: sides_data.of_version,
    Kind.FILE: sides_data.of_file,
    Kind.SITES: sides_sites.all_sites,
    Kind.SITE: sides_sites.of_site,
    Kind.JOBS: sides_work.all_jobs,
    Kind.JOB: sides_work.of_job,
    Kind.TRANSFERS: sides_work.all_transfers,
    Kind.TRANSFER: sides_work.of_transfer,
    Kind.COSTS: sides_money.all_costs,
    Kind.PIPELINES: sides_work.all_pipelines,
    Kind.PIPELINE: sides_work.of_pipeline,
    Kind.BUDGETS: sides_money.all_budgets,
    Kind.BUDGET: sides_money.of_budget,
    Kind.POLICIES: governing.section,
    Kind.REVISION: governing.revision,
    Kind.POLICY: governing.policy,
}

FOUND = fitting.pick(discovery.Found, "NAME", "KIND", "FOUND IN", "DESCRIPTION", "OWNER")
