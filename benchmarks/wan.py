"""What distance costs: a federation whose every connection is 0 to 250 ms long, against plain streams over the same line.

    python -m benchmarks.wan [--rtt 0 50 150 250] [--megabytes 256] [--mbit 1000]

Catalog, sites and caller are processes of this machine with a relay (`tests/wan.py`) before each listener: caller to catalog,
agents to catalog, caller to gateway, gateway to gateway. The relay delays, and is as wide as a line of that many Mbit/s; it
runs in a process of its own. The floors are a plain TCP stream, and a plain gRPC byte stream over a connection that was used
before, through the same relay. Other things are told in round trips: the seconds more than without distance, by the distance.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import yaml

sys.path.insert(0, str(Path(__file__).parent.parent))
from federation.client import transfer
from federation.core import job
from federation.wire import data
from federation.wire.gateway import GatewayClient
from tests import localfed, wan

PIECE = bytes(1 << 20)
SMALL_FILES, SMALL_BYTES = 400, 16 << 10
RANDOM_READS = 20

JOB = """
import sys, time, federation, pyarrow.parquet as pq
fs = federation.filesystem()
def timed(name, work):
    begun = time.perf_counter(); work(); print("TIME", name, time.perf_counter() - begun, flush=True)
def whole():
    with fs.open("bench/big/data.bin") as file:
        while file.read(1 << 20):
            pass
timed("open", lambda: fs.ls("bench/big"))
timed("job read", whole)
timed("job columns", lambda: pq.read_table("bench/table/table.parquet", columns=["a", "g"], filesystem=fs))
"""


class Plain:
    """The floors: a server of plain TCP streams, and one of plain gRPC streams."""

    def __init__(self, remote: wan.Remote) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        stream: Any = grpc.unary_stream_rpc_method_handler(lambda asked, _: (PIECE for _ in range(int(asked))))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Plain", {"Stream": stream}),))
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self._tcp = remote.open(f"127.0.0.1:{self._listener.getsockname()[1]}", wan.Line())
        self._grpc = remote.open(f"127.0.0.1:{port}", wan.Line())

    def tcp(self, megabytes: int) -> None:
        """Bytes of one TCP connection."""
        host, port = self._tcp.split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(megabytes.to_bytes(4))
            buffer, left = bytearray(len(PIECE)), megabytes * len(PIECE)
            while left:
                left -= connection.recv_into(buffer)

    def grpc(self, megabytes: int, times: int = 2) -> float:
        """Seconds of the last of some streams over one connection."""
        options = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
        with grpc.insecure_channel(self._grpc, options=options) as channel:
            call: Any = channel.unary_stream("/Plain/Stream")
            for _ in range(times):
                begun = time.perf_counter()
                for _ in call(str(megabytes).encode()):
                    pass
            return time.perf_counter() - begun

    def close(self) -> None:
        self._server.stop(0).wait()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                connection = self._listener.accept()[0]
                with connection:
                    for _ in range(int.from_bytes(connection.recv(4))):
                        connection.sendall(PIECE)


def distant(folder: Path, remote: wan.Remote) -> localfed.LocalFederation:
    """A federation with a relay before each of its listeners."""
    fed = localfed.LocalFederation(folder=folder, settings={"lease_seconds": "60"})
    file = yaml.safe_load(fed.file.read_text())
    server = file["server"]
    server["address"] = fed.target = remote.open(server["listen"], wan.Line())
    server["agents_address"] = remote.open(server["agents_listen"], wan.Line())
    for site in file["sites"]:
        site["gateway_listen"] = site["gateway_inside"] = site["gateway"]
        site["gateway"] = remote.open(site["gateway"], wan.Line())
    fed.file.write_text(yaml.safe_dump(file))
    return fed


def write_data(fed: localfed.LocalFederation, megabytes: int) -> None:
    """One big file, many small ones, and a table, all at eu-1."""
    fed.put("bench/big", {"data.bin": os.urandom(megabytes << 20)})
    fed.put("bench/small", {f"{n:04}.bin": os.urandom(SMALL_BYTES) for n in range(SMALL_FILES)})
    rng = np.random.default_rng(1)
    table = pa.table({name: rng.integers(0, 1 << 40, 1_000_000) for name in "abcdefgh"})
    with tempfile.TemporaryDirectory() as made:
        pa.parquet.write_table(
            table, Path(made) / "table.parquet", row_group_size=125_000, compression="none", use_dictionary=False
        )
        fed.put("bench/table", {"table.parquet": (Path(made) / "table.parquet").read_bytes()})


@contextlib.contextmanager
def opened(fed: localfed.LocalFederation, name: str) -> Iterator[data.OpenedVersion]:
    """A version as a person reads it, from the gateway far away."""
    with contextlib.closing(fed.client()) as client:
        access = client.open_read(name)
        gateway = GatewayClient(transfer.require_gateway(access), fed.layout.ca.read_bytes(), grant=access.grant)
        with contextlib.closing(gateway):
            yield data.open_version(gateway, audience=data.grant_audience(access.grant))


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def reads(fed: localfed.LocalFederation) -> Iterator[tuple[str, float]]:
    with opened(fed, "bench/big") as version, version.open("data.bin") as file:
        file.read_at(0, 1)
        places = random.Random(2).sample(range(1 << 20, file.size - (1 << 20), 4096), RANDOM_READS)
        yield "random read of 4 KiB", timed(lambda: [file.read_at(place, 4096) for place in places]) / RANDOM_READS

        def by_megabyte() -> None:
            file.seek(0)
            while file.read(1 << 20):
                pass

        yield "read by 1 MiB", timed(by_megabyte)
        yield "read at once", timed(lambda: file.read_at(0, file.size))
    with opened(fed, "bench/table") as version:
        read = pa.parquet.read_table
        yield "Parquet, 2 of 8 columns", timed(lambda: read(version.open("table.parquet"), columns=["a", "g"], pre_buffer=True))


def people(fed: localfed.LocalFederation) -> Iterator[tuple[str, float]]:
    """What a person does: with a client of its own each, as `fed` is, but for what says it is a further call."""
    for name in ("big", "small"):
        source, target, made = f"bench/{name}", fed.folder / f"got-{name}", f"bench/put-{time.time_ns()}"
        with contextlib.closing(fed.client()) as client:
            yield f"get {name}", timed(functools.partial(client.get, source, target))
        with contextlib.closing(fed.client()) as client:
            yield f"put {name}", timed(functools.partial(client.put, made, target, site="eu-1"))
        shutil.rmtree(target)
    with contextlib.closing(fed.client()) as client:
        yield "first call", timed(lambda: client.get_dataset("bench/big"))
        yield "further call", timed(lambda: client.get_dataset("bench/big"))
        yield "page of a listing", timed(lambda: list(client.list_datasets()))
        yield "preview", timed(lambda: client.preview("bench/table"))
        yield "preview again", timed(lambda: client.preview("bench/table"))


def transfers(fed: localfed.LocalFederation) -> Iterator[tuple[str, float]]:
    with contextlib.closing(fed.client()) as client:
        for name in ("big", "small"):
            asked = client.create_transfer(f"bench/{name}", "us-1", keep_seconds=1)
            done = client.wait_transfer(asked.transfer, timeout=600)
            if str(done.state) != "SUCCEEDED" or not (done.start_time and done.end_time):
                raise SystemExit(f"the transfer ended as {done.state}: {done.reason} {done.detail}")
            yield f"transfer {name}", (done.end_time - done.start_time).total_seconds()
        store = fed.layout.site("us-1") / "store"
        localfed.until(lambda: not any(files for _, _, files in os.walk(store)), 120, "the replicas to be dropped")


def jobs(fed: localfed.LocalFederation) -> Iterator[tuple[str, float]]:
    request = job.JobRequest(entrypoint=("true",), sites=("us-1",))
    with contextlib.closing(fed.client()) as client:
        client.get_dataset("bench/big")
        begun = time.perf_counter()
        made = client.create_job(request)
        yield "submit", time.perf_counter() - begun
        client.wait(made.job, 60)
        yield "submit to end", time.perf_counter() - begun
        done = client.get_job(made.job)
        run = client.get_run(done.run)
        if run.start_time and made.create_time:
            yield "until RUNNING", (run.start_time - made.create_time).total_seconds()
    # A job that says that it reads a part is not brought a copy: it reads from afar, all of it.
    inputs = tuple(job.InputSpec(alias=name, dataset=f"bench/{name}", read_percent=40) for name in ("big", "table"))
    request = job.JobRequest(inputs=inputs, entrypoint=("python", "job.py"), sites=("us-1",))
    with contextlib.closing(fed.client()) as client, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "job.py").write_text(JOB)
        made = client.submit(request, Path(folder))
    fed.succeed(made.job, 600)
    for line in fed.job_log(made.job).splitlines():
        if line.startswith("TIME"):
            _, *name, seconds = line.split()
            yield " ".join(name) if name[0] != "open" else "job opens an input", float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rtt", type=int, nargs="+", default=[0, 50, 150, 250])
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--mbit", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=["reads", "people", "transfers", "jobs"])
    options = parser.parse_args()
    sections = {"reads": reads, "people": people, "transfers": transfers, "jobs": jobs}
    remote = wan.Remote()
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(remote):
        plain = Plain(remote)
        fed = distant(Path(folder) / "f", remote)
        with contextlib.closing(plain), localfed.running(fed):
            write_data(fed, options.megabytes)
            found: dict[str, dict[int, float]] = {}
            for rtt in options.rtt:
                remote.change(wan.Line(rtt_seconds=rtt / 1000, bytes_per_second=options.mbit * 125_000))
                found.setdefault("plain TCP", {})[rtt] = timed(lambda: plain.tcp(options.megabytes))
                found.setdefault("plain gRPC", {})[rtt] = plain.grpc(options.megabytes)
                for name in options.only:
                    for what, seconds in sections[name](fed):
                        found.setdefault(what, {})[rtt] = seconds
                        print(f"  {rtt:>4} ms  {what:<24}{seconds:>9.3f} s", file=sys.stderr, flush=True)
            remote.change(wan.Line())
    report(found, options.megabytes)


def report(found: dict[str, dict[int, float]], megabytes: int) -> None:
    rtts = list(found["plain TCP"])
    print(f"{'':<26}" + "".join(f"{rtt:>16} ms" for rtt in rtts))
    for what, seconds in found.items():
        cells = ""
        for rtt in rtts:
            taken, floor = seconds[rtt], found["plain gRPC"][rtt]
            trips = f"{(taken - seconds[0]) / rtt * 1000:.1f} trips" if rtt and 0 in seconds else f"{1000 * taken:.0f} ms"
            big = what.startswith("plain") or any(word in what for word in ("big", "read by", "read at", "job read"))
            cells += f"{megabytes * 1.048576 / taken:>8.0f} MB/s {floor / taken:>5.2f}" if big else f"{trips:>19}"
        print(f"{what:<26}{cells}")


if __name__ == "__main__":
    main()
