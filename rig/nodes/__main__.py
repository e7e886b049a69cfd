# SPDX-License-Identifier: GPL-3.0-or-later
"""The part `nodes`: `python -m rig.nodes --rig FOLDER`, the kubelet stand-in of all process nodes, and the cluster's DNS.

See README.md beside this file for what it imitates and what it does not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys

from rig.cluster import ApiError, Cluster, Object
from rig.configuration import Rig, RigError
from rig.nodes.dns import Server
from rig.nodes.kubelet import Kubelet
from rig.nodes.machine import CAPACITY, KIND

SYSTEM_NODE = "250"
"""Last octet of the system node's address: far from those that node pools get."""
SYSTEM_SIZE = {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "100Gi", "pods": "110"}


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(description="The kubelet stand-in of a rig's process nodes, and its DNS.")
    parser.add_argument("--rig", required=True, help="the rig's folder")
    rig = Rig.load(parser.parse_args().rig)
    if not rig.root:
        raise RigError("process nodes need root: they run pods in namespaces of their own")
    if sys.version_info < (3, 12):  # from then on it is the default: no thread for each process that is waited for
        asyncio.get_event_loop_policy().set_child_watcher(asyncio.PidfdChildWatcher())
    asyncio.run(run(rig))


async def run(rig: Rig) -> None:
    """The part's life."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    for leftover in ("pods", "nodes"):
        shutil.rmtree(rig.directory / leftover, ignore_errors=True)
    cluster = Cluster.from_kubeconfig(rig.kubernetes.kubeconfig)
    try:
        version = (await cluster.get("/version"))["gitVersion"]
        kubelet = Kubelet(rig, cluster, version)
        server = Server(kubelet.zone)
        await server.start(rig.network.address)
        try:
            await kubelet.start()
            await make_system_node(cluster, f"{rig.network.node_prefix}{SYSTEM_NODE}")
            rig.mark_ready("nodes")
            await stopped.wait()
        finally:
            await kubelet.stop()
            server.stop()
    finally:
        await cluster.close()


async def make_system_node(cluster: Cluster, name: str) -> None:
    """A node without GPUs and taints, on which the operator and the like can run."""
    node: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "node.kubernetes.io/instance-type": "VM.Standard.E5.Flex",
                "topology.kubernetes.io/zone": "AD-1",
                "failure-domain.beta.kubernetes.io/zone": "AD-1",
            },
            "annotations": {
                KIND: "process",
                CAPACITY: json.dumps({"capacity": SYSTEM_SIZE, "allocatable": SYSTEM_SIZE}),
            },
        },
    }
    try:
        await cluster.create("/api/v1/nodes", node)
    except ApiError as error:
        if error.status != 409:
            raise


if __name__ == "__main__":
    try:
        main()
    except RigError as error:
        sys.exit(f"nodes: {error}")
