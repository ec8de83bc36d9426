"""A plan in the words of other schedulers: Ray's label selector, Kueue's nominated clusters, Karmada's cluster affinities.

Ray: `label_selector` and `fallback_strategy` of `@ray.remote` and `.options()`, default node labels as of Ray 2.60. Kueue: the
status of a `kueue.x-k8s.io/v1beta2` Workload, as an external MultiKueue dispatcher sets it; clusters are called like the sites.
Karmada: a `policy.karmada.io/v1alpha1` PropagationPolicy, whose `clusterAffinities` are tried in their order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from federation.core import errors
from federation.core.job import Candidate, Job, Plan

ACCELERATOR = "ray.io/accelerator-type"
MARKET = "ray.io/market-type"
REGION = "ray.io/availability-region"
#: `nominatedClusterNames` holds at most so many.
NOMINATED_MAX = 10
#: An `affinityName` has at most so many characters.
AFFINITY_CHARS_MAX = 32
#: Where the order of clusters is told to those for whom a list has none.
RANKING = "dataset-federation/ranking"


def ray(job: Job) -> dict[str, Any]:
    """Options for a Ray task, actor or entrypoint that bind it to the chosen place, the others to fall back to in their order.

    The place is its provider's own name of the region, as cloud nodes are labelled: a label cannot hold `aws:`.
    """
    plan, asked = _chosen(job), job.request.resources
    options: dict[str, Any] = {"num_cpus": asked.cpus, "label_selector": _labels(plan.ranked[0])}
    if asked.gpus:
        options["num_gpus"] = asked.gpus
    if asked.memory_bytes:
        options["memory"] = asked.memory_bytes
    others = [labels for candidate in plan.ranked[1:] if (labels := _labels(candidate)) != options["label_selector"]]
    if others:
        options["fallback_strategy"] = [
            {"label_selector": labels} for i, labels in enumerate(others) if labels not in others[:i]
        ]
    return options


def _labels(candidate: Candidate) -> dict[str, str]:
    labels = {REGION: candidate.region.partition(":")[2]}
    if candidate.gpu_type:
        labels[ACCELERATOR] = candidate.gpu_type
        # Not `on-demand`: nodes that nobody labelled are no spot nodes either.
        labels[MARKET] = "spot" if candidate.spot else "!spot"
    return labels


def kueue(job: Job) -> dict[str, Any]:
    """The status patch of a MultiKueue Workload: the cluster that is chosen, and those that cost exactly as much.

    MultiKueue asks all nominated clusters at once and the first wins, so dearer ones are not nominated; their order stands in
    an annotation, for the dispatcher's next try.
    """
    plan = _chosen(job)
    least = plan.ranked[0]
    equal = [row for row in plan.ranked if (row.avoided, row.objective_micros) == (least.avoided, least.objective_micros)]
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {"name": _named(job.job), "annotations": {RANKING: ",".join(row.site for row in plan.ranked)}},
        "status": {"nominatedClusterNames": [row.site for row in equal[:NOMINATED_MAX]]},
    }


def karmada(job: Job) -> dict[str, Any]:
    """A PropagationPolicy for a RayJob of the job's name: one cluster at a time, the cheapest first."""
    plan = _chosen(job)
    return {
        "apiVersion": "policy.karmada.io/v1alpha1",
        "kind": "PropagationPolicy",
        "metadata": {"name": _named(job.job)},
        "spec": {
            "resourceSelectors": [{"apiVersion": "ray.io/v1", "kind": "RayJob", "name": _named(job.request.label or job.job)}],
            "placement": {
                "clusterAffinities": [
                    {"affinityName": f"{i}-{row.site}"[:AFFINITY_CHARS_MAX].rstrip("-"), "clusterNames": [row.site]}
                    for i, row in enumerate(plan.ranked, 1)
                ],
                "replicaScheduling": {"replicaSchedulingType": "Duplicated"},
            },
        },
    }


def _named(text: str) -> str:
    """A name as Kubernetes takes it: what it does not know becomes a dash."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:63].strip("-") or "job"


def _chosen(job: Job) -> Plan:
    if job.plan is None or job.plan.choice is None:
        reasons = sorted({row.reason for row in job.plan.rejections}) if job.plan else []
        raise errors.FailedPrecondition(
            "there is nothing to render: no site can run the job" + (f" ({', '.join(reasons)})" if reasons else ""),
            reason="PLAN_WITHOUT_SITE",
            help="`-o table` says why each site was set aside.",
        )
    return job.plan


#: The word of a command line -> what it renders.
RENDERERS: Mapping[str, Callable[[Job], dict[str, Any]]] = {"ray": ray, "kueue": kueue, "karmada": karmada}
