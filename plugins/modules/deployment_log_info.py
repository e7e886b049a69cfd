#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_log_info
short_description: Read the log of a deployment's pod, or of the operator
version_added: 0.1.0
description:
  - Reads the last lines that the head, a worker or the KubeRay operator wrote.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  name:
    description: DNS name of the deployment.
    type: str
    required: true
  component:
    description: Whose log is read. C(staging) is how far each pod's files are, C(events) what Kubernetes says of the deployment's objects.
    type: str
    choices: [head, worker, operator, staging, events]
    default: head
  worker:
    description: Which worker, from 1. Worker 1 holds the second stage of the model.
    type: int
    default: 1
  lines:
    description: How many lines are read, from the end.
    type: int
    default: 200
  previous:
    description: Read what the container wrote before it was started again.
    type: bool
    default: false
  raw:
    description: Return lines as they are in the log, not progress lines as time, phase, how far and cause.
    type: bool
    default: false
extends_documentation_fragment:
  - multinode.inference.kubernetes_connection
  - multinode.inference.reading
"""

EXAMPLES = r"""
- name: Read what the first worker says
  multinode.inference.deployment_log_info:
    name: llama
    component: worker
  register: log
"""

RETURN = r"""
source:
  description: Namespace, pod and container of the log.
  returned: success
  type: str
  sample: llama/llama-head-x7k2p/ray-head
lines:
  description: The lines.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.core.health.log_text import readable, readable_events
from ..module_utils.kube.client import argument_spec, connect_as_asked
from ..module_utils.kube.logs import find_pod, pods_of_group, read_events, read_log
from ..module_utils.outcome import run

# Staging ends before most of a log is written.
STAGING_LINES = 100_000


def body(module: AnsibleModule) -> dict[str, Any]:
    """Read the log and return the module's result."""
    asked = module.params
    kubernetes = connect_as_asked(asked)
    component, count, former, raw = asked["component"], asked["lines"], asked["previous"], asked["raw"]
    if component == "events":
        lines = readable_events(read_events(kubernetes, asked["name"]))[-count:]
        return {"changed": False, "source": f"events of {asked['name']}", "lines": lines}
    if component == "staging":
        lines = []
        for pod in pods_of_group(kubernetes, asked["name"]):
            said = readable(read_log(kubernetes, pod, STAGING_LINES, former, times=True), "staging")
            lines += [f"{pod.name}  {line}" for line in said[-count:]]
        return {"changed": False, "source": f"pods of {asked['name']}", "lines": lines}
    pod = find_pod(kubernetes, asked["name"], component, asked["worker"])
    found = read_log(kubernetes, pod, count, former, times=not raw)
    return {"changed": False, "source": "/".join(pod), "lines": found if raw else readable(found)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **argument_spec(),
            "name": {"type": "str", "required": True},
            "component": {
                "type": "str",
                "choices": ["head", "worker", "operator", "staging", "events"],
                "default": "head",
            },
            "worker": {"type": "int", "default": 1},
            "lines": {"type": "int", "default": 200},
            "previous": {"type": "bool", "default": False},
            "raw": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run(module, body)


if __name__ == "__main__":
    main()
