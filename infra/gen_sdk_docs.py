"""Prints docs/sdk.md: its head as it stands there, and behind the marker each method of `Client` from its docstring.

`make sdk-docs` puts it in place, and a test compares; the examples are run by another.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import client_areas

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "sdk.md"
MARKER = "<!-- printed from federation/client/areas by `make sdk-docs` -->\n"


def generate(page: str) -> str:
    """The page with its reference made anew from the areas of the client."""
    own, *areas = (area for _, area in client_areas.read())
    parts = [_method(node) for node in client_areas.methods(own)]
    for area in areas:
        parts += [f"## {(ast.get_docstring(area) or '').removesuffix('.')}", *map(_method, client_areas.methods(area))]
    return page.partition(MARKER)[0] + MARKER + "\n" + "\n\n".join(parts) + "\n"


def _method(node: ast.FunctionDef) -> str:
    arguments = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    answer = f" -> {ast.unparse(node.returns)}" if node.returns and ast.unparse(node.returns) != "None" else ""
    text, *examples = re.split(r"\n\n(?=>>> )", inspect.cleandoc(ast.get_docstring(node) or ""))
    shown = "".join(f"\n\n```pycon\n{example}\n```" for example in examples)
    return f"### `{node.name}`\n\n```python\n{node.name}({arguments}){answer}\n```\n\n{text}{shown}"


if __name__ == "__main__":
    PAGE.write_text(generate(PAGE.read_text()))
