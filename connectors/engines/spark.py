"""Spark with Delta Lake as the engine for heavy work over the record: on this machine, on a cluster, or by Spark Connect.

It takes a quarter of a minute to start, so nothing that somebody waits for goes through it. And it commits only where nobody
else does: Delta's log stores for files and for S3 look whether a commit is there and then put theirs, guarded inside one JVM
alone. So Spark can overwrite a commit that delta-rs made in between (tried on files: it does). Its maintenance is for tables
on files, while their committer is held off; on object stores it reads, and writes elsewhere.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyspark
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from pyspark.errors import AnalysisException, ParseException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sql_functions

from federation.core import errors, maintenance, query
from federation.core.query import Query
from federation.ports import Compaction, Exported, ExportFormat, Merged

#: Files by path in SQL: only ours are, while a table is tended.
_ON_FILES = "spark.sql.runSQLOnFiles"
_SESSION = {
    "spark.sql.session.timeZone": "UTC",
    # As DataFusion has it: "x" is a name, and what cannot be computed is an error and no null.
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    _ON_FILES: "false",
    # The record's log keeps statistics of positions alone; a Z-order is found by those that Parquet keeps of each row group.
    "spark.databricks.delta.optimize.zorder.checkStatsCollection.enabled": "false",
}
_DRIVER = {
    "spark.app.name": "dataset-federation",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.properties.defaults.minReaderVersion": str(maintenance.READER_VERSION_MAX),
    "spark.databricks.delta.properties.defaults.minWriterVersion": "2",
    **{
        f"spark.databricks.delta.properties.defaults.{key.removeprefix('delta.')}": value
        for key, value in maintenance.PLAIN_PROPERTIES.items()
    },
}
#: On one machine many small partitions only cost time.
_LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "8",
    "spark.databricks.delta.snapshotPartitions": "2",
}
#: delta-rs's options of an object store, and S3A's for the same.
_S3A = {
    "aws_access_key_id": "fs.s3a.access.key",
    "aws_secret_access_key": "fs.s3a.secret.key",
    "aws_session_token": "fs.s3a.session.token",
    "aws_endpoint_url": "fs.s3a.endpoint",
    "aws_region": "fs.s3a.endpoint.region",
}

#: pyspark logs every error, a screen each, before it raises it.
_LOGGERS = ("SQLQueryContextLogger", "DataFrameQueryContextLogger")

#: Holds every other writer off one table for as long as it is entered.
Alone = Callable[[str], AbstractContextManager[object]]


class SparkEngine:
    """A `ports.RecordEngine`. `remote` (`sc://host:port`) is Spark Connect, and goes before `master`, for a driver here.

    `jars` are Delta Lake's and S3A's; a Connect server has its own. Without `alone` it never commits to a table of the record.
    """

    def __init__(
        self,
        root: str,
        storage_options: Mapping[str, str] | None = None,
        *,
        tables: Iterable[str],
        master: str = "local[*]",
        remote: str = "",
        jars: Sequence[Path] = (),
        memory_bytes: int = 2 * 1024**3,
        settings: Mapping[str, str] | None = None,
        alone: Alone | None = None,
    ) -> None:
        self._root = str(Path(root).resolve()) if "://" not in root else root.rstrip("/")
        self._options = dict(storage_options or {})
        self._tables = frozenset(tables)
        self._master, self._remote, self._jars = master, remote, tuple(jars)
        self._memory_bytes, self._settings = memory_bytes, dict(settings or {})
        self._alone = alone
        self._lock = threading.RLock()
        self._spark: SparkSession | None = None

    def query(self, sql: str, *, limit: int | None = None, seconds: float | None = None) -> pa.Table:
        asked = query.parse(sql)
        with self._lock, _translated():
            frame = self._frame(asked)
            with self._within(seconds):
                found = (frame if limit is None else frame.limit(limit)).toArrow()
        return found.cast(pa.schema([field.remove_metadata() for field in found.schema]))

    def export(self, sql: str, path: str, format: ExportFormat) -> Exported:  # noqa: A002 - the port's word
        asked = query.parse(sql)
        local = _folder(path)
        target = str(Path(local).resolve()) if local else _hadoop(path)
        maintenance.check_export(target, _folder(self._root) or _hadoop(self._root))
        local = local and target
        if local and Path(local).exists():
            raise maintenance.export_exists(path)
        with self._lock, _translated():
            counted = self._observed(self._frame(asked))
            writer = counted[0].write.format(format).mode("error").option("header", "true")
            try:
                writer.save(target)
            except AnalysisException as error:
                if error.getCondition() == "PATH_ALREADY_EXISTS":
                    raise maintenance.export_exists(path) from error
                raise
            rows = int(counted[1].get["rows"])
        return Exported(path=path, rows=rows, bytes=_bytes_under(Path(local)) if local else None)

    def compact(self, table: str, *, order_by: tuple[str, ...] = ()) -> Compaction:
        handle = self._open(table)
        names = [field.name for field in handle.schema().fields]
        maintenance.check_order(table, names, handle.metadata().partition_columns, order_by)
        columns = ", ".join(map(_quoted, order_by))
        with self._committing(table) as (spark, path):
            done = spark.sql(f"OPTIMIZE delta.{_quoted(path)}" + (f" ZORDER BY ({columns})" if columns else ""))
            metrics = done.select("metrics.*").select(
                "numFilesAdded",
                "numFilesRemoved",
                "filesAdded.totalSize",
                sql_functions.col("filesRemoved.totalSize").alias("gone"),
            )
            added, removed, bytes_added, bytes_removed = metrics.collect()[0]
        return Compaction(
            table=table,
            version=self._open(table).version(),
            files_added=added,
            files_removed=removed,
            bytes_added=bytes_added,
            bytes_removed=bytes_removed,
        )

    def merge(self, table: str, rows: pa.Table, on: tuple[str, ...]) -> Merged:
        handle = self._open(table)
        maintenance.check_may_change(table, handle.metadata().configuration)
        columns = [field.name for field in handle.schema().fields]
        keys = zip(*(rows.column(key).to_pylist() for key in on if key in rows.column_names), strict=True)
        maintenance.check_merge(table, columns, rows.column_names, on, keys)
        same = " AND ".join(f"old.{_quoted(key)} = new.{_quoted(key)}" for key in on)
        others = [field for field in rows.schema if field.name not in on]
        differs = " OR ".join(f"NOT ({_comparable('old', field)} <=> {_comparable('new', field)})" for field in others)
        update = f" WHEN MATCHED AND ({differs}) THEN UPDATE SET *" if others else ""
        view = f"merged_{uuid.uuid4().hex}"
        with self._committing(table) as (spark, path):
            spark.createDataFrame(rows).createOrReplaceTempView(view)
            try:
                done = spark.sql(
                    f"MERGE INTO delta.{_quoted(path)} AS old USING {view} AS new ON {same}{update}"
                    " WHEN NOT MATCHED THEN INSERT *"
                )
                updated, inserted = done.select("num_updated_rows", "num_inserted_rows").collect()[0]
            finally:
                spark.catalog.dropTempView(view)
        return Merged(table=table, version=self._open(table).version(), rows_inserted=inserted, rows_updated=updated)

    def close(self) -> None:
        """Ends the session, and with a driver of its own the JVM's work."""
        with self._lock:
            if self._spark is not None:
                self._spark.stop()
                self._spark = None

    def version(self) -> str:
        """Spark's version, told by the running Spark: starts it."""
        with self._lock, _translated():
            return str(self._session().version)

    # -- the session ---------------------------------------------------------------------------------------------------------

    def _session(self) -> SparkSession:
        if self._spark is None:
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            self._spark = self._connected() if self._remote else self._started()
            for key, value in _SESSION.items():
                self._spark.conf.set(key, value)
        return self._spark

    def _connected(self) -> SparkSession:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of pandas, as below
            return SparkSession.builder.remote(self._remote).create()

    def _started(self) -> SparkSession:
        local = self._master.startswith("local")
        conf = (
            _DRIVER
            | (_LOCAL if local else {})
            | {
                "spark.driver.memory": f"{self._memory_bytes // 1024**2}m",
                "spark.jars": ",".join(map(str, self._jars)),
                # Nothing is ever put there; by default it would be made in whatever folder this runs in.
                "spark.sql.warehouse.dir": f"{tempfile.gettempdir()}/fed-spark-warehouse",
            }
        )
        builder = SparkSession.builder.master(self._master).config(map={**conf, **self._settings})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of pandas, which this does not use
            spark: SparkSession = builder.getOrCreate()
        # Not among the settings of a start: those stand in the command line of the JVM, and keys may be among these.
        hadoop = spark.sparkContext._jsc.hadoopConfiguration()
        for key, value in _s3a(self._options).items():
            hadoop.set(key, value)
        return spark

    # -- reading -------------------------------------------------------------------------------------------------------------

    def _frame(self, asked: Query) -> DataFrame:
        spark = self._session()
        missing: errors.NotFound | None = None
        for table in sorted(asked.names & self._tables):
            try:
                spark.read.format("delta").load(_hadoop(f"{self._root}/{table}")).createOrReplaceTempView(table)
            except AnalysisException as error:
                if error.getCondition() not in _MISSING:
                    raise
                spark.catalog.dropTempView(table)
                missing = maintenance.table_missing(table, self._root)
        try:
            return spark.sql(asked.sql)
        except (AnalysisException, ParseException) as error:
            raise missing or maintenance.sql_invalid(str(error).splitlines()[0]) from error

    def _observed(self, frame: DataFrame) -> tuple[DataFrame, Any]:
        observation = pyspark.sql.Observation()
        return frame.observe(observation, sql_functions.count(sql_functions.lit(1)).alias("rows")), observation

    @contextmanager
    def _within(self, seconds: float | None) -> Iterator[None]:
        """Cancels what runs in it after so long. A task ends when it next looks up, which a nested loop may take long to do."""
        if seconds is None:
            yield
            return
        spark = self._session()
        late = threading.Event()

        def interrupt() -> None:
            late.set()
            # All jobs are this engine's, whose calls run one after another. Those that fetch rows for Python bear no tag.
            if self._remote:
                spark.interruptAll()
            else:
                spark.sparkContext.cancelAllJobs()

        timer = threading.Timer(seconds, interrupt)
        timer.start()
        try:
            yield
        except Exception as error:
            if late.is_set():
                raise maintenance.query_too_slow(seconds) from error
            raise
        finally:
            timer.cancel()

    # -- committing ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def _committing(self, table: str) -> Iterator[tuple[SparkSession, str]]:
        """The session and the table's path, while nobody else commits to it; before and after it is a table for everyone."""
        folder = _folder(self._root)
        if folder is None:
            raise _may_not_commit(table, f"on {urlparse(self._root).scheme} Spark's commits are guarded inside one JVM alone")
        if self._alone is None:
            raise _may_not_commit(table, "nothing holds its committer off, and Spark's commit could overwrite one of its own")
        with self._lock, _translated(), self._alone(table):
            self._check_protocol(table)
            spark = self._session()
            spark.conf.set(_ON_FILES, "true")
            try:
                yield spark, f"{folder}/{table}"
            finally:
                spark.conf.set(_ON_FILES, "false")
                os.sync()  # Spark does no fsync: a commit counts once it is on the disk
            self._check_protocol(table)

    def _check_protocol(self, table: str) -> None:
        handle = self._open(table)
        protocol = handle.protocol()
        maintenance.check_protocol(
            table, protocol.min_reader_version, protocol.min_writer_version, handle.metadata().configuration
        )

    def _open(self, table: str) -> DeltaTable:
        """A look by delta-rs: what it cannot open is no table of the record."""
        try:
            return DeltaTable(f"{self._root}/{table}", storage_options=self._options or None)
        except TableNotFoundError:
            raise maintenance.table_missing(table, self._root) from None
        except (DeltaError, OSError) as error:
            raise errors.Unavailable(f"table {table} cannot be read: {error}", reason="TABLES_UNAVAILABLE") from error


_MISSING = ("DELTA_TABLE_NOT_FOUND", "DELTA_MISSING_DELTA_TABLE", "DELTA_PATH_DOES_NOT_EXIST", "PATH_NOT_FOUND")


@contextmanager
def _translated() -> Iterator[None]:
    """Turns what Spark and its JVM raise inside into our errors."""
    try:
        yield
    except PySparkException as error:
        text = str(error).splitlines()[0]
        if error.getCondition() == "JAVA_GATEWAY_EXITED":
            raise errors.FailedPrecondition(
                "Spark does not start", reason="ENGINE_UNUSABLE", help="Run `fed engine check`: it says what is missing."
            ) from error
        if error.getCondition() == "PACKAGE_NOT_INSTALLED":
            raise errors.FailedPrecondition(
                text, reason="EXTRA_MISSING", help="Run `pip install 'dataset-federation[spark]'`."
            ) from error
        if isinstance(error, AnalysisException) or (error.getSqlState() or "").startswith("22"):
            raise maintenance.sql_invalid(text) from error
        raise errors.Unavailable(
            f"Spark failed: {text}", reason="ENGINE_FAILED", help="Its log on stderr says more."
        ) from error


def _may_not_commit(table: str, why: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"Spark may not commit to {table}: {why}",
        reason="ENGINE_MAY_NOT_COMMIT",
        help="Use the embedded engine for this; Spark may read the table, and export what it finds to another place.",
        metadata={"table": table},
    )


def _s3a(options: Mapping[str, str]) -> dict[str, str]:
    lowered = {key.lower(): value for key, value in options.items()}
    found = {_S3A[key]: value for key, value in lowered.items() if key in _S3A}
    if endpoint := lowered.get("aws_endpoint_url", ""):
        found |= {
            "fs.s3a.path.style.access": "true",
            "fs.s3a.connection.ssl.enabled": str(endpoint.startswith("https:")).lower(),
        }
    return found


def _hadoop(path: str) -> str:
    """A path in Hadoop's words, where S3 is s3a."""
    return f"s3a://{path.removeprefix('s3://')}" if path.startswith("s3://") else path


def _folder(path: str) -> str | None:
    """The folder that a path is, None for an object store."""
    url = urlparse(path)
    return unquote(url.path) if url.scheme in ("", "file") else None


def _bytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("part-*"))


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _comparable(side: str, field: pa.Field) -> str:
    """A column as Spark can compare it: it compares no maps, but their sorted entries."""
    column = f"{side}.{_quoted(field.name)}"
    return f"array_sort(map_entries({column}))" if pa.types.is_map(field.type) else column
