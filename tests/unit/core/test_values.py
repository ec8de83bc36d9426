"""The small rules that everything rests on: names, units, records, errors, the lifecycle."""

from __future__ import annotations

import pickle
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, ids, lifecycle, records, units
from federation.core.job import Job, JobState
from federation.core.site import Site
from federation.core.world import World
from tests import builders

segments = st.from_regex(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


@given(segments, segments, st.integers(1, 10**17))
def test_a_name_s_two_forms_are_the_same(namespace: str, dataset: str, number: int):
    """What people write and what the contract writes parse to one value, and print as they were."""
    name = ids.DatasetName(namespace, dataset)
    assert ids.dataset(name.short) == ids.dataset(name.resource) == name
    version = ids.VersionName(name, number)
    assert ids.version(version.short) == ids.version(version.resource) == version
    assert ids.dataset_or_version(name.short) == (name, None)
    assert ids.dataset_or_version(version.resource) == (name, number)


@pytest.mark.parametrize("text", ["", "Sales", "1x", "x-", "-x", "a/b", "a" * 64, "ä", "x y", "x\n"])
def test_a_segment_outside_the_grammar_is_refused(text: str):
    """With the grammar in the message."""
    with pytest.raises(errors.InvalidArgument) as caught:
        ids.segment(text, "namespace")
    assert caught.value.reason == "NAME_INVALID"
    assert "a-z" in caught.value.help


@pytest.mark.parametrize("text", ["", "sales", "sales/", "a/b/c", "sales/x@0", "sales/x@01", "sales/x@", "sales/x@-1"])
def test_what_names_no_version_is_refused(text: str):
    """Numbers begin with 1 and are written in one way."""
    with pytest.raises(errors.InvalidArgument):
        ids.version(text)


@pytest.mark.parametrize(
    "text", ["", "/etc/passwd", "a/../b", "./a", "a//b", "a\\b", "a\x00", "a\nb", "a/", "x" * 1025, "\ud800"]
)
def test_a_path_that_could_escape_is_refused(text: str):
    """Relative, forward, no dots, no control characters."""
    with pytest.raises(errors.InvalidArgument, match="legal path"):
        ids.relative_path(text)


@pytest.mark.parametrize("text", ["a", "a/b.parquet", "year=2013/Ä ö.csv", "...", "a..b"])
def test_an_ordinary_path_is_kept(text: str):
    """Nothing is normalised: the path is a name."""
    assert ids.relative_path(text) == text


def test_a_provider_may_have_a_dash_in_its_name():
    """`cloudflare-r2` is one, and the shipped prices know it."""
    assert ids.region("cloudflare-r2:auto") == "cloudflare-r2:auto"
    with pytest.raises(errors.InvalidArgument):
        ids.region("aws")


@given(st.integers(-(10**15), 10**15))
def test_dollars_are_printed_exactly(micros: int):
    """Read back, they are the same micro-dollars."""
    assert units.micros(units.usd(micros).replace("$", "").replace(",", "")) == micros


@pytest.mark.parametrize("amount", ["0.0000001", "NaN", "Infinity", "ten", ""])
def test_an_inexact_amount_is_refused(amount: str):
    """Money is never rounded on the way in."""
    with pytest.raises(errors.InvalidArgument):
        units.micros(amount)
    assert units.micros(Decimal("1.5")) == 1_500_000


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("1kB", 1000), ("1 KiB", 1024), ("1.5GB", 1_500_000_000), ("10TiB", 10 * 2**40)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int):
    """KB is 1000, KiB is 1024."""
    assert units.parse_size(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1.5d", 129_600)])
def test_durations_are_read_as_people_write_them(text: str, seconds: int):
    """Without a unit they are seconds."""
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1x", "GB", "1e9"])
def test_what_is_no_size_and_no_duration_is_refused(text: str):
    """With an example of one that is."""
    for parse in (units.parse_size, units.parse_duration):
        with pytest.raises(errors.InvalidArgument) as caught:
            parse(text)
        assert "for example" in caught.value.help


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**12))
def test_dividing_half_to_even_is_rounding_a_fraction(numerator: int, denominator: int):
    """The quick way and the plain one agree."""
    assert units.divide_half_even(numerator, denominator) == units.round_half_even(Fraction(numerator, denominator))


@pytest.mark.parametrize(
    "value",
    [
        builders.site(),
        builders.dataset(residency=("EU",)),
        builders.version(),
        builders.job(plan=builders.plan(builders.candidate(inputs=(builders.input_plan(),)))),
        builders.run(),
        builders.grant_record(),
        builders.world(loads=(builders.load(),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_stored_and_read_back(value):
    """JSON and pickle both give an equal value; the text is canonical."""
    text = records.dumps(value)
    assert records.loads(type(value), text) == value
    assert records.dumps(records.loads(type(value), text)) == text
    assert pickle.loads(pickle.dumps(value)) == value


def test_a_field_that_stored_text_lacks_takes_its_default():
    """Adding a field needs no migration; a field that is unknown is left out."""
    site = records.loads(Site, '{"site":"a","region":"aws:x","jurisdiction":"EU","not_yet":1}')
    assert site == Site(site="a", region="aws:x", jurisdiction="EU")
    assert records.loads(Job, records.dumps(builders.job())).plan is None


def test_a_world_finds_what_it_holds():
    """Nothing is reserved and nothing was sent where no row says so."""
    world: World = builders.world(loads=(builders.load("eu-1", 4),), excluded=(("us-1", "X"),))
    assert (world.load("eu-1").cpus, world.load("us-1").cpus, world.sent_bytes("a~b")) == (4, 0, 0)
    assert world.exclusions == {"us-1": "X"}


def test_an_error_says_what_and_what_to_do_and_survives_a_process_boundary():
    """Reason, help and metadata travel; nothing else does."""
    error = errors.NotFound("there is no site 'x'", reason="SITE_NOT_FOUND", help="List them.", metadata={"site": "x"})
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason, dict(again.metadata)) == (str(error), "SITE_NOT_FOUND", {"site": "x"})
    assert "List them." in str(error)


@pytest.mark.parametrize("state", JobState)
def test_a_job_ends_once(state: JobState):
    """No event leads out of an end, and every other state has one that leads to an end."""
    events = lifecycle.TRANSITIONS[state]
    assert state.terminal == (not events)
    if not state.terminal:
        assert lifecycle.next_state(state, "cancelled") is JobState.CANCELLED
    with pytest.raises(errors.FailedPrecondition) as caught:
        lifecycle.next_state(state, "no such event")
    assert caught.value.reason == "STATE_CONFLICT"


def test_the_diagram_is_printed_from_the_table():
    """Each step of the table is one line of it."""
    steps = sum(len(events) for events in lifecycle.TRANSITIONS.values())
    ends = sum(state.terminal for state in JobState)
    assert len(lifecycle.diagram().splitlines()) == 2 + steps + ends
