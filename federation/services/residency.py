"""Residency where data is stored or used: refused, with the reason and a way out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from federation.core import errors, policy

#: A dataset (or site) by name, and what binds it.
Bound = tuple[str, tuple[str, ...]]
_JURISDICTION = re.compile(r"[A-Z][A-Z0-9-]{0,31}")


def jurisdiction(text: str, what: str = "jurisdiction") -> str:
    """`text` if it can name a jurisdiction; case counts, so that `eu` never silently denies everyone."""
    if not _JURISDICTION.fullmatch(text):
        raise errors.InvalidArgument(
            f"{what} {text!r} is not a jurisdiction",
            reason="NAME_INVALID",
            help="Use capital letters, digits and '-', for example EU or US.",
            violations={what: "must match [A-Z][A-Z0-9-]{0,31}"},
        )
    return text


def normal(residency: Iterable[str]) -> tuple[str, ...]:
    """Jurisdictions checked, each once, sorted."""
    return tuple(sorted({jurisdiction(text, "residency") for text in residency}))


def require_site(dataset: str, residency: tuple[str, ...], site: str, where: str) -> None:
    """PermissionDenied (RESIDENCY_DENIED) unless data of this residency may lie at a site in the jurisdiction `where`."""
    if policy.residency_allows(residency, where):
        return
    raise errors.PermissionDenied(
        f"{dataset} may be stored and used in {_listed(residency)} only, and site {site} is in {where}",
        reason="RESIDENCY_DENIED",
        help=f"Choose a site in {_listed(residency)}.",
        metadata={"dataset": dataset, "site": site, "jurisdiction": where, "residency": ",".join(residency)},
    )


def require_person(dataset: str, residency: tuple[str, ...], principal: policy.Principal) -> None:
    """PermissionDenied (RESIDENCY_DENIED) unless a person may take data of this residency home."""
    if policy.residency_allows(residency, principal.jurisdiction):
        return
    where = f"is in {principal.jurisdiction}" if principal.jurisdiction else "has no known jurisdiction"
    raise errors.PermissionDenied(
        f"{dataset} must not leave {_listed(residency)}, and {principal.name} {where}",
        reason="RESIDENCY_DENIED",
        help=f"Run a job beside it instead, or ask an administrator for a token with a jurisdiction in {_listed(residency)}.",
        metadata={"dataset": dataset, "jurisdiction": principal.jurisdiction, "residency": ",".join(residency)},
    )


def contradiction(told: str, culprits: Iterable[Bound]) -> errors.InvalidArgument:
    """The refusal of a job whose data no place may hold together."""
    return errors.InvalidArgument(
        f"no jurisdiction is allowed by all of the job's data: {told}",
        reason="RESIDENCY_CONTRADICTION",
        help="Aggregate one of them where it lies into a dataset of its own, or write to another output.",
        metadata={name: ",".join(residency) for name, residency in culprits},
    )


def _listed(residency: tuple[str, ...]) -> str:
    return ", ".join(residency)
