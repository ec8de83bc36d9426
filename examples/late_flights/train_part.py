"""Trains a logistic model of late flights on one part, from the newest averaged model on, and writes its weights alone."""

import json
import os

import numpy as np
from delays import COLUMNS, features, late, trained

import federation

STEPS = 40


def main():
    """Reads the part, and the model of the round before if there is one."""
    table = federation.inputs["data"].pandas(usecols=COLUMNS).dropna()
    x, y = features(table), late(table)
    weights = np.zeros(x.shape[1])
    if "model" in federation.inputs:
        weights = np.array(json.load(federation.inputs["model"].open("model.json"))["weights"])
    weights = trained(x, y, weights, STEPS)
    part = os.environ["SCATTER_PART"]  # noqa: TID251 - a script of its own
    print(f"{len(y):,} flights of {part}, {y.mean():.1%} late", flush=True)
    with federation.outputs["model"].open("model.json", "w") as file:
        json.dump({"weights": weights.tolist(), "flights": len(y)}, file)


if __name__ == "__main__":
    main()
