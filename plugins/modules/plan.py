#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Read what a plan needs and make it
version_added: 0.1.0
description:
  - Reads the existing deployment, the Kubernetes cluster, the OKE cluster and the model's files side by side, as
    M(multinode.inference.deployment_info), M(multinode.inference.kubernetes_info), M(multinode.inference.oke_cluster_info)
    and M(multinode.inference.model_info) do, and makes the plan.
  - Needs the result of M(multinode.inference.recipe_info), registered as C(recipe_result).
  - Keeps the model's facts in the file that the setting C(model_facts_file) names.
  - Fails with every fault that forbids it. Nothing is made in the cloud or in the cluster.
author:
  - multinode.inference contributors (@multinode-inference)
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
- name: Read the recipe and the platform settings
  multinode.inference.recipe_info:
    scope: plan
  register: recipe_result

- name: Make the plan
  multinode.inference.plan:
  register: preflight_result
"""

RETURN = r"""
plan:
  description: The plan. It holds no secret.
  returned: success
  type: dict
  sample: {schema: 1}
lease:
  description: Version of the deployment's Lease as it was before anything was read, empty where there is none.
  returned: success
  type: str
  sample: "4711"
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
