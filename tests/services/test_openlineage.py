"""OpenLineage at the catalog: runs are told once each state in order, and foreign runs join the same lineage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from federation.adapters.openlineage_memory import MemoryTransport
from federation.core import errors, job, lineage, openlineage
from federation.core.events import Cursor
from federation.services import openlineage as service
from tests import builders, openlineage_contract
from tests.services.test_lineage import make, walk
from tests.sim import Simulation
from tests.unit.core.test_openlineage import RUN, foreign

TERMS = openlineage.Terms(federation="acme")


class Away(MemoryTransport):
    """A receiver that is away when told so."""

    away = False

    def send(self, events: tuple[str, ...]) -> None:
        if self.away:
            raise errors.Unavailable("away")
        super().send(events)


def emitter(sim: Simulation, transport: MemoryTransport, **how: Any) -> service.Emitter:
    """One that tells `transport`."""
    return service.Emitter(sim.catalog, transport, TERMS, name="test", **how)


def run_of(sim: Simulation, name: str) -> job.Run:
    """One run."""
    found = sim.read(lambda tx: tx.get(job.Run, name))
    assert found is not None
    return found


def foreign_facts(sim: Simulation) -> list[lineage.RunFact]:
    """What lineage has of others' runs."""
    return [fact for fact in sim.read(lambda tx: tx.list(lineage.RunFact)) if fact.kind == "EXTERNAL"]


def told(transport: MemoryTransport) -> list[dict[str, Any]]:
    """What was told, each found legal."""
    events = [json.loads(text) for text in transport.events]
    for event in events:
        openlineage_contract.check(event)
    return events


def test_a_run_is_told_from_start_to_complete(sim: Simulation) -> None:
    """In order, with what it read and made; what was told is not told again, also not by another server."""
    run = make(sim, "sales/flights", "ml/model:MODEL")
    transport = MemoryTransport()
    assert emitter(sim, transport, batch=2).run_once() == len(transport.events)
    mine = [event for event in told(transport) if event["run"]["runId"] == openlineage.run_id(run)]
    assert [event["eventType"] for event in mine] == ["START", "RUNNING", "COMPLETE"]
    complete = mine[-1]
    assert complete["outputs"][0]["facets"]["version"]["datasetVersion"] == "1"
    assert complete["outputs"][0]["facets"]["datasetType"]["datasetType"] == "MODEL"
    assert complete["inputs"][0]["inputFacets"]["dataLocality"]["bytes"] > 0
    assert complete["run"]["facets"]["placement"]["site"] == run_of(sim, run).site
    assert emitter(sim, transport).run_once() == 0


def test_a_run_that_fails_is_told_with_its_reason(sim: Simulation) -> None:
    """FAIL, and what it would have made without a version."""
    submitted = sim.submit(builders.request(["a=sales/flights"], ["b=ml/b"]))
    sim.drive(1)
    agent = sim.agents[run_of(sim, submitted.run).site]
    agent.begin(submitted.run)
    agent.fail(submitted.run)
    transport = MemoryTransport()
    emitter(sim, transport).run_once()
    (failed,) = [event for event in told(transport) if event["eventType"] == "FAIL"]
    assert failed["run"]["facets"]["errorMessage"]["message"] == "ENTRYPOINT_FAILED"
    assert "version" not in failed["outputs"][0]["facets"]


def test_a_receiver_that_is_away_hears_everything_later(sim: Simulation) -> None:
    """Nothing is lost, and nothing is told out of order."""
    make(sim, "sales/flights", "ml/a")
    transport = Away()
    transport.away = True
    with pytest.raises(errors.Unavailable):
        emitter(sim, transport).run_once()
    make(sim, "sales/flights", "ml/b")
    transport.away = False
    emitter(sim, transport).run_once()
    steady = MemoryTransport()
    service.Emitter(sim.catalog, steady, TERMS, name="other").run_once()
    assert transport.events == steady.events
    assert sim.read(lambda tx: tx.get(Cursor, "openlineage/test")) is not None


# What others tell


def receive(sim: Simulation, *events: dict[str, Any], who: str = "users/ada") -> openlineage.Received:
    """Sends events as somebody."""
    parsed = [openlineage.parse(event) for event in events]
    return sim.write(lambda tx: service.receive(tx, TERMS, who, parsed))


def test_a_foreign_run_joins_our_lineage(sim: Simulation) -> None:
    """A Spark job reads a version of ours and writes to a lake; both ends are found from either."""
    read = {"namespace": TERMS.datasets, "name": "sales/flights", "facets": {"version": {"datasetVersion": "1"}}}
    received = receive(sim, foreign(eventType="START"), foreign(inputs=[read]))
    assert (received.runs, received.ended) == (1, 1)
    down = walk(sim, "sales/flights@1", lineage.Direction.DOWNSTREAM)
    assert "postgres://dwh:5432/shop.public.orders" in {edge.node for edge in down.edges}
    (fact,) = [fact for fact in down.runs if fact.kind == "EXTERNAL"]
    assert (fact.run, fact.job, fact.principal, fact.state) == (
        f"external/{RUN}",
        "spark://daily.orders",
        "users/ada",
        job.JobState.SUCCEEDED,
    )
    up = walk(sim, "postgres://dwh:5432/shop.public.orders", lineage.Direction.UPSTREAM)
    assert {edge.node for edge in up.edges} >= {"sales/flights@1", "s3://lake/raw/orders"}


def test_a_dataset_of_ours_without_a_version_is_the_newest(sim: Simulation) -> None:
    """And one that is not there is refused, with nothing of the event kept."""
    ours = {"namespace": TERMS.datasets, "name": "sales/flights"}
    receive(sim, foreign(inputs=[ours]))
    edges = sim.read(lambda tx: tx.list(lineage.Edge, parent=f"external/{RUN}"))
    assert "sales/flights@1" in {edge.node for edge in edges}
    other = foreign(inputs=[ours | {"name": "sales/none"}], run={"runId": RUN.replace("5", "6")})
    with pytest.raises(errors.NotFound):
        receive(sim, other)
    assert sim.read(lambda tx: len(tx.list(openlineage.ForeignRun))) == 1


def test_the_same_events_again_change_nothing(sim: Simulation) -> None:
    """Producers repeat themselves."""
    events = (foreign(eventType="START"), foreign(), foreign())
    receive(sim, *events)
    before = sim.catalog.revision()
    receive(sim, *events)
    assert sim.catalog.revision() == before


def test_what_is_told_after_the_end_is_added(sim: Simulation) -> None:
    """OpenLineage allows more about a run that is over."""
    receive(sim, foreign(outputs=[]))
    receive(sim, foreign(eventType="OTHER"))
    edges = sim.read(lambda tx: tx.list(lineage.Edge, parent=f"external/{RUN}"))
    assert sorted(edge.direction for edge in edges) == ["in", "out"]
    assert len(foreign_facts(sim)) == 1


def test_a_foreign_run_that_failed_made_nothing(sim: Simulation) -> None:
    """It is known, with its reason, and has no edges."""
    failed = {"runId": RUN, "facets": {"errorMessage": {"message": "out of\nmemory"}}}
    receive(sim, foreign(eventType="FAIL", run=failed))
    (fact,) = foreign_facts(sim)
    assert (fact.state, fact.reason) == (job.JobState.FAILED, "out of memory")
    assert sim.read(lambda tx: tx.list(lineage.Edge, parent=fact.run)) == ()


def test_nobody_forges_what_our_versions_came_from(sim: Simulation) -> None:
    """A foreign run cannot have made a version of ours, and nobody goes on with somebody else's run."""
    with pytest.raises(errors.InvalidArgument) as refused:
        receive(sim, foreign(outputs=[{"namespace": TERMS.datasets, "name": "sales/flights"}]))
    assert refused.value.reason == "OUTPUT_NOT_FOREIGN"
    receive(sim, foreign(eventType="START"))
    with pytest.raises(errors.PermissionDenied) as other:
        receive(sim, foreign(), who="users/mallory")
    assert other.value.reason == "FOREIGN_RUN_OTHERS"
    assert foreign_facts(sim) == []
