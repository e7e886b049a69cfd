#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: api_keys
short_description: Add, rotate and remove the API keys of a deployment
version_added: 0.1.0
description:
  - Reads from the extra variables which deployment is meant and what is to be done (C(keys_action), C(key_name)).
  - A change needs no restart. It returns when the guard of the API has the change, which takes up to two minutes.
  - No key is in its result. With C(key_show) the one that was made is printed, once.
  - C(keys_action=rotate_ray_token) makes another token for Ray and deletes the pods of the group, which KubeRay makes again.
author:
  - multinode.inference contributors (@multinode-inference)
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Has nothing to show that is not a secret.
    support: none
  idempotent:
    description: A key is added or rotated each time.
    support: none
  action:
    description: Runs as an action plugin on the controller, where the extra variables are.
    support: full
"""

EXAMPLES = r"""
- name: Change the API keys
  multinode.inference.api_keys:
"""

RETURN = r"""
keys:
  description: The API keys by C(name), and until when (Unix epoch) the former value of a rotated one is valid.
  returned: success
  type: list
  elements: dict
  sample: [{name: default, former_until: null}]
in_force:
  description: Whether the guard has the change; false where the group does not serve and reads it at its start. Null
    where nothing was changed.
  returned: success
  type: bool
  sample: true
replaced:
  description: The pods that were deleted and are made again, with C(keys_action=rotate_ray_token).
  returned: success
  type: list
  elements: str
  sample: []
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
