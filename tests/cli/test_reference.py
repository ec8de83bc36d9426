"""docs/cli.md and its like: printed from the declarations of the commands, whole, and never behind them."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from federation.cli import app, exits, reference, tree
from federation.cli import help as topics

ROOT = Path(__file__).parents[2]
#: What the programs tell each other, and what tests set; nobody else does.
INTERNAL = {"FED_FAILPOINT", "FED_FAILPOINT_ONCE", "FED_RAY_CLUSTER"}


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """All that is printed, made anew."""
    return reference.files()


def test_what_is_printed_is_what_the_commands_declare(files):
    """`make cli-docs` was run."""
    assert {path: (ROOT / path).read_text() == text for path, text in files.items()} == dict.fromkeys(files, True)


def test_every_line_that_the_pages_tell_people_to_type_is_a_command():
    """Each `fed ...` that begins a line of theirs: its words, its options, and what must not be missing."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("infra/**/*.md"), *ROOT.glob("infra/**/values.yaml")]
    lines = [
        line.partition(" # ")[0]
        for page in pages
        for line in re.findall(
            r"^(?: {4}|# )?(?:[A-Z_]+=\S+ )*(fed [a-z].*)$", page.read_text().replace("\\\n", " "), re.MULTILINE
        )
    ]
    assert len(lines) > 200
    for line in lines:
        tree.check(line)


def test_every_command_and_option_is_in_it(files):
    """With its usage, its examples, its options."""
    page = files["docs/cli.md"]
    for words, found in tree.leaves().items():
        (section,) = re.findall(rf"```\nusage: fed {re.escape(words)}(?= |\n)(.*?)(?=```\nusage: |\Z)", page, re.DOTALL)
        assert all(line in section for example in found.examples for line in example.line.splitlines()), words
        for param in found.params:
            if isinstance(param, click.Option) and not param.hidden and param.name != "output_format":
                assert param.opts[0] in section, (words, param.opts)


def test_its_tables_are_those_of_the_code(files):
    """Exit codes, variables, formats, names: as `fed help` tells them."""
    page = files["docs/cli.md"]
    assert all(f"| {row.code} | {row.meaning} |" in page for row in exits.TABLE)
    for topic in (*topics.ENVIRONMENT, *topics.FORMATS, *topics.NAMES):
        assert f"| `{topic.name}` | {topic.meaning} |" in page


def test_every_variable_that_is_read_is_told_of():
    """But for those that a run is given at its site, and what tests set."""
    read = set()
    for path in (ROOT / "federation").rglob("*.py"):
        if not {"worker", "agent", "v1"} & set(path.relative_to(ROOT / "federation").parts):
            read |= set(re.findall(r'"((?:FED|OTEL|XDG)_[A-Z_]+|NO_COLOR)"', path.read_text()))
    told = {topic.name for topic in topics.ENVIRONMENT}
    assert {name for name in read if not name.endswith("_")} - INTERNAL <= told | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
    assert told <= read


def test_no_option_before_all_commands_is_without_help():
    """The others are looked through in test_commands."""
    assert [param.name for param in app.fed.params if not getattr(param, "help", None)] == []


def test_the_readme_leads_to_it():
    """Otherwise nobody finds it."""
    assert "(docs/cli.md)" in (ROOT / "README.md").read_text()
