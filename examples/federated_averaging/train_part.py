"""Trains a logistic model of late flights on one part, from the newest averaged model on, and writes its weights alone."""

import json
import os

import numpy as np

import federation

COLUMNS = ["month", "hour", "distance", "dep_delay", "arr_delay"]
STEPS = 40
RATE = 1.0


def features(table):
    """Month and hour as points on a circle, distance and delay at departure in like sizes: no figure of a part is needed."""
    month, hour = (2 * np.pi * table[name].to_numpy(dtype=float) / period for name, period in (("month", 12), ("hour", 24)))
    distance = table["distance"].to_numpy(dtype=float) / 1000
    delay = np.clip(table["dep_delay"].to_numpy(dtype=float), -30, 180) / 30
    columns = (np.ones(len(delay)), np.sin(month), np.cos(month), np.sin(hour), np.cos(hour), distance, delay)
    return np.stack(columns, axis=1)


def late(table):
    """Whether each flight came more than 15 minutes late."""
    return (table["arr_delay"].to_numpy(dtype=float) > 15).astype(float)


def trained(x, y, weights, steps=STEPS):
    """The weights after so many steps of gradient descent on the mean log loss."""
    for _ in range(steps):
        p = 1 / (1 + np.exp(-(x @ weights)))
        weights = weights - RATE * (x.T @ (p - y)) / len(y)
    return weights


def main():
    """Reads the part, and the model of the round before if there is one."""
    table = federation.inputs["data"].pandas(usecols=COLUMNS).dropna()
    x, y = features(table), late(table)
    weights = np.zeros(x.shape[1])
    if "model" in federation.inputs:
        weights = np.array(json.load(federation.inputs["model"].open("model.json"))["weights"])
    weights = trained(x, y, weights)
    part = os.environ["SCATTER_PART"]  # noqa: TID251 - a script of its own
    print(f"{len(y):,} flights of {part}, {y.mean():.1%} late", flush=True)
    with federation.outputs["model"].open("model.json", "w") as file:
        json.dump({"weights": weights.tolist(), "flights": len(y)}, file)


if __name__ == "__main__":
    main()
