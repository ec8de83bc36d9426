"""What the agent's journal promises: durable when it returns, each fact once, nothing in it that opens data."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from federation.agent import journal
from federation.core import dataset, errors, job, transfer
from tests import builders

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY = dataset.WrappedKey(generation=builders.GENERATION, site="eu-1", dataset_uid="d-1", kek="k", wrapped="w")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[journal.Journal]:
    """A fresh journal."""
    opened = journal.Journal(tmp_path / "state" / "agent.db")
    yield opened
    opened.close()


def start(attempt: int = 1, name: str = "j-1") -> job.StartRun:
    """An instruction with one granted input."""
    run = f"jobs/{name}/runs/{attempt}"
    given = job.InputAssignment(
        plan=job.InputPlan(
            alias="x",
            dataset="sales/flights",
            version=3,
            way=job.Way.LOCAL,
            source_site="eu-1",
            source_region="aws:eu-central-1",
            destination_region="aws:eu-central-1",
            bytes=10,
            egress_micros=0,
        ),
        grant=b"\x00\xffgrant",
        gateway="eu-1.example:7443",
        signing_key="11" * 32,
        dataset_uid="d-1",
    )
    return job.StartRun(
        job=job.Job(job=name, request=job.JobRequest(entrypoint=("true",)), attempt=attempt, run=run),
        run=job.Run(run=run, job=name, attempt=attempt, site="eu-1"),
        inputs=(given,),
        outputs=(job.OutputAssignment(alias="y", dataset="ml/model", dataset_uid="d-2"),),
    )


def write(name: str = "w-1", **changes: object) -> journal.WriteRow:
    """A write of a run's output."""
    values: dict[str, object] = {
        "write": name,
        "run": "jobs/j-1/runs/1",
        "alias": "y",
        "dataset": "ml/model",
        "dataset_uid": "d-1",
        "generation": builders.GENERATION,
        "key": KEY,
        "create_time": NOW,
        "expire_time": NOW + timedelta(hours=1),
    }
    return journal.WriteRow(**values | changes)  # type: ignore[arg-type]


def entry(path: str) -> dataset.FileEntry:
    """A stored file."""
    return dataset.FileEntry(
        path=path,
        file_bytes=1,
        object_id="o-00000000000000000000000001",
        generation=builders.GENERATION,
        object_bytes=73,
        object_sha256=builders.SHA,
        commitment=builders.SHA,
    )


def version() -> dataset.NewVersion:
    """What is to be committed."""
    return dataset.NewVersion(
        dataset="ml/model",
        dataset_uid="d-1",
        manifest_digest=builders.SHA,
        signature="00",
        files=1,
        total_bytes=1,
        object_bytes=73,
    )


def test_an_instruction_comes_back_as_it_was_taken_after_a_restart(tmp_path: Path) -> None:
    """The signed grant and every value of the instruction survive, bit by bit."""
    first = journal.Journal(tmp_path / "agent.db")
    assert first.take_run(start(), "fed-j-1-1")
    first.close()
    second = journal.Journal(tmp_path / "agent.db")
    row = second.run("jobs/j-1/runs/1")
    second.close()
    assert row is not None
    assert (row.start, row.state, row.submission_id) == (start(), journal.RunState.TAKEN, "fed-j-1-1")


def test_a_run_is_taken_once(book: journal.Journal) -> None:
    """The same instruction again changes nothing."""
    assert book.take_run(start(), "fed-j-1-1")
    assert not book.take_run(start(), "another")
    assert [row.submission_id for row in book.open_runs()] == ["fed-j-1-1"]


def test_how_a_run_ended_is_decided_by_the_first_word(book: journal.Journal) -> None:
    """A second outcome, or being superseded after the end, is too late."""
    book.take_run(start(), "s")
    good = journal.Outcome(state=job.JobState.SUCCEEDED, versions=("ml/model@1",))
    assert book.end_run("jobs/j-1/runs/1", good)
    assert not book.end_run("jobs/j-1/runs/1", journal.Outcome(state=job.JobState.FAILED))
    assert not book.move_run("jobs/j-1/runs/1", journal.RunState.SUPERSEDED)
    row = book.run("jobs/j-1/runs/1")
    assert row is not None
    assert row.outcome == good


def test_a_run_that_is_committing_is_not_superseded_by_hearsay(book: journal.Journal) -> None:
    """While a commit is on its way only its answer tells."""
    book.take_run(start(), "s")
    book.move_run("jobs/j-1/runs/1", journal.RunState.FINISHING)
    assert not book.move_run("jobs/j-1/runs/1", journal.RunState.SUPERSEDED, unless=[journal.RunState.FINISHING])
    assert book.move_run("jobs/j-1/runs/1", journal.RunState.SUPERSEDED)


def test_a_closed_run_is_not_open_any_more(book: journal.Journal) -> None:
    """What is done is not taken up again at the next start."""
    book.take_run(start(), "s")
    book.close_run("jobs/j-1/runs/1")
    assert book.open_runs() == ()


def test_a_ticket_is_used_once_and_answered_alike_to_who_used_it(book: journal.Journal) -> None:
    """The same nonce again is a lost answer, another nonce is somebody else."""
    book.take_run(start(), "s")
    book.add_ticket("digest", "jobs/j-1/runs/1")
    assert book.use_ticket("digest", "nonce", "token-digest")
    assert book.use_ticket("digest", "nonce", "token-digest")
    assert not book.use_ticket("digest", "other", "other-digest")
    assert not book.use_ticket("unknown", "nonce", "token-digest")
    row = book.token_run("token-digest")
    assert row is not None
    assert row.run == "jobs/j-1/runs/1"
    assert book.token_run("other-digest") is None


def test_the_files_of_a_group_become_known_together_or_not_at_all(book: journal.Journal) -> None:
    """A path that is taken keeps out all that came with it."""
    book.add_write(write())
    book.add_objects("w-1", [entry("a")])
    with pytest.raises(errors.InvalidArgument) as refused:
        book.add_objects("w-1", [entry("b"), entry("a")])
    assert refused.value.reason == "PATH_DUPLICATE"
    assert [found.path for found in book.objects("w-1")] == ["a"]


def test_a_write_that_was_completed_or_dropped_takes_no_file(book: journal.Journal) -> None:
    """What was signed is what is there."""
    book.add_write(write())
    assert book.complete_write("w-1", version(), [entry("reused")])
    assert not book.complete_write("w-1", version())
    with pytest.raises(errors.FailedPrecondition) as refused:
        book.add_objects("w-1", [entry("b")])
    assert refused.value.reason == "WRITE_CLOSED"
    assert [found.path for found in book.objects("w-1")] == ["reused"]


def test_a_committed_write_cannot_be_aborted(book: journal.Journal) -> None:
    """Its objects are a version's."""
    book.add_write(write())
    book.commit_write("w-1", "ml/model@1")
    assert not book.abort_write("w-1")
    row = book.write("w-1")
    assert row is not None
    assert (row.state, row.committed) == (journal.WriteState.COMMITTED, "ml/model@1")


def test_a_write_comes_back_as_it_was_written(book: journal.Journal) -> None:
    """With its wrapped key, its times and its base."""
    row = write(grant="a-1", grant_token=b"\x01\x02", run="", base="ml/model@1")
    book.add_write(row)
    assert book.write("w-1") == row
    book.complete_write("w-1", version())
    assert book.write("w-1") == dataclasses.replace(row, state=journal.WriteState.COMPLETE, version=version())


def test_a_settled_grant_keeps_what_was_told(book: journal.Journal) -> None:
    """Counters of a grant that is no longer open do not move."""
    book.open_grant("a-1", token=b"t", run="jobs/j-1/runs/1", attempt=1)
    book.count("a-1", granted_bytes=100, counted_bytes=60, requests=2)
    book.settle_grant("a-1", journal.GrantState.SETTLING)
    book.count("a-1", granted_bytes=900, counted_bytes=900, requests=9)
    row = book.grant("a-1")
    assert row is not None
    assert (row.granted_bytes, row.counted_bytes, row.requests, row.state) == (100, 60, 2, journal.GrantState.SETTLING)


def test_a_grant_is_settled_only_by_way_of_settling(book: journal.Journal) -> None:
    """SETTLED without SETTLING would mean told and not final."""
    book.open_grant("a-1", token=b"t", run="", attempt=0)
    book.settle_grant("a-1", journal.GrantState.SETTLED)
    row = book.grant("a-1")
    assert row is not None
    assert row.state is journal.GrantState.OPEN


def test_the_newest_attempt_is_that_of_the_same_job(book: journal.Journal) -> None:
    """Grants of other jobs, and of people, supersede nobody."""
    first = book.open_grant("a-1", token=b"t", run="jobs/j-1/runs/1", attempt=1)
    book.open_grant("a-9", token=b"t", run="jobs/j-2/runs/9", attempt=9)
    person = book.open_grant("a-0", token=b"t", run="", attempt=0)
    assert (book.newest_attempt(first), book.newest_attempt(person)) == (1, 0)
    book.open_grant("a-2", token=b"t", run="jobs/j-1/runs/2", attempt=2)
    assert book.newest_attempt(first) == 2


def test_a_transaction_that_fails_leaves_nothing(book: journal.Journal) -> None:
    """Also when the failure is not the database's."""

    def fail() -> None:
        with book._transaction() as db:
            db.execute("INSERT INTO tickets (digest, run) VALUES ('d', 'r')")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert book.ticket_run("d") == ""


def test_many_threads_write_without_loss(book: journal.Journal) -> None:
    """Calls of a gateway's threads are served one after the other."""
    book.add_write(write())
    threads = [
        threading.Thread(target=lambda n=n: [book.add_objects("w-1", [entry(f"{n}/{i}")]) for i in range(25)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(book.objects("w-1")) == 100


def test_the_journal_is_for_its_owner_and_is_synced(tmp_path: Path, book: journal.Journal) -> None:
    """Mode 0600, WAL, and every commit on disk before it is answered."""
    assert (tmp_path / "state" / "agent.db").stat().st_mode & 0o777 == 0o600
    assert book._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert book._db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_full_disk_is_told_as_such(book: journal.Journal) -> None:
    """The caller hears a reason that it can act on, and what was there before still is."""
    book.add_write(write())
    book._db.execute(f"PRAGMA max_page_count = {book._db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(errors.ResourceExhausted) as refused:
        book.add_objects("w-1", [entry(f"{'long' * 200}/{n}") for n in range(200)])
    assert refused.value.reason == "STORAGE_FULL"
    assert book.objects("w-1") == ()
    assert isinstance(refused.value.__cause__, sqlite3.OperationalError)


# Transfers


def brought(attempt: int = 1) -> transfer.StartTransfer:
    """An instruction to bring a version."""
    of = transfer.Transfer(
        transfer="t-1", dataset="sales/flights", version=3, source_site="us-1", destination_site="eu-1", attempt=attempt
    )
    return transfer.StartTransfer(transfer=of, grant=b"\x00g", gateway="g:1", signing_key="11" * 32, dataset_uid="d-1")


def row_of(book: journal.Journal) -> journal.TransferRow:
    """The transfer, which is known."""
    row = book.transfer("t-1")
    assert row is not None
    return row


def test_a_transfer_is_taken_once_for_each_attempt(book: journal.Journal) -> None:
    """A later attempt takes the place of an earlier one and keeps what that had verified; an earlier one changes nothing."""
    assert book.take_transfer(brought(), NOW)
    assert not book.take_transfer(brought(), NOW)
    book.add_transfer_objects("t-1", ["objects/a", "objects/a", "objects/b"])
    assert book.take_transfer(brought(2), NOW)
    assert not book.take_transfer(brought(1), NOW)
    assert (row_of(book).attempt, row_of(book).start) == (2, brought(2))
    assert book.transfer_objects("t-1") == {"objects/a", "objects/b"}


def test_nothing_is_said_of_an_attempt_that_is_over(book: journal.Journal) -> None:
    """Neither that it is stored, nor that it failed, nor that it is done with."""
    book.take_transfer(brought(), NOW)
    old = row_of(book)
    book.take_transfer(brought(2), NOW)
    assert not book.store_transfer(old, (KEY,), NOW)
    assert not book.move_transfer(old, journal.BringState.WAITING, NOW)
    assert not book.forget_transfer("t-1", 1)
    assert row_of(book).state is journal.BringState.TAKEN


def test_what_is_given_up_is_not_stored_and_is_forgotten_whole(book: journal.Journal) -> None:
    """The word of a thread that was still at work comes too late."""
    book.take_transfer(brought(), NOW)
    row = row_of(book)
    assert book.give_up_transfer("t-1", NOW)
    assert not book.store_transfer(row, (KEY,), NOW)
    assert not book.move_transfer(row, journal.BringState.FAILED, NOW, journal.Failure(reason="R", detail="", retryable=True))
    book.add_transfer_objects("t-1", ["objects/a"])
    assert book.forget_transfer("t-1", 1)
    assert (book.transfers(), book.transfer_objects("t-1")) == ((), frozenset())
    assert not book.give_up_transfer("t-1", NOW)


def test_a_stored_transfer_and_a_failure_are_read_back_as_written(book: journal.Journal) -> None:
    """Keys are there as they are wrapped; the DEKs never are."""
    book.take_transfer(brought(), NOW)
    failed = journal.Failure(reason="SOURCE_UNAVAILABLE", detail="away", retryable=True, bytes_done=5, objects_done=1)
    book.move_transfer(row_of(book), journal.BringState.FAILED, NOW, failed)
    assert row_of(book).failure == failed
    book.move_transfer(row_of(book), journal.BringState.TAKEN, NOW)
    assert book.store_transfer(row_of(book), (KEY,), NOW)
    assert (row_of(book).state, row_of(book).keys, row_of(book).failure) == (journal.BringState.STORED, (KEY,), None)


def test_a_drop_stays_known_until_it_is_done(book: journal.Journal) -> None:
    """Taken twice it is one."""
    version = dataset.Version(
        namespace="sales",
        dataset="flights",
        number=3,
        manifest_digest="0" * 64,
        signature="",
        signed_by="us-1",
        files=0,
        total_bytes=0,
        object_bytes=0,
    )
    sealed = dataset.SealedVersion(version=version, dataset_uid="d-1", signing_key="11" * 32, keys=())
    ordered = transfer.DropReplica(version="sales/flights@3", sealed=sealed)
    book.take_drop(ordered)
    book.take_drop(ordered)
    assert book.drops() == (ordered,)
    book.forget_drop("sales/flights@3")
    assert book.drops() == ()
