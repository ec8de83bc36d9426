"""What people and jobs get wrong, against real processes: a clear error with a stable reason, and nothing is left half done."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation import errors
from federation.cli import exits
from federation.core import dataset, job
from federation.local import supervisor
from tests import localfed

LOG_BYTES_MAX = 256 * 1024
PRINTED_BYTES = 200 * 1000 * 1000
SMALL_DISK = 16 * 1024 * 1024
FILE_BYTES_MAX = 16 * 1024 * 1024
TOO_MUCH = 24 * 1024 * 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything of this module lies."""
    return tmp_path_factory.mktemp("bad")


@pytest.fixture(scope="module")
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of a few megabytes, where this machine lets us mount one."""
    place = folder / "small"
    place.mkdir()
    mounted = subprocess.run(
        ("mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", str(place)), capture_output=True, check=False
    )
    yield place if mounted.returncode == 0 else None
    if mounted.returncode == 0:
        subprocess.run(("umount", "--lazy", str(place)), check=True)


@pytest.fixture(scope="module")
def running(folder: Path, small_disk: Path | None) -> Iterator[localfed.LocalFederation]:
    """Two sites that work, one with a small disk, one whose Ray is down, and one whose folder for jobs is a file."""
    (folder / "cluster").write_text("in the way")
    federation = localfed.LocalFederation(
        folder=folder / "f",
        compute={
            "eu-1": {"compute": {"kind": "process"}},
            "us-1": {"compute": {"kind": "process"}},
            "eu-2": {"ray": {"address": "http://127.0.0.1:1"}},
            "ewr-1": {"compute": {"kind": "process", "address": str(folder / "cluster")}},
        },
        settings={"package_bytes_max": "64KiB"},
        site_settings={
            "eu-1": {"log_bytes_max": f"{LOG_BYTES_MAX // 1024}KiB"},
            "us-1": {"storage": {"kind": "local", "url": str((small_disk or folder / "disk") / "store")}},
        },
    )
    with localfed.running(federation):
        yield federation


@pytest.fixture
def fed(running: localfed.LocalFederation) -> Iterator[localfed.LocalFederation]:
    """The federation; whatever a test did to it, every store holds afterwards what the catalog says and nothing else."""
    yield running
    assert running.findings() == []
    for site in ("eu-1", "us-1"):
        assert list((Path(_store(running, site)) / ".tmp").iterdir()) == []


def _store(fed: localfed.LocalFederation, site: str) -> str:
    return fed.site_settings.get(site, {}).get("storage", {}).get("url", str(fed.layout.site(site) / "store"))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A dataset's name that no other test uses."""
    return "bad/" + re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[-60:].strip("-")


def _is_absent(fed: localfed.LocalFederation, name: str) -> bool:
    """Whether there is no such dataset."""
    try:
        with fed.client() as client:
            client.get_dataset(name)
    except errors.NotFound:
        return True
    return False


def _ended(fed: localfed.LocalFederation, script: str, *, site: str = "eu-1", **request) -> job.Job:
    return fed.wait_job(fed.submit(script, sites=(site,), **request).job)


def _refusal(fed: localfed.LocalFederation, **request) -> errors.FederationError:
    """The error with which a submission is refused; no job came of it."""
    with fed.client() as client:
        before = [row.job for row in client.list_jobs()]
        with pytest.raises(errors.FederationError) as caught:
            client.submit(job.JobRequest(entrypoint=("python", "-c", "pass"), **request))
        assert [row.job for row in client.list_jobs()] == before
    return caught.value


def _inputs(**names: str) -> tuple[job.InputSpec, ...]:
    return tuple(job.InputSpec(alias=alias, dataset=name) for alias, name in names.items())


# What is put


def _link(path: Path) -> Path:
    path.symlink_to(path.parent / "nowhere")
    return path


def _loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _socket(path: Path) -> Path:
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"/proc/self/fd/{here}/{path.name}")  # a socket's own path must be short
    os.close(here)
    return path


UNREADABLE = {
    "a missing file": (lambda path: path, "FILE_MISSING"),
    "a dangling link": (_link, "SYMLINK_REFUSED"),
    "a link to itself": (_loop, "SYMLINK_REFUSED"),
    "a file below a link to itself": (lambda path: _loop(path) / "x", "FILE_MISSING"),
    "a pipe": (_pipe, "FILE_UNREADABLE"),
    "a socket": (_socket, "FILE_UNREADABLE"),
    "an empty folder": (lambda path: path.mkdir() or path, "FOLDER_EMPTY"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_refused_before_anything_is_made(
    fed: localfed.LocalFederation, name: str, tmp_path: Path, what: str
):
    """The error names the path, by itself or in a folder with good files, and no dataset comes of it."""
    make, reason = UNREADABLE[what]
    path = make(tmp_path / "strange")
    places = [path] if reason in ("FILE_MISSING", "FOLDER_EMPTY") else [path, tmp_path]
    (tmp_path / "good.txt").write_text("good")
    for place in places:
        with fed.client() as client, pytest.raises(errors.FederationError) as caught:
            client.put(name, place, site="eu-1")
        assert (caught.value.reason, str(path) in caught.value.message) == (reason, True)
    assert _is_absent(fed, name)


def test_a_file_that_opens_and_cannot_be_read_ends_the_put(fed: localfed.LocalFederation, name: str):
    """A disk that fails in the middle is told as what it is, and what was sent until then is dropped."""
    with fed.client() as client:
        with pytest.raises(errors.FailedPrecondition) as caught:
            client.put(name, Path("/proc/self/mem"), site="eu-1")  # opens as a file of no bytes, and reads as EIO
        assert (caught.value.reason, "/proc/self/mem" in caught.value.message) == ("FILE_UNREADABLE", True)
        assert list(client.list_versions(name)) == []


@pytest.mark.parametrize(
    "text", ["Sales/flights", "sales", "sales/flights/x", "sales/flights-", "sales/fl ights", "sales/", "../x/y", "sales/flüge"]
)
def test_a_name_outside_the_grammar_is_refused(fed: localfed.LocalFederation, tmp_path: Path, text: str):
    """The error quotes the name and says what a name looks like."""
    (tmp_path / "a.txt").write_text("a")
    with fed.client() as client, pytest.raises(errors.InvalidArgument) as caught:
        client.put(text, tmp_path, site="eu-1")
    assert caught.value.reason == "NAME_INVALID"
    assert caught.value.help


def test_a_file_name_outside_the_grammar_is_refused(fed: localfed.LocalFederation, name: str, tmp_path: Path):
    """A file whose name could not be written down elsewhere is refused by name."""
    (tmp_path / "a\nb.txt").write_text("a")
    with fed.client() as client, pytest.raises(errors.InvalidArgument) as caught:
        client.put(name, tmp_path, site="eu-1")
    assert caught.value.reason == "PATH_INVALID"
    assert _is_absent(fed, name)


def test_an_unknown_site_is_refused_and_no_dataset_is_made(fed: localfed.LocalFederation, name: str):
    """Neither for a put, nor for an ingest, nor for a job."""
    with pytest.raises(errors.NotFound) as caught:
        fed.put(name, {"a.txt": b"a"}, site="mars-1")
    assert "mars-1" in caught.value.message
    assert (
        fed.fed("dataset", "ingest", name, "--from", "file:///x", "--site", "mars-1", check=False).exit_code == exits.NOT_FOUND
    )
    assert _is_absent(fed, name)
    assert "mars-1" in _refusal(fed, sites=("mars-1",)).message


def test_a_residency_that_forbids_the_site_is_refused_and_no_dataset_is_made(fed: localfed.LocalFederation, name: str):
    """EU data does not go to a US site, neither when the dataset is new nor later."""
    with pytest.raises(errors.PermissionDenied) as caught:
        fed.put(name, {"a.txt": b"a"}, site="us-1", residency=("EU",))
    assert (caught.value.reason, "us-1" in caught.value.message) == ("RESIDENCY_DENIED", True)
    assert _is_absent(fed, name)
    fed.put(name, {"a.txt": b"a"}, site="eu-1", residency=("EU",))
    with pytest.raises(errors.PermissionDenied) as caught:
        fed.put(name, {"a.txt": b"b"}, site="us-1")
    assert caught.value.reason == "RESIDENCY_DENIED"
    with fed.client() as client:
        assert [version.number for version in client.list_versions(name)] == [1]


def test_an_ingest_from_nowhere_makes_no_dataset(fed: localfed.LocalFederation, name: str):
    """A source that the site does not declare is refused before the dataset is made, also with a residency."""
    words = ("dataset", "ingest", name, "--from", "file:///nowhere/", "--site", "eu-1", "--residency", "EU")
    refused = fed.fed(*words, check=False)
    assert "SOURCE_NOT_ALLOWED" in refused.stderr
    assert refused.exit_code == exits.ERROR
    assert _is_absent(fed, name)


def test_a_stale_etag_changes_nothing(fed: localfed.LocalFederation, name: str):
    """Whoever comes second is told so, with a reason, and reads again."""
    fed.put(name, {"a.txt": b"a"})
    with fed.client() as client:
        read = client.get_dataset(name)
        client.update_dataset(dataclasses.replace(read, description="first"), ["description"])
        with pytest.raises(errors.Conflict) as caught:
            client.update_dataset(dataclasses.replace(read, description="second"), ["description"])
        assert caught.value.reason == "ETAG_MISMATCH"
        with pytest.raises(errors.Conflict):
            client.delete_dataset(name, etag=read.etag)
        assert client.get_dataset(name).description == "first"


def test_the_command_line_says_what_to_do_next(fed: localfed.LocalFederation, name: str, tmp_path: Path):
    """For each class of error: the documented exit code, the reason and the value on stderr, nothing on stdout."""
    (file := tmp_path / "a.txt").write_text("a")
    _link(tmp_path / "link")
    fed.put(name, {"a.txt": b"a"}, residency=("EU",))
    big = tmp_path / "big"
    big.mkdir()
    (big / "data").write_bytes(random.Random(3).randbytes(100_000))
    put = ("dataset", "put")
    for words, code, reason, value in (
        ((*put, "new/x", f"{file}-not", "--site", "eu-1"), exits.NOT_FOUND, "FILE_MISSING", f"{file}-not"),
        ((*put, "new/x", str(tmp_path / "link"), "--site", "eu-1"), exits.USAGE, "SYMLINK_REFUSED", "link"),
        ((*put, "New/x", str(file), "--site", "eu-1"), exits.USAGE, "NAME_INVALID", "New"),
        ((*put, "new/x", str(file), "--site", "mars-1"), exits.NOT_FOUND, "NOT_FOUND", "mars-1"),
        ((*put, name, str(file), "--site", "us-1"), exits.REFUSED, "RESIDENCY_DENIED", "us-1"),
        (("dataset", "delete", name, "--etag", "e-old"), exits.CONFLICT, "ETAG_MISMATCH", name),
        (("job", "submit", "--working-dir", str(big), "--", "true"), exits.ERROR, "WORKING_DIR_TOO_BIG", "65.5 kB"),
        (("job", "submit", "--input", "a=new/x", "--", "true"), exits.NOT_FOUND, "NOT_FOUND", "new/x"),
    ):
        done = fed.fed(*words, check=False)
        assert (done.exit_code, done.stdout) == (code, ""), (words, done.stderr)
        assert reason in done.stderr
        assert value in done.stderr
        assert "Traceback" not in done.stderr


# What is submitted


def test_a_working_directory_that_is_too_big_is_refused(fed: localfed.LocalFederation, tmp_path: Path):
    """By the server's own limit, whatever the client's is; nothing of it is kept."""
    (tmp_path / "data").write_bytes(random.Random(4).randbytes(100_000))
    with fed.client() as client:
        with pytest.raises(errors.ResourceExhausted) as caught:
            client.submit(job.JobRequest(entrypoint=("true",)), tmp_path)
        assert caught.value.reason == "WORKING_DIR_TOO_BIG"
        with pytest.raises(errors.ResourceExhausted) as caught:
            client.upload_package(tmp_path, bytes_max=1000)
        assert (caught.value.reason, str(tmp_path) in caught.value.message) == ("WORKING_DIR_TOO_BIG", True)


def test_a_working_directory_with_a_link_is_refused(fed: localfed.LocalFederation, tmp_path: Path):
    """It would not be there at the site."""
    _link(tmp_path / "link")
    with fed.client() as client, pytest.raises(errors.InvalidArgument) as caught:
        client.submit(job.JobRequest(entrypoint=("true",)), tmp_path)
    assert caught.value.reason == "SYMLINK_REFUSED"


def test_inputs_that_cannot_be_had_are_refused(fed: localfed.LocalFederation, name: str):
    """An unknown dataset, one without a version, a version that is not there, an alias that is given twice."""
    with fed.client() as client:
        client.create_namespace(dataset.Namespace(name="empty"))
        client.create_dataset(dataset.Dataset(namespace="empty", dataset="one"))
    fed.put(name, {"a.txt": b"a"})
    unknown = _refusal(fed, inputs=_inputs(a="empty/none"))
    assert isinstance(unknown, errors.NotFound)
    assert "empty/none" in unknown.message
    assert _refusal(fed, inputs=_inputs(a="empty/one")).reason == "DATASET_EMPTY"
    missing = _refusal(fed, inputs=(job.InputSpec(alias="a", dataset=name, version=9),))
    assert isinstance(missing, errors.NotFound)
    assert f"{name}@9" in missing.message
    twice = _refusal(fed, inputs=(*_inputs(a=name), *_inputs(a=name)))
    assert (twice.reason, "'a'" in twice.message) == ("JOB_REQUEST_INVALID", True)
    assert _refusal(fed, inputs=_inputs(**{"not-an-alias": name})).reason == "NAME_INVALID"


def test_contradictory_residencies_are_refused_with_both_names(fed: localfed.LocalFederation, name: str):
    """No place may hold both inputs: the error names each with what binds it."""
    fed.put(f"{name}-eu", {"a.txt": b"a"}, site="eu-1", residency=("EU",))
    fed.put(f"{name}-us", {"a.txt": b"a"}, site="us-1", residency=("US",))
    refused = _refusal(fed, inputs=_inputs(one=f"{name}-eu", other=f"{name}-us"))
    assert refused.reason == "RESIDENCY_CONTRADICTION"
    for word in (f"{name}-eu (EU)", f"{name}-us (US)"):
        assert word in refused.message


def test_resources_that_no_site_has_reject_the_job_with_every_reason(fed: localfed.LocalFederation):
    """Exit code 6, and each site says why; nothing that was named as an output is made."""
    words = ("--output", "o=bad/never", "--site", "eu-1", "--site", "us-1", "--gpus", "8", "--gpu-type", "H100")
    done = fed.fed("job", "submit", "-o", "json", *words, "--", "true", check=False)
    assert done.exit_code == exits.REFUSED
    with fed.client() as client:
        rejected = next(iter(client.list_jobs()))
    assert rejected.state is job.JobState.REJECTED
    assert rejected.plan is not None
    assert {row.site: row.reason for row in rejected.plan.rejections} == {
        "eu-1": "GPU_TYPE_MISSING",
        "us-1": "GPU_TYPE_MISSING",
        "eu-2": "SITE_NOT_REQUESTED",
        "ewr-1": "SITE_NOT_REQUESTED",
    }
    explained = fed.fed("job", "explain", rejected.job).stdout
    assert all(site in explained for site in fed.compute)
    assert _is_absent(fed, "bad/never")


# What the entrypoint does


def test_an_entrypoint_that_exits_non_zero_fails_its_job_and_its_outputs(fed: localfed.LocalFederation, name: str):
    """FAILED at the first attempt with the exit code and its last words; what it wrote is gone."""
    script = """
import federation, sys
with federation.outputs["o"].open("a.txt") as file: file.write(b"not to be kept")
sys.exit("out of cheese")
"""
    ended = _ended(fed, script, outputs={"o": name})
    assert (ended.state, ended.reason, ended.attempt) == (job.JobState.FAILED, "ENTRYPOINT_FAILED", 1)
    assert "out of cheese" in ended.detail
    with fed.client() as client:
        assert client.get_run(ended.run).exit_code == 1
        assert list(client.list_versions(name)) == []


def test_an_entrypoint_that_is_not_there_fails_its_job(fed: localfed.LocalFederation):
    """As a shell says it: exit code 127, and the word that is not a command."""
    with fed.client() as client:
        made = client.submit(job.JobRequest(entrypoint=("no-such-command", "x"), sites=("eu-1",)))
        ended = fed.wait_job(made.job)
        assert (ended.state, ended.reason) == (job.JobState.FAILED, "ENTRYPOINT_FAILED")
        assert "no-such-command" in ended.detail
        assert client.get_run(ended.run).exit_code == 127


def test_an_entrypoint_that_a_signal_ends_says_so(fed: localfed.LocalFederation):
    """SIGKILL of itself is told by name."""
    ended = _ended(fed, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert (ended.state, ended.reason) == (job.JobState.FAILED, "ENTRYPOINT_FAILED")
    assert "SIGKILL" in ended.detail


def test_an_entrypoint_that_prints_without_end_is_kept_in_bounds(fed: localfed.LocalFederation):
    """The job goes on and succeeds; of its log the head and the tail are kept, with a mark of what was not."""
    script = f"""
import sys
out = sys.stdout.buffer
out.write(b"THE HEAD\\n")
piece = b"0123456789abcde\\n" * 65536
for _ in range({PRINTED_BYTES} // len(piece)): out.write(piece)
out.write(b"THE TAIL\\n")
"""
    ended = _ended(fed, script)
    assert ended.state is job.JobState.SUCCEEDED
    printed = fed.job_log(ended.job)
    assert printed.startswith("THE HEAD\n")
    assert printed.endswith("THE TAIL\n")
    assert "not kept" in printed
    assert len(printed) < LOG_BYTES_MAX + 1000
    at_site = [path for path in fed.layout.site("eu-1").rglob("*") if path.is_file() and ended.job in str(path)]
    assert sum(path.stat().st_size for path in at_site) < 3 * LOG_BYTES_MAX


@pytest.mark.parametrize(
    ("touch", "reason"),
    [
        ('federation.inputs["other"]', "INPUT_NOT_IN_PLAN"),
        ('federation.filesystem().open("fed://{other}/a.txt").read()', "INPUT_NOT_IN_PLAN"),
        ('federation.outputs["other"]', "OUTPUT_NOT_IN_PLAN"),
        ('federation.filesystem().open("fed://{other}/b.txt", "wb")', "OUTPUT_NOT_IN_PLAN"),
        ('federation.filesystem().open("fed://{own}/b.txt", "wb")', "OUTPUT_NOT_IN_PLAN"),
    ],
)
def test_what_is_not_in_the_plan_is_refused(fed: localfed.LocalFederation, name: str, touch: str, reason: str):
    """The reason and what is in the plan reach the job's log and its detail."""
    own, other = "bad/planned", "bad/not-planned"
    for one in (own, other):
        if _is_absent(fed, one):
            fed.put(one, {"a.txt": b"a"})
    ended = _ended(fed, f"import federation\n{touch.format(own=own, other=other)}", inputs={"own": own})
    assert (ended.state, ended.reason, ended.attempt) == (job.JobState.FAILED, reason, 1)
    assert reason in ended.detail
    assert f"[{reason}]" in fed.job_log(ended.job)


@pytest.mark.parametrize("script", ["pass", "import federation; federation.outputs['o'].open('a.txt').discard()"])
def test_an_output_that_was_not_written_fails_the_job(fed: localfed.LocalFederation, name: str, script: str):
    """An entrypoint that ends well is not enough when it was to write something."""
    ended = _ended(fed, script, outputs={"o": name})
    assert (ended.state, ended.reason) == (job.JobState.FAILED, "OUTPUT_MISSING")
    assert "wrote no o" in ended.detail
    with fed.client() as client:
        assert list(client.list_versions(name)) == []


def test_a_path_is_written_once(fed: localfed.LocalFederation, name: str):
    """The second file of a path is refused; a job that lives with that has the first in its version."""
    script = """
import federation
def write(data):
    with federation.outputs["o"].open("a.txt") as file: file.write(data)
write(b"first")
try: write(b"second")
except federation.errors.FederationError as error: print(error.reason)
"""
    ended = _ended(fed, script, outputs={"o": name})
    assert ended.state is job.JobState.SUCCEEDED
    assert "PATH_DUPLICATE" in fed.job_log(ended.job)
    with fed.client() as client:
        assert client.get_version(f"{name}@1").total_bytes == len(b"first")


WAITS = """
import federation, os, time
with federation.outputs["o"].open("a.txt") as file: file.write(b"not to be kept")
print("ready", os.getpid(), flush=True)
time.sleep(600)
"""


def _ready(fed: localfed.LocalFederation, name: str) -> int:
    """The pid of a job that has said that it is ready."""

    def said() -> re.Match[str] | None:
        with fed.client() as client:
            return re.search(r"ready ([0-9]+)", fed.job_log(name)) if client.get_job(name).run else None

    found = localfed.until(said, 30, f"{name} to be ready")
    assert found is not None
    return int(found[1])


def test_a_cancelled_job_ends_and_its_outputs_are_gone(fed: localfed.LocalFederation, name: str):
    """CANCELLED, with its process; cancelling again changes nothing, and a job that has ended otherwise cannot be."""
    made = fed.submit(WAITS, sites=("eu-1",), outputs={"o": name})
    pid = _ready(fed, made.job)
    with fed.client() as client:
        client.cancel_job(made.job)
        ended = fed.wait_job(made.job)
        assert (ended.state, client.get_run(ended.run).reason) == (job.JobState.CANCELLED, "CANCELLED")
        assert client.cancel_job(made.job).state is job.JobState.CANCELLED
        assert list(client.list_versions(name)) == []
    localfed.until(lambda: not Path(f"/proc/{pid}").exists(), 30, "its process to end")


def test_a_run_that_takes_too_long_is_ended(fed: localfed.LocalFederation, name: str):
    """FAILED with DURATION_EXCEEDED and not tried again; what it wrote is gone."""
    ended = _ended(fed, WAITS, outputs={"o": name}, duration_limit_seconds=3)
    assert (ended.state, ended.reason, ended.attempt) == (job.JobState.FAILED, "DURATION_EXCEEDED", 1)
    with fed.client() as client:
        assert list(client.list_versions(name)) == []


# A full disk

WRITES = """
import federation
with federation.outputs["o"].open("first.txt") as file: file.write(b"small")
with federation.outputs["o"].open("big.bin") as file: file.write(b"x" * {size})
"""


def _fails_with_a_full_store(fed: localfed.LocalFederation, name: str, site: str) -> None:
    """A job that writes too much fails with the reason, and nothing of it stays."""
    ended = _ended(fed, WRITES.format(size=TOO_MUCH), site=site, outputs={"o": name})
    assert (ended.state, ended.reason) == (job.JobState.FAILED, "STORAGE_FULL")
    assert "STORAGE_FULL" in ended.detail
    assert fed.findings() == []
    with fed.client() as client:
        assert list(client.list_versions(name)) == []


def test_a_job_that_fills_the_disk_fails_and_the_next_one_works(
    fed: localfed.LocalFederation, name: str, small_disk: Path | None
):
    """ENOSPC in the middle of an object: the part goes away, and what fits is written again."""
    if small_disk is None:
        pytest.skip("this machine does not let us mount a tmpfs")
    _fails_with_a_full_store(fed, name, "us-1")
    assert _ended(fed, WRITES.format(size=1000), site="us-1", outputs={"o": name}).state is job.JobState.SUCCEEDED


def test_a_put_that_fills_the_disk_fails_and_the_next_one_works(
    fed: localfed.LocalFederation, name: str, tmp_path: Path, small_disk: Path | None
):
    """The person hears that the site is full, and their next, smaller version is the first."""
    if small_disk is None:
        pytest.skip("this machine does not let us mount a tmpfs")
    (tmp_path / "big.bin").write_bytes(bytes(TOO_MUCH))
    done = fed.fed("dataset", "put", name, str(tmp_path / "big.bin"), "--site", "us-1", check=False)
    assert done.exit_code == exits.ERROR
    assert "STORAGE_FULL" in done.stderr
    assert fed.findings() == []
    assert fed.put(name, {"small.bin": b"fits"}, site="us-1").number == 1


def test_a_file_size_limit_is_a_full_disk_too(fed: localfed.LocalFederation, name: str):
    """EFBIG of an agent under RLIMIT_FSIZE; once the limit is lifted, the same site takes the same job."""
    (pid,) = (row.pid for row in supervisor.status(fed.layout) if row.part == "agent eu-1")
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, before[1]))
    try:
        _fails_with_a_full_store(fed, name, "eu-1")
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    assert _ended(fed, WRITES.format(size=TOO_MUCH), outputs={"o": name}).state is job.JobState.SUCCEEDED


# A cluster that is down


def test_a_ray_that_does_not_answer_lets_the_job_wait_and_says_why(fed: localfed.LocalFederation):
    """The plan names the site and the reason, which can pass; the job is PENDING until somebody cancels it."""
    request = job.JobRequest(entrypoint=("true",), sites=("eu-2",))
    with fed.client() as client:
        planned = client.plan(request)
        assert planned.plan is not None
        (told,) = (row for row in planned.plan.rejections if row.site == "eu-2")
        assert (told.reason, told.resolvable) == ("COMPUTE_UNAVAILABLE", True)
        assert "127.0.0.1:1" in told.detail
        waiting = client.submit(request)
        assert (waiting.state, waiting.reason) == (job.JobState.PENDING, "COMPUTE_UNAVAILABLE")
        with pytest.raises(errors.DeadlineExceeded) as caught:
            client.wait(waiting.job, 2)
        assert caught.value.reason == "JOB_UNFINISHED"
        with pytest.raises(errors.FailedPrecondition) as refused:
            next(client.logs(waiting.job))
        assert refused.value.reason == "LOGS_NOT_YET"
        assert client.cancel_job(waiting.job).state is job.JobState.CANCELLED
    assert fed.fed("job", "plan", "--site", "eu-2", "--", "true", check=False).exit_code == exits.REFUSED


def test_a_job_that_waits_for_a_cluster_runs_once_it_is_back(fed: localfed.LocalFederation, folder: Path, name: str):
    """A folder for jobs that is a file is a cluster that is down; without the file it is one that runs the job."""
    waiting = fed.submit(WRITES.format(size=10), sites=("ewr-1",), outputs={"o": name})
    assert (waiting.state, waiting.reason, waiting.attempt) == (job.JobState.PENDING, "COMPUTE_UNAVAILABLE", 0)
    assert str(folder / "cluster") in waiting.detail
    (folder / "cluster").unlink()
    ended = fed.wait_job(waiting.job)
    assert (ended.state, ended.attempt) == (job.JobState.SUCCEEDED, 1)
