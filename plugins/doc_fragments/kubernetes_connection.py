# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options by which a module reaches the cluster."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig that reaches the cluster; or a mapping in its form that names the cluster's address and
        authority, and no user.
      - Without it E(K8S_AUTH_KUBECONFIG), E(KUBECONFIG) and C(~/.kube/config) are tried, in this order.
    type: raw
  context:
    description: Context in the kubeconfig. Without it E(K8S_AUTH_CONTEXT), else its current one.
    type: str
  host:
    description:
      - URL of the API server. Without it E(K8S_AUTH_HOST). With a token too, no kubeconfig is read.
    type: str
  api_key:
    description:
      - Token that is sent to the API server, in place of the kubeconfig's user. Without it E(K8S_AUTH_API_KEY).
    type: str
  ca_cert:
    description:
      - Path of the certificates that the API server's is checked with. Without it E(K8S_AUTH_SSL_CA_CERT), else the
        kubeconfig's.
    type: path
    aliases: [ssl_ca_cert]
  validate_certs:
    description:
      - Whether the API server's certificate is checked. Without it E(K8S_AUTH_VERIFY_SSL), else as the kubeconfig says.
    type: bool
    aliases: [verify_ssl]
requirements:
  - python >= 3.10
  - kubernetes >= 31.0.0
"""
