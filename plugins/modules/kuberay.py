#!/usr/bin/python
# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kuberay
short_description: Make sure that a KubeRay operator serves the cluster
version_added: 0.1.0
description:
  - Leaves an operator alone that can serve a deployment. Where there is none, it applies the chart's definitions and
    installs the chart with Helm, both through M(kubernetes.core.k8s) and M(kubernetes.core.helm).
  - Upgrades an older operator that it installed where the setting C(kuberay_upgrade) says so. RayClusters that run go on, since the
    operator alone is restarted.
  - Waits for another run that is installing the chart, and replaces the release of a run that was killed.
  - The cluster, the chart and the namespace are those of the platform settings, which it takes from the result of
    M(multinode.inference.recipe_info), registered as C(recipe_result).
  - Fails where an operator is installed that is too old.
author:
  - multinode.inference contributors (@multinode-inference)
attributes:
  check_mode:
    description: Says whether the operator would be installed, and installs none.
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
seealso:
  - module: multinode.inference.kuberay_info
"""

EXAMPLES = r"""
- name: Read the recipe and the platform settings
  multinode.inference.recipe_info:
  register: recipe_result

- name: Find the operator, and install it where none serves
  multinode.inference.kuberay:
  register: kuberay_result
"""

RETURN = r"""
kuberay:
  description: What was found, as M(multinode.inference.kuberay_info) returns it.
  returned: success
  type: dict
  sample: {usable: true, version: 1.7.1}
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
