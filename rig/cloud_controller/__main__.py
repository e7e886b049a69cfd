# SPDX-License-Identifier: GPL-3.0-or-later
"""The part `cloud_controller`: `python -m rig.cloud_controller --rig FOLDER`.

What Oracle's cloud controller manager and block volume driver do in an OKE cluster: volumes.py, load_balancers.py, nodes.py, each with
the facts it imitates.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from rig.cloud_controller.load_balancers import LoadBalancers
from rig.cloud_controller.nodes import Nodes
from rig.cloud_controller.volumes import Volumes
from rig.cluster import Cluster, Tasks
from rig.configuration import Rig, RigError
from rig.events import Events


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(description="A rig's stand-in for Oracle's cloud controller manager.")
    parser.add_argument("--rig", required=True, help="the rig's folder")
    asyncio.run(run(Rig.load(parser.parse_args().rig)))


async def run(rig: Rig) -> None:
    """The part's life."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    cluster = Cluster.from_kubeconfig(rig.kubernetes.kubeconfig)
    tasks = Tasks()
    events = Events(cluster, "oci-cloud-controller-manager")
    balancers = LoadBalancers(rig, cluster, tasks, events)
    try:
        tasks.start(events.run(), "events")
        await Nodes(cluster, tasks).start()
        await Volumes(rig, cluster, tasks, events).start()
        await balancers.start()
        rig.mark_ready("cloud_controller")
        await stopped.wait()
    finally:
        await tasks.cancel()
        await balancers.stop()
        await cluster.close()


if __name__ == "__main__":
    try:
        main()
    except RigError as error:
        sys.exit(f"cloud_controller: {error}")
