"""One trace for a job's way: from the command that submits it to the file that it opens and the grant that is settled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from federation import traces
from federation.core import dataset, job
from tests.agent.federation import Federation, until, write_files
from tests.telemetry.receiver import Receiver

READS = "import federation; print(federation.inputs['flights'].open('a.csv').read())"
SECRET = "hunter2-in-the-environment"


@pytest.fixture(scope="module")
def way(traced: Federation, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> job.Job:
    """A job that reads over the regions' border, submitted below a span of a person's command."""
    client = traced.client
    client.create_namespace(dataset.Namespace(name="sales"))
    client.create_dataset(dataset.Dataset(namespace="sales", dataset="flights"))
    traced.put("sales/flights", write_files(tmp_path_factory.mktemp("data"), a_csv=b"x\n1\n"), "eu-1")
    receiver.spans.clear()
    with traces.span("fed job submit"):
        submitted = traced.submit(
            sys.executable,
            "-c",
            READS,
            inputs=(job.InputSpec(alias="flights", dataset="sales/flights"),),
            sites=("us-1",),
            env=(("TOKEN", SECRET),),
        )
    ended = client.wait(submitted.job, timeout=60)
    assert ended.state is job.JobState.SUCCEEDED, traced.logs(ended)
    until(lambda: {"close run", "open input", "run"} <= {span.name for span in receiver.spans})
    return ended


def test_a_submitted_job_yields_one_connected_trace(way: job.Job, receiver: Receiver) -> None:
    """Each span but the first has its parent in the trace, and all that a job's way consists of is there."""
    root = next(span for span in receiver.spans if span.name == "fed job submit")
    spans = [span for span in receiver.spans if span.trace == root.trace]
    ids = {span.span for span in spans}
    assert [span.name for span in spans if not span.parent] == ["fed job submit"]
    assert [span.name for span in spans if span.parent and span.parent not in ids] == []
    assert {
        "Jobs.CreateJob",  # client and server
        "plan",
        "job placed",
        "begin run",
        "Agent.AcceptRun",
        "submit to cluster",
        "run",
        "Gateway.ExchangeTicket",
        "open input",
        "Gateway.OpenVersion",
        "Agent.IssueLease",
        "Gateway.FinishAttempt",
        "Agent.SettleGrants",
        "Agent.FinishRun",
        "close run",
        "job succeeded",
    } <= {span.name for span in spans}


def test_a_trace_goes_through_the_processes_of_the_run(way: job.Job, receiver: Receiver) -> None:
    """The launcher's span lies below the agent's, the entrypoint's below the launcher's, and both call the gateway."""
    by_id = {span.span: span for span in receiver.spans}
    run = next(span for span in receiver.spans if span.name == "run")
    opened = next(span for span in receiver.spans if span.name == "open input")
    assert run.service == opened.service == "federation-run"
    assert by_id[run.parent].name == "begin run"
    assert by_id[opened.parent] == run
    calls = {span.name for span in receiver.spans if span.parent == opened.span}
    assert calls == {"Gateway.OpenVersion"}


def test_spans_tell_names_of_jobs_and_runs_and_nothing_else(way: job.Job, receiver: Receiver) -> None:
    """No dataset, no person, no token, no variable: what is exported may be read by others than those who may know those."""
    told = {key for span in receiver.spans for key in span.attributes}
    assert told <= {"rpc.method", "rpc.system", "fed.job", "fed.run", "fed.site", "fed.reason", "error.type"}
    for body in receiver.raw:
        assert SECRET.encode() not in body
        assert b"flights" not in body
        assert b"fed_" not in body
        assert b"users/" not in body


def test_a_refusal_marks_its_span_with_the_reason(traced: Federation, receiver: Receiver) -> None:
    """The reason is stable and says no name; the sentence, which has names, stays in the log."""
    with pytest.raises(Exception, match="nowhere"), traces.span("fed dataset create"):
        traced.client.create_dataset(dataset.Dataset(namespace="nowhere", dataset="at-all"))
    until(lambda: any(span.name == "fed dataset create" for span in receiver.spans))
    failed = [span for span in receiver.spans if span.failed and span.name == "Catalog.CreateDataset" and span.kind == 2]
    assert failed[-1].attributes["error.type"] == "NOT_FOUND"


def test_heartbeats_and_streams_begin_no_trace(traced: Federation, receiver: Receiver) -> None:
    """What nobody waits for is not traced: two sites alone would be a trace each second."""
    roots = {span.name for span in receiver.spans if not span.parent}
    assert {name for name in roots if name.startswith(("Agent.", "Gateway."))} == set()


def test_traces_that_are_off_import_nothing(tmp_path: Path) -> None:
    """A process whose environment asks for none has no OpenTelemetry in it, and a span is one shared object."""
    code = (
        "import sys; from federation import traces; import federation.client, federation.worker.launch\n"
        "assert not traces.configure('x', {}) and traces.span('a') is traces.span('b')\n"
        "assert traces.current() == '' and traces.carried(print) is print\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", ["", "00-0-0-00", f"00-{'0' * 32}-{'1' * 16}-01", f"01-{'1' * 32}-{'1' * 16}-01", 7, b"x"])
def test_what_is_no_traceparent_is_none(text: object) -> None:
    """Whatever a caller sends as one: it is neither kept with a job nor handed on."""
    assert traces.valid(text) == ""
