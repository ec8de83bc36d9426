"""Resource names: their grammar, how they are built and taken apart (AIP-122). Never looks anything up.

People write `sales/flights`; the contract writes `namespaces/sales/datasets/flights`. Both are the same dataset.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from federation.core import errors

#: One segment of a name: RFC 1034 label, lower case (AIP-122).
SEGMENT = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
#: A region is `provider:place`, as the provider itself writes the place.
REGION = re.compile(r"[a-z][a-z0-9-]{0,31}:[a-z0-9][a-z0-9-]{0,62}")
#: An input or output alias: a Python identifier, so that `inputs.flights` could be written.
ALIAS = re.compile(r"[a-z_][a-z0-9_]{0,62}")
#: What a submitter may call a job of theirs, as Ray's submission_id; and what they may call a package.
SUBMISSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
PACKAGE_ALIAS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
#: The parent of what all versions of all datasets have (AIP-159).
EVERY_VERSION = "namespaces/-/datasets/-/versions/-"
#: The namespace that stands for those which somebody may not know of. Nobody can make it.
HIDDEN = "redacted"
#: No path has these: what steers a screen, half of a pair, a backslash; what turns the direction of text around, so that a
#: path is shown as another than it is.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\\\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
#: A part that is empty, `.` or `..`.
_DOTS = re.compile(r"(?:^|/)\.{0,2}(?:/|\Z)")


class DatasetName(NamedTuple):
    """A dataset's two names in one value."""

    namespace: str
    dataset: str

    @property
    def short(self) -> str:
        """`sales/flights`."""
        return f"{self.namespace}/{self.dataset}"

    @property
    def resource(self) -> str:
        """`namespaces/sales/datasets/flights`."""
        return f"namespaces/{self.namespace}/datasets/{self.dataset}"

    def version(self, number: int) -> str:
        """`namespaces/sales/datasets/flights/versions/3`."""
        return f"{self.resource}/versions/{number}"


class VersionName(NamedTuple):
    """One version of a dataset."""

    dataset: DatasetName
    number: int

    @property
    def short(self) -> str:
        """`sales/flights@3`."""
        return f"{self.dataset.short}@{self.number}"

    @property
    def resource(self) -> str:
        return self.dataset.version(self.number)

    def replica(self, site: str) -> str:
        """`namespaces/sales/datasets/flights/versions/3/replicas/eu-1`."""
        return f"{self.resource}/replicas/{site}"


def segment(text: str, what: str) -> str:
    """`text` if it is a legal name segment; InvalidArgument with the grammar otherwise."""
    if not SEGMENT.fullmatch(text):
        raise errors.InvalidArgument(
            f"{what} {text!r} is not a legal name",
            reason="NAME_INVALID",
            help="Use 1 to 63 of a-z, 0-9 and '-', beginning with a letter and not ending with '-'.",
            violations={what: "must match [a-z]([a-z0-9-]{0,61}[a-z0-9])?"},
        )
    return text


def alias(text: str, what: str = "alias") -> str:
    """`text` if it can name an input or output of a job."""
    if not ALIAS.fullmatch(text):
        raise errors.InvalidArgument(
            f"{what} {text!r} is not a legal alias",
            reason="NAME_INVALID",
            help="Use a-z, 0-9 and '_', beginning with a letter.",
            violations={what: "must match [a-z_][a-z0-9_]{0,62}"},
        )
    return text


def region(text: str) -> str:
    """`text` if it is a region, `provider:place`."""
    if not REGION.fullmatch(text):
        raise errors.InvalidArgument(
            f"region {text!r} is not of the form provider:place",
            reason="NAME_INVALID",
            help="Write it as the provider does, for example aws:eu-central-1.",
            violations={"region": "must match provider:place"},
        )
    return text


@functools.lru_cache(4096)
def dataset(text: str) -> DatasetName:
    """Parses `sales/flights` or `namespaces/sales/datasets/flights`."""
    parts = text.split("/")
    if len(parts) == 2:
        return DatasetName(segment(parts[0], "namespace"), segment(parts[1], "dataset"))
    if len(parts) == 4 and parts[0] == "namespaces" and parts[2] == "datasets":
        return DatasetName(segment(parts[1], "namespace"), segment(parts[3], "dataset"))
    raise errors.InvalidArgument(
        f"{text!r} does not name a dataset",
        reason="NAME_INVALID",
        help="Write NAMESPACE/DATASET, for example sales/flights.",
        violations={"name": "must be NAMESPACE/DATASET"},
    )


def version(text: str) -> VersionName:
    """Parses `sales/flights@3` or `namespaces/sales/datasets/flights/versions/3`."""
    head, at, tail = text.rpartition("@")
    if not at:
        head, at, tail = text.rpartition("/versions/")
    if not at or not re.fullmatch(r"[1-9][0-9]{0,17}", tail):
        raise errors.InvalidArgument(
            f"{text!r} does not name a version",
            reason="NAME_INVALID",
            help="Write NAMESPACE/DATASET@NUMBER, for example sales/flights@3.",
            violations={"name": "must be NAMESPACE/DATASET@NUMBER"},
        )
    return VersionName(dataset(head), int(tail))


def dataset_or_version(text: str) -> tuple[DatasetName, int | None]:
    """Parses a dataset, or a dataset with a version; without one the number is None (the latest)."""
    if "@" in text or "/versions/" in text:
        name = version(text)
        return name.dataset, name.number
    return dataset(text), None


def child(text: str, collection: str) -> str:
    """The last segment of `collection/x`, also given as bare `x`: `child("sites/eu-1", "sites")` is `eu-1`."""
    head, slash, tail = text.rpartition("/")
    if slash and head != collection:
        raise errors.InvalidArgument(
            f"{text!r} does not name one of {collection}",
            reason="NAME_INVALID",
            help=f"Write {collection}/NAME or NAME.",
            violations={"name": f"must be {collection}/NAME"},
        )
    return segment(tail, collection)


def relative_path(text: str) -> str:
    """`text` if it is a safe path inside a dataset: relative, forward slashes, no `.` or `..`, nothing that steers a screen."""
    # No character has more than 4 bytes.
    long = len(text) > 256 and len(text.encode("utf-8", "surrogatepass")) > 1024
    if long or _DOTS.search(text) or _UNSAFE.search(text):
        raise errors.InvalidArgument(
            f"{text!r} is not a legal path inside a dataset",
            reason="PATH_INVALID",
            help="Use a relative path of at most 1024 bytes without '.', '..', backslashes or control characters.",
            violations={"path": "must be a safe relative path"},
        )
    return text
