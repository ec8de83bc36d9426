"""The tree of commands: nobody is left alone with one that does not explain itself, no program with one it cannot read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from federation.cli import answers, app, command, formats, names, tree
from federation.core import errors

LEAVES = tree.leaves()


def options(found: click.Command) -> list[click.Option]:
    """What can be given to it by name."""
    return [param for param in found.params if isinstance(param, click.Option)]


def test_every_command_is_found():
    """The tests below walk this tree: were it empty, they would find nothing wrong."""
    assert len(LEAVES) > 100
    assert {"dataset list", "job submit", "key escrow create", "context rename", "help formats"} <= set(LEAVES)
    assert all(isinstance(found, command.Command | click.Group) for _, found in tree.walk())


def test_every_command_has_a_sentence_of_help():
    """It begins with what it does and ends with a full stop."""
    for words, found in LEAVES.items():
        first, *_ = (found.help or "").strip().split("\n\n")
        assert first.rstrip().endswith((".", ":")), words


def test_every_group_says_what_it_is_for():
    """`fed --help` lists them."""
    assert [path for path, found in tree.walk() if isinstance(found, click.Group) and not found.help] == []


def test_every_option_explains_itself():
    """No option without help."""
    assert [(words, option.name) for words, found in LEAVES.items() for option in options(found) if not option.help] == []


def test_every_command_has_an_example_of_itself():
    """One at least, and the first begins with its own words."""
    for words, found in LEAVES.items():
        assert found.examples, words
        assert found.examples[0].line.startswith(f"fed {words}"), words


def test_every_example_is_a_command_line_that_fed_takes():
    """Its command is there, its options are, their values are of their kind, nothing is missing and nothing too much."""
    for words, found in LEAVES.items():
        for example in found.examples:
            assert " ".join(tree.check(example.line)) == words


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("fed dataset lst", "No such command"),
        ("fed dataset list --nosuch x", "No such option"),
        ("fed dataset show", "Missing argument"),
        ("fed job submit --input a/b", "Missing argument"),
        ("fed price egress --from aws:x --to internet", "Missing option"),
        ("fed site admit eu-2 --grade Z", "'Z' is not one of"),
        ("fed rule create eu sales/f --copies none", "not a valid integer"),
        ("fed whoami again", "words too many"),
        ("federation whoami", "does not begin with fed"),
    ],
)
def test_a_wrong_example_is_found(line, problem):
    """Otherwise the test above could not fail."""
    with pytest.raises(errors.InvalidArgument, match=problem):
        tree.check(line)


def test_every_command_answers_in_every_format_or_is_exempt_for_a_reason():
    """`-o table|wide|json|jsonl|yaml|csv|name` everywhere, except where the command is a process."""
    for words, found in LEAVES.items():
        chosen = [option for option in options(found) if "-o" in option.opts]
        assert bool(chosen) != (words in command.WITHOUT_OUTPUT), words
        for option in chosen:
            assert isinstance(option.type, click.Choice)
            assert tuple(option.type.choices)[: len(formats.ALL)] == formats.ALL, words


def test_exemptions_name_commands_that_exist():
    """A command that goes takes its exemption with it; there are no more than these."""
    assert set(command.WITHOUT_OUTPUT) <= set(LEAVES)
    assert len(command.WITHOUT_OUTPUT) <= 4


def test_every_command_says_what_it_answers():
    """By a type, from which the schema and the header of CSV are made."""
    silent = [words for words, found in LEAVES.items() if found.answers is None and words not in command.WITHOUT_OUTPUT]
    assert silent == []


def test_a_header_of_csv_is_known_before_the_first_row():
    """Of every command but those whose columns a query, a schema or the data names."""
    unknown = []
    for words, found in LEAVES.items():
        kind = found.answers
        row = formats.members(kind)[0] if kind is not None else None
        row = getattr(row, "__args__", (row,))[0] if getattr(row, "__origin__", None) is list else row
        if words not in command.WITHOUT_OUTPUT and not formats.csv_paths(row):
            unknown.append(words)
    assert sorted(unknown) == ["compliance schema", "dataset preview", "sql", "world schema"]


def test_every_schema_is_a_schema_and_refers_to_what_is_there():
    """Draft 2020-12, each kind once."""
    import jsonschema

    made = answers.schemas({words: found.answers for words, found in LEAVES.items() if found.answers is not None})
    jsonschema.Draft202012Validator.check_schema(made)
    referred = {part.split('"')[0] for part in json.dumps(made).split("#/$defs/")[1:]}
    assert referred <= set(made["$defs"])


def test_help_shows_options_and_examples():
    """`--help` of each command works without a federation."""
    for words, found in LEAVES.items():
        result = CliRunner().invoke(app.fed, [*words.split(), "--help"])
        assert result.exit_code == 0, words
        assert "Example" in result.output
        assert found.examples[0].line.splitlines()[0] in result.output


def test_what_takes_a_name_is_completed_by_names_of_its_kind():
    """An argument is the name of a thing, a file, one of a few words, or free text that is listed here."""
    free = {"ENTRYPOINT", "QUERY", "PATH", "TABLE", "NUMBER", "USER", "NEW", "WORDS", "POSITION"}
    for words, found in LEAVES.items():
        for param in found.params:
            if not isinstance(param, click.Argument) or isinstance(param.type, click.Path | click.File | click.Choice):
                continue
            called = param.metavar or (param.name or "").upper()
            assert isinstance(param.type, names.Name) or called in free, (words, called)


def test_the_nouns_of_the_contract_are_there():
    """Namespaces, datasets, versions, replicas, sites, links, jobs, cost and lineage."""
    assert {"namespace", "dataset", "version", "replica", "site", "link", "job", "cost", "lineage"} <= set(app.WORDS)


def test_every_command_answers_through_one_place():
    """Nothing but `output` writes to stdout, so that no command can forget a format."""
    writers = {"output.py"}
    cli = Path(app.__file__).parent
    found = {
        path.name
        for path in cli.glob("*.py")
        if re.search(r"sys\.stdout|click\.echo|\bprint\(", path.read_text()) and path.name not in writers
    }
    assert found <= {"app.py", "completion.py"}, found
