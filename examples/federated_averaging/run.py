"""Trains a model of late flights in rounds, of which only weights leave the EU and the US. `make demo` must be running.

python examples/federated_averaging/run.py [ROUNDS]
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "late_flights"))

import delays
import story

ROUNDS = 3


def main():
    """Puts the parts in, and trains: each round begins with the averaged model of the one before."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        story.title("1. Flights from Newark lie in the EU, the others in the US; 1 MB of results may leave")
        flights = story.flights([*delays.COLUMNS, "origin"])
        newark = flights["origin"] == "EWR"
        for name, table in (("eu", flights[newark]), ("us", flights[~newark])):
            (data / name).mkdir()
            table.to_csv(data / name / "flights.csv", index=False)
        story.partition(
            "nyc/flights",
            [("nyc/flights-eu", data / "eu", "eu-1", "EU"), ("nyc/flights-us", data / "us", "us-1", "US")],
        )
        before = ""
        for number in range(rounds):
            story.title(f"{number + 2}. Round {number + 1} of {rounds}")
            story.fed(
                f"job submit --scatter data=nyc/flights {before} --reduce 'python average.py'"
                " --output model=nyc/delay-model,release --label averaging --duration 1m"
                " --working-dir examples/late_flights --wait -- python train_part.py"
            )
            newest = story.ask("dataset show nyc/delay-model")["latest_version"]
            before = f"--input model=nyc/delay-model@{newest}"
        story.title("The model, of which every row stayed where it was")
        story.fed(f"dataset get nyc/delay-model {data / 'out'}")
        print((data / "out" / "model.json").read_text())


if __name__ == "__main__":
    main()
