"""Tables for people, JSON for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from federation.cli.output import Output
from federation.core import dataset, job, metering, site
from federation.core.screen import safe
from federation.shown import shapes

TIME = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)

FLIGHTS = dataset.Dataset(
    namespace="sales", dataset="flights", residency=("EU",), labels=(("team", "ops"),), latest_version=3, create_time=TIME
)


@pytest.fixture
def out():
    """An output for people."""
    return Output()


@pytest.fixture
def json_out():
    """An output for programs."""
    made = Output()
    made.format = "json"
    return made


def test_a_list_is_a_table_without_lines(out, capsys):
    """Headings in capitals, numbers to the right, nothing cut off in a pipe."""
    out.rows([FLIGHTS])
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["NAME", "KIND", "RESIDENCY", "VERSION", "OWNER", "CREATED", "DELETED"]
    assert row.split() == ["sales/flights", "DATA", "EU", "3", "2026-11-22", "20:00:00Z"]


def test_nothing_is_said_to_be_nothing(out, capsys):
    """On stderr: stdout stays empty."""
    out.rows([])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "nothing to show\n")


def test_an_empty_list_in_json_is_a_list(json_out, capsys):
    """Never null, never silence."""
    json_out.rows([])
    assert json.loads(capsys.readouterr().out) == []


def test_json_has_the_resource_name_and_plain_objects(json_out, capsys):
    """The name as the contract writes it; labels as an object."""
    json_out.item(FLIGHTS)
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == "namespaces/sales/datasets/flights"
    assert shown["labels"] == {"team": "ops"}
    assert shown["create_time"] == "2026-11-22T20:00:00Z"


def test_a_namespace_s_name_is_its_resource_name_too(json_out, capsys):
    """One rule for all."""
    json_out.item(dataset.Namespace(name="sales"))
    assert json.loads(capsys.readouterr().out)["name"] == "namespaces/sales"


def test_money_is_shown_exactly(out, capsys):
    """To the micro-dollar, and an unknown price as unknown."""
    offer = site.Offer(cpu_hour_micros=48_000)
    out.rows(
        [
            site.Site(site="a", region="aws:x", jurisdiction="EU", offer=offer),
            site.Site(site="b", region="aws:x", jurisdiction="EU"),
        ]
    )
    shown = capsys.readouterr().out
    assert "$0.048" in shown
    assert "unknown" in shown


def test_columns_of_the_data_are_never_read_as_ours(out, capsys):
    """A column that somebody calls `dep_time` is no time of ours."""
    version = dataset.Version(
        namespace="a",
        dataset="b",
        number=1,
        manifest_digest="d",
        signature="s",
        signed_by="eu-1",
        files=1,
        total_bytes=10,
        object_bytes=20,
        columns=(("dep_time", "int64"), ("x_micros", "string")),
    )
    out.item(version)
    assert "dep_time=int64, x_micros=string" in capsys.readouterr().out


def test_control_characters_do_not_reach_the_terminal(out, capsys):
    """A description is somebody else's text."""
    out.rows([dataset.Namespace(name="sales", description="\x1b]0;owned\x07 hello\u009b")])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u009b" not in shown
    assert safe("a\x00b") == "a\N{REPLACEMENT CHARACTER}b"


def test_chatter_is_silent_where_a_program_reads(json_out, capsys):
    """Only data and errors then."""
    json_out.say("hello")
    with json_out.waiting("for it") as tell:
        tell("still")
    assert capsys.readouterr() == ("", "")


def test_waiting_without_a_terminal_says_each_new_thing_once(out, capsys):
    """A log in CI shows the changes and no bar."""
    with out.waiting("job") as tell:
        tell("PENDING")
        tell("PENDING")
        tell("RUNNING")
    assert capsys.readouterr().err == "PENDING\nRUNNING\n"


@pytest.mark.parametrize(
    "cls", [dataset.Namespace, dataset.Dataset, dataset.Version, dataset.Replica, site.Site, site.Link, job.Job, job.Run]
)
def test_every_listed_kind_has_columns(cls):
    """And money has them as well."""
    assert shapes.columns(cls)
    assert shapes.columns(metering.LedgerEntry)
    assert shapes.columns(metering.CostSummary)
