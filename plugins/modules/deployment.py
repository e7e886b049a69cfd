#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment
short_description: Make the Kubernetes objects of a deployment
version_added: 0.1.0
description:
  - Renders all objects of a plan and applies them through M(kubernetes.core.k8s), or removes them.
  - The API key and the Ray token are made once and kept. The source's secret is taken from the recipe.
  - The cluster is that of the platform settings.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  plan:
    description: The plan, as M(multinode.inference.plan) returns it. Needed for O(state=present).
    type: dict
  name:
    description: DNS name of the deployment. Needed for O(state=absent).
    type: str
  state:
    description: Whether the objects should exist.
    type: str
    choices: [present, absent]
    default: present
  raycluster_fields:
    description:
      - Fields of a RayCluster's specification that the cluster knows, as RV(multinode.inference.kuberay_info#module:kuberay)
        has them. Without them, all that this collection uses.
      - Where C(upgradeStrategy) is not among them, a RayCluster whose pods change is deleted and created again; where
        C(authOptions.secretName) is not, the Secret with Ray's token is named like the RayCluster.
    type: list
    elements: str
    default: []
  node_pool:
    description:
      - The deployment's node pool, as RV(multinode.inference.oci_node_pool#module:node_pool) has it. Its OCID and compartment
        are written on the RayCluster, so that it is found again whatever settings are given then.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Tells what would change; the API server is asked where it can tell.
    support: full
  diff_mode:
    description: Shows what changes, but for Secrets.
    support: full
  idempotent:
    description: Running it again changes nothing.
    support: full
  action:
    description: Runs as an action plugin on the controller, where the extra variables are.
    support: full
"""

EXAMPLES = r"""
- name: Apply the deployment's objects
  multinode.inference.deployment:
    plan: "{{ made.plan }}"
"""

RETURN = r"""
objects:
  description: What was changed, each with C(object) and C(change).
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{object: RayCluster/llama, change: apply}]
drift:
  description: What of the running pods is kept although a new deployment would differ, as faults.
  returned: when O(state=present)
  type: list
  elements: dict
  sample: []
removed:
  description: What was removed.
  returned: when O(state=absent)
  type: list
  elements: str
  sample: [RayCluster/llama]
kept:
  description: What was left, each with the reason.
  returned: when O(state=absent)
  type: list
  elements: str
  sample: []
left:
  description: Faults of what should have gone and did not; the rest is removed all the same.
  returned: when O(state=absent)
  type: list
  elements: dict
  sample: []
unseen:
  description: What could not be checked, as faults; a right that is missing.
  returned: when O(state=absent)
  type: list
  elements: dict
  sample: []
unreached:
  description:
    - Why nothing was checked or removed, as faults, where the API server does not answer. With C(oke_cluster_id) that is no
      failure, so that the node pool can be removed all the same.
  returned: when O(state=absent)
  type: list
  elements: dict
  sample: []
node_pool:
  description: OCID (C(id)) and C(compartment_id) of the node pool, as the RayCluster has them. Empty where it has none.
  returned: when O(state=absent)
  type: dict
  sample: {}
stood:
  description: Whether a RayCluster of the deployment was there.
  returned: when O(state=absent)
  type: bool
  sample: true
own_nodes:
  description: Whether a RayCluster was there that runs on a node pool of its own.
  returned: when O(state=absent)
  type: bool
  sample: true
nearest:
  description: Name of the deployment that is most like O(name), where nothing of that name was there. Empty without one.
  returned: when O(state=absent)
  type: str
  sample: llama
volumes:
  description: OCIDs of the block volumes that its claims had, without those that are kept.
  returned: when O(state=absent)
  type: list
  elements: str
  sample: [ocid1.volume.oc1.iad.aaaa]
load_balancers:
  description: Display names of the load balancers that its Services had.
  returned: when O(state=absent)
  type: list
  elements: str
  sample: [2b1c8c6e-1111-2222-3333-444455556666]
started:
  description: When the work began, UTC.
  returned: always
  type: str
  sample: "2026-01-01T00:00:00.000Z"
ended:
  description: When the work ended, UTC.
  returned: always
  type: str
  sample: "2026-01-01T00:00:01.000Z"
faults:
  description: What was found wrong, each with C(code), C(where), C(found), C(expected) and C(remedy).
  returned: failure
  type: list
  elements: dict
  sample: []
"""
