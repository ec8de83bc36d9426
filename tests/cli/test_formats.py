"""One answer in every format: what programs read is exact, quoted, and the same whether there is one row, many or none."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from datetime import UTC, datetime

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from federation.cli import answers, app, formats
from federation.cli.command import verb
from federation.core import dataset, erasure, job, site

TIME = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
FLIGHTS = dataset.Dataset(
    namespace="sales", dataset="flights", residency=("EU",), labels=(("team", "ops"),), latest_version=3, create_time=TIME
)
JOB = job.Job(
    job="j-1", request=job.JobRequest(label="train", entrypoint=("python", "a b.py"), resources=job.Resources(cpus=2))
)


@pytest.fixture
def answer(monkeypatch):
    """What a command that answers with these values prints in a format."""

    def run(values, output_format: str, *, kind=dataset.Dataset, way: str = "rows") -> str:
        declared = list[kind] if way != "item" else kind

        @verb(None, "whoami", answers=declared, example="fed whoami")
        def tell(session) -> None:
            if way == "each":
                for value in values:
                    session.output.each(value)
            else:
                getattr(session.output, way)(values)

        monkeypatch.setattr(app.Fed, "get_command", lambda _self, _ctx, _name: tell)
        result = CliRunner().invoke(app.fed, ["whoami", "-o", output_format])
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.mark.parametrize(
    ("output_format", "empty"),
    [("json", "[]\n"), ("jsonl", ""), ("yaml", "[]\n"), ("name", ""), ("table", ""), ("wide", "")],
)
def test_nothing_looks_like_nothing_in_every_format(answer, output_format, empty):
    """`[]` where a list is read whole, no line where lines are read."""
    assert answer([], output_format) == empty


def test_csv_has_the_same_header_with_rows_and_without(answer):
    """So that a loader needs no special case."""
    assert answer([], "csv").splitlines() == answer([FLIGHTS], "csv").splitlines()[:1]


def test_csv_flattens_what_is_nested_with_dots(answer):
    """Lists and maps are JSON in their cell; what has no value is empty."""
    (row,) = csv.DictReader(io.StringIO(answer([JOB], "csv", kind=job.Job)))
    assert (row["name"], row["request.label"], row["request.resources.cpus"]) == ("jobs/j-1", "train", "2")
    assert json.loads(row["request.entrypoint"]) == ["python", "a b.py"]
    assert row["plan.baseline_site"] == row["end_time"] == ""
    assert row["cancel_requested"] == "false"
    (row,) = csv.DictReader(io.StringIO(answer([FLIGHTS], "csv")))
    assert json.loads(row["labels"]) == {"team": "ops"}


@pytest.mark.parametrize(
    ("text", "cell"),
    [("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("@x", "'@x"), ("-5", "-5"), ("+1.5", "+1.5"), ("-x", "'-x"), ("a=b", "a=b")],
)
def test_a_cell_is_no_formula(text, cell):
    """A description is somebody else's text, and a spreadsheet would run it; numbers stay numbers."""
    assert formats.csv_row({"x": text}, ("x",)) == f"{cell}\n"


def test_lines_of_json_are_the_items_of_json(answer):
    """One each, in the same order."""
    lines = answer([FLIGHTS, FLIGHTS], "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(answer([FLIGHTS, FLIGHTS], "json"))


def test_names_are_resource_names_and_of_what_has_none_the_first_field(answer):
    """`fed dataset list -o name | xargs -n1 fed dataset show` works."""
    assert answer([FLIGHTS], "name") == "namespaces/sales/datasets/flights\n"
    assert answer([answers.Done(done="deleted", name="sites/a")], "name", kind=answers.Done) == "sites/a\n"
    assert answer([job.Rejection(site="a", reason="X", detail="y")], "name", kind=job.Rejection) == "a\n"


def test_yaml_has_what_json_has(answer):
    """The same tree."""
    assert yaml.safe_load(answer([FLIGHTS, JOB], "yaml")) == json.loads(answer([FLIGHTS, JOB], "json"))


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cf")), max_size=20))
def test_text_stays_text_in_yaml(text):
    """Whatever it looks like."""
    assert yaml.safe_load(formats.yaml_text({"x": text})) == {"x": formats.safe(text)}


@pytest.mark.parametrize(
    "text",
    ["no", "1e3", "0o17", "0x1f", "2026-11-28", "~", "1_000", "12:30:45", ".inf", "- a", "a: b", "#", "y"],
)
def test_text_that_some_yaml_would_take_for_something_else_is_quoted(text):
    """YAML 1.1 and 1.2 disagree on these; quoted they agree."""
    assert formats.yaml_text({"x": text}) == f'x: "{text}"\n'


def test_each_of_many_over_time_is_written_at_once(answer):
    """A line each; in YAML a document each; in CSV after one header; in a table under its headings."""
    assert len(answer([FLIGHTS, FLIGHTS], "json", way="each").splitlines()) == 2
    assert len(list(yaml.safe_load_all(answer([FLIGHTS, FLIGHTS], "yaml", way="each")))) == 2
    assert len(answer([FLIGHTS, FLIGHTS], "csv", way="each").splitlines()) == 3
    heading, one, two = answer([FLIGHTS, FLIGHTS], "table", way="each").splitlines()
    assert heading.split()[:2] == ["NAME", "KIND"]
    assert one == two
    assert heading.index("KIND") == one.index("DATA")


def test_wide_has_the_columns_of_the_table_and_more(answer):
    """In the same order, the additional ones behind."""
    table, wide = (answer([FLIGHTS], word).splitlines()[0].split("  ") for word in ("table", "wide"))
    assert len(wide) > len(table)
    assert [part.strip() for part in wide if part.strip()][:4] == [part.strip() for part in table if part.strip()][:4]
    assert "team=ops" in answer([FLIGHTS], "wide")


def test_what_is_put_together_has_the_names_of_its_parts(answer):
    """As each would have alone, in the value and in its schema; within a value of the core they have none."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Both(formats.Together):
        """Two."""

        place: site.Site

    place = site.Site(site="eu-1", region="aws:x", jurisdiction="EU")
    assert json.loads(answer(Both(place=place), "json", kind=Both, way="item"))["place"]["name"] == "sites/eu-1"
    found: dict = {}
    answers.of(erasure.Deletion, found)
    assert "name" not in found["leases.Lease.within"]["properties"]
    answers.of(list[site.Site], found)
    assert "name" in found["site.Site"]["required"]


def test_pairs_are_objects_only_where_their_type_says_so():
    """`gpus` is a map in what a site has, and a list in what it offers, also when either is empty."""
    told = formats.told(site.Site(site="eu-1", region="aws:x", jurisdiction="EU"))
    assert (told["capacity"]["gpus"], told["offer"]["gpus"]) == ({}, [])


@pytest.mark.parametrize("output_format", ["json", "jsonl", "yaml"])
def test_an_error_is_an_object_where_the_answer_would_be(monkeypatch, tmp_path, output_format):
    """On stderr; a program branches on its reason."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "none.yaml"))
    result = CliRunner().invoke(app.fed, ["site", "list", "-o", output_format])
    assert result.stdout == ""
    assert yaml.safe_load(result.stderr)["error"]["reason"] == "CONTEXT_MISSING"


def test_no_colour_leaves_a_pipe_even_when_it_is_forced(monkeypatch, tmp_path):
    """Build systems set FORCE_COLOR for everything; a pipe stays readable."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "none.yaml"))
    assert "\x1b" not in CliRunner().invoke(app.fed, ["help", "exit-codes"]).stdout
    assert "\x1b" not in CliRunner().invoke(app.fed, ["site", "list"]).stderr


def test_a_command_with_a_format_of_its_own_keeps_its_long_option():
    """`-o` is on it all the same."""
    declared = verb(None, "x", answers=answers.Done, example="fed x")(
        click.option("--format", "kind", help="Kind of file.")(lambda session, kind: None)
    )
    assert ["-o"] in [option.opts for option in declared.params]
