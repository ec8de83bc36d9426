"""The tools that check FOCUS files, each in an environment of its own: they want other versions of what we use.

Made once and kept in `.focus-tools` (ignored by git), under a lock, so that tests beside each other make them once. Where a
tool cannot be had, the reason is told.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(os.environ.get("FOCUS_TOOLS", Path(__file__).parent.parent / ".focus-tools"))
#: The FinOps Foundation's validator of FOCUS 1.2: it needs Python 3.12, and a pyarrow that still takes its numpy 1.
VALIDATOR = ("focus-validator==2.2.1", "pyarrow<22")
#: An independent linter that has the model of FOCUS 1.4.
TOOLKIT = ("focus-data-toolkit[parquet]==0.14.1",)
#: What of FOCUS the ledger has: the validator leaves out rules for anything else. There are no unit prices (a tier's price is
#: no unit's), no commitments, no zones, one currency and one type of account.
APPLIES = (
    *("ACCOUNT_NAMING_SUPPORTED", "USAGE_MEASUREMENT_SUPPORTED", "SUB_ACCOUNT_SUPPORTED", "REGION_SUPPORTED"),
    *("BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED", "RESOURCE_TYPE_ASSIGNMENT_SUPPORTED", "TAGGING_SUPPORTED"),
)


class Missing(Exception):
    """A tool that cannot be had here, and why."""


def python312() -> str:
    """A Python 3.12; Missing where none is found on PATH, with pyenv or with uv."""
    for found in _pythons():
        told = subprocess.run(
            [found, "-c", "import sys; print(sys.version_info[:2] == (3, 12))"], check=False, capture_output=True, text=True
        )
        if told.stdout.strip() == "True":
            return found
    raise Missing("no Python 3.12 is on PATH, in pyenv or in uv, which the FinOps Foundation's validator needs")


def _pythons() -> Iterator[str]:
    if sys.version_info[:2] == (3, 12):
        yield sys.executable
    if found := shutil.which("python3.12"):
        yield found
    if shutil.which("pyenv"):
        root = Path(_said("pyenv", "root"))
        yield from sorted((str(path) for path in root.glob("versions/3.12*/bin/python")), reverse=True)
    if shutil.which("uv") and (found := _said("uv", "python", "find", "3.12")):
        yield found


def _said(*words: str) -> str:
    return subprocess.run(words, check=False, capture_output=True, text=True).stdout.strip()


def environment(name: str, python: str, wanted: tuple[str, ...]) -> Path:
    """The folder of an environment with these packages, made if it is not there; Missing where they cannot be installed."""
    FOLDER.mkdir(exist_ok=True)
    folder, stamp = FOLDER / name, FOLDER / f"{name}.stamp"
    with _locked(FOLDER / f"{name}.lock"):
        if stamp.exists() and stamp.read_text() == repr(wanted):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True, capture_output=True)
        # By our own pip, and without compiling all of pandas and its like: the tools load little of it.
        pip = (sys.executable, "-m", "pip", "--python", folder, "--quiet", "--disable-pip-version-check")
        made = subprocess.run([*pip, "install", "--no-compile", *wanted], check=False, capture_output=True, text=True)
        if made.returncode:
            raise Missing(f"{wanted[0]} cannot be installed: {made.stderr.strip().splitlines()[-1:]}")
        stamp.write_text(repr(wanted))
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def validate_12(path: Path) -> tuple[dict[str, str], int]:
    """What the FinOps Foundation's validator says of a FOCUS 1.2 file: rules that failed, and how many passed."""
    folder = environment("validator", python312(), VALIDATOR)
    # It looks for its list of currencies below the folder that it runs in.
    (packages,) = folder.glob("lib/python3.12/site-packages")
    words = ("--data-file", path, "--validate-version", "1.2.0.1", "--focus-dataset", "CostAndUsage", "--block-download")
    applies = ("--applicability-criteria", ",".join(APPLIES))
    told = subprocess.run(
        [folder / "bin/focus-validator", *words, *applies], cwd=packages, check=False, capture_output=True, text=True
    )
    lines = told.stdout.splitlines()
    passed = [line for line in lines if ": PASS " in line or line.rstrip().endswith(": PASS")]
    failed = dict(line.split(" ", 1)[1].split(": FAIL", 1) for line in lines if ": FAIL" in line)
    assert any(line.startswith("Total:") for line in lines), told.stdout[-2000:] + told.stderr[-2000:]
    return failed, len(passed)


def lint_14(path: Path) -> str:
    """What focus-data-toolkit says of a FOCUS 1.4 file; it ends with an error code for a file that is none."""
    folder = environment("toolkit", sys.executable, TOOLKIT)
    told = subprocess.run(
        [folder / "bin/focus-toolkit", "validate", "--dataset", "cost-and-usage", path],
        check=False,
        capture_output=True,
        text=True,
    )
    return f"{told.returncode} {told.stdout}{told.stderr}"


if __name__ == "__main__":
    for make in (
        lambda: environment("validator", python312(), VALIDATOR),
        lambda: environment("toolkit", sys.executable, TOOLKIT),
    ):
        try:
            print(f"{make()} is there")
        except Missing as missing:
            print(missing)
