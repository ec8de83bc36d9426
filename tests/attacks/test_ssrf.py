"""What could open a URL in the catalog server: a few modules, each with addresses of the settings, never of a request."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What the catalog server is made of.
SERVER = (
    "federation/api",
    "federation/services",
    "federation/core",
    "federation/crypto",
    "federation/wire",
    "federation/adapters",
)
#: Modules that reach what a name or a URL says.
OPENERS = (
    *("socket", "http.client", "urllib.request", "urllib3", "requests", "httpx", "ftplib", "smtplib", "telnetlib", "xmlrpc"),
    *("fsspec", "s3fs", "boto3", "botocore", "pyarrow.fs", "deltalake", "hvac", "webbrowser", "aiohttp.client"),
)
#: Who may, and whose address it is.
ALLOWED = {
    "federation/adapters/openlineage_http.py": "the receiver that the settings name",
    "federation/wire/balancing.py": "the servers that the settings name: their names are looked up, nothing is opened",
    "federation/wire/handshake.py": "an agent's own gateway, and what `fed doctor` looks at: no server of ours calls it",
    "federation/wire/https.py": "an issuer that the settings name: one host, no redirect, so many bytes",
    "federation/adapters/records_files.py": "the record's place, of the settings",
    "federation/adapters/records_delta.py": "the record's place, of the settings",
    "federation/adapters/records_links.py": "the record's place, of the settings",
    "federation/adapters/records_migrate.py": "the record's place, of the settings",
    "federation/adapters/records_opening.py": "the record's place, of the settings; what a log names is checked",
    "federation/adapters/lineage_record.py": "the record's place, of the settings",
    "federation/adapters/engine_embedded.py": "the record's place, of the settings",
    "federation/adapters/engine_apart.py": "the record's place, of the settings",
}


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def openers() -> dict[str, set[str]]:
    """File to what in it could open a URL."""
    found = {}
    for folder in SERVER:
        for path in sorted((ROOT / folder).rglob("*.py")):
            names = {name for name in imported(path) if any(name == o or name.startswith(f"{o}.") for o in OPENERS)}
            text = path.read_text()
            names |= {name for name in ("ClientSession", "create_connection", "urlopen") if name in text}
            if names and "migrations" not in path.parts:
                found[str(path.relative_to(ROOT))] = names
    return found


@pytest.mark.invariant("G1")
def test_only_named_modules_of_the_server_could_open_a_url():
    """Whoever adds one must say whose address it is."""
    assert openers().keys() - ALLOWED.keys() == set(), {name: openers()[name] for name in openers().keys() - ALLOWED.keys()}


def test_no_module_is_allowed_that_opens_nothing():
    """The list says what is so."""
    assert ALLOWED.keys() - openers().keys() == set()


@pytest.mark.invariant("G1")
@pytest.mark.parametrize("folder", ["federation/api", "federation/services"])
def test_what_serves_and_decides_opens_nothing(folder: str):
    """A request's text comes no nearer to an opener than its own words in an answer."""
    assert [name for name in openers() if name.startswith(folder)] == []


@pytest.mark.invariant("G1")
def test_a_store_takes_its_endpoint_from_its_settings_alone():
    """A source's URL has no query, and S3's options are those of the site's settings: unknown ones are refused."""
    from connectors.storage import common
    from federation.core import errors

    with pytest.raises(errors.InvalidArgument):
        common.url("s3://bucket/key?endpoint_override=evil", "s3")
    with pytest.raises(errors.InvalidArgument) as caught:
        common.options({"endpoint_override": "evil"}, ("endpoint_url", "key", "secret"), "an S3 source")
    assert caught.value.reason == "OPTION_UNKNOWN"
