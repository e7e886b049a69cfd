# SPDX-License-Identifier: GPL-3.0-or-later
"""A Container Engine service with state, for tests that need no network: work requests, delays, lost answers.

It answers with the SDK's own models. Time is virtual: `Clock.sleep` moves it, and changes under way end by it.
"""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import oci

from ansible_collections.multinode.inference.plugins.module_utils.oci.errors import explained
from ansible_collections.multinode.inference.plugins.module_utils.oci.models import as_model

CLUSTER = "ocid1.cluster.oc1.iad.aaaacluster"
COMPARTMENT = "ocid1.compartment.oc1..aaaacompartment"
TENANCY = "ocid1.tenancy.oc1..aaaatenancy"
ELSEWHERE = "ocid1.compartment.oc1..else"
MODELS = oci.container_engine.models


class Clock:
    """Virtual time in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Response:
    """What a client's method returns."""

    data: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200


def service_error(
    status: int, code: str, message: str = "said by the fake", service: str = "container_engine"
) -> Exception:
    """An error as the SDK raises it."""
    return oci.exceptions.ServiceError(
        status, code, {"opc-request-id": "REQUEST/1"}, message, target_service=service, operation_name="fake"
    )


class ContainerEngine:
    """The client of the container_engine service, as far as node pools go.

    work_seconds     how long a work request runs
    visible_seconds  how long a new pool is neither listed nor readable
    closed           compartments whose node pools the caller may not list
    faults           operation -> exceptions to raise instead of (or, with `lose_answer`, after) carrying it out
    """

    def __init__(self, clock: Clock, work_seconds: float = 60, visible_seconds: float = 0, page_size: int = 2) -> None:
        self.clock = clock
        self.work_seconds = work_seconds
        self.visible_seconds = visible_seconds
        self.page_size = page_size
        self.pools: dict[str, dict[str, Any]] = {}
        self.requests: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, Any]] = []
        self.faults: dict[str, list[Exception]] = {}
        self.lose_answer: set[str] = set()
        self.fail_work: dict[str, list[str]] = {}
        self.closed: set[str] = set()
        self.identity = Identity(COMPARTMENT, ELSEWHERE)
        self._numbers = itertools.count(1)

    # Help for tests

    def made(self, *operations: str) -> list[Any]:
        """Arguments of the calls of these operations, in order."""
        return [arguments for name, arguments in self.calls if name in operations]

    def writes(self) -> int:
        """How many calls tried to change something."""
        return len(self.made("create_node_pool", "update_node_pool", "delete_node_pool", "delete_node"))

    def add_pool(self, **data: Any) -> str:
        """Put a pool there that is ACTIVE and visible."""
        number = next(self._numbers)
        pool = {"id": f"ocid1.nodepool.oc1.iad.{number:04}", "lifecycle_state": "ACTIVE", "_visible": 0.0, **data}
        self.pools[pool["id"]] = pool
        return pool["id"]

    # Operations

    def get_cluster(self, cluster_id: str) -> Response:
        self._call("get_cluster", cluster_id)
        if cluster_id != CLUSTER:
            raise service_error(404, "NotAuthorizedOrNotFound")
        return Response(MODELS.Cluster(id=CLUSTER, compartment_id=COMPARTMENT, lifecycle_state="ACTIVE"))

    def list_node_pools(self, compartment_id: str, cluster_id: str, page: str = "0") -> Response:
        self._call("list_node_pools", (compartment_id, cluster_id))
        if compartment_id in self.closed:
            raise service_error(404, "NotAuthorizedOrNotFound")
        visible = [
            pool
            for pool in self.pools.values()
            if pool["_visible"] <= self.clock.now and pool.get("compartment_id", compartment_id) == compartment_id
        ]
        start = int(page)
        shown = [self._model("NodePoolSummary", pool) for pool in visible[start : start + self.page_size]]
        more = start + self.page_size < len(visible)
        return Response(shown, {"opc-next-page": str(start + self.page_size)} if more else {})

    def get_node_pool(self, node_pool_id: str) -> Response:
        self._call("get_node_pool", node_pool_id)
        pool = self.pools.get(node_pool_id)
        if pool is None or pool["_visible"] > self.clock.now:
            raise service_error(404, "NotAuthorizedOrNotFound")
        return Response(self._model("NodePool", pool))

    def create_node_pool(self, details: Any, opc_retry_token: str) -> Response:
        data = oci.util.to_dict(details)
        self._call("create_node_pool", {"details": data, "token": opc_retry_token})
        pool_id = self.add_pool(
            **{key: value for key, value in data.items() if value is not None},
            nodes=[],
        )
        self.pools[pool_id].update(lifecycle_state="CREATING", _visible=self.clock.now + self.visible_seconds)
        return self._accepted("create_node_pool", "NODEPOOL_CREATE", pool_id, "ACTIVE")

    def update_node_pool(self, node_pool_id: str, details: Any) -> Response:
        data = _without_none(oci.util.to_dict(details))
        self._call("update_node_pool", data)
        pool = self.pools[node_pool_id]
        if pool["lifecycle_state"] != "ACTIVE":
            raise service_error(409, "IncorrectState", "the node pool is busy")
        _merge(pool, data)
        pool["lifecycle_state"] = "UPDATING"
        return self._accepted("update_node_pool", "NODEPOOL_UPDATE", node_pool_id, "ACTIVE")

    def delete_node_pool(
        self,
        node_pool_id: str,
        override_eviction_grace_duration: str,
        is_force_deletion_after_override_grace_duration: bool,
    ) -> Response:
        self._call("delete_node_pool", (node_pool_id, override_eviction_grace_duration))
        pool = self.pools[node_pool_id]
        if pool["lifecycle_state"] in ("CREATING", "UPDATING"):
            raise service_error(409, "IncorrectState", "the node pool is busy")
        pool["lifecycle_state"] = "DELETING"
        return self._accepted("delete_node_pool", "NODEPOOL_DELETE", node_pool_id, "DELETED")

    def delete_node(self, node_pool_id: str, node_id: str, **how: Any) -> Response:
        self._call("delete_node", {"node": node_id, **how})
        pool = self.pools[node_pool_id]
        node = next((node for node in pool["nodes"] if node["id"] == node_id), None)
        if node is None:
            raise service_error(404, "NotAuthorizedOrNotFound")
        if pool["lifecycle_state"] != "ACTIVE" or node["lifecycle_state"] == "DELETING":
            raise service_error(409, "IncorrectState", "the node pool is busy")
        node["lifecycle_state"] = "DELETING"
        pool["lifecycle_state"] = "UPDATING"
        return self._accepted("delete_node", "NODEPOOL_UPDATE", node_pool_id, "ACTIVE")

    def list_work_requests(self, compartment_id: str, cluster_id: str, page: str = "", **filters: Any) -> Response:
        self._call("list_work_requests", filters)
        wanted = filters.get("resource_id")
        found = [item for item in self.requests.values() if not wanted or item["_pool"] == wanted]
        return Response([self._work_request(item, MODELS.WorkRequestSummary) for item in found])

    def get_work_request(self, work_request_id: str) -> Response:
        self._call("get_work_request", work_request_id)
        return Response(self._work_request(self.requests[work_request_id], MODELS.WorkRequest))

    def list_work_request_errors(self, compartment_id: str, work_request_id: str) -> Response:
        self._call("list_work_request_errors", work_request_id)
        messages = self.requests[work_request_id]["_errors"]
        return Response([MODELS.WorkRequestError(code="InternalError", message=text) for text in messages])

    # Inside

    def _call(self, operation: str, arguments: Any) -> None:
        self.calls.append((operation, arguments))
        self._settle()
        if self.faults.get(operation):
            raise self.faults[operation].pop(0)

    def _accepted(self, operation: str, kind: str, pool_id: str, final_state: str) -> Response:
        number = next(self._numbers)
        request = {
            "id": f"ocid1.clustersworkrequest.oc1.iad.{number:04}",
            "kind": kind,
            "_pool": pool_id,
            "_end": self.clock.now + self.work_seconds,
            "_final": final_state,
            "_errors": self.fail_work.get(kind, []),
            "_accepted": self.clock.now,
        }
        self.requests[request["id"]] = request
        if operation in self.lose_answer:
            raise oci.exceptions.RequestException("connection aborted")
        return Response(headers={"opc-work-request-id": request["id"]})

    def _settle(self) -> None:
        for request in self.requests.values():
            if request["_end"] <= self.clock.now and not request.get("_ended"):
                request["_ended"] = True
                pool = self.pools[request["_pool"]]
                pool["lifecycle_state"] = "NEEDS_ATTENTION" if request["_errors"] else request["_final"]

    def _work_request(self, request: dict[str, Any], model: Any) -> Any:
        status = "IN_PROGRESS"
        if request.get("_ended"):
            status = "FAILED" if request["_errors"] else "SUCCEEDED"
        resource = MODELS.WorkRequestResource(
            action_type="IN_PROGRESS", entity_type="nodepool", identifier=request["_pool"]
        )
        return model(
            id=request["id"],
            operation_type=request["kind"],
            status=status,
            resources=[resource],
            time_accepted=datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=request["_accepted"]),
        )

    @staticmethod
    def _model(name: str, pool: dict[str, Any]) -> Any:
        fields = getattr(MODELS, name)().swagger_types
        return as_model(MODELS, name, {key: value for key, value in pool.items() if key in fields}, "fake")


class Identity:
    """The client of the identity service: the compartments of a tenancy. `error` is raised instead."""

    def __init__(self, *compartments: str) -> None:
        self.compartments = compartments
        self.error: Exception | None = None

    def list_compartments(self, compartment_id: str, **how: Any) -> Response:
        assert compartment_id == TENANCY and how["compartment_id_in_subtree"]
        if self.error:
            raise self.error
        return Response([oci.identity.models.Compartment(id=ocid) for ocid in self.compartments])


class Connection:
    """Stands for the signed-in account."""

    region = "us-ashburn-1"
    tenancy = TENANCY

    def __init__(self, **clients: Any) -> None:
        self.clients = clients

    def client(self, service: str) -> Any:
        return self.clients[service]

    def asking(
        self, service: str, doing: str, where: str, policy: str = "", ambiguous_remedy: str = ""
    ) -> AbstractContextManager[None]:
        return explained(
            doing, where, policy=policy, endpoint=f"https://{service}.test", ambiguous_remedy=ambiguous_remedy
        )


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


def _merge(target: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if key == "node_config_details":
            target.setdefault(key, {}).update(value)
        else:
            target[key] = value
