# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The node pool, in the field names of the OCI SDK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..catalog.cloud_init import user_data
from ..catalog.shapes import Shape
from ..names import HASH_TAG, NAME_TAG, NODE_LABEL, freeform_tags, short_hash, without_none
from ..recipe.inputs import Inputs
from .placement import Placement
from .storage import on_local_drives
from .types import NodeConfig, NodePool

# The taint that OKE gives to preemptible nodes (OKE, "Using Preemptible Capacity").
PREEMPTIBLE_TAINT = "oci.oraclecloud.com/oke-is-preemptible"


def node_pool_of(
    inputs: Inputs, placement: Placement, nodes: int, shape: Shape | None, cache_folder: str | None
) -> NodePool:
    """Return the node pool in the field names of the OCI SDK's CreateNodePoolDetails.

    cache_folder: the nodes' folder that holds the model, if one does.
    """
    recipe, settings, cluster_id = inputs.recipe, inputs.settings, inputs.settings["oke_cluster_id"]
    values = placement.values
    # A tag's value has at most 256 characters (OCI, tagging).
    tags = {**(settings["node_pool_tags"] or {}), NAME_TAG: inputs.deployment_name[:256]}
    config: NodeConfig = {
        "size": nodes,
        "placement_configs": placements(values.get("placement_configs"), settings),
        "freeform_tags": tags,
    }
    if settings["compute_cluster_id"]:
        config["compute_cluster_id"] = settings["compute_cluster_id"]
    if values.get("nsg_ids"):
        config["nsg_ids"] = values["nsg_ids"]
    if network := values.get("node_pool_pod_network_option_details"):
        config["node_pool_pod_network_option_details"] = network
    labels = {**(settings["node_pool_labels"] or {}), NODE_LABEL: inputs.name}
    pool: NodePool = {
        "name": inputs.name,
        "compartment_id": values.get("compartment_id"),
        "cluster_id": cluster_id,
        "node_shape": recipe["recipe_node_shape"],
        "kubernetes_version": values.get("kubernetes_version"),
        "node_source_details": {
            "source_type": "IMAGE",
            "image_id": values.get("image_id"),
            "boot_volume_size_in_gbs": recipe["recipe_node_boot_volume_size_in_gbs"],
        },
        "node_config_details": config,
        "initial_node_labels": [{"key": key, "value": value} for key, value in labels.items()],
        "node_metadata": {
            "user_data": user_data(settings["node_pool_taints"] or (), prepared_folder(inputs, shape, cache_folder))
        },
        # The default of OCI is to wait an hour for pods that have nowhere else to go.
        "node_eviction_node_pool_settings": {
            "eviction_grace_duration": "PT0M",
            "is_force_delete_after_grace_duration": True,
        },
        "freeform_tags": {},
    }
    if recipe["recipe_public_ssh_key"]:
        pool["ssh_public_key"] = recipe["recipe_public_ssh_key"]
    return _tagged(pool)


def placements(found: Sequence[Mapping[str, Any]] | None, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the placements that were found (availability domain and subnet) with what the settings say of them."""
    wished: dict[str, Any] = {
        "fault_domains": settings["node_pool_fault_domains"],
        "capacity_reservation_id": settings["node_pool_capacity_reservation_id"],
    }
    if settings["node_pool_preemptible"]:
        wished["preemptible_node_config"] = {
            "preemption_action": {"type": "TERMINATE", "is_preserve_boot_volume": False}
        }
    given = {name: value for name, value in wished.items() if value}
    return [{**placement, **given} for placement in found or ()]


def other_placements(inputs: Inputs, placement: Placement) -> list[list[dict[str, Any]]]:
    """Return the placements that the pool may have instead, best first; a capacity reservation and a compute cluster are of one domain."""
    if inputs.settings["node_pool_capacity_reservation_id"] or inputs.settings["compute_cluster_id"]:
        return []
    return [placements(found, inputs.settings) for found in placement.others]


def moved(pool: NodePool, placement_configs: Sequence[Mapping[str, Any]]) -> NodePool:
    """Return the plan's node pool in another place, as a plan made there would have it."""
    config: NodeConfig = {
        **pool["node_config_details"],
        "placement_configs": [dict(item) for item in placement_configs],
    }
    return _tagged({**pool, "node_config_details": config})


def tolerations(settings: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what the pods tolerate so that they run on the nodes that the settings ask for."""
    wanted = []
    for taint in settings["node_pool_taints"] or ():
        key, effect = taint.rpartition(":")[0].partition("=")[0], taint.rpartition(":")[2]
        wanted.append({"key": key, "operator": "Exists", "effect": effect})
    if settings["node_pool_preemptible"]:
        wanted.append({"key": PREEMPTIBLE_TAINT, "operator": "Exists"})
    return wanted


def prepared_folder(inputs: Inputs, shape: Shape | None, cache_folder: str | None = None) -> str:
    """Return the folder where the nodes mount their local NVMe drives; "" where nothing is kept there."""
    used = [entry["node_directory_path"] for entry in inputs.recipe["local_filesystem"] or ()]
    wanted = any(on_local_drives(path, inputs.settings, shape) for path in (*used, cache_folder))
    return inputs.settings["nvme_folder"].rstrip("/") if wanted else ""


def _tagged(pool: NodePool) -> NodePool:
    """Return the pool with its tags. Instances get the same without the hash: a change of it must not touch a node."""
    name, cluster_id, config = pool["name"], pool["cluster_id"], pool["node_config_details"]
    own = freeform_tags(name, cluster_id, "")
    further = {key: value for key, value in config["freeform_tags"].items() if key not in own}
    # The hash is of the pool without what the tags are made of.
    bare = {key: value for key, value in pool.items() if key != "freeform_tags"}
    bare["node_config_details"] = {key: value for key, value in config.items() if key != "freeform_tags"}
    tags = {**further, **freeform_tags(name, cluster_id, short_hash(without_none(bare)))}
    on_instances = {key: value for key, value in tags.items() if key != HASH_TAG}
    return {**pool, "node_config_details": {**config, "freeform_tags": on_instances}, "freeform_tags": tags}
