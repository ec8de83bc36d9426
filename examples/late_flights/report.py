"""Adds up what the airports counted."""

import json
import os

import federation


def main():
    """How many of the warnings were right, and how many of the late flights were warned of, over all airports."""
    parts = json.loads(os.environ["SCATTER_PARTS"])  # noqa: TID251 - a script of its own
    rows = [json.load(federation.inputs[alias].open("counts.json")) for alias in parts]
    whole = {key: sum(row[key] for row in rows) for key in rows[0]}
    whole["right"] = round(whole["told_late"] / max(1, whole["told"]), 3)
    whole["found"] = round(whole["told_late"] / max(1, whole["late"]), 3)
    print(
        f"{whole['flights']:,} flights: {whole['right']:.1%} of the warnings right, {whole['found']:.1%} of the late found",
        flush=True,
    )
    with federation.outputs["counts"].open("report.json", "w") as file:
        json.dump(whole, file, indent=2)


if __name__ == "__main__":
    main()
