"""Decisions about jobs, told once each: what had an effect or a new reason, for the record's table `placement_decisions`."""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import dataset, decision, job
from federation.services import pricing
from federation.services.context import Context


def tell(tx: ports.Transaction, ctx: Context, decided: job.Job, plan: job.Plan | None, outcome: decision.Outcome) -> job.Job:
    """Tells of the decision that a job is being left with; the job then bears its id, and is yet to be stored.

    `plan` is None where none could be made any more.
    """
    residency = {}
    for spec in decided.request.inputs:
        found = tx.get(dataset.Dataset, spec.dataset)
        residency[spec.dataset] = found.residency if found else ()
    made = decision.decide(
        decided,
        plan,
        outcome,
        decision=ctx.ids.new("d"),
        supersedes=decided.decision,
        time=tx.now,
        rate_card=pricing.rates(tx, ctx).number,
        residency=residency,
    )
    tx.emit("placement.decided", f"jobs/{made.job}", made)
    return dataclasses.replace(decided, decision=made.decision)
