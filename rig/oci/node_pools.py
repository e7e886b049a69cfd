# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of node pools and their nodes, from the call that asks for them to the Node object in Kubernetes and back.

Facts imitated:
- a work request is there at once, its pool some moments later; the pool lists no nodes at first, then entries CREATING;
  it is ACTIVE and the work request SUCCEEDED before any node is Ready in Kubernetes;
- work request: ACCEPTED, IN_PROGRESS, then SUCCEEDED or FAILED; the pool stands in its resources as IN_PROGRESS, then
  as CREATED, UPDATED or DELETED;
- a failed launch leaves an entry with nodeError and no machine, which counts until it is deleted; the work request is
  FAILED ("2 node(s) launch failure. Reason for failure on one of the nodes : ..."), the pool stays;
- nodes are spread over the placement configurations in turn and named after cluster and pool; scaling down picks its
  victims itself; a deleted single node is replaced unless isDecrementSize;
- changes of a pool touch new nodes only;
- initialNodeLabels are put on some time after the join;
- deletion drains first, up to the grace period, and not at all with PT0M; pods that stay make the work request FAILED
  with PodEvictionFailureError and the pool NEEDS_ATTENTION, unless force is asked for; a deleted pool is listed as
  DELETED for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from rig.oci.cloud import Cloud
from rig.oci.errors import ServiceError, incorrect_state
from rig.oci.identifiers import new_ocid, request_id
from rig.oci.kubernetes_nodes import NodeRegistry, manifest
from rig.oci.limits import check_launch
from rig.oci.machines import machine, read_cloud_init
from rig.oci.node_pool_details import minutes
from rig.oci.shapes import SHAPES
from rig.oci.state import Node, NodePool, Tenancy, WorkRequest, now

FAULT_DOMAINS = ("FAULT-DOMAIN-1", "FAULT-DOMAIN-2", "FAULT-DOMAIN-3")
FIRST_ADDRESS = 20
LAST_ADDRESS = 254

log = logging.getLogger(__name__)


class NodePools:
    """Carries out what Container Engine was asked to do with node pools."""

    def __init__(self, cloud: Cloud, registry: NodeRegistry, node_prefix: str) -> None:
        self._cloud = cloud
        self._registry = registry
        self._node_prefix = node_prefix
        self._addresses: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._work: dict[str, asyncio.Task[None]] = {}
        """work request OCID -> what carries it out"""
        self._lives: dict[str, asyncio.Task[None]] = {}
        """instance OCID -> what its machine does by itself (boot, join, advertise)"""

    # --- what callers ask for -------------------------------------------------------------------------------------

    def create(self, tenancy: Tenancy, details: dict[str, Any]) -> WorkRequest:
        pool = NodePool(new_ocid("nodepool"), details)
        pool.details["id"] = pool.id
        tenancy.pools[pool.id] = pool
        return self._begin(tenancy, pool, "NODEPOOL_CREATE", "CREATING", self._create)

    def update(self, tenancy: Tenancy, pool: NodePool, details: dict[str, Any]) -> WorkRequest:
        self._refuse_while_changing(pool, "updated")
        pool.details = details
        return self._begin(tenancy, pool, "NODEPOOL_UPDATE", "UPDATING", self._scale)

    def delete(self, tenancy: Tenancy, pool: NodePool, override: dict[str, Any]) -> WorkRequest:
        self._refuse_while_changing(pool, "deleted")

        async def carry_out(tenancy: Tenancy, pool: NodePool, work_request: WorkRequest) -> None:
            await self._delete(tenancy, pool, work_request, override)

        return self._begin(tenancy, pool, "NODEPOOL_DELETE", "DELETING", carry_out)

    def delete_node(
        self, tenancy: Tenancy, pool: NodePool, node: Node, override: dict[str, Any], decrement: bool
    ) -> WorkRequest:
        if pool.deletions == 0:
            self._refuse_while_changing(pool, "changed")
        if node.state == "DELETING":
            raise incorrect_state(f"Node {node.id} is being deleted already.")
        pool.deletions += 1
        node.state = "DELETING"
        if decrement:
            config = pool.details["nodeConfigDetails"]
            pool.details["nodeConfigDetails"] = {**config, "size": max(config["size"] - 1, 0)}

        async def carry_out(tenancy: Tenancy, pool: NodePool, work_request: WorkRequest) -> None:
            await self._remove_nodes(tenancy, pool, [node], work_request, override)
            pool.deletions -= 1
            await self._fill(tenancy, pool, work_request)

        return self._begin(tenancy, pool, "NODEPOOL_UPDATE", "UPDATING", carry_out)

    def add_system_pool(self, tenancy: Tenancy, details: dict[str, Any]) -> None:
        """A pool that is there from the start, of the rig's CPU-only node: it stands in that of every tenancy."""
        pool = NodePool(new_ocid("nodepool"), details, state="ACTIVE", visible=True)
        pool.details["id"] = pool.id
        tenancy.pools[pool.id] = pool
        self._spawn(self._adopt_system_node(tenancy, pool))

    async def _adopt_system_node(self, tenancy: Tenancy, pool: NodePool) -> None:
        name, instance = await self._registry.system_node()
        config = pool.details["nodeConfigDetails"]
        pool.details["nodeConfigDetails"] = {**config, "size": 1}
        node = self._entry(tenancy, pool)
        node.id, node.private_ip, node.state, node.shared = instance or node.id, name, "ACTIVE", True
        pool.nodes.append(node)
        pool.changed()

    @staticmethod
    def _refuse_while_changing(pool: NodePool, verb: str) -> None:
        if pool.state in ("CREATING", "UPDATING", "DELETING", "DELETED"):
            raise incorrect_state(f"Node pool {pool.id} is {pool.state} and cannot be {verb} now.")

    # --- work requests --------------------------------------------------------------------------------------------

    def _begin(self, tenancy: Tenancy, pool: NodePool, operation: str, state: str, carry_out: Any) -> WorkRequest:
        work_request = WorkRequest(
            new_ocid("clustersworkrequest"), operation, tenancy.compartment_id, pool.id, tenancy.cluster_id
        )
        tenancy.work_requests[work_request.id] = work_request
        pool.work_request_id = work_request.id
        pool.state = state
        pool.changed()
        self._work[work_request.id] = self._spawn(self._carry_out(tenancy, pool, work_request, carry_out))
        return work_request

    def cancel(self, tenancy: Tenancy, work_request: WorkRequest) -> None:
        """Stop what a work request does; what it has done stays."""
        if work_request.finished:
            raise incorrect_state(f"Work request {work_request.id} is {work_request.status}.")
        work_request.status = "CANCELING"
        self._work[work_request.id].cancel()

    async def _carry_out(self, tenancy: Tenancy, pool: NodePool, work_request: WorkRequest, carry_out: Any) -> None:
        verb = work_request.operation.removeprefix("NODEPOOL_")
        try:
            await asyncio.sleep(tenancy.timings.accept)
            work_request.status = "IN_PROGRESS"
            work_request.started = now()
            work_request.log(f"{work_request.operation} of {pool.id} started")
            await carry_out(tenancy, pool, work_request)
            failed = bool(work_request.errors)
            work_request.status, work_request.action = ("FAILED", "FAILED") if failed else ("SUCCEEDED", f"{verb}D")
        except asyncio.CancelledError:
            work_request.status, work_request.action = "CANCELED", f"CANCELED_{verb}"
            pool.visible = True
            for node in pool.nodes:
                if node.state == "CREATING":
                    self._fail(node, ServiceError(409, "Canceled", "The work request was canceled."))
        except Exception as error:  # e.g. the API server is gone: nobody shall wait for this work request for ever
            log.exception("the stand-in failed in %s of %s", work_request.operation, pool.id)
            work_request.error("InternalError", f"The rig's OCI stand-in failed, see its log: {error!r}")
            work_request.status, work_request.action = "FAILED", "FAILED"
        work_request.finished = now()
        work_request.log(f"{work_request.operation} of {pool.id} {work_request.status.lower()}")
        if pool.state not in ("DELETED", "NEEDS_ATTENTION") and not pool.deletions:
            pool.state = "ACTIVE"
        pool.changed()

    async def _create(self, tenancy: Tenancy, pool: NodePool, work_request: WorkRequest) -> None:
        await asyncio.sleep(tenancy.timings.visible)
        pool.visible = True
        await asyncio.sleep(tenancy.timings.entries)
        await self._fill(tenancy, pool, work_request)

    async def _scale(self, tenancy: Tenancy, pool: NodePool, work_request: WorkRequest) -> None:
        excess = len(pool.nodes) - pool.details["nodeConfigDetails"]["size"]
        if excess > 0:
            await self._remove_nodes(tenancy, pool, pool.nodes[:excess], work_request, {})
        await self._fill(tenancy, pool, work_request)

    async def _delete(
        self, tenancy: Tenancy, pool: NodePool, work_request: WorkRequest, override: dict[str, Any]
    ) -> None:
        await self._remove_nodes(tenancy, pool, list(pool.nodes), work_request, override)
        if work_request.errors:
            return
        pool.state = "DELETED"
        pool.changed()
        self._spawn(self._forget(tenancy, pool))

    @staticmethod
    async def _forget(tenancy: Tenancy, pool: NodePool) -> None:
        await asyncio.sleep(tenancy.timings.remembered)
        tenancy.pools.pop(pool.id, None)

    # --- nodes ----------------------------------------------------------------------------------------------------

    async def _fill(self, tenancy: Tenancy, pool: NodePool, work_request: WorkRequest) -> None:
        """Launch what the pool lacks to its size, and report what failed."""
        lacking = pool.details["nodeConfigDetails"]["size"] - len(pool.nodes)
        nodes = [self._entry(tenancy, pool) for _ in range(max(lacking, 0))]
        pool.nodes += nodes
        pool.changed()
        await asyncio.gather(*(self._launch(tenancy, pool, node) for node in nodes))
        failures = [node.error for node in nodes if node.error]
        if failures:
            first = failures[0]
            work_request.error(
                first["code"],
                f"{len(failures)} node(s) launch failure. Reason for failure on one of the nodes : {first['message']}",
            )

    @staticmethod
    def _entry(tenancy: Tenancy, pool: NodePool) -> Node:
        placements = pool.details["nodeConfigDetails"]["placementConfigs"]
        number = pool.nodes_made
        pool.nodes_made += 1
        placement = placements[number % len(placements)]
        domains = placement.get("faultDomains") or FAULT_DOMAINS
        return Node(
            id=new_ocid("instance"),
            name=f"oke-{tenancy.cluster_id[-11:]}-{pool.id[-11:]}-s{placement['subnetId'][-11:]}-{number}",
            number=number,
            availability_domain=placement["availabilityDomain"],
            fault_domain=domains[number % len(domains)],
            subnet_id=placement["subnetId"],
            kubernetes_version=pool.details["kubernetesVersion"],
            pool=dict(pool.details),
            preemptible=bool(placement.get("preemptibleNodeConfig")),
        )

    async def _launch(self, tenancy: Tenancy, pool: NodePool, node: Node) -> None:
        shape = SHAPES[node.pool["nodeShape"]]
        resource = f"{shape.name} {node.availability_domain} {node.pool['name']} {pool.id}"
        effect = self._cloud.scenarios.effect(tenancy, "LaunchInstance", resource, node.id)
        await asyncio.sleep(tenancy.timings.launch + effect.delay_s)
        error = effect.error or check_launch(tenancy, node)
        if tenancy.domains.index(node.availability_domain) + 1 not in shape.domains:
            error = ServiceError(
                400, "InvalidParameter", f"Shape {shape.name} is not available in {node.availability_domain}."
            )
        address = None if error else await self._address()
        if not error and not address:
            error = ServiceError(500, "InternalError", f"The rig has no address left in {self._node_prefix}0/24.")
        if error:
            self._cloud.scenarios.release(node.id)
            self._fail(node, error)
            pool.changed()
            return
        node.never_join |= effect.never_join
        node.no_gpu |= effect.no_gpu
        node.small_disk |= effect.small_disk
        node.private_ip = address
        node.state = "ACTIVE"
        pool.changed()
        self._lives[node.id] = self._spawn(self._live(tenancy, pool, node))

    @staticmethod
    def _fail(node: Node, error: ServiceError) -> None:
        trace = request_id(None)
        node.state = "FAILING"
        node.error = {
            "code": error.code,
            "message": (
                f"Error returned by LaunchInstance operation in Compute service.({error.status}, {error.code}, false) "
                f"{error.message} (opc-request-id: {trace})"
            ),
            "status": str(error.status),
            "opc-request-id": trace,
        }

    async def _address(self) -> str | None:
        """A private IP that no Node has; None when there is none."""
        names = await self._registry.names()
        for number in range(FIRST_ADDRESS, LAST_ADDRESS + 1):
            address = f"{self._node_prefix}{number}"
            if address not in names and address not in self._addresses:
                self._addresses.add(address)
                return address
        return None

    async def _live(self, tenancy: Tenancy, pool: NodePool, node: Node) -> None:
        """What the machine does by itself: boot, join, get its labels, advertise its GPUs."""
        assert node.private_ip is not None
        name = node.private_ip
        effect = self._cloud.scenarios.effect(tenancy, "NodeJoin", f"{name} {node.id} {pool.id}")
        await asyncio.sleep(tenancy.timings.boot + effect.delay_s)
        cloud_init = read_cloud_init((node.pool.get("nodeMetadata") or {}).get("user_data"))
        if node.never_join or not cloud_init.joins:
            log.info("node %s never joins: %s", name, cloud_init.problem or "a scenario asked for it")
            return
        image = tenancy.images[node.pool["nodeSourceDetails"]["imageId"]]
        what = machine(node.pool, image, grows=not node.small_disk)
        await self._registry.create(manifest(tenancy, node, what, dict(cloud_init.labels), list(cloud_init.taints)))
        node.joined = True
        await asyncio.sleep(tenancy.timings.labels)
        labels = {label["key"]: label.get("value", "") for label in node.pool.get("initialNodeLabels") or []}
        await self._registry.add_labels(name, labels)
        await self._registry.ready(name)
        effect = self._cloud.scenarios.effect(tenancy, "NodeGpu", f"{name} {node.id} {pool.id}")
        await asyncio.sleep(tenancy.timings.gpu + effect.delay_s)
        if what.gpus and not node.no_gpu:
            await self._registry.set_gpus(name, what.gpus)
            node.gpu_advertised = True

    # --- removing nodes -------------------------------------------------------------------------------------------

    async def _remove_nodes(
        self, tenancy: Tenancy, pool: NodePool, nodes: list[Node], work_request: WorkRequest, override: dict[str, Any]
    ) -> None:
        await asyncio.gather(*(self._remove(tenancy, pool, node, work_request, override) for node in nodes))

    async def _remove(
        self, tenancy: Tenancy, pool: NodePool, node: Node, work_request: WorkRequest, override: dict[str, Any]
    ) -> None:
        node.state = "DELETING"
        pool.changed()
        life = self._lives.pop(node.id, None)
        if life is not None and not node.joined:
            life.cancel()
        if node.private_ip and node.joined:
            left = await self._drain(tenancy, pool, node, override)
            if left:
                work_request.error(
                    "PodEvictionFailureError", f"Pod(s) {{{', '.join(left)}}} of Node {node.id} could not be evicted."
                )
                pool.state = "NEEDS_ATTENTION"
                node.state = "ACTIVE"
                return
        if life is not None:
            life.cancel()
        if node.private_ip and not node.shared:
            effect = self._cloud.scenarios.effect(
                tenancy, "TerminateInstance", f"{node.private_ip} {node.id} {pool.id}"
            )
            await asyncio.sleep(tenancy.timings.terminate + effect.delay_s)
            await self._registry.delete(node.private_ip)
            self._addresses.discard(node.private_ip)
        self._cloud.scenarios.release(node.id)
        pool.nodes.remove(node)
        pool.changed()

    async def _drain(self, tenancy: Tenancy, pool: NodePool, node: Node, override: dict[str, Any]) -> list[str]:
        """Pods that neither left in the grace period nor may be killed."""
        settings = {**(pool.details.get("nodeEvictionNodePoolSettings") or {}), **override}
        grace = minutes(settings.get("evictionGraceDuration", "PT60M"))
        if grace == 0:
            return []
        assert node.private_ip is not None
        left = await self._registry.drain(node.private_ip, grace * tenancy.timings.drain_minute)
        return [] if settings.get("isForceDeleteAfterGraceDuration") else left

    # --- faults that the control address asks for -----------------------------------------------------------------

    def find(self, name: str) -> tuple[Tenancy, NodePool, Node]:
        """The node entry with this private IP, name or OCID; ServiceError 404 when there is none."""
        for tenancy in self._cloud.tenancies:
            for pool in tenancy.pools.values():
                for node in pool.nodes:
                    if name in (node.private_ip, node.name, node.id):
                        return tenancy, pool, node
        raise ServiceError(404, "NotFound", f"there is no node {name}; GET /state lists them")

    async def never_join(self, node: Node) -> None:
        """As if the machine had never joined."""
        node.never_join = True
        if node.joined and node.private_ip:
            await self._registry.delete(node.private_ip)
            node.joined = False

    async def no_gpu(self, node: Node) -> None:
        """As if the device plugin had never found a GPU."""
        node.no_gpu = True
        if node.gpu_advertised and node.private_ip:
            await self._registry.set_gpus(node.private_ip, 0)
            node.gpu_advertised = False

    async def die(self, node: Node) -> None:
        """The machine stops: its kubelet says nothing any more, its pods' processes end."""
        if not node.joined or not node.private_ip:
            raise ServiceError(409, "IncorrectState", f"node {node.name} has not joined, it cannot die yet")
        await self._registry.annotate(node.private_ip, {"rig.multinode.inference/dead": "true"})

    # --- end ------------------------------------------------------------------------------------------------------

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("the stand-in failed in the life of a node pool", exc_info=task.exception())

    async def stop(self) -> None:
        """End everything that is under way, and remove the Nodes made."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._registry.delete(address) for address in self._addresses), return_exceptions=True)
