"""The datasets that a job writes to: what binds them is settled before it is placed, and they are made once it is taken on.

An output inherits what binds the inputs. One that asks for its release does not, if the owner of every binding input lets
outputs of its size leave; how large it is shows at its commit, where it is refused or told to everyone who reads the events.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from federation import ports
from federation.core import dataset, errors, ids, job, lineage, policy, units
from federation.core.dataset import NO_RESTRICTIONS, Restrictions
from federation.services import authorization, bindings, datasets, namespaces, residency, sites
from federation.services.context import Context


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bound:
    """A dataset that binds others, by its role (`input sales/orders`): its residency, and how many bytes made of it may leave.

    `restrictions` are what else binds what is made of it.
    """

    role: str
    dataset: str
    residency: tuple[str, ...]
    release_bytes_max: int = 0
    restrictions: Restrictions = NO_RESTRICTIONS

    @property
    def rule(self) -> tuple[str, tuple[str, ...]]:
        """Role and residency."""
        return self.role, self.residency


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """One output, the dataset as it is (None: yet to be made), and the residency and release that it will have.

    `bounds` are what binds whoever reads it, and where that comes from. `owner` is who asked for it. `restrictions` is what it
    inherits of everything that is made into it.
    """

    spec: job.OutputSpec
    name: ids.DatasetName
    stored: dataset.Dataset | None
    residency: tuple[str, ...]
    release_bytes_max: int = 0
    bounds: tuple[Bound, ...] = ()
    owner: str = ""
    restrictions: Restrictions = NO_RESTRICTIONS


def settle(tx: ports.Transaction, request: job.JobRequest, upstream: Iterable[Bound] = ()) -> tuple[Target, ...]:
    """What each output will be bound by: the strictest of all inputs and of what binds it already. Changes nothing.

    `upstream` binds inputs that are yet to be made. InvalidArgument (RESIDENCY_CONTRADICTION) where no place may hold it, or
    where its own replicas lie outside; PermissionDenied (RELEASE_NOT_ALLOWED) names an input that no output may leave,
    and (RESIDENCY_DENIED) a site that an output cannot be delivered to.
    """
    inputs = tuple(dict.fromkeys((*_inputs(tx, request), *upstream)))
    policy.binding(bound.rule for bound in inputs)
    return tuple(_target(tx, request, spec, inputs) for spec in request.outputs)


def _inputs(tx: ports.Transaction, request: job.JobRequest) -> tuple[Bound, ...]:
    stored = (datasets.get_dataset(tx, ids.dataset(spec.dataset)) for spec in request.inputs)
    return tuple(_bound("input", each) for each in stored)


def _bound(role: str, stored: dataset.Dataset) -> Bound:
    return Bound(
        role=f"{role} {stored.name.short}",
        dataset=stored.name.short,
        residency=stored.residency,
        release_bytes_max=stored.release_bytes_max,
        restrictions=dataclasses.replace(stored.restrictions, residency=()),
    )


def _target(tx: ports.Transaction, request: job.JobRequest, spec: job.OutputSpec, inputs: tuple[Bound, ...]) -> Target:
    name = ids.dataset(spec.dataset)
    stored = tx.get(dataset.Dataset, name.short)
    if spec.release:
        _require_releasable(spec, inputs)
        # It may leave; how it may be used, and by whom, is as before.
        inputs = tuple(dataclasses.replace(bound, residency=(), release_bytes_max=0) for bound in inputs)
    bounds = inputs
    if stored is not None:
        datasets.whole_dataset(tx, name)
        bounds = (*inputs, _bound("output", stored))
    binding = tuple(bound for bound in bounds if bound.residency)
    found = Target(
        spec=spec,
        name=name,
        stored=stored,
        residency=policy.binding(bound.rule for bound in binding),
        # What is made of several may leave only as far as each of them allows.
        release_bytes_max=min(
            (bound.release_bytes_max for bound in binding), default=stored.release_bytes_max if stored else 0
        ),
        bounds=tuple(bound for bound in bounds if bound.residency or bound.restrictions),
        owner=request.principal,
        restrictions=dataclasses.replace(
            dataset.strictest(bound.restrictions for bound in inputs),
            residency=policy.binding(bound.rule for bound in inputs if bound.residency),
        ),
    )
    _require_deliverable(tx, found)
    if stored is not None:
        _require_inside(tx, dataclasses.replace(stored, residency=found.residency), inputs)
    return found


def _require_deliverable(tx: ports.Transaction, target: Target) -> None:
    """PermissionDenied for a delivery that residency forbids: refused now, it cannot fail only after the run has ended."""
    if target.spec.deliver_to:
        place = sites.get_site(tx, target.spec.deliver_to)
        residency.require_site(target.name.short, target.residency, place.site, place.jurisdiction)


def _require_inside(tx: ports.Transaction, bound: dataset.Dataset, inputs: tuple[Bound, ...]) -> None:
    outside = datasets.replica_outside(tx, bound)
    if outside is None:
        return
    held, where = outside
    culprits = tuple(each.rule for each in inputs if each.residency and where not in each.residency)
    told = f"{held.version.short} lies at {held.site} ({where}), but " + " and ".join(
        f"{one} must stay in {', '.join(rule)}" for one, rule in culprits
    )
    raise residency.contradiction(told, culprits)


def ensure(tx: ports.Transaction, ctx: Context, targets: tuple[Target, ...], *, by: str) -> None:
    """Makes what is not there yet, namespaces too, and tightens what is. `by` is the job that it is done for."""
    for target in targets:
        own = target.name.short
        inherited = tuple(
            dict.fromkeys(
                lineage.Binding(dataset=bound.dataset, residency=bound.residency)
                for bound in target.bounds
                if bound.dataset != own and bound.residency
            )
        )
        sources = tuple(sorted({bound.dataset for bound in target.bounds if bound.dataset != own}))
        origin = bindings.Origin(by=by, inputs=inherited)
        if target.stored is None:
            _make(tx, ctx, target, origin)
        else:
            bound = dataclasses.replace(
                _restricted(target.stored, target), residency=target.residency, release_bytes_max=target.release_bytes_max
            )
            if bound != target.stored:
                datasets.put_dataset(tx, bound, origin=origin)
        if target.restrictions and sources:
            bindings.inherit(tx, target.name, target.restrictions, sources)
        if inherited:
            bindings.note_inherited(tx, datasets.get_dataset(tx, target.name), origin)


def _make(tx: ports.Transaction, ctx: Context, target: Target, origin: bindings.Origin) -> None:
    if tx.get(dataset.Namespace, target.name.namespace) is None:
        namespaces.create(tx, ctx, dataset.Namespace(name=target.name.namespace, owner=target.owner))
    datasets.create_dataset(
        tx,
        ctx,
        _restricted(
            dataset.Dataset(
                namespace=target.name.namespace,
                dataset=target.name.dataset,
                kind=dataset.DatasetKind(target.spec.kind),
                residency=target.residency,
                release_bytes_max=target.release_bytes_max,
                owner=target.owner,
            ),
            target,
        ),
        origin=origin,
    )


def _restricted(stored: dataset.Dataset, target: Target) -> dataset.Dataset:
    """An output's dataset with its own restrictions and those that it inherits."""
    found = dataset.strictest((stored.restrictions, target.restrictions))
    return dataclasses.replace(
        stored,
        classification=found.classification,
        purposes=found.purposes,
        use_expire_time=found.use_expire_time,
        group_size_min=found.group_size_min,
    )


# Release


def release(
    tx: ports.Transaction, ctx: Context, request: job.JobRequest, run: str, versions: Iterable[tuple[str, dataset.Version]]
) -> None:
    """Tells of each committed output, by alias, that left its inputs' residency, and before of the decisions that let it.

    Raises for one that may not, so that nothing is committed: RELEASE_TOO_LARGE, or RELEASE_NOT_ALLOWED where an owner has
    changed their mind since it was submitted. For an aggregate, released or not, GROUPS_TOO_SMALL.
    """
    specs = {spec.alias: spec for spec in request.outputs}
    for alias, version in versions:
        spec, inputs = specs[alias], _inputs(tx, request)
        if spec.count_column:
            _require_groups(tx, spec, version, inputs)
        if spec.release:
            authorization.require_release(tx, ctx, request, job=run.rpartition("/runs/")[0], group_size=version.group_size)
            _release(tx, spec, run, version, inputs)


def _require_groups(tx: ports.Transaction, spec: job.OutputSpec, version: dataset.Version, inputs: tuple[Bound, ...]) -> None:
    """Returns for an aggregate whose smallest group, as its site counted it, is as large as each input and it itself ask."""
    own = datasets.get_dataset(tx, version.name.dataset)
    tightest = max((*inputs, _bound("output", own)), key=lambda bound: bound.restrictions.group_size_min)
    least = tightest.restrictions.group_size_min
    if version.group_size is None or version.group_size < least:
        found = "was not counted" if version.group_size is None else f"is about {version.group_size}"
        raise errors.FailedPrecondition(
            f"the smallest group of the output {spec.alias} {found}, and {tightest.dataset} asks for {least} or more",
            reason="GROUPS_TOO_SMALL",
            help="Leave out small groups, or put them together, before the output is written.",
            metadata={"output": spec.alias, "dataset": tightest.dataset, "group_size": str(version.group_size or 0)},
        )


def _release(
    tx: ports.Transaction, spec: job.OutputSpec, run: str, version: dataset.Version, inputs: tuple[Bound, ...]
) -> None:
    binding = _require_releasable(spec, inputs)
    if not binding:
        return
    tightest = min(binding, key=lambda bound: bound.release_bytes_max)
    if version.total_bytes > tightest.release_bytes_max:
        raise errors.FailedPrecondition(
            f"the output {spec.alias} has {version.total_bytes:,} bytes, and {tightest.dataset} lets at most"
            f" {tightest.release_bytes_max:,} ({units.size(tightest.release_bytes_max)}) leave",
            reason="RELEASE_TOO_LARGE",
            help="Write less: sums instead of rows. Or have its owner raise the limit: "
            f"fed dataset update {tightest.dataset} --release-max SIZE.",
            metadata={"output": spec.alias, "dataset": tightest.dataset, "bytes": str(version.total_bytes)},
        )
    told = dataset.Release(
        version=version.name.short,
        run=run,
        inputs=tuple(sorted(bound.dataset for bound in binding)),
        bytes=version.total_bytes,
        bytes_max=tightest.release_bytes_max,
        group_size=version.group_size,
        group_size_min=max(bound.restrictions.group_size_min for bound in binding),
    )
    tx.emit("output.released", version.name.resource, told)
    left = tuple(lineage.Binding(dataset=bound.dataset, residency=bound.residency) for bound in binding)
    bindings.note_released(tx, datasets.get_dataset(tx, version.name.dataset), told, left)


def _require_releasable(spec: job.OutputSpec, inputs: tuple[Bound, ...]) -> tuple[Bound, ...]:
    """The inputs that bind, if all of their owners allow a release."""
    binding = tuple(dict.fromkeys(bound for bound in inputs if bound.residency))
    for bound in binding:
        if not bound.release_bytes_max:
            raise errors.PermissionDenied(
                f"the output {spec.alias} may not be released: {bound.dataset} must stay in {', '.join(bound.residency)},"
                " and its owner lets nothing that is made of it leave",
                reason="RELEASE_NOT_ALLOWED",
                help="Leave the release out, or have its owner allow it: "
                f"fed dataset update {bound.dataset} --release-max 1MB.",
                metadata={"output": spec.alias, "dataset": bound.dataset, "residency": ",".join(bound.residency)},
            )
    return binding
