"""What Spark needs beside its Python package: a Java, and the jars of Delta Lake and, for S3, of S3A. Found, fetched, told.

This is what an entry point of `federation.engines` names: it loads where Spark is not installed, and says what is missing.

Jars lie in a folder that people fill for a closed network, or in a cache that is filled once from Maven Central by Ivy, which
pyspark brings along. Spark's own way (`spark.jars.packages`) is not used: it asks the network at each start, fails where a
local Maven repository knows a jar's description but not the jar, and for S3 takes all of Amazon's SDK, 35 times what it uses.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.sax import saxutils

from federation.core import errors
from federation.ports import EnginePart, RecordEngine

#: Spark 4 needs it; newer ones are taken as well.
JAVA_MIN = 17
_SCALA = "2.13"
#: Amazon's SDK that a release of hadoop-aws was built with. Others are named by whoever uses them, as coordinates.
_AWS_SDK = {"3.5.0": "2.35.4"}
_AWS_MODULES = ("s3", "s3-transfer-manager", "sts")
_INSTALL = "Run `pip install 'dataset-federation[spark]'`."
_FETCH_SECONDS = 600
_JAVA_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Coordinate:
    """A jar in Maven's words. `whole` takes what it needs along, for jars whose needs Spark does not bring."""

    group: str
    artifact: str
    version: str
    whole: bool = False

    @classmethod
    def parse(cls, text: str) -> Coordinate:
        """Reads `group:artifact:version`, taken with what it needs; InvalidArgument (CONFIG_INVALID) for another form."""
        parts = text.split(":")
        if len(parts) != 3 or not all(re.fullmatch(r"[A-Za-z0-9._-]+", part) for part in parts):
            raise errors.InvalidArgument(
                f"{text!r} is no Maven coordinate",
                reason="CONFIG_INVALID",
                help="Write group:artifact:version, for example io.delta:delta-storage:4.4.0.",
            )
        return cls(group=parts[0], artifact=parts[1], version=parts[2], whole=True)

    @property
    def file(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


class SparkSetup:
    """How Spark is had here. Jars are those in `jars_dir` if one is named, else in a folder below `cache` that is filled once.

    `coordinates` name jars beside those of Delta Lake and, with `s3`, of S3A. `env` says where Java is.
    """

    def __init__(
        self,
        *,
        env: Mapping[str, str],
        cache: Path,
        jars_dir: Path | None = None,
        coordinates: Sequence[str] = (),
        s3: bool = False,
    ) -> None:
        self._env, self._cache, self._jars_dir = env, cache, jars_dir
        self._coordinates, self._s3 = tuple(coordinates), s3

    def check(self) -> tuple[EnginePart, ...]:
        """Each thing that Spark needs: found where and in which version, or what to do to have it. Fetches nothing."""
        parts = [_java_part(self._env), *(_package_part(name) for name in ("pyspark", "delta-spark"))]
        if not all(part.version for part in parts[1:]):
            return tuple(parts)
        try:
            wanted, folder = self._wanted(), self.folder
        except errors.FederationError as error:
            return (*parts, EnginePart(part="jars", to_do=f"{error.message}. {error.help}"))
        return (*parts, *(_jar_part(row, folder) for row in wanted))

    def fetch(self, folder: Path | None = None) -> tuple[Path, ...]:
        """All jars, in `folder` or where `engine` looks for them; as `fetch`."""
        return fetch(self._wanted(), folder or self.folder, java=self._env)

    def engine(self, root: str, storage_options: Mapping[str, str], *, remote: str = "", **how: Any) -> RecordEngine:
        """The engine, not started yet; `how` is `SparkEngine`'s. A Connect server (`remote`) has its own Java and jars."""
        try:
            from connectors.engines.spark import SparkEngine  # noqa: PLC0415 - pyspark is an extra, and slow to import
        except ModuleNotFoundError as error:
            raise _extra_missing(error.name or "pyspark") from error
        found: tuple[Path, ...] = ()
        if not remote:
            java_program(self._env)
            found = jars(self._jars_dir, self._wanted()) if self._jars_dir else self.fetch()
        return SparkEngine(root, storage_options, remote=remote, jars=found, **how)

    @property
    def folder(self) -> Path:
        """Where the jars are looked for: a folder of its own for each pair of releases."""
        return self._jars_dir or self._cache / f"spark-{_installed('pyspark')}-delta-{_installed('delta-spark')}"

    def _wanted(self) -> tuple[Coordinate, ...]:
        return coordinates(s3=self._s3, extra=self._coordinates)


def coordinates(*, s3: bool, extra: Iterable[str] = ()) -> tuple[Coordinate, ...]:
    """The jars that the installed pyspark and delta-spark belong with; with `s3` those of S3A; and what is named beside them.

    FailedPrecondition (EXTRA_MISSING) where one of both is not installed.
    """
    spark, delta = _installed("pyspark"), _installed("delta-spark")
    line = ".".join(spark.split(".")[:2])
    found = [
        Coordinate(group="io.delta", artifact=f"delta-spark_{line}_{_SCALA}", version=delta),
        Coordinate(group="io.delta", artifact="delta-storage", version=delta),
    ]
    if s3:
        found += _s3a()
    return (*found, *(Coordinate.parse(text) for text in extra))


def _s3a() -> list[Coordinate]:
    """S3A of the Hadoop that pyspark brings, and the few modules of Amazon's SDK that it uses."""
    client = next((_pyspark() / "jars").glob("hadoop-client-api-*.jar"), None)
    hadoop = client.stem.removeprefix("hadoop-client-api-") if client else ""
    if hadoop not in _AWS_SDK:
        raise errors.FailedPrecondition(
            f"it is not known which jars Hadoop {hadoop or '(none)'} reads S3 with",
            reason="JARS_MISSING",
            help="Put them into the folder of jars, or name them as coordinates: hadoop-aws of that version, and its AWS SDK.",
        )
    sdk = _AWS_SDK[hadoop]
    return [
        Coordinate(group="org.apache.hadoop", artifact="hadoop-aws", version=hadoop),
        Coordinate(group="software.amazon.s3.analyticsaccelerator", artifact="analyticsaccelerator-s3", version="1.3.1"),
        *(Coordinate(group="software.amazon.awssdk", artifact=name, version=sdk, whole=True) for name in _AWS_MODULES),
    ]


def jars(folder: Path, wanted: Sequence[Coordinate]) -> tuple[Path, ...]:
    """All jars of a folder; FailedPrecondition (JARS_MISSING) where one that is wanted is not among them."""
    found = tuple(sorted(folder.glob("*.jar"))) if folder.is_dir() else ()
    names = {path.name for path in found}
    if missing := [row for row in wanted if row.file not in names]:
        raise errors.FailedPrecondition(
            f"{folder} lacks {', '.join(row.file for row in missing)}",
            reason="JARS_MISSING",
            help="Fill it where there is a network: `fed engine fetch FOLDER`; then carry it over.",
            metadata={"missing": ",".join(map(str, missing))},
        )
    return found


def fetch(wanted: Sequence[Coordinate], folder: Path, *, java: Mapping[str, str]) -> tuple[Path, ...]:
    """Fills a folder from Maven Central, whole or not at all; does nothing where all that is wanted is there.

    Unavailable (JARS_UNREACHABLE) where a jar cannot be had.
    """
    try:
        return jars(folder, wanted)
    except errors.FailedPrecondition:
        folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        fetched = Path(scratch) / "jars"
        _ivy(wanted, Path(scratch), fetched, java)
        jars(fetched, wanted)
        folder.mkdir(exist_ok=True)
        for path in fetched.glob("*.jar"):
            path.replace(folder / path.name)
    return jars(folder, wanted)


def _ivy(wanted: Sequence[Coordinate], scratch: Path, folder: Path, java: Mapping[str, str]) -> None:
    module, settings = scratch / "ivy.xml", scratch / "settings.xml"
    rows = "".join(
        f"<dependency org={saxutils.quoteattr(row.group)} name={saxutils.quoteattr(row.artifact)}"
        f' rev={saxutils.quoteattr(row.version)} transitive="{str(row.whole).lower()}" conf="default->default"/>'
        for row in wanted
    )
    module.write_text(
        '<ivy-module version="2.0"><info organisation="federation" module="engine"/>'
        '<configurations><conf name="default"/></configurations>'
        # Spark brings these itself: two of one kind would contradict each other.
        f'<dependencies>{rows}<exclude org="org.slf4j"/><exclude org="commons-logging"/></dependencies></ivy-module>'
    )
    settings.write_text(
        '<ivysettings><settings defaultResolver="central"/><resolvers>'
        '<ibiblio name="central" m2compatible="true" usepoms="true"/></resolvers></ivysettings>'
    )
    program = next((_pyspark() / "jars").glob("ivy-*.jar"))
    retrieve = f"{folder}/[artifact]-[revision].[ext]"
    command = [java_program(java), "-cp", str(program), "org.apache.ivy.Main", "-settings", str(settings), "-ivy", str(module)]
    command += ["-cache", str(scratch / "cache"), "-types", "jar", "bundle", "-confs", "default", "-retrieve", retrieve]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
        told = (done.stdout + done.stderr) if done.returncode else ""
    except subprocess.TimeoutExpired:
        told = f"it took longer than {_FETCH_SECONDS} s"
    if told:
        lines = [line.strip() for line in told.splitlines() if re.search(r"::|UNRESOLVED|not found|Exception|longer", line)]
        raise errors.Unavailable(
            f"jars cannot be fetched: {' '.join(lines[-4:])}",
            reason="JARS_UNREACHABLE",
            help="Without a way to Maven Central, fill a folder elsewhere (`fed engine fetch FOLDER`) and name it.",
        )


def java_program(env: Mapping[str, str]) -> str:
    """The Java that Spark will take: JAVA_HOME's, else the one on the path. FailedPrecondition (JAVA_MISSING) without one."""
    home = env.get("JAVA_HOME", "")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java", path=env.get("PATH")) or ""
    if not found or not Path(found).is_file():
        raise errors.FailedPrecondition(
            f"there is no Java at {found}" if found else "there is no Java",
            reason="JAVA_MISSING",
            help=f"Install Java {JAVA_MIN} or newer (Debian: apt install openjdk-17-jre-headless), or set JAVA_HOME.",
        )
    return found


def java_version(program: str) -> str:
    """`17.0.15`, as a Java says itself; empty where it says nothing."""
    done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=_JAVA_SECONDS, check=False)
    match = re.search(r'version "([^"]+)"', done.stderr)
    return match[1] if match else ""


def _java_part(env: Mapping[str, str]) -> EnginePart:
    try:
        program = java_program(env)
    except errors.FailedPrecondition as error:
        return EnginePart(part="java", to_do=error.help)
    version = java_version(program)
    major = int(version.split(".")[0]) if version[:1].isdigit() else 0
    if major < JAVA_MIN:
        return EnginePart(part="java", where=program, to_do=f"{version or 'It'} is too old: Spark 4 needs Java {JAVA_MIN}.")
    return EnginePart(part="java", version=version, where=program)


def _package_part(name: str) -> EnginePart:
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return EnginePart(part=name, to_do=_INSTALL)
    return EnginePart(part=name, version=found.version, where=str(found.locate_file("")))


def _jar_part(wanted: Coordinate, folder: Path) -> EnginePart:
    if (folder / wanted.file).is_file():
        return EnginePart(part=wanted.artifact, version=wanted.version, where=str(folder))
    return EnginePart(part=wanted.artifact, to_do=f"Run `fed engine fetch`, or put {wanted.file} into {folder}.")


def _installed(name: str) -> str:
    part = _package_part(name)
    if not part.version:
        raise _extra_missing(name)
    return part.version


def _pyspark() -> Path:
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise _extra_missing("pyspark")
    return Path(found.origin).parent


def _extra_missing(name: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(f"{name} is not installed", reason="EXTRA_MISSING", help=_INSTALL)
