"""Compliance reports: who used which data where, for what, under which policy; and every refusal. Made of the record alone."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest

from federation.core import compliance, errors, records
from federation.services import compliance as service
from tests.services.story import CARD, FLIGHTS, KEY, MODEL, Story, tell

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "compliance.schema.json"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Half of it in Delta, half of it in the log."""
    return tell(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def made(story: Story) -> compliance.Report:
    """The report of all of it."""
    return report(story)


def report(story: Story, *, from_tables: bool = True, **scope: str) -> compliance.Report:
    """A report of the story; without the tables from the log alone."""
    about = service.scope(story.begin, story.end, scope.get("dataset_", ""), scope.get("namespace", ""))
    engine, reader = (story.engine, story.reader) if from_tables else (None, None)
    return service.report(about, story.sim.catalog, engine, reader, kept=story.kept(), keys=(KEY,))


def test_it_tells_what_was_used_where_by_whom_and_for_what(made: compliance.Report) -> None:
    """A run with its purpose, policies and leases; and a person who took data home."""
    run, person = sorted(made.uses, key=lambda use: use.dataset)
    assert (run.dataset, run.version, run.site, run.principal) == (FLIGHTS, 1, "us-1", "users/alice")
    assert (run.purpose, run.kind, run.state) == ("forecasting", "RAY", "SUCCEEDED")
    assert run.policies
    assert run.policy_digest
    assert len(run.leases) == 1
    assert (person.dataset, person.kind, person.principal, person.purpose) == (
        "sales/orders",
        "PERSON",
        "users/alice",
        "support",
    )
    assert (person.source_region, person.destination_region, person.net_bytes) == ("aws:eu-central-1", "internet", 500)
    assert person.policies
    assert not person.leases


def test_a_use_rests_on_decisions_that_were_made_before_it_and_on_no_others(made: compliance.Report) -> None:
    """Each position is that of a decision on this dataset, for this job or person."""
    known = {decided.position: decided for decided in made.decisions}
    for use in made.uses:
        rests = [known[position] for position in use.decisions]
        assert rests
        assert all(each.dataset == use.dataset and (each.job or each.principal) == (use.job or use.principal) for each in rests)
        assert {each.action for each in rests} <= {"run", "release_key", "export"}


def test_a_use_rests_on_what_was_decided_before_the_reports_time_too(story: Story, made: compliance.Report) -> None:
    """A job that was let in before the month, and read in it, was not let in by nobody."""
    (use,) = [use for use in made.uses if use.job]
    late = service.scope(use.time, story.end)
    again = service.report(late, story.sim.catalog, story.engine, None)
    (same,) = [each for each in again.uses if each.job]
    assert (same.decisions, same.leases, same.policies) == (use.decisions, use.leases, use.policies)
    assert not {decided.position for decided in again.decisions} & set(use.decisions)


def test_every_refusal_is_told_with_its_reason(made: compliance.Report) -> None:
    """By policy, for want of a permission, of what may not be known, and at the door."""
    found = Counter({(row.source, row.reason, row.principal): row.times for row in made.refusals})
    assert found == {
        ("policy.decided", "POLICY_DENIED", "users/bob"): 1,
        ("call.refused", "PERMISSION_MISSING", "users/bob"): 1,
        ("policy.unseen", "NOT_FOUND", "users/bob"): 3,
        ("stranger.refused", "TOKEN_INVALID", "ipv4:10.0.0.7"): 1,
    }
    (denied,) = [row for row in made.refusals if row.source == "policy.decided"]
    assert (denied.dataset, denied.action, denied.purpose) == (FLIGHTS, "run", "marketing")
    assert denied.policy_digest


def test_a_model_is_told_with_all_that_it_saw_and_what_is_known_of_that(made: compliance.Report) -> None:
    """Bias and sensitive columns of its sources, each with whose they are."""
    (model,) = made.models
    assert (model.model, model.version, model.principal, model.purpose) == (MODEL, 1, "users/alice", "forecasting")
    assert [(source.node, source.direct, source.card) for source in model.sources] == [(f"{FLIGHTS}@1", True, CARD)]
    assert model.known_bias == (f"{FLIGHTS}: no night flights",)
    assert model.sensitive_columns == (f"{FLIGHTS}: pilot",)
    assert {row.dataset: row.card for row in made.datasets}[FLIGHTS] == CARD


def test_what_was_loosened_asked_and_changed_is_told(made: compliance.Report) -> None:
    """In words that need no second look, and the daily course is no administrative act."""
    (loosened,) = made.loosened
    assert loosened.detail == "purposes from forecasting to any: it is published"
    assert [(row.principal, row.method, row.text) for row in made.questions] == [
        ("users/root", "Records.QueryRecords", "SELECT 1")
    ]
    kinds = {row.kind for row in made.changes}
    assert {"site.created", "namespace.created", "dataset.created", "dataset.updated", "dataset.declassified"} <= kinds
    assert not {kind for kind in kinds if kind.startswith(("job.", "run.", "lease.", "grant.", "policy.decided", "head."))}


def test_the_same_record_gives_the_same_report_wherever_it_lies(story: Story, made: compliance.Report) -> None:
    """In tables and log, or in the log alone: to the byte, but for what it says of the tables themselves."""
    bare = report(story, from_tables=False)
    assert not bare.completeness.verified
    assert (bare.completeness.entries, bare.completeness.log_positions) == (
        made.completeness.entries,
        bare.completeness.entries,
    )
    assert service.dumps(dataclasses.replace(bare, completeness=made.completeness)) == service.dumps(made)
    assert service.dumps(report(story)) == service.dumps(made)


def test_it_says_how_far_the_record_is_proven(tmp_path: Path) -> None:
    """Signed, co-signed, and what no table holds yet."""
    story = tell(tmp_path)
    told = report(story).completeness
    assert told.verified
    assert told.intact
    assert 0 < told.proven_entries < told.entries
    assert 0 < told.log_positions < told.entries
    (audit,) = [table for table in told.tables if table.table == "audit"]
    assert audit.witnesses == ()
    story.carry()  # what eu-1 has co-signed is in the table now
    (audit,) = [table for table in report(story).completeness.tables if table.table == "audit"]
    assert audit.witnesses == ("eu-1",)
    assert 0 < audit.witnessed_position < audit.proven_position


def test_it_is_what_its_schema_says(story: Story, made: compliance.Report) -> None:
    """And the schema in the docs is the one that is printed from the values."""
    schema = json.loads(SCHEMA.read_text())
    assert schema == compliance.json_schema()
    jsonschema.validate(json.loads(service.dumps(made)), schema, format_checker=jsonschema.FormatChecker())
    assert records.loads(compliance.Report, service.dumps(made).decode()) == made
    broken = json.loads(service.dumps(made))
    broken["uses"][0]["net_bytes"] = "many"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


@pytest.mark.parametrize(("scope", "used"), [({"dataset_": FLIGHTS}, {FLIGHTS}), ({"namespace": "hr"}, set())])
def test_a_report_of_a_dataset_or_a_namespace_tells_of_nothing_else(
    story: Story, scope: dict[str, str], used: set[str]
) -> None:
    """Neither uses nor refusals, nor what is about no dataset at all."""
    some = report(story, **scope)
    assert {use.dataset for use in some.uses} == used
    assert {row.dataset for row in some.refusals} <= used
    assert not some.questions
    assert {row.resource.split("/")[1] for row in some.changes} <= {"sales", "hr"}


def test_a_time_that_holds_nothing_is_refused(story: Story) -> None:
    """Before anything is read."""
    with pytest.raises(errors.InvalidArgument) as caught:
        service.scope(story.end, story.end)
    assert caught.value.reason == "TIME_INVALID"
    empty = service.scope(story.begin - timedelta(days=2), story.begin - timedelta(days=1))
    assert service.report(empty, story.sim.catalog, None, None).uses == ()
