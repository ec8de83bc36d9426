"""`fed describe` against a real server: one page about each kind of thing, and what is not on it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from federation.cli import exits, pages
from federation.core import budget, dataset, transfer
from federation.core.forecast import Method
from federation.core.job import InputSpec, JobRequest, OutputSpec
from federation.core.pipeline import PipelineRequest, TaskSpec
from tests.browse import story
from tests.wire import edge as edges
from tests.wire.typing_fed import typing


@pytest.fixture(scope="module")
def names(shared_edge):
    """A federation with one of each: what each kind of page is asked for."""
    edges.make_placeable(shared_edge)
    with shared_edge.client() as client:
        client.create_dataset(dataset.Dataset(namespace="sales", dataset="made"))
        for name, scope in (("flights", "datasets/sales/flights"), ("sales", "namespaces/sales")):
            client.create_budget(budget.Budget(budget=name, scope=scope, limit_micros=10**6))
        client.create_replication_rule(transfer.ReplicationRule(rule="twice", dataset="sales/flights", copies=2))
        request = JobRequest(
            label="train",
            inputs=(InputSpec(alias="flights", dataset="sales/flights"),),
            outputs=(OutputSpec(alias="made", dataset="sales/made"),),
            entrypoint=("python", "x.py"),
            duration_seconds=60,
        )
        job = client.create_job(request)
        tasks = (TaskSpec(task="again", request=dataclasses.replace(request, label="", outputs=())),)
        piped = client.create_pipeline(PipelineRequest(label="p", tasks=tasks))
        moved = client.create_transfer("sales/flights@1", "us-1")
    return {
        "dataset": "sales/flights",
        "version": "sales/flights@1",
        "namespace": "namespaces/sales",
        "site": "eu-1",
        "link": "aws:eu-central-1~aws:us-east-1",
        "job": job.job,
        "pipeline": piped.pipeline,
        "transfer": moved.transfer,
        "rule": "twice",
        "budget": "flights",
        "policy": "policies/-",
    }


@pytest.fixture
def fed(shared_edge, monkeypatch, tmp_path):
    """Types a `fed` command at that server."""
    return typing(shared_edge, monkeypatch, tmp_path)


def test_the_form_of_a_name_says_what_it_is(fed, names):
    """Of each kind there is a page, as data that has its schema; a single word is looked for."""
    for kind, name in names.items():
        page = json.loads(fed("describe", name, "-o", "json").stdout)
        assert (page["kind"], page["not_shown"]) == (kind, []), name
        assert fed("describe", name, "-o", "name").stdout == page["name"] + "\n"
        again = json.loads(fed("describe", kind, name, "-o", "json").stdout)
        assert again["name"] == page["name"]
    assert set(names) == set(pages.KINDS)
    assert "again" in fed("describe", names["pipeline"]).stdout


def test_a_dataset_is_told_with_all_that_surrounds_it(fed, names):
    """Versions, replicas, rules, budgets, lineage, this month's egress, what the policies say, and its events."""
    page = json.loads(fed("describe", names["dataset"], "-o", "json").stdout)
    assert [row["name"] for row in page["versions"]] == ["namespaces/sales/datasets/flights/versions/1"]
    assert [row["site"] for row in page["replicas"]] == ["eu-1"]
    assert [row["rule"] for row in page["rules"]] == ["twice"]
    assert [row["budget"] for row in page["budgets"]] == ["flights"]
    assert page["lineage"] == {"made_of": [], "made_into": [], "complete": True}
    assert page["egress"]["total"]["charge_micros"] == 0
    said = {(row["action"], row["site"]): row["allowed"] for row in page["policies"]}
    assert said["run", "eu-1"] is True
    assert "dataset.created" in [row["kind"] for row in page["events"]]
    told = fed("describe", names["dataset"], who="user").stdout
    assert "use.reader" in told
    assert "lineage: nothing -> this -> nothing" in told


def test_a_job_is_told_with_its_plan_explained(fed, names):
    """Its runs, where its logs are, what it cost."""
    page = json.loads(fed("describe", names["job"], "-o", "json").stdout)
    assert page["runs"][0]["job"] == names["job"]
    assert page["logs"] == f"fed job logs -f {names['job']}"
    told = fed("describe", f"jobs/{names['job']}/runs/1").stdout
    assert "chosen: eu-1 (aws:eu-central-1)" in told
    assert "runs:" in told


@pytest.fixture(scope="module")
def telling(certs):
    """A federation in which a job runs and another waits, on a clock that stands still."""
    with story.federation(certs) as edge:
        yield edge


def test_what_runs_and_what_waits_is_told(telling, monkeypatch, tmp_path):
    """Of a site, a dataset, a version and a namespace; with transfers that come and go, and what lies at a site."""
    fed = typing(telling, monkeypatch, tmp_path)

    def told(name: str) -> dict[str, list[str]]:
        page = json.loads(fed("describe", name, "-o", "json").stdout)
        assert page["not_shown"] == []
        named = {part: rows for part, rows in page.items() if isinstance(rows, list)}
        return {part: [row["name"].rpartition("/")[2] for row in rows if "name" in row] for part, rows in named.items()}

    for name in ("namespaces/ml", "sales/flights", "sales/flights@3", "sites/eu-1", "ml/delay-model"):
        page = told(name)
        assert (page["running"], page["waiting"]) == ([story.RUNNING], [story.WAITING]), name
    assert told("sites/eu-2")["running"] == told("sites/eu-2")["waiting"] == told("sales/flights@2")["running"] == []
    assert (
        told("sites/eu-2")["incoming"] == told("sites/us-1")["outgoing"] == told("sales/orders")["transfers"] == [story.MOVING]
    )
    assert told("sales/orders@2")["transfers"] == told("aws:us-east-1~aws:eu-west-1")["transfers"] == [story.MOVING]
    assert len(told("sites/eu-1")["replicas"]) == 5
    people = fed("describe", "sites/eu-2").stdout
    assert "incoming:" in people
    assert "running:" not in people


def test_conditions_say_what_has_to_be_so_and_how_far_a_job_has_come(telling, monkeypatch, tmp_path):
    """Of a site that is silent, of jobs that wait, run and have ended: since when, and why not."""
    fed = typing(telling, monkeypatch, tmp_path)

    def held(name: str) -> dict[str, tuple[bool, str]]:
        page = json.loads(fed("describe", name, "-o", "json").stdout)
        return {row["condition"]: (row["holds"], row["because"]) for row in page["conditions"]}

    assert held("sites/ap-1")["answers"] == (False, "its agent is silent")
    assert held("sites/eu-1")["answers"] == (True, "")
    assert held("sites/eu-1")["is let in"] == (True, "grade A")
    assert held(story.RUNNING) == {"placed": (True, "at eu-1"), "started": (True, ""), "ended": (False, "")}
    assert held(story.FAILED)["ended"] == (True, "FAILED: EXIT_CODE: the entrypoint exited with 1")
    placed, because = held(story.WAITING)["placed"]
    assert not placed
    assert because.startswith(("WAITING_FOR_CAPACITY: ", "CPUS_EXHAUSTED: "))
    budget_ = json.loads(fed("describe", "budgets/ml", "-o", "json").stdout)
    assert (budget_["budget"]["spent_micros"], budget_["egress"]["by"]) == (580_000, "dataset")
    assert budget_["forecast"]["method"] in list(Method)


def test_what_was_not_looked_through_is_said(telling, monkeypatch, tmp_path):
    """Of very many jobs the newest are looked at; that there are more is said, and what was found stays."""
    monkeypatch.setattr(pages, "_SCANNED", 0)
    page = json.loads(typing(telling, monkeypatch, tmp_path)("describe", "sales/flights", "-o", "json").stdout)
    missing = {row["part"]: (row["reason"], row["message"]) for row in page["not_shown"]}
    assert missing == {
        "running": ("MORE_THERE", "of the jobs in RUNNING the newest 0 were looked at, and there are more"),
        "waiting": ("MORE_THERE", "of the jobs in PENDING the newest 0 were looked at, and there are more"),
    }
    assert len(page["replicas"]) == 2


def test_what_may_not_be_seen_is_named_with_what_it_needs(fed, names):
    """A user may not see keys: the page says so, and has all else."""
    told = fed("describe", names["site"], who="user").stdout
    assert told.endswith("not shown: keyring: needs keys.list\n")
    assert "links:" in told
    page = json.loads(fed("describe", "site", names["site"], "-o", "json", who="user").stdout)
    assert [(row["part"], row["needs"], row["reason"]) for row in page["not_shown"]] == [
        ("keyring", "keys.list", "PERMISSION_MISSING")
    ]


def test_what_is_not_there_or_is_two_things_is_said(fed, names):
    """A word of two kinds wants its kind; a name of nothing is NOT_FOUND, a kind that there is not a wrong command."""
    ambiguous = fed("describe", "sales", code=exits.USAGE)
    assert "sales names a namespace and a budget [NAME_AMBIGUOUS]" in ambiguous.stderr
    assert json.loads(fed("describe", "budget", "sales", "-o", "json").stdout)["budget"]["scope"] == "namespaces/sales"
    assert "there is no namespace, site, rule or budget nobody" in fed("describe", "nobody", code=exits.NOT_FOUND).stderr
    fed("describe", "sales/none", code=exits.NOT_FOUND)
    fed("describe", "aws:eu-central-1~gcp:x", code=exits.NOT_FOUND)
    fed("describe", "planet", "earth", code=exits.USAGE)
    fed("describe", "policy", "x", code=exits.USAGE)
    assert names
