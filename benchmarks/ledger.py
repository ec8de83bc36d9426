"""The record: all sections `benchmarks/ledger_*.py`, one after another, or those that are named.

Run: python -m benchmarks.ledger [writes ...]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(names: list[str]) -> int:
    """The number of sections that failed."""
    sections = names or sorted(script.stem.removeprefix("ledger_") for script in HERE.glob("ledger_*.py"))
    failed = 0
    for name in sections:
        print(f"\n-- {name}", flush=True)
        failed += bool(
            subprocess.run([sys.executable, "-m", f"benchmarks.ledger_{name}"], cwd=HERE.parent, check=False).returncode
        )
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
