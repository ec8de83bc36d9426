"""Runs beside one part of the orders: counts and sums by priority, which may leave where the rows may not."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import federation

#: Squares of cents, of which so many still add up exactly in 64 bits.
EXACT_ROWS = 1000


def exact_sum(values):
    """The sum as a whole number of any size."""
    return sum(int(values[begin : begin + EXACT_ROWS].sum()) for begin in range(0, len(values), EXACT_ROWS))


def statistics(table):
    """For each priority the count, the sum and the sum of squares of the price, in cents: whole numbers, nothing is rounded."""
    cents = pc.multiply(pc.cast(table["o_totalprice"], pa.decimal128(20, 2)), pa.scalar(100, pa.decimal128(3, 0)))
    cents = pc.cast(cents, pa.int64()).to_numpy()
    priorities = np.asarray(table["o_orderpriority"].to_pylist())
    found = {}
    for priority in np.unique(priorities):
        values = cents[priorities == priority]
        found[str(priority)] = {"count": len(values), "sum": exact_sum(values), "squares": exact_sum(values * values)}
    return found


def main():
    """Reads the part through `federation.inputs`, writes one small file."""
    table = federation.inputs["data"].arrow().to_table(columns=["o_orderpriority", "o_totalprice"])
    found = statistics(table)
    part = os.environ["SCATTER_PART"]  # noqa: TID251 - a script of its own
    print(f"{table.num_rows:,} orders of {part}, {len(found)} priorities", flush=True)
    with federation.outputs["statistics"].open("statistics.json", "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
