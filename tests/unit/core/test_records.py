"""Values to JSON and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import dataset, grants, job, kinds, metering, records, site

CLASSES = (*kinds.KINDS, job.Plan, dataset.Manifest, grants.Grant, metering.Usage)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_value_survives_being_stored(cls: type):
    """What comes back from JSON equals what went in, for generated values of every kind."""

    @given(value=st.builds(cls))
    def holds(value: object) -> None:
        assert records.loads(cls, records.dumps(value)) == value

    with_utc = st.datetimes(timezones=st.just(UTC))
    st.register_type_strategy(datetime, with_utc)
    st.register_type_strategy(float, st.floats(0, 1))
    holds()


def test_the_same_value_always_gives_the_same_text():
    """Canonical: what is signed and hashed does not depend on the order of fields in a file."""
    when = datetime(2026, 11, 22, 12, tzinfo=UTC)
    usage = metering.Usage(grant="g-1", source_site="eu-1", sent_bytes=1, settle_time=when)
    assert records.dumps(usage) == (
        '{"grant":"g-1","requests":0,"sent_bytes":1,"settle_time":"2026-11-22T12:00:00Z","source_site":"eu-1","traffic":[],'
        '"unsettled_bytes":0}'
    )


def test_a_field_that_is_newer_than_the_text_takes_its_default():
    """Adding a field needs no migration; a field that is gone is passed over."""
    assert records.loads(site.SiteLoad, '{"site":"eu-1","colour":"blue"}') == site.SiteLoad(site="eu-1")


def test_a_text_that_lacks_a_field_without_default_is_refused():
    """Nothing is made that its class would not make."""
    with pytest.raises(TypeError, match="site"):
        records.loads(site.SiteLoad, '{"cpus":2}')


def test_a_class_that_checks_itself_is_made_by_itself_alone():
    """What is loaded is as sound as what is made."""
    made = [cls for cls in CLASSES if not records.makes_itself(cls)]
    assert site.Site in made
    assert not [cls for cls in made if hasattr(cls, "__post_init__")]


def test_a_value_of_the_wrong_kind_is_refused():
    """No silent coercion from text to number."""
    with pytest.raises(TypeError):
        records.loads(site.SiteLoad, '{"site":"eu-1","cpus":"2"}')
