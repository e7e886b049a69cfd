# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, labels, annotations and defaults of KubeRay 1.7 (controllers/ray/utils: constant.go, util.go)."""

from __future__ import annotations

VERSION = "v1.7.1"

LABEL_CLUSTER = "ray.io/cluster"
LABEL_NODE_TYPE = "ray.io/node-type"
LABEL_GROUP = "ray.io/group"
LABEL_IS_RAY_NODE = "ray.io/is-ray-node"
LABEL_IDENTIFIER = "ray.io/identifier"
LABEL_REPLICA_INDEX = "ray.io/worker-group-replica-index"
LABEL_REPLICA_NAME = "ray.io/worker-group-replica-name"
LABEL_HOST_INDEX = "ray.io/replica-host-index"
# A pod template cannot change these three.
FIXED_LABELS = (LABEL_CLUSTER, LABEL_NODE_TYPE, LABEL_GROUP)

ANNOTATION_OVERWRITE_COMMAND = "ray.io/overwrite-container-cmd"
ANNOTATION_SPEC_HASH = "ray.io/upgrade-strategy-recreate-hash"
ANNOTATION_OPERATOR_VERSION = "ray.io/kuberay-version"

HEAD_GROUP = "headgroup"
GCS_PORT = 6379
METRICS_PORT = 8080
AGENT_PORT = 52365
DASHBOARD_PORT = 8265
DEFAULT_HEAD_PORTS = {
    "client": 10001,
    "dashboard": DASHBOARD_PORT,
    "gcs-server": GCS_PORT,
    "metrics": METRICS_PORT,
    "serve": 8000,
}
TOKEN_KEY = "auth_token"


def bounded(name: str, most: int = 50) -> str:
    """`name`, cut from the left to `most` characters; a cut name that does not begin with a letter begins with `r`."""
    if len(name) > most:
        name = name[-most:]
    return name if name[:1].isalpha() else "r" + name[1:]


def head_service(cluster: str) -> str:
    """The Service in front of the head pod."""
    return bounded(f"{cluster}-head-svc")


def head_address(cluster: str, namespace: str, domain: str) -> str:
    """The head Service's full DNS name."""
    return f"{head_service(cluster)}.{namespace}.svc.{domain}"


def pod_prefix(owner: str, node_type: str) -> str:
    """`generateName` of a pod: the cluster (and group) cut at 50 characters, then the node type."""
    return f"{owner[:50]}-{node_type}-".lower()


def token_secret(cluster: str) -> str:
    """The Secret that KubeRay makes when token authentication names none."""
    return bounded(cluster)
