#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: oci_node_pool_info
short_description: Node pools of deployments, with their nodes and what went wrong
version_added: 0.1.0
description:
  - Lists the node pools of an OKE cluster that carry the tags of M(multinode.inference.oci_node_pool).
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
  other_compartments:
    description:
      - OCIDs of compartments that are looked in as well, and with them that of the cluster. One that cannot be read is no failure.
    type: list
    elements: str
    default: []
  deployment:
    description:
      - Only the pools of this deployment. Without it those of all deployments of the cluster.
    type: str
  work_requests:
    description:
      - Read the newest work request of each pool too.
    type: bool
    default: true
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
- name: See how the nodes of a deployment come up
  multinode.inference.oci_node_pool_info:
    cluster_id: "{{ cluster_id }}"
    deployment: llama
  register: found
"""

RETURN = r"""
node_pools:
  description: Node pools that are not gone, as the OCI API has them, in snake case and without empty fields.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: OCID of the pool.
      returned: always
      type: str
      sample: ocid1.nodepool.oc1.iad.aaaa
    deployment:
      description: Name of the deployment, from the tag.
      returned: always
      type: str
      sample: llama
    lifecycle_state:
      description: State of the pool.
      returned: always
      type: str
      sample: ACTIVE
    nodes:
      description: Its nodes. C(id) is the OCID of the compute instance, C(private_ip) the name in Kubernetes, C(node_error)
        what the launch failed with, and C(fault) the same as a fault, null where there is none.
      returned: always
      type: list
      elements: dict
      sample: []
    work_request:
      description: The newest work request about the pool, with C(errors) when it failed. Empty when there is none.
      returned: when O(work_requests=true)
      type: dict
      sample: {"operation_type": "NODEPOOL_CREATE", "status": "SUCCEEDED", "errors": []}
    faults:
      description: Why the pool has not the nodes it should have. Empty while they are being made without an error.
      returned: always
      type: list
      elements: dict
      sample: []
unseen:
  description: The other compartments that could not be looked in, as faults.
  returned: always
  type: list
  elements: dict
  sample: []
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

from ansible_collections.multinode.inference.plugins.module_utils.core.health.launch_errors import (
    node_fault,
    pool_faults,
)
from ansible_collections.multinode.inference.plugins.module_utils.oci.compartments import places, pools_in
from ansible_collections.multinode.inference.plugins.module_utils.oci.module import (
    connect,
    sign_in_argument_spec,
)
from ansible_collections.multinode.inference.plugins.module_utils.outcome import run


def body(module: AnsibleModule) -> dict[str, Any]:
    """Read the pools and return the module's result."""
    cluster_id = module.params["cluster_id"]
    connection = connect(module, cluster_id)
    given = module.params
    compartments, unknown = places(connection, cluster_id, given["compartment_id"] or "", given["other_compartments"])
    found, unseen = pools_in(connection, cluster_id, compartments, given["deployment"] or "", given["work_requests"])
    for pool in found:
        for node in pool["nodes"]:
            fault = node_fault(node)
            node["fault"] = fault.as_dict() if fault else None
        pool["faults"] = [fault.as_dict() for fault in pool_faults(pool, pool.get("work_request", {}))]
    return {"changed": False, "node_pools": found, "unseen": [fault.as_dict() for fault in [*unknown, *unseen]]}


def argument_spec() -> dict[str, dict[str, Any]]:
    """The module's options."""
    return {
        **sign_in_argument_spec(),
        "cluster_id": {"type": "str", "required": True},
        "compartment_id": {"type": "str"},
        "other_compartments": {"type": "list", "elements": "str", "default": []},
        "deployment": {"type": "str"},
        "work_requests": {"type": "bool", "default": True},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    run(module, body)


if __name__ == "__main__":
    main()
