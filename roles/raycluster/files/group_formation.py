# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The group as it forms, seen from the head: which Ray nodes live, which stage each has, and whether each has its files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pod_inspection
import ray_driver
from group_file import Group
from pod_progress import Failure
from pod_status import Watch
from ray_driver import Cluster, Node

# How long Ray may not answer before the group is started again: its start on a busy machine takes minutes.
SILENCE_SECONDS = 900.0
# A node that has just joined may be the one that is about to go; the order of stages is taken from what stays.
STABLE_SECONDS = 1.0


class Formation:
    """What the head knows of its group. `look` reads Ray again; the rest judges what was seen."""

    def __init__(self, group: Group, cluster: Cluster) -> None:
        self._group = group
        self._cluster = cluster
        self._nodes: list[Node] = []
        self._since = time.monotonic()
        # From the first look on: the program may have waited long before, having given up.
        self._answered: float | None = None
        self._watches: dict[str, Watch] = {}
        self._runs: dict[str, str] = {}
        self._trouble: str | None = "Ray starts"

    @property
    def gpus(self) -> int:
        """How many GPUs live."""
        return sum(node.gpus for node in self._nodes)

    @property
    def stages(self) -> dict[str, int]:
        """The stage of each node by its address; empty until the group is whole and stable."""
        if self._trouble:
            return {}
        order = ray_driver.stages(self._nodes)
        return {node.address: order[node.identifier] for node in self._nodes}

    @property
    def waiting_for(self) -> str | None:
        """What the group lacks, in words; None where nothing."""
        return self._trouble or next(self._unstaged(), None)

    @property
    def complete(self) -> bool:
        """Say whether the group is whole and every worker has the files of its stage. Notes the workers' runs when it is."""
        if self.waiting_for:
            return False
        self._runs = {
            address: status["run"] for address, watch in self._watches.items() if (status := watch.status) is not None
        }
        return True

    def look(self) -> None:
        """Ask Ray which nodes live, and see that each worker's status is watched. Failure where Ray stays silent."""
        self._answered = self._answered or time.monotonic()
        try:
            alive = [node for node in self._cluster.nodes() if node.gpus]
        except ConnectionError as error:
            self._trouble = f"Ray does not say its nodes yet: {error}"
            if time.monotonic() - self._answered > SILENCE_SECONDS:
                raise Failure("ray", f"Ray has not said its nodes for {SILENCE_SECONDS:.0f} s: {error}") from None
            return
        self._answered = time.monotonic()
        if {node.identifier for node in alive} != {node.identifier for node in self._nodes}:
            self._since = time.monotonic()
        self._nodes = sorted(alive, key=lambda node: (not node.is_head, node.identifier))
        workers = {node.address for node in alive if not node.is_head}
        for address in workers - self._watches.keys():
            self._watches[address] = Watch(address, self._group.ports["status"])
        for address in self._watches.keys() - workers:
            self._watches.pop(address).stop()
        self._trouble = self._judge()

    def mismatch(self, own: dict[str, Any]) -> str | None:
        """Return in words which worker's image or driver is another than the head's (`own`, of `inspection.inspect`)."""
        for address, watch in self._watches.items():
            other = (watch.status or {}).get("machine", {})
            if different := pod_inspection.differences(own, other):
                return f"the pod at {address} is not like the head's: {'; '.join(different)}; give all pods one image and node image"
        return None

    def failure(self) -> Failure | None:
        """Return how a worker was lost since the group was complete."""
        for address, run in self._runs.items():
            watch = self._watches[address]
            stage = self.stages.get(address)
            status = watch.status
            if status is not None and status["run"] != run:
                return Failure("ray", f"the pod of stage {stage} ({address}) started again")
            if lost := watch.lost:
                return Failure("ray", f"the pod of stage {stage} is gone: {lost}")
        return None

    def description(self) -> list[str]:
        """The order of stages as lines for the log."""
        return [
            f"stage {stage}: {address}" for address, stage in sorted(self.stages.items(), key=lambda entry: entry[1])
        ]

    def _judge(self) -> str | None:
        tensor, pipeline = self._group.tensor, self._group.pipeline
        for node in self._nodes:
            if node.gpus != tensor:
                return f"{node.address} has {node.gpus} GPUs in Ray, expected {tensor} on each node"
        addresses = {node.address for node in self._nodes}
        if len(addresses) < len(self._nodes):
            return "an earlier Ray node of a pod that started again has not gone yet"
        if len(self._nodes) < pipeline:
            return f"{len(self._nodes)} of {pipeline} nodes have joined Ray"
        if len(self._nodes) > pipeline:
            return f"{len(self._nodes)} nodes with GPUs are in Ray, expected {pipeline}"
        if not any(node.is_head for node in self._nodes):
            return "the head's own node has not joined Ray"
        if time.monotonic() - self._since < STABLE_SECONDS:
            return "the nodes of the group have just joined"
        return None

    def _unstaged(self) -> Iterator[str]:
        for address, stage in self.stages.items():
            if stage == 0:
                continue
            watch = self._watches[address]
            status = watch.status
            if status is None:
                yield f"stage {stage} ({address}) does not answer on its status port: {watch.trouble}"
            elif lost := watch.lost:
                yield f"stage {stage} ({address}): {lost}"
            elif not status.get("reaches"):
                yield f"stage {stage} ({address}) has not connected to rank 0 yet"
            elif status.get("staged") != stage:
                cause = status.get("cause")
                yield f"stage {stage} ({address}) is staging" + (f": {cause}" if cause else "")
