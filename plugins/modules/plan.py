#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Make the plan of a deployment
version_added: 0.1.0
description:
  - Makes the plan out of the recipe, which it reads from the extra variables, and what was found out.
  - Fails with every fault that forbids it. Nothing is made in the cloud or in the cluster.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  model:
    description:
      - The model's facts, as M(multinode.inference.model_info) returns them.
      - They are kept in the file that the setting C(model_facts_file) names. Without them, that file is read.
    type: dict
  cluster:
    description: The cluster, as M(multinode.inference.oke_cluster_info) returns it. Empty when no node pool is made.
    type: dict
    default: {}
  surroundings:
    description: What the cluster has, as M(multinode.inference.kubernetes_info) returns it. Empty without a cluster.
    type: dict
    default: {}
  deployments:
    description: What is there of the deployment, as M(multinode.inference.deployment_info) returns it.
    type: list
    elements: dict
    default: []
  secrets:
    description: The keys of the Secrets that the recipe names, as M(multinode.inference.deployment_info) returns them. Without
      it, nobody looked.
    type: dict
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: Running it again changes nothing.
    support: full
  action:
    description: Runs as an action plugin on the controller, where the extra variables are.
    support: full
"""

EXAMPLES = r"""
- name: Make the plan
  multinode.inference.plan:
    model: "{{ found_model.model }}"
    cluster: "{{ found_cluster.cluster }}"
    surroundings: "{{ found_surroundings.cluster }}"
    deployments: "{{ found_groups.deployments }}"
  register: made
"""

RETURN = r"""
plan:
  description: The plan. It holds no secret.
  returned: success
  type: dict
  sample: {schema: 1}
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
