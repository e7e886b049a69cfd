#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Report how a playbook ended
version_added: 0.1.0
description:
  - Prints the end of a playbook for a person, and writes its result to the file that the setting C(result_file) names.
  - Writes the plan, or a benchmark, as a page of HTML to the file that the setting C(html_file) names.
  - Reads what the tasks before it registered under names that end in C(_result), and templates none of it.
  - Fails where the deployment is not as the playbook has to leave it, after the result was written.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  playbook:
    description: The playbook that ends.
    type: str
    choices: [deploy, plan, status, logs, keys, benchmark, undeploy, pause, resume]
    required: true
  part:
    description:
      - What to report. V(end) is how the playbook ended.
      - V(plan) is a summary of the plan, before anything is created.
    type: str
    choices: [end, plan]
    default: end
  failed:
    description: Whether a task of the playbook failed, so that this is the end of its C(rescue).
    type: bool
    default: false
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
- name: Report
  multinode.inference.report:
    playbook: deploy
"""

RETURN = r"""
result:
  description: The result, as it was written.
  returned: success
  type: dict
  sample: {ok: true}
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
