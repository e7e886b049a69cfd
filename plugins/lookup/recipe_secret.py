# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: recipe_secret
short_description: A secret of the recipe, for a module's option
version_added: 0.1.0
description:
  - Returns a secret that was given in the recipe, so that no registered result has to hold it.
  - Use it for options only that Ansible does not log.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  _terms:
    description: Names of the secrets. V(par) is the URL of the pre-authenticated request.
    required: true
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Read the model's files
  multinode.inference.model_info:
    par: "{{ lookup('multinode.inference.recipe_secret', 'par') }}"
"""

RETURN = r"""
_list:
  description: The secrets, an empty text for one that was not given.
  type: list
  elements: str
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ..module_utils.core.fault import Refused
from ..plugin_utils.inputs import given_inputs


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        try:
            secrets = given_inputs(self._loader).secrets
        except Refused as refused:
            raise AnsibleError(str(refused)) from None
        return [secrets.get(str(term), "") for term in terms]
