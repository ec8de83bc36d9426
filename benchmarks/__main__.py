"""Runs the benchmarks of this folder that are named, or all, one after another, and says which failed. `make bench`.

`ledger` runs its own sections, which are `ledger_*.py`.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(names: list[str]) -> int:
    """The number of those that failed."""
    failed = []
    for name in names or sorted(script.stem for script in HERE.glob("[a-z]*.py") if "ledger_" not in script.stem):
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=HERE.parent, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
