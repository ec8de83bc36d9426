"""What leaves through the people's port, put through what its caller may know of: every answer and every refusal, in one place.

What answers are made of is told by their descriptors and by three tables here: which texts name datasets, which name
namespaces, and what else is told of something hidden. A value that touches what is hidden keeps its numbers, times, sites and
states, for whoever waits for the same machines must see why; names in it become tokens, and words that people wrote beside
them are left out. Whoever asked for a job, a pipeline or a transfer has named all of it, and gets it as it is.
Texts in which people write what they like (descriptions, labels) are never searched for names: what was found missing there
would tell that it is.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from federation.api.store import Store
from federation.core import errors
from federation.core.ids import HIDDEN
from federation.core.policy import Principal
from federation.services.disclosure import Disclosure, foreign

#: Texts that name a dataset (`sales/flights`) or a version (`sales/flights@3`), by message and field.
DATASETS: dict[str, frozenset[str]] = {
    "Dataset": frozenset({"parts"}),
    "ExplainedCard": frozenset({"dataset", "made_of"}),
    "CardFact": frozenset({"source"}),
    "CollectedVersion": frozenset({"version"}),
    "InputSpec": frozenset({"dataset"}),
    "OutputSpec": frozenset({"dataset"}),
    "InputPlan": frozenset({"dataset"}),
    "Counterfactual": frozenset({"subject"}),
    "Run": frozenset({"outputs"}),
    "Transfer": frozenset({"dataset"}),
    "ReplicationRule": frozenset({"dataset"}),
    "Lease": frozenset({"dataset"}),
    "Erasure": frozenset({"dataset", "downstream", "downstream_models"}),
    "Escrow": frozenset({"dataset"}),
    "KeyUse": frozenset({"dataset"}),
    "Impact": frozenset({"others"}),
    "Reason": frozenset({"dataset"}),
    "ResidencyBinding": frozenset({"dataset"}),
    "ResidencyFact": frozenset({"dataset", "version"}),
    "PolicyFlip": frozenset({"dataset"}),
}
#: Texts that name a node of lineage, or a run.
NODES: dict[str, frozenset[str]] = {
    "LineageEdge": frozenset({"node"}),
    "NodeInfo": frozenset({"node"}),
    "LineageGraph": frozenset({"frontier"}),
    "Affected": frozenset({"node", "others"}),
    "Impact": frozenset({"frontier"}),
    "Sighting": frozenset({"model", "seen", "way"}),
    "Sightings": frozenset({"frontier"}),
}
#: Texts that name a namespace.
NAMESPACES: dict[str, frozenset[str]] = {
    "JobRequest": frozenset({"namespace"}),
    "PipelineRequest": frozenset({"namespace"}),
    "LedgerEntry": frozenset({"payer"}),
}
#: A dataset that is told in two fields, `namespace` and `dataset`.
PAIRS = frozenset({"LedgerEntry", "Usage"})
#: What is told as a whole: if anything in it is hidden, all its `WORDS` are left out.
ROWS = frozenset(
    {"Job", "Run", "Pipeline", "Transfer", "LineageEdge", "Sighting", "LedgerEntry", "Usage", "Affected", "CollectedVersion"}
)
#: What people wrote beside names, or what was made from it: commands and their variables, reasons in words, columns.
WORDS = frozenset(
    {
        *("entrypoint", "env", "runtime_env", "ingest_from", "working_dir", "detail", "notes", "left_out"),
        *("rule", "columns", "column_classes", "column_map", "purpose", "manifest_digest"),
    }
)
#: What concerns us by what it is, and not by a field.
ALWAYS = PAIRS | {"Run", "Event"}
#: What those get who watch.
WATCHED = "WatchResponse"
_PACKAGE = "federation.v1."


@dataclass(frozen=True)
class _Shape:
    """What a kind of message holds that concerns us: texts that name, texts to leave out, and messages that hold such."""

    name: str
    datasets: tuple[FieldDescriptor, ...]
    nodes: tuple[FieldDescriptor, ...]
    namespaces: tuple[FieldDescriptor, ...]
    inner: tuple[FieldDescriptor, ...]
    alias: bool

    @property
    def concerns(self) -> bool:
        return bool(self.datasets or self.nodes or self.namespaces or self.inner or self.name in ALWAYS)


@functools.cache
def _shape(descriptor: Any) -> _Shape:
    name = descriptor.full_name.removeprefix(_PACKAGE)
    fields = descriptor.fields_by_name
    inner = tuple(
        row
        for row in descriptor.fields
        if row.message_type is not None
        and not row.message_type.GetOptions().map_entry
        and row.message_type is not descriptor
        and _shape(row.message_type).concerns
    )

    def named(table: dict[str, frozenset[str]]) -> tuple[FieldDescriptor, ...]:
        return tuple(fields[each] for each in sorted(table.get(name, ())))

    return _Shape(name, named(DATASETS), named(NODES), named(NAMESPACES), inner, "alias" in fields)


def concerns(descriptor: Any) -> bool:
    """Whether messages of a kind can name a dataset or a namespace."""
    return _shape(descriptor).concerns


class Redaction:
    """Tells callers what they may know of, by one look at the catalog for each answer that names anything."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def answer(self, principal: Principal, message: Any, request: Any) -> Any:
        """The answer as its caller may have it: the same object, or a copy where it may have to be changed."""
        if not concerns(message.DESCRIPTOR) or not _names(message, principal):
            return message

        def look(tx: Any) -> Any:
            known, told = Disclosure(tx, self._store.ctx, principal), type(message)()
            told.CopyFrom(message)  # each time: a look may be begun anew, and what is told already must not be told once more
            if _shape(message.DESCRIPTOR).name == WATCHED:
                _tell_changes(told, known, by_namespace="namespace" in request.filter)
            _tell(told, known)
            return told

        return await self._store.read(look)

    async def refusal(self, principal: Principal, error: errors.FederationError, request: Message) -> errors.FederationError:
        """The refusal as its caller may have it. Names that they said stay: those are answered alike, there or not.

        What is sent as a stream (packages, bills) is refused for what it is, by nothing that the catalog knows.
        """
        if not isinstance(request, Message) or not foreign(error, said := str(request)):
            return error
        return await self._store.read(lambda tx: Disclosure(tx, self._store.ctx, principal).refusal(error, said))


def _own(message: Any, principal: Principal) -> bool:
    """Whether the caller asked for it."""
    asked = message.request if "request" in message.DESCRIPTOR.fields_by_name else message
    return _shape(message.DESCRIPTOR).name in {"Job", "Pipeline", "Transfer"} and asked.principal == principal.name


def _names(message: Any, principal: Principal) -> bool:
    """Whether anything in a message names a dataset or a namespace that its caller did not name."""
    shape = _shape(message.DESCRIPTOR)
    if _own(message, principal):
        return False
    if shape.name in ALWAYS or any(getattr(message, row.name) for row in (*shape.datasets, *shape.nodes, *shape.namespaces)):
        return True
    return any(_names(each, principal) for row in shape.inner for each in _each(message, row))


def _each(message: Any, row: FieldDescriptor) -> Iterable[Any]:
    if _repeated(row):
        found: Iterable[Any] = getattr(message, row.name)
        return found
    return (getattr(message, row.name),) if message.HasField(row.name) else ()


def _tell_changes(message: Any, known: Disclosure, *, by_namespace: bool) -> None:
    """Leaves out what happened to namespaces and budgets that the caller may not know of.

    And, where it was chosen by namespace, what happened to jobs that one of those pays for. Of datasets the feed has seen to.
    """

    def told(event: Any) -> bool:
        if event.type == "namespaces":
            return known.sees_namespace(event.name.rpartition("/")[2])
        if event.type == "budgets":
            return known.sees_budget(event.name)
        asked = {"jobs": event.job, "pipelines": event.pipeline}.get(event.type) if by_namespace else None
        return asked is None or known.told_namespace(asked.request.namespace) == asked.request.namespace

    kept = [event for event in message.events if told(event)]
    if len(kept) < len(message.events):
        del message.events[:]
        message.events.extend(kept)


def _tell(message: Any, known: Disclosure) -> bool:
    """Puts a message through what its caller may know of. Returns whether anything in it is hidden from them."""
    shape = _shape(message.DESCRIPTOR)
    if _own(message, known.principal):
        return False
    hidden = shape.name == "Run" and not known.sees_run(message.name)
    for table, told in ((shape.datasets, known.told), (shape.nodes, known.told_node)):
        for row in table:
            hidden |= _replace(message, row, told)
    for row in shape.namespaces:
        _replace(message, row, known.told_namespace)
    if shape.name in PAIRS:
        hidden |= _pair(message, known)
    if hidden and shape.alias:
        message.alias = HIDDEN
    for row in shape.inner:
        for each in _each(message, row):
            hidden |= _tell(each, known)
    if hidden and shape.name in ROWS:
        _leave_out(message)
    return hidden


def _replace(message: Any, row: FieldDescriptor, told: Any) -> bool:
    """Replaces the texts of a field. Returns whether any had to be."""
    if _repeated(row):
        texts = list(getattr(message, row.name))
        after = [told(text) for text in texts]
        if after == texts:
            return False
        getattr(message, row.name)[:] = after
        return True
    text = getattr(message, row.name)
    after = told(text) if text else text
    if after == text:
        return False
    setattr(message, row.name, after)
    return True


def _pair(message: Any, known: Disclosure) -> bool:
    short = f"{message.namespace}/{message.dataset}"
    if known.sees(short):
        return False
    if "payer" in message.DESCRIPTOR.fields_by_name and message.payer == message.namespace:
        message.payer = known.hidden_namespace(message.namespace)
    message.namespace, _, message.dataset = known.token(short).partition("/")
    return True


def _leave_out(message: Any) -> None:
    for row, value in message.ListFields():
        if row.name in WORDS:
            message.ClearField(row.name)
        elif row.message_type is not None and not row.message_type.GetOptions().map_entry:
            for each in value if _repeated(row) else (value,):
                _leave_out(each)


def _repeated(row: Any) -> bool:
    # Which of the two a release of protobuf has, differs.
    return bool(row.is_repeated) if hasattr(row, "is_repeated") else row.label == row.LABEL_REPEATED
