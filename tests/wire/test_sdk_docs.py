"""The client's reference: printed from its docstrings, and every example in them does what it says."""

from __future__ import annotations

import doctest
import inspect
import sys
from pathlib import Path

from federation.client import Client
from federation.core import dataset, job
from tests.wire import edge as edges

sys.path.insert(0, str(Path(__file__).parents[2] / "infra"))
import gen_sdk_docs

LEAST_EXAMPLES = 10


def test_the_reference_is_what_the_docstrings_say() -> None:
    """`make sdk-docs` was run."""
    page = gen_sdk_docs.PAGE.read_text()
    assert page == gen_sdk_docs.generate(page)
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        assert name.startswith("_") or (f"### `{name}`" in page and inspect.getdoc(method)), name


def test_examples_do_what_they_say(edge: edges.Edge) -> None:
    """All of them, in their order, against one server."""
    edges.make_placeable(edge)
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    with edge.client("user") as client:
        known = {"client": client, "dataset": dataset, "job": job}
        # From the first area on, as the page tells them.
        methods = [(name, found) for area in reversed(Client.__mro__) for name, found in vars(area).items()]
        for name, method in methods:
            if inspect.isfunction(method) and method.__doc__:
                runner.run(parser.get_doctest(inspect.getdoc(method) or "", known, name, None, None), clear_globs=False)
                known |= {"client": client}
    assert runner.failures == 0
    assert runner.tries >= LEAST_EXAMPLES
