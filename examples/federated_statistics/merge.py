"""Merges the statistics of all parts: mean and variance of the whole, exactly what one look at all rows would give."""

import json
import os
from decimal import Decimal
from fractions import Fraction

import federation


def merged(parts):
    """Counts, sums and sums of squares add up; mean and sample variance follow, rounded once, at the end."""
    whole = {}
    for part in parts:
        for priority, row in part.items():
            have = whole.setdefault(priority, {"count": 0, "sum": 0, "squares": 0})
            for key in have:
                have[key] += row[key]
    return {priority: described(**row) for priority, row in sorted(whole.items())}


def described(count, sum, squares):  # noqa: A002 - the file's words
    """Dollars from cents."""
    mean = Fraction(sum, count)
    variance = (Fraction(squares) - mean * sum) / (count - 1) if count > 1 else Fraction(0)
    return {"count": count, "sum": f"{Decimal(sum) / 100:.2f}", "mean": float(mean / 100), "variance": float(variance / 10_000)}


def main():
    """The parts come as inputs `part_1`, `part_2` and so on; one that was left out is missing, and named in the result."""
    parts = json.loads(os.environ["SCATTER_PARTS"])  # noqa: TID251 - a script of its own
    here = [alias for alias in parts if alias in federation.inputs]
    found = merged([json.load(federation.inputs[alias].open("statistics.json")) for alias in here])
    missing = sorted(parts[alias] for alias in parts if alias not in here)
    print(f"{len(here)} of {len(parts)} parts" + (f", without {', '.join(missing)}" if missing else ""), flush=True)
    for priority, row in found.items():
        print(f"{priority:<16} {row['count']:>8,} orders, mean ${row['mean']:,.2f}", flush=True)
    with federation.outputs["statistics"].open("statistics.json", "w") as file:
        json.dump({"statistics": found, "missing": missing}, file, indent=2)


if __name__ == "__main__":
    main()
