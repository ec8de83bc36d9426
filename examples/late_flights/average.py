"""Averages the models of all parts, each weighted by its flights: one round of federated averaging."""

import json
import os

import numpy as np

import federation


def averaged(models):
    """The mean of the weights, by the number of flights that each was trained on."""
    flights = np.array([model["flights"] for model in models])
    weights = np.array([model["weights"] for model in models])
    return {"weights": (flights @ weights / flights.sum()).tolist(), "flights": int(flights.sum())}


def main():
    """Takes what is there: a part that was left out is named, and the round goes on without it."""
    parts = json.loads(os.environ["SCATTER_PARTS"])  # noqa: TID251 - a script of its own
    here = [alias for alias in parts if alias in federation.inputs]
    model = averaged([json.load(federation.inputs[alias].open("model.json")) for alias in here])
    model["missing"] = sorted(parts[alias] for alias in parts if alias not in here)
    print(f"averaged {len(here)} of {len(parts)} parts over {model['flights']:,} flights", flush=True)
    with federation.outputs["model"].open("model.json", "w") as file:
        json.dump(model, file, indent=2)


if __name__ == "__main__":
    main()
