#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kuberay_info
short_description: Find the KubeRay operator of a cluster, or the Helm that can install it
version_added: 0.1.0
description:
  - Says whether a KubeRay operator is installed that can serve a deployment.
  - Where there is none, it makes sure that Helm 3 or 4 can be run, since the operator is installed by it.
  - Fails where an operator is installed that is too old, or with definitions that are. It is left alone, since others may use
    it, and none is installed beside it.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  helm_binary:
    description: Path of Helm. Without it, C(helm) on the search path.
    type: path
extends_documentation_fragment:
  - multinode.inference.kubernetes_connection
  - multinode.inference.reading
"""

EXAMPLES = r"""
- name: Find the operator
  multinode.inference.kuberay_info:
  register: kuberay
"""

RETURN = r"""
kuberay:
  description: What was found.
  returned: success
  type: dict
  contains:
    installed:
      description: Whether there is an operator.
      type: bool
      sample: true
    usable:
      description: Whether it, and its definition of RayCluster, can serve a deployment.
      type: bool
      sample: true
    available:
      description: Whether one of its pods is available now.
      type: bool
      sample: true
    version:
      description: Version of the operator.
      type: str
      sample: 1.7.1
    namespace:
      description: Namespace of the operator.
      type: str
      sample: kuberay-system
    crd:
      description: Whether the cluster knows RayClusters.
      type: bool
      sample: true
    fields:
      description: Fields of the specification of a RayCluster that the cluster knows, and those of its authOptions.
      type: list
      elements: str
      sample: [authOptions, authOptions.secretName, headGroupSpec]
    helm:
      description: The Helm that was found, where the operator is to be installed.
      type: dict
      sample: {path: /usr/local/bin/helm, version: v3.22.0}
started:
  description: When the work began, UTC.
  returned: success
  type: str
  sample: "2026-01-01T00:00:00.000Z"
ended:
  description: When the work ended, UTC.
  returned: success
  type: str
  sample: "2026-01-01T00:00:01.000Z"
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kube.client import argument_spec, connect_as_asked
from ..module_utils.kube.operator import find_helm, find_operator
from ..module_utils.outcome import run


def body(module: AnsibleModule) -> dict[str, Any]:
    """Find operator or Helm and return the module's result."""
    kuberay = find_operator(connect_as_asked(module.params))
    kuberay["helm"] = None if kuberay["usable"] else find_helm(module.params["helm_binary"])
    return {"changed": False, "kuberay": kuberay}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={**argument_spec(), "helm_binary": {"type": "path"}}, supports_check_mode=True)
    run(module, body)


if __name__ == "__main__":
    main()
