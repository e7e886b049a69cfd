#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: oke_cluster_info
short_description: What a deployment needs to know of an OKE cluster
version_added: 0.1.0
description:
  - Reads an OKE cluster by its OCID, its node pools, and what the account offers beside it.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  cluster_id:
    description:
      - OCID of the cluster. It names the region too.
    type: str
    required: true
  compartment_id:
    description:
      - OCID of the compartment of the node pools. Without it the cluster's compartment.
    type: str
  node_shape:
    description:
      - With it RV(cluster.node_images) and RV(cluster.shapes) are read, else they are empty.
    type: str
  file_systems:
    description:
      - File systems to look up where they can be mounted, each with C(file_system_ocid) and C(mount_target_ocid). One that
        has C(mount_target_ip) and C(export_path), too, is not looked up.
    type: list
    elements: dict
    default: []
  deployment:
    description:
      - DNS name of the deployment whose nodes are meant. With it and O(node_shape), RV(cluster.room) is read where nodes
        are still to be made.
    type: str
  nodes:
    description: How many nodes the deployment is to have. Without it, some are taken to be missing.
    type: int
  room:
    description:
      - What is asked. V(limits) are the service limits of GPUs, V(volumes) and V(load_balancer) those of block volumes and
        load balancers, V(capacity) is whether hosts are free, V(addresses) how many a subnet has left.
    type: list
    elements: str
    choices: [limits, volumes, capacity, addresses, load_balancer]
    default: []
  compute_cluster_id:
    description:
      - OCID of the compute cluster that the nodes are to be made in. It is read where nodes are still to be made.
    type: str
  pod_subnet_ids:
    description: OCIDs of subnets whose addresses count, beside those of the cluster's node pools.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: Changes nothing in any mode.
    support: full
extends_documentation_fragment:
  - multinode.inference.oci_authentication
seealso:
  - module: multinode.inference.oci_node_pool
"""

EXAMPLES = r"""
- name: Read the cluster
  multinode.inference.oke_cluster_info:
    cluster_id: "{{ cluster_id }}"
    node_shape: VM.GPU.A10.1
  register: found
"""

RETURN = r"""
cluster:
  description: The cluster as plain data.
  returned: success
  type: dict
  contains:
    id:
      description: OCID of the cluster.
      returned: always
      type: str
      sample: ocid1.cluster.oc1.iad.aaaa
    name:
      description: Its name.
      returned: always
      type: str
      sample: inference
    region:
      description: Region that was asked.
      returned: always
      type: str
      sample: us-ashburn-1
    compartment_id:
      description: OCID of its compartment.
      returned: always
      type: str
      sample: ocid1.compartment.oc1..aaaa
    kubernetes_version:
      description: Kubernetes version of the control plane.
      returned: always
      type: str
      sample: v1.34.1
    type:
      description: BASIC_CLUSTER or ENHANCED_CLUSTER.
      returned: always
      type: str
      sample: ENHANCED_CLUSTER
    lifecycle_state:
      description: State of the cluster.
      returned: always
      type: str
      sample: ACTIVE
    vcn_id:
      description: OCID of its network.
      returned: always
      type: str
      sample: ocid1.vcn.oc1.iad.aaaa
    cni_type:
      description: FLANNEL_OVERLAY or OCI_VCN_IP_NATIVE.
      returned: always
      type: str
      sample: FLANNEL_OVERLAY
    endpoints:
      description: Addresses of the Kubernetes API, host and port without scheme.
      returned: always
      type: dict
      sample: {"public_endpoint": "192.0.2.10:6443"}
    endpoint_config:
      description: Subnet and kind of the endpoint.
      returned: always
      type: dict
      sample: {"is_public_ip_enabled": true}
    node_pools:
      description: Node pools that are not gone, with C(size), C(placements), C(nsg_ids) and C(pod_network).
      returned: always
      type: list
      elements: dict
      sample: []
    availability_domains:
      description: Name and OCID of each.
      returned: always
      type: list
      elements: dict
      sample: [{"name": "Uocm:IAD-AD-1", "id": "ocid1.availabilitydomain.oc1..aaaa"}]
    node_images:
      description: Node images that OKE has for the cluster.
      returned: always
      type: list
      elements: dict
      sample: [{"image_id": "ocid1.image.oc1.iad.aaaa", "name": "Oracle-Linux-8.10-Gen2-GPU-2026.08.14-0-OKE-1.34.1-1699"}]
    shapes:
      description: The shape as the compute service offers it, by name of the availability domain. One without an entry
        does not offer it.
      returned: always
      type: dict
      sample: {"Uocm:IAD-AD-1": {"shape": "VM.GPU.A10.1", "gpus": 1}}
    exports:
      description: Address and export path of each of O(file_systems) that was looked up, empty where there is none,
        and C(gbps), the mount target's throughput in Gbit/s.
      returned: always
      type: list
      elements: dict
      sample: [{"file_system_ocid": "ocid1.filesystem.oc1.iad.aaaa", "mount_target_ocid": "ocid1.mounttarget.oc1.iad.aaaa",
        "ip": "10.0.1.7", "export_path": "/models", "gbps": 1}]
    compute_cluster:
      description: Name, availability domain and state of O(compute_cluster_id); empty where it was not read.
      returned: always
      type: dict
      sample: {"name": "rdma", "availability_domain": "Uocm:IAD-AD-1", "lifecycle_state": ACTIVE}
    room:
      description:
        - What the account has left of each thing that was asked for, empty where no node is to be made. C(limits),
          C(volumes) and C(capacity) are by name of the availability domain, C(addresses) by OCID of the subnet. What
          could not be found out is C(unknown), with the reason.
      returned: always
      type: dict
      sample: {"capacity": {"Uocm:IAD-AD-1": {"status": AVAILABLE, "count": 4}}}
started:
  description: When the work began, UTC.
  returned: success
  type: str
  sample: "2026-01-01T00:00:00.000Z"
ended:
  description: When the work ended, UTC.
  returned: success
  type: str
  sample: "2026-01-01T00:00:01.000Z"
faults:
  description: What was found wrong; see M(multinode.inference.oci_node_pool).
  returned: failure
  type: list
  elements: dict
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.multinode.inference.plugins.module_utils.oci.capacity import CHECKS
from ansible_collections.multinode.inference.plugins.module_utils.oci.cluster import Wanted, describe
from ansible_collections.multinode.inference.plugins.module_utils.oci.file_storage import read_exports
from ansible_collections.multinode.inference.plugins.module_utils.oci.module import (
    connect,
    sign_in_argument_spec,
)
from ansible_collections.multinode.inference.plugins.module_utils.outcome import run


def body(module: AnsibleModule) -> dict[str, Any]:
    """Read the cluster and return the module's result."""
    given = module.params
    connection = connect(module, given["cluster_id"])
    wanted = None
    if given["deployment"]:
        wanted = Wanted(
            given["deployment"],
            given["nodes"] or 0,
            tuple(given["room"]),
            tuple(given["pod_subnet_ids"]),
            given["compute_cluster_id"] or "",
        )
    cluster = describe(
        connection, given["cluster_id"], given["compartment_id"] or "", given["node_shape"] or "", wanted
    )
    cluster["exports"] = read_exports(connection, given["file_systems"])
    return {"changed": False, "cluster": cluster}


def argument_spec() -> dict[str, dict[str, Any]]:
    """The module's options."""
    return {
        **sign_in_argument_spec(),
        "cluster_id": {"type": "str", "required": True},
        "compartment_id": {"type": "str"},
        "node_shape": {"type": "str"},
        "file_systems": {"type": "list", "elements": "dict", "default": []},
        "deployment": {"type": "str"},
        "nodes": {"type": "int"},
        "room": {"type": "list", "elements": "str", "choices": list(CHECKS), "default": []},
        "compute_cluster_id": {"type": "str"},
        "pod_subnet_ids": {"type": "list", "elements": "str", "default": []},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    run(module, body)


if __name__ == "__main__":
    main()
