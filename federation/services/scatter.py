"""Scatter and gather: one run of a job for each part of a partitioned dataset, and one that takes all that they made.

What comes of it is a pipeline like any other: tasks `map-1`, `map-2` and so on, in the order of the parts, and `reduce`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from federation import ports
from federation.core import columns, errors, ids, job
from federation.core.pipeline import PipelineRequest, TaskSpec
from federation.services import datasets

#: The dataset of the part that a map run has; a JSON object, input alias -> part's dataset, for the reduce.
PART = "SCATTER_PART"
PARTS = "SCATTER_PARTS"
REDUCE = "reduce"


def expand(
    tx: ports.Transaction, map_: job.JobRequest, alias: str, reduce: job.JobRequest | None, parts_min: int = 0
) -> PipelineRequest:
    """The pipeline of a scattered job. Its input `alias` is the partitioned dataset; each run has one part under that alias.

    A run writes each output into a dataset of its own, named after its part: `ml/sums` becomes `ml/sums-flights-eu`. The reduce
    has them as inputs `part_1`, `part_2` and so on (`part_1_ALIAS` where a run has several outputs). With `parts_min` so many
    parts at least must succeed, and the others may be left out; 0 for all. InvalidArgument (SCATTER_INVALID) for an input that
    is not there, FailedPrecondition (DATASET_NOT_PARTITIONED) for one that has no parts.
    """
    spec = _scattered(map_, alias)
    parts = _parts(tx, spec)
    if not 0 <= parts_min <= len(parts):
        raise _invalid("parts_min", f"{parts_min} parts of {len(parts)} cannot succeed", f"Ask for 0 to {len(parts)}.")
    if reduce is not None and not map_.outputs:
        raise _invalid("map.outputs", "there is nothing to reduce: the map writes no output", "Add `--output`.")
    words = _words(parts)
    maps = [
        TaskSpec(task=f"map-{number}", request=_map(map_, spec, part, words[part.short]), optional=parts_min > 0)
        for number, part in enumerate(parts, 1)
    ]
    gathered = [TaskSpec(task=REDUCE, request=_reduce(reduce, maps, parts))] if reduce is not None else []
    return PipelineRequest(
        label=map_.label, namespace=map_.namespace, tasks=(*maps, *gathered), parts_min=parts_min, principal=map_.principal
    )


def _scattered(map_: job.JobRequest, alias: str) -> job.InputSpec:
    spec = next((row for row in map_.inputs if row.alias == alias), None)
    if spec is None:
        raise _invalid("alias", f"the map has no input {alias!r}", "Name the input that is partitioned.")
    if spec.version:
        raise _invalid(f"map.inputs.{alias}.version", "a partitioned dataset has no versions", "Leave the version out.")
    return spec


def _parts(tx: ports.Transaction, spec: job.InputSpec) -> tuple[ids.DatasetName, ...]:
    stored = datasets.usable_dataset(tx, ids.dataset(spec.dataset))
    if not stored.parts:
        raise errors.FailedPrecondition(
            f"dataset {stored.name.short} has no parts to scatter over",
            reason="DATASET_NOT_PARTITIONED",
            help="Make one of datasets that are there: fed dataset create NAMESPACE/NAME --part NAMESPACE/PART --part ...",
            metadata={"dataset": stored.name.short},
        )
    return tuple(ids.dataset(part) for part in stored.parts)


def _words(parts: tuple[ids.DatasetName, ...]) -> Mapping[str, str]:
    """What the outputs of each part are named by: the part's own word, with its namespace where two parts share the word."""
    plain = {part.short: part.dataset for part in parts}
    if len(set(plain.values())) == len(parts):
        return plain
    return {part.short: f"{part.namespace}-{part.dataset}" for part in parts}


def _map(map_: job.JobRequest, spec: job.InputSpec, part: ids.DatasetName, word: str) -> job.JobRequest:
    own = dataclasses.replace(spec, dataset=part.short)
    return dataclasses.replace(
        map_,
        label=f"{map_.label}-map" if map_.label else "",
        inputs=tuple(own if row.alias == spec.alias else row for row in map_.inputs),
        outputs=tuple(_own(row, word) for row in map_.outputs),
        env=_with(map_.env, PART, part.short),
    )


def _own(row: job.OutputSpec, word: str) -> job.OutputSpec:
    whole = ids.dataset(row.dataset)
    ids.segment(f"{whole.dataset}-{word}", "dataset")
    return dataclasses.replace(row, dataset=f"{whole.short}-{word}")


def _reduce(reduce: job.JobRequest, maps: list[TaskSpec], parts: tuple[ids.DatasetName, ...]) -> job.JobRequest:
    taken, aliases = [], {}
    for number, (spec, part) in enumerate(zip(maps, parts, strict=True), 1):
        for row in spec.request.outputs:
            alias = f"part_{number}" if len(spec.request.outputs) == 1 else f"part_{number}_{row.alias}"
            # It takes all that they made, so also what they have sealed.
            classes = columns.names(row.column_classes)[1:]
            taken.append(job.InputSpec(alias=alias, dataset="", task=spec.task, output=row.alias, column_classes=classes))
            aliases[alias] = part.short
    return dataclasses.replace(
        reduce, inputs=(*reduce.inputs, *taken), env=_with(reduce.env, PARTS, json.dumps(aliases, sort_keys=True))
    )


def _with(env: tuple[tuple[str, str], ...], name: str, value: str) -> tuple[tuple[str, str], ...]:
    if any(key == name for key, _ in env):
        raise _invalid("env", f"{name} is set by the scatter", "Choose another name.")
    return tuple(sorted((*env, (name, value))))


def _invalid(field: str, told: str, hint: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"the scatter's {field}: {told}", reason="SCATTER_INVALID", help=hint, violations={field: told}
    )
