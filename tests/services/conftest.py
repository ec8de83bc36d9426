"""A federation of three sites with the flights in the US and their weather in the EU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sim import Simulation, check_laws


@pytest.fixture
def sim() -> Iterator[Simulation]:
    """Flights at us-1, weather at eu-1, EU orders at eu-1. The laws hold when a test is over, whatever it did."""
    simulation = Simulation()
    simulation.put("sales/flights", "us-1")
    simulation.put("sales/weather", "eu-1", total=10**6)
    simulation.put("sales/orders", "eu-1", residency=("EU",))
    yield simulation
    check_laws(simulation)
