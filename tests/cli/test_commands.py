"""The tree of commands: nobody is left alone with a command that does not explain itself."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from federation.cli import app, command


def leaves(group: click.Group = app.fed, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from leaves(found, (*path, name))
        else:
            yield " ".join((*path, name)), found


LEAVES = dict(leaves())
ALL = pytest.mark.parametrize("words", sorted(LEAVES))


@ALL
def test_every_command_has_a_sentence_of_help(words):
    """It begins with what it does and ends with a full stop."""
    help_ = LEAVES[words].help or ""
    assert help_.strip().splitlines()[0].rstrip().endswith((".", ":")) or help_.strip().split("\n\n")[0].endswith(".")


@ALL
def test_every_command_has_an_example_of_itself(words):
    """The example is a line that could be typed: it begins with `fed` and the command's own words."""
    found = LEAVES[words]
    assert isinstance(found, command.Command)
    assert found.example.startswith(f"fed {words}")


@ALL
def test_every_option_explains_itself(words):
    """No option without help."""
    silent = [option.name for option in LEAVES[words].params if isinstance(option, click.Option) and not option.help]
    assert silent == []


@ALL
def test_every_command_can_answer_in_json_or_is_exempt_for_a_reason(words):
    """`-o table|json` everywhere, except where the answer is files, bytes or a process."""
    has_output = any("-o" in option.opts for option in LEAVES[words].params)
    assert has_output != (words in command.WITHOUT_OUTPUT)


@ALL
def test_help_shows_options_and_example(words):
    """`--help` of each command works without a federation."""
    result = CliRunner().invoke(app.fed, [*words.split(), "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.output


def test_the_nouns_of_the_contract_are_there():
    """Namespaces, datasets, versions, replicas, sites, links, jobs, cost and lineage."""
    assert {"namespace", "dataset", "version", "replica", "site", "link", "job", "cost", "lineage"} <= set(app.WORDS)


def test_exemptions_name_commands_that_exist():
    """A command that goes takes its exemption with it."""
    assert set(command.WITHOUT_OUTPUT) <= set(LEAVES)
