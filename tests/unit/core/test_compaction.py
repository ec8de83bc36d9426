"""Which files are put together: neighbours, a bounded number, few times each, until little is left to do."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from federation.core import compaction
from federation.core.compaction import DataFile

KIB, MIB = 1024, 1024 * 1024
MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)


def files(*sizes: int, day: date = MONDAY, first: int = 1) -> list[DataFile]:
    """Files of a day, one position after the other."""
    return [
        DataFile(path=f"{day}/{first + at}", day=day, first=first + at, rows=1, bytes=size) for at, size in enumerate(sizes)
    ]


def put_together(known: list[DataFile], step: tuple[DataFile, ...]) -> list[DataFile]:
    """The files after a step."""
    made = DataFile(
        path=step[0].path, day=step[0].day, first=step[0].first, rows=len(step), bytes=sum(file.bytes for file in step)
    )
    return [made, *(file for file in known if file not in step)]


def test_nothing_is_done_to_a_few_files_of_the_open_day() -> None:
    """Fifteen may stay; the sixteenth is worth a step."""
    assert compaction.plan([]) == ()
    assert compaction.plan(files(*[KIB] * 15)) == ()
    assert compaction.plan(files(*[KIB] * 16)) == tuple(files(*[KIB] * 16))


def test_a_big_file_is_not_written_again_for_small_ones() -> None:
    """It takes sixteen of its own class; small ones between those go along, and only neighbours go together."""
    assert compaction.plan(files(*[KIB] * 10, 10 * MIB, *[KIB] * 10)) == ()
    assert compaction.plan(files(*[KIB] * 16, 10 * MIB)) == tuple(files(*[KIB] * 16))
    mixed = files(*[5 * MIB, KIB] * 16)
    assert compaction.plan(mixed) == tuple(mixed)


def test_a_step_is_bounded_by_files_and_by_bytes() -> None:
    """However much there is to do: appends share the processor."""
    assert len(compaction.plan(files(*[KIB] * 1000))) == compaction.STEP_FILES_MAX
    step = compaction.plan(files(*[60 * MIB] * 40, day=MONDAY) + files(KIB, day=TUESDAY, first=100))
    assert len(step) == 2
    assert sum(file.bytes for file in step) <= compaction.STEP_BYTES_MAX


def test_a_day_that_is_over_comes_to_as_few_files_as_may_be() -> None:
    """Two are enough for a last step, once a later day has begun."""
    over, today = files(KIB, 2 * MIB), files(KIB, day=TUESDAY, first=100)
    assert compaction.plan([*today, *over]) == tuple(over)
    assert compaction.plan([*put_together(over, tuple(over)), *today]) == ()


@given(
    st.lists(st.tuples(st.sampled_from([MONDAY, TUESDAY]), st.integers(1, 200 * MIB) | st.integers(1, 50 * KIB)), max_size=120)
)
def test_steps_end_and_lose_nothing(sizes: list[tuple[date, int]]) -> None:
    """Each takes neighbours of one day, within its bounds; rows and order stay; in the end little is left to do."""
    known = [
        DataFile(path=str(at), day=day, first=at, rows=1, bytes=size) for at, (day, size) in enumerate(sorted(sizes), start=1)
    ]
    rows = len(known)
    for _ in range(rows):
        step = compaction.plan(known)
        if not step:
            break
        assert 2 <= len(step) <= compaction.STEP_FILES_MAX
        assert sum(file.bytes for file in step) <= compaction.STEP_BYTES_MAX
        of_day = sorted((file for file in known if file.day == step[0].day), key=lambda file: file.first)
        at = of_day.index(step[0])
        assert tuple(of_day[at : at + len(step)]) == step
        known = put_together(known, step)
    assert compaction.plan(known) == ()
    assert sum(file.rows for file in known) == rows
