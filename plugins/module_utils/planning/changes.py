# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a change of a field of the plan means for a deployment that runs.

live      applied beside the running group, which goes on serving
restart   the group's pods are made again
new_pool  nodes that are there keep what they have: it takes new ones
"""

from __future__ import annotations

LIVE, RESTART, NEW_POOL = "live", "restart", "new_pool"

# By the most telling part of the field's name: `pod.image` by `pod`, since it has no entry of its own.
CLASSES = {
    "schema": LIVE,
    "deployment": LIVE,
    "deployment.name": NEW_POOL,
    "deployment.namespace": RESTART,
    "model": RESTART,
    "parallelism": RESTART,
    "parallelism.tensor": NEW_POOL,
    "memory": LIVE,
    "nodes": NEW_POOL,
    "nodes.count": RESTART,
    "nodes.ocpus": RESTART,
    "nodes.memory_gb": RESTART,
    "node_pool": NEW_POOL,
    "node_pool.freeform_tags": LIVE,
    "node_pool.node_eviction_node_pool_settings": LIVE,
    "other_placements": LIVE,
    "pod": RESTART,
    "image": RESTART,
    "engine": RESTART,
    "staging": RESTART,
    "endpoint": LIVE,
    "expected": LIVE,
    "limit": LIVE,
    "rebuild": RESTART,
    "choices": LIVE,
    "warnings": LIVE,
}


def change_classes(plan: dict[str, object]) -> dict[str, str]:
    """Return the class of every field of the plan, two levels deep."""
    classes = {}
    for key, value in plan.items():
        for field in [f"{key}.{inner}" for inner in value] if isinstance(value, dict) and value else [key]:
            classes[field] = CLASSES.get(field, CLASSES[key])
    return classes
