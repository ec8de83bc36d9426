"""What namespaces spend in a month: reserved when a run begins, counted when it ends, and what their jobs may still spend.

The fair share of a saturated federation is reckoned from the same figures.
"""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime

from federation import ports
from federation.core import dataset, errors, job, metering, quota, world
from federation.services import scan

_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")


def budget(tx: ports.Transaction, namespace: str) -> world.Budget:
    """What the jobs of a namespace may spend this month, and what they have; jobs of no namespace have no limit."""
    stored = tx.get(dataset.Namespace, namespace) if namespace else None
    return world.Budget(
        gpu_seconds_quota=stored.gpu_seconds_quota if stored else 0,
        egress_micros_quota=stored.egress_micros_quota if stored else 0,
        usage=usage(tx, namespace, tx.now),
    )


def usage(tx: ports.Transaction, namespace: str, time: datetime) -> quota.NamespaceUsage:
    """What the jobs of a namespace have taken in the month of a moment."""
    return _usage(tx, namespace, metering.month(time))


def _usage(tx: ports.Transaction, namespace: str, month: str) -> quota.NamespaceUsage:
    found = tx.get(quota.NamespaceUsage, f"{month}/{namespace}")
    return found or quota.NamespaceUsage(namespace=namespace, month=month)


def usages(tx: ports.Transaction, month: str = "") -> tuple[quota.NamespaceUsage, ...]:
    """What the jobs of each namespace have taken in a month, this one if none is given; by name."""
    month = month or metering.month(tx.now)
    if not _MONTH.fullmatch(month):
        raise errors.InvalidArgument(f"{month!r} is not a month", reason="MONTH_INVALID", help="Write it like 2026-11.")
    return tuple(scan.every(tx, quota.NamespaceUsage, parent=month))


def reserve(tx: ports.Transaction, of: job.Job, run: job.Run) -> None:
    """Counts what a run that begins is expected to take, so that the jobs after it see a budget that is already promised."""
    gpu_seconds, cpu_seconds, egress_micros = _expected(of, run)
    _add(
        tx,
        of.request.namespace,
        run,
        reserved_gpu_seconds=gpu_seconds,
        reserved_cpu_seconds=cpu_seconds,
        reserved_egress_micros=egress_micros,
    )


def release(tx: ports.Transaction, of: job.Job, run: job.Run) -> None:
    """Counts what a run that has ended did take, from its placement to its end, in the place of what was expected."""
    gpu_seconds, cpu_seconds, egress_micros = _expected(of, run)
    held, began = run.taken(of.request), run.create_time or tx.now
    seconds = max(int(((run.end_time or tx.now) - began).total_seconds()), 0)
    _add(
        tx,
        of.request.namespace,
        run,
        gpu_seconds=held.gpus * seconds,
        cpu_seconds=held.cpus * seconds,
        reserved_gpu_seconds=-gpu_seconds,
        reserved_cpu_seconds=-cpu_seconds,
        reserved_egress_micros=-egress_micros,
    )


def charge(tx: ports.Transaction, entry: metering.LedgerEntry) -> None:
    """Counts what a job's read was charged; corrections, too, in the month of what they correct."""
    if entry.job and entry.charge_micros:
        stored = _usage(tx, entry.payer, entry.month)
        _put(tx, dataclasses.replace(stored, egress_micros=stored.egress_micros + entry.charge_micros))


def _expected(of: job.Job, run: job.Run) -> tuple[int, int, int]:
    """GPU seconds, CPU seconds and egress of the plan that the run was begun by: the same when it begins and when it ends."""
    chosen = of.plan.choice if of.plan else None
    if chosen is None:
        return 0, 0, 0
    held = run.taken(of.request)
    return held.gpus * chosen.run_seconds, held.cpus * chosen.run_seconds, chosen.egress_micros


def _add(tx: ports.Transaction, namespace: str, run: job.Run, **amounts: int) -> None:
    """All of a run is counted in the month in which it began: what was reserved there is given back there."""
    if any(amounts.values()):
        stored = usage(tx, namespace, run.create_time or tx.now)
        _put(tx, dataclasses.replace(stored, **{name: getattr(stored, name) + by for name, by in amounts.items()}))


def _put(tx: ports.Transaction, changed: quota.NamespaceUsage) -> None:
    known = tx.get(quota.NamespaceUsage, f"{changed.month}/{changed.namespace}")
    if known is None:
        tx.insert(changed)
    else:
        tx.replace(changed)
