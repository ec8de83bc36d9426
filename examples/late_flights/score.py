"""Scores the flights of one airport at the airport, and writes counts alone: the model came to the data."""

import json
import os

import numpy as np
from delays import COLUMNS, features, late, probability

import federation


def main():
    """Reads the replica of the model that lies here."""
    flights, model = federation.inputs["flights"], federation.inputs["model"]
    table = flights.pandas(usecols=COLUMNS).dropna()
    told = probability(features(table), np.array(json.load(model.open("model.json"))["weights"])) > 0.5
    came = late(table) > 0
    counts = {"flights": len(table), "told": int(told.sum()), "late": int(came.sum()), "told_late": int((told & came).sum())}
    print(f"{os.environ['SCATTER_PART']}: {counts['flights']:,} flights by {model.version}", flush=True)  # noqa: TID251 - a script
    with federation.outputs["counts"].open("counts.json", "w") as file:
        json.dump(counts, file)


if __name__ == "__main__":
    main()
