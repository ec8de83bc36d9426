"""The launcher: the entrypoint gets the way to its data, what it prints arrives, and its end is told once and for all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from federation.core import errors
from tests.worker.conftest import job_environment

PASS_ON = """
import os, sys
import federation
flights = federation.inputs["flights"]
with federation.outputs["model"].open("copy.csv") as file:
    file.write(flights.open("flights.csv").read())
print("ticket" , os.environ.get("FED_TICKET"))
print("done")
"""


@pytest.fixture
def stub(gateway):
    """A gateway with one input and one output."""
    gateway.stub.add_input("flights", "sales/flights@3", {"flights.csv": b"x\n1\n"})
    gateway.stub.outputs["model"] = "ml/delay-model"
    return gateway.stub


def test_an_entrypoint_reads_writes_and_is_committed(stub, launch):
    """The whole way: ticket, token, input, output, log, commit."""
    done = launch(PASS_ON)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stub.written("model") == {"copy.csv": b"x\n1\n"}
    assert [request.exit_code for request in stub.finished] == [0]
    assert stub.logs.decode() == "ticket None\ndone\n"
    assert done.stdout == "ticket None\ndone\nfederation: committed ml/delay-model@1\n"


@pytest.mark.parametrize(("given", "found"), [({}, "ERROR"), ({"GRPC_VERBOSITY": "debug"}, "debug")])
def test_the_log_is_the_entrypoints_alone(stub, launch, monkeypatch, given, found):
    """gRPC's library would write into it whenever a gateway goes away; who wants that says so."""
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    launch("import os; print(os.environ['GRPC_VERBOSITY'])", **given)
    assert stub.logs.decode() == f"{found}\n"


def test_the_exit_code_and_the_last_words_are_told(stub, launch):
    """A failure is the entrypoint's own, with what it said last."""
    done = launch("import sys; sys.exit('no convergence')")
    assert done.returncode == 1
    (finished,) = stub.finished
    assert (finished.exit_code, finished.reason) == (1, "ENTRYPOINT_FAILED")
    assert "no convergence" in finished.detail
    assert stub.versions == []


def test_an_unhandled_error_of_ours_ends_in_the_log(stub, launch):
    """An input that is not in the plan says so where the user looks."""
    done = launch("import federation; federation.inputs['weather']")
    assert done.returncode == 1
    assert "INPUT_NOT_IN_PLAN" in stub.logs.decode()
    assert "INPUT_NOT_IN_PLAN" in stub.finished[0].detail


OURS = "import federation; federation.inputs['weather']"


@pytest.mark.parametrize(
    "script",
    [
        OURS,
        f"try:\n    {OURS}\nexcept Exception as error:\n    raise RuntimeError('no weather') from error",
        f"import sys, federation; sys.excepthook = lambda *_: None; {OURS}",
        f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {OURS!r}]).returncode)",
    ],
)
def test_an_error_of_ours_that_nobody_caught_is_the_reason(stub, launch, script):
    """Raised from, with a hook of somebody's, or in a process that the entrypoint started: it is what the job died of."""
    assert launch(script).returncode == 1
    (finished,) = stub.finished
    assert (finished.exit_code, finished.reason) == (1, "INPUT_NOT_IN_PLAN")
    assert finished.detail.startswith("the entrypoint ended with exit code 1: 'weather' is not an input of ")
    assert "[INPUT_NOT_IN_PLAN]" in finished.detail


@pytest.mark.parametrize(
    "script",
    [
        f"try:\n    {OURS}\nexcept Exception:\n    pass\nraise ValueError('of my own')",
        f"import sys\ntry:\n    {OURS}\nexcept Exception:\n    sys.exit(1)",
        f"import federation, subprocess as s, sys; len(federation.inputs); s.run([sys.executable, '-c', {OURS!r}]); exit(1)",
    ],
)
def test_an_error_of_ours_that_was_caught_is_no_reason(stub, launch, script):
    """The entrypoint lived with it and failed for something else."""
    assert launch(script).returncode == 1
    assert stub.finished[0].reason == "ENTRYPOINT_FAILED"


def test_what_looks_like_a_lost_worker_is_said_to_be_perhaps_one(stub, launch):
    """A traceback that ends in Ray's word for it makes the agent ask the cluster; one of the job's own does not."""
    failing = "class ActorDiedError(Exception): __module__ = 'ray.exceptions'\nraise ActorDiedError('its node has died')"
    assert launch(failing).returncode == 1
    assert stub.finished[0].reason == "WORKERS_LOST"
    assert "its node has died" in stub.finished[0].detail


def test_a_refused_commit_is_a_failure(stub, launch):
    """However well the entrypoint ended: the last line says why."""
    stub.refuse_commit = True
    done = launch("print('fine')")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("federation: the outputs were not committed: attempt 1 is superseded")


def test_a_used_ticket_starts_nothing(stub, launch):
    """A ticket is exchanged once: a second launcher of the same attempt runs no entrypoint."""
    stub.nonce = "somebody else's"
    done = launch("print('started')")
    assert done.returncode == 1
    assert "started" not in done.stdout.splitlines()
    assert "TICKET_INVALID" in done.stdout
    assert stub.finished == []


def test_an_entrypoint_that_is_not_there(stub, gateway):
    """Ends as in a shell, and is told."""
    command = [sys.executable, "-m", "federation.worker.launch", "--", "no-such-program"]
    done = subprocess.run(command, env=job_environment(gateway), capture_output=True, timeout=60, check=False)
    assert done.returncode == 127
    assert "no-such-program" in stub.finished[0].detail


def test_a_gateway_that_restarts_at_the_end_hears_of_it(stub, launch):
    """The end is told until it is heard."""
    failures = iter([True, True, True])

    def fault(method):
        if method == "FinishAttempt" and next(failures, False):
            raise errors.Unavailable("restarting")

    stub.fault = fault
    assert launch("print('fine')").returncode == 0
    assert [request.exit_code for request in stub.finished] == [0]


def test_too_much_output_keeps_its_beginning_and_its_end(stub, launch):
    """A gigabyte of prints fills nobody's disk; the traceback at its end is kept."""
    done = launch("import sys\nfor n in range(300_000): print('line', n)\nsys.exit('the end')", FED_LOG_BYTES_MAX="50000")
    log = stub.logs.decode()
    assert len(log) < 150_000
    assert log.startswith("line 0\n")
    assert log.endswith("the end\n")
    assert "were printed here and not kept" in log
    assert len(done.stdout) < 150_000


def test_what_is_printed_arrives_while_it_runs(stub, gateway, tmp_path):
    """Whoever follows the log sees a line within a second or two."""
    with started(gateway, tmp_path, "import time; print('early', flush=True); time.sleep(60)") as process:
        until(lambda: b"early" in stub.logs)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM


def test_sigterm_reaches_the_entrypoint(stub, gateway, tmp_path):
    """A job that is stopped may clean up; its end is told as its own."""
    script = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
    script += "print('up', flush=True)\ntime.sleep(60)"
    with started(gateway, tmp_path, script) as process:
        until(lambda: b"up" in stub.logs)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 3
    assert stub.finished[0].exit_code == 3


def test_a_child_that_outlives_the_entrypoint_holds_nothing_up(stub, launch):
    """A daemon that keeps the output open does not keep the job open."""
    begin = time.monotonic()
    done = launch("import subprocess; print(subprocess.Popen(['sleep', '50']).pid)")
    os.kill(int(done.stdout.splitlines()[0]), signal.SIGKILL)
    assert done.returncode == 0
    assert time.monotonic() - begin < 30


def test_the_token_is_nowhere_but_in_the_environment(stub, launch):
    """Not in the log, not on a command line."""
    done = launch(
        "import pathlib, federation\nprint(pathlib.Path('/proc/self/cmdline').read_bytes(), federation.inputs['flights'])"
    )
    assert stub.token not in done.stdout + done.stderr
    assert stub.ticket not in done.stdout + done.stderr


EXIT_WHILE_READING = """
import federation, pyarrow.dataset as ds
data = ds.dataset("sales/many", filesystem=federation.filesystem(), format="parquet")
batches = data.to_batches(batch_size=1000, fragment_readahead=8)
next(iter(batches))
print("read one")
"""


def test_an_entrypoint_may_end_while_arrow_still_reads(gateway, launch):
    """Arrow aborts at the interpreter's end if its threads still read through Python; ours waits for them."""
    import io

    import pyarrow as pa
    import pyarrow.parquet

    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"x": list(range(200_000))}), sink, compression="none", row_group_size=20_000)
    gateway.stub.add_input("many", "sales/many@1", {f"{n}.parquet": sink.getvalue() for n in range(12)})
    for _ in range(3):
        gateway.stub.nonce = ""
        done = launch(EXIT_WHILE_READING)
        assert done.returncode == 0, done.stdout + done.stderr


def started(gateway, folder, script):
    """The launcher on a script, running."""
    path = folder / "job.py"
    path.write_text(script)
    command = [sys.executable, "-m", "federation.worker.launch", "--", sys.executable, str(path)]
    return subprocess.Popen(command, env=job_environment(gateway), stdout=subprocess.DEVNULL)


def until(condition, seconds=30):
    """Returns once the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
