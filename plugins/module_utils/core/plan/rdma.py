# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the ranks of different nodes talk: over the pods' network, or over the shape's RDMA ports from the host's network.

The tables are those of Oracle's OKE stack for HPC (oci-hpc-oke, manifests/nccl-tests and its guide to NCCL's settings). Not
tried on Oracle Cloud: `recipe_container_env` puts another value in a variable's place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..catalog.shapes import Shape
from ..fault import Findings
from ..recipe.inputs import Inputs
from .placement import short_domain

NONE, HOST_NETWORK = "none", "host_network"

_ROCE = {
    "NCCL_IB_GID_INDEX": "3",
    "NCCL_IB_TC": "41",
    "NCCL_IB_SL": "0",
    "NCCL_IB_TIMEOUT": "22",
    "NCCL_IB_SPLIT_DATA_ON_QPS": "0",
}
_AMPERE = {"NCCL_IB_QPS_PER_CONNECTION": "4"}
_HOPPER = {"NCCL_CUMEM_ENABLE": "0", "NCCL_IGNORE_CPU_AFFINITY": "1"}
_RTX = {
    "NCCL_IB_QPS_PER_CONNECTION": "1",
    "NCCL_ALGO": "Tree",
    "NCCL_MIN_NCHANNELS": "8",
    "NCCL_NET_PLUGIN": "none",
}


def _devices(*numbers: int) -> str:
    """The devices by their whole names, which the equals sign asks for."""
    return "=" + ",".join(f"mlx5_{number}" for number in numbers)


_A100 = (_devices(*range(1, 13), *range(14, 18)), _AMPERE)
_EIGHT_PORTS = (_devices(0, 3, 4, 5, 6, 9, 10, 11), _HOPPER)
# Shape: RDMA devices of the host, and what the GPUs' generation adds.
_OF_SHAPE: dict[str, tuple[str, dict[str, str]]] = {
    "BM.GPU4.8": (_devices(*range(4), *range(6, 18)), _AMPERE),
    "BM.GPU.A100-v2.8": _A100,
    "BM.GPU.B4.8": _A100,
    "BM.GPU.H100.8": (_devices(0, 1, *range(3, 11), *range(12, 18)), _HOPPER),
    "BM.GPU.H200.8": _EIGHT_PORTS,
    "BM.GPU.B200.8": _EIGHT_PORTS,
    "BM.GPU.B300.8": (_devices(0, 1, *range(7, 15), *range(16, 22)), _HOPPER),
    "BM.GPU.RTXPRO.8": (_devices(0, 1, 2, 3, 6, 7, 8, 9), _RTX),
}


def mode_of(settings: Mapping[str, Any]) -> str:
    """Return none or host_network: as given, else the latter where the nodes are of a compute cluster."""
    return settings["rdma"] or (HOST_NETWORK if settings["compute_cluster_id"] else NONE)


def network_variables(inputs: Inputs, shape: Shape | None) -> dict[str, str]:
    """Return what NCCL and Gloo have to know of the network."""
    settings = inputs.settings
    if mode_of(settings) == NONE or shape is None or shape.name not in _OF_SHAPE:
        # The pods' network has one interface. The host's RDMA devices may show in /sys, and cannot be opened.
        return {"NCCL_SOCKET_IFNAME": "eth0", "GLOO_SOCKET_IFNAME": "eth0", "NCCL_IB_DISABLE": "1"}
    interface = settings["rdma_socket_interface"]
    devices, further = _OF_SHAPE[shape.name]
    interfaces = {"NCCL_SOCKET_IFNAME": interface, "GLOO_SOCKET_IFNAME": interface}
    return {**interfaces, **_ROCE, **further, "NCCL_IB_HCA": devices}


def check_rdma(inputs: Inputs, shape: Shape | None, found_cluster: Mapping[str, Any], findings: Findings) -> None:
    """What RDMA takes of shape, image and place, and what it gives up.

    found_cluster: {name, availability_domain, lifecycle_state} of the compute cluster; empty where it was not read

    On the host's network the recipe's ports are the node's: those of kubelet and kube-proxy (10248 to 10256) are among the
    ports that are Ray's own, and refused for any recipe.
    """
    recipe, settings = inputs.recipe, inputs.settings
    cluster = settings["compute_cluster_id"]
    ours = settings["node_provisioner"] == "oke"
    if cluster:
        _check_compute_cluster(ours, recipe, found_cluster, findings)
    if mode_of(settings) == NONE:
        return
    if shape is not None and shape.name not in _OF_SHAPE:
        found = f"{HOST_NETWORK}, and {shape.name} " + (
            "needs IMEX domains for it, which are not supported"
            if re.search(r"\.GB\d", shape.name)
            else "has no known RDMA"
        )
        findings.fault("no_rdma", "rdma", found, f"one of {', '.join(_OF_SHAPE)}", "give rdma: none")
    if ours and not recipe["recipe_node_image_ocid"]:
        findings.fault(
            "rdma_image",
            "recipe_node_image_ocid",
            "not given, and OKE's own images are not made for RDMA",
            "an image with the RDMA drivers and agent plugins, such as those of oci-hpc-oke",
            "import one and give its OCID, or give rdma: none",
        )
    findings.warn(
        "host_network",
        "rdma",
        "the pods are in the nodes' network, as root and privileged: NetworkPolicies do not hold there",
        "",
        "close the nodes' subnet to others by its security groups (recipe_worker_subnet_nsg_ocid)",
    )


def _check_compute_cluster(
    ours: bool, recipe: Mapping[str, Any], found_cluster: Mapping[str, Any], findings: Findings
) -> None:
    place = "compute_cluster_id"
    if not ours:
        found = "given beside node_provisioner none"
        findings.fault("compute_cluster", place, found, "a node pool that can be made in it", "remove it")
    elif not recipe["recipe_availability_domain"]:
        findings.fault(
            "compute_cluster_domain",
            "recipe_availability_domain",
            "not given, and a compute cluster lies in one availability domain",
            "that domain",
            "give the availability domain of the compute cluster",
        )
    elif found_cluster:
        given, lies_in = recipe["recipe_availability_domain"], found_cluster["availability_domain"]
        if given not in (lies_in, short_domain(lies_in)):
            found = f"{given}, and the compute cluster {found_cluster['name']} lies in {lies_in}"
            way_out = "give that domain, or another compute cluster"
            findings.fault("compute_cluster_domain", "recipe_availability_domain", found, lies_in, way_out)
    if found_cluster and found_cluster["lifecycle_state"] != "ACTIVE":
        found = f"{found_cluster['name']} is {found_cluster['lifecycle_state']}"
        findings.fault("compute_cluster", place, found, "ACTIVE", "give the OCID of another one")
