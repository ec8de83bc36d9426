"""Builders for the core's values: each gives a legal, boring value, of which a test names only what it is about.

Sizes are written as people do (`"10GB"`), prices in dollars (`"0.04"`). Sites are READY with compute unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from federation.adapters.policy_cedar import CedarPolicies
from federation.core import admission, authorization, grants, ids, kinds, metering, ratecard, units
from federation.core import dataset as datasets
from federation.core import job as jobs
from federation.core import site as sites
from federation.core import world as worlds
from federation.core.policy import Principal, Role

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MONTH = "2026-11"
GB = 10**9
GIB = 2**30
TIB = 2**40
SHA = "0" * 64
GENERATION = "g-00000000000000000000000001"

#: The real engine: what tests decide by is what is shipped.
POLICIES = CedarPolicies()

#: Where the builders' sites lie unless a test says otherwise: name -> (region, jurisdiction).
PLACES = {
    "eu-1": ("aws:eu-central-1", "EU"),
    "eu-2": ("aws:eu-west-1", "EU"),
    "us-1": ("aws:us-east-1", "US"),
    "us-2": ("aws:us-east-2", "US"),
    "vu-1": ("vultr:ewr", "US"),
}


def size(value: int | str) -> int:
    """Bytes from a number or from `10GB`."""
    return value if isinstance(value, int) else units.parse_size(value)


def money(value: int | str | None) -> int | None:
    """Micro-dollars from a number of them or from dollars in text; None stays unknown."""
    return units.micros(value) if isinstance(value, str) else value


def offer(cpu_hour: int | str | None = "0.04", gpu_hours: Mapping[str, int | str] | None = None, **changes: Any) -> sites.Offer:
    """What a site sells: CPU at 4 cents an hour, and GPUs by type where given."""
    gpus = tuple(sites.GpuOffer(type=t, gpu_hour_micros=money(p) or 0, source="test") for t, p in (gpu_hours or {}).items())
    return sites.Offer(**{"cpu_hour_micros": money(cpu_hour), "cpu_source": "test", "gpus": gpus} | changes)


def capacity(cpus: int = 16, memory: int | str = "64GB", gpus: Mapping[str, int] | None = None) -> sites.Capacity:
    """What a site has in all."""
    return sites.Capacity(cpus=cpus, memory_bytes=size(memory), gpus=tuple((gpus or {}).items()))


def site(name: str = "eu-1", region: str = "", jurisdiction: str = "", **changes: Any) -> sites.Site:
    """A READY site with 16 CPUs; `eu-1`, `eu-2`, `us-1`, `us-2` and `vu-1` know where they are."""
    known_region, known_jurisdiction = PLACES.get(name, ("aws:eu-central-1", "EU"))
    values: dict[str, Any] = {
        "site": name,
        "region": region or known_region,
        "jurisdiction": jurisdiction or known_jurisdiction,
        "gateway": f"{name}.example:7443",
        "has_compute": True,
        "offer": offer(),
        "capacity": capacity(),
        "state": sites.SiteState.READY,
        "heartbeat_time": NOW,
        "signing_key": "11" * 32,
        "sealing_key": "22" * 32,
        "grade": "A",
        "admission": tuple(row.line for row in findings()),
        "join_time": NOW,
    }
    return sites.Site(**values | changes)


def load(name: str = "eu-1", cpus: int = 0, memory: int | str = 0, gpus: Mapping[str, int] | None = None) -> sites.SiteLoad:
    """What runs have reserved at a site."""
    return sites.SiteLoad(site=name, cpus=cpus, memory_bytes=size(memory), gpus=tuple((gpus or {}).items()))


def namespace(name: str = "sales", **changes: Any) -> datasets.Namespace:
    """A namespace in which everybody may make datasets, and decides over them."""
    return datasets.Namespace(**{"name": name, "owner": authorization.EVERYONE} | changes)


def dataset(name: str = "sales/flights", residency: Iterable[str] = (), **changes: Any) -> datasets.Dataset:
    """A dataset that everybody may use; residency as `("EU",)`."""
    parsed = ids.dataset(name)
    values: dict[str, Any] = {"namespace": parsed.namespace, "dataset": parsed.dataset, "residency": tuple(residency)}
    values["readers"] = (authorization.EVERYONE,)
    return datasets.Dataset(**values | changes)


def version(name: str = "sales/flights@1", total: int | str = "1GB", **changes: Any) -> datasets.Version:
    """A committed version."""
    parsed = ids.version(name)
    values: dict[str, Any] = {
        "namespace": parsed.dataset.namespace,
        "dataset": parsed.dataset.dataset,
        "number": parsed.number,
        "manifest_digest": SHA,
        "signature": "33" * 64,
        "signed_by": "eu-1",
        "files": 1,
        "total_bytes": size(total),
        "object_bytes": size(total),
        "generations": (GENERATION,),
    }
    return datasets.Version(**values | changes)


def new_version(name: str = "sales/flights", total: int | str = "1GB", **changes: Any) -> datasets.NewVersion:
    """What an agent asks to commit."""
    values: dict[str, Any] = {
        "dataset": name,
        "dataset_uid": "u-flights",
        "manifest_digest": SHA,
        "signature": "33" * 64,
        "files": 1,
        "total_bytes": size(total),
        "object_bytes": size(total),
        "generations": (GENERATION,),
    }
    return datasets.NewVersion(**values | changes)


def replica(name: str = "sales/flights@1", at: str = "eu-1", **changes: Any) -> datasets.Replica:
    """A version at a site."""
    parsed = ids.version(name)
    values: dict[str, Any] = {
        "namespace": parsed.dataset.namespace,
        "dataset": parsed.dataset.dataset,
        "number": parsed.number,
        "site": at,
        "object_bytes": GB,
    }
    return datasets.Replica(**values | changes)


def wrapped_key(at: str = "eu-1", generation: str = GENERATION, **changes: Any) -> datasets.WrappedKey:
    """A DEK's row for one site."""
    values: dict[str, Any] = {
        "generation": generation,
        "site": at,
        "dataset_uid": "u-flights",
        "kek": f"kek-{at}",
        "wrapped": "44" * 60,
    }
    return datasets.WrappedKey(**values | changes)


def request(inputs: Iterable[str] = (), outputs: Iterable[str] = (), **changes: Any) -> jobs.JobRequest:
    """A job of one CPU for ten minutes. Inputs and outputs are written `flights=sales/flights@3`, or without the alias."""
    asked = {name: changes.pop(name) for name in ("cpus", "gpus", "gpu_type", "memory_bytes") if name in changes}
    values: dict[str, Any] = {
        "label": "test",
        "namespace": "sales",
        "inputs": tuple(_input_spec(text) for text in inputs),
        "outputs": tuple(_output_spec(text) for text in outputs),
        "entrypoint": ("python", "main.py"),
        "principal": "users/alice",
        "resources": jobs.Resources(**asked),
    }
    return jobs.JobRequest(**values | changes)


def world_input(
    alias: str = "flights",
    at: Iterable[str] = ("eu-1",),
    total: int | str = "1GB",
    residency: Iterable[str] = (),
    **changes: Any,
) -> worlds.WorldInput:
    """One input as the planner sees it: `alias` names the dataset `sales/<alias>` too."""
    values: dict[str, Any] = {
        "alias": alias,
        "dataset": f"sales/{alias}",
        "version": 1,
        "bytes": size(total),
        "residency": tuple(residency),
        "replica_sites": tuple(at),
    }
    return worlds.WorldInput(**values | changes)


def price_row(
    source: str, destination: str, usd: str, *, upto: int | str | None = None, gb: int = GB, as_of: str = "2026-10"
) -> ratecard.PriceRow:
    """One tier, as `price_row("aws:us-east-1", "internet", "0.09", upto="10TB")`; `aws:*` is any place of a provider."""
    source_provider, _, source_place = source.partition(":")
    destination_provider, _, destination_place = destination.partition(":")
    return ratecard.PriceRow(
        source_provider=source_provider,
        source_place=source_place or "*",
        destination_provider=destination_provider,
        destination_place=destination_place or "*",
        upto_bytes=None if upto is None else size(upto),
        gb_micros=units.micros(usd),
        gb_bytes=gb,
        as_of=as_of,
        source="test prices",
    )


def rates() -> ratecard.RateCard:
    """Two cents a GB between AWS regions, nine out of AWS, one out of Vultr; all without tiers."""
    return ratecard.RateCard(
        rows=(
            price_row("aws:*", "aws:*", "0.02"),
            price_row("aws:*", "internet", "0.09"),
            price_row("vultr:*", "internet", "0.01"),
        )
    )


def world(
    sites_: Iterable[sites.Site] | None = None, inputs: Iterable[worlds.WorldInput] | None = None, **changes: Any
) -> worlds.World:
    """A world at revision 1: sites `eu-1` and `us-1`, the input `flights` of 1 GB at `eu-1`, and `rates()`."""
    values: dict[str, Any] = {
        "revision": 1,
        "now": NOW,
        "inputs": (world_input(),) if inputs is None else tuple(inputs),
        "sites": (site("eu-1"), site("us-1")) if sites_ is None else tuple(sites_),
        "rates": rates(),
    }
    return worlds.World(**values | changes)


def candidate(at: str = "eu-1", **changes: Any) -> jobs.Candidate:
    """A ranked site with no inputs."""
    values: dict[str, Any] = {
        "site": at,
        "region": PLACES.get(at, ("aws:eu-central-1", ""))[0],
        "inputs": (),
        "compute_micros": 0,
    }
    return jobs.Candidate(**values | {"egress_micros": 0, "locality": 1.0} | changes)


def input_plan(alias: str = "flights", source: str = "eu-1", reader: str = "eu-1", **changes: Any) -> jobs.InputPlan:
    """How one input is had: LOCAL unless source and reader differ."""
    values: dict[str, Any] = {
        "alias": alias,
        "dataset": f"sales/{alias}",
        "version": 1,
        "way": jobs.Way.LOCAL if source == reader else jobs.Way.REMOTE,
        "source_site": source,
        "source_region": PLACES[source][0],
        "destination_region": PLACES[reader][0],
        "bytes": GB,
        "egress_micros": 0,
    }
    return jobs.InputPlan(**values | changes)


def plan(*ranked: jobs.Candidate, **changes: Any) -> jobs.Plan:
    """A plan with the given candidates, best first."""
    values: dict[str, Any] = {"revision": 1, "decide_time": NOW, "ranked": ranked or (candidate(),), "rejections": ()}
    return jobs.Plan(**values | changes)


def job(name: str = "j-00000000000000000000000001", request_: jobs.JobRequest | None = None, **changes: Any) -> jobs.Job:
    """A PENDING job."""
    return jobs.Job(**{"job": name, "request": request_ or request()} | changes)


def run(attempt: int = 1, at: str = "eu-1", job_: str = "j-00000000000000000000000001", **changes: Any) -> jobs.Run:
    """A PLACED run."""
    return jobs.Run(**{"run": f"jobs/{job_}/runs/{attempt}", "job": job_, "attempt": attempt, "site": at} | changes)


def grant(access: grants.Access = grants.Access.READ, at: str = "eu-1", **changes: Any) -> grants.Grant:
    """A grant of an hour at `eu-1`'s gateway for a person."""
    values: dict[str, Any] = {
        "grant": "r-00000000000000000000000001",
        "access": access,
        "subject": "users/alice",
        "site": at,
        "dataset": "sales/flights",
        "dataset_uid": "u-flights",
        "version": "sales/flights@1",
        "reader_region": sites.INTERNET,
        "issue_time": NOW,
        "expire_time": NOW.replace(hour=13),
    }
    return grants.Grant(**values | changes)


def grant_record(source: str = "eu-1", reader: str = "us-1", **changes: Any) -> kinds.GrantRecord:
    """The stored record of a run's read grant."""
    values: dict[str, Any] = {
        "grant": "r-00000000000000000000000001",
        "run": "jobs/j-00000000000000000000000001/runs/1",
        "job": "j-00000000000000000000000001",
        "attempt": 1,
        "principal": "users/alice",
        "alias": "flights",
        "namespace": "sales",
        "dataset": "flights",
        "version": 1,
        "source_site": source,
        "source_region": PLACES[source][0],
        "reader_site": reader,
        "reader_region": PLACES[reader][0] if reader else sites.INTERNET,
        "expire_time": NOW.replace(hour=13),
    }
    return kinds.GrantRecord(**values | changes)


def usage(sent: int | str = "1GB", unsettled: int | str = 0, **changes: Any) -> metering.Usage:
    """What left a gateway under `grant_record()`."""
    values: dict[str, Any] = {
        "grant": "r-00000000000000000000000001",
        "source_site": "eu-1",
        "sent_bytes": size(sent),
        "unsettled_bytes": size(unsettled),
        "requests": 1,
        "settle_time": NOW,
    }
    return metering.Usage(**values | changes)


def case(**changes: Any) -> authorization.Case:
    """An expected decision: a reader may browse."""
    facts = authorization.DatasetFacts(namespace="sales", dataset="flights", classification=1, readers=("users/alice",))
    asked = authorization.Question(
        subject=authorization.Subject(name="users/alice"), action=authorization.Action.BROWSE, dataset=facts, time=NOW
    )
    return authorization.Case(**{"name": "a reader browses", "question": asked, "allowed": True} | changes)


def person(name: str = "alice", role: Role = Role.USER, jurisdiction: str = "") -> Principal:
    """A person who calls."""
    return Principal(name=f"users/{name}", role=role, jurisdiction=jurisdiction)


def agent(at: str = "eu-1") -> Principal:
    """A site's agent."""
    return Principal(name=f"agents/{at}", role=Role.AGENT)


def _named(text: str) -> tuple[str, str]:
    alias, equals, name = text.partition("=")
    return (alias, name) if equals else (text.rpartition("/")[2].partition("@")[0].replace("-", "_"), text)


def _input_spec(text: str) -> jobs.InputSpec:
    alias, name = _named(text)
    parsed, number = ids.dataset_or_version(name)
    return jobs.InputSpec(alias=alias, dataset=parsed.short, version=number or 0)


def _output_spec(text: str) -> jobs.OutputSpec:
    alias, name = _named(text)
    return jobs.OutputSpec(alias=alias, dataset=name)


def findings(**grades: str) -> tuple[admission.Finding, ...]:
    """What the admission test of a good site finds; `disk="B"` changes one, and ``compute=""`` keeps the site out."""
    return tuple(
        admission.Finding(check=name, grade=grades.get(name, "A"), detail="as the test says") for name in admission.MANDATORY
    )
