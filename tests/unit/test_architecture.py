"""ARCHITECTURE.md says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from federation.core import lifecycle

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()


def test_the_state_diagram_is_printed_from_the_table():
    """The page's diagram is `lifecycle.diagram()`, character by character."""
    assert f"```mermaid\n{lifecycle.diagram()}\n```" in PAGE


def test_every_module_has_its_line():
    """Each module of the house is named once in the module list."""
    modules = {
        str(path.relative_to(ROOT))
        for package in ("federation", "connectors")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and "v1" not in path.parts and "migrations" not in path.parts
    }
    listed = set(re.findall(r"^- `([a-z_/0-9]+\.py)`", PAGE, re.MULTILINE))
    assert modules - listed == set(), "modules without a line"
    assert listed - modules == set(), "lines without a module"


def test_every_file_that_the_page_names_exists():
    """The way of a job names files that are there."""
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]+\.py)(?::[^`]*)?`", PAGE))
    roots = (ROOT, ROOT / "federation")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []
