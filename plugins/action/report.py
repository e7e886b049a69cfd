# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says how a playbook ended, and writes its result; see the module of the same name."""

from __future__ import annotations

import json
from typing import Any

from ..module_utils.clock import moment
from ..module_utils.core import version as release
from ..module_utils.core.fault import Fault, Refused, fault_of, unexpected
from ..module_utils.core.health.benchmark import beside_plan
from ..module_utils.core.health.benchmark_page import benchmark_page
from ..module_utils.core.plan.presentation.page import page
from ..module_utils.core.plan.presentation.text import describe_shortly
from ..module_utils.core.plan.types import Plan
from ..plugin_utils.action import Action, task_left_out
from ..plugin_utils.inputs import given_inputs, given_variables
from ..plugin_utils.output_files import PRIVATE, write_bundle, write_file
from ..plugin_utils.playbook_results import (
    OF_PLAYBOOK,
    left_behind,
    nodes_cost,
    nodes_left,
    stopped,
    timeline,
)
from ..plugin_utils.reporting.pausing import missing
from ..plugin_utils.reporting.status import not_ready

SCHEMA = 1
PAGE_MODE = 0o644


class ActionModule(Action):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        playbook, results = arguments["playbook"], dict(self.registered)
        if arguments.get("part") == "plan":
            self._show_plan(self.registered["preflight"]["plan"])
            return {"changed": False}
        failure, failed = results.pop("ansible_failed", {}), bool(arguments.get("failed"))
        faults = self._faults_of(failure) if failed else []
        recipe = results.get("recipe") or {} if failed else self.registered["recipe"]
        plan: Any = (results.get("preflight") or {}).get("plan") or {}
        result: dict[str, Any] = {
            "schema": SCHEMA,
            "playbook": playbook,
            "version": release.VERSION,
            "ok": not failed,
            "changed": any(entry.get("changed") for entry in results.values()),
            "deployment": recipe.get("name"),
            "namespace": (plan.get("deployment") or {}).get("namespace"),
            "started": recipe.get("started") or moment(),
            "ended": moment(),
            "faults": faults,
            "warnings": [
                *(plan.get("warnings") or []),
                *((results.get("raycluster") or {}).get("drift") or []),
                *((results.get("endpoint") or {}).get("records_missing") or []),
                *((results.get("endpoint") or {}).get("remarks") or []),
                *((results.get("benchmark") or {}).get("remarks") or []),
            ],
        }
        if playbook == "deploy":
            result["timeline"] = timeline(results)
        details, lines = OF_PLAYBOOK[playbook](results)
        result.update(details)
        if playbook == "status" and not failed:
            result["faults"] = not_ready(details, results)
            result["ok"] = not result["faults"]
        if playbook == "resume" and not failed:
            result["faults"] = missing(results)
            result["ok"] = not result["faults"]
        if playbook == "undeploy" and not failed:
            result["faults"] = left_behind(results)
            result["ok"] = not result["faults"]
        elif playbook == "undeploy":
            result["faults"] = [*faults, *nodes_left(results, faults)]
        costing: list[dict[str, Any]] = []
        if playbook == "deploy" and failed and not self._task.check_mode:
            costing = nodes_cost(results, faults)
            result["warnings"] += costing
        self._write("result_file", json.dumps(result, indent=2) + "\n")
        if details.get("ca_file"):
            write_file("result_file", details["ca_file"], str(details["ca_pem"]), PAGE_MODE)
        if failed and playbook in ("deploy", "status"):
            self._write_bundle(result, plan, results)
        if playbook == "plan" and plan:
            self._write("html_file", page(plan))
        if playbook == "benchmark" and details.get("measured"):
            words = f"{details['input_tokens']} tokens asked, {details['output_tokens']} answered, {details['at']}"
            said = beside_plan(details)
            self._write("html_file", benchmark_page(str(recipe.get("name")), words, details["measured"], said))
        if failed:
            task = str((task_vars.get("ansible_failed_task") or {}).get("name") or "").rpartition(" : ")[2]
            said = stopped(playbook, task, result["faults"], costing, results)
            self.show("\n" + "\n".join(said) + "\n", color="red")
            return {"changed": False}
        if lines:
            self.show("\n" + "\n".join(lines) + "\n")
        if not result["ok"]:
            raise Refused([fault_of(fault) for fault in result["faults"]])
        stats = {"ansible_stats": {"data": _stats(result), "aggregate": False, "per_host": False}}
        return {"changed": False, "result": result, **(stats if playbook == "deploy" else {})}

    def _faults_of(self, failure: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the faults of a failed task; of one that is not ours, one fault with its message."""
        if failure and "recipe" not in self.registered and not failure.get("faults"):
            return [task_left_out("recipe").as_dict()]
        if failure:
            return list(failure.get("faults") or [Fault("task", "", str(failure.get("msg") or "no message")).as_dict()])
        try:
            given_inputs(self._loader, "any")
        except Refused as refused:
            # An extra variable hid the failure, and is refused for it.
            return [fault.as_dict() for fault in refused.faults]
        return [Fault("task", "", "no message").as_dict()]

    def _show_plan(self, plan: Plan) -> None:
        """Print the plan shortly, before anything is made."""
        self.show("\n" + "\n".join(describe_shortly(plan)) + "\n")
        self._write("html_file", page(plan))

    def _write(self, setting: str, text: str) -> None:
        """Write `text` to the file that the setting names, if it names one."""
        if path := self._path(setting):
            # The page is for others to read, too.
            write_file(setting, path, text, PAGE_MODE if setting == "html_file" else PRIVATE)

    def _path(self, setting: str) -> str:
        """Return the path that the setting names, "" where it names none."""
        path = given_variables(self._loader).get(setting)
        return path.strip() if isinstance(path, str) else ""

    def _write_bundle(self, result: dict[str, Any], plan: Plan, results: dict[str, Any]) -> None:
        """Write what support needs, if `failure_bundle` names a file; whatever comes of it, the playbook ends as it would."""
        if not (path := self._path("failure_bundle")):
            return
        try:
            missing = write_bundle(path, result, plan, results, self.reach)
            left_out = f" without {len(missing)} parts, see missing.json in it" if missing else ""
            self.show(f"failure_bundle: wrote {path}{left_out}")
        except Refused as refused:
            self.show("\n".join(fault.line() for fault in refused.faults), color="red")
        except Exception as error:
            self.show(unexpected(error, "failure_bundle").line(), color="red")


def _stats(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a workflow hands on to its next job (set_stats): how the deployment is reached, and what it serves."""
    names = (
        "ok",
        "changed",
        "version",
        "deployment",
        "namespace",
        "recipes",
        "address",
        "key_command",
        "ca_pem",
        "curl",
    )
    more = ("model_names", "context", "tensor_parallel", "pipeline_parallel", "usd_per_hour", "seconds", "warnings")
    return {"multinode_inference": {name: result.get(name) for name in (*names, *more)}}
