"""What a person weighs a placement by, and what is said of inputs and outputs, stays within reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from federation.core import errors, job
from tests import builders
from tests.sim import Simulation

BASE = builders.request(["flights=sales/flights"], ["model=ml/model"])


def changed_input(**changes: Any) -> dict[str, Any]:
    """The request's one input, changed."""
    return {"inputs": (dataclasses.replace(BASE.inputs[0], **changes),)}


def changed_output(**changes: Any) -> dict[str, Any]:
    """The request's one output, changed."""
    return {"outputs": (dataclasses.replace(BASE.outputs[0], **changes),)}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"priority": 1001}, "priority"),
        ({"priority": -1001}, "priority"),
        ({"deadline_seconds": -1}, "deadline_seconds"),
        ({"deadline_seconds": 400 * 86400}, "deadline_seconds"),
        ({"hour_value_micros": -1}, "hour_value_micros"),
        ({"hour_value_micros": 10**12 + 1}, "hour_value_micros"),
        ({"carbon_tonne_micros": -1}, "carbon_tonne_micros"),
        ({"carbon_tonne_micros": 10**13}, "carbon_tonne_micros"),
        (changed_input(read_percent=-1), "inputs.flights.read_percent"),
        ({"submission_id": "a b"}, "submission_id"),
        ({"submission_id": "a" * 129}, "submission_id"),
        ({"metadata": (("", "x"),)}, "metadata"),
        ({"metadata": (("n", "x" * 65_536),)}, "metadata"),
        (changed_input(read_percent=100_001), "inputs.flights.read_percent"),
        (changed_output(assumed_bytes=-1), "outputs.model.assumed_bytes"),
        (changed_output(assumed_bytes=2**61), "outputs.model.assumed_bytes"),
    ],
)
def test_what_is_out_of_range_is_refused_by_its_field(sim: Simulation, changes: dict[str, Any], field: str) -> None:
    """And nothing is stored."""
    with pytest.raises(errors.InvalidArgument) as caught:
        sim.submit(dataclasses.replace(BASE, **changes))
    assert caught.value.reason == "JOB_REQUEST_INVALID"
    assert set(caught.value.violations) == {field}
    assert sim.all(job.Job) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"priority": -1000},
        {"deadline_seconds": 366 * 86400},
        {"hour_value_micros": 0},
        {"carbon_tonne_micros": 0},
        changed_input(read_percent=100_000),
        changed_output(assumed_bytes=1, deliver_to="sites/us-1"),
    ],
)
def test_what_is_within_reason_is_taken(sim: Simulation, changes: dict[str, Any]) -> None:
    """Up to the bound; a delivery's site is stored by its short name."""
    stored = sim.submit(dataclasses.replace(BASE, **changes)).request
    assert [spec.deliver_to for spec in stored.outputs] in (["us-1"], [""])
    assert not stored.outputs[0].deliver_to.startswith("sites/")


def test_an_output_cannot_be_delivered_to_a_site_that_is_not_there(sim: Simulation) -> None:
    """It would wait for ever."""
    with pytest.raises(errors.NotFound, match="moon-1"):
        sim.submit(dataclasses.replace(BASE, **changed_output(deliver_to="moon-1")))
