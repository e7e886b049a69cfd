# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Oracle Cloud says of one OKE cluster, as plain data; `discovery.py` chooses from it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..planning.fault import Fault, Refused
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
        cluster: dict[str, Any] = as_data(engine.get_cluster(cluster_id).data)
    if cluster["lifecycle_state"] in ("DELETING", "DELETED", "FAILED"):
        raise Refused([Fault("cluster_not_active", cluster_id, cluster["lifecycle_state"], "ACTIVE")])
    return cluster


def compartment_of_cluster(connection: Connection, cluster_id: str) -> str:
    """Return the OCID of the compartment that the cluster lies in."""
    return str(read_cluster(connection, cluster_id)["compartment_id"])


def describe(connection: Connection, cluster_id: str, compartment_id: str = "", node_shape: str = "") -> dict[str, Any]:
    """Return what a deployment needs to know of the cluster.

    compartment_id  where the node pools are; the cluster's own when empty
    node_shape      with it the node images and, per availability domain, whether the shape is offered there
    """
    cluster = read_cluster(connection, cluster_id)
    compartment_id = compartment_id or cluster["compartment_id"]
    with ThreadPoolExecutor(max_workers=4) as threads:
        pools = threads.submit(NodePools(connection, cluster_id, compartment_id).listed)
        domains = threads.submit(_availability_domains, connection, compartment_id)
        images = threads.submit(_node_images, connection, cluster_id, compartment_id) if node_shape else None
        shapes: dict[str, Any] = {}
        if node_shape:
            names = [domain["name"] for domain in domains.result()]
            offers = threads.map(lambda name: _shape(connection, compartment_id, name, node_shape), names)
            shapes = {name: offer for name, offer in zip(names, offers, strict=True) if offer}
        return {
            **_summary(cluster, connection.region),
            "node_pools": [_pool(pool) for pool in pools.result() if pool["lifecycle_state"] not in GONE_STATES],
            "availability_domains": domains.result(),
            "node_images": images.result() if images else [],
            "shapes": shapes,
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
