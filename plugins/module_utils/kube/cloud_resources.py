# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a deployment's objects have in Oracle Cloud: the block volumes of its claims, the load balancers of its Services."""

from __future__ import annotations

from typing import Any

from ..core.names import COLLECTION, MANAGED_BY_LABEL, WORKER_GROUP, label_selector
from ..core.ownership import is_ours
from ..core.parts import inner
from .client import Kubernetes, part, unless_forbidden

# The CSI driver of OKE's block volumes; its volume handle is the OCID of the volume.
BLOCK_VOLUME_DRIVER = "blockvolume.csi.oraclecloud.com"
_NETWORK_LOAD_BALANCER = ("oci.oraclecloud.com/load-balancer-type", "nlb")


def volumes_of(kubernetes: Kubernetes, name: str, namespace: str) -> list[dict[str, Any]] | None:
    """Return the volumes of the deployment's claims: `name` of the PersistentVolume, `id`, and whether it is `kept`.

    Those whose claim an earlier run removed are found by the claim's name, which begins with the pod's. `id` is the OCID
    of a block volume, else None. None where the caller may not read volumes, which belong to the whole cluster.
    """
    path = f"/api/v1/namespaces/{part(namespace)}/persistentvolumeclaims"
    claims = {item["metadata"]["name"]: is_ours(item, name) for item in kubernetes.items(path)}
    volumes = unless_forbidden(lambda: kubernetes.items("/api/v1/persistentvolumes"))
    if volumes is None:
        return None
    found = []
    for item in volumes:
        if (item["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) == COLLECTION:
            # Of a file system that was there before: our object, somebody else's bytes.
            continue
        claim = inner(item, "spec", "claimRef")
        # The claim itself says whose it is, as long as it is there.
        ours = claims.get(
            claim.get("name", ""),
            claim.get("name", "").startswith((f"{name}-head-", f"{name}-{WORKER_GROUP}-worker-")),
        )
        if claim.get("namespace") == namespace and ours:
            csi = inner(item, "spec", "csi")
            found.append(
                {
                    "name": item["metadata"]["name"],
                    "id": csi.get("volumeHandle") if csi.get("driver") == BLOCK_VOLUME_DRIVER else None,
                    "kept": inner(item, "spec").get("persistentVolumeReclaimPolicy") == "Retain",
                }
            )
    return found


def load_balancers_of(kubernetes: Kubernetes, name: str, namespace: str) -> list[str]:
    """Return the display names that OCI's cloud controller gave the load balancers of the deployment's Services.

    The Service's UID, for a network load balancer <namespace>/<name>/<UID> (oci-cloud-controller-manager,
    GetLoadBalancerName).
    """
    key, network = _NETWORK_LOAD_BALANCER
    found = []
    path = f"/api/v1/namespaces/{part(namespace)}/services"
    for item in kubernetes.items(path, labelSelector=label_selector(name)):
        metadata = item["metadata"]
        if inner(item, "spec").get("type") != "LoadBalancer" or not metadata.get("uid"):
            continue
        is_network = (metadata.get("annotations") or {}).get(key) == network
        found.append(
            f"{metadata['namespace']}/{metadata['name']}/{metadata['uid']}" if is_network else str(metadata["uid"])
        )
    return found
