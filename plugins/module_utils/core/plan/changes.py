# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a change of a field of the plan means for a deployment that runs.

live      applied while the group keeps serving
restart   the group's pods are recreated
new_pool  existing nodes keep what they have: it takes new ones
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..names import short_hash, without_none
from .comparison.parts import parts_of
from .comparison.words import NOT_RECORDED, changed_unseen, masked
from .types import Change

LIVE, RESTART, NEW_POOL = "live", "restart", "new_pool"

# By the most telling part of the field's name: `pod.image` by `pod`, since it has no entry of its own.
CLASSES = {
    "schema": LIVE,
    "deployment": LIVE,
    "deployment.name": NEW_POOL,
    "deployment.namespace": NEW_POOL,
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
    "node_pool.node_config_details.size": LIVE,
    "node_pool.node_eviction_node_pool_settings": LIVE,
    "other_placements": LIVE,
    "pod": RESTART,
    # KubeRay leaves pods alone that differ in this only; those that are made later have it.
    "pod.tolerations": LIVE,
    "image": LIVE,
    "engine": RESTART,
    "staging": RESTART,
    "endpoint": LIVE,
    "expected": LIVE,
    "limit": LIVE,
    "restart": RESTART,
    "choices": LIVE,
    "answer": LIVE,
    "warnings": LIVE,
    "existing": LIVE,
}
# What stands in the plan for a reader, or follows from the rest: no object changes with it.
SAID = (
    "schema",
    "deployment",
    "expected",
    "limit",
    "memory",
    "image",
    "other_placements",
    "choices",
    "answer",
    "warnings",
    "existing",
)
# The node pool has a hash of its own: it may be in another place without a change of the objects in Kubernetes.
_UNHASHED = (*SAID, "node_pool", "change_class")
# The wait may put the pool in another place after the objects were applied; the pool itself knows where it is.
_OF_THE_PLACE = ("node_pool.node_config_details.placement_configs", "node_pool.freeform_tags")
# Not worth a place in the record: what they were says nothing to a reader.
_LONG = ("staging.files", "staging.shards_per_stage", "node_pool.node_metadata")
# Characters of all recorded values together.
_MOST_RECORDED = 32 * 1024
# Of these a part has a class of its own.
_DEEPER = ("node_pool.node_config_details",)


def change_classes(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return the class of every field of the plan, two levels deep, and three where the parts differ."""
    return {field: class_of(field) for field, _value in fields(plan)}


def class_of(field: str) -> str:
    """Return the class of a field by the longest part of its name that has one.

    One that another version of the collection wrote, and this one does not know, is taken for the pods'.
    """
    while "." in field and field not in CLASSES:
        field = field.rpartition(".")[0]
    return CLASSES.get(field, RESTART)


def fields(plan: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of the plan by their names, and their values."""
    for key, value in plan.items():
        if key == "change_class":
            continue
        if not isinstance(value, Mapping) or not value:
            yield key, value
            continue
        for inner, held in value.items():
            name = f"{key}.{inner}"
            if name in _DEEPER and isinstance(held, Mapping):
                yield from ((f"{name}.{part}", of_part) for part, of_part in held.items())
            else:
                yield name, held


def plan_hash(plan: Mapping[str, Any]) -> str:
    """Return the hash of what the objects in Kubernetes follow from. A key without a value counts as absent."""
    named = {key: value for key, value in plan["deployment"].items() if key not in ("hash", "given")}
    return short_hash(without_none({key: plan[key] for key in plan if key not in _UNHASHED} | {"deployment": named}))


def field_hashes(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return what a later run compares the fields with that the objects follow from.

    A field without a value is left out: a record that a version wrote which did not know the field means the same.
    """
    return {
        field: short_hash(without_none(value))[:8]
        for field, value in fields(plan)
        if value is not None and field.partition(".")[0] not in SAID and field not in _OF_THE_PLACE
    }


def field_values(plan: Mapping[str, Any]) -> str:
    """Return the values of the fields of `field_hashes`, without secrets, for a later run to say what they were: a JSON object.

    Long ones are left out: annotations have 256 KiB in all (Kubernetes, apimachinery, TotalAnnotationSizeLimitB).
    """
    recorded = field_hashes(plan)
    texts = {
        field: json.dumps(masked(field, without_none(value)), sort_keys=True, separators=(",", ":"))
        for field, value in fields(plan)
        if field in recorded and field not in _LONG
    }
    left = _MOST_RECORDED
    kept = []
    for field in sorted(texts, key=lambda name: (len(texts[name]), name)):
        left -= len(texts[field])
        if left < 0:
            break
        kept.append(f"{json.dumps(field)}:{texts[field]}")
    return f"{{{','.join(sorted(kept))}}}"


def changed_fields(
    plan: Mapping[str, Any], former: Mapping[str, str], values: Mapping[str, Any] | None = None
) -> list[Change]:
    """Return each field that is not as it was, with its class and what differs inside.

    former: `field_hashes` of then; values: `field_values` of then, as far as they were recorded
    """
    today, held = field_hashes(plan), dict(fields(plan))
    changed: list[Change] = []
    for field in sorted(today.keys() | former.keys()):
        if today.get(field) == former.get(field) or field.partition(".")[0] not in CLASSES:
            continue
        # A field that has no hash had no value then.
        was = None if field not in former else (values or {}).get(field, NOT_RECORDED)
        parts = parts_of(field, was, held.get(field)) or changed_unseen(field)
        changed.append({"field": field, "class": class_of(field), "parts": parts})
    return changed
