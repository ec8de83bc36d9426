"""Metrics of a federation at work: what its jobs moved and cost is counted once, by regions."""

from __future__ import annotations

import sys
import urllib.request

import pytest
from prometheus_client import parser

from federation import config, metrics
from federation.agent import http
from federation.core import dataset, errors, job
from federation.wire import tls
from tests.agent.federation import Federation, until, write_files
from tests.wire.test_telemetry import samples

READS = "import federation; federation.inputs['d'].open('a.csv').read()"
EU, US = ("source_region", "aws:eu-central-1"), ("destination_region", "aws:us-east-1")


def server(traced: Federation) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What the server tells now."""
    return samples(traced.edge.server._telemetry.metrics.render().decode())


def agent(traced: Federation, site: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a site's agent tells over HTTP."""
    running = traced.places[site].agent
    assert running is not None
    assert running._http is not None
    with urllib.request.urlopen(f"http://{running._http.address}/metrics", timeout=30) as answer:
        assert answer.headers["content-type"] == metrics.CONTENT_TYPE
        return samples(answer.read().decode())


@pytest.fixture(scope="module")
def charged(traced: Federation, tmp_path_factory: pytest.TempPathFactory) -> int:
    """A job at us-1 that reads what lies at eu-1; what the ledger says that it moved."""
    client = traced.client
    client.create_namespace(dataset.Namespace(name="metered"))
    client.create_dataset(dataset.Dataset(namespace="metered", dataset="d"))
    traced.put("metered/d", write_files(tmp_path_factory.mktemp("data"), a_csv=b"x\n" * 50_000), "eu-1")
    ended = traced.run(sys.executable, "-c", READS, inputs=(job.InputSpec(alias="d", dataset="metered/d"),), sites=("us-1",))
    assert ended.state is job.JobState.SUCCEEDED, traced.logs(ended)
    entries = until(lambda: [entry for entry in client.list_ledger_entries() if entry.job == ended.job])
    return sum(entry.bytes for entry in entries)


def test_egress_is_counted_by_the_pair_of_regions(traced: Federation, charged: int) -> None:
    """The ledger's bytes, once, whatever was repeated on the way; nothing tells of which dataset."""
    found = server(traced)
    assert charged > 100_000
    assert found["federation_egress_bytes_total", (US, EU)] >= charged
    assert found["federation_egress_charged_microdollars_total", (US, EU)] > 0


def test_a_job_s_states_its_placement_and_its_keys_are_counted(traced: Federation, charged: int) -> None:
    """Each by the event that was committed."""
    found = server(traced)
    assert found["federation_jobs_moved_total", (("state", "SUCCEEDED"),)] >= 1
    assert found["federation_placement_decisions_total", (("outcome", "PLACED"),)] >= 1
    assert found["federation_placement_wait_seconds_count", ()] >= 1
    assert found["federation_stage_seconds_count", (("stage", "plan"),)] >= 1
    assert found["federation_leases_total", (("outcome", "granted"), ("use", "READ"))] >= 1
    assert found["federation_policy_decisions_total", (("action", "run"), ("outcome", "allowed"))] >= 1


def test_an_agent_tells_what_left_its_gateway_and_how_its_site_is(traced: Federation, charged: int) -> None:
    """What left is what was charged, with what ended early besides."""
    found = agent(traced, "eu-1")
    assert found["federation_gateway_sent_bytes_total", ()] >= charged
    assert found["federation_rpc_handled_total", (("code", "OK"), ("method", "Gateway.ReadObject"))] >= 1
    assert found["federation_agent_lease_left_seconds", ()] > 0
    assert found["federation_state_free_bytes", ()] > 0
    assert found["federation_compute_reachable", ()] == 1
    assert until(
        lambda: agent(traced, "eu-1").get(("federation_loop_last_success_timestamp_seconds", (("loop", "heartbeat"),)))
    )


def test_on_other_addresses_metrics_want_tls_and_the_token(traced: Federation) -> None:
    """Whether it lives it says to everybody."""
    place = traced.places["eu-1"]
    files = place.settings.tls
    listener = http.Listener(
        "127.0.0.1:0",
        metrics.Agent(),
        lambda: False,
        token="s3cret",
        identity=tls.Files(files.ca, files.cert, files.key),
        files=files,
    )
    try:
        import ssl
        import urllib.error

        context = ssl.create_default_context(cafile=str(files.ca))
        context.check_hostname = False

        def status(path: str, token: str = "") -> int:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            request = urllib.request.Request(f"https://{listener.address}{path}", headers=headers)
            try:
                with urllib.request.urlopen(request, context=context, timeout=30) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                error.close()
                return error.code

        assert [status("/metrics"), status("/metrics", "other"), status("/metrics", "s3cret")] == [401, 401, 200]
        assert [status("/livez"), status("/healthz"), status("/other")] == [200, 503, 404]
    finally:
        listener.stop()


def test_an_agent_s_port_for_all_needs_a_token(tmp_path) -> None:
    """A federation file that opens metrics to a network without one is refused."""
    site = "{site: eu-1, region: 'aws:eu-central-1', jurisdiction: EU, gateway: '127.0.0.1:7411', storage: {kind: local}, %s}"
    file = tmp_path / "federation.yaml"
    for listen, refused in (("127.0.0.1:7412", False), ("0.0.0.0:7412", True)):
        file.write_text(f"federation: test\nserver: {{}}\nsites: [{site % f'http_listen: {listen!r}'}]\n")
        if refused:
            with pytest.raises(errors.InvalidArgument, match="http_token_file"):
                config.federation_file(file)
        else:
            assert config.federation_file(file).site("eu-1").http_listen == listen


def test_a_scrape_is_what_prometheus_reads() -> None:
    """Each family parses, has a help line, and a counter's name ends with _total."""
    for process in (metrics.Server(), metrics.Agent()):
        families = list(parser.text_string_to_metric_families(process.render().decode()))
        assert {family.name for family in families} == set(metrics.told(process))
        assert all(family.documentation for family in families)
