# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names of the things a deployment is made of, all derived from its DNS name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

# KubeRay takes RayCluster names of at most 53 characters and builds longer names from them; 40 leaves room for ours.
LONGEST_DNS_NAME = 40

COLLECTION = "multinode.inference"

# Kubernetes labels and annotations.
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
INSTANCE_LABEL = "app.kubernetes.io/instance"
NODE_LABEL = "multinode.inference/deployment"
HASH_ANNOTATION = "multinode.inference/plan-hash"
NAME_ANNOTATION = "multinode.inference/deployment-name"
RECIPE_ANNOTATION = "multinode.inference/recipe"
SHAPE_ANNOTATION = "multinode.inference/shape"
CHOICES_ANNOTATION = "multinode.inference/choices"
PRICE_ANNOTATION = "multinode.inference/usd-per-hour"
COST_ANNOTATION = "multinode.inference/cost"
REQUEST_ANNOTATION = "multinode.inference/source-request"
# Of the RayCluster: OCID and compartment of the node pool, which may lie elsewhere than the cluster.
NODE_POOL_ANNOTATION = "multinode.inference/node-pool"
# Of the Service: how the deployment is reached, for status and for the next run.
ENDPOINT_ANNOTATION = "multinode.inference/endpoint"
# Of the RayCluster: what was given (its hash), each field of the plan (its hash, and its value where that is short), and the pods
# as they were rendered.
GIVEN_ANNOTATION = "multinode.inference/given"
FIELDS_ANNOTATION = "multinode.inference/fields"
VALUES_ANNOTATION = "multinode.inference/values"
RENDERED_ANNOTATION = "multinode.inference/rendered"
# Of the RayCluster: what the plan says of memory and requests, and what the last benchmark measured.
PLANNED_ANNOTATION = "multinode.inference/planned"
BENCHMARK_ANNOTATION = "multinode.inference/benchmark"
# Of the RayCluster: since when the deployment is paused, and by whom.
PAUSED_ANNOTATION = "multinode.inference/paused"
# Of the Lease: who holds it, in more words than its holderIdentity.
HOLDER_ANNOTATION = "multinode.inference/holder"
# Of the RayCluster: who watches it. A later run that is to have nobody watch it knows by it what to remove.
MONITORING_ANNOTATION = "multinode.inference/monitoring"

# OCI freeform tags.
DEPLOYMENT_TAG = "multinode-inference-deployment"
CLUSTER_TAG = "multinode-inference-cluster"
HASH_TAG = "multinode-inference-hash"
# deployment_name as it was written: two of them may have one DNS name.
NAME_TAG = "multinode-inference-name"

WORKER_GROUP = "workers"
# The init container that gives the model's folder to the image's user.
MODEL_FOLDER = "model-folder"


def dns_name(deployment_name: str) -> str:
    """Return the DNS name of a deployment: lower case, underscores dropped, spaces to hyphens.

    The rule is that of the recipe's own schema (`raycluster_vm_test` becomes `rayclustervmtest`). The result may
    still not be a DNS name; ask `dns_name_problem`.
    """
    return re.sub(r"\s+", "-", deployment_name.strip().lower()).replace("_", "")


def dns_name_problem(name: str) -> str | None:
    """Say why `name` (made by `dns_name`) cannot name Kubernetes objects, or None when it can.

    A Service name is a DNS label that begins with a letter (RFC 1035), so the deployment's name has to be one too.
    """
    if not name:
        return "nothing is left of it as a DNS name"
    if len(name) > LONGEST_DNS_NAME:
        return f"as a DNS name it has {len(name)} characters, at most {LONGEST_DNS_NAME} are possible"
    if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name):
        return "as a DNS name it may hold letters, digits and hyphens, begin with a letter and not end with a hyphen"
    return None


def object_names(name: str) -> dict[str, str]:
    """Return the names of a deployment's Kubernetes objects, keyed by what they are."""
    return {
        "raycluster": name,
        "api_service": f"{name}-api",
        "head_service": f"{name}-head-svc",
        "api_key_secret": f"{name}-api-key",
        "ray_token_secret": f"{name}-ray-token",
        # As KubeRay names its own, where it can be told no other name.
        "kuberay_token_secret": name,
        "source_secret": f"{name}-source",
        "tls_secret": f"{name}-tls",
        "tls_authority_secret": f"{name}-tls-authority",
        "network_policy": name,
        "endpoint_policy": f"{name}-endpoint",
        "disruption_budget": name,
        "benchmark": f"{name}-benchmark",
        "lease": name,
        "board": f"{name}-board",
        "certificate_rule": f"{name}-certificate",
    }


def common_labels(name: str) -> dict[str, str]:
    """Return the labels every Kubernetes object of the deployment `name` has."""
    return {MANAGED_BY_LABEL: COLLECTION, INSTANCE_LABEL: name}


def label_selector(name: str | None = None) -> str:
    """Return the selector of the objects that this collection made: of all deployments, or of the one `name`."""
    ours = f"{MANAGED_BY_LABEL}={COLLECTION}"
    return f"{ours},{INSTANCE_LABEL}={name}" if name else ours


def freeform_tags(name: str, cluster_id: str, plan_hash: str) -> dict[str, str]:
    """Return the OCI freeform tags by which a deployment's cloud resources are found again."""
    return {DEPLOYMENT_TAG: name, CLUSTER_TAG: cluster_id, HASH_TAG: plan_hash}


def short_hash(value: Any) -> str:
    """Return 12 hexadecimal digits that stand for `value` (JSON data), whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def without_none(value: Any) -> Any:
    """Return JSON data without the keys whose value is None: a key that is absent means the same."""
    if isinstance(value, Mapping):
        return {key: without_none(inner) for key, inner in value.items() if inner is not None}
    return [without_none(inner) for inner in value] if isinstance(value, list) else value
