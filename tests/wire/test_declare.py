"""`fed apply` against a real server: what files declare is made so, told, and left alone when it is so already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from federation.cli import exits
from federation.client import declare
from federation.core import dataset, errors
from federation.core.authorization import EVERYONE
from tests.wire.typing_fed import typing

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "declarative"


@pytest.fixture
def fed(shared_edge, monkeypatch, tmp_path):
    """Types a `fed` command at the server that the tests of this file share: each has names of its own."""
    return typing(shared_edge, monkeypatch, tmp_path)


@pytest.fixture
def client(shared_edge):
    """The SDK, as an administrator."""
    with shared_edge.client() as found:
        yield found


def written(client, revision: int) -> list[tuple[str, str]]:
    """What people have changed since a revision. The server itself goes on: sites fall silent, rules are looked at."""
    changes = client.watch(start_revision=revision, until_now=True)
    return [(row.kind, row.name) for row in changes if row.revision > revision and row.actor.startswith("users/")]


def states(result) -> dict[str, tuple[str, str]]:
    """What was to be done with each resource, and what became of that."""
    return {row["name"]: (row["action"], row["state"]) for row in json.loads(result.stdout)}


def test_the_example_is_applied_once_and_then_nothing_is_written(fed, client):
    """All of it in an order that works; a second time nobody has changed anything, for programs and for people."""
    before = client.who_am_i().revision
    first = states(fed("apply", "-f", str(EXAMPLE), "-o", "json"))
    assert ("budget.created", "budgets/retail") in written(client, before)
    assert set(first.values()) <= {("CREATE", "DONE"), ("UPDATE", "DONE"), ("UNCHANGED", "UNCHANGED")}
    assert first["namespaces/retail/datasets/orders"] == ("CREATE", "DONE")
    revision = client.who_am_i().revision
    assert set(states(fed("apply", "-f", str(EXAMPLE), "-o", "json")).values()) == {("UNCHANGED", "UNCHANGED")}
    again = fed("apply", "-f", str(EXAMPLE))
    assert (again.stdout, again.stderr) == ("", "11 unchanged\n")
    assert written(client, revision) == []
    assert client.get_namespace("retail").gpu_seconds_quota == 1_800_000
    assert client.get_site("fra-1").offer.gpus[0].type == "H100"
    assert client.get_budget("retail").alert_percents == (50, 80, 100)
    assert client.price_egress("aws:eu-central-1", "aws:eu-west-1", 2**30).charge_micros == 18_000


def test_what_is_printed_can_be_applied(fed, client):
    """Of every kind, as YAML and as JSON, one and many: unchanged."""
    text = """\
- {name: namespaces/round, weight: 3, egress_micros_quota: 5}
- {name: namespaces/round/datasets/trip, labels: {no: "yes", v: "1.10"}, residency: [EU], card: {licence: "a: b\\n c"}}
- {name: sites/round-1, region: aws:eu-west-3, jurisdiction: EU, offer: {cpu_hour_micros: 1, cpu_source: x}}
- {name: replicationRules/round, dataset: round/trip}
- {name: budgets/round, scope: datasets/round/trip, limit_micros: 7}
"""
    fed("apply", "-f", "-", stdin=text)
    revision = client.who_am_i().revision
    shown = (
        ("namespace", "show", "round"),
        ("namespace", "list"),
        ("dataset", "show", "round/trip"),
        ("dataset", "list", "round"),
        ("site", "show", "round-1"),
        ("rule", "show", "round"),
        ("budget", "show", "round"),
        ("link", "list"),
        ("price", "show", "-"),
    )
    for words in shown:
        for form in ("yaml", "json"):
            printed = fed(*words, "-o", form).stdout
            told = states(fed("apply", "-f", "-", "-o", "json", stdin=printed))
            assert set(told.values()) == {("UNCHANGED", "UNCHANGED")}, (words, form, told)
    assert written(client, revision) == []


def test_all_mistakes_of_all_files_are_told_and_nothing_is_applied(fed, client, tmp_path):
    """Of syntax, fields, names, of files beside them and of what the catalog knows; each with file, line and cure."""
    (tmp_path / "a.yaml").write_text("name: namespaces/wrong\nweigth: 2\n---\nname: namespaces/wrong2\nowner: ada\n")
    (tmp_path / "b.yml").write_text("name: [")
    (tmp_path / "c.json").write_text('{"name": "policies/-",\n "file": "none.cedar"}')
    (tmp_path / "notes.txt").write_text("no declaration")
    revision = client.who_am_i().revision
    told = fed("apply", "-f", str(tmp_path), "-o", "json", code=exits.USAGE)
    error = json.loads(told.stderr)["error"]
    assert (error["reason"], error["message"]) == (
        "DECLARATION_INVALID",
        "4 things are wrong with what is declared; nothing was applied",
    )
    places = [f"{place.removeprefix(f'{tmp_path}/')}: {text}" for place, text in error["violations"].items()]
    help_ = f"Write users/NAME or groups/NAME; {EVERYONE} is everybody."
    assert sorted(places) == [
        "a.yaml:2: weigth: no such key is known here. Did you mean 'weight'?",
        f"a.yaml:5: owner: owner 'ada' is neither a user nor a group. {help_}",
        "b.yml:1: this is not YAML: expected the node content, but found '<stream end>'. Mend the file there.",
        f"c.json:2: file: {tmp_path}/none.cedar: it cannot be read: No such file or directory.",
    ]
    later = "name: namespaces/later\n---\nname: namespaces/none/datasets/x\n---\nname: budgets/none\nhard: true\n"
    for_people = fed("apply", "-f", "-", code=exits.USAGE, stdin=later).stderr
    assert "-:3: name: it needs namespaces/none, which is not there and not declared. Declare that, too." in for_people
    assert "-:5: name: it is not there yet, and cannot be made without scope, limit_micros" in for_people
    assert written(client, revision) == []
    fed("apply", "-f", str(tmp_path / "nothing.yaml"), code=exits.USAGE)


def test_the_difference_is_shown_and_made(fed, client):
    """Field by field, as a unified difference in plain text; --exit-code tells of it; what is not named stays."""
    fed(
        "apply", "-f", "-", stdin="- name: namespaces/diff\n- {name: namespaces/diff/datasets/d, labels: {a: b}, purposes: [x]}"
    )
    text = (
        "name: namespaces/diff/datasets/d\ndescription: |\n  one\n  two\nlabels: {}\ncard: {licence: MIT}\nreaders: [users/u]\n"
    )
    dry = fed("apply", "-f", "-", "--dry-run", "--exit-code", code=exits.ERROR, stdin=text)
    assert dry.stderr == "nothing was applied: 1 to update\n"
    assert dry.stdout == (
        "--- namespaces/diff/datasets/d\n"
        "+++ namespaces/diff/datasets/d (-:1)\n"
        " description: |\n"
        "@@ -0,0 +1,2 @@\n"
        "+one\n"
        "+two\n"
        "-labels:\n"
        "-  a: b\n"
        "+labels: {}\n"
        '-card:\n-  licence: ""\n'
        "+card:\n+  licence: MIT\n"
        "-readers: []\n"
        "+readers:\n"
        "+- users/u\n"
    )
    assert client.get_dataset("diff/d").labels == (("a", "b"),)
    (row,) = json.loads(fed("apply", "-f", "-", "--dry-run", "-o", "json", stdin=text).stdout)
    assert (row["state"], row["changes"][1]) == ("PLANNED", {"field": "labels", "before": {"a": "b"}, "after": {}})
    assert fed("apply", "-f", "-", stdin=text).stdout.endswith("updated namespaces/diff/datasets/d\n")
    found = client.get_dataset("diff/d")
    assert (found.labels, found.card.licence, found.purposes) == ((), "MIT", ("x",))
    fed("apply", "-f", "-", "--dry-run", "--exit-code", stdin=text)
    fed("apply", "-f", "-", "--exit-code", code=exits.USAGE, stdin=text)


def test_what_fails_leaves_only_what_needs_it_and_a_repeat_completes(fed, client):
    """A user may not set a quota nor a budget: all else is done, told, and the exit code says DENIED."""
    text = """\
- {name: namespaces/part, owner: users/admin, weight: 2}
- {name: namespaces/part/datasets/needs-it}
- {name: namespaces/free}
- {name: namespaces/free/datasets/d, owner: users/user}
- {name: budgets/part, scope: namespaces/free, limit_micros: 1}
"""
    told = fed("apply", "-f", "-", "-o", "json", who="user", code=exits.DENIED, stdin=text)
    assert states(told) == {
        "namespaces/part": ("CREATE", "FAILED"),
        "namespaces/free": ("CREATE", "DONE"),
        "namespaces/part/datasets/needs-it": ("CREATE", "LEFT"),
        "namespaces/free/datasets/d": ("CREATE", "DONE"),
        "budgets/part": ("CREATE", "FAILED"),
    }
    rows = {row["name"]: row for row in json.loads(told.stdout)}
    assert rows["namespaces/part"]["reason"] == "PERMISSION_MISSING"
    assert rows["namespaces/part/datasets/needs-it"]["message"] == "namespaces/part comes before it, which was not done"
    again = fed("apply", "-f", "-", who="user", code=exits.DENIED, stdin=text)
    assert "create budgets/part: failed\n" in again.stdout
    assert "lacks budgets.create" in again.stderr
    assert again.stderr.endswith("2 failed, 2 unchanged, 1 left\n")
    completed = states(fed("apply", "-f", "-", "-o", "json", stdin=text))
    assert completed == {
        "namespaces/part": ("UPDATE", "DONE"),
        "namespaces/free": ("UNCHANGED", "UNCHANGED"),
        "namespaces/part/datasets/needs-it": ("CREATE", "DONE"),
        "namespaces/free/datasets/d": ("UNCHANGED", "UNCHANGED"),
        "budgets/part": ("CREATE", "DONE"),
    }
    assert client.get_namespace("part").weight == 2


def test_a_dry_run_tells_what_the_server_would_refuse(fed, client):
    """With file and line and the exit code of the first; what needs it would be left, and nothing is changed."""
    old = f"name: namespaces/tried/datasets/old\nlabels: {{crew: tried}}\nreaders: [{EVERYONE}]\n"
    fed("apply", "-f", "-", stdin=f"name: namespaces/tried\n---\n{old}")
    text = """\
- {name: namespaces/tried-2, owner: users/user, weight: 2}
- {name: namespaces/tried-2/datasets/needs-it}
- {name: namespaces/tried-3}
- {name: namespaces/tried-3/datasets/later}
- {name: namespaces/tried/datasets/theirs}
- {name: budgets/tried, scope: namespaces/tried, limit_micros: 1}
- {name: sites/tried-1, region: aws:eu-west-3, jurisdiction: EU}
"""
    prune = ("--prune", "--selector", "crew=tried")
    revision = client.who_am_i().revision
    told = fed("apply", "-f", "-", "--dry-run", *prune, "-o", "json", who="user", code=exits.DENIED, stdin=text)
    rows = {row["name"]: row for row in json.loads(told.stdout)}
    assert {name: (row["action"], row["state"]) for name, row in rows.items()} == {
        "namespaces/tried-2": ("CREATE", "REFUSED"),
        "namespaces/tried-3": ("CREATE", "PLANNED"),
        "namespaces/tried-2/datasets/needs-it": ("CREATE", "LEFT"),
        "namespaces/tried-3/datasets/later": ("CREATE", "PLANNED"),
        "namespaces/tried/datasets/theirs": ("CREATE", "REFUSED"),
        "namespaces/tried/datasets/old": ("DELETE", "REFUSED"),
        "budgets/tried": ("CREATE", "REFUSED"),
        "sites/tried-1": ("CREATE", "REFUSED"),
    }
    assert rows["namespaces/tried-3/datasets/later"]["message"] == "all of it can be tried once namespaces/tried-3 is there"
    assert (rows["namespaces/tried/datasets/theirs"]["reason"], rows["budgets/tried"]["line"]) == ("NOT_FOUND", 6)
    people = fed("apply", "-f", "-", "--dry-run", *prune, who="user", code=exits.DENIED, stdin=text)
    assert "-:6: create budgets/tried: would be refused\n" in people.stdout
    assert "\ndelete namespaces/tried/datasets/old: would be refused\n" in people.stdout
    assert "lacks budgets.create" in people.stderr
    later = "1 of them can be tried only in part before what they need is there\n"
    assert people.stderr.endswith(f"nothing was applied: 5 refused, 2 to create, 1 left\n{later}")
    allowed = fed("apply", "-f", "-", "--dry-run", *prune, "-o", "json", stdin=text)
    assert {row["state"] for row in json.loads(allowed.stdout)} == {"PLANNED"}
    assert not [name for kind, name in written(client, revision) if "tried" in name and not kind.startswith("policy.")]


def test_a_dry_run_tries_what_takes_two_calls_and_changes_nothing(fed, client):
    """A rule that is made again under its own name, a namespace with its quota, all that is updated, prices, policies."""
    text = """\
- {name: namespaces/twice, description: x}
- name: namespaces/twice/datasets/d
- {name: replicationRules/twice-2, dataset: twice/d}
- {name: budgets/twice, scope: namespaces/twice, limit_micros: 1}
- {name: sites/twice-1, region: aws:eu-south-1, jurisdiction: EU}
- {name: links/own:twice~internet, gb_micros: 5, price_source: x, as_of: "2026-11-01"}
"""
    fed("apply", "-f", "-", stdin=text)
    rule, revision = client.get_replication_rule("twice-2"), client.who_am_i().revision
    changed = text.replace("twice/d}", "twice/d, copies: 2}").replace("description: x", "description: y, weight: 4")
    changed = changed.replace("jurisdiction: EU}", "jurisdiction: EU, account: a}").replace("micros: 5", "micros: 6")
    changed = changed.replace("limit_micros: 1", "limit_micros: 2").replace("datasets/d\n", "datasets/d\n  labels: {a: b}\n")
    told = states(fed("apply", "-f", "-", "--dry-run", "-o", "json", stdin=changed))
    assert set(told.values()) == {("UPDATE", "PLANNED"), ("REPLACE", "PLANNED")}
    assert len(told) == 6
    assert client.get_replication_rule("twice-2") == rule
    assert written(client, revision) == []
    too_many = text.replace("twice/d}", "twice/d, copies: 1001}")
    refused = fed("apply", "-f", "-", "--dry-run", code=exits.USAGE, stdin=too_many)
    assert "-:3: replace replicationRules/twice-2: would be refused\n" in refused.stdout


def test_what_the_server_refuses_on_the_way_does_not_say_that_nothing_was_changed(fed, client):
    """Exit code 2 would: a namespace was made before its dataset was refused."""
    text = """\
- {name: namespaces/halves, weight: 1, gpu_seconds_quota: 0}
- name: namespaces/halves/datasets/part
- {name: namespaces/halves/datasets/whole, parts: [halves/part], residency: [EU]}
"""
    told = fed("apply", "-f", "-", "-o", "json", code=exits.ERROR, who="user", stdin=text)
    assert [(row["state"], row["reason"]) for row in json.loads(told.stdout)] == [
        ("DONE", ""),
        ("DONE", ""),
        ("FAILED", "PARTS_INVALID"),
    ]
    assert client.get_namespace("halves").owner == "users/user"


def test_of_an_offer_only_what_is_named_is_changed(fed, client):
    """Field by field; the GPUs as a whole; null and an empty list take away."""
    site = "name: sites/offered\nregion: aws:eu-north-1\njurisdiction: EU\n"
    fed(
        "apply",
        "-f",
        "-",
        stdin=site + "offer: {cpu_hour_micros: 5, cpu_source: a, gpus: [{type: T4, gpu_hour_micros: 1, source: a}]}",
    )
    fed(
        "apply",
        "-f",
        "-",
        stdin="name: sites/offered\naccount: research\noffer: {storage_gb_month_micros: 7, storage_source: b}",
    )
    found = client.get_site("offered")
    assert (found.account, found.offer.cpu_hour_micros, found.offer.storage_gb_month_micros) == ("research", 5, 7)
    assert [gpu.type for gpu in found.offer.gpus] == ["T4"]
    told = fed("apply", "-f", "-", stdin="name: sites/offered\noffer: {cpu_hour_micros: null, cpu_source: '', gpus: []}")
    assert "-offer:\n-  cpu_hour_micros: 5\n" in told.stdout
    left = client.get_site("offered").offer
    assert (left.cpu_hour_micros, left.gpus, left.storage_source) == (None, (), "b")


def test_who_was_faster_is_not_overwritten(client, tmp_path):
    """The plan bears the etag of what it was made from; made anew, it does the rest."""
    client.create_namespace(dataset.Namespace(name="raced"))
    client.create_dataset(dataset.Dataset(namespace="raced", dataset="d"))
    (tmp_path / "f.yaml").write_text("name: namespaces/raced/datasets/d\ndescription: mine\nlabels: {a: b}")
    files = declare.load([tmp_path])
    plan = declare.plan(client, files)
    client.update_dataset(dataset.Dataset(namespace="raced", dataset="d", description="theirs"), ("description",))
    (outcome,) = declare.carry_out(client, plan, files)
    assert isinstance(outcome.error, errors.Conflict)
    assert client.get_dataset("raced/d").description == "theirs"
    assert all(outcome.ok for outcome in declare.carry_out(client, declare.plan(client, files), files))
    assert not declare.plan(client, files).differs


def test_only_what_was_chosen_is_pruned_and_nothing_that_holds_data(fed, client, shared_edge):
    """By label and by kind; without --yes it is refused where nobody can be asked; what the server refuses stays."""
    text = """\
- name: namespaces/gone
- {name: namespaces/gone/datasets/a, labels: {crew: x}}
- {name: namespaces/gone/datasets/b, labels: {crew: x}}
- {name: namespaces/gone/datasets/full, labels: {crew: x}}
- {name: namespaces/gone/datasets/other, labels: {crew: y}}
"""
    fed("apply", "-f", "-", stdin=text)

    def fill(tx):
        stored = tx.get(dataset.Dataset, "gone/full")
        tx.replace(dataset.Dataset(**{**vars(stored), "latest_version": 1}))

    shared_edge.catalog.write(fill)
    kept = "- name: namespaces/gone\n- name: namespaces/gone/datasets/a\n"
    prune = ("apply", "-f", "-", "--prune", "--selector", "crew=x")
    refused = fed(*prune, code=exits.USAGE, stdin=kept)
    assert "1 would be deleted, such as namespaces/gone/datasets/b: say --yes" in refused.stderr
    assert client.get_dataset("gone/b").delete_time is None
    told = fed(*prune, "--yes", "-o", "json", stdin=kept)
    assert states(told) == {
        "namespaces/gone": ("UNCHANGED", "UNCHANGED"),
        "namespaces/gone/datasets/a": ("UNCHANGED", "UNCHANGED"),
        "namespaces/gone/datasets/b": ("DELETE", "DONE"),
        "namespaces/gone/datasets/full": ("KEEP", "UNCHANGED"),
    }
    assert client.get_dataset("gone/b").delete_time is not None
    assert client.get_dataset("gone/other").delete_time is None
    back = fed("apply", "-f", "-", code=exits.USAGE, stdin="name: namespaces/gone/datasets/b")
    assert "gone/b is deleted, which no file takes back" in back.stderr
    nothing = fed(*prune, "--yes", code=exits.USAGE, stdin="# all was moved elsewhere")
    assert "nothing is declared, and that prunes nothing" in nothing.stderr
    fed("apply", "-f", "-", "--prune", code=exits.USAGE, stdin=kept)
    fed("apply", "-f", "-", "--prune-kind", "site", code=exits.USAGE, stdin=kept)


def test_nothing_is_deleted_after_a_failure(fed, client):
    """What a file has under another name now would be gone, and its new one not there."""
    fed("apply", "-f", "-", stdin="- name: namespaces/moved\n- {name: namespaces/moved/datasets/old, labels: {move: me}}")
    text = "- name: namespaces/moved/datasets/new\n- {name: budgets/moved, scope: namespaces/moved, limit_micros: 1}\n"
    words = ("apply", "-f", "-", "--prune", "--selector", "move=me", "--yes", "-o", "json")
    client.update_dataset(dataset.Dataset(namespace="moved", dataset="old", owner="users/user"), ("owner",))
    client.update_namespace(dataset.Namespace(name="moved", owner="users/user"), ("owner",))
    told = fed(*words, who="user", code=exits.DENIED, stdin=text)
    assert states(told)["namespaces/moved/datasets/old"] == ("DELETE", "LEFT")
    assert client.get_dataset("moved/old").delete_time is None
    assert states(fed(*words, stdin=text))["budgets/moved"] == ("CREATE", "DONE")
    assert client.get_dataset("moved/old").delete_time is not None


def test_pruning_a_kind_leaves_what_the_server_refuses(edge, monkeypatch, tmp_path):
    """Namespaces that hold datasets, sites in use: told as failed, and the rest goes."""
    fed = typing(edge, monkeypatch, tmp_path)
    fed("apply", "-f", "-", stdin="- name: namespaces/empty\n- {name: budgets/old, scope: all, limit_micros: 1}")
    words = ("apply", "-f", "-", "--prune", "--prune-kind", "namespace", "--prune-kind", "budget", "--yes", "-o", "json")
    told = fed(*words, code=exits.ERROR, stdin="name: namespaces/kept")
    assert states(told) == {
        "namespaces/kept": ("CREATE", "DONE"),
        "budgets/old": ("DELETE", "DONE"),
        "namespaces/empty": ("DELETE", "DONE"),
        "namespaces/sales": ("DELETE", "FAILED"),
    }
    assert next(row for row in json.loads(told.stdout) if row["state"] == "FAILED")["reason"] == "NAMESPACE_NOT_EMPTY"


def test_a_rule_is_made_again_and_a_quota_alone_is_changed(fed, client):
    """REPLACE for what has no update; of a namespace only what differs is written."""
    text = """\
- {name: namespaces/again, description: x}
- name: namespaces/again/datasets/d
- {name: replicationRules/again, dataset: again/d}
"""
    fed("apply", "-f", "-", stdin=text)
    before = client.get_replication_rule("again")
    changed = text.replace("again/d}", "again/d, copies: 2}").replace("description: x", "description: x, weight: 4")
    told = fed("apply", "-f", "-", stdin=changed)
    assert "replaced replicationRules/again" in told.stdout
    after = client.get_replication_rule("again")
    assert (before.copies, after.copies, before.uid != after.uid) == (1, 2, True)
    assert (client.get_namespace("again").weight, client.get_namespace("again").description) == (4, "x")


def test_prices_are_rows_and_links_are_prices(fed, client, tmp_path):
    """A rate card's file beside the document; a link's flat price; older than what is known is refused."""
    csv = "src_provider,src_region,dst_provider,dst_region,tier_upto_gb,usd_per_gb,gb_bytes,as_of,source\n"
    (tmp_path / "egress.csv").write_text(csv + "vultr,xyz,internet,*,,0.07,1000000000,2026-11-01,contract\n")
    (tmp_path / "prices.yaml").write_text("name: rateCards/-\negress_file: egress.csv\nnote: a contract\n")
    told = fed("apply", "-f", str(tmp_path / "prices.yaml"))
    assert "+vultr,xyz,internet,*,,0.07,1000000000,2026-11-01,contract," in told.stdout
    assert client.price_egress("vultr:xyz", "internet", 10**9).charge_micros == 70_000
    assert fed("apply", "-f", str(tmp_path / "prices.yaml")).stdout == ""
    link = "name: links/vultr:xyz~internet\ngb_micros: 60000\nprice_source: new contract\nas_of: '{}'\n"
    refused = fed("apply", "-f", "-", code=exits.USAGE, stdin=link.format("2026-10-01"))
    assert "-:4: as_of: a price of 2026-11-01 is known" in refused.stderr
    assert "updated links/vultr:xyz~internet" in fed("apply", "-f", "-", stdin=link.format("2026-11-02")).stdout
    assert client.price_egress("vultr:xyz", "internet", 10**9).charge_micros == 60_000
    assert fed("apply", "-f", "-", stdin=link.format("2026-11-02")).stdout == ""
    speed = fed("apply", "-f", "-", "--dry-run", stdin="name: links/aws:eu-central-1~aws:us-east-1\nbytes_per_second: 9")
    assert "cannot be set: bytes_per_second" in speed.stdout


def test_policies_are_applied_with_the_decisions_that_must_come_out(edge, monkeypatch, tmp_path):
    """A decision that comes out otherwise is told before anything is applied; what is in force is left alone."""
    fed = typing(edge, monkeypatch, tmp_path)
    shipped = (ROOT / "federation" / "policies" / "default.cedar").read_text()
    (tmp_path / "p.cedar").write_text(shipped + "\n// of a contract\n")
    (tmp_path / "good.yaml.cases").write_text("cases:\n  - {name: strangers, action: run, dataset: {}, expect: deny}\n")
    (tmp_path / "bad.cases").write_text("cases:\n  - {name: strangers, action: run, dataset: {}, expect: allow}\n")
    document = "- name: namespaces/beside\n- {name: policies/-, file: p.cedar, tests: [%s], note: why}\n"
    (tmp_path / "policies.yaml").write_text(document % "bad.cases")
    refused = fed("apply", "-f", str(tmp_path / "policies.yaml"), code=exits.USAGE)
    assert "policies.yaml:2: file: 1 of 1 expected decisions are others" in refused.stderr
    with edge.client() as client:
        assert client.get_policy_revision().number == 0
        assert "beside" not in [row.name for row in client.list_namespaces()]
        (tmp_path / "policies.yaml").write_text(document % "good.yaml.cases")
        told = fed("apply", "-f", str(tmp_path / "policies.yaml"))
        assert "+// of a contract\n" in told.stdout
        held = client.get_policy_revision()
        assert (held.number, held.note, held.principal) == (1, "why", "users/admin")
        assert fed("apply", "-f", str(tmp_path / "policies.yaml")).stdout == ""
