# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Oracle Cloud says of one OKE cluster, as plain data; `core/plan/placement.py` chooses from it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..core.fault import Fault, Refused
from ..core.ownership import bears_tags
from .capacity import read_room
from .client import Connection, all_pages
from .models import as_data
from .node_pool import GONE_STATES
from .node_pools import NodePools

POOL_FIELDS = (
    "id",
    "name",
    "lifecycle_state",
    "compartment_id",
    "kubernetes_version",
    "node_shape",
    "node_source_details",
    "freeform_tags",
)


@dataclass(frozen=True)
class Wanted:
    """The nodes that a deployment is to have, so that room is read only for those still to be created.

    nodes        how many; 0 when not known yet
    checks       what is asked, of `room.CHECKS`
    pod_subnets  given beside those of the other node pools
    compute_cluster  OCID of the compute cluster that they are to be made in; "" without one
    """

    deployment: str
    nodes: int = 0
    checks: tuple[str, ...] = ()
    pod_subnets: tuple[str, ...] = ()
    compute_cluster: str = ""


def read_cluster(connection: Connection, cluster_id: str) -> dict[str, Any]:
    """Return the cluster as the API has it; refuse when OCI does not show it or it is being deleted."""
    if not cluster_id.startswith("ocid1.cluster."):
        raise Refused(
            [
                Fault(
                    "cluster_id_malformed",
                    "oke_cluster_id",
                    cluster_id or "empty",
                    "ocid1.cluster.<realm>.<region>.<id>",
                )
            ]
        )
    engine = connection.client("container_engine")
    with connection.asking("container_engine", "reading the OKE cluster", cluster_id, "use clusters"):
        cluster: dict[str, Any] = as_data(
            engine.get_cluster(cluster_id).data, "id", "compartment_id", "lifecycle_state"
        )
    if cluster["lifecycle_state"] in ("DELETING", "DELETED", "FAILED"):
        raise Refused([Fault("cluster_not_active", cluster_id, cluster["lifecycle_state"], "ACTIVE")])
    return cluster


def compartment_of_cluster(connection: Connection, cluster_id: str) -> str:
    """Return the OCID of the compartment that the cluster lies in."""
    return str(read_cluster(connection, cluster_id)["compartment_id"])


def describe(
    connection: Connection,
    cluster_id: str,
    compartment_id: str = "",
    node_shape: str = "",
    wanted: Wanted | None = None,
) -> dict[str, Any]:
    """Return what a deployment needs to know of the cluster.

    compartment_id  where the node pools are; the cluster's own when empty
    node_shape      with it the node images and, per availability domain, whether the shape is offered there
    wanted          with it the deployment's pool is found even while OCI does not list it yet, and `room` says what the
                    account has left, where nodes are still to be made
    """
    cluster = read_cluster(connection, cluster_id)
    compartment_id = compartment_id or cluster["compartment_id"]
    with ThreadPoolExecutor(max_workers=4) as threads:
        listed = threads.submit(_pools, connection, cluster_id, compartment_id, wanted)
        domains = threads.submit(_availability_domains, connection, compartment_id)
        images = threads.submit(_node_images, connection, cluster_id, compartment_id) if node_shape else None
        shapes: dict[str, Any] = {}
        if node_shape:
            names = [domain["name"] for domain in domains.result()]
            offers = threads.map(lambda name: _shape(connection, compartment_id, name, node_shape), names)
            shapes = {name: offer for name, offer in zip(names, offers, strict=True) if offer}
        pools = [_pool(pool) for pool in listed.result()]
        room: dict[str, Any] = {}
        if wanted and shapes and _has_to_grow(pools, wanted, cluster_id):
            subnets = {subnet for pool in pools for subnet in _subnets(pool)} | set(wanted.pod_subnets)
            room = read_room(connection, compartment_id, node_shape, shapes, subnets, wanted.checks)
        compute_cluster: dict[str, Any] = {}
        if wanted and wanted.compute_cluster and _has_to_grow(pools, wanted, cluster_id):
            compute_cluster = _compute_cluster(connection, wanted.compute_cluster)
        return {
            **_summary(cluster, connection.region),
            "node_pools": pools,
            "availability_domains": domains.result(),
            "node_images": images.result() if images else [],
            "shapes": shapes,
            "room": room,
            "compute_cluster": compute_cluster,
        }


def _pools(connection: Connection, cluster_id: str, compartment_id: str, wanted: Wanted | None) -> list[dict[str, Any]]:
    """The cluster's node pools, and the deployment's own one that a run killed just now requested."""
    node_pools = NodePools(connection, cluster_id, compartment_id)
    pools = [pool for pool in node_pools.listed() if pool["lifecycle_state"] not in GONE_STATES]
    if wanted is None or any(bears_tags(pool, wanted.deployment, cluster_id) for pool in pools):
        return pools
    unlisted = node_pools.find_making(wanted.deployment)
    return [*pools, unlisted] if unlisted else pools


def _has_to_grow(pools: list[dict[str, Any]], wanted: Wanted, cluster_id: str) -> bool:
    """Tell whether nodes are still to be made; when their number is not known yet, they may be."""
    own = [pool["size"] for pool in pools if bears_tags(pool, wanted.deployment, cluster_id)]
    return not wanted.nodes or wanted.nodes > sum(own)


def _subnets(pool: dict[str, Any]) -> list[str]:
    placed = [placement.get("subnet_id", "") for placement in pool["placements"]]
    return [subnet for subnet in [*placed, *pool["pod_network"].get("pod_subnet_ids", [])] if subnet]


def _compute_cluster(connection: Connection, compute_cluster_id: str) -> dict[str, Any]:
    compute = connection.client("compute")
    with connection.asking("compute", "reading the compute cluster", compute_cluster_id, "read compute-clusters"):
        found = compute.get_compute_cluster(compute_cluster_id).data
    return {
        "name": found.display_name,
        "availability_domain": found.availability_domain,
        "lifecycle_state": found.lifecycle_state,
    }


def _summary(cluster: dict[str, Any], region: str) -> dict[str, Any]:
    network = (cluster.get("cluster_pod_network_options") or [{}])[0]
    return {
        "id": cluster["id"],
        "name": cluster.get("name", ""),
        "region": region,
        "compartment_id": cluster["compartment_id"],
        "kubernetes_version": cluster.get("kubernetes_version", ""),
        "type": cluster.get("type", ""),
        "lifecycle_state": cluster["lifecycle_state"],
        "vcn_id": cluster.get("vcn_id", ""),
        "cni_type": network.get("cni_type", ""),
        "endpoints": cluster.get("endpoints", {}),
        "endpoint_config": cluster.get("endpoint_config", {}),
    }


def _pool(pool: dict[str, Any]) -> dict[str, Any]:
    details = pool.get("node_config_details") or {}
    return {
        **{name: pool[name] for name in POOL_FIELDS if name in pool},
        "size": details.get("size", 0),
        "placements": details.get("placement_configs", []),
        "nsg_ids": details.get("nsg_ids", []),
        "pod_network": details.get("node_pool_pod_network_option_details", {}),
    }


def _availability_domains(connection: Connection, compartment_id: str) -> list[dict[str, str]]:
    """The names carry a prefix that differs per tenancy (Uocm:PHX-AD-1), so they are listed, never made up."""
    identity = connection.client("identity")
    with connection.asking("identity", "listing availability domains", compartment_id, "inspect compartments"):
        return [
            {"name": domain.name, "id": domain.id or ""}
            for domain in identity.list_availability_domains(compartment_id).data
        ]


def _node_images(connection: Connection, cluster_id: str, compartment_id: str) -> list[dict[str, str]]:
    engine = connection.client("container_engine")
    with connection.asking("container_engine", "reading the node pool options", cluster_id, "use clusters"):
        options = engine.get_node_pool_options(cluster_id, compartment_id=compartment_id).data
    return [
        {"image_id": source.image_id, "name": source.source_name}
        for source in options.sources or []
        if getattr(source, "image_id", None)
    ]


def _shape(connection: Connection, compartment_id: str, domain: str, name: str) -> dict[str, Any] | None:
    """The shape as the compute service offers it in one availability domain, None where it does not."""
    compute = connection.client("compute")
    with connection.asking("compute", f"listing the shapes of {domain}", compartment_id, "inspect instance-family"):
        offers = all_pages(compute.list_shapes, compartment_id=compartment_id, availability_domain=domain)
        return next((as_data(offer) for offer in offers if offer.shape == name), None)
