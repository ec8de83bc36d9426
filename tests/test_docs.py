"""The examples of README.md and of docstrings run."""

from __future__ import annotations

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
