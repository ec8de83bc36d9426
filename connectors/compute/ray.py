"""A site's Ray cluster, through its Jobs API.

Every call is bounded in time; whatever Ray or the network answers comes out as `Unavailable` (COMPUTE_UNAVAILABLE) unless it
is an answer to the question.
"""

from __future__ import annotations

import http.client
import io
import json
import logging
import math
import re
import tempfile
import threading
import time
import urllib.parse
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federation import ports
from federation.core import admission, errors, site

if TYPE_CHECKING:
    import requests
    from ray.job_submission import JobSubmissionClient

CONNECT_SECONDS = 5
ANSWER_SECONDS = 60
#: 2.59.1 is the last release of Ray that mended a security hole (research of 2026-11).
RAY_RELEASE_MIN = (2, 59, 1)
#: So many rows Ray's state API lists at once.
ROWS_MAX = 10_000
_NO_RUNTIME_ENV = "RUNTIME_ENV_SETUP_FAILURE"
#: How Ray begins to tell the end of a node that it was told would be taken away at a time that has passed (NodeDeathInfo).
_PREEMPTED = "Terminated due to preemption"
#: How it tells the end of one that was given back because nothing was left on it.
_IDLE = "Terminated due to idle"
#: A submission that ended so long after a node had not ended for it: Ray's own retries take less.
_OUTLIVED_SECONDS = 300
_ACCELERATOR = "accelerator_type:"
#: Ray's own way to ask for a node that has an accelerator without using it up: the GPUs are counted by `num_gpus`.
_ACCELERATOR_SHARE = 0.001
#: The oldest time that a zip file can tell, so that the same files always make the same package.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


class _Refused(Exception):
    """An HTTP answer other than success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text[:2000]}")
        self.status = status


class RayCompute:
    """The port `Compute` over Ray's Jobs API at `address` (`http://127.0.1.1:8265`), with the token that the file holds.

    Connects when it is first used, so that an agent starts beside a cluster that is down.
    """

    def __init__(self, address: str, token_file: Path | None = None) -> None:
        self._address = address
        self._token_file = token_file
        self._client: JobSubmissionClient | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<RayCompute {self._address}>"

    def submit(self, submission: ports.Submission) -> None:
        """Starts it; when a submission of that id is there already, does nothing.

        InvalidArgument (RUNTIME_ENV_INVALID) when Ray cannot read the runtime environment.
        """
        if self.state(submission.submission_id).state != "ABSENT":
            return
        try:
            with tempfile.TemporaryDirectory(prefix="fed-package-") as folder:
                job = _job(submission, Path(folder))
                with _translated(self._address):
                    self._jobs().submit_job(**job)
        except errors.Unavailable:
            # Ray refuses a repeated id with the same status as any failure of its own, and an answer may be lost: only a
            # look tells.
            if self.state(submission.submission_id).state == "ABSENT":
                raise

    def state(self, submission_id: str) -> ports.ComputeState:
        """What became of it; ABSENT when the cluster does not know it."""
        try:
            with _translated(self._address, passing=HTTPStatus.NOT_FOUND):
                info = self._jobs().get_job_info(submission_id)
        except _Refused:
            return ports.ComputeState(state="ABSENT")
        return ports.ComputeState(
            state=str(info.status.value),
            message=info.message or "",
            exit_code=info.driver_exit_code,
            reason="RUNTIME_ENV_FAILED" if info.error_type == _NO_RUNTIME_ENV else "",
        )

    def stop(self, submission_id: str) -> None:
        """Asks it to end: SIGTERM first, SIGKILL a few seconds later. Does nothing when it has ended or is not there."""
        try:
            with _translated(self._address, passing=HTTPStatus.NOT_FOUND):
                self._jobs().stop_job(submission_id)
        except _Refused:
            return

    def nodes(self, submission_id: str) -> tuple[ports.NodeState, ...]:
        """What became of the nodes of its driver and of the tasks and actors that its driver made; none of an unknown one."""
        try:
            with _translated(self._address, passing=HTTPStatus.NOT_FOUND):
                info = self._jobs().get_job_info(submission_id)
                since = (info.end_time or time.time() * 1000) - _OUTLIVED_SECONDS * 1000
                rows = {row["node_id"]: row for row in self._listed("nodes") if _may_matter(row, since)}
                used = {info.driver_node_id}
                if rows.keys() - used and info.job_id:
                    used.update(
                        row["node_id"] for kind in ("tasks", "actors") for row in self._listed(kind, job_id=info.job_id)
                    )
        except _Refused:
            return ()
        return tuple(_node_state(rows[node]) for node in sorted(rows.keys() & used))

    def capacity(self) -> site.Capacity:
        """Totals over the nodes that live, and what of them is used and asked for, by whomever."""
        with _translated(self._address):
            nodes = {node["node_id"]: node["resources_total"] for node in self._listed("nodes") if node["state"] == "ALIVE"}
            # Written by the cluster's autoscaler every few seconds; absent until it has looked for the first time.
            status = self._get("/api/cluster_status")["data"].get("clusterStatus") or {}
        return _capacity(nodes, status.get("loadMetricsReport") or {})

    def examine(self) -> admission.Finding:
        """Whether the Jobs API asks for a token, and Ray is one that no known hole is in: C where it does not answer.

        Whoever reaches an open Jobs API runs code on the cluster (CVE-2023-48022), so one that is open keeps the site out.
        """
        try:
            mode = json.loads(self._asked("/api/authentication_mode")[1] or b"{}").get("authentication_mode")
            status, _ = self._asked("/api/jobs/")
            known, told = self._asked("/api/version", self._token())
            version = str(json.loads(told).get("ray_version")) if known == HTTPStatus.OK else ""
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            return _examined("C", f"{admission.UNASKED}: {type(error).__name__}")
        if mode != "token" or status != HTTPStatus.UNAUTHORIZED:
            return _examined(
                admission.REFUSED,
                f"Ray's dashboard is open: its mode is {str(mode)[:30]!r}, and without a token it answers {status}, not 401; "
                "start Ray with RAY_AUTH_MODE=token",
            )
        if not version:
            return _examined("C", f"{admission.UNASKED}: it answers the site's own token with {known}")
        if _release(version) < RAY_RELEASE_MIN:
            least = ".".join(map(str, RAY_RELEASE_MIN))
            return _examined(admission.REFUSED, f"Ray {version} has holes; use {least} or a newer one")
        return _examined("A", f"Ray {version} answers with its token alone")

    def _token(self) -> str:
        return self._token_file.read_text().strip() if self._token_file else ""

    def _asked(self, path: str, token: str = "") -> tuple[int, bytes]:
        """Status and body that whoever has the token, or nothing, gets; no redirect is followed, and no proxy asked."""
        parts = urllib.parse.urlsplit(self._address)
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = make(parts.hostname or "", parts.port, timeout=CONNECT_SECONDS)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            return answer.status, answer.read(65_536)
        finally:
            connection.close()

    def _listed(self, kind: str, **equal: str) -> list[dict[str, Any]]:
        """Rows of Ray's state API whose columns equal these, as many as it lists at once."""
        query = [("limit", str(ROWS_MAX)), ("detail", "true" if kind == "nodes" else "false")]
        for column, value in equal.items():
            query += [("filter_keys", column), ("filter_predicates", "="), ("filter_values", value)]
        rows: list[dict[str, Any]] = self._get(f"/api/v0/{kind}?{urllib.parse.urlencode(query)}")["data"]["result"]["result"]
        return rows

    def _get(self, path: str) -> Any:
        response: requests.Response = self._jobs()._do_request("GET", path)
        if response.status_code != HTTPStatus.OK:
            raise _Refused(response.status_code, response.text)
        return response.json()

    def _jobs(self) -> JobSubmissionClient:
        with self._lock:
            if self._client is None:
                token = self._token()
                self._client = _client_type()(self._address, headers={"Authorization": f"Bearer {token}"} if token else {})
            return self._client


def _examined(grade: str, detail: str) -> admission.Finding:
    return admission.Finding(check="compute", grade=grade, detail=detail)


def _release(version: str) -> tuple[int, ...]:
    """`2.59.1` as numbers; a version that is none is older than all."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else (0,)


def _client_type() -> Callable[..., JobSubmissionClient]:
    """Ray's client with bounded calls and telling errors. Made here, for importing Ray takes a second."""
    from ray.job_submission import JobSubmissionClient  # noqa: PLC0415 - importing Ray takes a second

    # Its progress lines are not the agent's.
    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)

    class BoundedClient(JobSubmissionClient):  # type: ignore[misc, unused-ignore]
        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            options.setdefault("timeout", (CONNECT_SECONDS, ANSWER_SECONDS))
            # A site's cluster is on its own network: no proxy of the environment lies between, or may see the token.
            options.setdefault("proxies", {"http": "", "https": ""})
            return super()._do_request(method, endpoint, **options)

        def _raise_error(self, response: requests.Response) -> None:
            raise _Refused(response.status_code, response.text)

    return BoundedClient


@contextmanager
def _translated(address: str, *, passing: HTTPStatus | None = None) -> Iterator[None]:
    """Turns what Ray and its HTTP library raise into Unavailable; lets through an answer of status `passing`."""
    try:
        yield
    except errors.FederationError:
        raise
    except _Refused as refused:
        if refused.status == passing:
            raise
        raise _unavailable(address, refused) from refused
    # Ray's client raises RuntimeError, ConnectionError, ValueError and errors of requests and of Ray itself, undocumented.
    except Exception as error:
        raise _unavailable(address, error) from error


def _unavailable(address: str, error: Exception) -> errors.Unavailable:
    return errors.Unavailable(
        f"Ray at {address} did not do it: {type(error).__name__}: {error}",
        reason="COMPUTE_UNAVAILABLE",
        help="See that the cluster runs and that its token is the configured one.",
        metadata={"address": address},
    )


def _job(submission: ports.Submission, scratch: Path) -> dict[str, Any]:
    runtime_env = _checked(submission.runtime_env)
    runtime_env["env_vars"] = {**runtime_env.get("env_vars", {}), **submission.env}
    if submission.working_dir:
        runtime_env["working_dir"] = str(_packed(Path(submission.working_dir), scratch))
    return {
        "entrypoint": submission.entrypoint,
        "submission_id": submission.submission_id,
        "runtime_env": runtime_env,
        "metadata": dict(submission.metadata),
        "entrypoint_num_cpus": submission.cpus,
        "entrypoint_num_gpus": submission.gpus or None,
        "entrypoint_memory": submission.memory_bytes or None,
        "entrypoint_resources": {_ACCELERATOR + submission.gpu_type: _ACCELERATOR_SHARE} if submission.gpu_type else None,
    }


def _checked(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    from ray.runtime_env import RuntimeEnv  # noqa: PLC0415 - importing Ray takes a second

    try:
        RuntimeEnv(**runtime_env)
    except (TypeError, ValueError, RuntimeError) as error:
        raise errors.InvalidArgument(
            f"Ray cannot read the runtime environment: {error}",
            reason="RUNTIME_ENV_INVALID",
            help="Its fields are those of ray.runtime_env.RuntimeEnv.",
        ) from error
    return dict(runtime_env)


def _packed(folder: Path, scratch: Path) -> Path:
    """The folder as a zip file, whole: of a folder Ray leaves out what its .gitignore names, `.git`, `.venv` and others."""
    package = scratch / "working_dir.zip"
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _ZIP_TIME)
                entry.external_attr = path.stat().st_mode << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                with path.open("rb") as source, archive.open(entry, "w") as target:
                    _copy(source, target)
    return package


def _copy(source: io.BufferedReader, target: Any) -> None:
    while piece := source.read(1 << 20):
        target.write(piece)


def _may_matter(row: Mapping[str, Any], since_ms: float) -> bool:
    """Whether a node's end may be what ended a submission. A head's is not: without it there is no cluster to ask."""
    if row["is_head_node"]:
        return False
    idle = (row["state_message"] or "").startswith(_IDLE)
    return row["state"] == "ALIVE" or (row["end_time_ms"] >= since_ms and not idle)


def _node_state(row: Mapping[str, Any]) -> ports.NodeState:
    if row["state"] == "ALIVE":
        return ports.NodeState(node=row["node_id"], state="ALIVE")
    detail = row["state_message"] or ""
    state = "PREEMPTED" if detail.startswith(_PREEMPTED) else "LOST"
    return ports.NodeState(node=row["node_id"], state=state, detail=detail)


def _capacity(nodes: Mapping[str, Mapping[str, float]], report: Mapping[str, Any]) -> site.Capacity:
    """`nodes` are the totals of each node by its id; `report` is the autoscaler's, which may be a few seconds old."""
    gpus: Counter[str] = Counter()
    used_gpus: Counter[str] = Counter()
    used = {node: values for node, values in (report.get("usageByNode") or {}).items() if node in nodes}
    for node, totals in nodes.items():
        types = _gpus(totals)
        gpus.update(types)
        # Of a node that has several types nobody says which are used: those are of the empty type, as are loads of any type.
        used_gpus[next(iter(types)) if len(types) == 1 else ""] += _used(used.get(node), "GPU")
    return site.Capacity(
        cpus=int(sum(totals.get("CPU", 0) for totals in nodes.values())),
        memory_bytes=int(sum(totals.get("memory", 0) for totals in nodes.values())),
        gpus=tuple(sorted(gpus.items())),
        used_cpus=sum(_used(values, "CPU") for values in used.values()),
        used_memory_bytes=sum(_used(values, "memory") for values in used.values()),
        used_gpus=tuple(sorted((name, count) for name, count in used_gpus.items() if count)),
        queued=sum(int(count) for _, count in report.get("resourceDemand") or ()),
    )


def _used(values: Mapping[str, Sequence[float]] | None, name: str) -> int:
    """What is used of a node's resource, rounded up: half a CPU that is taken is a CPU that no job gets."""
    return math.ceil(values[name][0]) if values and name in values else 0


def _gpus(node: Mapping[str, float]) -> dict[str, int]:
    """GPUs of a node by type.

    Where Ray found the type itself its resource counts 1 a node, so that one type has all the node's GPUs; a node that is told
    to have several types says how many of each.
    """
    types = {key.removeprefix(_ACCELERATOR): int(count) for key, count in node.items() if key.startswith(_ACCELERATOR)}
    total = int(node.get("GPU", 0))
    if len(types) <= 1:
        return {next(iter(types), ""): total} if total else {}
    return types
