# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the recipe and the platform settings; see the module of the same name."""

from __future__ import annotations

from typing import Any

from ..module_utils.planning.recipe import model_prefix
from ..plugin_utils.action import Action
from ..plugin_utils.inputs import given_inputs


class ActionModule(Action):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        inputs = given_inputs(self._loader, arguments.get("scope", "recipe"))
        return {
            "changed": False,
            "name": inputs.name,
            "model_prefix": model_prefix(inputs.recipe) if "input_object_storage" in inputs.recipe else None,
            "deployment_name": inputs.deployment_name,
            "recipe": inputs.recipe,
            "settings": inputs.settings,
        }
