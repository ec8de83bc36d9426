"""The record: its chain, its audit, its witnesses, and questions to its tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from federation.client import transfer
from federation.client.areas import sites
from federation.client.values import QueryResult
from federation.core import chain, compliance, records, trail, witness
from federation.v1 import audit_pb2, ledger_pb2, records_pb2
from federation.wire import codec


class Record(sites.Sites):
    """The record and its audit."""

    def list_record_heads(self, table: str = "") -> Iterator[chain.SignedHead]:
        """Signed heads of the record's tables that the catalog keeps, newest first: of one table, or of all."""
        filter_ = f'table = "{table}"' if table else ""
        return self._connection.pages("Ledger.ListRecordHeads", ledger_pb2.ListRecordHeadsRequest(filter=filter_))

    def verify_table(self, table: str) -> Iterator[chain.Verification]:
        """Follows the chain of one of the record's tables; the last that comes is what was found. For administrators."""
        for step in self._connection.stream("Ledger.VerifyTable", ledger_pb2.VerifyTableRequest(table=table)):
            yield codec.to_value(step)

    def list_audit_entries(self, *, filter: str = "") -> Iterator[trail.AuditRow]:  # noqa: A002 - the contract's word
        """The log as people read it, newest first: who did, asked, or was refused what. For administrators and auditors."""
        return self._connection.pages("Audit.ListAuditEntries", audit_pb2.ListAuditEntriesRequest(filter=filter))

    def get_audit_entry(self, position: int) -> trail.AuditRow:
        """One entry of the log."""
        request = audit_pb2.GetAuditEntryRequest(name=f"auditEntries/{position}")
        return self._value(trail.AuditRow, "Audit.GetAuditEntry", request)

    def verify_audit(self, table: str, cosignatures: Iterable[witness.Cosignature] = ()) -> Iterator[witness.AuditVerification]:
        """Follows the chain of a table past signed heads and what witnesses co-signed; the last answer is what was found."""
        request = audit_pb2.VerifyAuditRequest(
            table=table, cosignatures=[codec.to_message(each, audit_pb2.Cosignature) for each in cosignatures]
        )
        for step in self._connection.stream("Audit.VerifyAudit", request):
            yield codec.to_value(step)

    def witness(self, site: str) -> tuple[witness.WitnessLine, ...]:
        """What a site has co-signed of the record's heads, from its own gateway and file: not from the catalog."""
        return witness.parse(transfer.read_witness(self._connection.ca, self.open_check(site)))

    def export_compliance(
        self, from_time: datetime, to_time: datetime, *, dataset: str = "", namespace: str = ""
    ) -> compliance.Report:
        """Which data was used where, by whom, for what, under which policy, and what was refused. See docs/audit.md."""
        request = audit_pb2.ExportComplianceRequest(
            from_time=codec.from_time(from_time), to_time=codec.from_time(to_time), dataset=dataset, namespace=namespace
        )
        pieces = self._connection.stream("Audit.ExportCompliance", request)
        return records.loads(compliance.Report, b"".join(piece.data for piece in pieces).decode())

    def query_records(self, sql: str, *, rows_max: int = 0, seconds_max: int = 0) -> QueryResult:
        """One SQL query over the record's tables; at most so many rows (0: what the server allows). For administrators."""
        request = records_pb2.QueryRecordsRequest(sql=sql, rows_max=rows_max, seconds_max=seconds_max)
        pieces = list(self._connection.stream("Records.QueryRecords", request))
        return QueryResult(stream=b"".join(piece.data for piece in pieces), rows=pieces[0].rows, complete=pieces[0].complete)
