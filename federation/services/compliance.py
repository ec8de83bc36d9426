"""Compliance reports, made from the record's tables through the engine, and from the log's tail where they do not reach yet."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from federation import frames, ports
from federation.core import chain, compliance, dataset, errors, ids, lineage, metering, records, trail
from federation.core.compliance import Report, Scope
from federation.core.events import AUDIT, TABLE_OF_KIND, TABLES
from federation.services import trail as trails
from federation.services import witness
from federation.services.seam import seam

#: Kinds of event whose words say something else than that a resource was changed.
_TOLD_ELSEWHERE = ("policy.", "lease.", "record.", "head.", "job.", "run.", "grant.", "transfer.", "placement.", "replica.")
_CLASSES: Mapping[str, tuple[str, type]] = {
    "ledger.entry": ("egress_ledger", metering.LedgerEntry),
    "lineage.run": ("lineage_runs", lineage.RunFact),
    "lineage.edge": ("lineage_edges", lineage.Edge),
}


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
    return Scope(
        from_time=from_time, to_time=to_time, dataset=name, namespace=ids.segment(namespace, "namespace") if namespace else ""
    )


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
    return _Making(about, catalog, engine).report(proofs(reader, tuple(kept), tuple(keys)))


def proofs(
    reader: ports.RecordReader | None, kept: tuple[chain.SignedHead, ...], keys: tuple[str, ...]
) -> tuple[compliance.TableProof, ...]:
    """How far each table is proven; nothing where there are none to read."""
    if reader is None:
        return ()
    made = []
    for table in TABLES:
        *_, found = witness.verify(reader, table, kept, keys)
        step = found.verification
        made.append(
            compliance.TableProof(
                table=table,
                rows=step.rows,
                last_position=step.last_position,
                proven_position=step.proven_position,
                witnessed_position=found.witnessed_position,
                heads=step.heads,
                witnesses=tuple(count.site for count in found.witnesses),
                findings=tuple(f"{wrong.reason}: {wrong.detail}" for wrong in step.findings),
            )
        )
    return tuple(made)


class _Making:
    """One report in the making."""

    def __init__(self, about: Scope, catalog: ports.Catalog, engine: ports.RecordEngine | None) -> None:
        self._about = about
        self._catalog = catalog
        self._engine = engine
        within = trail.Selection(from_time=about.from_time, to_time=about.to_time)
        self._rows = tuple(trails.every(catalog, engine, within))
        self._bodies = {row.position: _body(row) for row in self._rows}
        self._seam = seam(catalog, engine, AUDIT, without=tuple(TABLE_OF_KIND))
        self._described = self._descriptions()
        self._purposes = self._jobs()
        self._allowed: dict[tuple[str, str], list[compliance.Decided]] = defaultdict(list)
        self._leased: dict[tuple[str, str, int], list[str]] = defaultdict(list)

    def report(self, tables: tuple[compliance.TableProof, ...]) -> Report:
        """All of it, section by section."""
        about = self._about
        decisions = tuple(self._decisions())
        for each in decisions:
            self._allowed[each.job or each.principal, each.dataset].append(each)
        leases = tuple(self._leases())
        for lease in leases:
            self._leased[lease.run or lease.principal, lease.dataset, lease.version].append(lease.lease)
        entries = tuple(self._facts("ledger.entry", "time", about.from_time))
        edges = tuple(self._facts("lineage.edge", "time", None))
        runs = {row["run"]: row for row in self._facts("lineage.run", "end_time", None)}
        uses = self._uses(entries, edges, runs)
        models = tuple(self._models(edges, runs))
        refusals = tuple(self._refusals())
        named = {use.dataset for use in uses} | {model.model for model in models}
        named |= {lineage.dataset_of(source.node) for model in models for source in model.sources}
        named |= {each.dataset for each in (*refusals, *decisions)}
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
            leases=leases,
            egress=self._egress(entries),
            transfers=self._transfers(entries),
            loosened=tuple(self._loosened()),
            erasures=tuple(self._erasures()),
            datasets=tuple(self._described[name] for name in sorted(named & self._described.keys())),
            models=models,
            questions=tuple(self._questions()),
            changes=tuple(self._changes()),
        )

    # What is read

    def _descriptions(self) -> dict[str, compliance.Described]:
        """Datasets as they were when the time of the report ended."""
        found = {}
        for row in self._until("dataset.*"):
            try:
                told = records.loads(dataset.Dataset, row.body)
            except (TypeError, ValueError, KeyError):
                continue  # it tells something else of a dataset
            found[told.name.short] = compliance.Described(
                dataset=told.name.short,
                kind=str(told.kind),
                owner=told.owner,
                classification=str(told.classification),
                residency=told.residency,
                purposes=told.purposes,
                card=told.card,
                deleted=told.delete_time is not None,
                position=row.position,
            )
        return found

    def _jobs(self) -> dict[str, str]:
        """The purpose of each job that there was."""
        found = {}
        for row in self._until("job.created"):
            body = _body(row)
            request = body.get("request")
            if isinstance(request, dict):
                found[str(body.get("job", ""))] = str(request.get("purpose", ""))
        return found

    def _until(self, kind: str) -> Iterator[trail.AuditRow]:
        return trails.every(self._catalog, self._engine, trail.Selection(kind=kind, to_time=self._about.to_time))

    def _facts(self, kind: str, time: str, begin: datetime | None) -> Iterator[Mapping[str, Any]]:
        """Rows of a table and of the log after it, in order, whose time is before the report's end and not before `begin`."""
        table, cls = _CLASSES[kind]
        upto = seam(self._catalog, self._engine, table, kinds=(kind,))
        names = [field.name for field in fields(cls) if field.name not in ("column_map",)]
        end = self._about.to_time
        if self._engine is not None and upto:
            parts = [f"position <= {upto}", f"\"{time}\" < TIMESTAMP '{end:%Y-%m-%d %H:%M:%S.%f}Z'"]
            if begin is not None:
                parts.append(f"\"{time}\" >= TIMESTAMP '{begin:%Y-%m-%d %H:%M:%S.%f}Z'")
            columns = ", ".join(f'"{name}"' for name in names)
            sql = f"SELECT {columns} FROM {table} WHERE {' AND '.join(parts)} ORDER BY position"  # noqa: S608 - our own names
            try:
                yield from self._engine.query(sql).to_pylist()
            except errors.NotFound:
                pass
        after = upto
        while events := self._catalog.events(after, kinds=(kind,)):
            for event in events:
                values = frames.values(cls, frames.unpack(cls, event.data)) if event.data else (records.loads(cls, event.body),)
                for value in values:
                    if getattr(value, time) < end and (begin is None or getattr(value, time) >= begin):
                        yield {name: getattr(value, name) for name in names}
            after = events[-1].position

    # What is told

    def _uses(
        self, entries: Iterable[Mapping[str, Any]], edges: Iterable[Mapping[str, Any]], runs: Mapping[str, Mapping[str, Any]]
    ) -> tuple[compliance.Use, ...]:
        """What was read under grants, and what lineage tells of runs beyond that."""
        grouped: dict[tuple[str, str, int], list[Mapping[str, Any]]] = defaultdict(list)
        for row in entries:
            if not row["transfer"]:
                grouped[row["grant"], f"{row['namespace']}/{row['dataset']}", row["version"]].append(row)
        read = {
            (edge["run"], edge["node"]): edge
            for edge in edges
            if edge["direction"] == "in" and self._about.from_time <= _utc(edge["time"])
        }
        found = []
        for (grant, name, version), rows in grouped.items():
            first = rows[0]
            edge = read.pop((first["run"], f"{name}@{version}"), None)
            run = runs.get(first["run"], {})
            found.append(
                self._use(
                    time=_utc(first["time"]),
                    dataset=name,
                    version=version,
                    kind=run.get("kind", "") if first["run"] else "PERSON",
                    principal=first["principal"],
                    job=first["job"],
                    run=first["run"],
                    grant=grant,
                    state=run.get("state", ""),
                    site=first["destination_site"] or first["source_site"],
                    source_region=first["source_region"],
                    destination_region=first["destination_region"],
                    net_bytes=sum(row["bytes"] for row in rows),
                    net_micros=sum(row["charge_micros"] for row in rows),
                    columns=tuple((edge or {}).get("columns") or ()),
                )
            )
        for (run_name, node), edge in read.items():
            run = runs.get(run_name, {})
            name = lineage.dataset_of(node)
            if name:
                found.append(
                    self._use(
                        time=_utc(edge["time"]),
                        dataset=name,
                        version=int(node.rpartition("@")[2]),
                        kind=run.get("kind", ""),
                        principal=run.get("principal", ""),
                        job=run.get("job", ""),
                        run=run_name,
                        state=run.get("state", ""),
                        site=run.get("site", ""),
                        source_region=edge["source_region"],
                        destination_region=edge["destination_region"],
                        net_bytes=edge["bytes"],
                        net_micros=edge["charge_micros"] or 0,
                        columns=tuple(edge["columns"] or ()),
                    )
                )
        chosen = (use for use in found if self._about.has(use.dataset))
        return tuple(sorted(chosen, key=lambda use: (use.time, use.dataset, use.version, use.run, use.grant)))

    def _use(self, **told: Any) -> compliance.Use:
        """A use with its purpose, and with the decisions and leases that it rests on."""
        who = told["job"] or told["principal"]
        decisions = self._allowed[who, told["dataset"]]
        return compliance.Use(
            **told,
            purpose=self._purposes.get(told["job"], ""),
            decisions=tuple(each.position for each in decisions),
            policies=tuple(sorted({policy for each in decisions for policy in each.policies})),
            policy_digest=decisions[-1].policy_digest if decisions else "",
            leases=tuple(self._leased[told["run"] or told["principal"], told["dataset"], told["version"]]),
        )

    def _decisions(self) -> Iterator[compliance.Decided]:
        for row, body in self._of("policy.decided"):
            if row.outcome is trail.Outcome.ALLOWED and self._about.has(row.dataset):
                yield compliance.Decided(
                    position=row.position,
                    time=row.time,
                    principal=_who(row),
                    action=_text(body, "action"),
                    dataset=row.dataset,
                    site=row.site,
                    purpose=_text(body, "purpose"),
                    job=_text(body, "job"),
                    policies=_texts(body, "policies"),
                    because=_text(body, "because"),
                    control=_text(body, "control"),
                    policy_digest=_text(body, "digest"),
                )

    def _refusals(self) -> Iterator[compliance.Refusal]:
        """What was refused by the policy, at a lease, at a call, by a witness; and jobs that no site may run."""
        for row in self._rows:
            body = self._bodies[row.position]
            refused = row.outcome is trail.Outcome.REFUSED
            if not refused or not (self._about.has(row.dataset) if row.dataset else self._about.whole):
                continue
            request = body.get("request") if isinstance(body.get("request"), dict) else {}
            yield compliance.Refusal(
                position=row.position,
                time=row.time,
                source=row.kind,
                principal=_who(row) if not request else _text(request, "principal") or _who(row),
                action=_text(body, "action") or _text(body, "method") or _text(body, "use"),
                dataset=row.dataset,
                site=row.site,
                purpose=_text(body, "purpose") or _text(request, "purpose"),
                job=_text(body, "job"),
                reason=_text(body, "reason") or ("POLICY_DENIED" if row.kind.startswith("policy.") else ""),
                detail=_text(body, "detail") or _text(body, "because"),
                policies=_texts(body, "policies"),
                control=_text(body, "control"),
                policy_digest=_text(body, "digest"),
            )

    def _leases(self) -> Iterator[compliance.LeaseUse]:
        for row, body in self._of("lease.granted"):
            if self._about.has(row.dataset):
                yield compliance.LeaseUse(
                    position=row.position,
                    time=row.time,
                    lease=_text(body, "lease") or row.resource,
                    principal=_who(row),
                    dataset=row.dataset,
                    version=_number(body, "version"),
                    site=row.site,
                    reader_site=_text(body, "reader_site"),
                    run=_text(body, "run"),
                    use=_text(body, "use"),
                )

    def _egress(self, entries: Iterable[Mapping[str, Any]]) -> tuple[compliance.Egress, ...]:
        sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for row in entries:
            name = f"{row['namespace']}/{row['dataset']}"
            if self._about.has(name) and row["source_region"] != row["destination_region"]:
                total = sums[name, row["source_region"], row["destination_region"]]
                total[0] += row["bytes"]
                total[1] += row["charge_micros"]
                total[2] += not row["corrects"]
        return tuple(
            compliance.Egress(
                dataset=name,
                source_region=source,
                destination_region=destination,
                net_bytes=size,
                net_micros=micros,
                reads=reads,
            )
            for (name, source, destination), (size, micros, reads) in sorted(sums.items())
        )

    def _transfers(self, entries: Iterable[Mapping[str, Any]]) -> tuple[compliance.Movement, ...]:
        grouped: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in entries:
            if row["transfer"] and self._about.has(f"{row['namespace']}/{row['dataset']}"):
                grouped[row["transfer"]].append(row)
        return tuple(
            compliance.Movement(
                time=_utc(rows[0]["time"]),
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

    def _loosened(self) -> Iterator[compliance.Loosened]:
        for row in self._rows:
            if row.kind in ("output.released", "dataset.declassified") and self._about.has(row.dataset):
                yield compliance.Loosened(
                    position=row.position,
                    time=row.time,
                    kind=row.kind,
                    dataset=row.dataset,
                    principal=_who(row),
                    detail=row.body[: trail.TEXT_MAX],
                )

    def _erasures(self) -> Iterator[compliance.Erased]:
        for row in self._rows:
            body = self._bodies[row.position]
            if row.kind.startswith("erasure.") and self._about.has(row.dataset):
                yield compliance.Erased(
                    position=row.position,
                    time=row.time,
                    kind=row.kind,
                    erasure=_text(body, "erasure") or row.resource,
                    dataset=row.dataset,
                    version=_number(body, "version"),
                    principal=_who(row),
                    reason=_text(body, "reason"),
                    certificate=_text(body, "certificate_digest"),
                )

    def _questions(self) -> Iterator[compliance.Question]:
        for row, body in self._of(trail.QUERIED_KIND) if self._about.whole else ():
            yield compliance.Question(
                position=row.position,
                time=row.time,
                principal=row.actor,
                method=_text(body, "method"),
                text=_text(body, "text"),
            )

    def _changes(self) -> Iterator[compliance.Change]:
        for row in self._rows:
            told = row.outcome is trail.Outcome.REFUSED or row.kind.startswith(_TOLD_ELSEWHERE)
            by_person = row.actor.startswith("users/") or row.actor == "server"
            if not told and by_person and (self._about.has(row.dataset) if row.dataset else self._about.whole):
                yield compliance.Change(
                    position=row.position, time=row.time, kind=row.kind, resource=row.resource, principal=row.actor
                )

    def _models(
        self, edges: tuple[Mapping[str, Any], ...], runs: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[compliance.ModelMade]:
        """Versions of models that runs made in the time of the report, with all that they saw, through as many runs as it took."""
        inputs: dict[str, list[str]] = defaultdict(list)
        makers: dict[str, list[str]] = defaultdict(list)
        for edge in edges:
            if edge["direction"] == "in":
                inputs[edge["run"]].append(edge["node"])
            else:
                makers[edge["node"]].append(edge["run"])
        for edge in edges:
            name = lineage.dataset_of(edge["node"])
            described = self._described.get(name)
            made_here = edge["direction"] == "out" and _utc(edge["time"]) >= self._about.from_time
            if not made_here or described is None or described.kind != str(dataset.DatasetKind.MODEL):
                continue
            direct = set(inputs[edge["run"]])
            sources = tuple(
                compliance.ModelSource(node=node, direct=node in direct, card=self._card(node))
                for node in sorted(_upstream(direct, inputs, makers))
            )
            if not self._about.has(name) and not any(self._about.has(lineage.dataset_of(each.node)) for each in sources):
                continue
            run = runs.get(edge["run"], {})
            yield compliance.ModelMade(
                model=name,
                version=int(edge["node"].rpartition("@")[2]),
                run=edge["run"],
                principal=run.get("principal", ""),
                time=_utc(edge["time"]),
                purpose=self._purposes.get(run.get("job", ""), ""),
                sources=sources,
                known_bias=_notes(sources, lambda card: (card.known_bias,) if card.known_bias else ()),
                sensitive_columns=_notes(sources, lambda card: card.sensitive_columns),
            )

    def _card(self, node: str) -> dataset.DataCard:
        described = self._described.get(lineage.dataset_of(node))
        return described.card if described else dataset.DataCard()

    def _completeness(self, tables: tuple[compliance.TableProof, ...]) -> compliance.Completeness:
        positions = [row.position for row in self._rows]
        return compliance.Completeness(
            first_position=min(positions, default=0),
            last_position=max(positions, default=0),
            entries=len(positions),
            log_positions=sum(position > self._seam for position in positions),
            verified=bool(tables),
            intact=bool(tables) and not any(table.findings for table in tables),
            tables=tables,
        )

    def _of(self, kind: str) -> Iterator[tuple[trail.AuditRow, Mapping[str, Any]]]:
        return ((row, self._bodies[row.position]) for row in self._rows if row.kind == kind)


def _upstream(direct: Iterable[str], inputs: Mapping[str, list[str]], makers: Mapping[str, list[str]]) -> set[str]:
    """All nodes that these came from, themselves among them."""
    found, waiting = set(direct), list(direct)
    while waiting:
        for run in makers.get(waiting.pop(), ()):
            fresh = set(inputs.get(run, ())) - found
            found |= fresh
            waiting += sorted(fresh)
    return found


def _notes(sources: Iterable[compliance.ModelSource], told: Any) -> tuple[str, ...]:
    """What cards tell, each with whose card it is, once for each dataset."""
    found = {f"{lineage.dataset_of(each.node)}: {text}" for each in sources for text in told(each.card)}
    return tuple(sorted(found))


def _policy_sets(
    decisions: Iterable[compliance.Decided], refusals: Iterable[compliance.Refusal]
) -> tuple[compliance.PolicySet, ...]:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for place, told in enumerate((decisions, refusals)):
        for each in told:
            if each.policy_digest:
                counts[each.policy_digest][place] += 1
    return tuple(
        compliance.PolicySet(policy_digest=digest, allowed=yes, refused=no) for digest, (yes, no) in sorted(counts.items())
    )


def _body(row: trail.AuditRow) -> Mapping[str, Any]:
    try:
        found = json.loads(row.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _who(row: trail.AuditRow) -> str:
    return row.subject or row.actor


def _text(body: Mapping[str, Any], name: str) -> str:
    found = body.get(name, "")
    return found if isinstance(found, str) else ""


def _texts(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = body.get(name)
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _number(body: Mapping[str, Any], name: str) -> int:
    found = body.get(name, 0)
    return found if isinstance(found, int) else 0


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)
