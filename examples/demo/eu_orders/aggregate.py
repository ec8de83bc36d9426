"""Sums the orders of European customers by nation and month. Residency keeps it in the EU, and its result as well."""

import pyarrow as pa
import pyarrow.compute as pc

import federation


def main():
    """Joins, groups, and writes one Parquet file as a new version. Only the columns that are asked for are read."""
    customers = federation.inputs["customers"].arrow().to_table(columns=["c_custkey", "c_nationkey"])
    orders = federation.inputs["orders"].arrow().to_table(columns=["o_custkey", "o_orderdate", "o_totalprice"])
    print(f"{customers.num_rows:,} customers, {orders.num_rows:,} orders", flush=True)

    month = pc.strftime(pc.cast(orders["o_orderdate"], pa.timestamp("s")), "%Y-%m")
    joined = orders.append_column("month", month).join(customers, "o_custkey", "c_custkey")
    # Money is summed as decimals, as TPC-H has it: no float comes near it.
    table = joined.group_by(["c_nationkey", "month"]).aggregate([("o_totalprice", "sum"), ("o_totalprice", "count")])
    table = table.sort_by([("c_nationkey", "ascending"), ("month", "ascending")])
    print(f"{table.num_rows:,} sums of nation and month", flush=True)

    federation.outputs["sums"].write_table(table, "orders_by_nation_and_month.parquet")


if __name__ == "__main__":
    main()
