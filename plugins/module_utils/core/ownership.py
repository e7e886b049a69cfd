# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whose a thing is. Everything that changes, deletes or revokes asks here first, with the thing itself at hand.

Names prove nothing: anybody may have chosen the same. What proves it is what this collection writes on all that it makes:
labels in Kubernetes, freeform tags in Oracle Cloud, and for a request, which has neither, a name that nobody else derives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from .fault import Fault
from .names import (
    CLUSTER_TAG,
    DEPLOYMENT_TAG,
    NODE_POOL_ANNOTATION,
    common_labels,
    object_names,
    short_hash,
)
from .text import read_json

_OCID = re.compile(r"ocid1\.[a-z0-9.\-_]{1,250}")
# How long a name that somebody else chose may be in our words.
_SHOWN = 253


def is_ours(item: Mapping[str, Any], deployment: str, owners: Collection[str] = ()) -> bool:
    """Tell whether a Kubernetes object is the deployment's: by its labels, or since one of `owners` (UIDs) owns it."""
    metadata = item.get("metadata") or {}
    labels = metadata.get("labels") or {}
    if all(labels.get(key) == value for key, value in common_labels(deployment).items()):
        return True
    return any(owner.get("uid") in owners for owner in metadata.get("ownerReferences") or ())


def namespace_is_ours(item: Mapping[str, Any], deployment: str) -> bool:
    """Tell whether a Namespace was made for the deployment and for it alone: one of another name was given by the user."""
    return item["metadata"]["name"] == deployment and is_ours(item, deployment)


def bears_tags(pool: Mapping[str, Any], deployment: str, cluster_id: str) -> bool:
    """Tell whether a node pool, or an instance, has the tags of a deployment of this cluster."""
    tags = pool.get("freeform_tags") or {}
    return tags.get(DEPLOYMENT_TAG) == deployment and tags.get(CLUSTER_TAG) == cluster_id


def request_name(deployment: str, namespace: str, cluster: str) -> str:
    """Return the name of the deployment's pre-authenticated request; `cluster` tells the cluster from others (a UID)."""
    return f"multinode-inference-{deployment}-{short_hash([cluster, namespace, deployment])}"


def pool_record(pool: Mapping[str, Any]) -> dict[str, str]:
    """Return the annotation that says where a node pool is found again; none for a pool that has no OCID yet."""
    record = {key: pool.get(key) for key in ("id", "compartment_id")}
    return {NODE_POOL_ANNOTATION: json.dumps(record, sort_keys=True)} if all(record.values()) else {}


def recorded_pool(annotations: Mapping[str, str] | None) -> dict[str, str]:
    """Return OCID and compartment of the node pool as an object's annotations have them, {} where they are none.

    A pool that is found by them still has to have the deployment's tags.
    """
    try:
        record = read_json((annotations or {}).get(NODE_POOL_ANNOTATION, ""))
        found = {key: str(record[key]) for key in ("id", "compartment_id")}
    except (ValueError, TypeError, LookupError):
        return {}
    return found if all(map(_OCID.fullmatch, found.values())) else {}


def takes_name(kind: str, object_name: str, deployment: str, namespace: str) -> bool:
    """Tell whether an object of this kind and name stands where each deployment makes one of its own.

    Lease, benchmark and monitoring look at the names of theirs when they make them.
    """
    names = object_names(deployment)
    secrets = (
        *("api_key_secret", "ray_token_secret", "kuberay_token_secret"),
        *("source_secret", "tls_secret", "tls_authority_secret"),
    )
    fixed = {
        "RayCluster": {names["raycluster"]},
        "Service": {names["api_service"], names["head_service"]},
        "Secret": {names[secret] for secret in secrets},
        "NetworkPolicy": {names["network_policy"], names["endpoint_policy"]},
        "PodDisruptionBudget": {names["disruption_budget"]},
    }
    # Followed by a hash of their content.
    hashed = {
        "ConfigMap": f"{deployment}-runtime-",
        "Secret": f"{deployment}-tls-",
        "PersistentVolumeClaim": f"{deployment}-",
        "PersistentVolume": f"{namespace}-{deployment}-",
    }
    if kind in hashed and re.fullmatch(re.escape(hashed[kind]) + "[0-9a-f]{10,12}", object_name):
        return True
    return object_name in fixed.get(kind, ())


def not_ours(kind: str, object_name: str, deployment: str, namespace: str) -> Fault:
    """Return the fault of an object that stands where the deployment makes one of its own, and is somebody else's."""
    where = f" in namespace {namespace}" if kind != "PersistentVolume" else ""
    return Fault(
        "not_ours",
        f"{kind} {object_name[:_SHOWN]}{where}",
        "there already, without this deployment's labels",
        "none, or the deployment's own",
        f"it is left alone: choose another deployment_name than {deployment} or another namespace, or remove it",
    )
