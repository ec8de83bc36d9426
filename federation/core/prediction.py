"""How long a run will take, how much it will read and write: from what earlier runs of the same job did, else from the request.

Every figure says where it comes from. Middle values are used, never means: one run that crawled or stalled must not spoil the
next plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

from federation.core import job, profile, units

#: So many runs on inputs of different sizes tell how time grows with the input; fewer tell only how long it took.
SAMPLES_TO_SCALE = 3
#: The largest of them must have read so many times what the smallest read: of like sizes only noise would be scaled.
SPREAD_TO_SCALE = 2


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is expected of a run: `seconds` from its first line to its last, and where that figure comes from.

    `read_fractions` is how much of an input earlier runs read, by alias; `read_percents` and `assumed_writes` are the request's
    own word, for what no earlier run tells.
    """

    seconds: int
    seconds_source: str
    notes: tuple[str, ...] = ()
    read_fractions: Mapping[str, Fraction]
    written: Mapping[str, int]
    read_percents: Mapping[str, int]
    assumed_writes: Mapping[str, int]

    def read_bytes(self, alias: str, version_bytes: int) -> int:
        """What the run will read of an input of that size."""
        known = self.read_fractions.get(alias)
        if known is not None:
            return units.divide_half_even(version_bytes * known.numerator, known.denominator)
        return units.divide_half_even(version_bytes * (self.read_percents.get(alias) or 100), 100)

    def written_bytes(self, alias: str) -> int | None:
        """What the run will write to an output; None where neither an earlier run nor the request tells."""
        known = self.written.get(alias)
        return known if known is not None else self.assumed_writes.get(alias) or None


def predict(
    request: job.JobRequest,
    known: profile.JobProfile | None,
    *,
    gpu_type: str = "",
    input_bytes: int | None = None,
) -> Prediction:
    """What to expect of a run on GPUs of a type (empty for none, or any).

    Of earlier runs those with the same resources go first, then those on the same type of GPU, then all. `input_bytes` is the
    size of all inputs now: where earlier runs show how time grows with it, the figure is scaled. Without earlier runs it is the
    request's.
    """
    samples = known.samples if known else ()
    seconds, source, notes = _seconds(request, samples, gpu_type, input_bytes)
    fractions = _fractions(samples)
    return Prediction(
        seconds=seconds,
        seconds_source=source,
        notes=(*notes, *_read_notes(request, fractions)),
        read_fractions=fractions,
        written=_written(samples),
        read_percents={spec.alias: spec.read_percent for spec in request.inputs if spec.read_percent},
        assumed_writes={spec.alias: spec.assumed_bytes for spec in request.outputs if spec.assumed_bytes},
    )


def _seconds(
    request: job.JobRequest, samples: Sequence[profile.RunSample], gpu_type: str, input_bytes: int | None
) -> tuple[int, str, tuple[str, ...]]:
    if request.kind is job.JobKind.INGEST:
        return request.duration_seconds, "the request", ()
    if not samples:
        if request.duration_seconds == job.JobRequest.duration_seconds:
            return request.duration_seconds, "the default", (f"a run of {request.duration_seconds} s is assumed, the default",)
        return request.duration_seconds, "the request", ()
    alike, which = _alike(request, samples, gpu_type)
    line = _line(request, alike) if input_bytes is not None else None
    if line is None or input_bytes is None:
        seconds = max(1, _middle_int([sample.seconds for sample in alike]))
        source = f"the median of {_runs(len(alike))} {which}"
    else:
        start, slope = line
        seconds = max(1, round(start + slope * input_bytes))
        source = f"{_runs(len(alike))} {which}, scaled to {units.size(input_bytes)} of input"
    return seconds, source, (f"a run of {seconds} s is expected: {source}",)


def _runs(count: int) -> str:
    return f"{count} earlier run{'s' if count > 1 else ''}"


def _alike(
    request: job.JobRequest, samples: Sequence[profile.RunSample], gpu_type: str
) -> tuple[Sequence[profile.RunSample], str]:
    """The samples that say most about this run, and in words which they are."""
    asked = request.resources
    same_type = [sample for sample in samples if sample.gpu_type == gpu_type]
    same = [sample for sample in same_type if (sample.gpus, sample.cpus) == (asked.gpus, asked.cpus)]
    if same:
        return same, f"with the same resources{f' on {gpu_type}' if gpu_type else ''}"
    if same_type:
        return same_type, f"on {gpu_type}, with other numbers" if gpu_type else "with other resources"
    return samples, f"none of them on {gpu_type}" if gpu_type else "on GPUs of any type"


def _line(request: job.JobRequest, samples: Sequence[profile.RunSample]) -> tuple[float, float] | None:
    """Seconds as a line over input bytes: start and slope (Theil and Sen: middle values of all pairs' slopes); None if unsound.

    Sound means: enough runs, all inputs of each known, on sizes that are far enough apart, and more input takes no less time.
    """
    aliases = {spec.alias for spec in request.inputs}
    points = [
        (sum(read.version_bytes for read in sample.reads), sample.seconds)
        for sample in samples
        if {read.alias for read in sample.reads} == aliases
    ]
    sizes = {size for size, _ in points}
    if len(sizes) < SAMPLES_TO_SCALE or max(sizes) < SPREAD_TO_SCALE * min(sizes):
        return None
    slope = median(
        (seconds - other_seconds) / (size - other_size)
        for i, (size, seconds) in enumerate(points)
        for other_size, other_seconds in points[:i]
        if size != other_size
    )
    return None if slope < 0 else (median(seconds - slope * size for size, seconds in points), slope)


def _fractions(samples: Sequence[profile.RunSample]) -> dict[str, Fraction]:
    """Alias -> the middle share of the input that was read, exact."""
    found: dict[str, list[tuple[float, int, int]]] = {}
    for sample in samples:
        for read in sample.reads:
            if read.version_bytes > 0:
                share = (read.read_bytes / read.version_bytes, read.read_bytes, read.version_bytes)
                found.setdefault(read.alias, []).append(share)
    return {alias: _middle(shares) for alias, shares in found.items()}


def _middle(shares: list[tuple[float, int, int]]) -> Fraction:
    """The median, sorted as floats, which is much faster, and taken as the exact fraction."""
    shares.sort()
    half, odd = divmod(len(shares), 2)
    _, read, of = shares[half]
    if odd:
        return Fraction(read, of)
    _, other_read, other_of = shares[half - 1]
    return (Fraction(read, of) + Fraction(other_read, other_of)) / 2


def _written(samples: Sequence[profile.RunSample]) -> dict[str, int]:
    """Alias -> the middle size of the output."""
    found: dict[str, list[int]] = {}
    for sample in samples:
        for write in sample.writes:
            found.setdefault(write.alias, []).append(write.object_bytes)
    return {alias: _middle_int(sizes) for alias, sizes in found.items()}


def _middle_int(values: list[int]) -> int:
    """The median of whole numbers as one, half to even."""
    values.sort()
    half, odd = divmod(len(values), 2)
    return values[half] if odd else units.divide_half_even(values[half - 1] + values[half], 2)


def _read_notes(request: job.JobRequest, fractions: Mapping[str, Fraction]) -> tuple[str, ...]:
    notes = []
    for spec in request.inputs:
        if spec.alias in fractions:
            notes.append(f"{spec.alias}: {float(fractions[spec.alias]):.0%} of it is read, as earlier runs did")
        elif spec.read_percent:
            notes.append(f"{spec.alias}: {spec.read_percent} % of it is read, as the request says")
    return tuple(notes)
