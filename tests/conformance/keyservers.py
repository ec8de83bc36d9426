"""Key services for tests, on loopback: a real OpenBao in development mode, and moto's KMS and Parameter Store."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hvac

from tests import tcp

TOKEN = "root-of-the-tests"


@dataclass(frozen=True, kw_only=True)
class Bao:
    """An OpenBao server: where it listens, and a file with its root token."""

    address: str
    token_file: Path

    def options(self, **more: str) -> dict[str, str]:
        """The connector's options for it."""
        return {"address": self.address, "token_file": str(self.token_file), **more}

    def client(self) -> hvac.Client:
        """A client that may do everything."""
        return hvac.Client(url=self.address, token=TOKEN)


@contextmanager
def openbao(folder: Path) -> Iterator[Bao]:
    """A server in memory with transit; KV-v2 at `secret` is there from the start."""
    (port,) = tcp.free_ports(1)
    address, token_file = f"http://127.0.0.1:{port}", folder / "token"
    token_file.write_text(TOKEN + "\n", encoding="utf-8")
    command = [shutil.which("bao", path=str(Path(sys.executable).parent)) or "bao", "server", "-dev", "-dev-no-store-token"]
    command += [f"-dev-root-token-id={TOKEN}", f"-dev-listen-address=127.0.0.1:{port}"]
    with (
        (folder / "bao.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={"HOME": str(folder)}) as server,
    ):
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/v1/sys/health", timeout=5):
                    break
                time.sleep(0.1)
            bao = Bao(address=address, token_file=token_file)
            bao.client().sys.enable_secrets_engine("transit")
            yield bao
        finally:
            server.terminate()
