# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a node pool should be against what it is: plain data in, plain data out.

Only requested fields are compared; what the service filled in, or somebody set beside them, is left alone. Fields have
the SDK's names in snake case.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.fault import Fault, Refused
from ..core.names import CLUSTER_TAG, DEPLOYMENT_TAG, NAME_TAG
from ..core.ownership import bears_tags
from ..core.plan.comparison.words import differences as parts_of
from ..core.plan.comparison.words import line

# Container Engine API, NodePool.lifecycleState; a pool in any other state exists and counts.
GONE_STATES = ("DELETING", "DELETED")

# A change of these asks for another pool: fixed when it is made, or senseless for a group of identical nodes.
NEW_POOL_FIELDS = (
    "compartment_id",
    "cluster_id",
    "node_shape",
    "node_shape_config",
    "network_launch_type",
    "node_config_details.compute_cluster_id",
    "node_config_details.node_pool_pod_network_option_details.cni_type",
)
# These act on the pool at once; every other change is taken over by nodes made after it.
LIVE_FIELDS = (
    "name",
    "freeform_tags",
    "defined_tags",
    "node_config_details.size",
    "node_eviction_node_pool_settings",
    "node_pool_cycling_details",
)
# Mappings whose keys are the user's: ours are put beside those that are there.
MERGED_MAPPINGS = ("freeform_tags", "defined_tags", "node_metadata")
# Objects the service takes as a whole: a change sends all of their fields.
WHOLE_OBJECTS = (
    "node_source_details",
    "node_shape_config",
    "node_eviction_node_pool_settings",
    "node_pool_cycling_details",
    "node_pool_pod_network_option_details",
)

_EFFECTS = {"new_nodes": " (new nodes only)"}


@dataclass(frozen=True)
class Difference:
    """One field that is not as asked.

    field   path from the node pool, such as node_config_details.size
    effect  live (the pool changes at once), new_nodes (only nodes made later have it), new_pool (impossible here)
    """

    field: str
    before: Any
    after: Any
    effect: str

    def as_dict(self) -> dict[str, Any]:
        """The difference as the module returns it."""
        return {
            "field": self.field,
            "before": readable(self.before, self.field),
            "after": readable(self.after, self.field),
            "effect": self.effect,
        }


def completed(definition: dict[str, Any], deployment: str) -> dict[str, Any]:
    """Return the definition with the tags by which the pool is found again."""
    tags = {DEPLOYMENT_TAG: deployment, CLUSTER_TAG: definition["cluster_id"]}
    return {**definition, "freeform_tags": {**(definition.get("freeform_tags") or {}), **tags}}


def own_pool(pools: Iterable[dict[str, Any]], name: str, deployment: str, cluster_id: str) -> dict[str, Any] | None:
    """Return the deployment's pool among a cluster's pools, or None when there is none.

    Names are not unique at OCI, so the tags decide. Two pools with them, or a pool of the name without them, are
    refused: nobody can say which one is meant, and a pool that is not ours is never changed.
    """
    living = [pool for pool in pools if pool.get("lifecycle_state") not in GONE_STATES]
    ours = [pool for pool in living if bears_tags(pool, deployment, cluster_id)]
    foreign = [pool for pool in living if pool not in ours and pool.get("name") == name]
    if len(ours) > 1:
        found = " and ".join(f"{pool['id']} ({pool.get('lifecycle_state')})" for pool in ours)
        raise Refused(
            [
                Fault(
                    "node_pool_doubled",
                    f"node pool {name}",
                    f"{len(ours)} node pools have the tags of this deployment: {found}",
                    "one",
                    "delete the extra one",
                )
            ]
        )
    if foreign and not ours:
        found = " and ".join(pool["id"] for pool in foreign)
        raise Refused(
            [
                Fault(
                    "node_pool_not_ours",
                    f"node pool {name}",
                    f"a node pool of this name without the tags of this deployment: {found}",
                    f"freeform tag {DEPLOYMENT_TAG}={deployment}",
                    "choose another deployment_name; this pool is left alone",
                )
            ]
        )
    return ours[0] if ours else None


def pool_not_found(name: str, compartment_id: str) -> Fault:
    """Return the fault of a deployment with nodes of its own whose pool is not where it was looked for."""
    return Fault(
        "node_pool_not_found",
        f"node pool {name}",
        f"not in compartment {compartment_id}, though the deployment had nodes of its own",
        "the node pool, or its deletion",
        "if it was made with another compartment_id, run undeploy again with that one: it is still billed; otherwise do nothing",
    )


def pool_unseen(node_pool_id: str) -> Fault:
    """Return the fault of a recorded pool that OCI does not show."""
    return Fault(
        "node_pool_unseen",
        f"node pool {node_pool_id}",
        "not found (404), which OCI also returns for what is forbidden",
        "that it is gone",
        "if it was not deleted on purpose, check the console of the account that created it",
    )


def record_disbelieved(pool: Mapping[str, Any]) -> Fault:
    """Return the fault of a recorded pool that is another deployment's, or of another cluster."""
    return Fault(
        "node_pool_not_ours",
        f"node pool {pool['id']}",
        "recorded on the RayCluster, without the tags of this deployment in this cluster: left alone",
        f"freeform tags {DEPLOYMENT_TAG} and {CLUSTER_TAG} of the deployment",
        "a backup that was restored into another cluster has such a record; else see who wrote it",
    )


def refuse_other_owner(pool: dict[str, Any], deployment_name: str, required: bool) -> None:
    """Refuse where the pool's tag says another name than the deployment was given, or, if `required`, none."""
    owner = (pool.get("freeform_tags") or {}).get(NAME_TAG)
    # A tag's value has at most 256 characters.
    if owner == deployment_name[:256] or (owner is None and not required):
        return
    if owner is None:
        found = f"{pool['id']} has no freeform tag {NAME_TAG}: only the RayCluster could tell whose it is"
        remedy = "run undeploy again when the Kubernetes API answers, or delete the node pool in the console; its nodes are still billed"
        raise Refused([Fault("node_pool_owner_unknown", f"node pool {pool['name']}", found, deployment_name, remedy)])
    found = f"{deployment_name}, and the node pool {pool['id']} is of the deployment {owner}"
    remedy = f"give deployment_name: {owner} if that one is meant"
    raise Refused([Fault("name_taken", "deployment_name", found, "the name as its recipe has it", remedy)])


def differences(desired: dict[str, Any], observed: dict[str, Any]) -> list[Difference]:
    """Return which requested fields differ."""
    return list(_differences(desired, observed, ""))


def _differences(desired: dict[str, Any], observed: dict[str, Any], path: str) -> Iterable[Difference]:
    for key, wanted in desired.items():
        if wanted is None:
            continue
        field = f"{path}.{key}" if path else key
        present = observed.get(key)
        if isinstance(wanted, dict) and key not in MERGED_MAPPINGS:
            yield from _differences(wanted, present or {}, field)
        elif not _agrees(key, wanted, present):
            yield Difference(field, present, wanted, effect_of(field))


def effect_of(field: str) -> str:
    """Say what a change of the field means: live, new_nodes or new_pool."""
    for effect, fields in (("new_pool", NEW_POOL_FIELDS), ("live", LIVE_FIELDS)):
        if any(field == known or field.startswith(known + ".") for known in fields):
            return effect
    return "new_nodes"


def _agrees(key: str, wanted: Any, present: Any) -> bool:
    if key in MERGED_MAPPINGS:
        return _contains(present or {}, wanted)
    if key == "placement_configs":
        return _placements_agree(wanted, present or [])
    if key == "initial_node_labels":
        return _labels(wanted) == _labels(present or [])
    if isinstance(wanted, list):
        return sorted(map(str, wanted)) == sorted(map(str, present or []))
    if key == "eviction_grace_duration":
        return seconds_of(wanted) == seconds_of(present)
    return bool(wanted == present)


def _contains(present: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(
        _contains(present.get(key) or {}, value) if isinstance(value, dict) else present.get(key) == value
        for key, value in wanted.items()
    )


def _placements_agree(wanted: list[dict[str, Any]], present: list[dict[str, Any]]) -> bool:
    """Placements have no order; there is one per availability domain."""

    def by_domain(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(items, key=lambda item: str(item.get("availability_domain")))

    return len(wanted) == len(present) and all(
        not list(_differences(ours, theirs, ""))
        for ours, theirs in zip(by_domain(wanted), by_domain(present), strict=True)
    )


def _labels(labels: list[dict[str, Any]]) -> dict[str, Any]:
    return {label.get("key", ""): label.get("value") or "" for label in labels}


def seconds_of(duration: str | None) -> int | None:
    """Return an ISO 8601 duration of hours, minutes and seconds in seconds: PT1H is PT60M."""
    match = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?", duration or "")
    if not match:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def update_of(desired: dict[str, Any], observed: dict[str, Any], changes: Iterable[Difference]) -> dict[str, Any]:
    """Return the body of the update: only the changed fields, whole where the service takes them as a whole."""
    update: dict[str, Any] = {}
    for change in changes:
        target, wanted, present = update, desired, observed
        *parents, last = change.field.split(".")
        whole = next((place for place, name in enumerate(parents) if name in WHOLE_OBJECTS), None)
        if whole is not None:
            parents, last = parents[:whole], parents[whole]
        for parent in parents:
            target = target.setdefault(parent, {})
            wanted, present = wanted[parent], present.get(parent) or {}
        if last in MERGED_MAPPINGS or last in WHOLE_OBJECTS:
            target[last] = _merged(present.get(last) or {}, wanted[last])
        else:
            target[last] = wanted[last]
    return update


def _merged(present: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    merged = dict(present)
    for key, value in wanted.items():
        if value is not None:
            merged[key] = _merged(merged.get(key) or {}, value) if isinstance(value, dict) else value
    return merged


def refuse_new_pool(name: str, changes: Iterable[Difference]) -> None:
    """Refuse changes that a node pool cannot take."""
    faults = [
        Fault(
            "new_node_pool_needed",
            f"node pool {name}: {change.field}",
            f"is {readable(change.before, change.field)}",
            str(readable(change.after, change.field)),
            "a node pool cannot change this: undeploy, then deploy again",
        )
        for change in changes
        if change.effect == "new_pool"
    ]
    if faults:
        raise Refused(faults)


def diff_text(name: str, changes: Iterable[Difference]) -> str:
    """Return what changes in the pool as text: each field by its name, from what to what."""
    lines = [
        f"  {line(part)}{_EFFECTS.get(change.effect, '')}"
        for change in changes
        for part in parts_of(f"node_pool.{change.field}", change.before, change.after)
    ]
    return "\n".join([f"node pool {name}", *lines, ""])


def created_text(definition: dict[str, Any]) -> str:
    """Return what a new pool is made of as text."""
    lines = [f"  {part['name']}: {part['now']}" for part in parts_of("node_pool", {}, definition)]
    return "\n".join([f"node pool {definition['name']}: created", *lines, ""])


def readable(value: Any, field: str = "") -> Any:
    """Return a value to be shown: cloud-init documents as their SHA-256, all else as it is."""
    if isinstance(value, dict):
        return {key: readable(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [readable(item) for item in value]
    if field.rpartition(".")[2] == "user_data" and isinstance(value, str):
        return "sha256:" + hashlib.sha256(value.encode()).hexdigest()
    return value
