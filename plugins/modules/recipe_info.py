#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: recipe_info
short_description: Read the recipe and the platform settings
version_added: 0.1.0
description:
  - Reads what was given as extra variables, the recipe's keys at top level or below C(recipe), as data. No value of it
    is ever taken for a template.
  - A recipe in another spelling is converted; RV(changes) says what stands otherwise then.
  - With the setting C(convert_to) the converted recipe is written to that file, before it is checked.
  - Checks it, and fails with every fault that it finds.
  - Without a kubeconfig it asks OKE for the address of the cluster, and makes sure that the API server there takes a
    token of the OCI sign-in.
  - Secrets of the recipe are not returned; P(multinode.inference.recipe_secret#lookup) gives them to a module's option.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  scope:
    description:
      - What is read. V(recipe) is the whole recipe. So is V(plan), for a plan alone, which may do without a cluster and
        by facts from a file, and writes the recipe that C(convert_to) asks for.
      - The others only find out which deployment is meant and take any recipe that names it, or C(deployment_name)
        alone. V(any) needs no name, V(removal) needs all that says where the node pool is.
    type: str
    choices: [recipe, plan, deployment, removal, any]
    default: recipe
attributes:
  check_mode:
    description: Writes no file.
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
- name: Read the recipe and the platform settings
  multinode.inference.recipe_info:
  register: recipe_result
"""

RETURN = r"""
name:
  description: DNS name of the deployment.
  returned: success
  type: str
  sample: rayclustervmtest
deployment_name:
  description: Name as it was given.
  returned: success
  type: str
  sample: raycluster_vm_test
model:
  description:
    - By which options of M(multinode.inference.model_info) the model's files are read, without a secret. C(with_token) says
      whether the pods have a token for the repository.
  returned: when the whole recipe was read
  type: dict
  sample: {"bucket_name": "models", "prefix": "NousResearch/Meta-Llama-3.1-8B-Instruct/"}
secrets:
  description: Names of the Secrets that the recipe names.
  returned: success
  type: list
  elements: str
  sample: []
namespace:
  description: Namespace of the deployment.
  returned: success
  type: str
  sample: rayclustervmtest
has_model_facts:
  description: Whether the file that the setting C(model_facts_file) names is there.
  returned: when the whole recipe was read
  type: bool
  sample: false
operator_values:
  description: Values of the KubeRay operator's chart that follow from the settings.
  returned: success
  type: dict
  sample: {"image": {"repository": "registry.example.com/kuberay/operator"}}
has_cluster:
  description: Whether a cluster is named, or a kubeconfig lies where one is looked for.
  returned: success
  type: bool
  sample: true
cluster:
  description: How later tasks reach the cluster; empty where there is none. No secret is in it.
  returned: success
  type: dict
  contains:
    kubeconfig:
      description:
        - Path of the kubeconfig; without one a mapping in its form, with the cluster's address and authority and without
          a user.
      returned: always
      type: raw
      sample: /etc/kubernetes/inference.kubeconfig
    helm_kubeconfig:
      description: The same for Helm, with a command that makes tokens.
      returned: always
      type: raw
      sample: /etc/kubernetes/inference.kubeconfig
    context:
      description: Context of the kubeconfig.
      returned: always
      type: str
      sample: inference
    by_token:
      description: Whether tasks need a token, which P(multinode.inference.oke_token#lookup) makes.
      returned: always
      type: bool
      sample: false
nodes:
  description: How many nodes the recipe asks for, null where the planner is asked.
  returned: when the whole recipe was read
  type: int
  sample: 2
room:
  description: What is asked of the account before nodes are, for O(multinode.inference.oke_cluster_info#module:room).
  returned: when the whole recipe was read
  type: list
  elements: str
  sample: [addresses, capacity, limits, volumes]
changes:
  description:
    - What stands otherwise than it was written, each with C(where), C(became) and C(why); empty for a recipe in today's
      spelling.
  returned: success
  type: list
  elements: dict
  sample: [{where: blueprint_mode, became: recipe_mode, why: its name today}]
recipe:
  description: The recipe, typed and complete, without its secrets.
  returned: success
  type: dict
  sample: {recipe_mode: raycluster}
settings:
  description: The platform settings, typed and complete.
  returned: success
  type: dict
  sample: {node_provisioner: oke}
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
