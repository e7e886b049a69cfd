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
  - A recipe in another spelling is converted; RV(changes) says what was changed.
  - With the setting C(convert_to) the converted recipe is written to that file, before it is checked.
  - Checks it, and fails with every fault that it finds.
  - Without a kubeconfig it asks OKE for the address of the cluster, and makes sure that the API server there takes a
    token of the OCI sign-in.
  - Secrets of the recipe are not returned.
  - Later tasks of this collection's modules take their connection from the result, where it is registered as
    C(recipe_result) and they are given no part of one themselves.
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
has_model_facts:
  description: Whether the file that the setting C(model_facts_file) names is there.
  returned: when the whole recipe was read
  type: bool
  sample: false
has_cluster:
  description: Whether a cluster is named, or a kubeconfig lies where one is looked for.
  returned: success
  type: bool
  sample: true
has_recipe:
  description: Whether more of a recipe is given than says which deployment is meant.
  returned: success
  type: bool
  sample: true
kubeconfig:
  description:
    - Path of the cluster's kubeconfig; without one a mapping in its form, with the cluster's address and authority and
      without a user. No secret is in it.
  returned: success
  type: raw
  sample: /etc/kubernetes/inference.kubeconfig
changes:
  description:
    - What was converted, each with C(where), C(became) and C(why); empty for a recipe in today's
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
