"""Values travel as messages and come back as they were."""

from __future__ import annotations

import dataclasses
import types
import typing
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import dataset, errors, job, site
from federation.v1 import catalog_pb2, jobs_pb2, sites_pb2
from federation.wire import codec

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds of a strategy are naive
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: INT64,
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    bytes: st.binary(max_size=20),
    datetime: TIMES,
}


def hinted(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type hint, as the codec promises to carry them: pairs are sorted by key, which is unique."""
    args, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        inner = next(arg for arg in args if arg is not types.NoneType)
        return st.none() | hinted(inner)
    if origin is tuple and typing.get_origin(args[0]) is tuple:
        key, value = typing.get_args(args[0])
        return st.dictionaries(hinted(key), hinted(value), max_size=3).map(lambda found: tuple(sorted(found.items())))
    if origin is tuple:
        return st.lists(hinted(args[0]), max_size=2).map(tuple)
    if dataclasses.is_dataclass(hint):
        return values(hint)
    if issubclass(hint, StrEnum):
        return st.sampled_from(list(hint))
    return SCALARS[hint]


def values(cls: type) -> st.SearchStrategy[Any]:
    """Values of a class whose name parts are legal, and whose fields that stay behind are their defaults."""
    hints = typing.get_type_hints(cls)
    named = codec.NAMES[cls].fields if cls in codec.NAMES else frozenset()
    fields = {field.name: hinted(hints[field.name]) for field in dataclasses.fields(cls)}
    fields |= dict.fromkeys(named, NAMES)
    if "number" in named:
        fields["number"] = st.integers(1, 10**17)
    for name in codec.NOT_CARRIED.get(cls, ()):
        fields.pop(name)
    if cls is job.Run:
        fields |= {"run": st.builds(lambda j, n: f"jobs/{j}/runs/{n}", NAMES, st.integers(1, 99))}
        return st.fixed_dictionaries(fields).map(lambda made: job.Run(**made | {"job": made["run"].split("/")[1]}))
    return st.fixed_dictionaries(fields).map(lambda made: cls(**made))


@pytest.mark.parametrize("cls", codec.PAIRS, ids=lambda cls: cls.__name__)
def test_a_value_that_travels_comes_back_as_it_was(cls):
    """For every pair of the table, through the bytes of the wire: to_value(to_message(v)) == v."""

    @given(values(cls))
    def law(value):
        sent = codec.to_message(value).SerializeToString()
        assert codec.to_value(codec.PAIRS[cls].FromString(sent)) == value

    law()


@pytest.mark.parametrize("cls", codec.PAIRS, ids=lambda cls: cls.__name__)
def test_every_field_is_carried_or_named_as_one_that_is_not(cls):
    """Neither side has a field that the codec forgot: what a message holds is in the value, and the other way round."""
    wire = set(codec.PAIRS[cls].DESCRIPTOR.fields_by_name)
    core = {field.name for field in dataclasses.fields(cls)}
    named = codec.NAMES.get(cls)
    made_of_name = named.fields if named else frozenset()
    assert wire - core == ({"name"} - core if named else set())
    assert core - wire == (made_of_name | set(codec.NOT_CARRIED.get(cls, ()))) - wire


def test_what_an_older_sender_leaves_out_is_the_default():
    """An absent message and an unspecified enum are the value's own default; an absent optional number is None."""
    assert codec.to_value(jobs_pb2.JobRequest()).resources == job.Resources()
    assert codec.to_value(jobs_pb2.JobRequest()).kind is job.JobKind.RAY
    assert codec.to_value(sites_pb2.Offer()) == site.Offer()
    assert codec.to_value(jobs_pb2.Job(name="jobs/j-1")).plan is None


def test_zero_is_told_apart_from_unknown():
    """A free CPU hour is not one of unknown price."""
    assert codec.to_value(codec.to_message(site.Offer(cpu_hour_micros=0))).cpu_hour_micros == 0


def test_an_enum_of_a_newer_sender_is_refused_by_name():
    """A number that this side does not know is never taken for a default."""
    with pytest.raises(errors.InvalidArgument, match="kind has no value number 99"):
        codec.to_value(catalog_pb2.Dataset(name="namespaces/a/datasets/b", kind=99))


def test_a_required_enum_that_is_missing_is_refused():
    """How an input is had has no default."""
    with pytest.raises(errors.InvalidArgument, match="InputPlan lacks way"):
        codec.to_value(jobs_pb2.InputPlan())


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_a_number_beyond_the_contract_is_an_error_with_its_field(value):
    """An integer that does not fit is our error, not a ValueError of protobuf."""
    with pytest.raises(errors.InvalidArgument) as caught:
        codec.to_message(job.InputSpec(alias="a", dataset="a/b", assumed_bytes=value))
    assert caught.value.reason == "VALUE_OUT_OF_RANGE"
    assert "assumed_bytes" in caught.value.violations


def test_the_innermost_field_that_cannot_be_sent_is_named():
    """Also where a value lies deep within another: messages are made all at once, and refused by name."""
    wanted = job.JobRequest(inputs=(job.InputSpec(alias="a", dataset="a/b"), job.InputSpec(alias="\ud800", dataset="a/b")))
    for value in (wanted, job.Job(job="j-1", request=wanted)):
        with pytest.raises(errors.InvalidArgument) as caught:
            codec.to_message(value)
        assert list(caught.value.violations) == ["alias"]


def test_text_that_is_not_unicode_is_an_error_with_its_field():
    """A lone surrogate, as a file name may hold one, cannot be sent."""
    with pytest.raises(errors.InvalidArgument) as caught:
        codec.to_message(dataset.Namespace(name="a", description="\ud800"))
    assert "description" in caught.value.violations


@pytest.mark.parametrize("name", ["", "sites/", "sites/A", "sites/../x", "jobs/eu-1", "sites/a/b"])
def test_a_foreign_or_empty_name_is_refused(name):
    """A resource's name is parsed by the grammar, also when it only travels."""
    with pytest.raises(errors.InvalidArgument, match="name"):
        codec.to_value(sites_pb2.Site(name=name))


@pytest.mark.parametrize("name", ["", "jobs/j-1", "jobs/j-1/runs/x", "jobs/j-1/runs/2/x", "runs/j-1/jobs/2"])
def test_a_run_is_named_by_job_and_attempt(name):
    """Only `jobs/J/runs/N` names a run."""
    with pytest.raises(errors.InvalidArgument, match="does not name a run"):
        codec.run_job(name)
