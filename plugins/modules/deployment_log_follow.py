#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_log_follow
short_description: Follow the log of a deployment's pod, or of the operator
version_added: 0.1.0
description:
  - Prints the last lines of a log and then each new one as it comes, for a number of minutes.
  - Continues with the pod that replaces one that is gone, and with the container's next run.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  name:
    description: DNS name of the deployment.
    type: str
    required: true
  component:
    description: Whose log is followed.
    type: str
    choices: [head, worker, operator]
    default: head
  worker:
    description: Which worker, from 1.
    type: int
    default: 1
  lines:
    description: How many lines are read at first, from the end, and are in the result.
    type: int
    default: 200
  raw:
    description: Print lines as they are in the log, not progress lines as time, phase, how far and cause.
    type: bool
    default: false
  minutes:
    description: How long the log is followed.
    type: int
    default: 10
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
    description: Runs as an action plugin on the controller, which prints while it runs.
    support: full
"""

EXAMPLES = r"""
- name: Follow what the head says for half an hour
  multinode.inference.deployment_log_follow:
    name: llama
    minutes: 30
"""

RETURN = r"""
source:
  description: Namespace, pod and container of the log.
  returned: success
  type: str
  sample: llama/llama-head-x7k2p/ray-head
lines:
  description: The last lines.
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
