# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes the nodes of a deployment away and leaves the rest; see the module of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..module_utils.clock import moment
from ..module_utils.core.fault import Refused, fault_of
from ..module_utils.core.health.paused import Kept, is_paused, kept_while_paused, paused_record, read_paused
from ..module_utils.core.ownership import is_ours, not_ours, recorded_pool
from ..module_utils.core.plan.standing_deployment import named_otherwise
from ..module_utils.core.recipe.settings import SIGN_IN
from ..module_utils.kube.client import Kubernetes, part
from ..module_utils.kube.cloud_resources import volumes_of
from ..module_utils.kube.deployment import has_own_nodes, missing_deployment, read_endpoint
from ..module_utils.kube.removal import namespace_of, pods_of
from ..plugin_utils.inputs import given_variables
from ..plugin_utils.kubernetes_writes import WritingAction
from ..plugin_utils.lease.acquire import record_of_run
from ..plugin_utils.removal import Remover


class ActionModule(WritingAction):
    """KubeRay ends the pods of a RayCluster that is suspended; they drain as for any other end."""

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        recipe, name = self.registered["recipe"], str(arguments["name"])
        settings = recipe["settings"]
        self.cluster = self.reach(settings)
        kubernetes = self.cluster.connect()
        namespace = namespace_of(kubernetes, name, settings["namespace"])
        path = f"/apis/ray.io/v1/namespaces/{part(namespace)}/rayclusters/{part(name)}"
        standing = kubernetes.get(path)
        if standing is None:
            raise Refused([missing_deployment(kubernetes, name, f"RayCluster {name}")])
        if not is_ours(standing, name):
            raise Refused([not_ours("RayCluster", name, name, namespace)])
        if others := named_otherwise(recipe["deployment_name"], name, standing):
            raise Refused(others)
        changed = not is_paused(standing)
        if changed:
            self._suspend(name, namespace, task_vars)
            self.done = {"changed": True}
        retained: list[Kept] = []
        if not self._task.check_mode:
            standing = kubernetes.get(path) or standing
            retained = self._drain(kubernetes, name, namespace, task_vars)
        pool: dict[str, Any] = {}
        if settings["oke_cluster_id"] and has_own_nodes(standing):
            scaled, pool = self._empty(standing, name, settings, task_vars)
            changed = changed or scaled
        return {
            "changed": changed,
            "name": name,
            "namespace": namespace,
            "paused": read_paused(standing),
            "kept": [*kept_while_paused(standing, read_endpoint(kubernetes, name, namespace)), *retained],
            "node_pool": pool,
        }

    def _suspend(self, name: str, namespace: str, task_vars: dict[str, Any]) -> None:
        run = record_of_run(given_variables(self._loader), "pause")
        metadata = {"name": name, "namespace": namespace}
        item = {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {**metadata, "annotations": paused_record(moment(), f"{run['user']}@{run['host']}")},
            "spec": {"suspend": True},
        }
        # Patched, not applied: applying part of an object removes the fields that the same manager applied before.
        self.write([item], task_vars, state="patched", merge_type=["merge"])

    def _drain(self, kubernetes: Kubernetes, name: str, namespace: str, task_vars: dict[str, Any]) -> list[Kept]:
        """Return when pods and block volumes are gone, bounded as for undeploy: a volume cannot be detached from a node that is gone.

        Return the volumes that their StorageClass retains.
        """

        def write(items: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
            return self.write(items, task_vars, **options)

        def remaining() -> list[str]:
            volumes = volumes_of(kubernetes, name, namespace) or []
            names = [f"PersistentVolume/{volume['name']}" for volume in volumes if not volume["kept"]]
            return [f"Pod/{pod}" for pod in pods_of(kubernetes, name, namespace)] + names

        volumes = volumes_of(kubernetes, name, namespace) or []
        remover = Remover(write, self.show)
        remover.watch(remaining)
        for fault in remover.left:
            self._display.warning(f"{fault.where}: {fault.found}; its node goes all the same")
        retained = [f"PersistentVolume/{volume['name']}, which is retained" for volume in volumes if volume["kept"]]
        return [{"what": what, "usd_per_hour": None} for what in retained]

    def _empty(
        self, raycluster: Mapping[str, Any], name: str, settings: Mapping[str, Any], task_vars: dict[str, Any]
    ) -> tuple[bool, dict[str, Any]]:
        """Scale the node pool to zero and wait for it; return whether that changed it, and the pool, {} where it is gone."""
        lies = recorded_pool(raycluster["metadata"].get("annotations")).get("compartment_id")
        identity = {"cluster_id": settings["oke_cluster_id"], "compartment_id": settings["compartment_id"]}
        given = {**{option: settings[option] for option in SIGN_IN}, **identity, "deployment": name}
        # Anybody may have written the record: it is one more place to look in.
        look = {**given, "other_compartments": [lies] if lies else []}
        found = self.run_module("multinode.inference.oci_node_pool_info", look, task_vars)
        for fault in found["unseen"]:
            self._display.warning(fault_of(fault).line())
        if not found["node_pools"]:
            self.show("  the node pool is gone: deploy makes another one")
            return False, {}
        given["compartment_id"] = found["node_pools"][0].get("compartment_id") or lies or settings["compartment_id"]
        self.show("  the node pool goes to zero")
        definition = {"name": name, "node_config_details": {"size": 0}}
        wanted = {**given, "definition": definition, "wait": True}
        result = self.run_module("multinode.inference.oci_node_pool", wanted, task_vars)
        return bool(result["changed"]), result["node_pool"]
