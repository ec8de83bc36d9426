"""Why a site is set aside: each filter alone, and their order."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from federation.core import filters, job, site
from tests import builders

EU = builders.world_input(residency=("EU",))


def refused(request=None, at=None, **changes) -> str:
    """The reason that a site gives, `""` if it takes the job; resolvable ones end with `?`."""
    at = at or builders.site("us-1")
    rejection = filters.reject(request or builders.request(), at, builders.world([at], **changes))
    return "" if rejection is None else rejection.reason + ("?" if rejection.resolvable else "")


GPUS = builders.capacity(16, "64GB", {"H100": 4, "T4": 2})


@pytest.mark.parametrize(
    ("reason", "request_", "changes"),
    [
        ("", {}, {}),
        ("SITE_NOT_REQUESTED", {"sites": ("eu-1",)}, {}),
        ("", {"sites": ("eu-1", "us-1")}, {}),
        ("SITE_NOT_READY?", {}, {"state": site.SiteState.DECLARED, "has_compute": False}),
        ("NO_COMPUTE", {}, {"has_compute": False}),
        ("COMPUTE_UNAVAILABLE?", {}, {"compute_error": "down", "capacity": site.Capacity()}),
        ("COMPUTE_UNAVAILABLE?", {"cpus": 16}, {"compute_error": "down"}),
        ("CPUS_EXHAUSTED", {"cpus": 17}, {"compute_error": "down"}),
        ("GPU_TYPE_MISSING", {"gpus": 1}, {"compute_error": "down"}),
        ("COMPUTE_UNAVAILABLE?", {"gpus": 1}, {"compute_error": "down", "capacity": site.Capacity()}),
        ("GPU_TYPE_MISSING", {"gpus": 1}, {}),
        ("GPU_TYPE_MISSING", {"gpus": 1, "gpu_type": "B200"}, {"capacity": GPUS}),
        ("GPUS_EXHAUSTED", {"gpus": 5, "gpu_type": "H100"}, {"capacity": GPUS}),
        ("", {"gpus": 5}, {"capacity": GPUS}),
        ("GPUS_EXHAUSTED", {"gpus": 7}, {"capacity": GPUS}),
        ("CPUS_EXHAUSTED", {"cpus": 17}, {}),
        ("MEMORY_EXHAUSTED", {"memory_bytes": 65 * 10**9}, {}),
        ("SITE_LOST?", {}, {"state": site.SiteState.LOST}),
        ("CPUS_EXHAUSTED", {"cpus": 17}, {"state": site.SiteState.LOST}),
    ],
)
def test_a_site_gives_its_strongest_reason(reason: str, request_: dict, changes: dict):
    """What no waiting changes comes before what may pass; an empty report is no reason."""
    assert refused(builders.request(**request_), builders.site("us-1", **changes)) == reason


@pytest.mark.parametrize(
    ("reason", "request_", "load"),
    [
        ("", {"cpus": 8}, builders.load("us-1", 8)),
        ("CPUS_EXHAUSTED?", {"cpus": 9}, builders.load("us-1", 8)),
        ("MEMORY_EXHAUSTED?", {"memory_bytes": 33 * 10**9}, builders.load("us-1", 0, "32GB")),
        ("GPUS_EXHAUSTED?", {"gpus": 3, "gpu_type": "H100"}, builders.load("us-1", gpus={"H100": 2})),
        ("", {"gpus": 2, "gpu_type": "T4"}, builders.load("us-1", gpus={"H100": 4})),
        ("GPUS_EXHAUSTED?", {"gpus": 2, "gpu_type": "T4"}, builders.load("us-1", gpus={"": 1})),
        ("GPUS_EXHAUSTED?", {"gpus": 5}, builders.load("us-1", gpus={"H100": 2})),
        ("", {"cpus": 16}, builders.load("eu-1", 16)),
    ],
)
def test_what_runs_hold_is_not_free(reason: str, request_: dict, load: site.SiteLoad):
    """Reservations count, those of other sites do not; a GPU of any type may be one of the type that is asked for."""
    assert refused(builders.request(**request_), builders.site("us-1", capacity=GPUS), loads=(load,)) == reason


def test_what_others_use_of_the_cluster_is_not_free_either():
    """Its agent reports it; together with what the federation's runs hold it is in use."""
    used = replace(GPUS, used_cpus=4, used_gpus=(("H100", 1), ("", 1)))
    at, load = builders.site("us-1", capacity=used), builders.load("us-1", 8, gpus={"H100": 1})
    assert refused(builders.request(cpus=4), at, loads=(load,)) == ""
    assert refused(builders.request(cpus=5), at, loads=(load,)) == "CPUS_EXHAUSTED?"
    assert refused(builders.request(gpus=1, gpu_type="H100"), at, loads=(load,)) == ""
    assert refused(builders.request(gpus=2, gpu_type="H100"), at, loads=(load,)) == "GPUS_EXHAUSTED?"


def test_a_filter_is_left_out_only_where_it_could_refuse_nobody():
    """All filters, asked one after another, give the same answer as those that concern the request."""
    worlds = [builders.world(), builders.world(inputs=[EU]), builders.world(excluded=(("us-1", "STORE_DISHONEST"),))]
    asked = [builders.request(), builders.request(gpus=1), builders.request(sites=("eu-1",))]
    for request, world in product(asked, worlds):
        for at in world.sites:
            every = next((r for refuses in filters.FILTERS if (r := refuses(request, at, world))), None)
            assert filters.reject(request, at, world) == every


def test_residency_binds_inputs_and_outputs():
    """Reading and storing both happen at the site."""
    assert refused(inputs=[EU]) == "RESIDENCY_DENIED"
    assert refused(inputs=[], output_residency=(("ml/model", ("EU",)),)) == "RESIDENCY_DENIED"
    assert refused(at=builders.site("eu-1"), inputs=[EU]) == ""


def test_a_forbidden_site_is_forbidden_whatever_else_it_is():
    """Its state, compute and capacity are not told, and nobody waits for it."""
    at = builders.site("us-1", state=site.SiteState.LOST, has_compute=False)
    assert refused(builders.request(cpus=99), at, inputs=[EU]) == "RESIDENCY_DENIED"


def test_a_site_where_an_attempt_failed_is_not_tried_again():
    """With the reason of that attempt."""
    at = builders.site("us-1")
    world = builders.world([at], excluded=(("us-1", "STORE_DISHONEST"),))
    rejection = filters.reject(builders.request(), at, world)
    assert (rejection.reason, rejection.resolvable) == ("ATTEMPT_FAILED_HERE", False)
    assert "STORE_DISHONEST" in rejection.detail


def test_ingestion_needs_no_compute():
    """Only the site itself, alive, where its data may lie."""
    request = builders.request(kind=job.JobKind.INGEST, sites=("us-1",), cpus=99)
    assert refused(request, builders.site("us-1", has_compute=False)) == ""
    assert refused(request, builders.site("us-1", state=site.SiteState.LOST)) == "SITE_LOST?"
    assert refused(request, output_residency=(("ml/model", ("EU",)),)) == "RESIDENCY_DENIED"


def test_every_filter_explains_itself():
    """Each has a docstring, and none is forgotten in the tuple."""
    assert all(refuses.__doc__ for refuses in filters.FILTERS)
    assert set(filters.INGEST_FILTERS) < set(filters.FILTERS)
