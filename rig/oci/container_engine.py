# SPDX-License-Identifier: GPL-3.0-or-later
"""Container Engine, version 20180222: clusters, node pools, work requests.

Facts imitated:
- create, update and delete answer 202 with no body, and the header opc-work-request-id; the new pool's OCID is found in
  the work request's resources;
- a listed pool has no `nodes`; GetNodePool gives them, and an etag that changes with the nodes' states;
- `DELETE /nodePools/{id}/node/{nodeId}`: `node` is singular;
- a work request's errors and logs need compartmentId in the query; work requests have no percentComplete;
- createKubeconfig is the only operation that gives the cluster's CA; its user runs `oci ce cluster generate-token`; an
  endpoint that the cluster lacks is refused (as 400: unverified);
- node pool options list images of several versions, architectures and kinds, in no useful order; `-OKE-<version>-`
  stands in the middle of an image's name, and 1.34.1 is a prefix of 1.34.10.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rig.oci import errors
from rig.oci.identifiers import REGION
from rig.oci.node_pool_details import check_create, check_update, image_version, minutes
from rig.oci.node_pools import NodePools
from rig.oci.service import Answer, Call, Operations, check_if_match, once, page
from rig.oci.shapes import SHAPES
from rig.oci.state import Node, NodePool, Tenancy, WorkRequest, timestamp

PREFIX = "/20180222"
ADDONS = {"CoreDNS": "v1.11.1", "KubeProxy": "v1.34.1", "NvidiaGpuPlugin": "v0.17.0"}


class ContainerEngine:
    """`kubeconfig` is the rig's own: where the API server is and what its CA is."""

    def __init__(self, node_pools: NodePools, kubeconfig: Path | None) -> None:
        self._node_pools = node_pools
        self._kubeconfig = kubeconfig

    def register(self, operations: Operations) -> None:
        for name, method, path, handler in (
            ("ListClusters", "GET", "/clusters", self.list_clusters),
            ("GetCluster", "GET", "/clusters/{cluster_id}", self.get_cluster),
            ("CreateKubeconfig", "POST", "/clusters/{cluster_id}/kubeconfig/content", self.create_kubeconfig),
            ("ListAddons", "GET", "/clusters/{cluster_id}/addons", self.list_addons),
            ("CreateNodePool", "POST", "/nodePools", self.create_node_pool),
            ("ListNodePools", "GET", "/nodePools", self.list_node_pools),
            ("GetNodePool", "GET", "/nodePools/{pool_id}", self.get_node_pool),
            ("UpdateNodePool", "PUT", "/nodePools/{pool_id}", self.update_node_pool),
            ("DeleteNodePool", "DELETE", "/nodePools/{pool_id}", self.delete_node_pool),
            ("DeleteNode", "DELETE", "/nodePools/{pool_id}/node/{node_id}", self.delete_node),
            ("GetNodePoolOptions", "GET", "/nodePoolOptions/{option_id}", self.get_node_pool_options),
            ("ListWorkRequests", "GET", "/workRequests", self.list_work_requests),
            ("GetWorkRequest", "GET", "/workRequests/{work_request_id}", self.get_work_request),
            ("DeleteWorkRequest", "DELETE", "/workRequests/{work_request_id}", self.delete_work_request),
            ("ListWorkRequestErrors", "GET", "/workRequests/{work_request_id}/errors", self.list_errors),
            ("ListWorkRequestLogs", "GET", "/workRequests/{work_request_id}/logs", self.list_logs),
        ):
            operations.add("containerengine", name, method, PREFIX + path, handler)

    # --- clusters -------------------------------------------------------------------------------------------------

    async def list_clusters(self, call: Call) -> Answer:
        call.compartment()
        name = call.query("name")
        states = call.request.query.getall("lifecycleState", ["ACTIVE"])
        found, headers = page(call, [call.tenancy], lambda one: (not name or one.name == name) and "ACTIVE" in states)
        return Answer([self._cluster(one) for one in found], headers=headers)

    async def get_cluster(self, call: Call) -> Answer:
        _cluster_of(call)
        return Answer(self._cluster(call.tenancy), headers={"etag": call.tenancy.cluster_etag})

    async def create_kubeconfig(self, call: Call) -> Answer:
        _cluster_of(call)
        body = call.json()
        endpoint = body.get("endpoint", "LEGACY_KUBERNETES")
        if endpoint not in ("PUBLIC_ENDPOINT", "PRIVATE_ENDPOINT", "VCN_HOSTNAME", "LEGACY_KUBERNETES"):
            raise errors.invalid_parameter(f"endpoint is {endpoint!r}")
        if body.get("tokenVersion", "2.0.0") != "2.0.0":
            raise errors.invalid_parameter(f"tokenVersion is {body['tokenVersion']!r}; expected 2.0.0")
        own = self._own_cluster()
        endpoints = self._endpoints(call.tenancy)
        kind = {"PUBLIC_ENDPOINT": "public", "PRIVATE_ENDPOINT": "private"}.get(endpoint, next(iter(endpoints)))
        if kind not in endpoints:
            raise errors.invalid_parameter(f"endpoint is {endpoint!r}; the cluster has none")
        own["server"] = f"https://{endpoints[kind]}"
        short = call.tenancy.cluster_id[-11:]
        document = {
            "apiVersion": "v1",
            "kind": "",
            "clusters": [{"name": f"cluster-{short}", "cluster": own}],
            "users": [
                {
                    "name": f"user-{short}",
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1beta1",
                            "command": "oci",
                            "args": [
                                "ce",
                                "cluster",
                                "generate-token",
                                "--cluster-id",
                                call.tenancy.cluster_id,
                                "--region",
                                REGION,
                            ],
                            "env": [],
                        }
                    },
                }
            ],
            "contexts": [
                {"name": f"context-{short}", "context": {"cluster": f"cluster-{short}", "user": f"user-{short}"}}
            ],
            "current-context": f"context-{short}",
        }
        return Answer(text="---\n" + yaml.safe_dump(document, sort_keys=False))

    async def list_addons(self, call: Call) -> Answer:
        _cluster_of(call)
        found, headers = page(call, ADDONS.items())
        created = timestamp(call.tenancy.created)
        return Answer(
            [
                {
                    "name": name,
                    "version": None,
                    "currentInstalledVersion": version,
                    "timeCreated": created,
                    "lifecycleState": "ACTIVE",
                }
                for name, version in found
            ],
            headers=headers,
        )

    def _own_cluster(self) -> dict[str, str]:
        """The API server's address and CA, from the rig's kubeconfig."""
        if self._kubeconfig is None:
            return {"server": "https://127.0.0.1:6443", "certificate-authority-data": ""}
        cluster = yaml.safe_load(self._kubeconfig.read_text())["clusters"][0]["cluster"]
        return {name: cluster[name] for name in ("server", "certificate-authority-data") if name in cluster}

    def _endpoints(self, tenancy: Tenancy) -> dict[str, str]:
        """public, private -> host:port."""
        return tenancy.endpoints or {"private": self._own_cluster()["server"].removeprefix("https://")}

    def _cluster(self, tenancy: Tenancy) -> dict[str, Any]:
        endpoints = self._endpoints(tenancy)
        subnets = tenancy.subnets
        return {
            "id": tenancy.cluster_id,
            "name": tenancy.name,
            "compartmentId": tenancy.compartment_id,
            "endpointConfig": {
                "subnetId": subnets["k8s-api-endpoint"].id,
                "nsgIds": [],
                "isPublicIpEnabled": "public" in endpoints,
            },
            "vcnId": tenancy.vcn_id,
            "kubernetesVersion": tenancy.kubernetes_version,
            "freeformTags": {},
            "definedTags": {},
            "systemTags": {},
            "options": {
                "serviceLbSubnetIds": [subnets["load-balancers"].id],
                "ipFamilies": ["IPv4"],
                "kubernetesNetworkConfig": {"podsCidr": "10.244.0.0/16", "servicesCidr": "10.96.0.0/16"},
                "addOns": {"isKubernetesDashboardEnabled": False, "isTillerEnabled": False},
            },
            "metadata": {"timeCreated": timestamp(tenancy.created), "createdByUserId": tenancy.user_id},
            "lifecycleState": "ACTIVE",
            "endpoints": {
                "kubernetes": next(iter(endpoints.values())),
                **{f"{kind}Endpoint": address for kind, address in endpoints.items()},
                "vcnHostnameEndpoint": f"{tenancy.cluster_id[-11:]}.sub.vcn.oraclevcn.com:6443",
            },
            "availableKubernetesUpgrades": [],
            "imagePolicyConfig": {"isPolicyEnabled": False},
            "clusterPodNetworkOptions": [{"cniType": tenancy.cni}],
            "type": "ENHANCED_CLUSTER",
        }

    # --- node pools -----------------------------------------------------------------------------------------------

    async def create_node_pool(self, call: Call) -> Answer:
        async def carry_out() -> Answer:
            details = check_create(call.tenancy, call.json())
            return _accepted(self._node_pools.create(call.tenancy, details))

        return await once(call, carry_out)

    async def list_node_pools(self, call: Call) -> Answer:
        here = call.compartment(root=True) == call.tenancy.compartment_id
        cluster, name = call.query("clusterId"), call.query("name")
        states = call.request.query.getall("lifecycleState", [])
        if cluster and cluster != call.tenancy.cluster_id:
            raise errors.not_found()
        found, headers = page(
            call,
            sorted((pool for pool in call.tenancy.pools.values() if pool.visible and here), key=lambda pool: pool.id),
            lambda pool: (not name or pool.details["name"] == name) and (not states or pool.state in states),
        )
        return Answer([_pool(call.tenancy, pool) for pool in found], headers=headers)

    async def get_node_pool(self, call: Call) -> Answer:
        pool = _pool_of(call)
        body = _pool(call.tenancy, pool)
        body["nodes"] = [_node(pool, node) for node in pool.nodes]
        return Answer(body, headers={"etag": pool.etag})

    async def update_node_pool(self, call: Call) -> Answer:
        pool = _pool_of(call)
        check_if_match(call, pool.etag)
        return _accepted(
            self._node_pools.update(call.tenancy, pool, check_update(call.tenancy, pool.details, call.json()))
        )

    async def delete_node_pool(self, call: Call) -> Answer:
        pool = _pool_of(call)
        check_if_match(call, pool.etag)
        return _accepted(self._node_pools.delete(call.tenancy, pool, _eviction_override(call)))

    async def delete_node(self, call: Call) -> Answer:
        pool = _pool_of(call)
        check_if_match(call, pool.etag)
        node = next((node for node in pool.nodes if node.id == call.parameters["node_id"]), None)
        if node is None:
            raise errors.not_found()
        decrement = (call.query("isDecrementSize") or "true").lower() == "true"
        return _accepted(self._node_pools.delete_node(call.tenancy, pool, node, _eviction_override(call), decrement))

    async def get_node_pool_options(self, call: Call) -> Answer:
        option = call.parameters["option_id"]
        if option == "all":
            call.compartment(root=True)
        elif option != call.tenancy.cluster_id:
            raise errors.not_found()
        version, architecture = call.query("nodePoolK8sVersion"), call.query("nodePoolOsArch")
        sources = [
            {"sourceType": "IMAGE", "sourceName": name, "imageId": ocid}
            for ocid, name in call.tenancy.images.items()
            if (not version or image_version(name) in (None, version))
            and (not architecture or ("aarch64" in name) == (architecture == "AARCH64"))
        ]
        versions = {image_version(name) for name in call.tenancy.images.values()} - {None}
        return Answer(
            {
                "kubernetesVersions": sorted(str(one) for one in versions),
                "shapes": list(SHAPES),
                "images": [source["sourceName"] for source in sources],
                "sources": sources,
            }
        )

    # --- work requests --------------------------------------------------------------------------------------------

    async def list_work_requests(self, call: Call) -> Answer:
        here = call.compartment(root=True) == call.tenancy.compartment_id
        resource, cluster = call.query("resourceId"), call.query("clusterId")
        states = call.request.query.getall("status", [])
        found, headers = page(
            call,
            sorted(call.tenancy.work_requests.values(), key=lambda one: one.accepted, reverse=True),
            lambda one: (
                here
                and (not resource or one.resource_id == resource)
                and (not cluster or one.cluster_id == cluster)
                and (not states or one.status in states)
            ),
        )
        return Answer([_work_request(one) for one in found], headers=headers)

    async def get_work_request(self, call: Call) -> Answer:
        return Answer(_work_request(_work_request_of(call)))

    async def delete_work_request(self, call: Call) -> Answer:
        """Cancels it."""
        self._node_pools.cancel(call.tenancy, _work_request_of(call))
        return Answer(status=202)

    async def list_errors(self, call: Call) -> Answer:
        call.compartment()
        return Answer(list(_work_request_of(call).errors))

    async def list_logs(self, call: Call) -> Answer:
        call.compartment()
        return Answer(list(_work_request_of(call).logs))


def _accepted(work_request: WorkRequest) -> Answer:
    return Answer(status=202, headers={"opc-work-request-id": work_request.id})


def _cluster_of(call: Call) -> None:
    if call.parameters["cluster_id"] != call.tenancy.cluster_id:
        raise errors.not_found()


def _pool_of(call: Call) -> NodePool:
    pool = call.tenancy.pools.get(call.parameters["pool_id"])
    if pool is None or not pool.visible:
        raise errors.not_found()
    return pool


def _work_request_of(call: Call) -> WorkRequest:
    work_request = call.tenancy.work_requests.get(call.parameters["work_request_id"])
    if work_request is None:
        raise errors.not_found()
    return work_request


def _eviction_override(call: Call) -> dict[str, Any]:
    override: dict[str, Any] = {}
    if grace := call.query("overrideEvictionGraceDuration"):
        minutes(grace)
        override["evictionGraceDuration"] = grace
    if force := call.query("isForceDeletionAfterOverrideGraceDuration"):
        override["isForceDeleteAfterGraceDuration"] = force.lower() == "true"
    return override


def _pool(tenancy: Tenancy, pool: NodePool) -> dict[str, Any]:
    """A NodePoolSummary."""
    image = pool.details["nodeSourceDetails"]["imageId"]
    name = tenancy.images.get(image, "")
    body = {
        "freeformTags": {},
        "definedTags": {},
        "systemTags": {},
        "initialNodeLabels": [],
        **pool.details,
        "id": pool.id,
        "lifecycleState": pool.state,
        "lifecycleDetails": pool.state_details,
        "nodeImageId": image,
        "nodeImageName": name,
        "nodeSource": {"sourceType": "IMAGE", "sourceName": name, "imageId": image},
        "quantityPerSubnet": 0,
        "subnetIds": [],
    }
    config = {"nsgIds": [], "isPvEncryptionInTransitEnabled": False, **pool.details["nodeConfigDetails"]}
    config.setdefault("nodePoolPodNetworkOptionDetails", {"cniType": tenancy.cni})
    body["nodeConfigDetails"] = config
    return body


def _node(pool: NodePool, node: Node) -> dict[str, Any]:
    config = node.pool["nodeConfigDetails"]
    return {
        "id": node.id,
        "name": node.name,
        "kubernetesVersion": node.kubernetes_version,
        "availabilityDomain": node.availability_domain,
        "subnetId": node.subnet_id,
        "nodePoolId": pool.id,
        "faultDomain": node.fault_domain,
        "privateIp": node.private_ip,
        "nodeError": node.error,
        "freeformTags": config.get("freeformTags") or {},
        "definedTags": config.get("definedTags") or {},
        "systemTags": {},
        "lifecycleState": node.state,
        "lifecycleDetails": node.error["message"] if node.error else None,
    }


def _work_request(one: WorkRequest) -> dict[str, Any]:
    return {
        "id": one.id,
        "operationType": one.operation,
        "status": one.status,
        "compartmentId": one.compartment_id,
        "resources": [
            {
                "actionType": one.action,
                "entityType": "nodepool",
                "identifier": one.resource_id,
                "entityUri": f"/nodePools/{one.resource_id}",
            },
            {
                "actionType": "RELATED",
                "entityType": "cluster",
                "identifier": one.cluster_id,
                "entityUri": f"/clusters/{one.cluster_id}",
            },
        ],
        "timeAccepted": timestamp(one.accepted),
        "timeStarted": timestamp(one.started),
        "timeFinished": timestamp(one.finished),
    }
