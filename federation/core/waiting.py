"""How long until a site has room for a job: when the runs that hold it are expected to give enough back."""

from __future__ import annotations

import math

from federation.core import filters, job, site, world


def seconds(wanted: job.Resources, at: site.Site, seen: world.World) -> int | None:
    """0 where there is room now; None where what is predicted to be given back does not suffice.

    Runs give back what they hold in the order of their predicted ends. One that is overdue is expected at any moment, which is
    not now: a second.
    """
    load = filters.in_use(at, seen)
    if load is None or filters.short(wanted, at, load) is None:
        return 0
    for run in sorted(seen.occupied.get(at.site, ()), key=lambda run: (run.end_time, run.run)):
        load = _less(load, run.resources)
        if filters.short(wanted, at, load) is None:
            return max(1, math.ceil((run.end_time - seen.now).total_seconds()))
    return None


def _less(load: site.SiteLoad, back: job.Resources) -> site.SiteLoad:
    """A load without what one run holds of it."""
    gpus = dict(load.gpus)
    if back.gpus:
        gpus[back.gpu_type] = max(gpus.get(back.gpu_type, 0) - back.gpus, 0)
    return site.SiteLoad(
        site=load.site,
        cpus=max(load.cpus - back.cpus, 0),
        memory_bytes=max(load.memory_bytes - back.memory_bytes, 0),
        gpus=tuple(gpus.items()),
    )
