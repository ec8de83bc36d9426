"""Column classes over real gateways: who lacks a class's lease reads the other columns, and nothing opens the closed ones."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from federation.client import policy_cases
from federation.core import authorization, columns, dataset, errors, job, leases
from federation.crypto import hpke
from federation.wire import data
from federation.worker import environment, ray_source, session
from federation.worker import launch as launch_run
from federation.worker.filesystem import FedFileSystem
from tests.agent import federation as federations
from tests.agent.compute import MemoryCompute
from tests.agent.federation import Federation, Launcher, launch, until
from tests.wire.certs import Certs

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLASSES = columns.parse(["pii=email,ssn", "health=diagnosis"])
PEOPLE = pa.table(
    {
        "id": list(range(50)),
        "email": [f"person-{n}@example.org" for n in range(50)],
        "ssn": [f"{n:09}" for n in range(50)],
        "diagnosis": ["J10"] * 50,
    }
)
NAME = "hr/people"
ROOT = Path(__file__).resolve().parents[2]
#: What docs/column-classes.md shows.
SEALED = (ROOT / "examples/policies/column-classes.cedar").read_text()


def people(alias: str = "people", *classes: str) -> tuple[job.InputSpec, ...]:
    """The input of a job that names these classes."""
    return (job.InputSpec(alias=alias, dataset=NAME, column_classes=classes),)


def with_people(started: Federation, folder: Path) -> Federation:
    """The federation with people at eu-1, in two files."""
    folder.mkdir()
    for number in range(2):
        pq.write_table(PEOPLE.slice(25 * number, 25), folder / f"{number}.parquet")
    started.put(NAME, folder, "eu-1", column_classes=CLASSES)
    return started


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, certs: Certs) -> Iterator[Federation]:
    """One with people."""
    folder = tmp_path_factory.mktemp("fed")
    started = federations.start(folder, certs, compute=lambda _: MemoryCompute(), quantum_bytes=64 * 1024)
    yield with_people(started, folder / "people")
    started.stop()


@pytest.fixture
def kept(shared: Federation) -> Iterator[Federation]:
    """The shared one, for tests that leave people as they are. Their runs are ended, or the next would find no room."""
    yield shared
    for each in shared.client.list_jobs():
        with contextlib.suppress(errors.FailedPrecondition):  # it has just ended
            if not each.state.terminal:
                shared.client.cancel_job(each.job)


@pytest.fixture
def put(held: Federation, tmp_path: Path) -> Federation:
    """A fresh one with people."""
    return with_people(held, tmp_path / "people")


def worker(launcher: Launcher, federation: Federation, *classes: str) -> session.Input:
    """The input as code in the run has it."""
    binding = environment.Binding(alias="people", dataset=NAME, version=1, column_classes=classes)
    connection = environment.Connection(
        gateway=launcher.gateway.target,
        run=launcher.row.run,
        ca=federation.edge.certs.ca,
        token=launcher.gateway._token,
        inputs=(binding,),
    )
    return session.Input(session.Session(connection), binding)


def code(launcher: Launcher) -> session.Session:
    """What code in the run has, by what its gateway tells the launcher."""
    gateway, ca = launcher.gateway, base64.b64decode(launcher.submission.env["FED_CA"])
    told = gateway.exchange_ticket(launcher.submission.env["FED_TICKET"], "nonce")
    return session.Session(
        environment.Connection(
            gateway=gateway.target,
            run=told.run,
            ca=ca,
            token=told.token,
            inputs=tuple(map(launch_run._binding, told.inputs)),
            outputs=tuple(map(launch_run._binding, told.outputs)),
        )
    )


def output(of: session.Session) -> session.Output:
    """Its one output."""
    return session.Output(of, of.connection.outputs[0])


def made(name: str, *classes: columns.ColumnClass, kind: str = "DATA") -> tuple[job.OutputSpec, ...]:
    """The output of a job that declares these classes."""
    return (job.OutputSpec(alias="made", dataset=name, kind=kind, column_classes=classes),)


def ended(launcher: Launcher, federation: Federation) -> job.Job:
    """The job, once its run has ended well."""
    launcher.gateway.finish_attempt(0)
    return federation.client.wait(launcher.row.job, timeout=60)


def reason(call: Callable[[], Any]) -> str:
    """The reason with which a call is refused."""
    with pytest.raises(errors.FederationError) as refused:
        call()
    return refused.value.reason


def forbid(federation: Federation, action: str) -> None:
    """Applies the shipped policies with one more: nobody does this with the class pii."""
    rule = f"""
        @id("pii") @because("people's data stays closed") @control("test")
        forbid (principal, action == Fed::Action::"{action}", resource)
        when {{ context has column_class && context.column_class == "pii" }};
    """
    facts = authorization.DatasetFacts(namespace="hr", dataset="people", classification=1, owners=("users/ada",))
    asked = authorization.Question(
        subject=authorization.Subject(name="users/ada"), action=authorization.Action(action), dataset=facts, time=NOW
    )
    cases = [
        authorization.Case(name="the rest", question=dataclasses.replace(asked, for_job=True), allowed=True),
        authorization.Case(name="pii", question=dataclasses.replace(asked, column_class="pii"), allowed=False),
    ]
    federation.client.apply_policies(federation.edge.ctx.policies.default() + rule, cases)


@pytest.mark.invariant("D4")
def test_a_run_reads_the_classes_that_it_names_and_no_other(kept: Federation) -> None:
    """The default class alone, one more, or all: a closed column is refused by name, and the lease says what was opened."""
    version = kept.client.get_version(f"{NAME}@1")
    assert (version.column_classes, len(version.generations)) == (CLASSES, 1)
    launched = launch(kept, "eu-1", inputs=people())
    plain = worker(launched, kept)
    assert plain.table().equals(PEOPLE.select(["id"]))
    for wanted in (["email"], ["id", "diagnosis"]):
        assert reason(lambda wanted=wanted: plain.table(wanted)) == "COLUMN_CLASS_CLOSED"
    with pytest.raises(PermissionError, match="column 'ssn' is closed: there is no lease for column class 'pii'"):
        plain.table(["ssn"])
    wider = launch(kept, "eu-1", inputs=people("people", "pii"))
    some = worker(wider, kept, "pii")
    assert some.table().equals(PEOPLE.select(["id", "email", "ssn"]))
    assert some.pandas(columns=["ssn", "id"]).columns.tolist() == ["ssn", "id"]
    assert reason(lambda: some.table(["diagnosis"])) == "COLUMN_CLASS_CLOSED"
    assert reason(lambda: some.table(["phone"])) == "COLUMN_UNKNOWN"
    rows = list(kept.client.list_leases(filter=f'version = "{NAME}@1"'))
    granted = [{lease.sensitivities for lease in rows if lease.run == each.row.run} for each in (launched, wider)]
    assert granted == [{("default",)}, {("default",), ("default", "pii")}]


@pytest.mark.invariant("D4")
def test_a_run_gets_no_key_of_a_class_that_it_has_not_named(kept: Federation) -> None:
    """Whatever it asks its gateway: the catalog refuses the lease, before a key is unwrapped."""
    launcher = launch(kept, "eu-1", inputs=people("people", "health"))
    _, public = hpke.new_pair()
    assert [key.sensitivity for key in launcher.gateway.open_version(public, "people").keys] == ["default"]
    for asked in (["pii"], ["health", "pii"]):
        assert reason(lambda asked=asked: launcher.gateway.open_version(public, "people", column_classes=asked)) == (
            "COLUMN_CLASS_CLOSED"
        )
    opened = launcher.gateway.open_version(public, "people", column_classes=["health"])
    assert [key.sensitivity for key in opened.keys] == ["default", "health"]


@pytest.mark.invariant("D4")
def test_a_sealed_key_of_one_class_is_no_key_of_another(kept: Federation) -> None:
    """The class is in what the key is sealed for: a gateway's answer cannot be relabelled on its way."""
    launcher = launch(kept, "eu-1", inputs=people("people", "pii"))
    private, public = hpke.new_pair()
    answer = launcher.gateway.open_version(public, "people", column_classes=["pii"])
    default, pii = answer.keys
    whom = leases.audience(launcher.audience, answer.lease)
    info = hpke.dek_info(answer.dataset_uid, pii.generation, whom, "pii")
    assert hpke.open_(private, pii.sealed, info) != hpke.open_(
        private, default.sealed, hpke.dek_info(answer.dataset_uid, default.generation, whom)
    )
    assert reason(lambda: hpke.open_(private, default.sealed, info)) == "SEAL_INVALID"


def test_bytes_of_such_files_are_refused_and_the_call_to_use_is_named(kept: Federation) -> None:
    """By fed://, open, arrow and pandas over fsspec."""
    found = worker(launch(kept, "eu-1", inputs=people()), kept)
    files = FedFileSystem(connection=found._session.connection)
    assert files.ls(NAME, detail=False) == [f"{NAME}/0.parquet", f"{NAME}/1.parquet"]
    calls = [
        lambda: files.open(f"{NAME}/0.parquet"),
        lambda: files.cat_file(f"{NAME}/0.parquet"),
        lambda: pq.read_table(f"{NAME}/0.parquet", filesystem=files),
        lambda: found.open("0.parquet"),
        found.arrow,
    ]
    for call in calls:
        with pytest.raises(errors.FailedPrecondition) as refused:
            call()
        assert refused.value.reason == "PME_PROFILE"
        assert ".table(columns=" in refused.value.help
        assert ".ray(columns=" in refused.value.help


@pytest.mark.invariant("D4")
def test_a_person_brings_home_the_classes_that_they_name(kept: Federation, tmp_path: Path) -> None:
    """As plain Parquet; a class that the version does not have is refused."""
    kept.client.get(NAME, tmp_path / "all", column_classes=["pii", "health"])
    assert pq.read_table(tmp_path / "all" / "0.parquet").equals(PEOPLE.slice(0, 25))
    kept.client.get(NAME, tmp_path / "some")
    assert pq.read_table(tmp_path / "some" / "1.parquet").equals(PEOPLE.slice(25).select(["id"]))
    assert reason(lambda: kept.client.get(NAME, tmp_path / "none", column_classes=["salary"])) == "COLUMN_CLASS_UNKNOWN"


@pytest.mark.invariant("D4")
def test_policy_permits_the_rest_and_forbids_a_class(put: Federation, tmp_path: Path) -> None:
    """At submission, when a lease is asked for, when a person exports; the default class goes on."""
    before = launch(put, "eu-1", inputs=people("people", "pii"))
    forbid(put, "release_key")
    assert reason(lambda: put.submit("true", sites=("eu-1",), inputs=people("people", "pii"))) == "POLICY_DENIED"
    held = worker(before, put, "pii")
    assert reason(lambda: held.table(["email"])) == "POLICY_DENIED"
    other = worker(launch(put, "eu-1", inputs=people("people", "health")), put, "health")
    assert other.table().column_names == ["id", "diagnosis"]
    refused = [event for event in put.edge.catalog.events(0) if event.kind == "lease.refused"]
    assert refused
    assert json.loads(refused[-1].body)["reason"] == "POLICY_DENIED"
    forbid(put, "export")
    assert reason(lambda: put.client.get(NAME, tmp_path / "none", column_classes=["pii"])) == "POLICY_DENIED"
    assert len(put.client.get(NAME, tmp_path / "rest", column_classes=["health"])) == 2


def rows(federation: Federation, at: str) -> set[tuple[str, str]]:
    """Sensitivity and KEK of a site's rows."""
    return {
        (row.sensitivity, row.kek)
        for row in federation.edge.catalog.read(lambda tx: tx.list(dataset.WrappedKey))
        if row.site == at
    }


@pytest.mark.invariant("D4")
def test_a_replica_takes_along_the_classes_that_the_policy_lets_go(put: Federation) -> None:
    """What the policy forbids stays behind; a site without a class's key is no site for a job that reads it."""
    forbid(put, "replicate")
    made = put.client.create_transfer(f"{NAME}@1", "us-1")
    until(lambda: put.client.get_transfer(made.transfer).state == "SUCCEEDED")
    assert put.client.get_transfer(made.transfer).column_classes == ("health",)
    assert {name for name, _ in rows(put, "us-1")} == {"default", "health"}
    assert {name for name, _ in rows(put, "eu-1")} == {"default", "health", "pii"}
    there = worker(launch(put, "us-1", inputs=people("people", "health")), put, "health")
    assert there.table(["diagnosis"]).num_rows == 50
    plan = put.client.plan(job.JobRequest(entrypoint=("true",), inputs=people("people", "pii"))).plan
    assert plan is not None
    assert plan.choice is not None
    assert plan.choice.site == "eu-1"
    told = {row.site: row.detail for row in plan.rejections}
    assert "no key of column class pii" in told["us-1"]


def test_keys_of_all_classes_are_rotated_and_destroyed_together(put: Federation) -> None:
    """A rotation re-wraps each class's row; an erasure leaves none, and no site opens what it still has."""
    first = {kek for _, kek in rows(put, "eu-1")}
    put.client.rotate_keys("eu-1")
    until(lambda: {kek for _, kek in rows(put, "eu-1")}.isdisjoint(first))
    assert len(rows(put, "eu-1")) == 3
    (use,) = [each for each in put.client.list_key_uses() if each.dataset == NAME]
    assert (use.generations, use.sensitivities) == (1, ("default", "health", "pii"))
    reader = worker(launch(put, "eu-1", inputs=people("people", "pii", "health")), put, "pii", "health")
    assert reader.table().equals(PEOPLE.select(reader.table().column_names))
    kept = [row for row in put.edge.catalog.read(lambda tx: tx.list(dataset.WrappedKey)) if row.site == "eu-1"]
    put.client.erase_version(f"{NAME}@1", "request 4711")
    agent = put.places["eu-1"].agent
    assert agent is not None
    until(lambda: put.client.get_erasure(f"{NAME}@1").sites[0].signature)
    assert rows(put, "eu-1") == set()
    for row in kept:
        assert reason(lambda row=row: agent._opener._keys.unwrap(row)) == "KEY_DESTROYED"


def test_what_cannot_be_sealed_by_columns_is_refused_and_leaves_nothing(kept: Federation, tmp_path: Path) -> None:
    """A file that is no Parquet, a class with a column that is not there, a column that Parquet's settings cannot name."""
    before = kept.places["eu-1"].objects()
    csv = federations.write_files(tmp_path / "csv", a_csv=b"x,y\n1,2\n")
    assert reason(lambda: kept.put("hr/a", csv, "eu-1", column_classes=CLASSES)) == "COLUMN_CLASS_NOT_PARQUET"
    one = tmp_path / "one.parquet"
    pq.write_table(pa.table({"id": [1]}), one)
    assert reason(lambda: kept.put("hr/a", one, "eu-1", column_classes=CLASSES)) == "COLUMN_UNKNOWN"
    pq.write_table(pa.table({"a.b": [1], "email": [""], "ssn": [""]}), one)
    assert reason(lambda: kept.put("hr/a", one, "eu-1", column_classes=columns.parse(["pii=email,ssn"]))) == (
        "COLUMN_NAME_UNSUPPORTED"
    )
    assert kept.places["eu-1"].objects() == before
    assert kept.client.get_dataset("hr/a").latest_version == 0


def test_versions_with_and_without_classes_follow_each_other(kept: Federation, tmp_path: Path) -> None:
    """None takes files over from one that is sealed by columns, or into one; a job may name only classes of its version."""
    folder = tmp_path / "plain"
    folder.mkdir()
    pq.write_table(PEOPLE, folder / "0.parquet")
    classes = [(), CLASSES, ()]
    made = [kept.put("hr/mixed", folder, "eu-1", column_classes=each) for each in classes]
    assert [version.column_classes for version in made] == classes
    assert len({generation for version in made for generation in version.generations}) == 3
    plain = job.InputSpec(alias="x", dataset="hr/mixed")
    assert launch(kept, "eu-1", inputs=(plain,)).read("x") == {"0.parquet": (folder / "0.parquet").read_bytes()}
    named = dataclasses.replace(plain, column_classes=("pii",))
    assert reason(lambda: kept.submit("true", inputs=(named,))) == "COLUMN_CLASS_UNKNOWN"


def test_what_is_lent_to_spark_is_sealed_and_gone_afterwards(kept: Federation) -> None:
    """Files with their columns sealed, and master keys for this user alone: no DEK, and of no class that is closed."""
    found = worker(launch(kept, "eu-1", inputs=people("people", "pii")), kept, "pii")
    with found.spark("0.parquet") as lent:
        (file,) = (Path(file) for file in lent.files)
        data = file.read_bytes()
        assert data[:4] == data[-4:] == b"PARE"
        keys = Path(lent.keys)
        assert (keys.stat().st_mode & 0o777, keys.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        names = [line.partition("=")[0].rpartition("/")[2] for line in keys.read_text().splitlines()]
        assert names == ["default", "pii"]
        deks = found._session.columns("people").deks
        assert not any(base64.b64encode(dek).decode() in keys.read_text() for dek in deks.values())
        assert set(lent.settings) == {"parquet.crypto.factory.class", "parquet.encryption.kms.client.class"}
    assert not keys.parent.exists()


@pytest.mark.invariant("D4")
def test_tasks_of_rays_source_open_the_input_themselves_and_carry_no_key(kept: Federation) -> None:
    """Each reads some of the files, in whatever process it runs; what is pickled with it opens nothing without the gateway."""
    found = worker(launch(kept, "eu-1", inputs=people("people", "pii")), kept, "pii")
    opened, connection = found._session.columns("people"), found._session.connection
    sizes = [entry.file_bytes for entry in opened.manifest.files]
    source = ray_source.Columns(connection, "people", ["email", "id"], found.files(), sizes)
    tasks = source.get_read_tasks(8)
    assert [len(source.get_read_tasks(count)) for count in (1, 2, 8)] == [1, 2, 2]
    pickled = pickle.dumps(source)
    (generation,) = opened.manifest.generations
    assert not any(key in pickled for key in (opened.deks[generation], *dict(opened.keyholder(generation).masters()).values()))
    assert pa.concat_tables([block for task in tasks for block in task()]).equals(PEOPLE.select(["email", "id"]))
    closed = ray_source.Columns(connection, "people", ["diagnosis"], found.files(), sizes)
    assert reason(lambda: [list(task()) for task in closed.get_read_tasks(1)]) == "COLUMN_CLASS_CLOSED"


@pytest.mark.invariant("D4")
def test_an_output_is_sealed_by_the_classes_that_its_job_declares(kept: Federation, tmp_path: Path) -> None:
    """However its code writes it; the next job must name a class to read its columns, and an erasure destroys its key too."""
    launched = launch(kept, "eu-1", inputs=people("people", "pii", "health"), outputs=made("hr/clean", *CLASSES))
    run = code(launched)
    found = session.Input(run, run.connection.inputs[0]).table()
    target, files = output(run), FedFileSystem(connection=run.connection)
    assert target.column_classes == CLASSES
    target.write_table(found, "table.parquet")
    target.write_table(found.to_pandas(), "frame.parquet", compression="zstd")
    pq.write_table(found, tmp_path / "file.parquet")
    target.write_file(tmp_path / "file.parquet")
    pq.write_table(found, "hr/clean/fsspec.parquet", filesystem=files, row_group_size=10)
    with files.open("hr/clean/bytes.parquet", "wb") as file:
        file.write((tmp_path / "file.parquet").read_bytes())
    assert ended(launched, kept).state is job.JobState.SUCCEEDED
    version = kept.client.get_version("hr/clean@1")
    assert (version.column_classes, version.files, version.rows) == (CLASSES, 5, 250)
    plain = people("people")[0]
    reader = launch(kept, "eu-1", inputs=(dataclasses.replace(plain, dataset="hr/clean", column_classes=("pii",)),))
    run = code(reader)
    opened = session.Input(run, run.connection.inputs[0])
    sealed = run.columns("people")
    assert {sealed.open_sealed(path).read(4) for path in opened.files()} == {b"PARE"}
    for path in opened.files():
        assert opened.table(path=path).to_pydict() == PEOPLE.select(["id", "email", "ssn"]).to_pydict()
        assert reason(lambda path=path: opened.table(["diagnosis"], path)) == "COLUMN_CLASS_CLOSED"
    (generation,) = version.generations
    held = kept.edge.catalog.read(lambda tx: tx.list(dataset.WrappedKey, parent=generation))
    assert {row.sensitivity for row in held} == {"default", "health", "pii"}
    kept.client.erase_version("hr/clean@1", "request 4712")
    until(lambda: kept.client.get_erasure("hr/clean@1").sites[0].signature)
    agent = kept.places["eu-1"].agent
    assert agent is not None
    for row in held:
        assert reason(lambda row=row: agent._opener._keys.unwrap(row)) == "KEY_DESTROYED"


@pytest.mark.invariant("D4")
def test_a_run_writes_its_output_by_no_other_classes_than_its_job_declares(kept: Federation, tmp_path: Path) -> None:
    """Whatever its code asks the gateway, and what it cannot seal by them is not stored."""
    launched = launch(kept, "eu-1", inputs=people(), outputs=made("hr/held", *CLASSES), max_attempts=1)
    begin = partial(data.VersionWriter, launched.gateway, audience=launched.audience, output="made")
    for asked in ((), CLASSES[:1], columns.parse(["pii=email", "health=diagnosis,ssn"])):
        assert reason(lambda asked=asked: begin(column_classes=asked)) == "COLUMN_CLASS_INVALID"
    run = code(launched)
    target, before = output(run), kept.places["eu-1"].objects()
    csv = federations.write_files(tmp_path, a_csv=b"x,y\n1,2\n") / "a.csv"
    lacking = PEOPLE.drop_columns(["ssn"])
    calls = [
        (lambda: target.write_table(PEOPLE, "a.csv"), "COLUMN_CLASS_NOT_PARQUET"),
        (lambda: target.write_file(csv), "COLUMN_CLASS_NOT_PARQUET"),
        (lambda: target.write_table(lacking), "COLUMN_UNKNOWN"),
        (lambda: pq.write_table(lacking, "hr/held/a", filesystem=FedFileSystem(connection=run.connection)), "COLUMN_UNKNOWN"),
        (lambda: target.write_table(PEOPLE.append_column("a.b", PEOPLE["id"])), "COLUMN_NAME_UNSUPPORTED"),
    ]
    for call, why in calls:
        assert reason(call) == why
    assert kept.places["eu-1"].objects() == before
    assert reason(lambda: launched.gateway.finish_attempt(0)) == "OUTPUT_MISSING"
    plain = launch(kept, "eu-1", inputs=people(), outputs=made("hr/open"))
    begin = partial(data.VersionWriter, plain.gateway, audience=plain.audience, output="made")
    assert reason(lambda: begin(column_classes=CLASSES)) == "COLUMN_CLASS_INVALID"
    assert begin().column_classes == ()


@pytest.mark.invariant("D4")
def test_policy_forbids_an_output_that_would_open_a_class(put: Federation) -> None:
    """At submission, and by name; what seals the class again, a model, and a job that does not read it go on."""
    text, cases = put.edge.ctx.policies.default() + SEALED, policy_cases.read(ROOT / "examples/policies/column-classes.yaml")
    submit = partial(put.submit, "true", sites=("eu-1",))
    submit(inputs=people("people", "pii"), outputs=made("hr/before"))
    flips = put.client.explain_policy_replay(text)[0]
    assert {(each.action, each.dataset, each.after) for each in flips} == {("write", "hr/before", False)}
    put.client.apply_policies(text, cases)
    with pytest.raises(errors.PermissionDenied, match="with column class pii unsealed: what is made of people") as refused:
        submit(inputs=people("people", "health", "pii"), outputs=made("hr/rows", *columns.parse(["health=diagnosis"])))
    assert (refused.value.reason, refused.value.metadata["policy"]) == ("POLICY_DENIED", "pii.sealed")
    allowed = [
        (people("people", "pii"), made("hr/rows", *columns.parse(["pii=email"]))),
        (people("people", "pii"), made("hr/model", kind="MODEL")),
        (people("people", "health"), made("hr/sums")),
    ]
    for inputs, outputs in allowed:
        submit(inputs=inputs, outputs=outputs)
    bodies = [json.loads(event.body) for event in put.edge.catalog.events(0) if event.kind == "policy.decided"]
    opened = {body["dataset"]: body["question"].get("unsealed_classes") for body in bodies if body["action"] == "write"}
    assert {name: opened[name] for name in ("hr/before", "hr/rows", "hr/model", "hr/sums")} == {
        "hr/before": ["pii"],
        "hr/rows": [],
        "hr/model": ["pii"],
        "hr/sums": ["health"],
    }
