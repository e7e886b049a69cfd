# SPDX-License-Identifier: GPL-3.0-or-later
"""Checking what a caller asks for in CreateNodePoolDetails and UpdateNodePoolDetails.

Facts imitated (Container Engine API):
- required are compartmentId, clusterId, name, nodeShape; of nodeConfigDetails size (at most 1000) and placementConfigs,
  each with availabilityDomain and subnetId; nodeShapeConfig is for flexible shapes only; a boot volume has 50 GB or
  more;
- a resource named in the body that cannot be found is 400 RelatedResourceNotAuthorizedOrNotFound;
- an OKE image (`-OKE-<version>-`) must have exactly the pool's Kubernetes version; nodes may not be newer than the
  control plane, nor more than 3 minor versions older;
- the pool's pod network must be the cluster's; with native VCN it needs podSubnetIds;
- a pool cannot change between GPU shapes and others; computeClusterId cannot be changed;
- eviction grace is an ISO 8601 duration of PT0M to PT60M; user_data must be base64; networkLaunchType is one of three.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from rig.oci.errors import invalid_parameter, missing_parameter, related_resource
from rig.oci.shapes import SHAPES
from rig.oci.state import Tenancy

MAXIMUM_SIZE = 1000
MINIMUM_BOOT_VOLUME_GB = 50
MAXIMUM_METADATA_BYTES = 32_000
FIXED_FIELDS = ("compartmentId", "clusterId")
CHANGEABLE_FIELDS = (
    "name",
    "kubernetesVersion",
    "initialNodeLabels",
    "nodeConfigDetails",
    "nodeMetadata",
    "nodeSourceDetails",
    "sshPublicKey",
    "nodeShape",
    "nodeShapeConfig",
    "freeformTags",
    "definedTags",
    "nodeEvictionNodePoolSettings",
    "nodePoolCyclingDetails",
    "secondaryVnics",
    "networkLaunchType",
    "primaryVnic",
)

_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?")


def check_create(tenancy: Tenancy, given: dict[str, Any]) -> dict[str, Any]:
    """The details of a pool to be made; ServiceError names the first thing that is wrong."""
    for name in (*FIXED_FIELDS, "name", "nodeShape"):
        if not given.get(name):
            raise missing_parameter(name)
    if given["compartmentId"] != tenancy.compartment_id:
        raise related_resource("compartmentId", given["compartmentId"])
    if given["clusterId"] != tenancy.cluster_id:
        raise related_resource("clusterId", given["clusterId"])
    known = {*FIXED_FIELDS, *CHANGEABLE_FIELDS}
    details = {name: value for name, value in given.items() if name in known}
    details.setdefault("kubernetesVersion", tenancy.kubernetes_version)
    if not details.get("nodeConfigDetails"):
        raise missing_parameter("nodeConfigDetails")
    _check(tenancy, details)
    return details


def check_update(tenancy: Tenancy, old: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The details of a pool after an update; fields not given stay as they are."""
    changes = {name: value for name, value in given.items() if name in CHANGEABLE_FIELDS and value is not None}
    details = {**old, **changes}
    if "nodeConfigDetails" in changes:
        details["nodeConfigDetails"] = {
            **old["nodeConfigDetails"],
            **{name: value for name, value in changes["nodeConfigDetails"].items() if name != "computeClusterId"},
        }
    if "nodeShape" in changes and details["nodeShape"] in SHAPES:
        before, after = SHAPES[old["nodeShape"]].gpus > 0, SHAPES[details["nodeShape"]].gpus > 0
        if before != after:
            raise invalid_parameter("nodeShape: a node pool cannot change between GPU shapes and others")
    _check(tenancy, details)
    return details


def minutes(duration: str) -> float:
    """The minutes of an ISO 8601 duration such as PT60M."""
    match = _DURATION.fullmatch(duration)
    if not match or duration == "PT":
        raise invalid_parameter(f"evictionGraceDuration is {duration!r}; expected PT0M to PT60M")
    hours, whole, seconds = (int(part or 0) for part in match.groups())
    value = hours * 60 + whole + seconds / 60
    if value > 60:
        raise invalid_parameter(f"evictionGraceDuration is {duration!r}; expected PT0M to PT60M")
    return value


def image_version(name: str) -> str | None:
    """The Kubernetes version (with v) an OKE image is built for; None for a platform or custom image."""
    match = re.search(r"-OKE-(\d+\.\d+\.\d+)-\d+$", name)
    return f"v{match[1]}" if match else None


def _check(tenancy: Tenancy, details: dict[str, Any]) -> None:
    _check_shape(details)
    _check_version(tenancy, details["kubernetesVersion"])
    _check_source(tenancy, details)
    _check_nodes(tenancy, details["nodeConfigDetails"])
    _check_preemptible(details)
    _check_metadata(details.get("nodeMetadata") or {})
    eviction = details.get("nodeEvictionNodePoolSettings") or {}
    if "evictionGraceDuration" in eviction:
        minutes(eviction["evictionGraceDuration"])
    launch_type = details.get("networkLaunchType")
    if launch_type not in (None, "E1000", "PARAVIRTUALIZED", "VFIO"):
        raise invalid_parameter(f"networkLaunchType is {launch_type!r}; expected E1000, PARAVIRTUALIZED or VFIO")


def _check_shape(details: dict[str, Any]) -> None:
    shape = SHAPES.get(details["nodeShape"])
    if shape is None:
        raise invalid_parameter(f"Invalid nodeShape: Node shape {details['nodeShape']} is not supported.")
    config = details.get("nodeShapeConfig")
    if config and not shape.flexible:
        raise invalid_parameter(f"Invalid nodeShapeConfig: {shape.name} is not a flexible shape.")
    if shape.flexible and not config:
        raise invalid_parameter(
            f"Invalid nodeShapeConfig: the flexible shape {shape.name} needs ocpus and memoryInGBs."
        )


def _check_version(tenancy: Tenancy, version: str) -> None:
    wanted, cluster = _VERSION.fullmatch(version), _VERSION.fullmatch(tenancy.kubernetes_version)
    if not wanted or not cluster:
        raise invalid_parameter(f"Invalid kubernetesVersion: {version} is not supported.")
    node, control_plane = tuple(map(int, wanted.groups())), tuple(map(int, cluster.groups()))
    if node > control_plane or control_plane[1] - node[1] > 3:
        raise invalid_parameter(
            f"Invalid kubernetesVersion: nodes of {version} do not fit a control plane of {tenancy.kubernetes_version}."
        )


def _check_source(tenancy: Tenancy, details: dict[str, Any]) -> None:
    source = details.get("nodeSourceDetails")
    if not source:
        raise missing_parameter("nodeSourceDetails")
    if source.get("sourceType") != "IMAGE" or not source.get("imageId"):
        raise invalid_parameter("Invalid nodeSourceDetails: sourceType IMAGE and an imageId are needed.")
    name = tenancy.images.get(source["imageId"])
    if name is None:
        raise related_resource("imageId", source["imageId"])
    version = image_version(name)
    if version not in (None, details["kubernetesVersion"]):
        raise invalid_parameter(
            f"Invalid nodeSourceDetails.imageId: the image {name} is for Kubernetes {version}, "
            f"the node pool has {details['kubernetesVersion']}."
        )
    size = source.get("bootVolumeSizeInGBs")
    if size is not None and size < MINIMUM_BOOT_VOLUME_GB:
        raise invalid_parameter(f"Invalid bootVolumeSizeInGBs: {size} is less than {MINIMUM_BOOT_VOLUME_GB}.")


def _check_nodes(tenancy: Tenancy, config: dict[str, Any]) -> None:
    size = config.get("size")
    if not isinstance(size, int) or not 0 <= size <= MAXIMUM_SIZE:
        raise invalid_parameter(f"Invalid nodeConfigDetails.size: {size!r}; expected 0 to {MAXIMUM_SIZE}.")
    if not config.get("placementConfigs"):
        raise missing_parameter("nodeConfigDetails.placementConfigs")
    for placement in config["placementConfigs"]:
        if placement.get("availabilityDomain") not in tenancy.domains:
            raise invalid_parameter(
                f"Invalid availabilityDomain: {placement.get('availabilityDomain')} does not exist."
            )
        if tenancy.subnet(placement.get("subnetId") or "") is None:
            raise related_resource("subnetId", str(placement.get("subnetId")))
    _check_pod_network(tenancy, config.get("nodePoolPodNetworkOptionDetails"))


def _check_preemptible(details: dict[str, Any]) -> None:
    placements = details["nodeConfigDetails"]["placementConfigs"]
    if details["nodeShape"].startswith("BM.") and any(entry.get("preemptibleNodeConfig") for entry in placements):
        raise invalid_parameter("Invalid preemptibleNodeConfig: bare metal shapes cannot be preemptible.")


def _check_pod_network(tenancy: Tenancy, pod_network: dict[str, Any] | None) -> None:
    cni = (pod_network or {}).get("cniType", "FLANNEL_OVERLAY")
    if cni != tenancy.cni:
        raise invalid_parameter(
            f"Invalid nodePoolPodNetworkOptionDetails.cniType: {cni}; the cluster's pod network is {tenancy.cni}."
        )
    if cni == "OCI_VCN_IP_NATIVE":
        subnets = (pod_network or {}).get("podSubnetIds") or []
        if not subnets:
            raise missing_parameter("nodePoolPodNetworkOptionDetails.podSubnetIds")
        for ocid in subnets:
            if tenancy.subnet(ocid) is None:
                raise related_resource("podSubnetIds", ocid)


def _check_metadata(metadata: dict[str, str]) -> None:
    if sum(len(name) + len(str(value)) for name, value in metadata.items()) > MAXIMUM_METADATA_BYTES:
        raise invalid_parameter(f"Invalid nodeMetadata: more than {MAXIMUM_METADATA_BYTES} bytes.")
    try:
        base64.b64decode(metadata.get("user_data", ""), validate=True)
    except binascii.Error:
        raise invalid_parameter("Invalid nodeMetadata.user_data: expected base64.") from None
