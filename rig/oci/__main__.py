# SPDX-License-Identifier: GPL-3.0-or-later
"""The rig's part `oci`: `python -m rig.oci --rig FOLDER` serves the stand-in until it is told to end."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys

from aiohttp import web

from rig.cluster import Cluster
from rig.configuration import Rig, RigError
from rig.oci import compute, identity, limits, load_balancers, network
from rig.oci.accounts import DEFAULT, Accounts
from rig.oci.cloud import Cloud
from rig.oci.container_engine import ContainerEngine
from rig.oci.control import Control
from rig.oci.engines import Engines
from rig.oci.file_storage import FileStorage
from rig.oci.kubernetes_nodes import KubernetesNodes
from rig.oci.node_pools import NodePools
from rig.oci.object_storage import ObjectStorage
from rig.oci.objects import Store
from rig.oci.preauthenticated_requests import PreauthenticatedRequests
from rig.oci.server import Server
from rig.oci.service import Operations

PART = "oci"


async def serve(rig: Rig) -> None:
    """Serve until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)

    cluster = Cluster.from_kubeconfig(rig.kubernetes.kubeconfig)
    registry = KubernetesNodes(cluster)
    watching = asyncio.create_task(registry.watch())
    cloud = Cloud(rig.oci.endpoint)
    store = Store(rig.directory / "objects")
    node_pools = NodePools(cloud, registry, rig.network.node_prefix)
    file_storage = FileStorage()
    accounts = Accounts(
        cloud,
        store,
        file_storage,
        node_pools,
        rig.directory / "oci",
        settings={
            "kubeconfig": str(rig.kubernetes.kubeconfig),
            "kuberay_chart_ref": str(rig.charts / "kuberay-operator"),
            "endpoint_exposure": "load_balancer",
        },
        kubernetes_version=await registry.server_version(),
        node_kinds=("process", "kwok") if rig.root else ("kwok",),
    )
    accounts.create({"name": DEFAULT})
    pars = PreauthenticatedRequests(store, rig.oci.endpoint)

    operations = Operations()
    ContainerEngine(node_pools, rig.kubernetes.kubeconfig).register(operations)
    identity.register(operations)
    compute.register(operations, cloud.scenarios.capacity_left)
    limits.register(operations)
    network.register(operations)
    load_balancers.register(operations)
    ObjectStorage(store).register(operations)
    file_storage.register(operations)
    pars.register(operations)
    engines = Engines()
    control = Control(cloud, accounts, node_pools, store, pars, engines)

    runners = [
        await listen(Server(cloud, operations).application(engines.route()), rig.oci.endpoint),
        await listen(control.application(), rig.oci.control),
    ]
    rig.mark_ready(PART)
    logging.info("OCI at %s, control at %s", rig.oci.endpoint, rig.oci.control)
    await ended.wait()
    for runner in runners:
        await runner.cleanup()
    await node_pools.stop()
    watching.cancel()
    await cluster.close()


async def listen(application: web.Application, url: str) -> web.AppRunner:
    """Serve `application` at the host and port of `url`."""
    host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, host, int(port)).start()
    return runner


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m rig.oci", description=__doc__)
    parser.add_argument("--rig", required=True, help="the rig's folder")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stdout)
    asyncio.run(serve(Rig.load(arguments.rig)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RigError as error:
        sys.exit(f"rig: {error}")
