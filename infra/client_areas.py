"""The areas that `Client` is put together from, as syntax, the first first: for what is printed from them."""

from __future__ import annotations

import ast
from pathlib import Path

_CLIENT = Path(__file__).parents[1] / "federation" / "client" / "client.py"


def read() -> tuple[tuple[ast.Module, ast.ClassDef], ...]:
    """The client itself, then each area: its module, and its class in there."""
    own = _parsed(_CLIENT, "Client")
    # Python wants what stands on another before it, so the first area is the last base.
    bases = [ast.unparse(base).split(".") for base in reversed(own[1].bases)]
    return (own, *(_parsed(_CLIENT.parent / "areas" / f"{module}.py", name) for module, name in bases))


def methods(of: ast.ClassDef) -> list[ast.FunctionDef]:
    """What users of a class may call."""
    return [node for node in of.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def _parsed(path: Path, name: str) -> tuple[ast.Module, ast.ClassDef]:
    tree = ast.parse(path.read_text())
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return tree, found
