"""The datasets that a job writes to: what binds them is settled before it is placed, and they are made once it is taken on."""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import dataset, ids, job, policy
from federation.services import datasets, residency
from federation.services.context import Context


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """One output, the dataset as it is (None: yet to be made), and the residency that it will have."""

    spec: job.OutputSpec
    name: ids.DatasetName
    stored: dataset.Dataset | None
    residency: tuple[str, ...]


def settle(tx: ports.Transaction, request: job.JobRequest) -> tuple[Target, ...]:
    """What each output will be bound by: the strictest of all inputs and of what binds it already. Changes nothing.

    InvalidArgument (RESIDENCY_CONTRADICTION) where no place may hold it, or where its own replicas lie outside.
    """
    names = (ids.dataset(spec.dataset) for spec in request.inputs)
    inputs = tuple((f"input {name.short}", datasets.get_dataset(tx, name).residency) for name in names)
    policy.binding(inputs)
    return tuple(_target(tx, spec, inputs) for spec in request.outputs)


def _target(tx: ports.Transaction, spec: job.OutputSpec, inputs: tuple[residency.Bound, ...]) -> Target:
    name = ids.dataset(spec.dataset)
    stored = tx.get(dataset.Dataset, name.short)
    if stored is None:
        return Target(spec=spec, name=name, stored=None, residency=policy.binding(inputs))
    datasets.usable_dataset(tx, name)
    bound = policy.binding((*inputs, (f"output {name.short}", stored.residency)))
    outside = datasets.replica_outside(tx, dataclasses.replace(stored, residency=bound))
    if outside is not None:
        held, where = outside
        culprits = tuple((one, rule) for one, rule in inputs if rule and where not in rule)
        told = f"{held.version.short} lies at {held.site} ({where}), but " + " and ".join(
            f"{one} must stay in {', '.join(rule)}" for one, rule in culprits
        )
        raise residency.contradiction(told, culprits)
    return Target(spec=spec, name=name, stored=stored, residency=bound)


def ensure(tx: ports.Transaction, ctx: Context, targets: tuple[Target, ...]) -> None:
    """Makes what is not there yet, namespaces too, and tightens what is."""
    for target in targets:
        if target.stored is None:
            _make(tx, ctx, target)
        elif target.stored.residency != target.residency:
            datasets.put_dataset(tx, dataclasses.replace(target.stored, residency=target.residency))


def _make(tx: ports.Transaction, ctx: Context, target: Target) -> None:
    if tx.get(dataset.Namespace, target.name.namespace) is None:
        datasets.create_namespace(tx, ctx, dataset.Namespace(name=target.name.namespace))
    datasets.create_dataset(
        tx,
        ctx,
        dataset.Dataset(
            namespace=target.name.namespace,
            dataset=target.name.dataset,
            kind=dataset.DatasetKind(target.spec.kind),
            residency=target.residency,
        ),
    )
