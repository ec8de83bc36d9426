"""THREAT-MODEL.md and the tests hold each other: every invariant is tried, every attack of the list has its test."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "THREAT-MODEL.md"

_INVARIANT = re.compile(r"^\| ([A-Z]\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def section(title: str) -> str:
    """The text under a heading of the document."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert found, title
    return found.group(1)


def invariants() -> dict[str, str]:
    """Number to what enforces it."""
    return {number: by for number, _, by in _INVARIANT.findall(section("Invariants"))}


def attacks() -> dict[str, list[tuple[str, str]]]:
    """Attack to the tests that try it, as (file, function)."""
    rows = [line.strip("|").split("|") for line in section("Attacks").splitlines() if line.startswith("| ")]
    return {row[0].strip(): _TEST.findall(row[1]) for row in rows[1:]}


@cache
def functions(file: str) -> frozenset[str]:
    """The names of a test file's functions."""
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@cache
def borne() -> dict[str, list[str]]:
    """Number to the tests that bear it, read from their decorators."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        if "mark.invariant" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                for number in filter(None, map(_number, node.decorator_list)):
                    found.setdefault(number, []).append(f"{path.relative_to(ROOT)}::{node.name}")
    return found


def _number(decorator: ast.expr) -> str:
    named = isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.invariant"
    return ast.literal_eval(decorator.args[0]) if named else ""


def test_the_document_has_its_invariants():
    """Else the tests below would look at nothing."""
    assert len(invariants()) >= 32
    assert len(attacks()) >= 24


@pytest.mark.parametrize("number", sorted(invariants()))
def test_an_invariant_is_tried(number: str):
    """By one test at least that bears its number."""
    assert borne().get(number), f"no test bears {number}"


def test_no_test_bears_a_number_that_nobody_knows():
    """A number is a promise that stands in the document."""
    assert set(borne()) <= set(invariants())


@pytest.mark.parametrize("number", sorted(invariants()))
def test_what_enforces_an_invariant_is_there(number: str):
    """A module that was renamed must not leave the document behind."""
    named = re.findall(r"`([\w/]+\.py)`", invariants()[number])
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("attack", sorted(attacks()))
def test_an_attack_has_its_test(attack: str):
    """Under the name that the document gives."""
    named = attacks()[attack]
    assert named, f"{attack} names no test"
    assert [f"{file}::{name}" for file, name in named if not (ROOT / file).is_file() or name not in functions(file)] == []
