#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_info
short_description: Find the deployments of a cluster and judge their state
version_added: 0.1.0
description:
  - Lists the deployments that this collection made in a cluster, each with its state as it is now.
  - The state is judged by nodes, pods and the progress that the pods report. A deployment is ready when its head
    answered a completion and every pod of the group runs.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  name:
    description: DNS name of the one deployment that is wanted. Without it, all are listed.
    type: str
  secrets:
    description: Names of Secrets to look for in O(namespace).
    type: list
    elements: str
    default: []
  namespace:
    description: Namespace of O(secrets).
    type: str
  with_leftovers:
    description: Also list what is left of deployments that have no RayCluster.
    type: bool
    default: false
extends_documentation_fragment:
  - multinode.inference.kubernetes_connection
  - multinode.inference.reading
"""

EXAMPLES = r"""
- name: List the deployments
  multinode.inference.deployment_info:
  register: groups
"""

RETURN = r"""
deployments:
  description: The deployments, in the order of their names.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: DNS name of the deployment.
      type: str
      sample: llama
    namespace:
      description: Namespace of its objects.
      type: str
      sample: llama
    deployment_name:
      description: Name as the recipe has it.
      type: str
      sample: llama
    recipe_name:
      description: The recipe's own name.
      type: str
      sample: vllm_multinode_inference
    state:
      description: One of Deploying, Staging, Starting, Ready, Restarting, Paused, Failed and Removing.
      type: str
      sample: Ready
    ready:
      description: Whether it serves.
      type: bool
      sample: true
    shape:
      description: OCI shape of its nodes.
      type: str
      sample: BM.GPU.H100.8
    nodes:
      description: Number of its nodes.
      type: int
      sample: 2
    gpus:
      description: GPUs of each node.
      type: int
      sample: 8
    own_nodes:
      description: Whether it runs on a node pool of its own, and not on nodes that were there before it.
      type: bool
      sample: true
    usd_per_hour:
      description: List price of its nodes, in US dollars per hour. Of a paused one what it still costs, as far as that is known.
      type: float
      sample: 160.0
    cost:
      description: List prices in US dollars per hour of its C(nodes), C(boot_volumes), C(model_volumes) and C(load_balancer), their
        C(total), and the number of C(file_systems), which are billed by what they hold, as deploy recorded them. Empty where they
        are not recorded.
      type: dict
      sample: {nodes: 160.0, boot_volumes: 0.1, model_volumes: 0.0, load_balancer: 0.0, total: 160.1, file_systems: 0, price_date: 2026-01}
    created:
      description: When it was made, UTC; empty where that cannot be read.
      type: str
      sample: "2026-01-01T00:00:00Z"
    age_seconds:
      description: Seconds since it was made.
      type: int
      sample: 3600
    hash:
      description: Hash of the plan that it follows.
      type: str
      sample: 0123456789ab
    choices:
      description: Values that the user left open, found or defaulted at creation.
      type: dict
      sample: {ray_version: 2.58.0}
    given:
      description: Hash of what was given of which its pods are made.
      type: str
      sample: 0123456789ab
    fields:
      description: Hash of each field of the plan that it follows.
      type: dict
      sample: {pod.image: 01234567}
    values:
      description: Value of each field of the plan that it follows, as far as it is short; no secret.
      type: dict
      sample: {pod.image: "docker.io/rayproject/ray-llm:2.58.0-py312-cu130"}
    source_request:
      description: The pre-authenticated request that its pods read a bucket through, with C(time_expires). Empty without one.
      type: dict
      sample: {}
    endpoint:
      description: How it is reached, with C(exposure), C(tls), C(hosts) and C(until), when its certificate expires.
      type: dict
      sample: {exposure: none, tls: null}
    node_pool:
      description: OCID (C(id)) and C(compartment_id) of its node pool. Empty without one of its own.
      type: dict
      sample: {}
    phases:
      description: How far each phase is.
      type: dict
      sample: {nodes: 2/2 nodes with 8 GPUs}
    measured:
      description: What vLLM measured at its start, as far as the head's log still says it; see M(multinode.inference.deployment_ready).
      type: dict
      sample: {weights_gib: 16.5, cache_gib: 51.28, cache_tokens: 1049600, concurrency: 8.01}
    planned:
      description: What the plan said of memory and requests, as deploy recorded it; empty where it is not recorded.
      type: dict
      sample: {context: 131072, concurrent: 8.0, kv_tokens: 1048576, kv_tokens_high: 1060000}
    benchmark:
      description:
        - What the last benchmark measured, C(at) a time with prompts of C(input_tokens) and answers of C(output_tokens); C(loads) has
          the figures of M(multinode.inference.benchmark). Empty where there was none.
      type: dict
      sample: {}
    last_failure:
      description: The last failure of its group that a restart may still fix, with its number; null where there is none.
      type: str
    failure:
      description: Why it cannot become ready by waiting, where that is known.
      type: dict
      sample: {}
    paused:
      description:
        - Since when it is paused (C(since), UTC), by whom (C(by)), and what stays meanwhile (C(kept)), each with C(what) and
          C(usd_per_hour). Null where it is not paused.
      type: dict
      sample: {since: "2026-01-01T20:00:00.000Z", by: alice@controller, kept: []}
nearest:
  description: Name of the deployment that is most like O(name), where none of that name is there. Empty without one.
  returned: success
  type: str
  sample: llama
leftovers:
  description: Secrets of deployments that have no RayCluster, where O(with_leftovers).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: DNS name of the deployment.
      type: str
      sample: llama
    namespace:
      description: Namespace of the Secrets.
      type: str
      sample: llama
    secrets:
      description: Their names.
      type: list
      elements: str
      sample: [llama-source]
    source_request:
      description: The pre-authenticated request that was made for them, or was about to be. Empty without one.
      type: dict
      sample: {}
operator:
  description: The KubeRay operator, where O(with_leftovers) and one is there that may be read. C(release) is Helm's, with its namespace.
  returned: success
  type: dict
  sample: {version: 1.7.1, namespace: kuberay-system, release: kuberay-system/kuberay-operator}
secrets:
  description: The keys of each Secret of O(secrets), null for one that is not there. Values are not returned.
  returned: success
  type: dict
  sample: {hub: [token]}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kube.client import argument_spec, connect_as_asked
from ..module_utils.kube.deployment import list_deployments, nearest_deployment, secret_keys
from ..module_utils.kube.operator import shown_operator
from ..module_utils.kube.removal import leftovers
from ..module_utils.outcome import run


def body(module: AnsibleModule) -> dict[str, Any]:
    """Find the deployments and return the module's result."""
    given = module.params
    kubernetes = connect_as_asked(given)
    deployments = list_deployments(kubernetes, given["name"], with_endpoint=True)
    left = leftovers(kubernetes, given["name"]) if given["with_leftovers"] else []
    operator = shown_operator(kubernetes) if given["with_leftovers"] else None
    secrets = {name: secret_keys(kubernetes, given["namespace"], name) for name in given["secrets"]}
    deployments.sort(key=lambda entry: entry["name"])
    nearest = nearest_deployment(kubernetes, given["name"]) if given["name"] and not deployments else ""
    found = {"deployments": deployments, "leftovers": left, "secrets": secrets, "nearest": nearest}
    return {"changed": False, **found, "operator": operator}


def main() -> None:
    """Run the module."""
    own = {
        "name": {"type": "str"},
        "secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
        "namespace": {"type": "str"},
        "with_leftovers": {"type": "bool", "default": False},
    }
    run(AnsibleModule(argument_spec={**argument_spec(), **own}, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
