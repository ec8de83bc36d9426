"""What is expected of a run: from what earlier runs did, else from the request, and it says which."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from federation.core import job, prediction, profile
from tests import builders

HOUR = 3600


def sample(
    seconds: int,
    size: int = 1000,
    read: int | None = None,
    *,
    gpu_type: str = "",
    gpus: int = 0,
    run: str = "jobs/j/runs/1",
    written: int | None = None,
) -> profile.RunSample:
    """A run on an input of so many bytes, of which it read so many."""
    return profile.RunSample(
        run=run,
        site="eu-1",
        gpu_type=gpu_type,
        gpus=gpus,
        cpus=1,
        seconds=seconds,
        reads=(profile.AliasRead(alias="flights", read_bytes=size if read is None else read, version_bytes=size),),
        writes=() if written is None else (profile.AliasWritten(alias="model", object_bytes=written),),
    )


def known(*samples: profile.RunSample) -> profile.JobProfile:
    """A profile of these runs."""
    return profile.JobProfile(namespace="sales", label="train", samples=samples)


def asked(**changes: object) -> job.JobRequest:
    """A job of one input and one output."""
    return builders.request(["flights=sales/flights"], ["model=ml/model"], **changes)


def test_without_earlier_runs_the_request_is_believed() -> None:
    """And a duration that nobody stated is called the default."""
    stated = prediction.predict(asked(duration_seconds=HOUR), None)
    assert (stated.seconds, stated.seconds_source, stated.notes) == (HOUR, "the request", ())
    default = prediction.predict(asked(), None)
    assert (default.seconds, default.seconds_source) == (600, "the default")
    assert default.notes == ("a run of 600 s is assumed, the default",)
    assert (default.read_bytes("flights", 999), default.written_bytes("model")) == (999, None)


def test_the_request_tells_how_much_is_read_and_written() -> None:
    """Two and a half times is possible; an output's size is the one assumed."""
    told = prediction.predict(
        job.JobRequest(
            inputs=(job.InputSpec(alias="a", dataset="x/y", read_percent=250),),
            outputs=(job.OutputSpec(alias="o", dataset="x/z", assumed_bytes=77),),
        ),
        None,
    )
    assert (told.read_bytes("a", 1000), told.written_bytes("o")) == (2500, 77)
    assert "a: 250 % of it is read, as the request says" in told.notes


def test_earlier_runs_go_before_the_request() -> None:
    """The middle one, so that one that stalled spoils nothing."""
    seen = known(sample(100, read=100), sample(110, read=120), sample(99_999, read=1000))
    told = prediction.predict(asked(duration_seconds=HOUR), seen)
    assert (told.seconds, told.read_bytes("flights", 1000)) == (110, 120)
    assert told.seconds_source == "the median of 3 earlier runs with the same resources"


def test_runs_on_the_same_type_of_gpu_go_before_all_others() -> None:
    """And those with as many of them before those."""
    seen = known(sample(100, gpu_type="H100", gpus=1), sample(50, gpu_type="H100", gpus=2), sample(900, gpu_type="T4", gpus=1))
    request = asked(gpus=1)
    assert prediction.predict(request, seen, gpu_type="H100").seconds == 100
    assert prediction.predict(request, seen, gpu_type="T4").seconds == 900
    assert prediction.predict(asked(gpus=4), seen, gpu_type="H100").seconds == 75
    other = prediction.predict(request, seen, gpu_type="L4")
    assert (other.seconds, other.seconds_source) == (100, "the median of 3 earlier runs none of them on L4")


def test_time_grows_with_the_input_where_earlier_runs_show_how() -> None:
    """60 s to begin with and 1 s for each 10 bytes."""
    seen = known(*(sample(60 + size // 10, size) for size in (1000, 2000, 4000)))
    told = prediction.predict(asked(), seen, input_bytes=8000)
    assert told.seconds == 860
    assert told.seconds_source == "3 earlier runs with the same resources, scaled to 8.0 kB of input"
    assert prediction.predict(asked(), seen).seconds == 260


def test_nothing_is_scaled_that_earlier_runs_do_not_show() -> None:
    """Too few runs, sizes too much alike, or runs that were faster on more."""
    few = known(sample(100, 1000), sample(200, 2000))
    alike = known(sample(100, 1000), sample(140, 1100), sample(120, 1200))
    backwards = known(sample(300, 1000), sample(200, 2000), sample(100, 4000))
    for seen, middle in ((few, 150), (alike, 120), (backwards, 200)):
        assert prediction.predict(asked(), seen, input_bytes=100_000).seconds == middle


def test_a_run_whose_reads_are_not_all_settled_is_not_scaled_by() -> None:
    """Half of its inputs would look like a small job."""
    seen = known(*(sample(100 * i, 1000 * i) for i in (1, 2, 4)))
    two = builders.request(["flights=sales/flights", "orders=sales/orders"])
    assert prediction.predict(two, seen, input_bytes=10**9).seconds == 200


def test_what_was_written_is_expected_again() -> None:
    """Before the request's own guess."""
    request = job.JobRequest(outputs=(job.OutputSpec(alias="model", dataset="x/z", assumed_bytes=7),))
    assert prediction.predict(request, known(sample(1, written=10), sample(1, written=30))).written_bytes("model") == 20


@given(
    st.lists(st.tuples(st.integers(1, 10**5), st.integers(1, 10**12), st.integers(0, 10**12)), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
    st.integers(0, 2**50),
)
def test_the_order_of_samples_does_not_matter(rows: Sequence[tuple[int, int, int]], random: object, size: int) -> None:
    """And every figure lies within what was seen: no run is expected to read more than the greediest, or to take no time."""
    samples = [sample(*row) for row in rows]
    first = prediction.predict(asked(), known(*samples), input_bytes=size)
    random.shuffle(samples)  # type: ignore[attr-defined]
    again = prediction.predict(asked(), known(*samples), input_bytes=size)
    assert first.seconds == again.seconds >= 1
    read = first.read_bytes("flights", size)
    assert read == again.read_bytes("flights", size)
    assert (
        min(row[2] / row[1] for row in rows) * size * 0.999 - 1
        <= read
        <= max(row[2] / row[1] for row in rows) * size * 1.001 + 1
    )
