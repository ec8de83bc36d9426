"""Connectors are found by kind, and a kind that cannot be had says what to do."""

from __future__ import annotations

import sys

import pytest

from connectors.keys.local import LocalKeys
from connectors.storage.local import LocalSource, LocalStore
from connectors.storage.s3 import S3Source, S3Store
from federation.adapters import registry
from federation.core import errors


def test_each_kind_loads_its_class():
    """The entry points of this distribution lead to its connectors."""
    assert registry.load("storage", "local") is LocalStore
    assert registry.load("storage", "s3") is S3Store
    assert registry.load("sources", "file") is LocalSource
    assert registry.load("sources", "s3") is S3Source
    assert registry.load("keys", "local") is LocalKeys


def test_an_unknown_kind_lists_the_known_ones():
    """A typing error is answered with what there is."""
    with pytest.raises(errors.InvalidArgument, match="local, s3") as caught:
        registry.load("storage", "floppy")
    assert caught.value.reason == "KIND_UNKNOWN"


def test_a_missing_extra_says_what_to_install(monkeypatch):
    """Without s3fs, the S3 store names the command that brings it."""
    monkeypatch.delitem(sys.modules, "connectors.storage.s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(errors.FailedPrecondition) as caught:
        registry.load("storage", "s3")
    assert caught.value.reason == "EXTRA_MISSING"
    assert "pip install 'dataset-federation[s3]'" in caught.value.help
    assert caught.value.metadata["module"] == "s3fs"
