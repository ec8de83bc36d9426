"""Trains a small model of late flights beside the history: `python train.py STEPS`."""

import json
import sys

import numpy as np
from delays import COLUMNS, features, late, probability

import federation

RATE = 1.0


def main():
    """Gradient descent on the mean log loss; the model is 7 numbers."""
    table = federation.inputs["history"].pandas(usecols=COLUMNS).dropna()
    x, y = features(table), late(table)
    weights = np.zeros(x.shape[1])
    for _ in range(int(sys.argv[1])):
        weights -= RATE * (x.T @ (probability(x, weights) - y)) / len(y)
    print(f"trained on {len(y):,} flights of {federation.inputs['history'].version}", flush=True)
    with federation.outputs["model"].open("model.json", "w") as file:
        json.dump({"weights": weights.tolist(), "flights": len(y)}, file)


if __name__ == "__main__":
    main()
