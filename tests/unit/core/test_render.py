"""A plan in the words of other schedulers, by the rules that they check it with."""

from __future__ import annotations

import re
from typing import Any

import pytest

from federation.core import errors, job, render
from tests import builders

#: A name as Kubernetes takes it for these kinds (RFC 1123 subdomain).
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def planned(*ranked: job.Candidate, **request: Any) -> job.Job:
    """A job with this ranking."""
    return builders.job("j-1", builders.request(**{"label": "train", **request}), plan=builders.plan(*ranked))


EU = builders.candidate("eu-1", region="aws:eu-central-1", compute_micros=5, gpu_type="H100")
US = builders.candidate("us-1", region="aws:us-east-1", compute_micros=7, gpu_type="H100", spot=True)
EWR = builders.candidate("ewr-1", region="vultr:ewr", compute_micros=9, gpu_type="L4")


def test_ray_gets_the_choice_as_labels_and_the_others_to_fall_back_to() -> None:
    """In their order, each once."""
    made = render.ray(planned(EU, US, EWR, gpus=2, gpu_type="H100", memory_bytes=1024))
    assert made["label_selector"] == {
        "ray.io/availability-region": "eu-central-1",
        "ray.io/accelerator-type": "H100",
        "ray.io/market-type": "!spot",
    }
    assert [each["label_selector"]["ray.io/availability-region"] for each in made["fallback_strategy"]] == ["us-east-1", "ewr"]
    assert made["fallback_strategy"][0]["label_selector"]["ray.io/market-type"] == "spot"
    assert (made["num_cpus"], made["num_gpus"], made["memory"]) == (1, 2, 1024)


def test_ray_itself_takes_the_options() -> None:
    """By the checks of the installed Ray, for tasks and for actors."""
    options = pytest.importorskip("ray._common.ray_option_utils")
    for made in (render.ray(planned(EU, US, EWR, gpus=1)), render.ray(planned(builders.candidate("eu-1")))):
        options.validate_task_options(made, in_options=True)
        options.validate_actor_options(made, in_options=True)


def test_kueue_nominates_the_choice_and_what_costs_exactly_as_much() -> None:
    """All nominated clusters are asked at once, so a dearer one must not be among them."""
    equal = builders.candidate("eu-2", region="aws:eu-central-1", compute_micros=5, gpu_type="H100")
    made = render.kueue(planned(EU, equal, US))
    assert (made["apiVersion"], made["kind"]) == ("kueue.x-k8s.io/v1beta2", "Workload")
    assert made["status"] == {"nominatedClusterNames": ["eu-1", "eu-2"]}
    assert made["metadata"]["annotations"] == {"dataset-federation/ranking": "eu-1,eu-2,us-1"}


def test_kueue_takes_ten_clusters_at_most() -> None:
    """The list of a Workload has no room for more."""
    many = [builders.candidate(f"s-{i:02d}", region="aws:eu-central-1") for i in range(30)]
    assert len(render.kueue(planned(*many))["status"]["nominatedClusterNames"]) == 10


def test_karmada_tries_one_cluster_after_the_other() -> None:
    """Names that differ, of at most 32 characters."""
    long = builders.candidate("a" * 40, region="aws:us-east-1", compute_micros=8)
    made = render.karmada(planned(EU, US, long))
    assert (made["apiVersion"], made["kind"]) == ("policy.karmada.io/v1alpha1", "PropagationPolicy")
    placement = made["spec"]["placement"]
    assert "clusterAffinity" not in placement, "Karmada refuses a policy with both"
    affinities = placement["clusterAffinities"]
    assert [each["clusterNames"] for each in affinities] == [["eu-1"], ["us-1"], ["a" * 40]]
    names = [each["affinityName"] for each in affinities]
    assert len(set(names)) == 3
    assert all(1 <= len(name) <= 32 for name in names)
    assert placement["replicaScheduling"] == {"replicaSchedulingType": "Duplicated"}
    assert made["spec"]["resourceSelectors"] == [{"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "train"}]


@pytest.mark.parametrize("label", ["Train Model!", "-", "\N{GREEK SMALL LETTER ALPHA}", "x" * 300])
def test_names_are_what_kubernetes_takes(label: str) -> None:
    """Whatever people call a job."""
    made = render.karmada(planned(EU, label=label))
    assert NAME.fullmatch(made["spec"]["resourceSelectors"][0]["name"])
    assert NAME.fullmatch(made["metadata"]["name"])


@pytest.mark.parametrize("word", sorted(render.RENDERERS))
def test_a_plan_without_a_site_is_refused_and_not_rendered_empty(word: str) -> None:
    """An empty list would let the other scheduler choose."""
    refused = builders.plan(ranked=(), rejections=(job.Rejection(site="a", reason="NO_COMPUTE", detail="none"),))
    with pytest.raises(errors.FailedPrecondition, match="NO_COMPUTE") as caught:
        render.RENDERERS[word](builders.job("j-1", plan=refused))
    assert caught.value.reason == "PLAN_WITHOUT_SITE"
