"""What namespaces have used lately of what all share: charged when a run begins, set right when it ends, fading with time."""

from __future__ import annotations

import dataclasses
from datetime import datetime

from federation import ports
from federation.core import dataset, fairshare, job, quota

#: After this long, what was used counts half.
HALF_LIFE_SECONDS = 7 * 86_400


def charge(tx: ports.Transaction, of: job.Job, run: job.Run) -> None:
    """Counts a run that begins, for all of the time that it is expected to take."""
    meter, units = measured(run.taken(of.request))
    stored = _stored(tx, of.request.namespace, meter)
    _put(tx, stored, _use(stored).charged(units * expected(of), seconds(tx.now), HALF_LIFE_SECONDS))


def settle(tx: ports.Transaction, of: job.Job, run: job.Run) -> None:
    """Puts right what a run that has ended was charged, as if its end had been known when it began."""
    meter, units = measured(run.taken(of.request))
    stored, began = _stored(tx, of.request.namespace, meter), seconds(run.create_time or tx.now)
    error = units * (seconds(tx.now) - began - expected(of))
    _put(tx, stored, _use(stored).settled(error, began, seconds(tx.now), HALF_LIFE_SECONDS))


def uses(tx: ports.Transaction, namespace: str) -> tuple[fairshare.Use, ...]:
    """What a namespace has used, on each meter."""
    return tuple(_use(_stored(tx, namespace, meter)) for meter in fairshare.Meter)


def share(tx: ports.Transaction, namespace: str) -> fairshare.Share:
    """A namespace's weight; jobs of no namespace share as one of weight 1."""
    stored = tx.get(dataset.Namespace, namespace) if namespace else None
    return fairshare.Share(namespace=namespace, weight=stored.weight if stored else 1)


def measured(taken: job.Resources) -> tuple[fairshare.Meter, int]:
    """The meter that a run counts on, and how much each of its seconds counts."""
    return (fairshare.Meter.GPU, taken.gpus) if taken.gpus else (fairshare.Meter.CPU, taken.cpus)


def expected(of: job.Job) -> int:
    """How long a run of a job is expected to take: by its plan, else as its request says."""
    chosen = of.plan.choice if of.plan else None
    return chosen.run_seconds if chosen else of.request.duration_seconds


def seconds(time: datetime) -> int:
    """A time as whole seconds since 1970."""
    return int(time.timestamp())


def _stored(tx: ports.Transaction, namespace: str, meter: fairshare.Meter) -> quota.ShareUse:
    return tx.get(quota.ShareUse, f"{namespace}/{meter}") or quota.ShareUse(namespace=namespace, meter=str(meter))


def _use(stored: quota.ShareUse) -> fairshare.Use:
    return fairshare.Use(
        namespace=stored.namespace,
        meter=fairshare.Meter(stored.meter),
        amount=stored.amount,
        at_seconds=stored.at_seconds,
    )


def _put(tx: ports.Transaction, stored: quota.ShareUse, use: fairshare.Use) -> None:
    changed = dataclasses.replace(stored, amount=use.amount, at_seconds=use.at_seconds)
    if stored.etag:
        tx.replace(changed)
    else:
        tx.insert(changed)
