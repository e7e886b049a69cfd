# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The settings of the node pool and its nodes."""

from __future__ import annotations

from .. import formats
from ..parameter import Parameter, of_no_pod

# Minutes that a node may take to join Kubernetes, counted from ACTIVE. Of bare metal up to 30 are reported.
JOIN_MINUTES, JOIN_MINUTES_BARE_METAL = 15, 45

NODES = (
    of_no_pod(
        "node_pool_availability_domains",
        "list",
        "Availability domains for the nodes, best first; a group is in one of them. Default: any that offers the shape. "
        "recipe_availability_domain wins.",
        format=formats.AVAILABILITY_DOMAIN,
    ),
    of_no_pod(
        "node_pool_fault_domains",
        "list",
        "Fault domains for the nodes, such as FAULT-DOMAIN-1; default: any.",
        format=formats.FAULT_DOMAIN,
    ),
    of_no_pod(
        "node_pool_capacity_reservation_id",
        "string",
        "OCID of a capacity reservation for the nodes; it belongs to one availability domain.",
        format=formats.CAPACITY_RESERVATION_OCID,
    ),
    Parameter(
        "node_pool_preemptible",
        "boolean",
        "Preemptible nodes, at half the price: Oracle may reclaim them at any time. Not for bare metal.",
        default=False,
    ),
    Parameter(
        "node_pool_taints",
        "list",
        "Taints of the nodes, key=value:NoSchedule and so on; the deployment's pods tolerate them.",
        format=formats.TAINT,
    ),
    of_no_pod(
        "node_pool_labels",
        "mapping",
        "Additional labels of the nodes.",
        format=formats.LABEL_VALUE,
        key_format=formats.LABEL_KEY,
    ),
    of_no_pod(
        "node_pool_tags",
        "mapping",
        "Additional freeform tags of the node pool and its instances.",
        format=formats.TAG_VALUE,
        key_format=formats.TAG_KEY,
    ),
    Parameter(
        "nvme_folder",
        "string",
        "Folder of the nodes where their local NVMe drives are mounted, as one file system, if the recipe uses a "
        "folder in it.",
        default="/mnt/nvme",
        format=formats.FOLDER,
    ),
    of_no_pod(
        "node_pods_vcpus",
        "integer",
        "vCPUs of each node reserved for system pods (network, storage, device plugin, monitoring).",
        default=1,
        minimum=0,
    ),
    of_no_pod(
        "node_pods_memory_gb",
        "integer",
        "Memory of each node reserved for system pods, in GiB.",
        default=1,
        minimum=0,
    ),
    Parameter(
        "compute_cluster_id",
        "string",
        "OCID of a compute cluster for the node pool, for RDMA. It belongs to one availability domain; a pool never changes it.",
        format=formats.COMPUTE_CLUSTER_OCID,
    ),
    Parameter(
        "rdma",
        "string",
        "How the nodes talk. none: over the pods' network. host_network: over the RDMA ports of the shape; the pods are "
        "privileged and in the nodes' network. Without it, host_network where compute_cluster_id is given, else none.",
        choices=("none", "host_network"),
    ),
    Parameter(
        "rdma_socket_interface",
        "string",
        "With rdma: host_network, the nodes' interface for what does not go over RDMA; images name it differently.",
        default="eth0",
        format=formats.INTERFACE,
    ),
    of_no_pod(
        "on_shortfall",
        "string",
        "When fewer nodes can be had than the group needs, and no other availability domain is left. keep: keep "
        "the nodes that came for shortfall_keep_minutes and ask again, then scale the node pool to zero. release: to zero at once. "
        "The same for nodes that are still launched when the wait ends: see docs/oci.md.",
        default="keep",
        choices=("keep", "release"),
    ),
    of_no_pod("shortfall_keep_minutes", "integer", "See on_shortfall.", default=30, minimum=1),
    of_no_pod(
        "node_repair_limit",
        "integer",
        "Nodes that one run of deploy replaces because they failed, did not join, or have no GPUs or too small a disk.",
        default=2,
        minimum=0,
    ),
    of_no_pod(
        "node_join_minutes",
        "integer",
        "How long a node that is ACTIVE may take to be Ready in Kubernetes before it is replaced; without it "
        f"{JOIN_MINUTES}, and {JOIN_MINUTES_BARE_METAL} for bare metal.",
        minimum=1,
    ),
    of_no_pod(
        "node_gpu_minutes",
        "integer",
        "Minutes that a Ready node may take to show its GPUs before it is replaced.",
        default=10,
        minimum=1,
    ),
)
