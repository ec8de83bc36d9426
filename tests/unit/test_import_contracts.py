"""A contract that cannot fail is no contract: each import contract is seen to hold, and seen to break."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: contract -> (module that offends, what it imports)
OFFENCES = {
    "the layers point one way": ("federation/services/sites.py", "import federation.api.server"),
    "the core does no I/O": ("federation/core/units.py", "import socket"),
    "the services reach the world through ports alone": ("federation/services/sites.py", "import sqlalchemy"),
    "the wire format stays at the edge": ("federation/adapters/system.py", "import federation.v1.catalog_pb2"),
    "connectors know only the ports, the crypto and the core": (
        "connectors/storage/local.py",
        "import federation.services.sites",
    ),
    "connectors are strangers to each other": ("connectors/storage/local.py", "import connectors.keys.local"),
}


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's packages and their contracts, to be broken."""
    for package in ("federation", "connectors"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_all_contracts_hold(copy: Path):
    """The house as it is keeps every contract."""
    result = _lint(copy)
    assert result.returncode == 0, result.stdout


def test_each_contract_has_an_offence():
    """A new contract comes with the import that breaks it."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in declared} == set(OFFENCES)


@pytest.mark.parametrize("contract", OFFENCES)
def test_the_contract_breaks_when_its_rule_is_broken(copy: Path, contract: str):
    """One forbidden import, and this contract says BROKEN."""
    module, line = OFFENCES[contract]
    path = copy / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = _lint(copy)
    assert result.returncode == 1
    assert f"{contract} BROKEN" in result.stdout
