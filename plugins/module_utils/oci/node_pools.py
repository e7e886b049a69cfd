# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The node pools of one OKE cluster: the verbs of the Container Engine API, with their pitfalls.

- Create, update and delete answer with the id of a work request and no body; the pool's OCID is in the work request.
- Work requests are visible at once, pools some seconds later.
- A create whose answer was lost may have been carried out.
"""

from __future__ import annotations

import uuid
from typing import Any

from ..core.fault import CloudFault, Fault, Refused
from ..core.health.launch_errors import state_fault, work_request_fault
from ..core.names import CLUSTER_TAG, DEPLOYMENT_TAG
from ..core.ownership import bears_tags
from .client import Connection, all_pages
from .errors import is_ambiguous, is_service_error
from .models import as_data, as_model
from .node_pool import GONE_STATES, own_pool
from .waiting import Wait

try:
    import oci
except ImportError:  # reported by the module (module.py)
    oci = None

MANAGE = "manage cluster-node-pools"
READ_WORK_REQUESTS = "read cluster-work-requests"
RUNNING_STATES = ("ACCEPTED", "IN_PROGRESS", "CANCELING")
FAILED_STATES = ("FAILED", "CANCELED")
# What of the answers is read without asking whether it is there.
_POOL, _WORK_REQUEST = ("id", "name", "lifecycle_state"), ("id", "status", "operation_type")
# Seconds between two reads of a work request; more often meets 429 in practice.
WORK_REQUEST_PAUSE = 10.0


class NodePools:
    """The node pools of `cluster_id` in `compartment_id`."""

    def __init__(
        self, connection: Connection, cluster_id: str, compartment_id: str, settle: Wait | None = None
    ) -> None:
        """`settle`: how long to look for what the service has accepted but does not show yet."""
        self.connection = connection
        self.cluster_id = cluster_id
        self.compartment_id = compartment_id
        self.settle = settle or Wait(seconds=20, first=0.5, longest=5)
        self.engine = connection.client("container_engine")

    def _asking(self, doing: str, where: str, policy: str = MANAGE, ambiguous_remedy: str = "") -> Any:
        return self.connection.asking("container_engine", doing, where, policy, ambiguous_remedy)

    # Reading

    def listed(self) -> list[dict[str, Any]]:
        """Return all node pools of the cluster, without their nodes (the list has none)."""
        with self._asking("listing node pools", self.compartment_id, "inspect cluster-node-pools"):
            pools = all_pages(
                self.engine.list_node_pools, compartment_id=self.compartment_id, cluster_id=self.cluster_id
            )
            return [as_data(pool, *_POOL) for pool in pools]

    def read(self, node_pool_id: str) -> dict[str, Any] | None:
        """Return a pool with its nodes, or None when OCI does not show it (absent, not yet visible, or forbidden)."""
        with self._asking("reading the node pool", node_pool_id, "read cluster-node-pools"):
            try:
                pool: dict[str, Any] = as_data(self.engine.get_node_pool(node_pool_id).data, *_POOL)
            except Exception as error:
                if is_service_error(error, 404):
                    return None
                raise
        return {**pool, "nodes": [node for node in pool.get("nodes") or () if node.get("id")]}

    def find(self, name: str, deployment: str) -> dict[str, Any] | None:
        """Return the deployment's pool with its nodes, or None. Refuses a doubled or a foreign one."""
        summary = own_pool(self.listed(), name, deployment, self.cluster_id)
        return self._settled_read(summary["id"], summary) if summary else None

    def find_unlisted(self, name: str, deployment: str) -> dict[str, Any] | None:
        """Return the deployment's pool, listed or not: also that of a run killed just now."""
        return self.find_making(deployment) or own_pool(self.listed(), name, deployment, self.cluster_id)

    def find_making(self, deployment: str) -> dict[str, Any] | None:
        """Return the deployment's pool that a running work request makes, None where there is none."""
        for request in self.work_requests():
            if request["operation_type"] == "NODEPOOL_CREATE" and request["status"] in RUNNING_STATES:
                node_pool_id = _node_pool_of(request)
                pool = self._settled_read(node_pool_id) if node_pool_id else None
                if (
                    pool
                    and pool["lifecycle_state"] not in GONE_STATES
                    and bears_tags(pool, deployment, self.cluster_id)
                ):
                    return pool
        return None

    def list_deleting(self, deployment: str) -> list[dict[str, Any]]:
        """Return the deployment's pools whose deletion is under way."""
        return [
            pool
            for pool in self.listed()
            if pool["lifecycle_state"] == "DELETING" and bears_tags(pool, deployment, self.cluster_id)
        ]

    def of_deployments(self, deployment: str = "") -> list[dict[str, Any]]:
        """Return the living pools of one deployment, or of all, with their nodes and the deployment's name."""
        found = []
        for pool in self.listed():
            tags = pool.get("freeform_tags") or {}
            owner = tags.get(DEPLOYMENT_TAG)
            ours = owner and tags.get(CLUSTER_TAG) == self.cluster_id and owner == (deployment or owner)
            if ours and pool["lifecycle_state"] not in GONE_STATES:
                full = self.read(pool["id"])
                if full is not None:  # else it went away just now
                    found.append({**full, "nodes": full.get("nodes", []), "deployment": owner})
        return found

    def _settled_read(self, node_pool_id: str, otherwise: dict[str, Any] | None = None) -> dict[str, Any] | None:
        for _waited in self.settle.looks():
            pool = self.read(node_pool_id)
            if pool is not None:
                return pool
        return otherwise

    # Work requests

    def work_requests(self, node_pool_id: str = "") -> list[dict[str, Any]]:
        """Return the work requests of the cluster or of one pool, newest first."""
        arguments = {"resource_id": node_pool_id, "resource_type": "NODEPOOL"} if node_pool_id else {}
        with self._asking("listing work requests", self.cluster_id, READ_WORK_REQUESTS):
            requests = [
                as_data(request, *_WORK_REQUEST)
                for request in all_pages(
                    self.engine.list_work_requests,
                    compartment_id=self.compartment_id,
                    cluster_id=self.cluster_id,
                    **arguments,
                )
            ]
        return sorted(requests, key=lambda request: request.get("time_accepted") or "", reverse=True)

    def work_request(self, work_request_id: str) -> dict[str, Any]:
        """Return one work request, with its `errors` when it failed."""
        with self._asking("reading the work request", work_request_id, READ_WORK_REQUESTS):
            request = as_data(self.engine.get_work_request(work_request_id).data, *_WORK_REQUEST)
        return self.with_errors(request)

    def with_errors(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the work request with the list of its errors in its own words, empty unless it failed."""
        if request["status"] not in FAILED_STATES:
            return {**request, "errors": []}
        with self._asking("reading the work request's errors", request["id"], READ_WORK_REQUESTS):
            errors = as_data(self.engine.list_work_request_errors(self.compartment_id, request["id"]).data)
        return {**request, "errors": errors}

    def newest_work_request(self, node_pool_id: str) -> dict[str, Any]:
        """Return the newest work request about a pool with its errors, {} when there is none."""
        requests = self.work_requests(node_pool_id)
        return self.with_errors(requests[0]) if requests else {}

    # Changing

    def create(self, definition: dict[str, Any], name: str, deployment: str) -> tuple[str, str]:
        """Ask for the pool; return its OCID ("" when not visible yet) and the work request ("" when it was found).

        The retry token is this attempt's own: one made of the name would replay the work request of a pool that was
        deleted within the day.
        """
        models = oci.container_engine.models
        details = as_model(models, "CreateNodePoolDetails", definition, "definition")
        remedy = "it may exist; run again to find it by its tags"
        with self._asking("creating the node pool", f"node pool {name}", MANAGE, remedy):
            try:
                response = self.engine.create_node_pool(details, opc_retry_token=uuid.uuid4().hex[:30])
            except Exception as error:
                found = self._made_after_all(name, deployment) if is_ambiguous(error) else None
                if found is None:
                    raise
                return found["id"], ""
        work_request_id = response.headers.get("opc-work-request-id", "")
        return self._made_by(work_request_id), work_request_id

    def _made_by(self, work_request_id: str) -> str:
        if work_request_id:
            for _waited in self.settle.looks():
                node_pool_id = _node_pool_of(self.work_request(work_request_id))
                if node_pool_id:
                    return node_pool_id
        return ""

    def _made_after_all(self, name: str, deployment: str) -> dict[str, Any] | None:
        """Look for the pool of a create whose answer was lost; None when it cannot be found or OCI stays away."""
        for _waited in self.settle.looks():
            try:
                found = self.find_unlisted(name, deployment)
            except Refused as refused:
                if any(fault.code == "node_pool_doubled" for fault in refused.faults):
                    raise
                return None
            if found:
                return found
        return None

    def update(self, node_pool_id: str, update: dict[str, Any], wait: Wait) -> str:
        """Ask for the changes and return the work request.

        While another work request runs, OCI answers 409: tried again for as long as `wait` says. A run that was killed
        may have begun one just now.
        """
        models = oci.container_engine.models
        details = as_model(models, "UpdateNodePoolDetails", update, "definition")
        for waited in wait.looks():
            with self._asking("updating the node pool", node_pool_id):
                try:
                    response = self.engine.update_node_pool(node_pool_id, details)
                except Exception as error:
                    if not is_service_error(error, 409) or waited + wait.longest > wait.seconds:
                        raise
                    continue
            return str(response.headers.get("opc-work-request-id", ""))
        return ""

    def delete(self, node_pool_id: str, wait: Wait | None = None) -> str:
        """Ask for the pool's end without draining its nodes, and return the work request ("" when it is gone).

        Without PT0M OKE drains for up to an hour and then may keep the nodes. While another work request runs, OCI
        answers 409: tried again for as long as `wait` says, at once reported without.
        """
        for waited in (wait or Wait(seconds=0)).looks():
            with self._asking("deleting the node pool", node_pool_id):
                try:
                    response = self.engine.delete_node_pool(
                        node_pool_id,
                        override_eviction_grace_duration="PT0M",
                        is_force_deletion_after_override_grace_duration=True,
                    )
                    return str(response.headers.get("opc-work-request-id", ""))
                except Exception as error:
                    if is_service_error(error, 404, 409) and self._is_gone(node_pool_id):
                        return ""
                    if wait is None or not is_service_error(error, 409) or waited + wait.longest > wait.seconds:
                        raise
        return ""

    def replace_node(self, node_pool_id: str, node_id: str) -> str:
        """Ask for another node in the place of one, and return the work request ("" when it is on its way out already).

        By its id and without a smaller size: lowering the size lets the service pick the victim. It is not drained:
        what is to be replaced serves nobody.
        """
        with self._asking("replacing a node", node_id):
            try:
                response = self.engine.delete_node(
                    node_pool_id,
                    node_id,
                    is_decrement_size=False,
                    override_eviction_grace_duration="PT0M",
                    is_force_deletion_after_override_grace_duration=True,
                )
            except Exception as error:
                if is_service_error(error, 404, 409) and self.living_node(node_pool_id, node_id) is None:
                    return ""
                raise
        return str(response.headers.get("opc-work-request-id", ""))

    def living_node(self, node_pool_id: str, node_id: str) -> dict[str, Any] | None:
        """Return a node of a pool, None where it has left or is leaving."""
        for node in (self.read(node_pool_id) or {}).get("nodes") or []:
            if node["id"] == node_id and node.get("lifecycle_state") not in GONE_STATES:
                return dict(node)
        return None

    def _is_gone(self, node_pool_id: str) -> bool:
        """Tell whether the list, which did show the pool, no longer has it alive."""
        return not any(
            pool["id"] == node_pool_id and pool["lifecycle_state"] not in GONE_STATES for pool in self.listed()
        )

    # Waiting

    def wait_until_active(self, node_pool_id: str, work_request_id: str, wait: Wait) -> dict[str, Any]:
        """Wait until the pool is ACTIVE with its work request ended; refuse when that failed or the time is over."""
        pool: dict[str, Any] | None = None
        looked = -WORK_REQUEST_PAUSE
        for waited in wait.looks():
            pool = self.read(node_pool_id)
            busy = pool is None or pool["lifecycle_state"] in ("CREATING", "UPDATING")
            if work_request_id and (not busy or waited - looked >= WORK_REQUEST_PAUSE):
                looked = waited
                request = self.work_request(work_request_id)
                self._refuse_failure(request, node_pool_id)
                busy = busy or request["status"] in RUNNING_STATES
            if pool and not busy:
                if pool["lifecycle_state"] == "ACTIVE":
                    return pool
                raise Refused([state_fault(pool, work_request_id)])
        raise Refused([_too_late(node_pool_id, pool, "ACTIVE", wait, work_request_id)])

    def wait_until_deleted(self, node_pool_id: str, work_request_id: str, wait: Wait) -> None:
        """Wait until the pool is gone; refuse when its work request failed or the time is over."""
        pool: dict[str, Any] | None = None
        for _waited in wait.looks():
            pool = self.read(node_pool_id)
            if pool is None or pool["lifecycle_state"] == "DELETED":
                return
            if work_request_id and pool["lifecycle_state"] != "DELETING":
                self._refuse_failure(self.work_request(work_request_id), node_pool_id)
        raise Refused([_too_late(node_pool_id, pool, "DELETED", wait, work_request_id)])

    def _refuse_failure(self, request: dict[str, Any], node_pool_id: str) -> None:
        if request["status"] in FAILED_STATES:
            raise Refused([work_request_fault(request, node_pool_id)])


def _too_late(node_pool_id: str, pool: dict[str, Any] | None, expected: str, wait: Wait, work_request_id: str) -> Fault:
    state = pool["lifecycle_state"] if pool else "not visible"
    return CloudFault(
        code="node_pool_wait_timeout",
        where=node_pool_id,
        found=f"{state} after {wait.seconds:.0f} s",
        expected=expected,
        remedy="run again with a longer wait_timeout; bare metal takes half an hour and more",
        service="container_engine",
        work_request=work_request_id,
    )


def _node_pool_of(request: dict[str, Any]) -> str:
    """The OCID of the node pool a work request is about, "" while it names none."""
    for resource in request.get("resources") or []:
        if resource.get("entity_type", "").lower() == "nodepool" and resource.get("identifier"):
            return str(resource["identifier"])
    return ""
