"""Types `fed` commands at a server of a test, as one of its people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from federation.cli import app
from tests.cli import answering
from tests.wire.edge import Edge

Fed = Callable[..., Result]


def typing(edge: Edge, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Fed:
    """What runs a command line and holds its exit code, and its JSON against the schema of its answers."""
    (folder / "ca.pem").write_bytes(edge.certs.ca)
    monkeypatch.setenv("FED_CONFIG", str(folder / "contexts.yaml"))
    monkeypatch.setenv("FED_TARGET", edge.server.address)
    monkeypatch.setenv("FED_CA", str(folder / "ca.pem"))

    def run(*words: object, code: int = 0, who: str = "admin", stdin: str = "") -> Result:
        monkeypatch.setenv("FED_TOKEN", edge.tokens[who])
        line = [str(word) for word in words]
        result = CliRunner().invoke(app.fed, line, input=stdin)
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        answering.check(line, result.stdout)
        return result

    return run
