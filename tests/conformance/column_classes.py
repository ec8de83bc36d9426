"""Column classes between pyarrow and Spark, by the key client of `infra/spark`. Used by the one test that has a JVM."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from federation.core import columns
from federation.crypto import modular

CLIENT = Path(__file__).parents[2] / "infra" / "spark" / "FederationKeys.java"
UID, GENERATION = "d-people", "g-" + "7" * 26
DEKS = {"default": b"\1" * 32, "pii": b"\2" * 32}
CLASSES = columns.parse(["pii=email"])
TABLE = pa.table({"id": [1, 2, 3], "email": ["a@b.c", "d@e.f", "g@h.i"]})


def compiled(folder: Path) -> str:
    """The key client's class, compiled against Spark's jars, as a class path; empty where there is no Java compiler."""
    compiler = shutil.which("javac")
    if compiler is None:
        return ""
    import pyspark

    jars = Path(pyspark.__file__).parent / "jars"
    subprocess.run([compiler, "-cp", f"{jars}/*", "-d", str(folder), str(CLIENT)], check=True, capture_output=True)
    return str(folder)


def holder(*classes: str) -> modular.Keyholder:
    """Who holds the DEKs of these classes."""
    return modular.Keyholder(UID, GENERATION, {name: DEKS[name] for name in classes}, lifetime=timedelta(minutes=5))


def are_read_both_ways(spark: Any, folder: Path) -> None:
    """Spark reads what pyarrow wrote, a closed class excepted; pyarrow reads what Spark wrote."""
    folder.mkdir()
    path = folder / "people.parquet"
    holder("default", "pii").write(TABLE, path, CLASSES)
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    hadoop.set("parquet.crypto.factory.class", "org.apache.parquet.crypto.keytools.PropertiesDrivenCryptoFactory")
    hadoop.set("parquet.encryption.kms.client.class", "FederationKeys")
    try:
        _lease(spark, folder, "default", "pii")
        assert [tuple(row) for row in spark.read.parquet(str(path)).orderBy("id").collect()] == list(
            zip(*TABLE.to_pydict().values(), strict=True)
        )
        _spark_to_pyarrow(spark, folder / "by-spark")
        _lease(spark, folder, "default")
        frame = spark.read.parquet(str(path))
        assert frame.selectExpr("sum(id)").collect()[0][0] == 6
        with pytest.raises(Exception, match=f"no lease for fed/{UID}/{GENERATION}/pii"):
            frame.select("email").collect()
    finally:
        hadoop.unset("parquet.crypto.factory.class")
        hadoop.unset("parquet.encryption.kms.client.class")


def _spark_to_pyarrow(spark: Any, folder: Path) -> None:
    default, pii = (modular.identifier(UID, GENERATION, name) for name in ("default", "pii"))
    frame = spark.createDataFrame(list(zip(*TABLE.to_pydict().values(), strict=True)), "id long, email string")
    frame.coalesce(1).write.option("parquet.encryption.footer.key", default).option(
        "parquet.encryption.column.keys", f"{default}:id;{pii}:email"
    ).parquet(str(folder))
    (file,) = folder.glob("*.parquet")
    data = file.read_bytes()
    opened = holder("default", "pii").open(io.BytesIO(data), CLASSES)
    assert opened.read().to_pydict() == TABLE.to_pydict()


def _lease(spark: Any, folder: Path, *classes: str) -> None:
    """From now on the JVM has these classes' keys, and none that it remembers."""
    lines = [f"{name}={base64.b64encode(master).decode()}" for name, master in holder(*classes).masters()]
    (folder / "keys").write_text("\n".join(lines))
    jvm = spark.sparkContext._jvm
    jvm.java.lang.System.setProperty("federation.keys", str(folder / "keys"))
    jvm.org.apache.parquet.crypto.keytools.KeyToolkit.removeCacheEntriesForAllTokens()
