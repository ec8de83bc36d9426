"""Writes federation/client/aio.py: the signature and the sentence of every public method of `Client`, awaited.

`python infra/gen_aio.py` prints it; `make aio` puts it in place, and a test compares. Written out, and not made while the
program runs, so that editors, type checkers and people see each method.
"""

from __future__ import annotations

import ast

import client_areas

#: What encrypts, packs or writes files: it would hold up the event loop.
IN_A_THREAD = frozenset(
    {
        "put",
        "get",
        "preview",
        "get_manifest",
        "describe_file",
        "check",
        "submit",
        "upload_package",
        "send_package",
        "import_bill",
        "export_focus",
    }
)
_HEAD = '''"""The client of a federation for asyncio: the methods of `Client`, awaited, and what they list by `async for`.

Printed from `areas` by `make aio`. How it works is told in `loop.py`.
"""

# ruff: noqa: A002, ASYNC109 - the words of the contract, and of `Client`
from __future__ import annotations

'''
_CLASS = '''

class AsyncClient(LoopClient):
    """Speaks for one person to one federation, on an event loop. Everything else is as `Client` says."""
'''


def generate() -> str:
    """The module, from the areas of `Client`."""
    _, *areas = client_areas.read()  # what the client has beside them, `LoopClient` has in its own way
    written = "\n".join(_method(node) for _, area in areas for node in client_areas.methods(area))
    used = {node.id for node in ast.walk(ast.parse(_CLASS + written)) if isinstance(node, ast.Name)}
    # What only types need stays where only types are looked at.
    typed = [node for tree, _ in areas for branch in tree.body if isinstance(branch, ast.If) for node in branch.body]
    kept = [
        *_imports([node for tree, _ in areas for node in tree.body], used),
        "from collections.abc import AsyncIterator",
        "from federation.client.client import Client",
        "from federation.client.loop import LoopClient",
    ]
    if for_types := _imports(typed, used):
        kept += ["from typing import TYPE_CHECKING", "", "if TYPE_CHECKING:", *(f"    {text}" for text in for_types)]
    return _HEAD + "\n".join(kept) + _CLASS + written


def _imports(nodes: list[ast.stmt], used: set[str]) -> list[str]:
    """The imports among the nodes of what is used, each once."""
    found = [text for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) and (text := _import(node, used))]
    return list(dict.fromkeys(found))


def _import(node: ast.Import | ast.ImportFrom, used: set[str]) -> str:
    names = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in used]
    if not names or (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
        return ""
    if isinstance(node, ast.Import):
        return ast.unparse(ast.Import(names=names))
    return ast.unparse(ast.ImportFrom(module=node.module, names=names, level=node.level))


def _method(node: ast.FunctionDef) -> str:
    returns = ast.unparse(node.returns) if node.returns else "None"
    iterates = returns.startswith("Iterator[")
    threaded = node.name in IN_A_THREAD
    passed = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)][1:]
    passed += [f"{argument.arg}={argument.arg}" for argument in node.args.kwonlyargs]
    way = {(False, False): "_call", (False, True): "_thread", (True, False): "_iterate", (True, True): "_iterate_thread"}
    run = f"self.{way[iterates, threaded]}({', '.join((f'Client.{node.name}', *passed))})"
    # Examples are run as they stand in `Client`.
    doc, *examples = (ast.get_docstring(node, clean=False) or "").partition("\n\n        >>> ")
    doc += "\n        " if examples[0] and "\n" in doc else ""
    answer = f"Async{returns}" if iterates else returns
    head = f"    {'' if iterates else 'async '}def {node.name}({ast.unparse(node.args)}) -> {answer}:"
    body = f"        return {'' if iterates else 'await '}{run}"
    return f'\n{head}\n        """{doc}"""\n{body}\n'


if __name__ == "__main__":
    print(generate(), end="")
