"""A shell completes `fed`: real Bash processes, names from a real server under the caller's identity, and never a wait."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import click
import pytest
from click.shell_completion import get_completion_class
from click.testing import CliRunner

from federation import config
from federation.cli import app, asker, completion, tree
from federation.cli import names as kinds
from federation.client import login
from federation.core import dataset, people
from federation.wire import methods, names
from tests import builders
from tests.wire.edge import Edge

#: So many datasets are in namespace `many`.
COUNT = 7


@pytest.fixture(scope="module")
def filled(shared_edge: Edge) -> Edge:
    """A server with versions, many datasets, and one that the user may not know of."""

    def work(tx) -> None:
        stored = tx.get(dataset.Dataset, "sales/flights")
        tx.replace(dataclasses.replace(stored, latest_version=12))
        for name in ("many", "secret", "sales-eu"):
            tx.insert(dataset.Namespace(name=name))
        for number in range(COUNT):
            tx.insert(dataset.Dataset(namespace="many", dataset=f"d-{number}", readers=("users/user",)))
        tx.insert(dataset.Dataset(namespace="secret", dataset="payroll", owner="users/ceo", readers=("users/ceo",)))

    shared_edge.catalog.write(work)
    return shared_edge


@pytest.fixture
def server(filled: Edge):
    """Where names are asked for, as somebody."""
    return lambda who="admin": names.Server(target=filled.server.address, ca=filled.certs.ca, bearer=filled.tokens[who])


@pytest.fixture(scope="module")
def machine(filled: Edge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command `fed` and the contexts of somebody."""
    home = tmp_path_factory.mktemp("home")
    fed = home / "fed"
    fed.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m federation "$@"\n')
    fed.chmod(0o755)
    (home / "fed.bash").write_text(completion.script("bash"))
    config.write_secret(home / "ada.token", filled.tokens["admin"].encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FED_CONFIG", str(home / "contexts.yaml"))
        rows = {"prod": filled.server.address, "lab": "127.0.0.1:1"}
        for name, target in rows.items():
            made = config.Context(context=name, target=target, ca=filled.certs.layout.ca, token=home / "ada.token")
            config.save_context(made, use=name == "prod")
    return home


def bash(machine: Path, lines: list[str], **environment: str) -> list[list[str]]:
    """What a Bash with the script completes for each line: COMPREPLY, as its readline would have asked for it."""
    asked = " ".join(f"'{line}'" for line in lines)
    text = f"""
source "{machine}/fed.bash"
complete -p fed >&2 || exit 9
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:@'
for line in {asked}; do
    COMP_LINE=$line COMP_POINT=${{#line}}
    _fed_completion fed '' ''
    printf '%s\\x1f' "${{COMPREPLY[@]}}"; printf '\\n'
done
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FED_", "COMP_"))}
    told = {"PATH": f"{machine}:{os.environ['PATH']}", "FED_CONFIG": str(machine / "contexts.yaml"), **environment}
    done = subprocess.run(["bash", "--norc", "-c", text], env=kept | told, capture_output=True, text=True, check=True)
    assert done.stderr == "complete -o nosort -F _fed_completion fed\n", done.stderr
    return [[word for word in line.split("\x1f") if word] for line in done.stdout.splitlines()]


def test_bash_completes_commands_options_choices_and_live_names(machine):
    """Also behind signs at which Bash breaks words: what is answered is what follows them."""
    lines = {
        "fed da": ["dataset"],
        "fed dataset list -o js": ["json", "jsonl"],
        "fed dataset show sales/": ["sales/flights"],
        "fed dataset get sales/flights@1": ["12", "11", "10", "1"],
        "fed job submit --input f=sales/fl": ["sales/flights"],
        "fed job submit --site=us": ["us-1"],
        "fed --context la": ["lab"],
    }
    assert dict(zip(lines, bash(machine, list(lines), FED_COMPLETION_MS="30000"), strict=True)) == lines


def test_a_server_that_hangs_makes_nobody_wait(machine):
    """It takes the connection and says nothing: then there are no names, nothing on stderr, and exit code 0."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        target = f"127.0.0.1:{mute.getsockname()[1]}"
        assert bash(machine, ["fed site show ", "fed dataset show "], FED_TARGET=target) == [[], []]


def test_whatever_it_hangs_in_it_ends_when_time_is_up(machine, tmp_path):
    """Contexts on a disk that is gone stand for all that no timeout of gRPC ends: a file that never opens."""
    os.mkfifo(tmp_path / "contexts.yaml")
    assert bash(machine, ["fed site show ", "fed --context "], FED_CONFIG=str(tmp_path / "contexts.yaml")) == [[], []]


@pytest.mark.parametrize(
    "environment",
    [{"FED_CONTEXT": "lab"}, {"FED_CONFIG": "/nowhere"}, {"FED_TOKEN": "fed_nobody"}],
)
def test_without_an_answer_there_are_no_names_and_no_word(machine, environment):
    """Nobody listens, no context is chosen, the token is nobody's."""
    assert bash(machine, ["fed site show "], FED_COMPLETION_MS="5000", **environment) == [[]]


def test_zero_milliseconds_are_no_wait(machine):
    """For those who want commands and options alone."""
    assert bash(machine, ["fed site show ", "fed site sh"], FED_COMPLETION_MS="0") == [[], ["show"]]


def test_names_are_those_that_the_caller_may_know_of(server):
    """They are listed under the caller's own token: hidden datasets are not told."""
    told = names.ask(server("user"), "dataset", "", 30).names
    assert "many/d-0" in told
    assert "secret/payroll" not in told
    assert "secret/payroll" in names.ask(server(), "dataset", "secret/", 30).names


def test_of_many_only_what_begins_so_is_asked_for(server, monkeypatch):
    """Too many for one answer: namespaces first, then what is in one; and a sign that there are more."""
    monkeypatch.setattr(names, "LIMIT", 3)
    assert names.ask(server(), "dataset", "", 30) == names.Told(names=("many/", "sales/", "sales-eu/"), more=True)
    assert names.ask(server(), "dataset", "sales", 30).names == ("sales/flights",)
    assert names.ask(server(), "dataset", "many/d-", 30) == names.Told(names=("many/d-0", "many/d-1", "many/d-2"), more=True)
    assert names.ask(server(), "version", "sales/flights@", 30).names == tuple(f"sales/flights@{n}" for n in (12, 11, 10))
    assert names.ask(server(), "dataset", 'x" OR owner = "users/ceo', 30) == names.Told()


@pytest.mark.parametrize("kind", names.LISTINGS)
def test_each_kind_is_listed_by_its_method(server, kind):
    """The table's methods are the contract's, and the server takes what is asked."""
    listing = names.LISTINGS[kind]
    assert methods.TABLE[listing.method].pager == listing.rows
    told = names.ask(server(), kind, "", 30).names
    assert all(not name.startswith(f"{listing.rows}/") for name in told)
    begun = told[0][:3] if told else "xy"
    assert names.ask(server(), kind, begun, 30).names == tuple(name for name in told if name.startswith(begun))


def test_every_kind_of_a_parameter_can_be_asked_for():
    """What `names` calls things is known to those who find them."""
    assert set(kinds.KINDS.values()) == {*names.LISTINGS, "dataset or version", "aliased", "context"}


def test_more_names_than_are_told_have_no_common_beginning(monkeypatch):
    """A shell would take it for that of all."""
    monkeypatch.setattr(asker, "ask", lambda *_: (["sales/a1", "sales/a2"], True))
    assert [item.value for item in completion.live("aliased", "x=sales/", "")] == ["x=sales/a1", "x=sales/a2", "x=sales/..."]


def test_a_sign_in_is_shown_and_never_refreshed(tmp_path):
    """A process that is killed in the middle of a refresh would end it."""
    given = login.SignedIn(
        sign_in=people.SignIn(issuer="corp", url="https://id.example", client="fed", scope="openid"),
        bearer="abc",
        expire_time=builders.NOW - timedelta(days=1),
    )
    login.Kept(tmp_path / "signed-in").keep(given)
    assert asker._signed_in(tmp_path / "signed-in") == "abc"


# The tree that is read instead of loading all commands


def items(root: click.Group, words: list[str], incomplete: str) -> list[str]:
    """What Click completes in a tree."""
    found = get_completion_class("fish")(root, {}, "fed", completion.VARIABLE)
    return [item.value for item in found.get_completions(list(words), incomplete)]


def test_the_printed_tree_completes_as_the_commands_do():
    """Every noun's verbs and every command's options, from both."""
    light = completion.tree()
    for path, _ in tree.walk():
        for incomplete in ("", "--"):
            if incomplete == "--" or not tree_leaf(path):
                assert items(light, list(path), incomplete) == items(app.fed, list(path), incomplete), path


def tree_leaf(path: tuple[str, ...]) -> bool:
    """Whether words are those of a command that does something."""
    return " ".join(path) in tree.leaves()


def test_a_shell_waits_for_no_module_that_it_needs_not():
    """Commands are not loaded, nor is anything that they need: at each press of the key that is most of the time."""
    probe = (
        "import sys; from federation.cli import asker, completion; completion.tree().get_command(None, 'job');"
        "heavy = {'grpc', 'google', 'yaml', 'rich', 'ray', 'pyarrow', 'asyncio', 'federation.config', 'federation.core'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


@pytest.mark.parametrize(
    ("shell", "environment", "answer"),
    [
        ("zsh", {"COMP_WORDS": "fed dataset list -o js", "COMP_CWORD": "4"}, "plain\njson\n_\nplain\njsonl\n_"),
        ("fish", {"COMP_WORDS": "fed dataset list -o js", "COMP_CWORD": "js"}, "plain,json\nplain,jsonl"),
        ("fish", {"COMP_WORDS": "fed dataset put a/b ", "COMP_CWORD": ""}, "file,"),
        ("zsh", {"COMP_WORDS": "fed site show ", "COMP_CWORD": "3"}, "plain\neu-1\n_\nplain\nfar/\n_"),
    ],
)
def test_zsh_and_fish_are_answered_as_click_has_it(monkeypatch, shell, environment, answer):
    """Through the protocol that their scripts speak."""
    monkeypatch.setattr(asker, "ask", lambda *_: (["eu-1", "far/"], False))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert get_completion_class(shell)(completion.tree(), {}, "fed", completion.VARIABLE).complete() == answer


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_script_is_printed_by_its_command(shell):
    """As it is for a file to be written; as an object where a program asks."""
    line = ["completion", shell]
    assert CliRunner().invoke(app.fed, line).stdout == completion.script(shell).rstrip("\n") + "\n"
    told = json.loads(CliRunner().invoke(app.fed, [*line, "-o", "json"]).stdout)
    assert told == {"shell": shell, "script": completion.script(shell)}


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_script_can_be_read_by_its_shell(shell):
    """Where the shell is installed; each asks `fed` by its own word."""
    text = completion.script(shell)
    assert f"_FED_COMPLETE={shell}_complete" in text
    if (found := shutil.which(shell)) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([found, "-n"], input=text, text=True, check=True)
