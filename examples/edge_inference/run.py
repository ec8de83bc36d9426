"""Inference at the edge: a model is trained in the cloud, its replicas follow to the airports, and scores their flights there.

    python examples/edge_inference/run.py [--state .edge] [--file FEDERATION.yaml]

It leaves the federation running; `fed down --state .edge` ends it. Running it again works: everything gets a new version.
"""

import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "late_flights"))

import delays
import story

HERE = Path(__file__).resolve().parent
#: Where flights arrive: the box there, and whose law its data stays under.
AIRPORTS = {"LAX": ("lax-1", "US-CA"), "ORD": ("ord-1", "US-IL")}
#: Steps of gradient descent: a first model, and one that was trained longer.
FIRST, LONGER = 20, 200


def put(data):
    """The year up to November of all airports lies in the cloud; December's flights at the airport that they came to."""
    flights = story.flights([*delays.COLUMNS, "dest"])
    december = flights["month"] == 12
    (data / "history").mkdir()
    flights[~december].to_csv(data / "history" / "flights.csv", index=False)
    story.fed(f"dataset put airports/history {shlex.quote(str(data / 'history'))} --site us-1")
    parts = []
    for airport, (site, law) in AIRPORTS.items():
        folder = data / airport
        folder.mkdir()
        flights[december & (flights["dest"] == airport)].to_csv(folder / "flights.csv", index=False)
        parts.append((f"airports/{airport.lower()}", folder, site, law))
    story.partition("airports/december", parts)


def train(steps):
    """A new version of the model, in the cloud."""
    story.fed(
        "job submit --input history=airports/history --output model=ml/late-flights:MODEL --duration 1m --label train"
        f" --working-dir examples/late_flights --wait -- python train.py {steps}"
    )


def await_replicas(version):
    """Waits until each site has the version; the rule's transfers are the agents' own work."""
    deadline = time.monotonic() + 120
    while len(story.ask(f"replica list {version}") or ()) < 1 + len(AIRPORTS):
        if time.monotonic() > deadline:
            sys.exit(f"the example stops: {version} is not everywhere yet; `fed rule show models-at-the-edge` tells why")
        time.sleep(0.5)
    story.fed(f"replica list {version}")


def score():
    """Once beside each airport's flights; what leaves are four numbers each."""
    story.fed(
        "job submit --scatter flights=airports/december --input model=ml/late-flights --reduce 'python report.py'"
        " --output counts=airports/warnings,release --duration 1m --label score"
        " --working-dir examples/late_flights --wait -- python score.py"
    )


def newest_model():
    """Name of the model's newest version."""
    return f"ml/late-flights@{story.ask('dataset show ml/late-flights')['latest_version']}"


def main():
    """The whole story."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, default=story.ROOT / ".edge")
    parser.add_argument("--file", type=Path, default=HERE / "federation.yaml")
    asked = parser.parse_args()
    story.title("1. A region that trains, and boxes at Los Angeles and Chicago: an agent each, no cluster")
    story.fed(f"up -f {shlex.quote(str(asked.file))} --state {shlex.quote(str(asked.state))}")
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder))
    story.title("2. A small model is trained beside the history; a rule brings it to every airport")
    train(FIRST)
    if story.ask("rule show models-at-the-edge") is None:
        story.fed("rule create models-at-the-edge ml/late-flights --copies 3")
    await_replicas(newest_model())
    story.title("3. Each airport scores its flights by the model that lies there; counts leave, flights do not")
    score()
    story.title("4. A better model follows by itself, and the airports use it from then on")
    train(LONGER)
    await_replicas(newest_model())
    score()
    story.title("5. What crossed a region: models and counts, to the byte")
    story.fed("cost summary --by link")
    story.fed("lineage show airports/warnings")


if __name__ == "__main__":
    main()
