"""Counts, means and variances of TPC-H orders whose rows stay in the EU and in the US. `make demo` must be running.

python examples/federated_statistics/run.py
"""

import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import story


def main():
    """Puts the parts in, and runs one job over both."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        story.title("1. Orders of European customers stay in the EU, of American ones in the US; 1 MB of results may leave")
        for name, table in zip(("eu", "us"), story.orders(data), strict=True):
            (data / name).mkdir()
            pq.write_table(table, data / name / "orders.parquet")
        story.partition(
            "tpch/orders",
            [("tpch/orders-eu", data / "eu", "eu-1", "EU"), ("tpch/orders-us", data / "us", "us-1", "US")],
        )
        story.title("2. One run beside each part, and one that merges what they found")
        story.fed(
            "job submit --scatter data=tpch/orders --reduce 'python merge.py' --output statistics=tpch/statistics,release"
            " --label statistics --duration 1m --working-dir examples/federated_statistics"
            " --wait -- python part_statistics.py"
        )
        story.title("3. The result: exactly what one look at all rows would give")
        story.fed(f"dataset get tpch/statistics {data / 'out'}")
        print((data / "out" / "statistics.json").read_text())


if __name__ == "__main__":
    main()
