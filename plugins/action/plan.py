# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads what the plan is made of, and makes it; see the module of the same name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..module_utils.core.fault import Fault, Findings, Refused
from ..module_utils.core.plan.facts import Facts, are_model_facts
from ..module_utils.core.plan.make_plan import make_plan
from ..module_utils.core.plan.standing_deployment import belongs_to_another
from ..module_utils.core.plan.types import Plan
from ..module_utils.core.plan.vllm.beginning import vllm_question
from ..module_utils.core.recipe.inputs import Inputs
from ..module_utils.core.recipe.model_source import model_prefix, model_source
from ..module_utils.core.text import read_json
from ..module_utils.kube.client import Kubernetes
from ..module_utils.oci.node_pool import own_pool
from ..plugin_utils.action import Action
from ..plugin_utils.endpoint import Endpoint
from ..plugin_utils.inputs import given_inputs
from ..plugin_utils.output_files import write_file
from ..plugin_utils.preflight import read_all
from ..plugin_utils.reachability.checks import check_cluster
from ..plugin_utils.vllm_python.asking import ask_vllm


class ActionModule(Action):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        inputs, recipe = given_inputs(self._loader), self.registered["recipe"]
        kubernetes = self.reach(inputs.settings).connect() if recipe["has_cluster"] else None
        found = read_all(inputs, kubernetes, with_model=not recipe["has_model_facts"])
        cluster = found.cluster
        known = cluster or {}
        pools, compartment = known.get("node_pools") or [], known.get("compartment_id") or ""
        if taken := belongs_to_another(inputs, found.deployment, pools, compartment):
            raise Refused(taken)
        facts = Facts(
            model=_model(found.model, inputs),
            cluster=cluster,
            own_pool=own_pool(cluster["node_pools"], inputs.name, inputs.name, cluster["id"]) if cluster else None,
            deployment=found.deployment,
            secrets=found.secrets,
            surroundings=found.surroundings,
        )
        if (python := inputs.settings["vllm_python"]) and (question := vllm_question(inputs, facts)):
            facts = replace(facts, answer=ask_vllm(python, question))
        plan = make_plan(inputs, facts)
        if kubernetes and plan["endpoint"]["exposure"] != "none":
            _check_endpoint(kubernetes, plan)
        return {"changed": False, "plan": plan, "lease": found.lease}


def _check_endpoint(kubernetes: Kubernetes, plan: Plan) -> None:
    """See that the cluster has what the endpoint needs, and that a given certificate is good. Raises Refused."""
    findings = Findings()
    check_cluster(kubernetes, plan, findings)
    if plan["endpoint"]["tls"] == "secret":
        endpoint = Endpoint(kubernetes, plan)
        endpoint.look()
        endpoint.check_given_certificate(findings)
    findings.refuse()
    plan["warnings"] += [fault.as_dict() for fault in findings.warnings]


def _model(read: dict[str, Any] | None, inputs: Inputs) -> dict[str, Any]:
    """Return the model's facts: those that were read, and kept in a file if one is named, or those of the file."""
    path, setting = inputs.settings["model_facts_file"], "model_facts_file"
    try:
        if read is not None:
            if path:
                write_file(setting, path, json.dumps(read) + "\n")
            return read
        kept = read_json(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise Refused([Fault(setting, setting, f"{path}: {error.strerror}", "a file", "name another")]) from error
    except ValueError as error:
        raise Refused(
            [Fault(setting, setting, f"{path}: {error}", "JSON", "remove it: the next run writes it")]
        ) from error
    if not are_model_facts(kept):
        raise Refused([Fault(setting, setting, f"{path}, which holds something else", "a model's facts", "remove it")])
    wanted = model_prefix(inputs.recipe)
    if (kept.get("prefix") or wanted) != wanted:
        raise Refused(
            [Fault(setting, setting, f"{path} is of {kept['prefix']}", wanted, "name another file, or remove this one")]
        )
    source = model_source(inputs.recipe)
    repository, of = source.get("repository"), (kept.get("source") or {}).get("repository")
    if of and of != repository:
        raise Refused(
            [Fault(setting, setting, f"{path} is of {of}", repository or "", "name another file, or remove this one")]
        )
    return {"files": [], "source": {"kind": source["kind"]}, "prefix": wanted, **kept}
