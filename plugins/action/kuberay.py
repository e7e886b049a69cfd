# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes sure that a KubeRay operator serves; see the module of the same name."""

from __future__ import annotations

import re
import time
from typing import Any

import yaml

from ..module_utils.core.catalog.images import operator_values
from ..module_utils.core.catalog.kuberay import RELEASE, is_older, not_to_upgrade
from ..module_utils.core.fault import Refused
from ..module_utils.kube.operator import find_helm, find_operator
from ..plugin_utils.kubernetes_writes import WritingAction, kubernetes_core_version

# Another deploy may be installing the chart at this moment: Helm refuses the second, which soon finds the first's release.
BUSY = re.compile("another operation|re-use a name|already exists")
# A release on which Helm still works after a minute is that of a run that was killed.
BUSY_PAUSES = (5.0,) * 12
KILLED = re.compile("another operation")


class ActionModule(WritingAction):
    """Writes go through kubernetes.core: its `helm` for the chart, its `k8s` for the definitions."""

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        settings = self.registered["recipe"]["settings"]
        self.cluster = self.reach(settings)
        kuberay = find_operator(self.cluster.connect())
        upgrade = bool(settings["kuberay_upgrade"] and is_older(kuberay, settings))
        if kuberay["usable"] and not upgrade:
            return {"changed": False, "kuberay": {**kuberay, "helm": None}}
        if upgrade:
            if fault := not_to_upgrade(kuberay, settings):
                raise Refused([fault])
            self.show(f"  the operator is upgraded from {kuberay['version']} to {settings['kuberay_chart_version']}")
        kuberay["helm"] = find_helm(settings["helm_binary"], kubernetes_core_version())
        changed = self._install(settings, kuberay["helm"]["path"], not upgrade, task_vars)
        return {"changed": changed, "kuberay": kuberay}

    def _install(self, settings: dict[str, Any], helm: str, force: bool, task_vars: dict[str, Any]) -> bool:
        reference = settings["kuberay_chart_ref"]
        chart = {
            "chart_ref": reference,
            # A folder, a file and an OCI reference say themselves where the chart is.
            "chart_repo_url": None if re.search("/|[.]tgz$", reference) else settings["kuberay_chart_repository"],
            "chart_version": settings["kuberay_chart_version"],
            "binary_path": helm,
        }
        changed = bool(self._apply_definitions(chart, task_vars))
        release = {
            "release_name": RELEASE,
            "release_namespace": settings["kuberay_namespace"],
            "kubeconfig": self.cluster.for_helm(),
            "context": self.cluster.context,
            "binary_path": helm,
        }
        installed = {
            **release,
            **chart,
            "create_namespace": True,
            "skip_crds": True,
            "values": operator_values(settings),
            # A release that failed, or whose Deployment somebody deleted, is otherwise taken for one that is there.
            "force": force,
        }
        try:
            result = self._while_busy(installed, task_vars)
        except Refused as refused:
            if not KILLED.search(str(refused)):
                raise
            self.show("  Helm is still working on the release after a minute: it is removed and installed again")
            self.run_module("kubernetes.core.helm", {**release, "state": "absent"}, task_vars)
            result = self.run_module("kubernetes.core.helm", installed, task_vars)
        return changed or bool(result.get("changed"))

    def _apply_definitions(self, chart: dict[str, Any], task_vars: dict[str, Any]) -> list[dict[str, Any]]:
        """Helm installs definitions of resources and never upgrades them; applied by the server, they may be as large as
        RayCluster's is."""
        check_mode, self._task.check_mode = self._task.check_mode, False  # rendering changes nothing
        try:
            rendered = self.run_module("kubernetes.core.helm_template", {**chart, "include_crds": True}, task_vars)
        finally:
            self._task.check_mode = check_mode
        documents = [document for document in yaml.safe_load_all(rendered["stdout"]) if document]
        definitions = [item for item in documents if item["kind"] == "CustomResourceDefinition"]
        return self.apply(definitions, task_vars)

    def _while_busy(self, installed: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Install the chart, again for as long as somebody else does. Raises Refused."""
        for pause in BUSY_PAUSES:
            try:
                return self.run_module("kubernetes.core.helm", installed, task_vars)
            except Refused as refused:
                if not BUSY.search(str(refused)):
                    raise
            self.show(f"  another run installs the operator; retrying in {pause:.0f} s")
            time.sleep(pause)
        return self.run_module("kubernetes.core.helm", installed, task_vars)
