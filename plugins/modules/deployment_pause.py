#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_pause
short_description: Take the nodes of a deployment away and leave the rest
version_added: 0.1.0
description:
  - Suspends the RayCluster, so that its pods drain and end, then scales the deployment's node pool to zero and waits for it.
  - Everything else stays, such as the endpoint with its address, the keys, and model files on a file system or in a bucket.
    The deploy playbook resumes the deployment.
  - A pause that was killed is finished by the next one.
  - The cluster and the node pool are those of the platform settings, which it takes from the result of
    M(multinode.inference.recipe_info), registered as C(recipe_result).
author:
  - multinode.inference contributors (@multinode-inference)
options:
  name:
    description: DNS name of the deployment.
    type: str
    required: true
attributes:
  check_mode:
    description: Says whether something would change.
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
- name: Read which deployment is meant
  multinode.inference.recipe_info:
    scope: removal
  register: recipe_result

- name: Pause it
  multinode.inference.deployment_pause:
    name: "{{ recipe_result.name }}"
"""

RETURN = r"""
name:
  description: DNS name of the deployment.
  returned: success
  type: str
  sample: llama
namespace:
  description: Namespace of its objects.
  returned: success
  type: str
  sample: llama
paused:
  description: Since when it is paused (C(since), UTC), and who paused it (C(by)).
  returned: success
  type: dict
  sample: {since: "2026-01-01T20:00:00.000Z", by: alice@controller}
kept:
  description: What stays meanwhile (C(what)), with its US dollars an hour (C(usd_per_hour)) where they are known.
  returned: success
  type: list
  elements: dict
  sample: [{what: "load balancer, with its address", usd_per_hour: 0.0113}]
node_pool:
  description: The node pool after that. Empty where there is none.
  returned: success
  type: dict
  sample: {}
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
