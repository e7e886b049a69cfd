# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""This pod's Ray node, and the nodes of the cluster as Ray's dashboard knows them (state API, /api/v0/nodes)."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from group import STATE_FOLDER
from progress import Failure, log

# Ray's node IDs have 28 bytes (ray, src/ray/common/constants.h, kUniqueIDSize).
NODE_ID_DIGITS = 56
# KubeRay's own start command asks for as much: Ray and NCCL open many sockets.
OPEN_FILES = 65536
ASK_SECONDS = 5.0
# Without these there is no node; Ray's other processes may come and go.
PROCESSES = ("gcs_server", "raylet")
PR_SET_CHILD_SUBREAPER = 36
# Ray's temporary folder, a volume of the pod.
SESSIONS = Path("/tmp/ray")
# `ray start` waits for the dashboard, whose modules are processes of their own: on a busy machine longer than the 30 and 60 s that
# Ray gives them (Ray 2.58, dashboard/consts.py and _private/ray_constants.py).
DASHBOARD_ENVIRONMENT = {
    "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "300",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
}


@dataclass(frozen=True)
class Node:
    """A living node of the Ray cluster."""

    identifier: str
    address: str
    is_head: bool
    gpus: int


def worker_node_id(stage: int | None) -> str:
    """Return a Ray node ID that sorts by the stage: vLLM gives the stages to the driver's node, then by ascending ID.

    A worker that does not know its stage comes last.
    """
    prefix = "ffffffff" if stage is None else f"{stage - 1:08x}"
    return prefix + secrets.token_hex((NODE_ID_DIGITS - len(prefix)) // 2)


class RayNode:
    """Ray on this pod: the command that starts it, then its processes, which become children of this program."""

    def __init__(self) -> None:
        self._command: subprocess.Popen[bytes] | None = None
        # What ends with Ray's node, by process ID; None until the start command is done.
        self._processes: dict[int, str] | None = None
        self._raylet_seen = False

    @property
    def joinable(self) -> bool:
        """Say whether a node's process runs here, which others can join. `ray start` itself returns later, with the dashboard.

        The GCS alone would not do: `ray start` of a worker ends where it finds no node of the head (Ray 2.58, _private/node.py).
        """
        self._raylet_seen = self._raylet_seen or bool(_processes(("raylet",)))
        return self._raylet_seen

    def start(self, node_id: str | None = None) -> None:
        """Start Ray by the command that KubeRay wrote for this pod.

        Without `--block`: that ends Ray with any of its processes, be it the dashboard.
        """
        command = os.environ.get("KUBERAY_GEN_RAY_START_CMD")
        if not command:
            raise Failure(
                "ray",
                "KUBERAY_GEN_RAY_START_CMD is not set: this program is for a pod made by KubeRay 1.1 or later",
                lasting=True,
            )
        _provide_home()
        _drop_old_sessions()
        _adopt_orphans()
        _allow_open_files()
        environment = {**DASHBOARD_ENVIRONMENT, **os.environ}
        if node_id:
            environment["RAY_OVERRIDE_NODE_ID_FOR_TESTING"] = node_id
        # A shell, since KubeRay means it for one; a session of its own, since the signals of this container are ours to pass on.
        self._command = subprocess.Popen(
            ["/bin/bash", "-c", "exec " + re.sub(r"--block\b", "", command)],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def failure(self) -> Failure | None:
        """Return how Ray ended on this pod; None while it starts or runs."""
        if self._command is None:
            return None
        if self._processes is None:
            code = self._command.poll()
            if code is None:
                return None
            if code == 127:
                return Failure(
                    "ray", "the image has no `ray` on its PATH: use an image that holds Ray and vLLM", lasting=True
                )
            if code:
                return Failure("ray", f"`ray start` ended {_how(code)}; its lines stand in the log")
            self._processes = {
                pid: name for pid, (name, parent) in _processes(PROCESSES).items() if parent == os.getpid()
            }
            log(f"Ray runs: {', '.join(f'{name} {pid}' for pid, name in self._processes.items())}")
        for pid, name in self._processes.items():
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return Failure("ray", f"Ray's {name} ended {_how(os.waitstatus_to_exitcode(status))}")
        return None

    def stop(self) -> None:
        """End what can be named; the rest of Ray ends with the container."""
        if self._command is None:
            return
        for pid in self._processes or ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._command.pid, signal.SIGKILL)
        self._command.wait()


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


def _provide_home() -> None:
    """Have a home that can be written, where the image's cannot: compilers and caches keep their files there."""
    home = os.path.expanduser("~")
    if not os.access(home, os.W_OK):
        own = STATE_FOLDER / "home"
        own.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(own)
        log(f"{home} cannot be written: HOME is {own}")


def _drop_old_sessions() -> None:
    """Leave of what Ray wrote in earlier starts of this container the last alone: the disk would fill."""
    # Elsewhere than on the pod's volume nothing is left of them, or it is not ours.
    if SESSIONS.is_mount():
        # Their names begin with the time.
        for session in sorted(SESSIONS.glob("session_[0-9]*"))[:-1]:
            shutil.rmtree(session, ignore_errors=True)


def _adopt_orphans() -> None:
    """Become the parent of what `ray start` leaves behind, also where this program is not the pod's first process."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _processes(names: Collection[str]) -> dict[int, tuple[str, int]]:
    """Return the processes that have one of the names, each with its name and its parent."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # pid (name) state parent ...; a name may hold anything.
            before, _bracket, after = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        name = before.partition("(")[2]
        if name in names:
            found[int(folder.name)] = name, int(after.split()[1])
    return found


def nodes(dashboard_port: int) -> list[Node]:
    """Return the living nodes. OSError or ValueError while the dashboard does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", dashboard_port, timeout=ASK_SECONDS)
    token = os.environ.get("RAY_AUTH_TOKEN")
    try:
        connection.request(
            "GET", "/api/v0/nodes?limit=10000", headers={"Authorization": f"Bearer {token}"} if token else {}
        )
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(type(error).__name__) from None
    finally:
        connection.close()
    if response.status != 200:
        raise ConnectionError(f"Ray's dashboard answered {response.status}")
    return [_node(entry) for entry in json.loads(body)["data"]["result"]["result"] if entry["state"] == "ALIVE"]


def _node(entry: Mapping[str, object]) -> Node:
    resources = entry.get("resources_total") or {}
    return Node(
        identifier=str(entry["node_id"]),
        address=str(entry["node_ip"]),
        is_head=bool(entry.get("is_head_node")),
        gpus=round(resources.get("GPU", 0)) if isinstance(resources, dict) else 0,
    )


def stages(found: list[Node]) -> dict[str, int]:
    """Return the pipeline stage of each node by its ID, as vLLM gives them: the driver's node, then ascending IDs."""
    ordered = sorted(found, key=lambda node: (not node.is_head, node.identifier))
    return {node.identifier: stage for stage, node in enumerate(ordered)}
