"""The trail of audit: from the log and the table before it, newest first, filtered alike wherever an entry lies."""

from __future__ import annotations

import pytest

from federation.core import errors, trail
from federation.services import trail as service
from tests.services.story import FLIGHTS, Story, every_row, tell


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Half of it in Delta, half of it in the log."""
    return tell(tmp_path_factory.mktemp("tables"))


FILTERS = (
    "",
    'principal = "users/bob"',
    'principal = "users/alice" AND dataset = "sales/flights"',
    'kind = "policy.*"',
    'kind = "dataset.updated"',
    'outcome = "REFUSED"',
    'outcome = "ALLOWED" AND dataset = "sales/flights"',
    'outcome = "DONE" AND site = "us-1"',
    'name = "sites/eu-1"',
    'dataset = "sales/orders"',
    'request_id = "none"',
    'principal = "o\'brien" AND kind = "100%"',
    'principal = "users/\\"eve\\""',
)


@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_means_the_same_in_the_table_and_in_the_log(story: Story, text: str) -> None:
    """The table's SQL only narrows; all entries that fit come, and no others: in order, nothing twice."""
    selection = trail.parse(text)
    wanted = [row for row in every_row(story) if selection.has(row)]
    catalog, engine = story.sim.catalog, story.engine
    assert list(service.every(catalog, engine, selection)) == wanted
    newest = service.newest(catalog, engine, selection, limit=1000)
    assert list(newest) == wanted[::-1]


def test_times_bound_what_is_found(story: Story) -> None:
    """From the first moment on, and before the last."""
    begin, end = story.begin.isoformat(), story.carried_time.isoformat()
    rows = every_row(story)
    for text, wanted in (
        (f'time >= "{end}"', [row for row in rows if row.time >= story.carried_time]),
        (f'time >= "{begin}" AND time < "{end}"', [row for row in rows if row.time < story.carried_time]),
    ):
        assert wanted
        assert list(service.every(story.sim.catalog, story.engine, trail.parse(text))) == wanted


def test_pages_go_on_where_the_last_one_ended(story: Story) -> None:
    """Across the seam of table and log."""
    catalog, engine = story.sim.catalog, story.engine
    found: list[trail.AuditRow] = []
    while page := service.newest(catalog, engine, before=found[-1].position if found else 0, limit=7):
        found += page
    assert found == every_row(story)[::-1]


def test_one_entry_is_found_wherever_it_lies(story: Story) -> None:
    """In the log and in the table; a position that is another table's is none of audit's."""
    catalog, engine = story.sim.catalog, story.engine
    rows = every_row(story)
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        assert service.get(catalog, engine, row.position) == row
        assert service.get(catalog, None, row.position) == row
    for position in (story.sim.events("ledger.entry")[0].position, 10**9):
        with pytest.raises(errors.NotFound):
            service.get(catalog, engine, position)


def test_what_was_trimmed_from_the_log_is_read_from_the_table(tmp_path) -> None:
    """The same entries as before, found the same way."""
    story = tell(tmp_path)
    before = every_row(story)
    story.carry(sign=False)
    catalog, seam = story.sim.catalog, story.engine.query("SELECT MAX(position) AS p FROM audit").column("p")[0].as_py()
    assert catalog.trim(seam - 5, story.end) > 0
    assert catalog.floor() > 0
    assert list(service.every(catalog, story.engine))[: len(before)] == before
    assert service.get(catalog, story.engine, before[0].position) == before[0]


def test_an_entry_says_who_what_where_and_how_it_went(story: Story) -> None:
    """Read from the event as it is: by whom, for whom, about which dataset, at which site."""
    rows = every_row(story)
    lease = next(row for row in rows if row.kind == "lease.granted")
    assert (lease.actor, lease.subject, lease.dataset, lease.site) == ("agents/us-1", "users/alice", FLIGHTS, "us-1")
    denied = next(row for row in rows if row.kind == "policy.decided" and row.actor == "users/bob")
    assert (denied.outcome, denied.subject, denied.dataset) == (trail.Outcome.REFUSED, "", FLIGHTS)
    replica = next(row for row in rows if row.kind == "replica.created")
    assert (replica.outcome, replica.dataset, replica.site) == (trail.Outcome.DONE, FLIGHTS, "us-1")


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        'kind = "a" OR kind = "b"',
        'kind = "a" AND',
        'kind = "a" kind = "b"',
        'kind = "a" AND kind = "b"',
        'body = "x"',
        'time = "2026-11-01"',
        'time >= "yesterday"',
        'kind = "',
    ],
)
def test_a_filter_that_cannot_be_read_is_refused(text: str) -> None:
    """With what could have been asked; nothing is passed over."""
    with pytest.raises(errors.InvalidArgument) as caught:
        trail.parse(text)
    assert caught.value.reason in ("FILTER_INVALID", "TIME_INVALID")


def test_a_question_is_told_whole_by_its_digest_and_no_longer_than_a_row_may_be() -> None:
    """Words of any length are known again, and cost the log little."""
    long = trail.queried("Records.QueryRecords", "SELECT 1 " * 10_000)
    assert len(long.text) == trail.TEXT_MAX
    assert long.characters == 90_000
    assert long.sha256 != trail.queried("Records.QueryRecords", long.text).sha256
