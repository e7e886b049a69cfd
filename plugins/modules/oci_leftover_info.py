#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: oci_leftover_info
short_description: Find what Oracle Cloud still has of a deployment
version_added: 0.1.0
description:
  - Lists the node pools and instances that carry a deployment's tags, the block volumes and load balancers that it had.
  - What is being terminated counts as gone.
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
      - OCID of the compartment of nodes, volumes and load balancers. Without it the cluster's compartment.
    type: str
  other_compartments:
    description:
      - OCIDs of compartments that are looked in as well, and with them that of the cluster.
    type: list
    elements: str
    default: []
  deployment:
    description:
      - Name of the deployment, the value of its tag.
    type: str
    required: true
  volumes:
    description:
      - OCIDs of its block volumes.
    type: list
    elements: str
    default: []
  load_balancers:
    description:
      - Display names of its load balancers.
    type: list
    elements: str
    default: []
  wait_timeout:
    description:
      - How long to wait until nothing is left, in seconds.
    type: int
    default: 0
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
- name: Is anything left of it?
  multinode.inference.oci_leftover_info:
    cluster_id: "{{ cluster_id }}"
    deployment: llama
  register: rest
"""

RETURN = r"""
remainder:
  description: What is left.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: One of V(node_pool), V(instance), V(volume) and V(load_balancer).
      returned: always
      type: str
      sample: instance
    id:
      description: Its OCID.
      returned: always
      type: str
      sample: ocid1.instance.oc1.iad.aaaa
    name:
      description: Its display name.
      returned: always
      type: str
      sample: oke-llama-0
    state:
      description: Its lifecycle state.
      returned: always
      type: str
      sample: RUNNING
left:
  description: The same as faults, each with C(code), C(where), C(found), C(expected) and C(remedy).
  returned: success
  type: list
  elements: dict
  sample: []
unseen:
  description: What could not be checked, as faults; mostly a right that is missing.
  returned: success
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
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.multinode.inference.plugins.module_utils.oci.compartments import places
from ansible_collections.multinode.inference.plugins.module_utils.oci.leftovers import Remainder, fault_of
from ansible_collections.multinode.inference.plugins.module_utils.oci.module import (
    connect,
    sign_in_argument_spec,
)
from ansible_collections.multinode.inference.plugins.module_utils.oci.waiting import Wait
from ansible_collections.multinode.inference.plugins.module_utils.outcome import run


def body(module: AnsibleModule) -> dict[str, Any]:
    """Look, and return the module's result."""
    given = module.params
    connection = connect(module, given["cluster_id"])
    compartments, unknown = places(
        connection, given["cluster_id"], given["compartment_id"] or "", given["other_compartments"]
    )
    remainder = Remainder(
        connection,
        given["cluster_id"],
        compartments,
        given["deployment"],
        given["volumes"],
        given["load_balancers"],
    )
    left, unseen = remainder.wait(Wait(given["wait_timeout"], first=2.0, longest=15.0))
    return {
        "changed": False,
        "remainder": left,
        "left": [fault_of(item).as_dict() for item in left],
        "unseen": [fault.as_dict() for fault in [*unknown, *unseen]],
    }


def argument_spec() -> dict[str, dict[str, Any]]:
    """The module's options."""
    return {
        **sign_in_argument_spec(),
        "cluster_id": {"type": "str", "required": True},
        "compartment_id": {"type": "str"},
        "other_compartments": {"type": "list", "elements": "str", "default": []},
        "deployment": {"type": "str", "required": True},
        "volumes": {"type": "list", "elements": "str", "default": []},
        "load_balancers": {"type": "list", "elements": "str", "default": []},
        "wait_timeout": {"type": "int", "default": 0},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    run(module, body)


if __name__ == "__main__":
    main()
