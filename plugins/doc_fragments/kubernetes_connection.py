# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options by which a module reaches the cluster."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig that reaches the cluster.
      - Without it E(K8S_AUTH_KUBECONFIG), E(KUBECONFIG) and C(~/.kube/config) are tried, in this order.
    type: path
  context:
    description: Context in the kubeconfig. Without it, its current one.
    type: str
requirements:
  - python >= 3.10
  - kubernetes >= 31.0.0
"""
