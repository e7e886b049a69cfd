# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: oke_token
short_description: A token for the Kubernetes API of an OKE cluster
version_added: 0.1.0
description:
  - Signs in to Oracle Cloud and returns a new token for the Kubernetes API of the cluster. No call is made for it.
  - A token lives for 4 minutes. Use it in a task's own options, so that each task gets a new one, and for options only
    that Ansible does not log.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  _terms:
    description:
      - Platform settings, as M(multinode.inference.recipe_info) returns them. C(oke_cluster_id) names the cluster;
        C(auth_type), C(config_file_location), C(config_profile_name), C(region) and C(oci_service_endpoint) say how to
        sign in.
    required: true
    type: list
    elements: dict
"""

EXAMPLES = r"""
- name: List the pods
  kubernetes.core.k8s_info:
    host: https://10.0.0.5:6443
    ca_cert: /etc/oke/ca.pem
    api_key: "{{ lookup('multinode.inference.oke_token', recipe_result.settings) }}"
    kind: Pod
"""

RETURN = r"""
_list:
  description: The tokens.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ..module_utils.core.fault import Refused
from ..module_utils.oci.client import sign_in_by
from ..module_utils.oci.cluster_access import ClusterTokens


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        try:
            return [_token(settings) for settings in terms]
        except Refused as refused:
            raise AnsibleError(str(refused)) from None


def _token(settings: Mapping[str, Any]) -> str:
    return ClusterTokens(sign_in_by(settings), str(settings["oke_cluster_id"]))()
