"""What is told of the log to those who watch, and the filter by which they choose."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.core import errors, records, watching
from federation.core.events import Event
from tests import builders

ROOT = Path(__file__).parents[3] / "federation"


def sight(kind: str, name: str, value: object) -> watching.Sight:
    """An event with that value as it is looked at."""
    body = records.dumps(value, telling=True)
    event = Event(position=7, time=builders.NOW, kind=kind, name=name, actor="users/ada", request_id="", body=body)
    found = watching.sight(event)
    assert found is not None
    return found


def nouns() -> Iterator[str]:
    """The first word of every kind of event that the code emits."""
    sources = (path.read_text() for path in ROOT.rglob("*.py") if "v1" not in path.parts)
    for source in sources:
        for node in ast.walk(ast.parse(source)) if ".emit" in source else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("emit", "emit_rows"):
                kind = node.args[0] if node.args else None
                start = kind.values[0] if isinstance(kind, ast.JoinedStr) else kind
                if isinstance(start, ast.Constant) and isinstance(start.value, str) and "." in start.value:
                    yield start.value.partition(".")[0]


def test_every_kind_of_event_is_told_or_said_not_to_be() -> None:
    """What is new in the log is told to nobody until somebody has thought of it; here they are made to."""
    emitted = set(nouns())
    assert len(emitted) > 20, "the search still finds them"
    assert emitted <= set(watching.TOLD) | set(watching.UNTOLD), "name it in core/watching.py"
    assert not set(watching.TOLD) & set(watching.UNTOLD)


def test_what_nobody_has_thought_of_is_told_to_nobody() -> None:
    """A kind of a newer release, for one."""
    assert watching.told("secret.made") is None
    assert watching.told("policy.decided") is None


def test_a_value_that_cannot_be_read_is_told_by_its_name_alone() -> None:
    """A newer release wrote it, with a state that this one does not know."""
    job = builders.job()
    one = sight("job.succeeded", "jobs/j-1", job)
    newer = Event(**{**vars(one.event), "body": one.event.body.replace('"PENDING"', '"DREAMING"')})
    found = watching.sight(newer)
    assert found is not None
    assert (found.change.name, found.change.value) == ("jobs/j-1", None)
    assert one.change.value == job
    assert not found.hidden


def test_what_cannot_be_read_is_hidden_where_only_its_value_says_of_which_dataset_it_is() -> None:
    """A transfer says in its body which dataset moves: unread, nobody can tell who may know of it."""
    event = Event(position=1, time=builders.NOW, kind="transfer.x", name="transfers/t", actor="", request_id="", body="{}")
    found = watching.sight(event)
    assert found is not None
    assert found.hidden


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ('type = "versions"', True),
        ('type = "jobs"', False),
        ('type = "jobs" OR type = "versions"', True),
        ('within = "namespaces/sales"', True),
        ('within : "namespaces/sales/datasets/flights"', True),
        ('within = "namespaces/hr"', False),
        ('name = "namespaces/sales"', False),
        ('namespace = "sales" AND type = "versions"', True),
        ('namespace = "hr" AND type = "versions" OR type = "jobs"', False),
        ('dataset = "sales/flights" AND NOT kind = "version.erased"', True),
        ('kind = "version.erased"', False),
    ],
)
def test_a_filter_chooses_by_type_name_kind_namespace_and_dataset(text: str, matches: bool) -> None:
    """OR binds tighter than AND, as AIP-160 has it; `within` is a resource and all below it."""
    version = builders.version("sales/flights@3")
    one = sight("version.committed", version.name.resource, version)
    assert watching.parse(text).matches(one) is matches


@pytest.mark.parametrize("text", ["x", 'size = "1"', 'type = "tokens"', 'name = "a" AND', 'name = "a'])
def test_a_filter_that_cannot_be_read_is_refused_with_the_fields_there_are(text: str) -> None:
    """And so is a type that nobody is told of."""
    with pytest.raises(errors.InvalidArgument) as caught:
        watching.parse(text)
    assert caught.value.reason == "FILTER_INVALID"
    assert "namespace" in caught.value.help


def test_an_events_job_tells_no_values_of_variables() -> None:
    """They may be secrets; the log never had them."""
    job = builders.job(request_=builders.request(env=(("KEY", "hunter2"),)))
    change = sight("job.created", "jobs/j-1", job).change
    assert "hunter2" not in repr(change)


@pytest.mark.parametrize(
    ("text", "names", "types"),
    [
        ("", set(), set()),
        ('name = "jobs/a"', {"jobs/a"}, set()),
        ('name = "jobs/a" OR name = "jobs/b" AND type = "jobs"', {"jobs/a", "jobs/b"}, {"jobs"}),
        ('name = "jobs/a" OR kind = "job.created"', set(), set()),
        ('NOT name = "jobs/a"', set(), set()),
        ('within = "jobs/a"', set(), set()),
    ],
)
def test_what_a_filter_insists_on_is_known(text: str, names: set[str], types: set[str]) -> None:
    """By the names a server finds those whom an event concerns; types that are named need a permission."""
    found = watching.parse(text)
    assert (found.names, found.types) == (names, types)
