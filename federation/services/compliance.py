"""Compliance reports, made from the record's tables through the engine, and from the log's tail where they do not reach yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from federation import ports
from federation.core import chain, compliance, dataset, errors, ids, lineage, records, trail
from federation.core.authorization import Action
from federation.core.compliance import Report, Scope
from federation.core.events import ABOUT_HEADS, AUDIT, TABLES
from federation.services import witness
from federation.services.compliance_facts import Facts, Row

#: The actions whose decisions let data be read.
_READING = frozenset(map(str, (Action.RUN, Action.EXPORT, Action.RELEASE_KEY)))
#: Kinds that tell of the daily course, and not that somebody changed what holds. What is new is told until it is put here.
_COURSE = (
    *("job.", "run.", "pipeline.", "grant.", "lease.", "transfer.", "replica.", "version.", "placement.", "labels."),
    *("output.", "erasure.", "record.", "head.", "site.lost", "policy.decided", "policy.failed", "policy.unseen", "call."),
)
#: What agents tell that is an administrative act.
_AGENTS_ACTS = ("keys.", "escrow.", "site.joined", "site.certified")


def scope(from_time: datetime, to_time: datetime, dataset_: str = "", namespace: str = "") -> Scope:
    """What a report is about, checked; InvalidArgument (TIME_INVALID) for a time that ends before it begins."""
    if from_time >= to_time:
        raise errors.InvalidArgument(
            f"the time from {from_time:%Y-%m-%d %H:%M} to {to_time:%Y-%m-%d %H:%M} holds nothing",
            reason="TIME_INVALID",
            help="Name a --from that is before --to.",
            violations={"to_time": "must be after from_time"},
        )
    name = ids.dataset(dataset_).short if dataset_ else ""
    room = ids.segment(namespace, "namespace") if namespace else ""
    return Scope(from_time=from_time, to_time=to_time, dataset=name, namespace=room)


def dumps(report: Report) -> bytes:
    """A report as JSON, always the same for the same report."""
    return (records.dumps(report) + "\n").encode()


def report(
    about: Scope,
    catalog: ports.Catalog,
    engine: ports.RecordEngine | None,
    reader: ports.RecordReader | None,
    *,
    kept: Iterable[chain.SignedHead] = (),
    keys: Iterable[str] = (),
) -> Report:
    """The report of a time. Tables are verified through `reader`, by heads that were `kept` and that `keys` have signed."""
    return _Making(about, Facts(about, catalog, engine)).report(_proofs(reader, tuple(kept), tuple(keys)))


def _proofs(
    reader: ports.RecordReader | None, kept: tuple[chain.SignedHead, ...], keys: tuple[str, ...]
) -> tuple[compliance.TableProof, ...]:
    """How far each table is proven; nothing where there are none to read."""
    return () if reader is None else tuple(_proof(reader, table, kept, keys) for table in TABLES)


def _proof(
    reader: ports.RecordReader, table: str, kept: tuple[chain.SignedHead, ...], keys: tuple[str, ...]
) -> compliance.TableProof:
    *_, found = witness.verify(reader, table, kept, keys)
    step = found.verification
    return compliance.TableProof(
        table=table,
        rows=step.rows,
        last_position=step.last_position,
        proven_position=step.proven_position,
        witnessed_position=found.witnessed_position,
        heads=step.heads,
        witnesses=tuple(count.site for count in found.witnesses),
        findings=tuple(f"{wrong.reason}: {wrong.detail}" for wrong in step.findings),
    )


class _Making:
    """One report in the making."""

    def __init__(self, about: Scope, facts: Facts) -> None:
        self._about = about
        self._facts = facts
        #: Job, or person, and dataset -> what let them read it.
        self._allowed: dict[tuple[str, str], list[compliance.Decided]] = defaultdict(list)
        #: Run, or grant, and version -> its leases of keys.
        self._leased: dict[tuple[str, str], list[compliance.LeaseUse]] = defaultdict(list)

    def report(self, tables: tuple[compliance.TableProof, ...]) -> Report:
        """The whole report, section by section."""
        about, facts = self._about, self._facts
        self._remember()
        decisions = tuple(each for each in self._decided(facts.of("policy.decided")) if about.has(each.dataset))
        uses, refusals, models = self._uses(), tuple(self._refusals()), tuple(self._models())
        named = {use.dataset for use in uses} | {model.model for model in models}
        named |= {lineage.dataset_of(source.node) for model in models for source in model.sources}
        named |= {each.dataset for each in refusals} | {each.dataset for each in decisions}
        return Report(
            from_time=about.from_time,
            to_time=about.to_time,
            dataset=about.dataset,
            namespace=about.namespace,
            completeness=self._completeness(tables),
            uses=uses,
            refusals=refusals,
            decisions=decisions,
            policy_sets=_policy_sets(decisions, refusals),
            leases=tuple(each for each in _leases(facts.of("lease.granted")) if about.has(each.dataset)),
            egress=self._egress(),
            transfers=self._transfers(),
            loosened=tuple(self._loosened()),
            erasures=tuple(self._erasures()),
            datasets=tuple(facts.described[name] for name in sorted(named & facts.described.keys())),
            models=models,
            questions=tuple(self._questions()),
            changes=tuple(self._changes()),
        )

    def _remember(self) -> None:
        """Looks up which decisions and leases uses in the report's time rest on."""
        facts, jobs = self._facts, {row["job"] for row in self._facts.entries}
        for told in (facts.before("policy.decided", jobs), facts.of("policy.decided")):
            for each in self._decided(told):
                if each.action in _READING:
                    self._allowed[each.job or each.principal, each.dataset].append(each)
        for told in (facts.before("lease.granted", jobs), facts.of("lease.granted")):
            for lease in _leases(told):
                self._leased[lease.run or lease.grant, f"{lease.dataset}@{lease.version}"].append(lease)

    # What was used

    def _uses(self) -> tuple[compliance.Use, ...]:
        """What was read under grants, and what lineage tells of runs beyond that."""
        grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self._facts.entries:
            if not row["transfer"]:
                grouped[row["grant"], f"{row['namespace']}/{row['dataset']}@{row['version']}"].append(row)
        edges = {
            (edge["run"], edge["node"]): edge
            for edge in self._facts.edges
            if edge["direction"] == "in" and self._about.from_time <= edge["time"] and lineage.dataset_of(edge["node"])
        }
        found = []
        for (_, node), rows in grouped.items():
            read = next((row for row in rows if not row["corrects"]), None)
            if read is not None:  # else it was read before, and is corrected now
                found.append(self._read(node, read, rows, edges.pop((read["run"], node), {})))
        found += [self._used(edge) for edge in edges.values()]
        chosen = (use for use in found if self._about.has(use.dataset))
        return tuple(sorted(chosen, key=lambda use: (use.time, use.dataset, use.version, use.run, use.grant)))

    def _read(self, node: str, read: Row, rows: list[Row], edge: Row) -> compliance.Use:
        """What the ledger tells of one grant, with its corrections."""
        run = self._facts.runs.get(read["run"], {})
        return self._use(
            node,
            time=read["time"],
            kind=run.get("kind", "") if read["run"] else "PERSON",
            principal=read["principal"],
            job=read["job"],
            run=read["run"],
            grant=read["grant"],
            state=run.get("state", ""),
            site=read["destination_site"] or read["source_site"],
            source_region=read["source_region"],
            destination_region=read["destination_region"],
            net_bytes=sum(row["bytes"] for row in rows),
            net_micros=sum(row["charge_micros"] for row in rows),
            columns=tuple(edge.get("columns") or ()),
        )

    def _used(self, edge: Row) -> compliance.Use:
        """What lineage tells of an input that the ledger does not have in this time."""
        run = self._facts.runs.get(edge["run"], {})
        return self._use(
            edge["node"],
            time=edge["time"],
            kind=run.get("kind", ""),
            principal=run.get("principal", ""),
            job=run.get("job", ""),
            run=edge["run"],
            state=run.get("state", ""),
            site=run.get("site", ""),
            source_region=edge["source_region"],
            destination_region=edge["destination_region"],
            net_bytes=edge["bytes"],
            net_micros=edge["charge_micros"] or 0,
            columns=tuple(edge["columns"] or ()),
        )

    def _use(self, node: str, **told: Any) -> compliance.Use:
        """A use with its purpose, and with the decisions and leases that it rests on."""
        name, _, number = node.rpartition("@")
        rests = [each for each in self._allowed[told["job"] or told["principal"], name] if each.time <= told["time"]]
        leases = self._leased[told["run"] or told["grant"], node]
        purpose = self._facts.purpose(told["job"]) or next((each.purpose for each in reversed(rests) if each.purpose), "")
        return compliance.Use(
            **told,
            dataset=name,
            version=int(number),
            purpose=purpose,
            decisions=tuple(each.position for each in rests),
            policies=tuple(sorted({policy for each in rests for policy in each.policies})),
            policy_digest=rests[-1].policy_digest if rests else "",
            leases=tuple(each.lease for each in leases),
        )

    # What was decided

    @staticmethod
    def _decided(rows: Iterable[tuple[trail.AuditRow, Mapping[str, Any]]]) -> Iterator[compliance.Decided]:
        for row, body in rows:
            if row.outcome is trail.Outcome.ALLOWED:
                yield compliance.Decided(
                    position=row.position,
                    time=row.time,
                    principal=_who(row),
                    action=trail.text(body, "action"),
                    dataset=row.dataset,
                    site=row.site,
                    purpose=trail.text(body, "purpose"),
                    job=trail.text(body, "job").removeprefix("jobs/"),
                    policies=trail.texts(body, "policies"),
                    because=trail.text(body, "because"),
                    control=trail.text(body, "control"),
                    policy_digest=trail.text(body, "digest"),
                )

    def _refusals(self) -> Iterator[compliance.Refusal]:
        """What was refused by the policy, at a lease, at a call, by a witness; and jobs that no site may run."""
        for row in self._facts.rows:
            if row.outcome is trail.Outcome.REFUSED and self._concerns(row):
                body = self._facts.bodies[row.position]
                counted = body.get("counts")
                yield from _counted(row, counted) if isinstance(counted, list) else (_refusal(row, body),)

    def _concerns(self, row: trail.AuditRow) -> bool:
        return self._about.has(row.dataset) if row.dataset else self._about.whole

    # What left

    def _egress(self) -> tuple[compliance.Egress, ...]:
        sums: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
        for row in self._facts.entries:
            name = f"{row['namespace']}/{row['dataset']}"
            if self._about.has(name) and row["source_region"] != row["destination_region"]:
                sums[name, row["source_region"], row["destination_region"]].append(row)
        return tuple(
            compliance.Egress(
                dataset=name,
                source_region=source,
                destination_region=destination,
                net_bytes=sum(row["bytes"] for row in rows),
                net_micros=sum(row["charge_micros"] for row in rows),
                reads=sum(not row["corrects"] for row in rows),
            )
            for (name, source, destination), rows in sorted(sums.items())
        )

    def _transfers(self) -> tuple[compliance.Movement, ...]:
        grouped: dict[str, list[Row]] = defaultdict(list)
        for row in self._facts.entries:
            if row["transfer"] and self._about.has(f"{row['namespace']}/{row['dataset']}"):
                grouped[row["transfer"]].append(row)
        return tuple(
            compliance.Movement(
                time=rows[0]["time"],
                dataset=f"{rows[0]['namespace']}/{rows[0]['dataset']}",
                version=rows[0]["version"],
                transfer=name,
                principal=rows[0]["principal"],
                source_site=rows[0]["source_site"],
                source_region=rows[0]["source_region"],
                destination_site=rows[0]["destination_site"],
                destination_region=rows[0]["destination_region"],
                net_bytes=sum(row["bytes"] for row in rows),
                net_micros=sum(row["charge_micros"] for row in rows),
            )
            for name, rows in sorted(grouped.items())
        )

    # What was loosened, erased, asked and changed

    def _loosened(self) -> Iterator[compliance.Loosened]:
        for row in self._facts.rows:
            if row.kind in ("output.released", "dataset.declassified") and self._about.has(row.dataset):
                yield compliance.Loosened(
                    position=row.position,
                    time=row.time,
                    kind=row.kind,
                    dataset=row.dataset,
                    principal=_who(row),
                    detail=_loosened(row.kind, self._facts.bodies[row.position]),
                )

    def _erasures(self) -> Iterator[compliance.Erased]:
        for row in self._facts.rows:
            if not row.kind.startswith("erasure."):
                continue
            body, name = self._facts.bodies[row.position], row.resource.removeprefix("erasures/")
            of, version = self._facts.erasures.get(name, (row.dataset, trail.number(body, "version")))
            if self._about.has(of):
                yield compliance.Erased(
                    position=row.position,
                    time=row.time,
                    kind=row.kind,
                    erasure=name,
                    dataset=of,
                    version=version,
                    principal=row.actor,
                    reason=trail.text(body, "reason"),
                    certificate=trail.text(body, "certificate_digest"),
                )

    def _questions(self) -> Iterator[compliance.Question]:
        for row, body in self._facts.of(trail.QUERIED_KIND) if self._about.whole else ():
            yield compliance.Question(
                position=row.position,
                time=row.time,
                principal=row.actor,
                method=trail.text(body, "method"),
                text=trail.text(body, "text"),
            )

    def _changes(self) -> Iterator[compliance.Change]:
        for row in self._facts.rows:
            if row.outcome is trail.Outcome.DONE and _is_act(row) and self._concerns(row):
                yield compliance.Change(
                    position=row.position, time=row.time, kind=row.kind, resource=row.resource, principal=row.actor
                )

    # What models saw

    def _models(self) -> Iterator[compliance.ModelMade]:
        """Versions of models that runs made in the time of the report, with all that they saw, through however many runs."""
        facts = self._facts
        for edge in facts.edges:
            name = lineage.dataset_of(edge["node"])
            described = facts.described.get(name)
            made_now = edge["direction"] == "out" and edge["time"] >= self._about.from_time
            if not made_now or described is None or described.kind != str(dataset.DatasetKind.MODEL):
                continue
            direct, every = facts.upstream(edge["run"])
            sources = tuple(
                compliance.ModelSource(node=node, direct=node in direct, card=facts.card(node))
                for node in sorted(every)
                if lineage.node_kind(node) is not lineage.NodeKind.PERSON
            )
            if not any(map(self._about.has, (name, *(lineage.dataset_of(each.node) for each in sources)))):
                continue
            run = facts.runs.get(edge["run"], {})
            yield compliance.ModelMade(
                model=name,
                version=int(edge["node"].rpartition("@")[2]),
                run=edge["run"],
                principal=run.get("principal", ""),
                time=edge["time"],
                purpose=facts.purpose(run.get("job", "")),
                sources=sources,
                known_bias=_notes(sources, lambda card: (card.known_bias,) if card.known_bias else ()),
                sensitive_columns=_notes(sources, lambda card: card.sensitive_columns),
            )

    def _completeness(self, tables: tuple[compliance.TableProof, ...]) -> compliance.Completeness:
        positions = [row.position for row in self._facts.rows]
        stored = [row for row in self._facts.rows if row.position <= self._facts.seam]
        proven = next((table.proven_position for table in tables if table.table == AUDIT), 0)
        return compliance.Completeness(
            first_position=min(positions, default=0),
            last_position=max(positions, default=0),
            entries=len(positions),
            proven_entries=sum(row.position <= proven or row.kind in ABOUT_HEADS for row in stored),
            log_positions=len(positions) - len(stored),
            verified=bool(tables),
            intact=bool(tables) and not any(table.findings for table in tables),
            tables=tables,
        )


def _refusal(row: trail.AuditRow, body: Mapping[str, Any]) -> compliance.Refusal:
    """One refusal, whatever kind of event tells it. Of a job it is its submitter who is refused."""
    asked = trail.inner(body, "request")
    return compliance.Refusal(
        position=row.position,
        time=row.time,
        source=row.kind,
        principal=trail.text(asked, "principal") or _who(row),
        action=trail.text(body, "action") or trail.text(body, "method") or trail.text(body, "use"),
        dataset=row.dataset,
        site=row.site,
        purpose=trail.text(body, "purpose") or trail.text(asked, "purpose"),
        job=trail.text(body, "job").removeprefix("jobs/"),
        reason=trail.text(body, "reason") or ("POLICY_DENIED" if row.kind == "policy.decided" else ""),
        detail=trail.text(body, "detail") or trail.text(body, "because"),
        policies=trail.texts(body, "policies"),
        control=trail.text(body, "control"),
        policy_digest=trail.text(body, "digest"),
    )


def _counted(row: trail.AuditRow, counts: Iterable[Any]) -> Iterator[compliance.Refusal]:
    """Refusals that were counted for a minute: pairs of who, and how often; with a reason between, where there are several."""
    for each in counts:
        if isinstance(each, list) and len(each) >= 2:
            who, *reason, times = each
            yield compliance.Refusal(
                position=row.position,
                time=row.time,
                source=row.kind,
                principal=str(who),
                times=times if isinstance(times, int) else 1,
                action="call" if reason else "browse",
                reason=str(reason[0]) if reason else "NOT_FOUND",
                detail="" if reason else "asked for what is not there, or what they may not know of",
            )


def _leases(rows: Iterable[tuple[trail.AuditRow, Mapping[str, Any]]]) -> Iterator[compliance.LeaseUse]:
    for row, body in rows:
        yield compliance.LeaseUse(
            position=row.position,
            time=row.time,
            lease=trail.text(body, "lease"),
            principal=_who(row),
            dataset=row.dataset,
            version=trail.number(body, "version"),
            site=row.site,
            reader_site=trail.text(body, "reader_site"),
            run=trail.text(body, "run"),
            grant=trail.text(body, "grant"),
            use=trail.text(body, "use"),
        )


def _loosened(kind: str, body: Mapping[str, Any]) -> str:
    """What was let go, in words."""
    if kind == "output.released":
        made = f"{trail.text(body, 'version')}, {trail.number(body, 'bytes'):,} bytes made by {trail.text(body, 'run')}"
        return f"{made} of {', '.join(trail.texts(body, 'inputs'))}"
    before, after = trail.inner(body, "before"), trail.inner(body, "after")
    names = (name for name in sorted(before) if before[name] != after.get(name))
    changed = (f"{name} from {_value(before[name])} to {_value(after.get(name))}" for name in names)
    return f"{'; '.join(changed)}: {trail.text(body, 'reason')}"


def _value(item: Any) -> str:
    return ", ".join(map(str, item)) or "any" if isinstance(item, list) else str(item)


def _is_act(row: trail.AuditRow) -> bool:
    """Whether an entry tells that somebody changed what holds: persons, the server by itself, or an agent with its keys."""
    if row.kind.startswith(_COURSE):
        return row.kind.startswith("transfer.c") and row.actor.startswith("users/")
    return not row.actor.startswith("agents/") or row.kind.startswith(_AGENTS_ACTS)


def _notes(sources: Iterable[compliance.ModelSource], told: Callable[[dataset.DataCard], tuple[str, ...]]) -> tuple[str, ...]:
    """What cards tell, each with whose card it is, once for each dataset."""
    return tuple(sorted({f"{lineage.dataset_of(each.node)}: {text}" for each in sources for text in told(each.card)}))


def _policy_sets(
    decisions: Iterable[compliance.Decided], refusals: Iterable[compliance.Refusal]
) -> tuple[compliance.PolicySet, ...]:
    allowed: dict[str, int] = defaultdict(int)
    refused: dict[str, int] = defaultdict(int)
    for decision in decisions:
        allowed[decision.policy_digest] += 1
    for refusal in refusals:
        refused[refusal.policy_digest] += 1
    return tuple(
        compliance.PolicySet(policy_digest=digest, allowed=allowed[digest], refused=refused[digest])
        for digest in sorted(allowed.keys() | refused.keys() - {""})
        if digest
    )


def _who(row: trail.AuditRow) -> str:
    return row.subject or row.actor
