#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: oci_node_replacement
short_description: Another node in the place of one of a deployment's node pool
version_added: 0.1.0
description:
  - Deletes one node of a deployment's node pool by its OCID, so that the pool makes another. The pool keeps its size.
  - Only a node of the pool with the deployment's tags is touched; see M(multinode.inference.oci_node_pool).
  - Does not drain the node and does not wait. A node that is being deleted, or is gone, is left alone, so that running it
    again replaces nothing twice.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  node_id:
    description:
      - OCID of the compute instance, the C(id) of a node of M(multinode.inference.oci_node_pool_info).
    type: str
    required: true
  deployment:
    description:
      - Name of the deployment, the value of the tag and the name of the pool.
    type: str
    required: true
  cluster_id:
    description:
      - OCID of the OKE cluster.
    type: str
    required: true
  compartment_id:
    description:
      - OCID of the node pool's compartment. Without it the cluster's.
    type: str
attributes:
  check_mode:
    description: Says whether the node would be replaced.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: A second run changes nothing, since the node of that OCID has left.
    support: full
extends_documentation_fragment:
  - multinode.inference.oci_authentication
seealso:
  - module: multinode.inference.oci_node_pool
  - module: multinode.inference.oci_node_pool_info
"""

EXAMPLES = r"""
- name: Replace a node that never joined
  multinode.inference.oci_node_replacement:
    cluster_id: "{{ cluster_id }}"
    deployment: llama
    node_id: "{{ node_id }}"
"""

RETURN = r"""
node:
  description: The node as it was found, in snake case and without empty fields. Empty when it has left or is leaving.
  returned: success
  type: dict
  sample: {"id": "ocid1.instance.oc1.iad.aaaa", "lifecycle_state": "ACTIVE"}
work_request_id:
  description: OCID of the work request, empty when there was nothing to do.
  returned: success
  type: str
  sample: ocid1.clustersworkrequest.oc1.iad.aaaa
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

from ansible_collections.multinode.inference.plugins.module_utils.oci.cluster import compartment_of_cluster
from ansible_collections.multinode.inference.plugins.module_utils.oci.module import (
    connect,
    sign_in_argument_spec,
)
from ansible_collections.multinode.inference.plugins.module_utils.oci.node_pools import NodePools
from ansible_collections.multinode.inference.plugins.module_utils.outcome import run


def body(module: AnsibleModule) -> dict[str, Any]:
    """Replace the node and return the module's result."""
    cluster_id, deployment, node_id = (module.params[name] for name in ("cluster_id", "deployment", "node_id"))
    connection = connect(module, cluster_id)
    compartment_id = module.params["compartment_id"] or compartment_of_cluster(connection, cluster_id)
    pools = NodePools(connection, cluster_id, compartment_id)
    pool = pools.find(deployment, deployment)
    node = pools.living_node(pool["id"], node_id) if pool else None
    if pool is None or node is None:
        return {"changed": False, "node": {}, "work_request_id": ""}
    if module.check_mode:
        return {"changed": True, "node": node, "work_request_id": ""}
    work_request_id = pools.replace_node(pool["id"], node_id)
    return {"changed": bool(work_request_id), "node": node, "work_request_id": work_request_id}


def argument_spec() -> dict[str, dict[str, Any]]:
    """The module's options."""
    return {
        **sign_in_argument_spec(),
        "node_id": {"type": "str", "required": True},
        "deployment": {"type": "str", "required": True},
        "cluster_id": {"type": "str", "required": True},
        "compartment_id": {"type": "str"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    run(module, body)


if __name__ == "__main__":
    main()
