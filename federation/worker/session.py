"""What a job has: `inputs`, `outputs` and `filesystem()`, in its entrypoint and in its Ray tasks and actors alike.

    import federation

    flights = federation.inputs["flights"].pandas()
    with federation.outputs["model"].open("model.pkl", "wb") as file: ...

A file is part of an output once it is closed. All outputs become versions together when the entrypoint has ended with exit
code 0, or none does.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from federation import config, secrecy, traces
from federation.core import errors, lineage
from federation.core.columns import ColumnClass, parse
from federation.wire import counting, data
from federation.worker import cluster, environment, failures, lastword
from federation.worker import columns as by_columns

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]
    import ray.data

    from federation.worker.filesystem import FedFileSystem

T = TypeVar("T")


class Session:
    """One process's dealings with the gateway: each input is opened once, each output written by one writer."""

    def __init__(self, connection: environment.Connection) -> None:
        secrecy.keep()
        lastword.leave(config.environment())
        if connection.traceparent:
            traces.configure("federation-run", config.environment())
        self.connection = connection
        self._gateway = connection.client()
        self._counts = counting.Counts(self._gateway.report_reads)
        self._lock = threading.RLock()
        self._opened: dict[str, data.OpenedVersion] = {}
        self._writers: dict[str, data.VersionWriter] = {}
        self._told = lineage.LineageReport()
        #: Bytes of the files that this process has written, by output's dataset and path.
        self.written: dict[str, dict[str, int]] = {}
        #: What others keep for as long as the session lives.
        self.kept: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Session {self.connection.run} at {self.connection.gateway}>"

    def version(self, name: str) -> data.OpenedVersion:
        """An input by alias, dataset or version; PermissionDenied (INPUT_NOT_IN_PLAN) for what the plan does not have."""
        with self._lock:
            if name not in self._opened:
                audience = data.run_audience(self.connection.run)
                with failures.shaped(), traces.span("open input", parent=self.connection.traceparent):
                    counts = self._counts.of(name)
                    self._opened[name] = data.open_version(self._gateway, audience=audience, input=name, counts=counts)
            return self._opened[name]

    def columns(self, name: str) -> data.OpenedVersion:
        """An input whose columns are sealed by classes, with those classes open that the job has named for it.

        PermissionDenied (COLUMN_CLASS_CLOSED, POLICY_DENIED) where one of them is not to be had.
        """
        with self._lock:
            binding = _bound(self.connection.inputs, name)
            if not binding.column_classes:
                return self.version(name)
            kept = f"{name}+{'+'.join(binding.column_classes)}"
            if kept not in self._opened:
                audience = data.run_audience(self.connection.run)
                with failures.shaped():
                    self._opened[kept] = data.open_version(
                        self._gateway,
                        audience=audience,
                        input=name,
                        counts=self._counts.of(name),
                        column_classes=binding.column_classes,
                    )
            return self._opened[kept]

    def writer(self, name: str) -> data.VersionWriter:
        """The writer of an output by alias or dataset; PermissionDenied (OUTPUT_NOT_IN_PLAN) for what is not in the plan."""
        with self._lock:
            if name not in self._writers:
                audience = data.run_audience(self.connection.run)
                classes = _classes(_bound(self.connection.outputs, name))
                with failures.shaped(), traces.span("open output", parent=self.connection.traceparent):
                    writer = data.VersionWriter(self._gateway, audience=audience, output=name, column_classes=classes)
                self._writers[name] = self._writers.get(writer.dataset, writer)
                self._writers.setdefault(writer.dataset, self._writers[name])
            return self._writers[name]

    def create(self, name: str, path: str) -> OutputFile:
        """A new file of an output."""
        return OutputFile(self.writer(name), path, self)

    def output(self, dataset: str) -> bool:
        """Whether a dataset is one of the run's outputs."""
        return any(binding.dataset == dataset for binding in self.connection.outputs)

    def note_read(self, dataset: str, columns: Iterable[str] | None = None) -> None:
        """Tells lineage which columns of an input are read; without `columns` it may be all of them."""
        self._tell(
            inputs=tuple(
                lineage.InputColumns(alias=alias, columns=tuple(sorted(set(columns or ()))), whole=columns is None)
                for alias in _aliases(self.connection.inputs, dataset)
            )
        )

    def note_written(
        self, dataset: str, columns: Iterable[tuple[str, str]] = (), sources: Iterable[lineage.ColumnSource] = ()
    ) -> None:
        """Tells lineage which columns of an output are written, and from which columns of inputs they are made."""
        told = tuple((name, type_[: lineage.COLUMN_CHARS_MAX]) for name, type_ in columns)
        self._tell(
            outputs=tuple(
                lineage.OutputColumns(alias=alias, columns=told, sources=tuple(sources))
                for alias in _aliases(self.connection.outputs, dataset)
            )
        )

    def _tell(self, **told: Any) -> None:
        """Each thing once in each process; the gateway puts together what all of them tell."""
        with self._lock:
            merged = self._told.merged(lineage.LineageReport(**told))
            if merged == self._told:
                return
            with failures.shaped():
                self._gateway.report_lineage(merged)
            self._told = merged


class OutputFile(data.FileWriter):
    """A file of an output, known to the session once it is stored."""

    def __init__(self, writer: data.VersionWriter, path: str, session: Session) -> None:
        super().__init__(writer, path)
        self._session = session
        self._dataset = writer.dataset

    def close(self) -> None:
        if self.closed:
            return
        with failures.shaped():
            super().close()
        self._session.written.setdefault(self._dataset, {})[self.name] = self.tell()
        self._session.note_written(self._dataset, self.columns)


class Input:
    """A version that the job reads, local or remote as the plan says."""

    def __init__(self, session: Session, binding: environment.Binding) -> None:
        self._session = session
        self.alias = binding.alias
        self.dataset = binding.dataset

    def __repr__(self) -> str:
        return f"<Input {self.alias}={self.url}>"

    @property
    def url(self) -> str:
        """Where fsspec and pandas find it: `fed://sales/flights`."""
        return f"fed://{self.dataset}"

    @property
    def version(self) -> str:
        """`sales/flights@3`."""
        return self._version.version

    def files(self) -> tuple[str, ...]:
        """Paths of its files, in order."""
        return tuple(entry.path for entry in self._version.manifest.files)

    def open(self, path: str) -> data.FileReader:
        """One of its files, for reading bytes."""
        self._session.note_read(self.dataset)
        with failures.shaped():
            return self._version.open(path)

    def table(self, columns: Sequence[str] | None = None, path: str = "") -> pa.Table:
        """These columns of all its files, or of the one at `path`, as one Arrow table; without `columns` all of them.

        Where columns are sealed by classes, "all" are those that are open; PermissionDenied (COLUMN_CLASS_CLOSED) for others.
        """
        if not self._by_columns:
            return self.arrow(path, columns).to_table()
        found = by_columns.table(self._session.columns(self.alias), self._paths(path), columns)
        self._session.note_read(self.dataset, found.column_names)
        return found

    def pandas(self, path: str = "", **options: Any) -> pd.DataFrame:
        """One table of all its files, or of the one at `path`; `options` are those of pandas' reader for the format.

        Where columns are sealed by classes, of `options` there is `columns` alone.
        """
        if self._by_columns:
            return self.table(options.pop("columns", None), path).to_pandas(**options)
        import pandas as pd  # noqa: PLC0415 - pandas is the job's, not ours

        read = _choose(self._paths(path), parquet=pd.read_parquet, csv=pd.read_csv)
        frames = []
        for one in self._paths(path):
            with failures.shaped():
                opened = self._version.open(one)
            with opened as file:
                frames.append(read(file, **options))
        whole = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
        self._session.note_read(self.dataset, [str(name) for name in (*whole.columns, *whole.index.names) if name is not None])
        return whole

    def arrow(self, path: str = "", columns: Sequence[str] | None = None, **options: Any) -> pa.dataset.Dataset:
        """An Arrow dataset over all its files, or the one at `path`: filter and project before reading.

        With `columns` it has these alone, and lineage says so; KeyError for one that is not there. FailedPrecondition
        (PME_PROFILE) where columns are sealed by classes.
        """
        if self._by_columns:
            raise data.by_columns(self.version)
        from pyarrow import dataset  # noqa: PLC0415 - it brings pandas along, half of the time that a job takes to begin

        paths = self._paths(path)
        kind = _choose(paths, parquet="parquet", csv="csv")
        files = filesystem(projected=columns is not None)
        found = dataset.dataset(self._full(paths), format=kind, filesystem=files, **options)
        if columns is None:
            return found
        chosen = found.replace_schema(pa.schema([found.schema.field(name) for name in columns]))
        self._session.note_read(self.dataset, columns)
        return chosen

    def ray(self, path: str = "", columns: Sequence[str] | None = None, **options: Any) -> ray.data.Dataset:
        """A Ray dataset over all its files, or the one at `path`, read by the cluster's workers.

        With `columns` it has these alone, and lineage says so. Where columns are sealed by classes it is read by a source of
        ours, without `options`.
        """
        paths = self._paths(path)
        if self._by_columns:
            from federation.worker import ray_source  # noqa: PLC0415 - as below

            opened = self._session.columns(self.alias)
            chosen = by_columns.names(opened, paths, columns)
            self._session.note_read(self.dataset, chosen)
            return ray_source.dataset(self._session.connection, self.alias, opened, paths, chosen)
        import ray.data  # noqa: PLC0415 - importing Ray takes a second

        read = _choose(paths, parquet=ray.data.read_parquet, csv=ray.data.read_csv)
        if columns is not None:
            wanted = list(columns)
            csv = {"convert_options": pa.csv.ConvertOptions(include_columns=wanted)}
            options |= _choose(paths, parquet={"columns": wanted}, csv=csv)
            self._session.note_read(self.dataset, wanted)
        return read(self._full(paths), filesystem=filesystem(projected=columns is not None), **options)

    @contextlib.contextmanager
    def spark(self, path: str = "") -> Iterator[by_columns.Lent]:
        """Its files, or the one at `path`, with columns sealed by classes, for a Spark of this machine while the block lasts.

        Spark opens the columns of the classes that the job has named, by the key client of `infra/spark`.
        """
        if not self._by_columns:
            raise errors.FailedPrecondition(
                f"the columns of {self.version} are not sealed by classes",
                reason="PME_PROFILE_MISSING",
                help="Read it with open, pandas, arrow or ray.",
            )
        self._session.note_read(self.dataset)
        with by_columns.lend(self._session.columns(self.alias), self._paths(path)) as lent:
            yield lent

    @property
    def column_classes(self) -> tuple[ColumnClass, ...]:
        """Columns that are sealed by classes; () where all of it is sealed under one key."""
        return self._version.manifest.column_classes

    @property
    def _by_columns(self) -> bool:
        return bool(self.column_classes)

    @property
    def _version(self) -> data.OpenedVersion:
        return self._session.version(self.alias)

    def _paths(self, path: str) -> tuple[str, ...]:
        if path:
            with failures.shaped():
                return (self._version.entry(path).path,)
        return self.files()

    def _full(self, paths: tuple[str, ...]) -> list[str]:
        return [f"{self.dataset}/{path}" for path in paths]


class Output:
    """A dataset that gets a new version from this job. Any process of the job may write files to it."""

    def __init__(self, session: Session, binding: environment.Binding) -> None:
        self._session = session
        self.alias = binding.alias
        self.dataset = binding.dataset
        self._classes = _classes(binding)

    def __repr__(self) -> str:
        return f"<Output {self.alias}={self.url}>"

    @property
    def url(self) -> str:
        """Where fsspec and pandas write: `fed://ml/delay-model`."""
        return f"fed://{self.dataset}"

    @property
    def column_classes(self) -> tuple[ColumnClass, ...]:
        """Columns that are sealed by classes, as the job declares them: each file is then Parquet, and written anew so."""
        return self._classes

    def open(self, path: str, mode: str = "wb") -> IO[Any]:
        """A new file, binary or (`w`) text in UTF-8; part of the output once it is closed without an exception.

        Where columns are sealed by classes it is refused when it is closed, unless it is Parquet with all their columns.
        """
        return filesystem().open(f"{self.dataset}/{path}", mode)  # type: ignore[no-any-return]

    def write_file(self, local: str | Path, path: str = "") -> None:
        """Copies a local file into the output, under its own name unless `path` says another."""
        source = Path(local)
        rows, columns = data.describe(source)
        with source.open("rb") as file, failures.shaped():
            entry = self._session.writer(self.alias).put_file(path or source.name, file, rows)
        self._session.written.setdefault(self.dataset, {})[entry.path] = entry.file_bytes
        self._session.note_written(self.dataset, columns)

    def write_table(self, table: pa.Table | pd.DataFrame, path: str = "data.parquet", **options: Any) -> None:
        """Writes an Arrow table or a pandas frame as Parquet, or as CSV if the path ends so."""
        if not isinstance(table, pa.Table):
            table = pa.Table.from_pandas(table, preserve_index=False)
        with self._session.create(self.alias, path) as file:
            file.rows, file.columns = table.num_rows, data.columns(table.schema)
            write = _choose((path,), parquet=pa.parquet.write_table, csv=pa.csv.write_csv)
            write(table, file, **options)

    def columns(self, made_from: Mapping[str, str | Sequence[str]]) -> None:
        """Declares for lineage from which columns of inputs those of this output are made.

        `{"total": ["orders.price", "orders.qty"]}`: a source is an input's alias, a dot and the column. It adds to what was
        declared before. InvalidArgument (COLUMN_MAP_INVALID) for an input that the job does not have.
        """
        sources = tuple(
            lineage.ColumnSource(column=column, source=source)
            for column, given in made_from.items()
            for source in ([given] if isinstance(given, str) else given)
        )
        lineage.check_sources(sources, frozenset(binding.alias for binding in self._session.connection.inputs))
        self._session.note_written(self.dataset, sources=sources)


class Bound(Mapping[str, T]):
    """The job's inputs, or its outputs, by alias."""

    def __init__(self, word: str, make: Callable[[Session, environment.Binding], T]) -> None:
        self._word = word
        self._make = make

    def __getitem__(self, alias: str) -> T:
        session = current()
        for binding in self._bindings():
            if binding.alias == alias:
                return self._make(session, binding)
        known = ", ".join(self) or "none"
        raise failures.AccessDenied(
            f"{alias!r} is not an {self._word} of {session.connection.run}; its {self._word}s are: {known}",
            reason=f"{self._word.upper()}_NOT_IN_PLAN",
            help=f"Name it with --{self._word} when the job is submitted.",
        )

    def __contains__(self, alias: object) -> bool:
        return any(binding.alias == alias for binding in self._bindings())

    def __iter__(self) -> Iterator[str]:
        return iter([binding.alias for binding in self._bindings()])

    def __len__(self) -> int:
        return len(self._bindings())

    def __repr__(self) -> str:
        return f"<federation.{self._word}s>"

    def _bindings(self) -> tuple[environment.Binding, ...]:
        connection = current().connection
        return connection.inputs if self._word == "input" else connection.outputs


inputs: Bound[Input] = Bound("input", Input)
outputs: Bound[Output] = Bound("output", Output)


def filesystem(*, projected: bool = False) -> FedFileSystem:
    """The job's datasets as an fsspec file system; may be pickled and handed to Ray workers.

    `projected` is for whoever has told lineage already which columns are read through it.
    """
    from federation.worker.filesystem import FedFileSystem  # noqa: PLC0415 - it imports this module

    return FedFileSystem(connection=current().connection, projected=projected)


def current() -> Session:
    """This process's session; FailedPrecondition (NOT_IN_A_JOB) outside of a job."""
    variables = config.environment()
    with _SESSIONS_LOCK:
        found = _SESSIONS.get((os.getpid(), None))
        if found is None:
            connection = environment.of(variables) or cluster.find(environment.required(variables, environment.RUN))
            found = _SESSIONS[os.getpid(), None] = of(connection)
        return found


def of(connection: environment.Connection) -> Session:
    """The session of this process over a connection that came from another."""
    with _SESSIONS_LOCK:
        key = (os.getpid(), connection)
        if key not in _SESSIONS:
            _SESSIONS[key] = Session(connection)
        return _SESSIONS[key]


_SESSIONS_LOCK = threading.RLock()
_SESSIONS: dict[tuple[int, environment.Connection | None], Session] = {}


def _bound(bindings: tuple[environment.Binding, ...], name: str) -> environment.Binding:
    for binding in bindings:
        if name in (binding.alias, binding.dataset):
            return binding
    return environment.Binding(alias=name, dataset=name)  # the gateway knows more names, and refuses the others


def _classes(output: environment.Binding) -> tuple[ColumnClass, ...]:
    return parse(output.column_classes) if output.column_classes else ()


def _aliases(bindings: tuple[environment.Binding, ...], dataset: str) -> list[str]:
    return [binding.alias for binding in bindings if binding.dataset == dataset]


def _choose(paths: tuple[str, ...], *, parquet: T, csv: T) -> T:
    """What fits the format of all those files."""
    by_suffix = {".parquet": parquet, ".csv": csv}
    suffixes = {Path(path).suffix.lower() for path in paths}
    if len(suffixes) != 1 or not suffixes <= set(by_suffix):
        raise errors.InvalidArgument(
            f"these files are not all Parquet or all CSV: {', '.join(sorted(suffixes)) or 'there are none'}",
            reason="FORMAT_UNKNOWN",
            help="Name one file with `path`, or open files with `open` and read them as what they are.",
        )
    return by_suffix[suffixes.pop()]
