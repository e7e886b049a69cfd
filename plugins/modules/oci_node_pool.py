#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: oci_node_pool
short_description: Node pool of one deployment in an OKE cluster
version_added: 0.1.0
description:
  - Makes, changes or deletes the one node pool of a deployment.
  - The pool is found again by its freeform tags C(multinode-inference-deployment) and C(multinode-inference-cluster),
    which this module sets. Node pool names are not unique, so a name alone decides nothing. Two pools with the tags are
    refused with both OCIDs; a pool of the name without the tags belongs to somebody else and is never changed.
  - Does not wait unless O(wait=true). A run that was killed is finished by the next one; nothing is made twice.
  - Compares and changes only the fields that O(definition) gives.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  name:
    description:
      - Name of the node pool. Without it the C(name) of O(definition).
    type: str
  deployment:
    description:
      - Name of the deployment, the value of the tag. Without it the pool's name.
    type: str
  cluster_id:
    description:
      - OCID of the OKE cluster. Without it the C(cluster_id) of O(definition).
    type: str
  compartment_id:
    description:
      - OCID of the compartment. Without it the C(compartment_id) of O(definition), else the cluster's compartment.
    type: str
  definition:
    description:
      - The node pool, with the fields of the OCI API (C(CreateNodePoolDetails)) in snake case.
      - Needed for O(state=present).
    type: dict
  deployment_name:
    description:
      - Name of the deployment as it was written; several of them have one DNS name.
      - With it, O(state=absent) deletes no pool whose tag C(multinode-inference-name) says another name.
    type: str
  name_tag_required:
    description:
      - Also refuse to delete a pool without that tag. Use it when nothing else proves whose pool it is.
    type: bool
    default: false
  node_pool_id:
    description:
      - OCID of the pool as the deployment's RayCluster has it, for O(state=absent). It is found in whatever compartment it lies,
        and deleted where it has the tags.
    type: str
  search_tenancy:
    description:
      - Whether O(state=absent) looks into all compartments of the tenancy that the sign-in may see, where it finds no pool in
        O(compartment_id) and by O(node_pool_id). What it could not check is in RV(unseen).
    type: bool
    default: false
  expected:
    description:
      - Whether the deployment is known to have had a pool. With it, O(state=absent) says in RV(left) that none was found.
    type: bool
    default: false
  state:
    description:
      - V(present) makes the pool, or changes it where it differs.
      - V(absent) deletes it with its nodes, without draining them.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description:
      - Wait until the pool is ACTIVE, or gone. A pool being ACTIVE does not mean that its nodes are ready in Kubernetes.
    type: bool
    default: false
  wait_timeout:
    description:
      - Longest wait, in seconds. Bare metal takes half an hour.
    type: int
    default: 3600
attributes:
  check_mode:
    description: Says what would change and changes nothing.
    support: full
  diff_mode:
    description: Shows the fields that differ; cloud-init documents as their SHA-256.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
extends_documentation_fragment:
  - multinode.inference.oci_authentication
seealso:
  - module: multinode.inference.oci_node_pool_info
  - module: multinode.inference.oke_cluster_info
"""

EXAMPLES = r"""
- name: Two nodes with a GPU each
  multinode.inference.oci_node_pool:
    name: llama
    cluster_id: "{{ cluster_id }}"
    definition:
      node_shape: VM.GPU.A10.1
      kubernetes_version: v1.34.1
      node_source_details:
        source_type: IMAGE
        image_id: "{{ image_id }}"
        boot_volume_size_in_gbs: 200
      node_config_details:
        size: 2
        placement_configs:
          - availability_domain: "{{ availability_domain }}"
            subnet_id: "{{ subnet_id }}"

- name: Delete it and wait until it is gone
  multinode.inference.oci_node_pool:
    name: llama
    cluster_id: "{{ cluster_id }}"
    state: absent
    wait: true
"""

RETURN = r"""
node_pool:
  description:
    - The node pool as the OCI API has it, in snake case and without empty fields. Empty when there is none.
    - C(id) is missing in check mode and while OCI does not show a new pool yet.
  returned: success
  type: dict
  contains:
    id:
      description: OCID of the pool.
      returned: when it exists
      type: str
      sample: ocid1.nodepool.oc1.iad.aaaa
    name:
      description: Its name.
      returned: always
      type: str
      sample: llama
    lifecycle_state:
      description: CREATING, ACTIVE, UPDATING, NEEDS_ATTENTION, DELETING, DELETED, FAILED or INACTIVE.
      returned: when it exists
      type: str
      sample: CREATING
    nodes:
      description: Its nodes; C(id) is the OCID of the compute instance, C(node_error) what its launch failed with.
      returned: when it exists
      type: list
      elements: dict
      sample: []
work_request_id:
  description: OCID of the work request of this change, empty when there was none.
  returned: success
  type: str
  sample: ocid1.clustersworkrequest.oc1.iad.aaaa
changes:
  description: Fields that differ, each with what a change of it means.
  returned: success
  type: list
  elements: dict
  contains:
    field:
      description: Path of the field.
      returned: always
      type: str
      sample: node_config_details.size
    before:
      description: What it is.
      returned: always
      type: raw
      sample: 2
    after:
      description: What it is to be.
      returned: always
      type: raw
      sample: 3
    effect:
      description: V(live), or V(new_nodes) when nodes that exist keep the old value.
      returned: always
      type: str
      sample: live
compartment_id:
  description: OCID of the compartment that the pool lies in, where O(state=absent) deletes one.
  returned: when there is one to delete
  type: str
  sample: ocid1.compartment.oc1..aaaa
left:
  description: Faults of what should be there to be deleted and was not found.
  returned: success
  type: list
  elements: dict
  sample: []
unseen:
  description: What could not be checked, as faults.
  returned: success
  type: list
  elements: dict
  sample: []
adopted:
  description: Whether the pool was found although the answer to its creation was lost, or a killed run had asked for it.
  returned: success
  type: bool
  sample: false
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
  description: What was found wrong, each with C(code), C(where), C(found), C(expected), C(remedy) and, from the cloud,
    C(service), C(status), C(request_id) and C(work_request).
  returned: failure
  type: list
  elements: dict
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.oci.cluster import compartment_of_cluster
from ansible_collections.multinode.inference.plugins.module_utils.oci.compartments import find_elsewhere
from ansible_collections.multinode.inference.plugins.module_utils.oci.module import (
    connect,
    sign_in_argument_spec,
)
from ansible_collections.multinode.inference.plugins.module_utils.oci.node_pool import (
    completed,
    created_text,
    diff_text,
    differences,
    pool_not_found,
    readable,
    refuse_new_pool,
    refuse_other_owner,
    update_of,
)
from ansible_collections.multinode.inference.plugins.module_utils.oci.node_pools import NodePools
from ansible_collections.multinode.inference.plugins.module_utils.oci.waiting import Wait
from ansible_collections.multinode.inference.plugins.module_utils.outcome import fail, run

# How long a change waits for one that is under way, where nothing else is waited for; and where nodes come or go, of which bare metal
# takes the longest: a deployment may be resumed while its former nodes still end.
BUSY_SECONDS = 300.0
NODES_SECONDS = 1800.0


class OciNodePool:
    """Brings one node pool from what it is to what it should be."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        definition = module.params["definition"] or {}
        self.name = self._one_of("name", definition)
        self.cluster_id = self._one_of("cluster_id", definition)
        self.deployment = module.params["deployment"] or self.name
        connection = connect(module, self.cluster_id)
        compartment_id = self._one_of("compartment_id", definition, required=False) or compartment_of_cluster(
            connection, self.cluster_id
        )
        identity = {"name": self.name, "cluster_id": self.cluster_id, "compartment_id": compartment_id}
        self.definition = completed({**definition, **identity}, self.deployment)
        self.pools = NodePools(connection, self.cluster_id, compartment_id)
        self.wait = Wait(module.params["wait_timeout"]) if module.params["wait"] else None
        self.result: dict[str, Any] = {
            "changed": False,
            "node_pool": {},
            "work_request_id": "",
            "changes": [],
            "adopted": False,
            "left": [],
            "unseen": [],
        }

    def _one_of(self, key: str, definition: dict[str, Any], required: bool = True) -> str:
        """The value of an option that the definition may give instead; both must agree."""
        option, field = self.module.params[key] or "", definition.get(key) or ""
        if option and field and option != field:
            self.module.fail_json(msg=f"{key}: {option}, but definition.{key} is {field}; give one of them")
        if required and not option and not field:
            self.module.fail_json(msg=f"{key} is missing: give it, or definition.{key}")
        return option or field

    def present(self) -> None:
        """Make the pool, or change what differs."""
        pool = self.pools.find(self.name, self.deployment)
        if pool is None:
            pool = self.pools.find_unlisted(self.name, self.deployment)
            self.result["adopted"] = pool is not None
        if pool is None:
            self._create()
        else:
            self._update(pool)

    def _create(self) -> None:
        self.result["changed"] = self.module.check_mode
        self.result["diff"] = {"prepared": created_text(self.definition)}
        if self.module.check_mode:
            self.result["node_pool"] = readable(self.definition)
            return
        node_pool_id, work_request_id = self.pools.create(self.definition, self.name, self.deployment)
        self.result.update(changed=True, work_request_id=work_request_id, adopted=not work_request_id)
        # OCI shows a new pool after a moment: until then it is what was asked for.
        asked = {"name": self.name, "compartment_id": self.pools.compartment_id, "lifecycle_state": "CREATING"}
        self._finish(node_pool_id, work_request_id, {**asked, "nodes": []})

    def _update(self, pool: dict[str, Any]) -> None:
        changes = differences(self.definition, pool)
        self.result["node_pool"] = pool
        self.result["changes"] = [change.as_dict() for change in changes]
        refuse_new_pool(self.name, changes)
        if not changes:
            if self.wait and not self.module.check_mode:
                self._finish(pool["id"], "", pool)
            return
        self.result["changed"] = self.module.check_mode
        self.result["diff"] = {"prepared": diff_text(self.name, changes)}
        for change in changes:
            if change.effect == "new_nodes":
                self.module.warn(f"node pool {self.name}: {change.field} changes for nodes made from now on only")
        if self.module.check_mode:
            return
        if self.wait and pool["lifecycle_state"] in ("CREATING", "UPDATING"):
            self.pools.wait_until_active(pool["id"], "", self.wait)
        busy = NODES_SECONDS if pool["lifecycle_state"] in ("CREATING", "UPDATING") else BUSY_SECONDS
        work_request_id = self.pools.update(
            pool["id"], update_of(self.definition, pool, changes), self.wait or Wait(busy)
        )
        self.result.update(changed=True, work_request_id=work_request_id)
        self._finish(pool["id"], work_request_id, pool)

    def _finish(self, node_pool_id: str, work_request_id: str, otherwise: dict[str, Any]) -> None:
        """Put the pool as it is now into the result, waited for where asked."""
        if node_pool_id and self.wait:
            self.result["node_pool"] = self.pools.wait_until_active(node_pool_id, work_request_id, self.wait)
        else:
            now = self.pools.read(node_pool_id) if node_pool_id else None
            self.result["node_pool"] = now or ({**otherwise, "id": node_pool_id} if node_pool_id else otherwise)

    def absent(self) -> None:
        """Delete the pool, or see that it is gone."""
        params = self.module.params
        # A run killed just now may have asked for a pool that is not listed yet.
        pool = self.pools.find(self.name, self.deployment) or self.pools.find_unlisted(self.name, self.deployment)
        if pool is None:
            pool, going, unseen = find_elsewhere(
                self.pools, self.name, self.deployment, params["node_pool_id"], params["search_tenancy"]
            )
            self.result["unseen"] = [fault.as_dict() for fault in unseen]
        if pool is None:
            if params["expected"] and not (params["node_pool_id"] or going):
                self.result["left"] = [pool_not_found(self.name, self.pools.compartment_id).as_dict()]
            if self.wait and not self.module.check_mode:
                # Of deletions that an earlier run asked for.
                for one in going:
                    self.pools.wait_until_deleted(one["id"], "", self.wait)
            return
        compartment_id = pool.get("compartment_id", self.pools.compartment_id)
        self.result["compartment_id"] = compartment_id
        self.pools = NodePools(self.pools.connection, self.cluster_id, compartment_id)
        if written := self.module.params["deployment_name"]:
            refuse_other_owner(pool, written, self.module.params["name_tag_required"])
        self.result["changed"] = self.module.check_mode
        self.result["diff"] = {"prepared": f"node pool {self.name} ({pool['id']}): deleted\n"}
        if self.module.check_mode:
            return
        work_request_id = self.pools.delete(pool["id"], self.wait)
        self.result.update(changed=True, work_request_id=work_request_id)
        if self.wait:
            self.pools.wait_until_deleted(pool["id"], work_request_id, self.wait)


def body(module: AnsibleModule) -> dict[str, Any]:
    """Do what the options ask for and return the module's result."""
    node_pool = OciNodePool(module)
    try:
        if module.params["state"] == "present":
            node_pool.present()
        else:
            node_pool.absent()
    except Refused as refused:
        fail(module, refused, **node_pool.result)
    return node_pool.result


def argument_spec() -> dict[str, dict[str, Any]]:
    """The module's options."""
    return {
        **sign_in_argument_spec(),
        "name": {"type": "str"},
        "deployment": {"type": "str"},
        "cluster_id": {"type": "str"},
        "compartment_id": {"type": "str"},
        "definition": {"type": "dict"},
        "deployment_name": {"type": "str"},
        "name_tag_required": {"type": "bool", "default": False},
        "node_pool_id": {"type": "str"},
        "expected": {"type": "bool", "default": False},
        "search_tenancy": {"type": "bool", "default": False},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "wait": {"type": "bool", "default": False},
        "wait_timeout": {"type": "int", "default": 3600},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ["definition"])],
        supports_check_mode=True,
    )
    run(module, body)


if __name__ == "__main__":
    main()
