"""OpenLineage, both ways, as values: what we tell is legal by the official contract, and what others tell is read strictly."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, job, lineage, openlineage
from tests import builders, openlineage_contract

TERMS = openlineage.Terms(federation="acme")
RUN = "5f3c7d1e-8a4b-4c2d-9e6f-0123456789ab"


def told(state: job.JobState = job.JobState.SUCCEEDED, **changes: Any) -> dict[str, Any]:
    """The event of a run in that state, that reads flights from afar and makes a model."""
    spec = builders.input_plan("flights", "us-1", "eu-1", bytes=10, egress_micros=5)
    plan = builders.plan(
        builders.candidate("eu-1", inputs=(spec,)),
        builders.candidate("us-1"),
        rejections=(job.Rejection(site="eu-2", reason="RESIDENCY", detail="EU only"),),
        baseline_site="us-1",
        baseline_egress_micros=7,
    )
    of = builders.job(
        request_=dataclasses.replace(builders.request(["flights=sales/flights"], ["model=ml/model"]), **changes), plan=plan
    )
    run = builders.run(
        state=state, reason="" if state is not job.JobState.FAILED else "ENTRYPOINT_FAILED", detail="exit code 1"
    )
    if state is not job.JobState.SUCCEEDED:
        made = [openlineage.Made(dataset="ml/model", kind="MODEL")]
        return openlineage.run_event(TERMS, of, run, time=builders.NOW, reads=[openlineage.Read(plan=spec)], made=made)
    edge = lineage.Edge(
        run=run.run,
        direction="in",
        alias="flights",
        node="sales/flights@1",
        manifest_digest="",
        site="us-1",
        source_region="aws:us-east-1",
        destination_region="aws:eu-central-1",
        bytes=9,
        time=builders.NOW,
        charge_micros=4,
        columns=("delay",),
    )
    links = (lineage.ColumnSource(column="late", source="flights.delay"), lineage.ColumnSource(column="late", source="gone.x"))
    out = dataclasses.replace(edge, direction="out", alias="model", node="ml/model@1", charge_micros=None, column_map=links)
    read = builders.version("sales/flights@1", columns=(("delay", "double"), ("carrier", "string")), rows=336)
    written = builders.version("ml/model@1", columns=(("late", "bool"),), rows=2)
    return openlineage.run_event(
        TERMS,
        of,
        run,
        time=builders.NOW,
        reads=[openlineage.Read(plan=spec, version=read, edge=edge)],
        made=[openlineage.Made(dataset="ml/model", kind="MODEL", version=written, edge=out)],
    )


@pytest.mark.parametrize("state", list(openlineage.TYPE_OF_STATE))
def test_every_state_of_a_run_is_a_legal_event(state: job.JobState) -> None:
    """By the official classes, and by the official schemas where they are at hand; and it survives JSON."""
    event = told(state)
    openlineage_contract.check(json.loads(json.dumps(event)))
    assert event["eventType"] == openlineage.TYPE_OF_STATE[state]


def test_the_contract_check_itself_can_fail() -> None:
    """A contract that cannot fail is none: a field too many, too few, of another kind, and a facet of ours that is wrong."""
    for break_ in (
        lambda e: e.update(surprise=1),
        lambda e: e["run"].pop("runId"),
        lambda e: e["outputs"][0]["outputFacets"]["outputStatistics"].update(rowCount="two"),
        lambda e: e["inputs"][0]["inputFacets"]["dataLocality"].pop("way"),
        lambda e: e["inputs"][0]["facets"]["schema"]["fields"][0].pop("name"),
    ):
        event = told()
        break_(event)
        with pytest.raises(Exception):  # noqa: B017 - of two checkers
            openlineage_contract.check(event)


def test_a_complete_run_tells_versions_schema_columns_statistics_and_money() -> None:
    """All of what nobody else tells: which version from where, in which region, how many bytes at which charge."""
    event = told()
    (read,), (made,) = event["inputs"], event["outputs"]
    assert (read["namespace"], read["name"], read["facets"]["version"]["datasetVersion"]) == (
        "fed://acme",
        "sales/flights",
        "1",
    )
    locality = read["inputFacets"]["dataLocality"]
    assert (locality["way"], locality["bytes"], locality["chargeMicros"], locality["estimateMicros"]) == ("REMOTE", 9, 4, 5)
    assert locality["columns"] == ["delay"]
    assert read["inputFacets"]["inputStatistics"]["rowCount"] == 336
    assert made["facets"]["schema"]["fields"] == [{"name": "late", "type": "bool"}]
    assert made["facets"]["columnLineage"]["fields"] == {
        "late": {"inputFields": [{"namespace": "fed://acme", "name": "sales/flights", "field": "delay"}]}
    }
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 2
    placement = event["run"]["facets"]["placement"]
    assert (placement["site"], placement["runnerUp"], placement["rejections"]) == (
        "eu-1",
        "us-1",
        [{"site": "eu-2", "reason": "RESIDENCY"}],
    )


def test_a_run_is_known_by_the_same_id_in_all_its_events() -> None:
    """A UUID that follows from its name."""
    ids = {told(state)["run"]["runId"] for state in openlineage.TYPE_OF_STATE}
    assert len(ids) == 1
    assert openlineage.run_id("jobs/j-1/runs/1") != openlineage.run_id("jobs/j-1/runs/2")


def test_a_pipelines_task_names_its_parent_and_an_ingest_its_source() -> None:
    """So that a receiver sees the whole."""
    event = told(job.JobState.RUNNING, pipeline="p-1", task="train", namespace="ml")
    assert event["job"]["name"] == "ml/p-1.train"
    assert event["run"]["facets"]["parent"]["job"]["name"] == "p-1"
    taken = told(job.JobState.RUNNING, kind=job.JobKind.INGEST, ingest_from="s3://lake/raw/clicks/")
    openlineage_contract.check(taken)
    assert {"namespace": "s3://lake", "name": "raw/clicks", "facets": {}} in taken["inputs"]


# What others tell


def foreign(**changes: Any) -> dict[str, Any]:
    """A legal event of a Spark job."""
    event = {
        "eventType": "COMPLETE",
        "eventTime": "2026-11-28T10:00:00.123+01:00",
        "producer": "https://github.com/OpenLineage/OpenLineage/tree/1.54.0/integration/spark",
        "schemaURL": openlineage.SPEC,
        "run": {"runId": RUN, "facets": {}},
        "job": {"namespace": "spark", "name": "daily.orders"},
        "inputs": [{"namespace": "s3://lake", "name": "/raw/orders"}],
        "outputs": [
            {
                "namespace": "postgres://dwh:5432",
                "name": "shop.public.orders",
                "facets": {
                    "schema": {"fields": [{"name": "total", "type": "decimal"}, {"name": 5}, "odd"]},
                    "columnLineage": {
                        "fields": {
                            "total": {
                                "inputFields": [{"namespace": "s3://lake", "name": "/raw/orders", "field": "price"}, {"x": 1}]
                            }
                        }
                    },
                },
                "outputFacets": {"outputStatistics": {"rowCount": 10, "size": 1000}},
            }
        ],
    }
    return event | changes


def test_a_foreign_event_is_read_with_columns_and_statistics() -> None:
    """Its datasets get names that hold ://, the same as an ingest from there would have."""
    event = openlineage.parse(foreign())
    assert event is not None
    assert (event.type, event.time) == (openlineage.EventType.COMPLETE, datetime(2026, 11, 28, 9, 0, 0, 123000, tzinfo=UTC))
    assert [each.place for each in event.inputs] == ["s3://lake/raw/orders"]
    (made,) = event.outputs
    assert made.place == "postgres://dwh:5432/shop.public.orders"
    assert (made.columns, made.rows, made.bytes) == (("total",), 10, 1000)
    assert made.sources == (("total", "s3://lake/raw/orders", "price"),)


def test_what_we_tell_can_be_taken_in_by_another_federation() -> None:
    """Both ways speak the same language."""
    event = openlineage.parse(json.loads(json.dumps(told())))
    assert event is not None
    assert [(each.name, each.version) for each in event.inputs] == [("sales/flights", "1")]
    assert event.outputs[0].sources == (("late", "fed://acme/sales/flights", "delay"),)


def test_events_of_no_run_are_legal_and_nothing_to_lineage() -> None:
    """A job's or a dataset's own event."""
    job_event = foreign()
    del job_event["run"]
    assert openlineage.parse(job_event) is None


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("eventTime", "yesterday", "eventTime"),
        ("eventTime", "2026-11-28T10:00:00", "zone"),
        ("eventTime", 5, "eventTime"),
        ("eventType", "DONE", "eventType"),
        ("producer", "", "producer"),
        ("schemaURL", None, "schemaURL"),
        ("run", {"runId": "1"}, "UUID"),
        ("run", [], "run"),
        ("job", {"namespace": "spark"}, "job.name"),
        ("job", {"namespace": "spark", "name": "x\ny"}, "job.name"),
        ("inputs", {}, "inputs"),
        ("inputs", [{"namespace": "s3://lake"}], r"inputs\[0\].name"),
        ("inputs", [{"namespace": "n" * 2000, "name": "x"}], "namespace"),
        ("inputs", [{"namespace": "n", "name": "x", "facets": {"schema": []}}], "facets.schema"),
        ("outputs", [{"namespace": "n", "name": "x"}] * (openlineage.DATASETS_MAX + 1), "outputs"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field(field: str, value: Any, said: str) -> None:
    """OPENLINEAGE_INVALID, with the place."""
    with pytest.raises(errors.InvalidArgument, match=said) as refused:
        openlineage.parse(foreign(**{field: value}))
    assert refused.value.reason == "OPENLINEAGE_INVALID"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["run", "job", "inputs", "facets", "name"]), inner)
        ),
        max_leaves=10,
    )
)
def test_whatever_comes_is_read_or_refused_by_name(data: Any) -> None:
    """No other error than ours, also where a legal event holds odd things."""
    refused = {"OPENLINEAGE_INVALID"}
    for event in (
        data,
        foreign(inputs=data),
        foreign(run={"runId": RUN, "facets": data}),
        foreign(outputs=[{"namespace": "n", "name": "x", "facets": data}]),
    ):
        try:
            openlineage.parse(event)
        except errors.InvalidArgument as error:
            refused.add(error.reason)
    assert refused == {"OPENLINEAGE_INVALID"}


@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=4))
def test_events_of_a_run_add_up_in_any_order_and_however_often(order: list[int], again: list[int]) -> None:
    """START with inputs, RUNNING with statistics, COMPLETE with outputs: afterwards all are known, whichever came when."""
    begin = datetime(2026, 11, 28, tzinfo=UTC)
    bare = foreign(inputs=[], outputs=[])
    parts = [
        bare | {"eventType": "START", "inputs": [{"namespace": "s3://a", "name": "x"}]},
        bare
        | {
            "eventType": "RUNNING",
            "inputs": [{"namespace": "s3://a", "name": "x", "inputFacets": {"inputStatistics": {"size": 5}}}],
        },
        bare | {"eventType": "OTHER", "inputs": [{"namespace": "s3://b", "name": "y"}]},
        bare | {"eventType": "COMPLETE", "outputs": [{"namespace": "s3://c", "name": "z"}]},
    ]
    run = openlineage.ForeignRun(run=RUN, principal="users/ada", job_namespace="spark", job_name="x", producer="p")
    for number in [*order, *again]:
        event = openlineage.parse(parts[number] | {"eventTime": (begin + timedelta(hours=number)).isoformat()})
        assert event is not None
        run = run.with_event(event)
    assert run.type is openlineage.EventType.COMPLETE
    assert (run.start_time, run.end_time) == (begin, begin + timedelta(hours=3))
    assert {each.place: each.bytes for each in run.inputs} == {"s3://a/x": 5, "s3://b/y": None}
    assert [each.place for each in run.outputs] == ["s3://c/z"]
