#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: bucket_access
short_description: Let the pods of a deployment read its bucket
version_added: 0.1.0
description:
  - Makes the pre-authenticated request through which the pods read the model's bucket, and the Secret that keeps its URL,
    with its namespace where there is none. Whether a request may be made shows by making it only, so this comes before
    nodes are asked for.
  - A request that serves is kept, one that is near its end renewed.
  - M(multinode.inference.deployment) revokes it when the deployment is removed, also where no more than this was made.
  - The cluster is that of the platform settings.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  plan:
    description: The plan, as M(multinode.inference.plan) returns it; its source is a bucket.
    type: dict
    required: true
attributes:
  check_mode:
    description: Says whether a request would be made, and makes none.
    support: full
  diff_mode:
    description: Has nothing to show that is not a secret.
    support: none
  idempotent:
    description: Running it again changes nothing.
    support: full
  action:
    description: Runs as an action plugin on the controller, where the extra variables are.
    support: full
seealso:
  - module: multinode.inference.oci_preauthenticated_request
"""

EXAMPLES = r"""
- name: Let the pods read the bucket
  multinode.inference.bucket_access:
    plan: "{{ made.plan }}"
"""

RETURN = r"""
objects:
  description: What was changed, each with C(object) and C(change).
  returned: always
  type: list
  elements: dict
  sample: [{object: Secret/llama-source, change: apply}]
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
