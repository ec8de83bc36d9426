"""What a federation file may say, and how a wrong one is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation import config
from federation.core import errors, policy

GOOD = """
federation: demo
server: {listen: 127.0.0.1:7400, agents_listen: 127.0.0.1:7401}
sites:
  - site: eu-1
    region: aws:eu-central-1
    jurisdiction: EU
    gateway: 127.0.0.1:7411
    ray: {cpus: 2, gpus: {A10G: 1}}
    offer:
      cpu_hour_usd: "0.0480"
      cpu_source: a list
      gpus: [{type: A10G, hour_usd: 1.006, source: a list}]
    sources: [{prefix: "file:data", kind: file}]
  - {site: ewr-1, region: "vultr:ewr", jurisdiction: US, gateway: "127.0.0.1:7413"}
users: [{user: ada, jurisdiction: EU}]
"""
CA = b"-----BEGIN CERTIFICATE-----\n"


def read(folder: Path, text: str) -> config.FederationFile:
    """The federation file with this text."""
    path = folder / "federation.yaml"
    path.write_text(text)
    return config.federation_file(path)


def refused(folder: Path, text: str) -> errors.InvalidArgument:
    """The error for a federation file with this text."""
    with pytest.raises(errors.InvalidArgument) as caught:
        read(folder, text)
    assert caught.value.reason == "CONFIG_INVALID"
    assert caught.value.help
    return caught.value


def test_the_rate_of_transfers_is_a_size_a_second_and_unlimited_where_nothing_is_said(tmp_path):
    """It reaches the agent's settings of its site, and no other's."""
    limited = GOOD.replace("    jurisdiction: EU\n", "    jurisdiction: EU\n    transfer_bytes_per_second: 12MiB\n")
    file = read(tmp_path, limited)
    assert config.agent(file, "eu-1", tmp_path).transfer_bytes_per_second == 12 << 20
    assert config.agent(file, "ewr-1", tmp_path).transfer_bytes_per_second == 0
    assert "transfer_bytes_per_second" in str(refused(tmp_path, limited.replace("12MiB", "fast")))


def test_a_site_is_looked_at_every_ten_seconds_unless_its_row_says_otherwise(tmp_path):
    """It reaches the agent's settings of its site, and no other's."""
    quick = GOOD.replace("    jurisdiction: EU\n", "    jurisdiction: EU\n    look_seconds: 2\n")
    file = read(tmp_path, quick)
    assert config.agent(file, "eu-1", tmp_path).look_seconds == 2
    assert config.agent(file, "ewr-1", tmp_path).look_seconds == 10
    assert "look_seconds" in str(refused(tmp_path, quick.replace("look_seconds: 2", "look_seconds: 0")))


def test_the_engine_and_the_bounds_of_queries_are_the_file_s(tmp_path):
    """Embedded and modest where nothing is said; jars lie relative to the file; two ways to Spark are one too many."""
    usual = config.server(read(tmp_path, GOOD), tmp_path)
    assert (usual.engine, usual.query) == (config.EngineSettings(), config.QuerySettings())
    said = "engine: {kind: spark, jars_dir: jars, memory: 4GiB, coordinates: 'a:b:1 c:d:2'}, query: {rows_max: 9, memory: 2GiB}"
    told = GOOD.replace("agents_listen: 127.0.0.1:7401", f"agents_listen: 127.0.0.1:7401, {said}")
    found = config.server(read(tmp_path, told), tmp_path)
    assert found.engine.jars_dir == tmp_path / "jars"
    assert (found.engine.kind, found.engine.memory_bytes, found.engine.coordinates) == ("spark", 4 << 30, ("a:b:1", "c:d:2"))
    assert (found.query.rows_max, found.query.memory_bytes, found.query.seconds_max) == (9, 2 << 30, 60)
    both = told.replace("kind: spark", "kind: spark, master: yarn, remote: 'sc://host:15002'")
    assert "remote" in str(refused(tmp_path, both))


def test_a_price_is_taken_exactly_as_it_was_written(tmp_path):
    """No float comes between the file and the micro-dollars, quoted or not."""
    offer = read(tmp_path, GOOD).site("eu-1").declared.offer
    assert offer.cpu_hour_micros == 48_000
    assert offer.gpus[0].gpu_hour_micros == 1_006_000


def test_a_site_without_ray_has_no_compute(tmp_path):
    """Absence means none: an edge site that only stores."""
    file = read(tmp_path, GOOD)
    assert not file.site("ewr-1").declared.has_compute
    assert config.agent(file, "ewr-1", tmp_path).compute is None
    assert file.site("eu-1").declared.has_compute


def test_compute_of_another_kind_is_named_with_its_place(tmp_path):
    """Plain processes keep what they know below the agent's state, unless a folder is named."""
    text = GOOD.replace('gateway: "127.0.0.1:7413"}', 'gateway: "127.0.0.1:7413", compute: {kind: process}}')
    file = read(tmp_path, text)
    assert file.site("ewr-1").declared.has_compute
    compute = config.agent(file, "ewr-1", tmp_path / "state").compute
    assert compute == config.ComputeSettings(kind="process", address=f"{tmp_path}/state/sites/ewr-1/jobs")


def test_a_site_without_a_price_has_none(tmp_path):
    """An unknown price stays unknown; the planner refuses it."""
    assert read(tmp_path, GOOD).site("ewr-1").declared.offer.cpu_hour_micros is None


def test_everything_of_a_server_and_its_agents_lies_under_the_state_folder(tmp_path):
    """What the file leaves open is derived from the state folder, the same way for every command."""
    file = read(tmp_path, GOOD)
    server = config.server(file, tmp_path / "state")
    agent = config.agent(file, "eu-1", tmp_path / "state")
    assert server.database_url == f"sqlite:///{tmp_path}/state/server/catalog.db"
    assert agent.storage.url == f"{tmp_path}/state/sites/eu-1/store"
    assert agent.tls.cert == tmp_path / "state/pki/agents/eu-1.crt"
    assert agent.catalog == "127.0.0.1:7401"
    assert [row.site for row in server.sites] == ["eu-1", "ewr-1"]
    assert server.users == (config.UserSettings(user="ada", role=policy.Role.USER, jurisdiction="EU"),)


def test_a_server_s_folder_holds_no_agent_s_keyring(tmp_path):
    """A copy of the server's state opens nothing."""
    file = read(tmp_path, GOOD)
    server, agent = config.server(file, tmp_path), config.agent(file, "eu-1", tmp_path)
    assert not agent.keys.folder.is_relative_to(server.state_dir)


def test_a_source_is_relative_to_the_file(tmp_path):
    """`file:data` is the folder beside the federation file, and nothing outside it is opened by a prefix without a slash."""
    assert read(tmp_path, GOOD).site("eu-1").declared.sources == (f"file://{tmp_path}/data/",)


def test_two_local_clusters_share_neither_address_nor_ports(tmp_path):
    """Ray listens on every interface, so both must differ."""
    same_slot = 7411 + 75  # the gateway's port chooses the block, and this one would choose the first site's
    text = GOOD.replace('gateway: "127.0.0.1:7413"}', f'gateway: "127.0.0.1:{same_slot}", ray: {{cpus: 1}}}}')
    one, two = (row.ray for row in read(tmp_path, text).sites)
    assert one.address_ip != two.address_ip
    assert abs(one.port_base - two.port_base) >= 300


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("region: aws:eu-central-1", "region: mars", "sites[0].region"),
        ("jurisdiction: EU\n", "jurisdiction: Europe\n", "sites[0].jurisdiction"),
        ("jurisdiction: EU\n", "jurisdictoin: EU\n", "sites[0].jurisdictoin"),
        ("site: ewr-1", "site: eu-1", "sites[1].site"),
        ("127.0.0.1:7413", "127.0.0.1:7411", "sites[1].gateway"),
        ("127.0.0.1:7413", "7413", "sites[1].gateway"),
        ("127.0.0.1:7413", "127.0.0.1:99999", "sites[1].gateway"),
        ('"0.0480"', "cheap", "sites[0].offer.cpu_hour_usd"),
        ('"0.0480"', "0.00000001", "sites[0].offer.cpu_hour_usd"),
        ('"0.0480"', "-1", "sites[0].offer.cpu_hour_usd"),
        ("      cpu_source: a list\n", "", "sites[0].offer.cpu_source"),
        ("hour_usd: 1.006, ", "", "sites[0].offer.gpus[0].hour_usd"),
        (", source: a list}", "}", "sites[0].offer.gpus[0].source"),
        ("cpus: 2", "cpus: two", "sites[0].ray.cpus"),
        ("cpus: 2", "cpus: 0", "sites[0].ray.cpus"),
        ("A10G: 1", "A10G: 0", "sites[0].ray.gpus.A10G"),
        ("ray: {cpus: 2", "ray: {address: http://x, cpus: 2", "sites[0].ray.cpus"),
        ("ray: {cpus: 2", "compute: {kind: process}\n    ray: {cpus: 2", "sites[0].compute"),
        ("kind: file", "kind: file, root: /", "sites[0].sources[0].root"),
        ('"file:data"', "/data", "sites[0].sources[0].prefix"),
        ("user: ada", "user: admin", "users[0].user"),
        ("user: ada", "user: ada, role: GOD", "users[0].role"),
        ("federation: demo\n", "", "federation"),
        ("server: {", "server: {listen: here, ", "server"),
        ("users: [", "users: {", "line"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(tmp_path, old, new, key):
    """Every complaint tells where it is, so that nobody searches."""
    assert old in GOOD
    assert f": {key}" in refused(tmp_path, GOOD.replace(old, new)).message or key in ("server", "line")


def test_a_misspelt_key_gets_a_suggestion(tmp_path):
    """The nearest known key is offered."""
    assert refused(tmp_path, GOOD.replace("gateway: 127", "gatway: 127")).help == "Did you mean 'gateway'?"


def test_a_key_that_comes_twice_is_refused(tmp_path):
    """YAML would silently take the last one."""
    assert "twice" in refused(tmp_path, GOOD + "federation: other\n").message


def test_a_secret_in_the_file_is_refused(tmp_path):
    """Keys of a store belong into a file that only its owner reads."""
    text = GOOD.replace("ray: {cpus: 2, gpus: {A10G: 1}}", "storage: {kind: s3, url: s3://b/p, secret: abc}")
    assert "key_file" in refused(tmp_path, text).help


def test_a_key_file_gives_the_store_its_keys_and_shows_them_nowhere(tmp_path):
    """They reach the connector's options, and no repr."""
    config.write_secret(tmp_path / "s3.key", b"key: AKIA\nsecret: hush\n")
    text = GOOD.replace("ray: {cpus: 2, gpus: {A10G: 1}}", "storage: {kind: s3, url: s3://b/p, key_file: s3.key}")
    settings = config.agent(read(tmp_path, text), "eu-1", tmp_path)
    assert dict(settings.storage.options) == {"key": "AKIA", "secret": "hush"}
    assert "hush" not in repr(settings)


def test_the_record_s_store_has_the_options_of_a_site_s(tmp_path):
    """Its keys stand in a file of their own as well; how long events stay, and how many may wait, is said beside it."""
    config.write_secret(tmp_path / "s3.key", b"key: AKIA\nsecret: hush\n")
    record = "{tables: s3://b/p, tables_options: {key_file: s3.key}, event_days: 2, backlog_facts_max: 50}"
    text = GOOD.replace("{listen: 127.0.0.1:7400, agents_listen: 127.0.0.1:7401}", record)
    settings = config.server(read(tmp_path, text), tmp_path)
    assert dict(settings.tables_options) == {"key": "AKIA", "secret": "hush"}
    assert "hush" not in repr(settings)
    assert (settings.event_days, settings.backlog_facts_max) == (2, 50)


def test_a_secret_file_that_others_can_read_is_refused(tmp_path):
    """As ssh does: the cure is in the message."""
    file = tmp_path / "token"
    config.write_secret(file, b"fed_x")
    assert file.stat().st_mode & 0o777 == 0o600
    assert config.read_secret(file, "token file") == "fed_x"
    file.chmod(0o644)
    with pytest.raises(errors.InvalidArgument, match="0644") as caught:
        config.read_secret(file, "token file")
    assert f"chmod 600 {file}" in caught.value.help


def test_a_missing_file_says_which(tmp_path):
    """NotFound with the path."""
    with pytest.raises(errors.NotFound, match=str(tmp_path / "none.yaml")):
        config.federation_file(tmp_path / "none.yaml")


def test_a_site_that_is_not_declared_names_those_that_are(tmp_path):
    """`fed agent --site typo` tells what could have been meant."""
    with pytest.raises(errors.NotFound, match="mars") as caught:
        config.agent(read(tmp_path, GOOD), "mars", tmp_path)
    assert "eu-1, ewr-1" in caught.value.help


def context(tmp_path: Path, name: str) -> config.Context:
    """A context with its files."""
    config.write_secret(tmp_path / f"{name}.token", f"fed_{name}\n".encode())
    (tmp_path / "ca.crt").write_bytes(CA)
    return config.Context(context=name, target="127.0.0.1:7400", ca=tmp_path / "ca.crt", token=tmp_path / f"{name}.token")


def test_contexts_are_kept_and_chosen(tmp_path, monkeypatch):
    """The last one saved is current until another is chosen; the file is its owner's alone."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "config.yaml"))
    config.save_context(context(tmp_path, "one"))
    config.save_context(context(tmp_path, "two"))
    assert config.client().token == "fed_two"
    config.use_context("one")
    assert config.client().token == "fed_one"
    assert config.client("two").token == "fed_two"
    assert (tmp_path / "config.yaml").stat().st_mode & 0o777 == 0o600
    assert "fed_one" not in repr(config.client())


def test_the_environment_goes_before_the_context(tmp_path, monkeypatch):
    """Part by part, as in a container."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "config.yaml"))
    config.save_context(context(tmp_path, "one"))
    monkeypatch.setenv("FED_TOKEN", "fed_env")
    assert config.client().token == "fed_env"
    assert config.client().target == "127.0.0.1:7400"


def test_the_environment_alone_is_enough(tmp_path, monkeypatch):
    """No file is needed when all three are given."""
    context(tmp_path, "one")
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("FED_TARGET", "catalog:7400")
    monkeypatch.setenv("FED_TOKEN", "fed_env")
    monkeypatch.setenv("FED_CA", str(tmp_path / "ca.crt"))
    assert config.client() == config.ClientSettings(target="catalog:7400", ca=CA, token="fed_env")


def test_a_ca_file_without_a_certificate_is_refused(tmp_path, monkeypatch):
    """gRPC takes the system's own CAs where it is given none, and would show the token to whoever one of them vouches for."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "config.yaml"))
    config.save_context(context(tmp_path, "one"))
    (tmp_path / "ca.crt").write_bytes(b"")
    with pytest.raises(errors.InvalidArgument, match="no certificate in it"):
        config.client()


def test_a_target_of_the_environment_is_host_and_port(tmp_path, monkeypatch):
    """As one of a context is: gRPC would take another port by itself."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "config.yaml"))
    config.save_context(context(tmp_path, "one"))
    monkeypatch.setenv("FED_TARGET", "http://catalog")
    with pytest.raises(errors.InvalidArgument, match="not host:port"):
        config.client()


def test_without_any_context_it_says_how_to_get_one(tmp_path, monkeypatch):
    """The first command of a new user."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(errors.NotFound) as caught:
        config.client()
    assert "fed up" in caught.value.help


def test_the_demo_s_file_is_good():
    """What `make demo` starts: three sites, each price with its source."""
    file = config.federation_file(Path(__file__).parents[2] / "examples/demo/federation.yaml")
    assert [row.declared.region for row in file.sites] == ["aws:eu-central-1", "aws:us-east-1", "vultr:ewr"]
    offers = [row.declared.offer for row in file.sites]
    assert all(gpu.source for offer in offers for gpu in offer.gpus)
    assert all(offer.storage_source for offer in offers)


OFFERING = GOOD.replace(
    "gpus: [{type: A10G, hour_usd: 1.006, source: a list}]",
    """cpu_watts: 8
      memory_gb_hour_usd: "0.0045"
      memory_source: a list
      storage_gb_month_usd: "0.023"
      storage_source: a list
      carbon_g_per_kwh: 369
      carbon_source: a report
      gpus: [{type: A10G, hour_usd: 1.006, spot_hour_usd: "0.41", preemptions_per_hour: 0.05, watts: 150, source: a list}]""",
).replace("jurisdiction: EU\n", "jurisdiction: EU\n    account: research\n", 1)


def test_a_site_says_what_it_sells_and_who_pays(tmp_path):
    """Spot prices, memory, power and carbon, each optional; and the account whose month its egress counts in."""
    declared = read(tmp_path, OFFERING).site("eu-1").declared
    offer, (gpu,) = declared.offer, declared.offer.gpus
    assert declared.account == "research"
    assert (offer.cpu_watts, offer.memory_gb_hour_micros, offer.storage_gb_month_micros) == (8, 4_500, 23_000)
    assert (offer.carbon_g_per_kwh, offer.carbon_source) == (369, "a report")
    assert (gpu.spot_gpu_hour_micros, gpu.preemptions_per_hour, gpu.watts) == (410_000, 0.05, 150)


def test_what_a_site_does_not_say_of_its_offer_is_unknown(tmp_path):
    """No spot market, no account, no figure for carbon."""
    declared = read(tmp_path, GOOD).site("eu-1").declared
    (gpu,) = declared.offer.gpus
    assert (declared.account, declared.offer.carbon_g_per_kwh, declared.offer.memory_gb_hour_micros) == ("", None, None)
    assert (gpu.spot_gpu_hour_micros, gpu.preemptions_per_hour, gpu.watts) == (None, 0.0, None)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("carbon_source: a report", "", "carbon_source"),
        ("carbon_g_per_kwh: 369", "carbon_g_per_kwh: low", "carbon_g_per_kwh"),
        ("carbon_g_per_kwh: 369", "carbon_g_per_kwh: -1", "carbon_g_per_kwh"),
        ("memory_source: a list", "", "memory_source"),
        ('spot_hour_usd: "0.41"', 'spot_hour_usd: "-1"', "spot_hour_usd"),
        ('spot_hour_usd: "0.41", ', "", "preemptions_per_hour"),
        ("preemptions_per_hour: 0.05", "preemptions_per_hour: often", "preemptions_per_hour"),
        ("preemptions_per_hour: 0.05", "preemptions_per_hour: 61", "preemptions_per_hour"),
        ("watts: 150", "watts: 1.5", "watts"),
        ("gpus: [", "gpus: [{type: A10G, hour_usd: 2, source: a list}, ", "gpus"),
        ("account: research", "account: Research Dept", "account"),
        ("cpu_watts: 8", "cpu_wats: 8", "cpu_wats"),
    ],
)
def test_a_wrong_offer_is_refused_by_its_key(tmp_path, old, new, key):
    """A figure without its source, a rate without its price, a price twice: nothing is guessed."""
    assert old in OFFERING
    error = refused(tmp_path, OFFERING.replace(old, new, 1))
    assert key in error.metadata["key"]


def test_a_databases_url_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    """Read when a server starts, and by nobody else; one that others can read is refused, and so is saying it twice."""
    file = tmp_path / "federation.yaml"
    file.write_text(GOOD.replace("agents_listen: 127.0.0.1:7401", "agents_listen: 127.0.0.1:7401, database_file: db.url"))
    read = config.federation_file(file)
    (tmp_path / "db.url").write_text("postgresql+psycopg://fed@db/fed\n")
    (tmp_path / "db.url").chmod(0o640)
    with pytest.raises(errors.InvalidArgument, match="0640"):
        config.server(read, tmp_path)
    (tmp_path / "db.url").chmod(0o600)
    assert config.server(read, tmp_path).database_url == "postgresql+psycopg://fed@db/fed"
    file.write_text(file.read_text().replace("database_file: db.url", "database_file: db.url, database: 'sqlite:///x'"))
    with pytest.raises(errors.InvalidArgument, match="Keep one"):
        config.federation_file(file)


def test_how_often_a_server_may_be_called_is_read(tmp_path: Path) -> None:
    """What is not told is as usual; 0 is no limit, and a bucket that holds nothing is refused."""
    path = tmp_path / "federation.yaml"
    path.write_text("federation: acme\nserver: {rates: {calls_per_second: 7, strangers_per_second: 0}}\n")
    assert config.federation_file(path).rates == config.RateSettings(calls_per_second=7, strangers_per_second=0)
    path.write_text("federation: acme\nserver: {rates: {burst: 0}}\n")
    with pytest.raises(errors.InvalidArgument) as refused:
        config.federation_file(path)
    assert refused.value.reason == "CONFIG_INVALID"
