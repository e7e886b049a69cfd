# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which nodes of a pool are not as they should be, why, and since when.

Oracle Cloud and Kubernetes each know half of it: a launch that failed never shows in Kubernetes, and a node that is ACTIVE
in Oracle Cloud may never join, have no GPUs, or a disk that was not grown. Pure: the caller reads both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..fault import Fault
from .deployment_health import readable_seconds
from .observation import node_ready

# What a work request and a node's launch fail with when there is no host to be had, or no more of them by a limit.
SHORT_CODES = ("node_out_of_host_capacity", "node_limit_exceeded")
RUNNING_WORK = ("ACCEPTED", "IN_PROGRESS", "CANCELING")
_BUSY_STATES = ("CREATING", "UPDATING", "DELETING")
# A grown root file system has the boot volume less some 15 GB of other parts; one that was not grown has 35 to 47 GB
# whatever the volume. Up to a volume of some 75 GB the two cannot be told apart, and need not be.
_LEAST_DISK_SHARE = 0.6
_LONGEST_LINE = 160

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True)
class Wanted:
    """What the group needs: `size` nodes with `gpus` each and a boot volume of `boot_volume_gb`.

    Seconds until a node counts as failed: join_seconds from ACTIVE to Ready, gpu_seconds from Ready to its GPUs.
    """

    size: int
    gpus: int
    boot_volume_gb: int
    join_seconds: float
    gpu_seconds: float


@dataclass(frozen=True)
class Finding:
    """What is wrong with one node, since when (seconds of the epoch), and for how long it may be so.

    fault: the same for the user; one of Oracle Cloud's has its service, status and request id beside.
    """

    node_id: str
    since: float
    bound: float
    fault: Mapping[str, Any]

    @property
    def code(self) -> str:
        return str(self.fault["code"])

    def overdue(self, now: float) -> bool:
        return now - self.since >= self.bound

    def line(self, now: float) -> str:
        """What is awaited of the node, how far, and since when."""
        text = f"{self.fault['where']} {self.fault['found']}"
        text = text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 3] + "..."
        if self.bound:
            text += f" for {readable_seconds(max(now - self.since, 0))}, {readable_seconds(self.bound)} at most"
        return text


def is_busy(pool: Mapping[str, Any]) -> bool:
    """Say whether a change of the pool is under way: what is missing may still come, and no other change is taken."""
    work = pool.get("work_request") or {}
    return pool.get("lifecycle_state") in _BUSY_STATES or work.get("status") in RUNNING_WORK


def unmatched(pool: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the ids of the ACTIVE nodes of the pool that are not among the Kubernetes `nodes`."""
    found = _Joined(pool, nodes)
    return [entry["id"] for entry in _running(pool) if found.of(entry) is None]


def small_disks(nodes: Sequence[Mapping[str, Any]], wanted: Wanted) -> list[str]:
    """Return the names of the Kubernetes nodes whose file system was not grown: pods do not fit there, or fill it."""
    return [node["metadata"]["name"] for node in nodes if node_ready(node) and _is_small(_disk_of(node), wanted)]


def _disk_of(node: Mapping[str, Any]) -> float:
    return quantity((node["status"].get("capacity") or {}).get("ephemeral-storage"))


def _is_small(disk: float, wanted: Wanted) -> bool:
    # A volume's GB are GiB. A disk that is not said is no small one.
    return 0 < disk < _LEAST_DISK_SHARE * wanted.boot_volume_gb * 2**30


def examine(
    pool: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    wanted: Wanted,
    seen: MutableMapping[tuple[str, str], float],
    now: float,
) -> list[Finding]:
    """Return what is wrong with the nodes of a pool; nothing of nodes on their way in or out.

    pool   of `oci_node_pool_info`
    nodes  of Kubernetes, at least those that belong to the pool
    seen   when each finding (node id, code) was first made; kept by the caller from look to look, changed here
    """
    joined = _Joined(pool, nodes)
    findings = []
    for entry in pool.get("nodes") or ():
        if entry.get("lifecycle_state") in ("DELETING", "DELETED"):
            continue
        if entry.get("fault"):
            findings.append(Finding(entry["id"], now, 0.0, entry["fault"]))
    for entry in _running(pool):
        if not entry.get("fault") and (found := _of_running(entry, joined.of(entry), pool, wanted, now)):
            findings.append(found)
    current = {(found.node_id, found.code): found for found in findings}
    for key in [key for key in seen if key not in current]:
        del seen[key]
    result = []
    for key, found in current.items():
        since = min(seen.setdefault(key, now), found.since)
        result.append(Finding(found.node_id, since, found.bound, found.fault))
    return result


def _running(pool: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """INACTIVE is an instance that was stopped: as good as one that died."""
    return [entry for entry in pool.get("nodes") or () if entry.get("lifecycle_state") in ("ACTIVE", "INACTIVE")]


def _of_running(
    entry: Mapping[str, Any], node: Mapping[str, Any] | None, pool: Mapping[str, Any], wanted: Wanted, now: float
) -> Finding | None:
    where = f"node {entry.get('private_ip') or entry.get('name') or entry['id']}"

    def finding(code: str, found: str, since: float, bound: float, expected: str, remedy: str) -> Finding:
        return Finding(entry["id"], since, bound, Fault(code, where, found, expected, remedy).as_dict())

    if node is None:
        return finding(
            "node_not_joined",
            f"is {entry['lifecycle_state']} in Oracle Cloud and not in Kubernetes",
            min(_launched(pool), now),
            wanted.join_seconds,
            "a node that joins the cluster",
            "check /var/log/cloud-init-output.log there, and the route from its subnet to the cluster's endpoint",
        )
    if not node_ready(node):
        return finding(
            "node_not_ready",
            "is in Kubernetes and not Ready" + _reason(node),
            min(_ready_changed(node), now),
            wanted.join_seconds,
            "a node that is Ready",
            f"see `kubectl describe node {node['metadata']['name']}`",
        )
    disk = _disk_of(node)
    if _is_small(disk, wanted):
        return finding(
            "node_small_disk",
            f"has a disk of {disk / 2**30:.0f} GiB, its boot volume has {wanted.boot_volume_gb}",
            now,
            0.0,
            "a root file system as large as the boot volume",
            "check oci-growfs in /var/log/cloud-init-output.log there",
        )
    gpus = int(quantity((node["status"].get("allocatable") or {}).get("nvidia.com/gpu")))
    if gpus < wanted.gpus:
        return finding(
            "node_without_gpus",
            f"is Ready with {gpus} of {wanted.gpus} GPUs",
            now,
            wanted.gpu_seconds,
            f"{wanted.gpus} GPUs in its allocatable",
            "check the GPU driver on the node (nvidia-smi) and the device plugin in kube-system",
        )
    return None


class _Joined:
    """Kubernetes nodes by what Oracle Cloud knows of them: the instance's OCID (providerID), else the private address."""

    def __init__(self, pool: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> None:
        self._by_id: dict[str, Mapping[str, Any]] = {}
        self._by_address: dict[str, Mapping[str, Any]] = {}
        ids = {entry["id"] for entry in pool.get("nodes") or ()}
        for node in nodes:
            provider = str((node.get("spec") or {}).get("providerID") or "").rpartition("/")[2]
            if provider in ids:
                self._by_id[provider] = node
                continue
            addresses = (node.get("status") or {}).get("addresses") or []
            for address in [node["metadata"]["name"], *(item.get("address", "") for item in addresses)]:
                self._by_address[address] = node

    def of(self, entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return self._by_id.get(entry["id"]) or self._by_address.get(entry.get("private_ip") or "")


def _launched(pool: Mapping[str, Any]) -> float:
    """When the nodes were launched at the latest, so that a run that continues where another was killed counts on."""
    work = pool.get("work_request") or {}
    return moment_of(work.get("time_finished")) if work.get("status") == "SUCCEEDED" else float("inf")


def _ready_changed(node: Mapping[str, Any]) -> float:
    conditions = (node.get("status") or {}).get("conditions") or []
    changed = next((entry.get("lastTransitionTime") for entry in conditions if entry["type"] == "Ready"), None)
    return moment_of(changed or node["metadata"].get("creationTimestamp"))


def _reason(node: Mapping[str, Any]) -> str:
    conditions = (node.get("status") or {}).get("conditions") or []
    message = next((entry.get("message") for entry in conditions if entry["type"] == "Ready"), None)
    return f" ({message})" if message else ""


def moment_of(text: str | None) -> float:
    """Return a time of RFC 3339 in seconds of the epoch; infinity where there is none."""
    if not text:
        return float("inf")
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return float("inf")


def quantity(text: Any) -> float:
    """Return a quantity of Kubernetes as a number; 0 where there is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(k|M|G|T|Ki|Mi|Gi|Ti)?", str(text or ""))
    return float(match[1]) * _UNITS[match[2] or ""] if match else 0.0
