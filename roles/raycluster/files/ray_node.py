# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""This pod's Ray node, and the nodes of the cluster as Ray's dashboard knows them (state API, /api/v0/nodes)."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import secrets
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from progress import Failure

# Ray's node IDs have 28 bytes (ray, src/ray/common/constants.h, kUniqueIDSize).
NODE_ID_DIGITS = 56
# KubeRay's own start command asks for as much: Ray and NCCL open many sockets.
OPEN_FILES = 65536
ASK_SECONDS = 5.0


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


def start(node_id: str | None = None) -> subprocess.Popen[bytes]:
    """Start Ray as KubeRay would; the process ends when a part of Ray does (`--block`)."""
    command = os.environ.get("KUBERAY_GEN_RAY_START_CMD")
    if not command:
        raise Failure(
            "ray",
            "KUBERAY_GEN_RAY_START_CMD is not set: this program is for a pod made by KubeRay 1.1 or later",
            lasting=True,
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    environment = dict(os.environ)
    if node_id:
        environment["RAY_OVERRIDE_NODE_ID_FOR_TESTING"] = node_id
    # A shell, since KubeRay means it for one; a session of its own, since the signals of this container are ours to pass on.
    return subprocess.Popen(
        ["/bin/bash", "-c", f"exec {command}"], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )


def stop(process: subprocess.Popen[bytes] | None) -> None:
    """End what `start` started; the rest of Ray ends with the container."""
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ended(code: int) -> Failure:
    """Return what the end of the Ray process means."""
    if code == 127:
        return Failure("ray", "the image has no `ray` on its PATH: use an image that holds Ray and vLLM", lasting=True)
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return Failure("ray", f"Ray ended {how}")


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
