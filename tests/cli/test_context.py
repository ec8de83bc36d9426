"""`fed context`: which federation commands talk to, as a file of this person's own."""

from __future__ import annotations

import json
import stat

import pytest
from click.testing import CliRunner

from federation.cli import app, exits
from tests.cli import answering


@pytest.fixture
def fed(monkeypatch, tmp_path):
    """Types a `fed context` command for a person with a file of contexts of their own."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "contexts.yaml"))
    monkeypatch.chdir(tmp_path)

    def run(*words: str, code: int = exits.OK):
        result = CliRunner().invoke(app.fed, ["context", *words])
        assert result.exit_code == code, result.output
        answering.check(["context", *words], result.stdout)
        return result

    return run


def names(fed) -> dict[str, bool]:
    """Every context, and whether it is the current one."""
    return {row["context"]: row["current"] for row in json.loads(fed("list", "-o", "json").stdout)}


def test_a_context_is_set_changed_used_renamed_and_deleted(fed, tmp_path):
    """The first one is current; a name that goes takes that with it."""
    fed("set", "prod", "--target", "fed.example:7400", "--ca", "ca.crt", "--token-file", "me.token")
    fed("set", "lab", "--target", "lab.example:7400", "--ca", "ca.crt")
    assert names(fed) == {"prod": True, "lab": False}
    fed("set", "prod", "--target", "fed2.example:7400")
    shown = json.loads(fed("show", "-o", "json").stdout)
    assert (shown["target"], shown["ca"]) == ("fed2.example:7400", str(tmp_path / "ca.crt"))
    assert shown["token"] == str(tmp_path / "me.token")
    fed("use", "lab")
    fed("rename", "lab", "bench")
    assert names(fed) == {"prod": False, "bench": True}
    fed("delete", "bench")
    assert names(fed) == {"prod": False}
    assert stat.S_IMODE((tmp_path / "contexts.yaml").stat().st_mode) == 0o600
    fed("show", code=exits.NOT_FOUND)


def test_what_cannot_be_is_refused(fed):
    """A new one must say where it is; nobody is overwritten; nothing is made of what is not there."""
    fed("set", "prod", code=exits.USAGE)
    fed("set", "prod", "--target", "no-port", "--ca", "ca.crt", code=exits.USAGE)
    fed("set", "a", "--target", "a.example:1", "--ca", "ca.crt")
    fed("set", "b", "--target", "b.example:1", "--ca", "ca.crt", "--use")
    fed("rename", "a", "b", code=exits.CONFLICT)
    for words in (("use", "c"), ("rename", "c", "d"), ("delete", "c"), ("show", "c")):
        fed(*words, code=exits.NOT_FOUND)
    assert names(fed) == {"a": False, "b": True}
