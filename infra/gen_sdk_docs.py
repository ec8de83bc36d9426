"""Prints docs/sdk.md: its head as it stands there, and behind the marker every public method of `Client` from its docstring.

`make sdk-docs` puts it in place, and a test compares; the examples are run by another.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "federation" / "client" / "client.py"
PAGE = ROOT / "docs" / "sdk.md"
MARKER = "<!-- printed from federation/client/client.py by `make sdk-docs` -->\n"


def generate(page: str, source: str) -> str:
    """The page with its reference made anew from the source of the client."""
    (client,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Client")
    lines = enumerate(source.splitlines(), 1)
    headings = {number: found[1] for number, line in lines if (found := re.fullmatch(r"    # (\w.*)", line))}
    methods = [node for node in client.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    parts = []
    for node in methods:
        parts += [f"## {headings.pop(number)}" for number in sorted(headings) if number < node.lineno]
        parts.append(_method(node))
    return page.partition(MARKER)[0] + MARKER + "\n" + "\n\n".join(parts) + "\n"


def _method(node: ast.FunctionDef) -> str:
    arguments = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    answer = f" -> {ast.unparse(node.returns)}" if node.returns and ast.unparse(node.returns) != "None" else ""
    text, *examples = re.split(r"\n\n(?=>>> )", inspect.cleandoc(ast.get_docstring(node) or ""))
    shown = "".join(f"\n\n```pycon\n{example}\n```" for example in examples)
    return f"### `{node.name}`\n\n```python\n{node.name}({arguments}){answer}\n```\n\n{text}{shown}"


if __name__ == "__main__":
    PAGE.write_text(generate(PAGE.read_text(), CLIENT.read_text()))
