"""The SDK against a real server, and what it does with a person's files."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from federation import client as sdk
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import UlidIds
from federation.cli import exits
from federation.client import connection, files, transfer
from federation.core import dataset, errors, job, site
from federation.v1 import jobs_pb2
from federation.wire import codec, methods
from tests import builders
from tests.wire import certs as certificates
from tests.wire import edge as edges


def test_every_method_for_people_has_its_function():
    """The SDK is as wide as the contract; it says `submit` too where the contract says CreateJob."""
    from federation.api import calls

    missing = {
        row.key
        for row in methods.TABLE.values()
        if row.service in methods.PEOPLE and not hasattr(sdk.Client, calls.snake(row.name))
    }
    assert missing == set()


def test_resources_are_made_read_changed_and_deleted(edge):
    """Values of the core in and out, names in both forms."""
    client = edge.client()
    client.create_namespace(builders.namespace("ml", description="models"))
    assert client.get_namespace("namespaces/ml") == client.get_namespace("ml")
    made = client.create_dataset(builders.dataset("ml/delay", ("EU",), kind=dataset.DatasetKind.MODEL))
    assert made == client.get_dataset("namespaces/ml/datasets/delay") == next(client.list_datasets("ml"))
    client.delete_dataset("ml/delay")
    assert list(client.list_datasets("ml")) == []
    assert [each.name.short for each in client.list_datasets("ml", show_deleted=True)] == ["ml/delay"]
    client.undelete_dataset("ml/delay")
    assert [each.name.short for each in client.list_datasets(filter='kind = "MODEL"')] == ["ml/delay"]
    changed = client.update_namespace(builders.namespace("ml", description="other"), ("description",))
    assert changed.description == "other"
    with pytest.raises(errors.FailedPrecondition) as caught:
        client.delete_namespace("ml")
    assert caught.value.reason == "NAMESPACE_NOT_EMPTY"


def test_sites_are_declared_changed_and_removed(edge):
    """By an administrator; what an agent says of itself is not declared."""
    client = edge.client()
    declared = client.create_site(builders.site("ap-1", "aws:ap-south-1", "IN", state=site.SiteState.READY))
    assert declared.state is site.SiteState.DECLARED
    assert client.update_site(dataclasses.replace(declared, sources=("s3://b/",)), ("sources",)).sources == ("s3://b/",)
    client.delete_site("ap-1")
    with pytest.raises(errors.NotFound):
        client.get_site("ap-1")


def test_a_listing_of_many_pages_is_one_iterator(edge):
    """Fetched page by page, as it is read."""

    def fill(tx: Any) -> None:
        for number in range(1203):
            tx.insert(builders.dataset(f"sales/d-{number:04d}"))

    edge.catalog.write(fill)
    names = [each.dataset for each in edge.client().list_datasets("sales")]
    assert len(names) == 1204
    assert names == sorted(names)


def test_a_job_is_planned_submitted_and_explained(edge):
    """A plan stores nothing; a submitted job has one that explains it."""
    client = edge.client("user")
    request = job.JobRequest(namespace="sales", entrypoint=("true",), label="demo")
    planned, brief = client.plan(request), client.plan(request, brief=True)
    assert (brief.plan.choice, brief.state) == (planned.plan.choice, planned.state)
    assert [row.site for row in brief.plan.ranked] == [row.site for row in planned.plan.ranked[:2]]
    assert list(client.list_jobs()) == []
    submitted = client.submit(request)
    assert submitted.plan is not None
    assert {r.site for r in submitted.plan.rejections} | {c.site for c in submitted.plan.ranked} == {"eu-1", "us-1"}
    assert planned.plan is not None
    assert submitted.request.principal == "users/user"
    assert client.get_job(submitted.job).plan == submitted.plan
    ended = client.wait(submitted.job, 5, progress=lambda _: None) if submitted.state.terminal else submitted
    assert next(client.list_jobs(filter='label = "demo"')).job == ended.job


def test_waiting_for_a_job_ends_at_its_time(edge):
    """With what state it is in."""

    def running(tx: Any) -> None:
        tx.insert(builders.job("j-long", state=job.JobState.RUNNING, run="jobs/j-long/runs/1", attempt=1))

    edge.catalog.write(running)
    heard: list[job.JobState] = []
    with pytest.raises(errors.DeadlineExceeded) as caught:
        edge.client().wait("j-long", 0.7, progress=lambda each: heard.append(each.state))
    assert caught.value.reason == "JOB_UNFINISHED"
    assert heard == [job.JobState.RUNNING]


def test_costs_and_lineage_answer_when_there_is_nothing_yet(edge):
    """An empty sum, and a refusal of what is unknown."""
    client = edge.client()
    assert list(client.list_ledger_entries()) == []
    sums, total = client.summarize_costs("dataset")
    assert (sums, total.entries) == ((), 0)
    with pytest.raises(errors.InvalidArgument):
        client.summarize_costs("moon phase")
    with pytest.raises(errors.InvalidArgument):
        client.get_lineage("sales/flights", direction="sideways")
    assert client.get_lineage("sales/flights", direction="upstream").edges == ()


def test_a_call_waits_for_a_server_that_comes_back(certs):
    """UNAVAILABLE is tried again within the call's own deadline; the mutation is done once."""
    catalog = MemoryCatalog(edges.clock(), UlidIds())
    first = edges.start(certs, catalog)
    client, address = first.client(), first.server.address
    client.who_am_i()
    first.stop(close=False)
    got: list[dataset.Namespace] = []
    thread = threading.Thread(target=lambda: got.append(client.create_namespace(builders.namespace("late"))))
    thread.start()
    time.sleep(0.5)
    second = edges.start(certs, catalog, listen=address)
    thread.join()
    assert [each.name for each in got] == ["late"]
    assert [event.kind for event in catalog.events(0) if event.kind.startswith("namespace")] == ["namespace.created"]
    client.close()
    second.stop()


def test_a_server_that_stays_away_is_unavailable_at_the_deadline(certs):
    """With what to look at; not for ever."""
    gone = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()))
    client = gone.client(call_seconds=1)
    gone.stop()
    begun = time.monotonic()
    with pytest.raises(errors.Unavailable) as caught:
        client.who_am_i()
    assert time.monotonic() - begun < connection.CALL_SECONDS
    assert "does not answer" in caught.value.message
    client.close()


def test_a_server_of_another_ca_is_told_at_once(edge, tmp_path):
    """No waiting mends that; and `fed` says it in its own words alone, without those of gRPC's library."""
    other = certificates.make(tmp_path)
    with sdk.Client(edge.server.address, "", other.ca) as client, pytest.raises(errors.Unavailable) as caught:
        client.who_am_i()
    assert caught.value.reason == "CERTIFICATE_UNVERIFIED"
    known = {
        "FED_TARGET": edge.server.address,
        "FED_TOKEN": "x",
        "FED_CA": str(other.layout.ca),
        "HOME": str(tmp_path),
    }
    said = subprocess.run(
        [sys.executable, "-m", "federation", "whoami"], env=known, capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout) == (exits.UNAVAILABLE, "")
    assert [line.partition(":")[0] for line in said.stderr.split("\n") if line] == ["error", "what to do"]


def test_threads_share_a_client(edge):
    """Eight of them, writing: nothing lost, nothing twice."""
    client = edge.client()

    def write(worker: int) -> None:
        for number in range(10):
            client.create_namespace(builders.namespace(f"w{worker}-{number}"))

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(client.list_namespaces())) == 81


def test_no_repr_shows_a_secret(edge):
    """Neither the client's nor those of its values."""
    client = edge.client()
    made = client.create_token("ada")
    access = client.open_check("eu-1")
    shown = repr(client) + repr(made) + repr(access) + repr(client._connection)
    assert edge.tokens["admin"] not in shown
    assert made.secret not in shown
    assert repr(access.grant) not in shown


# Files


def names(found: tuple[files.LocalFile, ...]) -> list[str]:
    """Their paths in the dataset."""
    return [each.path for each in found]


def test_a_folder_is_all_its_files_hidden_ones_too(tmp_path):
    """In path order, with forward slashes."""
    for path in ("b.csv", "a/deep/x.csv", ".hidden", "a/.git/HEAD", "ü.csv"):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path)
    (tmp_path / "empty").mkdir()
    assert names(files.found(tmp_path)) == sorted([".hidden", "a/.git/HEAD", "a/deep/x.csv", "b.csv", "ü.csv"])


def test_a_single_file_is_named_by_itself(tmp_path):
    """`put flights.csv` is a version of one file, `flights.csv`."""
    (tmp_path / "flights.csv").write_text("x")
    assert names(files.found(tmp_path / "flights.csv")) == ["flights.csv"]


def reason_of(path: Path) -> str:
    """Why a path is refused; the refusal says what to do."""
    with pytest.raises(errors.FederationError) as caught:
        files.found(path)
    assert caught.value.help
    return caught.value.reason


def test_what_cannot_be_put_is_refused_before_anything_is_written(tmp_path):
    """A link, a pipe, a missing path, an empty folder, a name that no dataset can hold: each by its reason."""
    assert reason_of(tmp_path / "absent") == "FILE_MISSING"
    assert reason_of(tmp_path) == "FOLDER_EMPTY"
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    assert reason_of(tmp_path) == "SYMLINK_REFUSED"
    assert reason_of(tmp_path / "link") == "SYMLINK_REFUSED"
    (tmp_path / "link").unlink()
    os.mkfifo(tmp_path / "pipe")
    assert reason_of(tmp_path) == "FILE_UNREADABLE"
    (tmp_path / "pipe").unlink()
    (tmp_path / "a\\b").write_text("x")
    assert reason_of(tmp_path) == "PATH_INVALID"


def test_a_link_to_a_folder_is_refused_and_not_followed(tmp_path):
    """Whatever lies behind it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert reason_of(tmp_path) == "SYMLINK_REFUSED"


def test_a_file_that_cannot_be_put_stops_it_before_the_catalog_is_asked(edge, tmp_path):
    """No namespace, no dataset, no grant."""
    (tmp_path / "x.csv").write_text("x")
    os.mkfifo(tmp_path / "y.csv")
    before = edge.catalog.revision()
    with pytest.raises(errors.InvalidArgument) as caught:
        edge.client().put("new/data", tmp_path, site="eu-1")
    assert caught.value.reason == "FILE_UNREADABLE"
    assert edge.catalog.revision() == before


def test_a_put_does_not_change_a_residency_in_passing(edge, tmp_path):
    """What the dataset promises stays, and the difference is told."""
    (tmp_path / "x.csv").write_text("x")
    with pytest.raises(errors.FailedPrecondition) as caught:
        edge.client().put("sales/flights", tmp_path, site="eu-1", residency=("EU",))
    assert caught.value.reason == "RESIDENCY_DIFFERS"


def test_small_files_travel_together_and_big_ones_alone(tmp_path):
    """In batches of bounded number and size; each file is in one."""
    sizes = [100] * 700 + [9 * 2**20, 100, 7 * 2**20] + [7 * 2**20] * 12
    given = [files.LocalFile(path=f"f{i}", source=tmp_path, file_bytes=size) for i, size in enumerate(sizes)]
    batches = list(transfer.batches(given))
    assert sorted(each.path for batch in batches for each in batch) == sorted(each.path for each in given)
    for batch in batches:
        assert len(batch) <= 512
        assert len(batch) == 1 or sum(each.file_bytes for each in batch) <= 64 * 2**20
    assert [given[700]] in batches


# Packages


def working_dir(folder: Path) -> Path:
    """A folder with a script, a module, and what does not belong into a package."""
    (folder / "pkg" / "__pycache__").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    (folder / "pkg" / "__pycache__" / "x.pyc").write_text("c")
    (folder / "pkg" / "x.py").write_text("print(1)")
    (folder / "run.sh").write_text("#!/bin/sh")
    (folder / "run.sh").chmod(0o755)
    return folder


def test_a_package_depends_on_its_files_alone(tmp_path):
    """Two folders with the same files, made at other times and in another order, have one digest."""
    first, second = working_dir(tmp_path / "a"), working_dir(tmp_path / "b")
    os.utime(second / "run.sh", (1, 1))
    one, two = files.pack(first, 10**6), files.pack(second, 10**6)
    with one.file, two.file, zipfile.ZipFile(one.file) as archive:
        assert one.digest == two.digest
        assert archive.namelist() == ["pkg/x.py", "run.sh"]
        assert archive.getinfo("run.sh").external_attr >> 16 & 0o111
        assert not archive.getinfo("pkg/x.py").external_attr >> 16 & 0o111


def test_a_working_directory_that_is_too_big_is_found_out_while_it_is_packed(tmp_path):
    """WORKING_DIR_TOO_BIG, and no giant zip in the way."""
    (tmp_path / "data.bin").write_bytes(os.urandom(3_000_000))
    with pytest.raises(errors.ResourceExhausted) as caught:
        files.pack(tmp_path, 1_000_000)
    assert caught.value.reason == "WORKING_DIR_TOO_BIG"


def test_a_working_directory_is_uploaded_once(edge, tmp_path):
    """The second submission finds it there."""
    folder = working_dir(tmp_path / "a")
    client = edge.client("user")
    request = job.JobRequest(namespace="sales", entrypoint=("true",))
    first, second = client.submit(request, folder), client.submit(request, folder)
    assert first.request.working_dir == second.request.working_dir
    assert client.get_package(first.request.working_dir).package_bytes > 0
    assert first.job != second.job


# Downloads


def test_a_download_appears_whole_or_not_at_all(tmp_path):
    """While it is read it lies in a hidden folder; when that fails nothing stays, not even the folder that was made for it."""
    mine = tmp_path / "mine"
    mine.mkdir()

    def fail(folder: Path) -> None:
        with transfer._staged(folder) as stage, transfer._new_file(stage / "deep" / "x.csv") as file:
            file.write(b"half")
            raise errors.DataCorrupt("no")

    for folder in (tmp_path / "new", mine):
        with pytest.raises(errors.DataCorrupt):
            fail(folder)
    assert [each.name for each in tmp_path.rglob("*")] == ["mine"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """A file in the place of the folder, or whatever else the disk says."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(errors.ResourceExhausted) as caught, transfer._staged(tmp_path / "file" / "x"):
        pass
    assert (caught.value.reason, str(tmp_path / "file") in caught.value.message) == ("FILE_UNWRITABLE", True)


def test_files_that_are_there_are_not_overwritten_unasked(tmp_path):
    """Also a link that leads nowhere."""
    (tmp_path / "x").write_text("mine")
    (tmp_path / "y").symlink_to("nowhere")
    for name in ("x", "y"):
        with pytest.raises(errors.AlreadyExists):
            transfer._refuse_existing([tmp_path / "new", tmp_path / name], overwrite=False)
    transfer._refuse_existing([tmp_path / "x"], overwrite=True)


def test_the_package_offers_what_it_names():
    """`federation.Client` and `federation.errors`, loaded when they are used."""
    import federation

    assert federation.Client is sdk.Client
    assert federation.errors is errors
    with pytest.raises(AttributeError):
        _ = federation.nonsense


def test_a_brief_plan_is_for_planning_alone(edge):
    """A job that is stored has its whole plan; and where no site will do, a brief plan says why as a whole one does."""
    request = jobs_pb2.CreateJobRequest(request=codec.to_message(builders.request()), view=jobs_pb2.PLAN_VIEW_BASIC)
    with pytest.raises(errors.InvalidArgument) as caught:
        edge.call("Jobs.CreateJob", request)
    assert caught.value.reason == "VIEW_NOT_PLANNING"
    client = edge.client()
    brief = client.plan(builders.request([], cpus=1000), brief=True)
    assert brief.plan.rejections == client.plan(builders.request([], cpus=1000)).plan.rejections
    assert brief.reason == "CPUS_EXHAUSTED"
