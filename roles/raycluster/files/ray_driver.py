# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The nodes of the Ray cluster, as a driver of Ray sees them.

The driver is this file run as a program of its own, until the group has formed: what Ray's client does, a fatal check that ends its
process included, stays there. Ray's dashboard knows the nodes, too, but has nine processes to start first, which on a machine of few
cores is most of the time that a group takes to form.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

import pod_processes

# The driver looks so often, is taken for silent after so long, and is started again not before so long after its last start.
LOOK_SECONDS = 0.2
SILENT_SECONDS = 10.0
AGAIN_SECONDS = 5.0
MARK = "multinode cluster "
# The head's node has it (Ray, _private/ray_constants.py, NODE_ID_PREFIX and HEAD_NODE_RESOURCE_NAME).
HEAD_RESOURCE = "node:__internal_head__"


@dataclass(frozen=True)
class Node:
    """A living node of the Ray cluster."""

    identifier: str
    address: str
    is_head: bool
    gpus: int


def stages(found: list[Node]) -> dict[str, int]:
    """Return the pipeline stage of each node by its ID, as vLLM gives them: the driver's node, then ascending IDs."""
    ordered = sorted(found, key=lambda node: (not node.is_head, node.identifier))
    return {node.identifier: stage for stage, node in enumerate(ordered)}


class Cluster:
    """What the driver at Ray's `address` (host:port) sees; it is started again where it ends."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._driver: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._lock = threading.Lock()
        self._nodes: list[Node] = []
        self._heard: float | None = None
        self._trouble = "it starts"

    def start(self) -> None:
        """Start the driver, which may be long before Ray: importing it takes seconds."""
        self._started = time.monotonic()
        self._driver = subprocess.Popen(
            [sys.executable, __file__, self._address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(self._driver,), name="Ray's nodes", daemon=True).start()

    def nodes(self) -> list[Node]:
        """Return the living nodes. ConnectionError, with what is amiss, while the driver does not see them."""
        now = time.monotonic()
        if self._driver is not None and self._driver.poll() is not None and now - self._started > AGAIN_SECONDS:
            self.start()
        with self._lock:
            if self._heard is None or now - self._heard > SILENT_SECONDS:
                raise ConnectionError(self._trouble)
            return self._nodes

    def stop(self) -> None:
        """End the driver; what it saw last stays."""
        if self._driver is not None:
            pod_processes.end_session(self._driver)
            self._driver = None

    def _listen(self, driver: subprocess.Popen[bytes]) -> None:
        assert driver.stdout is not None
        last = ""
        for line in driver.stdout:
            text = line.decode("utf-8", "replace").strip()
            if not text.startswith(MARK):
                last = text or last
                continue
            try:
                said = json.loads(text.removeprefix(MARK))
                nodes = [Node(**entry) for entry in said.get("nodes", ())]
            except (ValueError, TypeError, AttributeError):
                # Another thread of the program wrote into the line.
                last = text
                continue
            with self._lock:
                if "trouble" in said:
                    self._trouble = said["trouble"]
                else:
                    self._nodes = nodes
                    self._heard = time.monotonic()
                    self._trouble = "the program that asks it says nothing any more"
        with self._lock:
            self._trouble = f"the program that asks it ended: {last[:300]}"


def main(address: str) -> None:
    """Be the driver: say the living nodes five times a second, and what is amiss where they cannot be seen."""
    import ray

    def say(**what: Any) -> None:
        print(MARK + json.dumps(what), flush=True)

    while not pod_processes.named(("raylet",)):
        time.sleep(LOOK_SECONDS)
    while True:
        try:
            ray.init(address=address, log_to_driver=False)
            while True:
                say(nodes=[asdict(_node(entry)) for entry in ray.nodes() if entry["Alive"]])
                time.sleep(LOOK_SECONDS)
        # Ray's are of many kinds.
        except Exception as error:
            say(trouble=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            ray.shutdown()
            time.sleep(LOOK_SECONDS)


def _node(entry: dict[str, Any]) -> Node:
    resources = entry["Resources"]
    return Node(
        identifier=entry["NodeID"],
        address=entry["NodeManagerAddress"],
        is_head=HEAD_RESOURCE in resources,
        gpus=round(resources.get("GPU", 0)),
    )


if __name__ == "__main__":
    main(sys.argv[1])
