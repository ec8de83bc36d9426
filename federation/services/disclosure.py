"""What a caller may know of: the one place that says whether a name is told, is told as an opaque token, or is not told at all.

Whether a dataset may be known is the policy's word (`authorization.may_browse`). A namespace may be, where one of its datasets
may be, where it has none, or where one that is yet to be made in it may be. What is not there is hidden like what is, so that a
token tells nobody that something is. A token is made of the name with a key of the catalog's: it stays the same, for
everybody, and nobody can find out by guessing which name it stands for.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any

from federation import ports
from federation.core import budget, dataset, errors, ids, job, lineage
from federation.core.policy import Principal
from federation.services import authorization, scan
from federation.services.context import Context

#: The namespace that tokens of datasets are in; nobody can make it.
HIDDEN = ids.HIDDEN
_DOMAIN = b"fed/hidden-name/v1"
#: How help writes a name: there may be a dataset of that name, and it tells nothing of it.
_EXAMPLE = re.compile(r"for example \S+")
_SEGMENT = re.compile(r"[a-z0-9-]+")
_SHORT = re.compile(r"([a-z][a-z0-9-]*)/([a-z][a-z0-9-]*)(@[0-9]+)?")
#: Each pair of segments in a text, also those that overlap: `sales/flights`, `fed://sales/flights/a`, `sites/eu-1/keyUses/…`.
_PAIRS = re.compile(r"(?<![a-z0-9-])(?=((?:namespaces/)?([a-z][a-z0-9-]*)(?:/datasets)?/([a-z][a-z0-9-]*)))")


class Disclosure:
    """What one caller may know of, in one look at the catalog: each name is asked about once."""

    def __init__(self, tx: ports.Transaction, ctx: Context, principal: Principal) -> None:
        self._tx = tx
        self._ctx = ctx
        self.principal = principal
        self._datasets: dict[str, bool] = {}
        self._namespaces: dict[str, bool] = {}

    # What may be known

    def sees(self, short: str) -> bool:
        """Whether they may know of a dataset (`sales/flights`)."""
        if short not in self._datasets:
            self._datasets[short] = self._may(short)
        return self._datasets[short]

    def _may(self, short: str) -> bool:
        stored = self._tx.get(dataset.Dataset, short)
        namespace, _, name = short.partition("/")
        asked = stored or dataset.Dataset(namespace=namespace, dataset=name)
        return authorization.may_browse(self._tx, self._ctx, self.principal, asked)

    def sees_namespace(self, name: str) -> bool:
        """Whether they may know of a namespace."""
        if name not in self._namespaces:
            # One that is yet to be made in it: its owners, and who may look at everything, are found without looking further.
            self._namespaces[name] = self._may(f"{name}/-") or self._any(name)
        return self._namespaces[name]

    def _any(self, name: str) -> bool:
        """Whether one of a namespace's datasets may be known, or there is none; not where the namespace itself is not there."""
        if self._tx.get(dataset.Namespace, name) is None:
            return False
        empty = True
        for stored in scan.every(self._tx, dataset.Dataset, parent=name):
            empty = False
            if authorization.may_browse(self._tx, self._ctx, self.principal, stored):
                return True
        return empty

    def sees_job(self, request: job.JobRequest) -> bool:
        """Whether they may know of everything that a job reads or writes. Whoever asked for it has named all of it."""
        if request.principal == self.principal.name:
            return True
        names = [*(spec.dataset for spec in request.inputs), *(spec.dataset for spec in request.outputs)]
        return all(self.sees(ids.dataset(name).short) for name in names if name)

    def sees_run(self, name: str) -> bool:
        """As `sees_job`, of a run's full name; True for a run of no job of ours."""
        found = self._tx.get(job.Job, name.split("/")[1]) if name.startswith("jobs/") else None
        return found is None or self.sees_job(found.request)

    def sees_scope(self, scope: str) -> bool:
        """Whether they may know of what a budget is of."""
        kind, _, rest = scope.partition("/")
        if kind == "datasets":
            return self.sees(rest)
        return self.sees_namespace(rest) if kind == "namespaces" else scope == budget.ALL or kind == "links"

    def sees_budget(self, name: str) -> bool:
        """As `sees_scope`, by a budget's name; a deleted budget cannot say any more what it was of, so nobody sees it."""
        found = self._tx.get(budget.Budget, ids.child(name, "budgets"))
        return found is not None and self.sees_scope(found.scope)

    def sees_everything(self) -> bool:
        """Whether nothing is hidden from them: whoever is shown what cannot be cut must be shown all of it."""
        return all(self.sees(stored.name.short) for stored in scan.every(self._tx, dataset.Dataset))

    # What is told of it

    def told(self, text: str) -> str:
        """The name of a dataset or version, or its token where that is hidden. A text that names neither stays as it is."""
        parts = _SHORT.fullmatch(text)
        if parts is None or self.sees(f"{parts[1]}/{parts[2]}"):
            return text
        return self.token(f"{parts[1]}/{parts[2]}") + (parts[3] or "")

    def told_node(self, text: str) -> str:
        """A node of lineage, or a run, as it is told: only versions are hidden."""
        return self.told(text) if lineage.dataset_of(text) else text

    def told_namespace(self, text: str) -> str:
        """A namespace as it is told."""
        return text if not text or self.sees_namespace(text) else self.hidden_namespace(text)

    def hidden_namespace(self, name: str) -> str:
        """The token that stands for a hidden namespace."""
        return self._name(name, "n")

    def token(self, short: str) -> str:
        """The token that stands for a hidden dataset."""
        return f"{HIDDEN}/{self._name(short, 'd')}"

    def _name(self, text: str, kind: str) -> str:
        digest = hmac.digest(self._ctx.grant_key, b"\0".join((_DOMAIN, kind.encode(), text.encode())), hashlib.sha256)
        return f"{kind}-{digest.hex()[:16]}"

    def refusal(self, error: errors.FederationError, said: str) -> errors.FederationError:
        """An error without names that its caller may not know of, but for those that they `said` themselves.

        Only what is there is looked for, and it came from the catalog: what callers say is answered alike, there or not.
        """
        there = [(text, short) for text, short in foreign(error, said) if self._tx.get(dataset.Dataset, short) is not None]
        hidden = {text: self.token(short) for text, short in there if not self.sees(short)}
        if not hidden:
            return error
        return error.retold(lambda words: _replaced(words, hidden))


def foreign(error: errors.FederationError, said: str) -> list[tuple[str, str]]:
    """What may be names of datasets in an error, as written and short, without those that the caller `said`."""
    told = "\n".join((error.message, error.help, *error.metadata.values(), *error.violations.values()))
    names = {(found[1], f"{found[2]}/{found[3]}") for found in _PAIRS.finditer(_EXAMPLE.sub("", told))}
    words = set(_SEGMENT.findall(said))
    return sorted((text, short) for text, short in names if not words.issuperset(short.split("/")))


def _replaced(words: str, hidden: dict[str, str]) -> str:
    for text in sorted(hidden, key=len, reverse=True):
        words = re.sub(rf"(?<![a-z0-9-]){re.escape(text)}(?![a-z0-9])", hidden[text], words)
    return words


def seen(
    ctx: Context, principal: Principal, name: Callable[[Any], str]
) -> Callable[[ports.Transaction], Callable[[Any], bool]]:
    """For listings: which values are kept, those whose dataset the caller may know of."""

    def keeping(tx: ports.Transaction) -> Callable[[Any], bool]:
        known = Disclosure(tx, ctx, principal)
        return lambda value: known.sees(name(value))

    return keeping


def require_everything(tx: ports.Transaction, ctx: Context, principal: Principal, what: str) -> None:
    """PermissionDenied (NOT_EVERYTHING_SEEN) for somebody from whom something is hidden and who asks for what is told whole."""
    if not Disclosure(tx, ctx, principal).sees_everything():
        raise not_everything(principal, what)


def not_everything(principal: Principal, what: str) -> errors.PermissionDenied:
    """The refusal of an answer that cannot be shown in part."""
    return errors.PermissionDenied(
        f"{what} is told whole or not at all, and it names datasets that {principal.name} may not know of",
        reason="NOT_EVERYTHING_SEEN",
        help="Ask somebody who may look at every dataset: an auditor, as the policies are shipped.",
    )


def require_namespace(tx: ports.Transaction, ctx: Context, principal: Principal, name: str) -> dataset.Namespace:
    """One namespace; NotFound, in the same words, where it is not there or they may not know that it is."""
    key = ids.child(name, "namespaces")
    found = tx.get(dataset.Namespace, key)
    if not Disclosure(tx, ctx, principal).sees_namespace(key) or found is None:
        raise authorization.namespace_absent(key)
    return found
