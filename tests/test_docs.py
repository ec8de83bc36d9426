"""The examples of README.md and of docstrings run."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.rest import DocTestParser

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["README.md"])
def test_the_examples_of_the_page_run(page: str):
    """Every `>>>` example of the page gives what it says."""
    document = Sybil(parsers=[DocTestParser()]).parse(ROOT / page)
    examples = list(document.examples())
    assert examples
    for example in examples:
        example.evaluate()


def test_what_the_pages_call_of_ours_is_there_to_be_called():
    """Each `federation.…(` of an example, by its whole name."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    blocks = [block for page in pages for block in re.findall(r"^```py.*?^```", page.read_text(), re.MULTILINE | re.DOTALL)]
    called = {name for block in blocks for name in re.findall(r"\b(federation(?:\.\w+)+)\(", block)}
    assert "federation.connect_async" in called
    assert [name for name in sorted(called) if not callable(pkgutil.resolve_name(name))] == []
