#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_info
short_description: What a cluster has that a deployment needs
version_added: 0.1.0
description:
  - Reads what a deployment needs of its cluster, all at once, and asks whether the user has every right that it takes.
  - It judges nothing; M(multinode.inference.plan) does. What the user may not read is null.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  name:
    description: DNS name of the deployment.
    type: str
    required: true
  namespace:
    description: Namespace of the deployment. Without it, one of its own.
    type: str
  operator_namespace:
    description: Namespace of the KubeRay operator, if it is to be installed.
    type: str
    required: true
  pull_secret:
    description: Secret of O(operator_namespace) that an operator that is to be installed pulls its image with.
    type: str
  helm_binary:
    description: Path of Helm. Without it, C(helm) on the search path.
    type: path
  node_shape:
    description: With it the nodes of this shape are described, and what other pods take of them.
    type: str
  file_systems:
    description: Whether the deployment mounts file systems, for which it makes PersistentVolumes.
    type: bool
    default: false
  endpoint:
    description: Optional kinds of objects that the deployment's endpoint and monitoring take, as the API names them.
    type: list
    elements: str
    choices: [ingresses, httproutes, certificates, podmonitors, prometheusrules]
    default: []
extends_documentation_fragment:
  - multinode.inference.kubernetes_connection
  - multinode.inference.reading
"""

EXAMPLES = r"""
- name: Check cluster prerequisites
  multinode.inference.kubernetes_info:
    name: llama
    operator_namespace: kuberay-system
  register: prerequisites
"""

RETURN = r"""
cluster:
  description: What was found.
  returned: success
  type: dict
  contains:
    missing_rights:
      description: Rights that the user has not, each the resourceAttributes of a SelfSubjectAccessReview.
      type: list
      elements: dict
      sample: [{verb: create, group: ray.io, resource: rayclusters, namespace: llama}]
    nodes:
      description: Number of nodes.
      type: int
      sample: 3
    system_nodes:
      description: Names of those that are Ready, schedulable and without a taint.
      type: list
      elements: str
      sample: [10.0.0.4]
    dns:
      description: Deployments that serve the cluster's DNS, with C(ready) and C(wanted) pods.
      type: list
      elements: dict
      sample: [{name: coredns, ready: 2, wanted: 2}]
    advertisers:
      description: DaemonSets that tell Kubernetes of NVIDIA GPUs.
      type: list
      elements: str
      sample: [DaemonSet kube-system/nvidia-gpu-device-plugin]
    policy_engines:
      description: What enforces NetworkPolicies.
      type: list
      elements: str
      sample: [Calico]
    storage_classes:
      description: Names of the StorageClasses.
      type: list
      elements: str
      sample: [oci-bv]
    operator:
      description: The KubeRay operator that is installed, null without one. C(release) is Helm's, with its namespace.
      type: dict
      sample: {version: 1.7.1, namespace: kuberay-system, release: kuberay-system/kuberay-operator}
    operator_available:
      description: Whether a KubeRay operator runs.
      type: bool
      sample: true
    raycluster_fields:
      description: Fields that the spec of a RayCluster has there; null where no operator is installed that can be used.
      type: list
      elements: str
      sample: [authOptions, authOptions.secretName, headGroupSpec, rayVersion, upgradeStrategy, workerGroupSpecs]
    operator_faults:
      description: What forbids to use it, or to install it.
      type: list
      elements: dict
      sample: []
    not_ours:
      description: Objects of somebody else that stand where the deployment makes its own, as faults.
      type: list
      elements: dict
      sample: []
    gpu_nodes:
      description:
        - The nodes of O(node_shape), null without it. C(allocatable) is what they have for pods, C(requested) what pods of
          others take, both in GPUs, CPUs and GiB.
      type: list
      elements: dict
      sample: []
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
from ..module_utils.kube.prerequisites import read_surroundings
from ..module_utils.outcome import run


def body(module: AnsibleModule) -> dict[str, Any]:
    """Read the cluster and return the module's result."""
    given = module.params
    cluster = read_surroundings(
        connect_as_asked(given),
        given["name"],
        given["namespace"] or given["name"],
        given["operator_namespace"],
        given["helm_binary"],
        "",
        "",
        f"node.kubernetes.io/instance-type={given['node_shape']}" if given["node_shape"] else "",
        given["file_systems"],
        given["pull_secret"] or "",
        given["endpoint"],
    )
    return {"changed": False, "cluster": cluster}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **argument_spec(),
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str"},
            "operator_namespace": {"type": "str", "required": True},
            "pull_secret": {"type": "str", "no_log": False},
            "helm_binary": {"type": "path"},
            "node_shape": {"type": "str"},
            "file_systems": {"type": "bool", "default": False},
            "endpoint": {
                "type": "list",
                "elements": "str",
                "choices": ["ingresses", "httproutes", "certificates", "podmonitors", "prometheusrules"],
                "default": [],
            },
        },
        supports_check_mode=True,
    )
    run(module, body)


if __name__ == "__main__":
    main()
