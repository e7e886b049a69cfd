# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes a deployment's Kubernetes objects; see the module of the same name."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from ..module_utils.core import api_keys
from ..module_utils.core.fault import Fault, Refused
from ..module_utils.core.health.deployment_health import readable_seconds
from ..module_utils.core.health.failures import gave_up
from ..module_utils.core.health.paused import is_paused
from ..module_utils.core.manifests.differences import diff_text, runtime_lines
from ..module_utils.core.manifests.monitoring import monitoring_objects
from ..module_utils.core.manifests.objects import mark, render, secret
from ..module_utils.core.manifests.older_kuberay import token_secret_kind, without_upgrade_strategy
from ..module_utils.core.manifests.running import keep_pods, runtime_of
from ..module_utils.core.names import MONITORING_ANNOTATION, PAUSED_ANNOTATION, object_names
from ..module_utils.core.ownership import is_ours, pool_record, recorded_pool
from ..module_utils.core.plan.standing_deployment import named_otherwise
from ..module_utils.core.plan.types import Plan
from ..module_utils.core.recipe.inputs import Inputs
from ..module_utils.kube.client import Kubernetes, may_pass, part
from ..module_utils.kube.deployment import Observer, has_own_nodes, nearest_deployment, read_secret
from ..module_utils.kube.monitoring import standing_monitoring, strange
from ..module_utils.kube.removal import namespace_of, pods_of
from ..plugin_utils.bucket_access import BucketAccess
from ..plugin_utils.cluster import Cluster
from ..plugin_utils.endpoint import Endpoint
from ..plugin_utils.inputs import given_inputs
from ..plugin_utils.kubernetes_writes import REMOVAL_SECONDS, WritingAction, would_be_made
from ..plugin_utils.removal import Remover, name_of, remove_deployment

PROGRAMS = Path(__file__).parents[2] / "roles" / "raycluster" / "files"
# Seconds between the looks at an API server that is away: it may be for a moment.
AWAY_PAUSES = (5.0, 15.0)
_RAYCLUSTER_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rayclusters.ray.io"


class ActionModule(WritingAction):
    """Writes go through kubernetes.core.k8s; the Secrets' values pass through memory only."""

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("state") == "absent":
            return self._absent(arguments, task_vars)
        return self._present(arguments, task_vars)

    def _present(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        plan, inputs = arguments["plan"], given_inputs(self._loader)
        self.cluster = self.reach(inputs.settings)
        kubernetes = self.cluster.connect()
        programs = {path.name: path.read_text(encoding="utf-8") for path in sorted(PROGRAMS.glob("*.py"))}
        self.refuse_strange(kubernetes, plan)
        endpoint = Endpoint(kubernetes, plan)
        certificates = endpoint.look()
        _namespace, *objects = render(plan, programs, endpoint.around)
        standing = self._raycluster(kubernetes, plan["deployment"]["name"], plan["deployment"]["namespace"])
        kept = self._keep_pods(kubernetes, plan, objects, standing)
        known = arguments.get("raycluster_fields") or ()
        anew = without_upgrade_strategy(objects, standing, known)
        token_secret = token_secret_kind(objects, standing, known)
        first, there = self.own_namespace(kubernetes, plan, inputs.settings)
        access = self.access(kubernetes, inputs.settings, plan["deployment"], task_vars)
        reads_bucket = plan["staging"]["source"] == "bucket"
        # A pool that was asked for a moment ago may not say yet where it lies.
        self._record_pool(objects, {**(plan["node_pool"] or {}), **(arguments.get("node_pool") or {})}, standing)
        made, wanted = self._secrets(kubernetes, plan, inputs.secrets, token_secret)
        wanted += certificates
        if reads_bucket:
            # The request was made before nodes were asked for (`bucket_access`).
            raycluster = next(item for item in objects if item["kind"] == "RayCluster")
            raycluster["metadata"]["annotations"].update(access.annotation())
        objects += self._monitoring(kubernetes, plan, access)
        if self._task.check_mode and (not there or not kubernetes.get(_RAYCLUSTER_CRD)):
            # The API server can dry-run only into a namespace, and of a kind, that it knows.
            made_all = would_be_made([*first, *made, *wanted, *objects])
            return {**made_all, "diff": {"prepared": diff_text(made_all["objects"])}, "drift": []}
        # A Secret that a pod mounts has to be there before the pod.
        changes = self.apply(first, task_vars) if made else []
        for item in made:
            changes += self.create_secret(kubernetes, item)
        objects = [*([] if made else first), *wanted, *objects]
        if anew:
            self.show("  this KubeRay has no upgradeStrategy: the RayCluster is deleted and created again")
            self._delete(kubernetes, plan, task_vars)
            changes.append({"object": f"RayCluster/{plan['deployment']['name']}", "change": "delete"})
        if blocking := endpoint.in_the_way():
            self.show("  the load balancer is recreated, and its address changes")
            self.remove(blocking, task_vars)
            changes.append({"object": name_of(blocking[0]), "change": "delete"})
        # Before the apply, which takes from the RayCluster what says that they are there.
        unwatched = self._unwatched(kubernetes, plan, standing, objects)
        self.remove(unwatched, task_vars)
        changes += [{"object": name_of(item), "change": "delete"} for item in unwatched]
        changes += self.apply(objects, task_vars)
        if is_paused(standing) and not anew:
            changes += self._resume(plan, task_vars)
        # After the apply: what they were replaced by stands.
        stale = endpoint.stale()
        self.remove(stale, task_vars)
        changes += [{"object": name_of(item), "change": "delete"} for item in stale]
        name = plan["deployment"]["name"]
        if (
            plan["existing"]
            and plan["existing"]["failed"]
            and f"RayCluster/{name}" not in {one["object"] for one in changes}
        ):
            changes += self._make_again(kubernetes, name, plan["deployment"]["namespace"], task_vars)
        if access.record and not reads_bucket:
            changes += [{"object": words, "change": "revoked"} for words in access.revoke()]
            if not inputs.secrets.get("par"):
                self.remove([access.reference()], task_vars)
        for fault in kept:
            self.show(f"  {fault.line()}")
        if self._task.diff and standing:
            self._compare_programs(kubernetes, plan, objects, standing, changes)
        return {
            "changed": bool(changes),
            "objects": changes,
            "diff": {"prepared": diff_text(changes)},
            "drift": [fault.as_dict() for fault in kept],
        }

    @staticmethod
    def _compare_programs(
        kubernetes: Kubernetes,
        plan: Plan,
        objects: list[dict[str, Any]],
        standing: dict[str, Any],
        changes: list[dict[str, Any]],
    ) -> None:
        """Say what a new ConfigMap of programs changes against the one that the standing pods mount: each has a name of its own."""
        made = next(item for item in objects if item["kind"] == "ConfigMap")
        entry = next((one for one in changes if one["object"] == name_of(made)), None)
        former = runtime_of(standing)
        if entry is None or not former or former == made["metadata"]["name"]:
            return
        namespace = part(plan["deployment"]["namespace"])
        found = kubernetes.get(f"/api/v1/namespaces/{namespace}/configmaps/{part(former)}") or {}
        entry["differences"] = runtime_lines(found.get("data") or {}, made["data"]) or ["created"]

    @staticmethod
    def _raycluster(kubernetes: Kubernetes, name: str, namespace: str) -> dict[str, Any] | None:
        """Return the RayCluster of the deployment where one stands."""
        path = f"/apis/ray.io/v1/namespaces/{part(namespace)}/rayclusters/{part(name)}"
        found: dict[str, Any] | None = kubernetes.get(path)
        return found

    @staticmethod
    def _record_pool(objects: list[dict[str, Any]], pool: dict[str, Any], standing: dict[str, Any] | None) -> None:
        """Write on the RayCluster where the node pool is; what is written there already stays where that is not known."""
        annotations = next(item for item in objects if item["kind"] == "RayCluster")["metadata"]["annotations"]
        former = recorded_pool(((standing or {}).get("metadata") or {}).get("annotations"))
        annotations.update(pool_record(pool) or pool_record(former))

    def _resume(self, plan: Plan, task_vars: dict[str, Any]) -> list[dict[str, Any]]:
        """Let KubeRay make the pods of a paused deployment again."""
        name, namespace = plan["deployment"]["name"], plan["deployment"]["namespace"]
        metadata = {"name": name, "namespace": namespace, "annotations": {PAUSED_ANNOTATION: None}}
        item = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": {"suspend": None}}
        self.show("  the deployment is paused: it resumes")
        self.write([item], task_vars, state="patched", merge_type=["merge"])
        return [{"object": f"RayCluster/{name}", "change": "resume"}]

    def _delete(self, kubernetes: Kubernetes, plan: Plan, task_vars: dict[str, Any]) -> None:
        """Delete the RayCluster and return when its pods have ended."""
        name, namespace = plan["deployment"]["name"], plan["deployment"]["namespace"]
        item = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": name, "namespace": namespace}}
        self.remove([item], task_vars)
        if not self._task.check_mode:
            self._wait_for_pods(kubernetes, name, namespace, "the new ones wait for them")

    def _make_again(
        self, kubernetes: Kubernetes, name: str, namespace: str, task_vars: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Delete the pods that gave up, for KubeRay to make again: what they failed for may be fixed by now."""
        observation = Observer(kubernetes, name, namespace).look()
        owner = ((observation.raycluster or {}).get("metadata") or {}).get("uid")
        own = {pod["metadata"]["name"] for pod in observation.pods if is_ours(pod, name, [owner] if owner else ())}
        pods = [pod for pod in gave_up(observation) if pod in own]
        if pods:
            self.show(f"  {', '.join(pods)} gave up: recreated, to try again")
        metadata = [{"name": pod, "namespace": namespace} for pod in pods]
        self.remove([{"apiVersion": "v1", "kind": "Pod", "metadata": one} for one in metadata], task_vars)
        return [{"object": f"Pod/{pod}", "change": "delete"} for pod in pods]

    @staticmethod
    def _keep_pods(
        kubernetes: Kubernetes,
        plan: Plan,
        objects: list[dict[str, Any]],
        raycluster: dict[str, Any] | None,
    ) -> list[Fault]:
        """Leave running pods as they are where nobody asked for others; return what is kept."""
        if raycluster is None or plan["existing"] is None or not plan["existing"]["keep_pods"]:
            return []
        namespace = part(plan["deployment"]["namespace"])
        runtime = part(runtime_of(raycluster))
        return keep_pods(
            objects,
            raycluster,
            kubernetes.get(f"/api/v1/namespaces/{namespace}/configmaps/{runtime}") if runtime else None,
        )

    def _absent(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Remove the deployment; see `plugin_utils/removal.py`.

        Where the API server is away for longer, and a node pool may be there, that is said and no failure yet: nodes
        cost money, and what is in the cluster is found again by its labels.
        """
        inputs = given_inputs(self._loader, "deployment")
        for pause in (*AWAY_PAUSES, None):
            try:
                return self._remove_all(inputs, arguments, task_vars)
            except Refused as refused:
                faults = self._away(refused.faults)
                if not faults or not inputs.settings["oke_cluster_id"]:
                    raise
            if pause is not None:
                self.show(f"  {faults[0].line()}; asked again in {pause:.0f} s")
                time.sleep(pause)
        unreached = [fault.as_dict() for fault in self._explained(inputs, faults)]
        parts = ("removed", "kept", "left", "unseen", "volumes", "load_balancers")
        nothing: dict[str, Any] = {part: [] for part in parts}
        return {
            "changed": False,
            **nothing,
            "unreached": unreached,
            "node_pool": {},
            "own_nodes": False,
            "stood": False,
            "nearest": "",
        }

    def _away(self, faults: list[Fault]) -> list[Fault]:
        """Return why the API server is away, [] where it is not; a module that failed for it has words of its own."""
        if {fault.code for fault in faults} == {"module"}:
            try:
                self.cluster.connect().get("/version")
            except Refused as refused:
                return self._away(refused.faults)
        return faults if may_pass(faults) else []

    @staticmethod
    def _explained(inputs: Inputs, faults: list[Fault]) -> list[Fault]:
        """Return the faults with what the cloud knows of the cluster's endpoint, where the OCI sign-in leads to it."""
        try:
            Cluster(inputs.settings).check()
        except Refused as refused:
            return refused.faults
        return faults

    def _remove_all(self, inputs: Inputs, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        name, settings = arguments["name"], inputs.settings
        self.cluster = self.reach(settings)
        kubernetes = self.cluster.connect()
        namespace = namespace_of(kubernetes, name, settings["namespace"])
        standing = self._raycluster(kubernetes, name, namespace)
        if others := named_otherwise(inputs.deployment_name, name, standing):
            raise Refused(others)
        access = self.access(kubernetes, settings, {"name": name, "namespace": namespace}, task_vars)

        def write(items: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
            return self.write(items, task_vars, **options)

        remover = Remover(write, self.show, watching=not self._task.check_mode)
        removed = remove_deployment(kubernetes, name, namespace, access, remover, bool(settings["namespace"]))
        pool = recorded_pool(((standing or {}).get("metadata") or {}).get("annotations"))
        return {
            **removed,
            "unreached": [],
            "node_pool": pool,
            "own_nodes": standing is not None and has_own_nodes(standing),
            "stood": standing is not None,
            "nearest": "" if removed["removed"] or standing else nearest_deployment(kubernetes, name),
        }

    def _monitoring(self, kubernetes: Kubernetes, plan: Plan, access: BucketAccess) -> list[dict[str, Any]]:
        """Return the objects by which the deployment is watched; Refused where one of somebody else stands in their place."""
        if not plan["endpoint"]["monitoring"]:
            return []
        found = api_keys.first(self._read(kubernetes, plan, "api_key_secret") or {})
        key_name = found[0] if found else api_keys.DEFAULT
        objects = monitoring_objects(plan, access.record.get("time_expires"), key_name)
        if others := strange(kubernetes, objects, plan["deployment"]["name"], plan["deployment"]["namespace"]):
            raise Refused(others)
        for item in objects:
            mark(item, plan)
        return objects

    @staticmethod
    def _unwatched(
        kubernetes: Kubernetes, plan: Plan, standing: dict[str, Any] | None, objects: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return what is there of monitoring and is not to be any more."""
        if MONITORING_ANNOTATION not in (((standing or {}).get("metadata") or {}).get("annotations") or {}):
            return []
        kept = {name_of(item) for item in objects}
        there = standing_monitoring(kubernetes, plan["deployment"]["name"], plan["deployment"]["namespace"])
        return [item for item in there if name_of(item) not in kept]

    def _wait_for_pods(self, kubernetes: Kubernetes, name: str, namespace: str, then: str) -> None:
        """Pods end after their RayCluster is gone; another one's would meet them on their nodes."""
        began = time.monotonic()
        said = None
        while pods := pods_of(kubernetes, name, namespace):
            age = time.monotonic() - began
            if age > REMOVAL_SECONDS:
                self._display.warning(f"{', '.join(pods)} did not end within {REMOVAL_SECONDS} s; {then}")
                return
            if len(pods) != said:
                self.show(f"  {readable_seconds(age):>6}  {len(pods)} pods still terminating")
                said = len(pods)
            time.sleep(1)

    def _secrets(
        self, kubernetes: Kubernetes, plan: Plan, given: dict[str, str], token_secret: str
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the Secrets that are to be made, and those that hold something else than they should.

        Keys and tokens are made once and kept: another run, or one at the same time, must not lock anybody out.
        """
        made: list[dict[str, Any]] = []
        wanted: list[dict[str, Any]] = []
        for kind, key, usable in (
            ("api_key_secret", api_keys.DEFAULT, api_keys.first),
            (token_secret, "auth_token", lambda data: data.get("auth_token")),
        ):
            found = self._read(kubernetes, plan, kind)
            if not usable(found or {}):
                (made if found is None else wanted).append(secret(plan, kind, {key: secrets.token_urlsafe(32)}))
        if given.get("par") and (self._read(kubernetes, plan, "source_secret") or {}).get("par") != given["par"]:
            wanted.append(secret(plan, "source_secret", {"par": given["par"]}))
        return made, wanted

    @staticmethod
    def _read(kubernetes: Kubernetes, plan: Plan, kind: str) -> dict[str, str] | None:
        return read_secret(kubernetes, plan["deployment"]["namespace"], object_names(plan["deployment"]["name"])[kind])
