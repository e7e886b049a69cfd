# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the recipe and the platform settings; see the module of the same name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..module_utils.core.fault import Refused
from ..module_utils.core.recipe.inputs import converted_recipe, read_inputs
from ..module_utils.kube.client import may_pass
from ..plugin_utils.action import Action
from ..plugin_utils.cluster import Cluster
from ..plugin_utils.inputs import variables_with_recipe
from ..plugin_utils.output_files import write_file


class ActionModule(Action):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        variables, scope = variables_with_recipe(self._loader), arguments.get("scope", "recipe")
        # Only a plan may go by facts from a file, without a cluster: a deploy asks the source before it spends money.
        planning = scope == "plan"
        whole, path = scope in ("recipe", "plan"), variables.get("convert_to")
        changed = False
        # Before it is checked: what is wrong in it can be put right in the converted one.
        if planning and isinstance(path, str) and path.strip() and not self._task.check_mode:
            changed = write_file("convert_to", path.strip(), _as_file(converted_recipe(variables)))
        inputs = read_inputs(variables, "recipe" if whole else scope)
        for change in inputs.changes if whole else ():
            self.show(f"converted: {change.line()}")
        # Without a cluster, none that is named and none that can be found, a plan is made all the same.
        has_cluster = not planning or _names_a_cluster(inputs.settings)
        cluster = Cluster(inputs.settings) if has_cluster else None
        # Logs are read from wherever they are; everything else would mix two clusters.
        if cluster and scope != "deployment":
            try:
                cluster.check()
            except Refused as refused:
                # Undeploy comes to the node pool all the same.
                if scope != "removal" or not may_pass(refused.faults):
                    raise
        return {
            "changed": changed,
            "name": inputs.name,
            "deployment_name": inputs.deployment_name,
            "has_model_facts": planning and _is_file(inputs.settings["model_facts_file"]),
            "has_cluster": has_cluster,
            "has_recipe": whole or _holds_a_recipe(variables),
            "kubeconfig": cluster.kubeconfig if cluster else None,
            "recipe": inputs.recipe,
            "settings": inputs.settings,
            "changes": [change.as_dict() for change in inputs.changes] if whole else [],
        }


def _holds_a_recipe(variables: Mapping[str, Any]) -> bool:
    """Tell whether more of a recipe is given than says which deployment is meant."""
    try:
        return bool(converted_recipe(variables).keys() - {"deployment_name", "recipe_use_shared_node_pool"})
    except Refused:
        return False


def _as_file(recipe: Mapping[str, Any]) -> str:
    return json.dumps(recipe, indent=2, ensure_ascii=False) + "\n"


def _names_a_cluster(settings: dict[str, Any]) -> bool:
    """Tell whether a cluster is named, or a kubeconfig lies where one is looked for."""
    named = settings["oke_cluster_id"] or settings["kubeconfig"] or os.environ.get("K8S_AUTH_HOST")
    return settings["node_provisioner"] == "oke" or bool(named) or any(map(_is_file, _kubeconfigs()))


def _is_file(path: str | None) -> bool:
    return bool(path) and Path(str(path)).expanduser().is_file()


def _kubeconfigs() -> list[str]:
    """Return the files that may name a cluster where none is given, as `connect` looks for them."""
    named = os.environ.get("K8S_AUTH_KUBECONFIG") or os.environ.get("KUBECONFIG")
    return named.split(os.pathsep) if named else ["~/.kube/config"]
