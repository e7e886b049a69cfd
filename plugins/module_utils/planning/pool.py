# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The node pool, in the field names of the OCI SDK."""

from __future__ import annotations

from typing import Any

from .cloud_init import user_data
from .facts import Cloud
from .names import HASH_TAG, NODE_LABEL, freeform_tags, short_hash
from .recipe import Inputs


def node_pool_of(inputs: Inputs, cloud: Cloud, nodes: int) -> dict[str, Any]:
    """Return the node pool in the field names of the OCI SDK's CreateNodePoolDetails."""
    recipe, cluster_id = inputs.recipe, inputs.settings["oke_cluster_id"]
    values = cloud.values
    config: dict[str, Any] = {
        "size": nodes,
        "placement_configs": values.get("placement_configs"),
    }
    for name in ("nsg_ids", "node_pool_pod_network_option_details"):
        if values.get(name):
            config[name] = values[name]
    pool: dict[str, Any] = {
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
        "initial_node_labels": [{"key": NODE_LABEL, "value": inputs.name}],
        "node_metadata": {"user_data": user_data()},
        # The default of OCI is to wait an hour for pods that have nowhere else to go.
        "node_eviction_node_pool_settings": {
            "eviction_grace_duration": "PT0M",
            "is_force_delete_after_grace_duration": True,
        },
    }
    if recipe["recipe_public_ssh_key"]:
        pool["ssh_public_key"] = recipe["recipe_public_ssh_key"]
    tags = freeform_tags(inputs.name, cluster_id, short_hash(pool))
    pool["freeform_tags"] = tags
    # Instances bear the same tags but for the hash: it follows the pool, and a change of it must not touch a node.
    config["freeform_tags"] = {key: value for key, value in tags.items() if key != HASH_TAG}
    return pool
