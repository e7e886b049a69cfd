# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the action plugins share that write objects: each write is a task of kubernetes.core.k8s with a token of its own."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..module_utils.core.fault import Fault, Refused
from ..module_utils.core.manifests.differences import object_lines
from ..module_utils.core.manifests.objects import namespace
from ..module_utils.core.names import COLLECTION
from ..module_utils.core.plan.types import Plan
from ..module_utils.kube.client import Kubernetes, part
from ..module_utils.kube.removal import own_namespace, strange_objects
from .action import Action
from .bucket_access import BucketAccess
from .cluster import Cluster

_K8S = "kubernetes.core.k8s"
# Reasons of an answer that says to ask again later (RFC 9110 and 6585), and the seconds until then: two minutes in all.
_BUSY = ("Too Many Requests", "Service Unavailable")
BUSY_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0, 15.0, 15.0, 15.0)
# How long an object may take to go.
REMOVAL_SECONDS = 300


def kubernetes_core_version() -> str:
    """Return the version of kubernetes.core that tasks run, "" where it does not say (a checkout of it)."""
    for folder in importlib.import_module("ansible_collections.kubernetes.core").__path__:
        try:
            manifest = json.loads((Path(folder) / "MANIFEST.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        return str(manifest["collection_info"]["version"])
    return ""


class WritingAction(Action):
    """An action that writes to `self.cluster`, which `act` sets. Secrets' values pass through memory only."""

    cluster: Cluster

    def access(
        self, kubernetes: Kubernetes, settings: dict[str, Any], deployment: Mapping[str, str], task_vars: dict[str, Any]
    ) -> BucketAccess:
        """Return the deployment's access to its bucket, as it is now."""

        def run(module: str, arguments: dict[str, Any]) -> dict[str, Any]:
            return self.run_module(module, arguments, task_vars)

        return BucketAccess(kubernetes, settings, deployment["name"], deployment["namespace"], run)

    def own_namespace(
        self, kubernetes: Kubernetes, plan: Plan, settings: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return the Namespace where it is to be applied, and whether there is one already.

        Only one that nobody named has our label, and goes with the deployment.
        """
        name, wanted = plan["deployment"]["name"], plan["deployment"]["namespace"]
        own = own_namespace(kubernetes, name, wanted)
        item = namespace(plan)
        if settings["namespace"] or wanted != name:
            item["metadata"] = {"name": wanted}
            return ([item] if own is None else []), own is not None
        return ([item] if own is not False else []), own is not None

    def refuse_strange(self, kubernetes: Kubernetes, plan: Plan) -> None:
        """Raise Refused where an object that the deployment makes stands there, and is somebody else's."""
        if found := strange_objects(kubernetes, plan["deployment"]["name"], plan["deployment"]["namespace"]):
            raise Refused(found)

    def create_secret(self, kubernetes: Kubernetes, item: dict[str, Any]) -> list[dict[str, Any]]:
        """Make a Secret where there is none; return what changed. One that another run made meanwhile stays as it is."""
        metadata = item["metadata"]
        change = {"object": f"Secret/{metadata['name']}", "change": "create"}
        if self._task.check_mode:
            return [change]
        self.check_hold()
        return [change] if kubernetes.create(f"/api/v1/namespaces/{part(metadata['namespace'])}/secrets", item) else []

    def apply(self, objects: list[dict[str, Any]], task_vars: dict[str, Any]) -> list[dict[str, Any]]:
        """Apply the objects by the server; return what changed, Secrets without their values.

        By force, since nobody else has a say in what is ours: what is not was refused before (`refuse_strange`).
        """
        if not objects:
            return []
        server_side = {"field_manager": COLLECTION, "force_conflicts": True}
        return _changes(self.write(objects, task_vars, state="present", apply=True, server_side_apply=server_side))

    def remove(self, objects: list[dict[str, Any]], task_vars: dict[str, Any]) -> None:
        """Remove the objects and return when they are gone."""
        if objects:
            self.write(objects, task_vars, state="absent", wait=True, wait_timeout=REMOVAL_SECONDS)

    def write(self, objects: list[dict[str, Any]], task_vars: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Call kubernetes.core.k8s with the objects, and return {changed, results}: an entry for each object.

        What the API server was too busy for (429, 503) is tried again, as reads are; kubernetes.core does not. Raises Refused
        for what failed otherwise, unless `continue_on_error`.
        """
        keep_on = options.pop("continue_on_error", False)
        entries: dict[int, dict[str, Any]] = {}
        left = list(range(len(objects)))
        for pause in (*BUSY_PAUSES, None):
            arguments = {"resource_definition": [objects[number] for number in left], **self.cluster.arguments()}
            result = self.run_module(_K8S, {**arguments, **options, "continue_on_error": True}, task_vars)
            entries.update(zip(left, (result.get("result") or {}).get("results") or [result], strict=False))
            left = [number for number in left if entries[number].get("error")]
            if pause is None or not any(entries[number]["error"].get("reason") in _BUSY for number in left):
                break
            self.show(f"  the API server is busy; {len(left)} objects are retried in {pause:.0f} s")
            time.sleep(pause)
        if left and not keep_on:
            raise Refused([_failed(objects[number], entries[number]["error"]) for number in left])
        results = [entries[number] for number in sorted(entries)]
        return {"changed": any(entry.get("changed") for entry in results), "results": results}


def _failed(item: Mapping[str, Any], error: Mapping[str, Any]) -> Fault:
    words = str(error.get("msg") or error.get("reason") or "no message")
    return Fault("module", f"{item['kind']} {item['metadata']['name']}", words)


def would_be_made(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return check mode's result where the API server cannot be asked what applying the objects would change."""
    names = [f"{item['kind']}/{item['metadata']['name']}" for item in objects]
    return {"changed": True, "objects": [{"object": name, "change": "would be made"} for name in names]}


def _changes(result: dict[str, Any]) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = []
    for entry in result["results"]:
        if not entry.get("changed"):
            continue
        item = entry.get("result") or {}
        kind = item.get("kind", "")
        change = {
            "object": f"{kind}/{item.get('metadata', {}).get('name', '')}",
            "change": entry.get("method") or "apply",
        }
        if entry.get("diff"):
            change["differences"] = object_lines(kind, *(entry["diff"].get(when) or {} for when in ("before", "after")))
        changes.append(change)
    return changes
