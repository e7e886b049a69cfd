#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: lease
short_description: Keep other runs off a deployment
version_added: 0.1.0
description:
  - Takes the Lease (coordination.k8s.io/v1) of a deployment, so that one run at a time changes it, or releases it.
  - Waits C(lease_wait_seconds) for another run that holds it, then fails and names the user, host, job and start of that run.
  - The Lease holds for 120 seconds. Every later task of the play that finds this task's result as C(lease_result) renews it
    while it runs, checks before each write that it is still held, and fails where it is not.
  - The Lease of a run that was killed is taken over after 120 seconds without a renewal, at once where that run was on this
    machine.
  - The cluster is that of the platform settings, which it takes from the result of M(multinode.inference.recipe_info),
    registered as C(recipe_result).
author:
  - multinode.inference contributors (@multinode-inference)
options:
  plan:
    description: The plan of the deployment, as M(multinode.inference.plan) returns it. Its namespace is made where it is missing.
    type: dict
  name:
    description: DNS name of the deployment, in place of O(plan). No Lease is made then where no RayCluster stands.
    type: str
  seen:
    description: What RV(multinode.inference.plan#module:lease) was when O(plan) was made.
    type: str
  playbook:
    description: Name of the playbook, for who waits for this run.
    type: str
  removal:
    description:
      - The run removes the deployment, its Lease included. It goes on without one where the API server does not answer, or
        the user may not read Leases.
    type: bool
    default: false
  state:
    description: V(present) takes the Lease. V(absent) releases the one that was taken.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Takes no Lease.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: Says of no run that it changed something.
    support: full
  action:
    description: Runs as an action plugin on the controller, where the extra variables are.
    support: full
"""

EXAMPLES = r"""
- name: Keep other runs off this deployment
  multinode.inference.lease:
    plan: "{{ preflight_result.plan }}"
    seen: "{{ preflight_result.lease }}"
  register: lease_result

- name: Let other runs begin
  multinode.inference.lease:
    state: absent
"""

RETURN = r"""
lease:
  description: Whose Lease was taken, and as whom. Empty in check mode, and where O(removal=true) goes on without one.
  returned: when O(state=present)
  type: dict
  sample: {name: llama, namespace: llama, identity: alice@controller/0123456789ab, removal: false}
plan_again:
  description: Whether another run may have changed the deployment since O(plan) was made.
  returned: when O(state=present)
  type: bool
  sample: false
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
