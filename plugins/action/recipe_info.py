# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the recipe and the platform settings; see the module of the same name."""

from __future__ import annotations

from typing import Any

from ..module_utils.planning.recipe import converted_recipe, model_prefix, read_inputs
from ..plugin_utils.action import Action
from ..plugin_utils.converted import write_recipe
from ..plugin_utils.inputs import given_variables


class ActionModule(Action):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        variables, scope = given_variables(self._loader), arguments.get("scope", "recipe")
        whole, path = scope == "recipe", variables.get("convert_to")
        changed = False
        # Before it is checked: what is wrong in it can be put right in the converted one.
        if whole and isinstance(path, str) and path.strip() and not self._task.check_mode:
            changed = write_recipe(converted_recipe(variables), path.strip())
        inputs = read_inputs(variables, scope)
        for change in inputs.changes if whole else ():
            self._display.display(f"converted: {change.line()}")
        return {
            "changed": changed,
            "name": inputs.name,
            "model_prefix": model_prefix(inputs.recipe) if whole else None,
            "deployment_name": inputs.deployment_name,
            "recipe": inputs.recipe,
            "settings": inputs.settings,
            "changes": [change.as_dict() for change in inputs.changes] if whole else [],
        }
