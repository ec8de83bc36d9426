"""No answer to anything that looks tells of a dataset that its caller may not know of: no name, no word of it, no identifier.

The catalog here has one dataset that `user` may not know of, and everything that a catalog can have is about it. Each method
that changes nothing is asked, from the contract's own descriptors, for everything that there is, and every byte of every answer
and refusal is searched. An administrator is asked the same, so that it shows which methods there was something to hide in.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_status import rpc_status

from federation import frames
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import UlidIds
from federation.api import redaction
from federation.core import (
    bill,
    budget,
    columns,
    dataset,
    erasure,
    errors,
    job,
    keys,
    lineage,
    metering,
    pipeline,
    profile,
    quota,
    transfer,
)
from federation.core.policy import Principal, Role
from federation.services import lineage as lineage_facts
from federation.v1 import catalog_pb2, costs_pb2, events_pb2, lineage_pb2
from federation.wire import methods
from tests import builders, prepared
from tests.attacks.messages import with_text
from tests.wire import edge as edges
from tests.wire.test_lists import erased, lease, ledger_entry

#: What stands for the hidden dataset and for nothing else: its names, what it is made of, what people wrote about it.
WORDS = ("titan", "merger", "uid-secret", "synergy", "acquisition", "lehman")
HIDDEN, OPEN, MADE = "titan/merger", "sales/flights", "sales/report"
JOB = "j-00000000000000000000000001"
RUN = f"jobs/{JOB}/runs/1"
NAMES = (
    *(
        HIDDEN,
        f"{HIDDEN}@1",
        "namespaces/titan",
        f"{OPEN}@1",
        MADE,
        f"{MADE}@1",
        "namespaces/-",
        "namespaces/-/datasets/-/versions/-",
        "jobs/-",
        JOB,
        RUN,
        "puts/a-9",
    ),
    *("p-1", "t-1", "everywhere", "cap", "e-1", "e-2", "k-1", "o-1", "aws-1-2026-11", "eu-1", "2026-11", "users/root"),
)
FILTERS = (
    *('namespace = "titan"', 'dataset = "merger"', f'dataset = "{HIDDEN}"', 'payer = "titan"', f'version = "{HIDDEN}@1"'),
    *('rule = "everywhere"', f'job = "{JOB}"', 'destination_site = "us-1"', 'site = "eu-1"', 'month = "2026-11"'),
)
KEYS = ("dataset", "namespace", "payer", "namespace,dataset,payer", "input", "label", "job")
#: What is put into a field of text; `NAMES` into all others.
TEXTS = {"filter": FILTERS, "by": KEYS, "sql": ("SELECT * FROM audit",), "page_token": ("AAAA",), "continuation": ("AAAA",)}
#: Methods that change nothing.
READS = [row for row in methods.TABLE.values() if row.service in methods.PEOPLE and not row.request_stream]
READS = [row for row in READS if "validate_only" not in row.request.DESCRIPTOR.fields_by_name and row.permission != "public"]
#: Those of them that tell an administrator something of the hidden dataset.
TELLING = {
    *("Catalog.GetNamespace", "Catalog.ListNamespaces", "Catalog.SummarizeUsage", "Catalog.GetDataset", "Catalog.ListDatasets"),
    *("Catalog.GetVersion", "Catalog.ListVersions", "Catalog.ListReplicas", "Jobs.GetJob", "Jobs.ListJobs"),
    *("Jobs.GetRun", "Jobs.ListRuns", "Pipelines.GetPipeline", "Pipelines.ListPipelines", "Transfers.GetTransfer"),
    *("Transfers.ListTransfers", "Transfers.GetReplicationRule", "Transfers.ListReplicationRules", "Costs.ListLedgerEntries"),
    *("Costs.ListUsage", "Costs.SummarizeCosts", "Costs.SummarizeVariances", "Costs.ExportLedger", "Budgets.GetBudget"),
    *("Budgets.ListBudgets", "Leases.ListLeases", "Erasures.GetErasure", "Erasures.ListErasures", "Lineage.GetLineage"),
    *("Lineage.FindModels", "Lineage.ExplainErasure", "Lineage.ExplainResidency", "Keys.ListKeyUses", "Keys.GetEscrow"),
    *("Events.Watch", "Catalog.SearchDatasets", "Keys.ListEscrows", "Sites.ExportWorld", "Erasures.GetDeletionCertificate"),
    "Audit.ListAuditEntries",
}


@pytest.fixture(scope="module")
def hiding(certs: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[edges.Edge]:
    """A catalog full of what concerns the hidden dataset."""
    url = prepared.sqlite(tmp_path_factory.mktemp("disclosure") / "catalog.db")
    started = edges.start(certs, SqlCatalog(url, edges.clock(), UlidIds()))
    edges.populate(started)
    started.catalog.write(_fill, actor="users/root")
    yield started
    started.stop()


def _fill(tx: Any) -> None:
    made = tx.insert(builders.namespace("titan", owner="users/root", description="acquisition"))
    tx.emit("namespace.created", "namespaces/titan", made)
    secret = builders.dataset(
        HIDDEN, owner="users/root", uid="uid-secret", description="acquisition", readers=(), residency=("EU",)
    )
    tx.insert(dataclasses.replace(secret, latest_version=1, labels=(("bank", "lehman"),)))
    model = builders.dataset(MADE, kind=dataset.DatasetKind.MODEL, readers=("groups/everyone",), latest_version=2)
    tx.insert(dataclasses.replace(model, parts=(HIDDEN,)))
    opened = tx.get(dataset.Dataset, OPEN)
    tx.replace(dataclasses.replace(opened, readers=("groups/everyone",), latest_version=1))
    for name in (f"{HIDDEN}@1", f"{OPEN}@1", f"{MADE}@1", f"{MADE}@2"):
        tx.insert(builders.version(name, columns=(("synergy", "int64"),) if name.startswith(HIDDEN) else ()))
        tx.insert(builders.replica(name, "eu-1", uid="uid-secret-1" if name.startswith(HIDDEN) else "u-1"))
    _jobs(tx)
    _costs(tx)
    _custody(tx)
    inherited = (lineage.Binding(dataset=HIDDEN, residency=("EU",)),)
    told = {"residency": ("EU",), "by": f"jobs/{JOB}", "time": tx.now}
    for number, cause in enumerate((lineage.Cause.INHERITED, lineage.Cause.RELEASED), 1):
        tx.insert(lineage.ResidencyFact(dataset=MADE, number=number, cause=cause, inputs=inherited, **told))


def _jobs(tx: Any) -> None:
    asked = builders.request(
        (f"merger={HIDDEN}", f"flights={OPEN}"),
        (f"report={MADE}",),
        principal="users/root",
        namespace="titan",
        entrypoint=("train.py", "--of=lehman"),
        env=(("TARGET", "synergy"),),
        runtime_env='{"env_vars": {"BANK": "lehman"}}',
        purpose="acquisition",
    )
    sources = (lineage.ColumnSource(column="total", source="merger.synergy"),)
    one = dataclasses.replace(asked.outputs[0], column_map=sources, column_classes=columns.parse(["lehman=synergy"]))
    asked = dataclasses.replace(asked, outputs=(one,))
    ways = (
        builders.input_plan("merger", dataset=HIDDEN, version=1),
        builders.input_plan("flights", dataset=OPEN, version=1),
    )
    missing = job.Counterfactual(site="us-1", change="REPLICA_THERE", subject=f"{HIDDEN}@1", saving_micros=1, detail="synergy")
    plan = builders.plan(
        builders.candidate(inputs=ways),
        rejections=(job.Rejection(site="us-1", reason="RESIDENCY_DENIED", detail=f"{HIDDEN} must stay in EU"),),
        notes=(f"{HIDDEN} was never read before",),
        counterfactuals=(missing,),
        attempts=(job.PastAttempt(attempt=1, site="us-1", reason="FAILED", detail="no synergy.parquet"),),
    )
    done = job.JobState.SUCCEEDED
    ran = builders.run(1, state=done, detail="no synergy.parquet", outputs=(f"{MADE}@1", f"{HIDDEN}@1"))
    ran = dataclasses.replace(ran, start_time=tx.now, end_time=tx.now)
    of = builders.job(JOB, asked, state=done, detail="lehman", plan=plan, run=RUN, attempt=1, end_time=tx.now)
    tx.emit("job.succeeded", f"jobs/{JOB}", tx.insert(dataclasses.replace(of, create_time=tx.now)))
    tx.emit("run.succeeded", RUN, tx.insert(ran))
    waiting = dataclasses.replace(asked, label="waits")
    tx.insert(builders.job("j-00000000000000000000000002", waiting, state=job.JobState.PENDING, create_time=tx.now))
    tx.insert(profile.JobProfile(namespace="titan", label="train"))
    tasks = (pipeline.TaskSpec(task="train", request=asked),)
    flow = pipeline.PipelineRequest(label="nightly", namespace="titan", tasks=tasks, principal="users/root")
    decided = pipeline.PipelinePlan(revision=1, decide_time=tx.now, notes=("synergy",))
    tx.insert(
        pipeline.Pipeline(
            pipeline="p-1", request=flow, plan=decided, state=pipeline.PipelineState.FAILED, detail="lehman", end_time=tx.now
        )
    )
    fact = lineage.RunFact(
        run=RUN,
        job=JOB,
        attempt=1,
        label="train",
        kind="RAY",
        site="eu-1",
        region="aws:eu-central-1",
        principal="users/root",
        state="SUCCEEDED",
        reason="",
        start_time=tx.now,
        end_time=tx.now,
    )
    lineage_facts.keep_fact(tx, fact)
    lineage_facts.keep_fact(tx, dataclasses.replace(fact, run="puts/a-9", kind="PUT", job=""))
    for run, direction, alias, node in (
        (RUN, "in", "merger", f"{HIDDEN}@1"),
        (RUN, "in", "flights", f"{OPEN}@1"),
        (RUN, "out", "report", f"{MADE}@1"),
        ("puts/a-9", "out", "data", f"{HIDDEN}@1"),
        ("puts/a-9", "in", "person", "users/root"),
    ):
        edge = lineage.Edge(
            run=run,
            direction=direction,
            alias=alias,
            node=node,
            manifest_digest="",
            site="eu-1",
            source_region="",
            destination_region="",
            bytes=1,
            time=tx.now,
            columns=("synergy",) if node.startswith(HIDDEN) else (),
        )
        lineage_facts.keep_edge(tx, edge)


def _costs(tx: Any) -> None:
    about = {"namespace": "titan", "dataset": "merger", "alias": "merger", "run": RUN, "job": JOB}
    for number, payer in enumerate(("titan", "sales")):
        entry = dataclasses.replace(ledger_entry(f"l-{number}"), **about, payer=payer, time=tx.now)
        tx.insert(entry)
        tx.emit("ledger.entry", f"ledgerEntries/{entry.entry}", entry)
    usage = metering.UsageRecord(
        **{field.name: "" if field.type == "str" else 0 for field in dataclasses.fields(metering.UsageRecord)}
        | about
        | {"grant": "a-1", "hour_time": tx.now, "counter": metering.Counter.READER}
    )
    tx.insert(usage)
    for name, scope in (("cap", f"datasets/{HIDDEN}"), ("lehman", "namespaces/titan")):
        tx.emit("budget.created", f"budgets/{name}", tx.insert(budget.Budget(budget=name, scope=scope, limit_micros=1)))
    tx.insert(quota.NamespaceUsage(namespace="titan", month=metering.month(tx.now)))
    tx.insert(bill.Bill(bill="aws-1-2026-11", provider="aws", account="1", month="2026-11"))


def _custody(tx: Any) -> None:
    tx.insert(
        transfer.Transfer(
            transfer="t-1",
            dataset=HIDDEN,
            version=1,
            source_site="eu-1",
            destination_site="us-1",
            rule="everywhere",
            detail="no synergy.parquet",
            principal="users/root",
            state=transfer.TransferState.FAILED,
            end_time=tx.now,
        )
    )
    tx.insert(transfer.ReplicationRule(rule="everywhere", dataset=HIDDEN, principal="users/root", role="ADMIN"))
    tx.insert(dataclasses.replace(lease("1" * 32), dataset=HIDDEN, dataset_uid="uid-secret"))
    gone = dataclasses.replace(erased("e-1", 0), dataset=HIDDEN, dataset_uid="uid-secret", reason="acquisition")
    tx.insert(gone)
    below = dataclasses.replace(erased("e-2", 1), dataset=MADE, downstream=(f"{HIDDEN}@1",), downstream_models=(f"{HIDDEN}@1",))
    tx.insert(below)
    for each in ("e-1", "e-2"):
        tx.insert(erasure.StoredCertificate(erasure=each, text=f"{HIDDEN} is gone"))
    tx.insert(builders.wrapped_key("eu-1", dataset_uid="uid-secret"))
    tx.insert(keys.Escrow(escrow="k-1", site="eu-1", threshold=2, custodians=(), dataset=HIDDEN))


#: Where more than one field must be set to get far.
FURTHER: dict[str, list[Message]] = {
    "Costs.SummarizeCosts": [
        costs_pb2.SummarizeCostsRequest(by=by, filter=where)
        for where in ('namespace = "titan"', 'payer = "titan"', 'payer = "sales"', f'job = "{JOB}"')
        for by in KEYS[:4]
    ],
    "Costs.SummarizeVariances": [
        costs_pb2.SummarizeVariancesRequest(by="input", filter=where)
        for where in ("", 'dataset = "merger"', 'namespace = "titan"')
    ],
    "Costs.ListLedgerEntries": [costs_pb2.ListLedgerEntriesRequest(page_size=1)],
    "Catalog.ListNamespaces": [catalog_pb2.ListNamespacesRequest(page_size=1)],
    "Catalog.ListDatasets": [catalog_pb2.ListDatasetsRequest(parent="namespaces/-", page_size=1)],
    "Events.Watch": [
        events_pb2.WatchRequest(start_revision=1, until_now=True, filter=where, names_only=names_only)
        for where in ("", 'namespace = "titan"', 'type = "budgets"', f'name = "jobs/{JOB}"')
        for names_only in (False, True)
    ],
    "Lineage.GetLineage": [lineage_pb2.GetLineageRequest(name=MADE, depth=depth, edges_max=1) for depth in (1, 10)],
}


def requests(row: methods.Method) -> Iterator[Message]:
    """Requests that ask for everything that there is."""
    if row.key == "Events.Watch":  # an empty one has no end
        yield from FURTHER[row.key]
        return
    yield row.request()
    for text in dict.fromkeys((*NAMES, *FILTERS, *KEYS, *(text for texts in TEXTS.values() for text in texts))):
        for path, request in with_text(row.request, text):
            if text in TEXTS.get(path.rpartition(".")[2], NAMES):
                yield request
    yield from FURTHER.get(row.key, ())


class Teller:
    """Asks as somebody, and reads every byte of what it is told."""

    def __init__(self, edge: edges.Edge, who: str, channel: grpc.Channel) -> None:
        self._bearer = (("authorization", f"Bearer {edge.tokens[who]}"),)
        self._channel = channel

    def told(self, row: methods.Method, requests: Iterable[Message]) -> Iterator[tuple[Message, str]]:
        """Each request with its answer; so many are under way at once, since what is not there is told on a grid of time."""
        function = getattr(self._channel, row.shape)(
            row.path, request_serializer=row.request.SerializeToString, response_deserializer=row.response.FromString
        )
        begin = function if row.response_stream else function.future
        rest = iter(requests)
        while some := list(itertools.islice(rest, 32)):
            begun = [(request, begin(request, timeout=60, metadata=self._bearer)) for request in some]
            for request, call in begun:
                yield request, self._heard(row, call)

    def _heard(self, row: methods.Method, call: Any) -> str:
        try:
            return "".join(map(_text, call if row.response_stream else [call.result()]))
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            details = (detail.value.decode("utf-8", "replace") for detail in status.details) if status else ()
            return "\n".join((error.details() or "", *details))


def _text(answer: Any) -> str:
    """All that a message holds, packed entries and page tokens too."""
    told = str(answer) + answer.SerializeToString().decode("utf-8", "replace")
    if isinstance(answer, costs_pb2.ExportLedgerResponse):
        told += str(frames.unpack(metering.LedgerEntry, answer.entries).to_pylist())
    token = getattr(answer, "next_page_token", "")
    return told + (base64.urlsafe_b64decode(token).decode("utf-8", "replace") if token else "")


@pytest.mark.invariant("P4")
def test_nothing_that_is_told_tells_of_a_hidden_dataset(hiding: edges.Edge):
    """Every method that looks, asked for everything, by somebody for whom it is hidden; but for words that they said."""
    telling: set[str] = set()
    with hiding.channel("user", agents=False) as one, hiding.channel("admin", agents=False) as other:
        user, admin = Teller(hiding, "user", one), Teller(hiding, "admin", other)
        for row in READS:
            for request, told in user.told(row, requests(row)):
                asked = str(request)
                foreign = [word for word in WORDS if word not in asked]
                assert not [word for word in foreign if word in told], f"{row.key} {asked}: {told}"
                if row.key not in telling:
                    ((_, whole),) = admin.told(row, [request])
                    telling.update({row.key} if any(word in whole for word in foreign) else ())
    assert telling == TELLING


def test_what_is_told_of_a_hidden_one_is_the_same_each_time(hiding: edges.Edge):
    """A token: one for a dataset wherever it is named, also in lineage and in sums; numbers and states stay."""
    user = hiding.client("user")
    seen = user.get_job(JOB)
    (token,) = {spec.dataset for spec in seen.request.inputs if spec.dataset != OPEN}
    assert token.startswith("redacted/d-")
    assert [spec.alias for spec in seen.request.inputs] == ["redacted", "flights"]
    assert (seen.state, seen.run, seen.request.entrypoint, seen.request.env) == (job.JobState.SUCCEEDED, RUN, (), ())
    assert user.get_transfer("t-1").dataset == token
    assert user.get_transfer("t-1").destination_site == "us-1"
    graph = user.get_lineage(f"{MADE}@1")
    assert {edge.node for edge in graph.edges} >= {f"{token}@1", f"{OPEN}@1", f"{MADE}@1"}
    assert user.get_dataset(MADE).parts == (token,)
    rows, total = user.summarize_costs("dataset")
    assert [row.key for row in rows] == [token]
    assert sum(row.entries for row in rows) == total.entries == 2
    assert {f"{row.namespace}/{row.dataset}" for row in user.export_ledger()} == {token}
    user.close()


class Again:
    """A store whose every look is begun anew once, as one may be when something changes meanwhile."""

    def __init__(self, edge: edges.Edge) -> None:
        self.ctx = edge.ctx
        self._catalog = edge.catalog

    async def read(self, work: Any) -> Any:
        self._catalog.read(work)
        return self._catalog.read(work)


def test_a_look_that_is_begun_anew_tells_the_same(hiding: edges.Edge):
    """A token is not taken for a name that has to be hidden in its turn."""
    told = []
    for store in (hiding.server._store, Again(hiding)):
        message = catalog_pb2.Dataset(name=f"namespaces/sales/datasets/{OPEN}", parts=[HIDDEN])
        answer = redaction.Redaction(store).answer(Principal(name="users/user", role=Role.USER), message, None)
        told.append(hiding.run(answer).parts[0])
        assert message.parts == [HIDDEN], "what may be shared with others stays as it is"
    assert told[0] == told[1] != HIDDEN
    assert told[0].startswith("redacted/d-")


def test_whoever_asked_for_it_gets_it_as_it_is(hiding: edges.Edge):
    """The submitter named all of it; an administrator may look at everything."""
    admin = hiding.client("admin")
    assert admin.get_job(JOB).request.inputs[0].dataset == HIDDEN
    assert admin.get_job(JOB).request.entrypoint == ("train.py", "--of=lehman")
    admin.close()


@pytest.mark.invariant("P4")
def test_a_filter_tells_nothing_that_its_rows_do_not(hiding: edges.Edge):
    """Asked for by a hidden dataset, by its namespace or by its rule, there is nothing, as for what is not there."""
    user = hiding.client("user")
    assert list(user.list_usage(filter='dataset = "merger"')) == []
    for where in ('dataset = "merger"', 'namespace = "titan"', 'namespace = "titan" AND dataset = "merger"'):
        assert list(user.list_ledger_entries(filter=where)) == []
        rows, total = user.summarize_costs("month", filter=where)
        assert (list(rows), total.entries) == ([], 0)
    assert len(list(user.list_ledger_entries())) == 2
    for where in (f'dataset = "{HIDDEN}"', 'rule = "everywhere"', 'version = "1"'):
        assert list(user.list_transfers(filter=where)) == []
    assert len(list(user.list_transfers())) == 1
    user.close()


def test_what_cannot_be_cut_is_told_to_those_who_may_see_all_of_it(hiding: edges.Edge):
    """What a job prints, a signed certificate; each refusal has its reason."""
    user = hiding.client("user")
    for act, reason in (
        (lambda: user.open_logs(JOB), "LOGS_HIDDEN"),
        (lambda: user.get_deletion_certificate("erasures/e-2"), "NOT_EVERYTHING_SEEN"),
    ):
        with pytest.raises(errors.PermissionDenied) as refused:
            act()
        assert refused.value.reason == reason
    user.close()


#: Texts named like those that name data, which do not, or which are of what was seen to be visible before: why.
ELSEWHERE = {
    "LineageGraph.root": "what was asked for, which the caller was seen to know of",
    "Impact.root": "as above",
    "Sightings.root": "as above",
    "Why.root": "as above",
    "NamespaceUsage.namespace": "rows of hidden ones are left out",
    "LedgerEntry.namespace": "told together with `dataset`",
    "LedgerEntry.dataset": "told together with `namespace`",
    "Usage.namespace": "told together with `dataset`",
    "Usage.dataset": "told together with `namespace`",
    "AuditEntry.dataset": "for those alone from whom nothing is hidden",
    "AuditEntry.subject": "a person, or as above",
    "Version.source": "where it was ingested from, told with the version to those who may know of it",
    "ColumnSource.source": "columns, which are left out of what is hidden",
    "Bill.source": "a provider's file",
    "GpuOffer.source": "of a price",
}


def test_each_text_that_is_named_like_one_that_names_data_is_looked_at():
    """A field `dataset`, `node` or `version` that is new in some answer fails here until it is said what becomes of it."""
    tables = (redaction.DATASETS, redaction.NODES, redaction.NAMESPACES)
    named = {name for table in tables for names in table.values() for name in names}
    named |= {"dataset", "datasets", "namespace", "namespaces", "version", "versions", "node", "nodes", "root"}
    unknown: set[str] = set()
    seen: set[str] = set()

    def walk(descriptor: Any) -> None:
        name = descriptor.full_name.removeprefix("federation.v1.")
        if name in seen or name.startswith("google."):
            return
        seen.add(name)
        told = {each for table in tables for each in table.get(name, ())}
        for row in descriptor.fields:
            if row.message_type is not None:
                walk(row.message_type)
            elif row.type == row.TYPE_STRING and row.name in named - told:
                unknown.add(f"{name}.{row.name}")

    for row in methods.TABLE.values():
        if row.service in methods.PEOPLE:
            walk(row.response.DESCRIPTOR)
    assert unknown == set(ELSEWHERE)
    assert {name for table in tables for name in table} <= seen, "a table names a message that no answer has"
