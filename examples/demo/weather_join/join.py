"""Joins flights with the weather at their departure. The flights are bigger, so the weather travels to them."""

import pandas as pd

import federation


def main():
    """Reads both inputs the same way; that one of them comes from another region shows in the ledger alone."""
    flights = federation.inputs["flights"].pandas(usecols=["origin", "time_hour", "dep_delay"]).dropna()
    weather = federation.inputs["weather"].pandas(usecols=["origin", "time_hour", "wind_speed"])
    print(f"{len(flights):,} flights, {len(weather):,} hours of weather", flush=True)

    joined = flights.merge(weather, on=["origin", "time_hour"])
    wind = pd.cut(joined["wind_speed"], [-1, 5, 10, 15, 20, 100], labels=["0-5", "5-10", "10-15", "15-20", "over 20"])
    delays = joined.groupby(wind, observed=True)["dep_delay"].agg(["count", "mean"]).round(2)
    print(delays.to_string(), flush=True)

    federation.outputs["delays"].write_table(delays.reset_index().astype({"wind_speed": str}), "delay_by_wind.csv")


if __name__ == "__main__":
    main()
