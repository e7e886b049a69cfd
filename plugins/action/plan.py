# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes the plan out of the recipe and what was found out; see the module of the same name."""

from __future__ import annotations

from typing import Any

from ..module_utils.oci.discovery import Wishes, discover
from ..module_utils.planning.fault import Fault, Refused
from ..module_utils.planning.plan import Cloud, Facts, make_plan
from ..module_utils.planning.recipe import Inputs
from ..module_utils.planning.shapes import find_shape
from ..plugin_utils.action import Action
from ..plugin_utils.inputs import given_inputs


class ActionModule(Action):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        inputs = given_inputs(self._loader)
        deployments = arguments.get("deployments") or []
        deployment = next(iter(deployments), {})
        taken = deployment.get("deployment_name", inputs.deployment_name)
        if taken != inputs.deployment_name:
            raise Refused(
                [
                    Fault(
                        "name_taken",
                        "deployment_name",
                        f"{inputs.deployment_name}, whose DNS name {inputs.name} the deployment {taken} has",
                        "a name of its own",
                        "choose another deployment_name, or undeploy the other",
                    )
                ]
            )
        cluster = arguments.get("cluster")
        facts = Facts(
            model=arguments["model"], cloud=_cloud(cluster, inputs) if cluster else None, deployment=deployment
        )
        plan = make_plan(inputs, facts)
        for warning in plan["warnings"]:
            self._display.warning(Fault(**warning).line())
        return {"changed": False, "plan": plan}


def _cloud(cluster: dict[str, Any], inputs: Inputs) -> Cloud:
    """Choose from what `oci_cluster_info` found what the node pool takes."""
    recipe = inputs.recipe
    shape = find_shape(recipe["recipe_node_shape"])
    domain = recipe["recipe_availability_domain"]
    found = discover(
        cluster,
        Wishes(
            deployment=inputs.name,
            node_shape=recipe["recipe_node_shape"],
            architecture="aarch64" if shape and shape.architecture == "arm64" else "x86_64",
            compartment_id=inputs.settings["compartment_id"] or "",
            image_id=recipe["recipe_node_image_ocid"] or "",
            availability_domains=(domain,) if domain else (),
        ),
    )
    return Cloud(found.values, found.choices, found.drift, found.faults)
