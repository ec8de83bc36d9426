"""Trains a model that tells whether a flight will arrive more than 15 minutes late. Runs beside the flights."""

import json
import pickle

from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

import federation

COLUMNS = ["month", "day", "sched_dep_time", "sched_arr_time", "carrier", "origin", "dest", "distance", "arr_delay"]


def main():
    """Reads the input through `federation.inputs`, writes model and metrics as one new version."""
    flights = federation.inputs["flights"]
    table = flights.pandas(usecols=COLUMNS).dropna(subset=["arr_delay"])
    print(f"{len(table):,} flights from {flights.version}", flush=True)

    late = table.pop("arr_delay") > 15
    for column in ("carrier", "origin", "dest"):
        table[column] = table[column].astype("category").cat.codes
    train, test, train_late, test_late = train_test_split(table, late, test_size=0.2, random_state=13, stratify=late)
    model = HistGradientBoostingClassifier(max_iter=40, random_state=13).fit(train, train_late)
    auc = roc_auc_score(test_late, model.predict_proba(test)[:, 1])
    print(f"AUC on {len(test):,} flights it has not seen: {auc:.3f}", flush=True)

    metrics = {
        "auc": round(auc, 4),
        "rows": len(table),
        "late_share": round(float(late.mean()), 4),
        "input": flights.version,
    }
    output = federation.outputs["model"]
    with output.open("model.pkl") as file:
        pickle.dump(model, file)
    with output.open("metrics.json", "w") as file:
        json.dump(metrics, file, indent=2)


if __name__ == "__main__":
    main()
