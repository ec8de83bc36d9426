"""The catalog in a real PostgreSQL: the same federation file with a `database`, and everything else as it was."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from federation.core import job
from tests import localfed
from tests.postgres import postgres_server, postgres_url  # noqa: F401 - fixtures

COUNT = """
import time, federation
time.sleep(1.5)
numbers = federation.inputs["numbers"].pandas()
with federation.outputs["total"].open("total.txt", "w") as file:
    file.write(str(numbers.n.sum()))
"""


def test_a_federation_lives_on_postgresql_and_survives_its_server(tmp_path: Path, postgres_url: str):  # noqa: F811
    """Put, job, cost, lineage and get on PostgreSQL, with kill -9 of the server while the job runs."""
    federation = localfed.LocalFederation(folder=tmp_path / "f", settings={"database": postgres_url, "lease_seconds": "30"})
    (tmp_path / "numbers.csv").write_text("n\n" + "\n".join(map(str, range(1000))))
    with localfed.running(federation), federation.client() as client:
        client.put("lab/numbers", tmp_path / "numbers.csv", site="eu-1")
        name = federation.submit(COUNT, inputs={"numbers": "lab/numbers"}, outputs={"total": "lab/total"}).job
        localfed.until(lambda: client.get_job(name).state is job.JobState.RUNNING, 30, "the job to run")
        federation.kill("server")
        federation.up()
        ended = federation.succeed(name)
        assert ended.attempt == 1

        (entry,) = federation.settled(name)
        summaries, total = client.summarize_costs("job")
        assert [summary.key for summary in summaries] == [name]
        assert total.bytes == entry.bytes > 0
        graph = client.get_lineage("lab/total@1", depth=1)
        assert {(edge.run, edge.direction, edge.node) for edge in graph.edges} == {
            (ended.run, "in", "lab/numbers@1"),
            (ended.run, "out", "lab/total@1"),
        }
        (got,) = client.get("lab/total", tmp_path / "got")
        assert got.read_text() == str(sum(range(1000)))
        assert federation.fed("fsck").stdout == ""
    _is_all_there(postgres_url, federation)


def _is_all_there(url: str, federation: localfed.LocalFederation) -> None:
    """The facts lie in PostgreSQL and nowhere else: no SQLite file was made beside it."""
    assert not list(federation.layout.server.glob("*.db"))
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            kinds = set(connection.scalars(sa.text("SELECT DISTINCT kind FROM events")))
    finally:
        engine.dispose()
    assert {"version.committed", "run.succeeded", "ledger.entry", "lineage.edge"} <= kinds
