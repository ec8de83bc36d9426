"""`fed apply` against a real server: what files declare is made so, told, and left alone when it is so already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from federation.cli import app, exits
from tests.cli import answering

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "declarative"


@pytest.fixture
def fed(shared_edge, monkeypatch, tmp_path):
    """Types a `fed` command at that server, as an administrator or as another."""
    (tmp_path / "ca.pem").write_bytes(shared_edge.certs.ca)
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "contexts.yaml"))
    monkeypatch.setenv("FED_TARGET", shared_edge.server.address)
    monkeypatch.setenv("FED_CA", str(tmp_path / "ca.pem"))

    def run(*words: str, code: int = 0, who: str = "admin", stdin: str = "") -> Result:
        monkeypatch.setenv("FED_TOKEN", shared_edge.tokens[who])
        result = CliRunner().invoke(app.fed, list(words), input=stdin)
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        answering.check(words, result.stdout)
        return result

    return run


def test_the_example_is_applied_once(fed, shared_edge):
    """All of it is made, in an order that works; a second time nothing is written, and a third, all the same."""
    first = json.loads(fed("apply", "-f", str(EXAMPLE), "-o", "json").stdout)
    assert {row["state"] for row in first} <= {"DONE", "UNCHANGED"}
    with shared_edge.client() as client:
        revision = client.who_am_i().revision
        assert fed("apply", "-f", str(EXAMPLE)).stdout == ""
        assert client.who_am_i().revision == revision
