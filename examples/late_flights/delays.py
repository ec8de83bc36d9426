"""What a flight looks like to the model, and how it learns and tells. It is JSON, 7 weights, and runs no code."""

import numpy as np

COLUMNS = ["month", "hour", "distance", "dep_delay", "arr_delay"]
RATE = 1.0


def features(table):
    """Month and hour as points on a circle, distance and delay at departure in like sizes, and a one: 7 columns.

    All by fixed figures, none of which is of the data: every part makes the same of a flight.
    """
    month, hour = (2 * np.pi * table[name].to_numpy(dtype=float) / period for name, period in (("month", 12), ("hour", 24)))
    distance = table["distance"].to_numpy(dtype=float) / 1000
    delay = np.clip(table["dep_delay"].to_numpy(dtype=float), -30, 180) / 30
    return np.stack([np.ones(len(delay)), np.sin(month), np.cos(month), np.sin(hour), np.cos(hour), distance, delay], axis=1)


def late(table):
    """Whether each flight came more than 15 minutes late."""
    return (table["arr_delay"].to_numpy(dtype=float) > 15).astype(float)


def probability(x, weights):
    """How probably each flight comes late."""
    return 1 / (1 + np.exp(-(x @ weights)))


def trained(x, y, weights, steps):
    """The weights after so many steps of gradient descent on the mean log loss."""
    for _ in range(steps):
        weights = weights - RATE * (x.T @ (probability(x, weights) - y)) / len(y)
    return weights
