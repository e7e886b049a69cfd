# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes and releases the Lease of a deployment; see the module of the same name."""

from __future__ import annotations

from typing import Any

from ..module_utils.core.fault import Refused
from ..module_utils.core.names import label_selector
from ..module_utils.kube.client import Kubernetes, may_pass, part
from ..module_utils.kube.deployment import RAYCLUSTERS
from ..module_utils.kube.lease import Lease, holder_of
from ..module_utils.kube.namespace_contents import NamespaceContents
from ..module_utils.kube.removal import namespace_of, objects_of, own_namespace
from ..plugin_utils.inputs import given_variables
from ..plugin_utils.kubernetes_writes import WritingAction
from ..plugin_utils.lease.acquire import acquire, identity_of, record_of_run


class ActionModule(WritingAction):
    """In its result `lease` is what the tasks after it renew the Lease by; empty where they need not."""

    holds = False

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("state") == "absent":
            self._end(task_vars)
            return {"changed": False}
        if self._task.check_mode:
            return {"changed": False, "lease": {}, "plan_again": False}
        removal = bool(arguments.get("removal"))
        self.cluster = self.reach(self.registered["recipe"]["settings"])
        try:
            kubernetes = self.cluster.connect()
            return {"changed": False, **self._begin(kubernetes, arguments, removal, task_vars)}
        except Refused as refused:
            # Nodes cost money: undeploy removes them without an API server, too, and by who may not read Leases.
            if not removal or not may_pass(fault for fault in refused.faults if fault.code != "forbidden"):
                raise
            self.show(f"  no Lease is taken: {refused.faults[0].line()}")
            return {"changed": False, "lease": {}, "plan_again": False}

    def _begin(
        self, kubernetes: Kubernetes, arguments: dict[str, Any], removal: bool, task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        settings, plan = self.registered["recipe"]["settings"], arguments.get("plan")
        record = record_of_run(given_variables(self._loader), str(arguments.get("playbook") or ""))
        identity = identity_of(record)
        if plan:
            name, namespace = plan["deployment"]["name"], plan["deployment"]["namespace"]
        else:
            name = str(arguments["name"])
            namespace = namespace_of(kubernetes, name, settings["namespace"])
        lease = Lease(kubernetes, name, namespace, identity)
        taken = {"name": name, "namespace": namespace, "identity": identity, "removal": removal}
        if not plan and lease.read() is None and not self._stands(kubernetes, name, namespace):
            # Nothing to guard, and no reason to write into a namespace that may be anybody's.
            return {"lease": taken, "plan_again": False}

        def place() -> bool:
            item = kubernetes.get(f"/api/v1/namespaces/{part(namespace)}") or {}
            if item.get("metadata", {}).get("deletionTimestamp"):
                return False
            if plan and not item:
                self.apply(self.own_namespace(kubernetes, plan, settings)[0], task_vars)
            return True

        version = acquire(lease, record, settings["lease_wait_seconds"], self.show, place=place)
        return {"lease": taken, "plan_again": bool(plan) and version != str(arguments.get("seen") or "")}

    @staticmethod
    def _stands(kubernetes: Kubernetes, name: str, namespace: str) -> bool:
        found = kubernetes.items(RAYCLUSTERS, labelSelector=label_selector(name))
        return any(item["metadata"]["namespace"] == namespace for item in found)

    def _end(self, task_vars: dict[str, Any]) -> None:
        """Let the next run begin; whatever comes of it, the playbook ends as it would: the Lease ends by itself."""
        taken = (self.registered.get("lease") or {}).get("lease")
        if not taken:
            return
        try:
            self.cluster = self.reach(self.registered["recipe"]["settings"])
            kubernetes = self.cluster.connect()
            lease = Lease(kubernetes, taken["name"], taken["namespace"], taken["identity"])
            ends = taken["removal"] or "ansible_failed" in self.registered
            if ends and not objects_of(kubernetes, lease.name, lease.namespace):
                if holder_of(lease.read()) == lease.identity:
                    self._leave_nothing(kubernetes, lease, task_vars)
            else:
                lease.release()
        except Refused as refused:
            self.show(f"  the Lease was not released: {refused.faults[0].line()}")

    def _leave_nothing(self, kubernetes: Kubernetes, lease: Lease, task_vars: dict[str, Any]) -> None:
        """Delete the Lease of a deployment that has no object, and its namespace where that holds nothing else."""
        if own_namespace(kubernetes, lease.name, lease.namespace) and not (
            self.registered["recipe"]["settings"]["namespace"]
            or NamespaceContents(kubernetes, lease.name, lease.namespace).reason_to_stay()
        ):
            item = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": lease.namespace}}
            self.write([item], task_vars, state="absent")
        else:
            lease.delete()
