"""What the services need from the outside, each as a small Protocol named after the need. Adapters and connectors fill them.

A port speaks in values of the core and raises errors of the core's family; foreign errors end at the adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, TypeVar

from federation.core import keys, people
from federation.core.admission import Finding
from federation.core.authorization import Answer, Problem, Question, Rule, SiteFacts
from federation.core.chain import Head, Links, SignedHead
from federation.core.dataset import WrappedKey
from federation.core.events import Event
from federation.core.lineage_graph import Columns
from federation.core.policy import Principal
from federation.core.program import Program, Solution
from federation.core.site import Capacity
from federation.core.terms import Query

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")


class Clock(Protocol):
    """Tells the time, timezone-aware UTC."""

    def now(self) -> datetime: ...


class Ids(Protocol):
    """Makes identifiers: time-ordered, so that newer ones sort later."""

    def new(self, prefix: str) -> str:
        """`new("j")` is like `j-01k9...`: prefix, dash, 26 characters of lower-case Crockford base 32."""
        ...


class Index(Protocol):
    """Finds values by their terms (`kinds.Kind.terms`), which are kept in the transaction that stores the values."""

    def find(self, cls: type[T], query: Query, *, before: int = 0, limit: int = 1000) -> tuple[tuple[int, T], ...]:
        """At most `limit` values that are asked for, what was inserted last first, each with its number.

        Numbers rise as values are inserted; those below `before` alone are looked at, if it is given.
        """
        ...


class Transaction(Index, Protocol):
    """The catalog inside one transaction. Values of every class in `kinds.KINDS` are stored alike.

    A value that has an `etag` field gets a new one with each insert and replace; the stored value is returned.
    """

    now: datetime
    actor: str
    request_id: str

    def get(self, cls: type[T], key: str) -> T | None:
        """The value under the key, or None."""
        ...

    def insert(self, value: T) -> T:
        """Stores a new value; AlreadyExists when its key is taken."""
        ...

    def replace(self, value: T, *, etag: str = "") -> T:
        """Stores a changed value; NotFound when absent, Conflict (ETAG_MISMATCH) when a given `etag` is not the stored one."""
        ...

    def delete(self, cls: type, key: str, *, etag: str = "") -> None:
        """Removes a value; NotFound and Conflict as `replace`."""
        ...

    def list(
        self,
        cls: type[T],
        *,
        parent: str | tuple[str, ...] = "",
        where: Mapping[str, str | tuple[str, ...]] | None = None,
        keys: tuple[str, ...] = (),
        after: str = "",
        limit: int = 1000,
        newest_first: bool = False,
    ) -> tuple[T, ...]:
        """At most `limit` values in key order after the key `after`, of the parent if given, whose columns equal `where`.

        Of several parents, or values of a column, any will do; of `keys`, if there are any, those alone are listed.
        """
        ...

    def count(self, cls: type, *, where: Mapping[str, str | tuple[str, ...]]) -> int:
        """How many values have columns that equal `where`, without reading them."""
        ...

    def emit(self, kind: str, name: str, body: Any) -> int:
        """Appends an event with the value as its body; returns its position. Same transaction as everything else.

        Fields that may hold secrets are told as `records.told` says: whoever reads the log sees none.
        """
        ...

    def emit_rows(self, kind: str, name: str, data: bytes, rows: int) -> int:
        """Appends `rows` facts of one kind as one event; returns the position of the last. Same transaction as everything else.

        For what comes by the thousand: they cost the log one row. InvalidArgument (ROWS_INVALID) for fewer than one, or more
        than an event can hold; ResourceExhausted (RECORD_BACKLOG) while too many wait to be carried to the record.
        """
        ...

    def revision(self) -> int:
        """Position of the newest event that the transaction sees, its own among them."""
        ...

    def replay(self, key: str, request_hash: str) -> bytes | None:
        """The recorded answer to (actor, key), None for a new one; InvalidArgument (REQUEST_ID_REUSED) for another request."""
        ...

    def remember(self, key: str, request_hash: str, answer: bytes) -> None:
        """Records the answer to (actor, key), to be replayed."""
        ...


class Telemetry(Protocol):
    """Who is told how work goes, so that people can look on. Never in the way of it."""

    def stage(self, name: str) -> AbstractContextManager[Any]:
        """Around a stage of work, such as `plan`: how long it took, and for whom."""
        ...

    def trace(self) -> str:
        """The trace that the present work belongs to (W3C traceparent), '' for none."""
        ...


class EventLog(Protocol):
    """The one log of a catalog. All calls block."""

    def events(
        self,
        after: int,
        *,
        limit: int = 1000,
        kinds: Iterable[str] = (),
        without: Iterable[str] = (),
        facts_max: int = 0,
        bytes_max: int = 0,
    ) -> tuple[Event, ...]:
        """Committed events with position > `after`, in order, without gaps that could fill later.

        Of these `kinds` only, if any are named, and of none that is named in `without`. Fewer where they would come to more
        than `facts_max` facts or `bytes_max` bytes, if given; but one at least. OutOfRange (EVENTS_TRIMMED) where some of them
        are no longer there: `after` is below `floor`.
        """
        ...

    def revision(self) -> int:
        """Position of the newest committed event, 0 before the first."""
        ...

    def wait(self, after: int, seconds: float) -> int:
        """Position of the newest committed event, once it is beyond `after` or so many seconds are over.

        Whoever wrote it: another process's is seen within a second, as a rule at once.
        """
        ...

    def floor(self) -> int:
        """Position up to which the log was trimmed, 0 while it is whole."""
        ...

    def trim(self, until: int, before: datetime) -> int:
        """Deletes the oldest events as long as they are at `until` or below and older than `before`; returns how many.

        A bounded number in each call, so that writers do not wait; the newest event stays.
        """
        ...

    def forget(self, before: datetime) -> int:
        """Deletes recorded answers that are older, a bounded number in each call; returns how many."""
        ...


class Catalog(EventLog, Protocol):
    """The store of record. All calls block; `write` functions run one after another or fail whole."""

    def write(self, work: Callable[[Transaction], T], *, actor: str = "", request_id: str = "") -> T:
        """Runs `work` in a transaction that commits when it returns and leaves no trace when it raises. May run it again."""
        ...

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Runs `work` on a consistent view; `work` must not change anything. May run it again."""
        ...

    def glance(self, work: Callable[[Transaction], T]) -> T:
        """As `read`, for a look at a few keys by whoever must not wait: an event loop.

        Unavailable (MUST_WAIT) where it would have to, for a network or for others; then `read` it from a thread.
        """
        ...

    def put_blob(self, digest: str, chunks: Iterable[bytes]) -> int:
        """Stores bytes under their SHA-256 (hex), returns their number; InvalidArgument (DIGEST_MISMATCH) if it is another."""
        ...

    def get_blob(self, digest: str) -> Iterator[bytes]:
        """Streams a blob; NotFound when absent."""
        ...

    def blob_bytes(self, digest: str) -> int | None:
        """Length of a blob, None when absent."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What a store says of one object."""

    key: str
    bytes: int


class PolicyEngine(Protocol):
    """One compiled set of policies. Denies what no policy permits, and whatever it cannot evaluate. Thread-safe."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what the policies say, whatever their order and layout."""
        ...

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Its policies, in the order of their text."""
        ...

    @property
    def named(self) -> frozenset[str]:
        """All entities that its policies name: `Party::groups/analysts`, `Purpose::fraud`."""
        ...

    def decide(self, question: Question) -> Answer:
        """The answer; it depends on nothing but the question, and never raises."""
        ...

    def general(self, question: Question) -> Question:
        """The question without what none of its policies asks about; it has the same answer."""
        ...

    def general_site(self, place: SiteFacts) -> SiteFacts:
        """The same for a site: sites that become equal are forbidden or not together."""
        ...


class PolicyCompiler(Protocol):
    """Makes sets of policies from their text."""

    def default(self) -> str:
        """The text that is shipped."""
        ...

    def problems(self, text: str) -> tuple[Problem, ...]:
        """All that keeps a text from being a set of policies; () for a good one."""
        ...

    def compile(self, text: str) -> PolicyEngine:
        """The set; InvalidArgument (POLICY_INVALID) tells what is wrong with the text."""
        ...


class ObjectStore(Protocol):
    """A site's storage root: flat keys with '/', immutable objects, written whole or not at all."""

    def put(self, key: str, data: BinaryIO) -> int:
        """Writes a new object durably and atomically; returns its bytes.

        AlreadyExists (OBJECT_EXISTS) if the key is taken, ResourceExhausted (STORAGE_FULL) when there is no room; nothing is
        left then.
        """
        ...

    def read(self, key: str, offset: int = 0, length: int = -1, *, reader: str = "") -> Iterator[bytes]:
        """Streams a range in pieces of at most 1 MiB, shorter at the object's end; NotFound (OBJECT_MISSING) when absent.

        `reader` says under which grant; a store that keeps an access log of its own has it there, so that both can be compared.
        """
        ...

    def info(self, key: str) -> ObjectInfo | None:
        """Length of an object, None when absent."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key begins with the prefix, in key order."""
        ...

    def delete(self, key: str) -> None:
        """Removes an object; does nothing when it is absent."""
        ...

    def free_bytes(self) -> int | None:
        """For how many bytes there is room now; None where the store cannot tell."""
        ...

    def probe(self) -> None:
        """Refuses (FailedPrecondition, STORE_DISHONEST) a store that overwrites on a conditional put or ignores ranges."""
        ...


class SourceReader(Protocol):
    """Reads what lies in place at a site, before it belongs to the federation."""

    def list(self, url: str) -> Iterator[ObjectInfo]:
        """Files under a prefix, in key order, keys relative to it."""
        ...

    def open(self, url: str, key: str) -> BinaryIO:
        """One of them, for reading."""
        ...


class KeyConnector(Protocol):
    """A site's keys. KEKs and the secrets of generations never leave it; without it no wrapped DEK opens.

    Unavailable (KEYS_UNAVAILABLE) says that what holds them does not answer now.
    """

    def generate(self, generation: str, dataset_uid: str, sensitivity: str = keys.DEFAULT) -> tuple[bytes, WrappedKey]:
        """A new 32-byte DEK for a class of a generation of a dataset, and the same wrapped for this site."""
        ...

    def wrap(self, dek: bytes, generation: str, dataset_uid: str, sensitivity: str = keys.DEFAULT) -> WrappedKey:
        """Wraps a DEK that another site's gateway handed over; FailedPrecondition (KEY_DESTROYED) after `destroy`."""
        ...

    def unwrap(self, key: WrappedKey) -> bytes:
        """The DEK; PermissionDenied (KEY_NOT_OURS) for another site's row, DataCorrupt (KEY_INVALID) for a changed one.

        FailedPrecondition (KEY_DESTROYED) where the secret of its generation was destroyed.
        """
        ...

    def destroy(self, dataset_uid: str, generations: Iterable[str]) -> None:
        """Destroys the generations' secrets for good, durably before it returns: none of their rows opens here again.

        Again is harmless, and other generations live on.
        """
        ...

    def status(self) -> keys.ConnectorStatus:
        """What it holds, by name."""
        ...

    def signing_key(self) -> bytes:
        """The site's Ed25519 private key, by which it signs manifests and re-wrapped keys."""
        ...

    def sealing_pair(self) -> tuple[bytes, bytes]:
        """The site's HPKE keys, (private, public), to which other sites' gateways seal DEKs."""
        ...


class KeyCustody(Protocol):
    """Looking after a site's KEKs and rows. Each connector fills it beside `KeyConnector`. No DEK appears in any of it."""

    def inside(self, key: WrappedKey) -> bytes:
        """The DEK as its generation's secret alone seals it, for an escrow. Refuses as `unwrap` does."""
        ...

    def adopt(self, inside: bytes, generation: str, dataset_uid: str, sensitivity: str = keys.DEFAULT) -> WrappedKey:
        """The row of what `inside` gave, under the current KEK; DataCorrupt (KEY_INVALID) where it is of another place."""
        ...

    def rotate(self) -> str:
        """Makes a fresh KEK the current one; its id. Rows of before open as they did."""
        ...

    def rewrap(self, key: WrappedKey) -> WrappedKey:
        """The same DEK under the current KEK; the row itself where it is so already. Refuses as `unwrap` does."""
        ...

    def retire(self, kek: str) -> None:
        """Destroys a KEK that no row names any more; FailedPrecondition (KEK_CURRENT) for the current one."""
        ...


class KeyBackup(Protocol):
    """A keyring that can be put back. Its class has `restore(site, folder, options, data, passphrase_file, *, forget)`."""

    def back_up(self, passphrase_file: Path) -> bytes:
        """What is needed to restore it, sealed; nothing in it brings back what is destroyed after it."""
        ...


class SiteKeys(KeyConnector, KeyCustody, Protocol):
    """What a key connector fills: the keys at work, and their custody."""


class People(Protocol):
    """Issuers that vouch for people by signed tokens (JWT)."""

    def person(self, token: str, now: datetime) -> Principal:
        """Whom a token stands for; Unauthenticated where it proves nobody, Unavailable where its issuer's keys cannot be had.

        May block for as long as it takes to fetch keys.
        """
        ...

    def sign_ins(self) -> tuple[people.SignIn, ...]:
        """How people sign in with each issuer."""
        ...


@dataclass(frozen=True, kw_only=True)
class ComputeState:
    """What a site's cluster says of one submission. `state`: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED or ABSENT.

    Of one that FAILED, `exit_code` is how its entrypoint ended, None where it did not end by itself; `reason` is
    RUNTIME_ENV_FAILED where the entrypoint never began because its environment could not be made.
    """

    state: str
    message: str = ""
    exit_code: int | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class NodeState:
    """What became of a node of a cluster. `state`: ALIVE, LOST or PREEMPTED; `detail` is the cluster's own word on its end."""

    node: str
    state: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a cluster is asked to run. `working_dir` is a local folder or ''; `runtime_env` is Ray's without working_dir."""

    submission_id: str
    entrypoint: str
    working_dir: str = ""
    runtime_env: Mapping[str, Any]
    env: Mapping[str, str]
    cpus: float = 1
    gpus: int = 0
    gpu_type: str = ""
    memory_bytes: int = 0
    metadata: Mapping[str, str]


class Compute(Protocol):
    """A site's Ray cluster, or none."""

    def submit(self, submission: Submission) -> None:
        """Starts it, or does nothing when that id is there already; Unavailable (COMPUTE_UNAVAILABLE) if it cannot tell."""
        ...

    def state(self, submission_id: str) -> ComputeState:
        """What became of it; Unavailable when the cluster does not answer."""
        ...

    def stop(self, submission_id: str) -> None:
        """Asks it to end; does nothing when it has or is not there."""
        ...

    def nodes(self, submission_id: str) -> tuple[NodeState, ...]:
        """The nodes that it had its driver or its workers on and that a cluster can lose; a head is none of them.

        One that was gone minutes before the submission ended is left out: it outlived that loss. A cluster may need part of a
        minute to see that a node is gone. Unavailable when it does not answer.
        """
        ...

    def capacity(self) -> Capacity:
        """Totals of the cluster; Unavailable (COMPUTE_UNAVAILABLE) when it does not answer."""
        ...

    def examine(self) -> Finding:
        """What the site's admission test finds of it, as `compute`: whether anybody else could run code there, above all.

        A cluster that does not answer is told as such, and is no error.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class BillPiece:
    """Some lines of one delivery: of one payer's bill for one month. `lines` are rows of `bill.BillLine`, not numbered yet.

    `skipped` counts lines that were left out because they are about anything else than moving data.
    """

    provider: str
    account: str
    month: str
    lines: pa.Table
    skipped: int


class RecordSink(Protocol):
    """Where the committer carries ledger and lineage: append-only tables, each batch exactly once.

    Threads may share it; tables do not wait for each other.
    """

    def position(self, table: str) -> int:
        """Position of the last event that the table holds, 0 when it is empty."""
        ...

    def append(self, table: str, events: tuple[Event, ...]) -> None:
        """Appends events of that table, all with positions above `position(table)`, in one durable commit with the last one.

        Appending a batch again is refused or ignored, never doubled.
        """
        ...

    def seal(self, table: str) -> None:
        """One more durable commit, without rows: what was committed before has then been followed by another."""
        ...

    def tend(self, table: str) -> bool:
        """One bounded step of what keeps the table quick, beside appends; whether there is more to do at once."""
        ...

    def probe(self) -> None:
        """Refuses (FailedPrecondition, STORE_DISHONEST) a store in which one commit could overwrite another."""
        ...

    def head(self, table: str) -> Head:
        """Where the table's chain ends: position, rows and link of its last row; 0, 0 and its genesis for an empty one."""
        ...


class RecordReader(Protocol):
    """Reads the record's tables to prove them. Needs no catalog, and never writes."""

    def links(self, table: str) -> Iterator[Links]:
        """All rows of a table in order of position, in batches; none for a table that is not there.

        DataCorrupt (TABLE_DAMAGED) for one that cannot be opened at all.
        """
        ...

    def heads(self, table: str) -> Iterator[SignedHead]:
        """The signed heads of a table that the one of audit holds, unchecked, in no order."""
        ...

    def bodies(self, kind: str) -> Iterator[str]:
        """What the table of audit holds of one kind of event, as JSON, unchecked, in no order."""
        ...


class LineageRecord(Protocol):
    """The facts of lineage as columns in the order of their positions: what the index of lineage is made of."""

    def read(self, table: str, after: int) -> Columns:
        """Rows of `lineage_edges` or `lineage_runs` with positions above `after`, as the tables have them now.

        Unavailable (TABLES_UNAVAILABLE) while they cannot be read.
        """
        ...

    def columns(self, table: str, events: Iterable[Event]) -> Columns:
        """What events hold, as rows of that table would."""
        ...


class LineageTransport(Protocol):
    """The way of OpenLineage events to somebody who collects them."""

    def send(self, events: tuple[str, ...]) -> None:
        """Hands over events (JSON), in order; Unavailable when not all could be: they are then sent again, all of them.

        An event that its receiver will never take is logged and left: it keeps no others waiting.
        """
        ...


class BillReader(Protocol):
    """Reads what a provider delivers as its bill: files of one delivery, whole, in memory that does not grow with them."""

    def read(self, paths: Sequence[Path]) -> Iterator[BillPiece]:
        """The lines about moving data, in order; InvalidArgument (BILL_INVALID) for files that are no such bill."""
        ...


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """What putting a table's files together did. `version` is the table's after it; nothing was to do where no file went."""

    table: str
    version: int
    files_added: int
    files_removed: int
    bytes_added: int
    bytes_removed: int


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a merge did to a table: rows that are new, and rows that were there and are other than before."""

    table: str
    version: int
    rows_inserted: int
    rows_updated: int


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote at `path`: one file, or a folder of files. `bytes` is None where the engine cannot tell."""

    path: str
    rows: int
    bytes: int | None


ExportFormat = Literal["parquet", "csv"]


class RecordEngine(Protocol):
    """Computes over the record's tables: beside the server (embedded), or on Spark. Changes no row of an append-only table.

    Every SQL is what `core.query.parse` takes: InvalidArgument (SQL_NOT_A_QUERY, SQL_INVALID) otherwise, or where the engine
    cannot plan it. Tables are known by their names (`egress_ledger`, ...); NotFound (TABLE_MISSING) for one that nothing was
    written to yet. Strings are `string`, times microseconds in UTC, decimals as the table has them.
    """

    def query(self, sql: str, *, limit: int | None = None, seconds: float | None = None) -> pa.Table:
        """The answer, at most its first `limit` rows; DeadlineExceeded (QUERY_TOO_SLOW) if it took longer than `seconds`."""
        ...

    def export(self, sql: str, path: str, format: ExportFormat) -> Exported:  # noqa: A002 - the word people use
        """Writes the answer to a new file or folder; AlreadyExists (EXPORT_EXISTS) if something is there.

        InvalidArgument (EXPORT_INTO_RECORD) for a place under the record itself.
        """
        ...

    def compact(self, table: str, *, order_by: tuple[str, ...] = ()) -> Compaction:
        """Puts a table's files together, along a Z-order of columns if asked. No row changes, and appending goes on.

        FailedPrecondition (ENGINE_MAY_NOT_COMMIT) where this engine's commit could overwrite another's, (PROTOCOL_TOO_NEW) for
        a table beyond reader version 1 and writer version 4, which engines that write to it could not read.
        """
        ...

    def merge(self, table: str, rows: pa.Table, on: tuple[str, ...]) -> Merged:
        """Inserts rows, or replaces those that have the same keys `on`; what is the same already is let be.

        For tables that are not append-only: FailedPrecondition (TABLE_APPEND_ONLY) otherwise, and as `compact`.
        InvalidArgument (MERGE_INVALID) where two rows have the same keys, a key is null or a column is not the table's.
        """
        ...

    def close(self) -> None:
        """Ends what the engine runs; using it again begins anew."""
        ...


@dataclass(frozen=True, kw_only=True)
class EnginePart:
    """One thing that an engine needs: which version was found where, or, with no version, what to do to have it."""

    part: str
    version: str = ""
    where: str = ""
    to_do: str = ""


class EngineSetup(Protocol):
    """What an entry point of `federation.engines` makes: how an engine is had, also where what it needs is not installed."""

    def check(self) -> tuple[EnginePart, ...]:
        """Each thing that the engine needs. Looks, and changes nothing."""
        ...

    def fetch(self, folder: Path | None = None) -> tuple[Path, ...]:
        """Gets what can be fetched, into the folder or to where the engine looks; Unavailable (JARS_UNREACHABLE) otherwise."""
        ...

    def engine(self, root: str, storage_options: Mapping[str, str], **how: Any) -> RecordEngine:
        """The engine over the tables under `root`, not started yet; FailedPrecondition where something is missing."""
        ...


@dataclass(frozen=True, kw_only=True)
class RecordAnswer:
    """What was found: rows as an Arrow IPC stream, and whether these are all."""

    stream: bytes
    rows: int
    complete: bool


class RecordQueries(Protocol):
    """Answers people's queries of the record, whatever they ask: within rows, bytes, time and memory, harming nobody."""

    def ask(self, sql: str, *, rows_max: int, bytes_max: int, seconds: float) -> RecordAnswer:
        """The first rows of the answer; errors as those of `RecordEngine.query`.

        ResourceExhausted (QUERY_TOO_LARGE) where it takes too much memory, Unavailable (QUERIES_BUSY) while others are.
        """
        ...


class Solver(Protocol):
    """Solves mixed-integer linear programs: what is left where an exact method of our own would take too long."""

    def minimize(self, program: Program, *, seconds: float) -> Solution:
        """The best solution found in about `seconds`, never worse than it says: its `bound` is a proven lower bound.

        The same program gives the same solution, unless time ran out. FailedPrecondition (PROGRAM_INFEASIBLE) when there is
        none, or (PROGRAM_UNBOUNDED) no best one; Unavailable (SOLVER_TIMEOUT) when none was found in time.
        """
        ...
