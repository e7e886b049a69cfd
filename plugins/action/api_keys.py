# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Changes a deployment's API keys; see the module of the same name."""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import replace
from typing import Any

from ..module_utils.core import api_keys
from ..module_utils.core.fault import Fault, Refused
from ..module_utils.core.names import common_labels, object_names
from ..module_utils.core.text import log_lines, read_json
from ..module_utils.kube.client import part
from ..module_utils.kube.deployment import missing_deployment, secret_values
from ..module_utils.kube.removal import namespace_of, pods_of
from ..plugin_utils.inputs import given_inputs
from ..plugin_utils.kubernetes_writes import WritingAction

# The kubelet brings a changed Secret within 90 s or so, and the guard looks with the next request, of the pulse after 15 s.
TAKEN_SECONDS = 240.0
LOOK_SECONDS = 1.0


class ActionModule(WritingAction):
    """Keys pass through memory only; the one that is asked for is printed, and is in no result."""

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        inputs = given_inputs(self._loader, "deployment")
        settings, self._names = inputs.settings, object_names(inputs.name)
        self.cluster = self.reach(settings)
        self._kubernetes = self.cluster.connect()
        self._name, self._namespace = inputs.name, namespace_of(self._kubernetes, inputs.name, settings["namespace"])
        data = self._read(self._names["api_key_secret"])
        action, name, now = settings["keys_action"], settings["key_name"], time.time()
        if action == "rotate_ray_token":
            return {**self._said(data), **self._rotate_token(task_vars)}
        value = secrets.token_urlsafe(32)
        if action == "add":
            wanted = api_keys.added(data, name, value, now)
        elif action == "rotate":
            wanted = api_keys.rotated(data, name, value, settings["key_overlap_minutes"] * 60, now)
        elif action == "remove":
            wanted = api_keys.removed(data, name, now)
        else:
            return {"changed": False, **self._said(data), "in_force": None}
        if self._task.check_mode:
            return {"changed": True, **self._said(wanted), "in_force": None}
        revision = f"{int(now)}-{secrets.token_hex(4)}"
        self._patch(self._names["api_key_secret"], data, {**wanted, api_keys.REVISION: revision}, task_vars)
        in_force = self._wait(revision)
        if settings["key_show"] and action != "remove":
            self._display.display(f"\n  {name}: {value}\n")
        return {"changed": True, **self._said(wanted), "in_force": in_force}

    def _rotate_token(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Write another token for Ray and delete the pods: each has the token in its environment."""
        pods = pods_of(self._kubernetes, self._name, self._namespace)
        if self._task.check_mode:
            return {"changed": True, "in_force": None, "replaced": pods}
        cluster = self._kubernetes.get(
            f"/apis/ray.io/v1/namespaces/{part(self._namespace)}/rayclusters/{part(self._name)}"
        )
        options = ((cluster or {}).get("spec") or {}).get("authOptions") or {}
        name = options.get("secretName") or self._names["kuberay_token_secret"]
        self._patch(name, self._read(name), {"auth_token": secrets.token_urlsafe(32)}, task_vars)
        metadata = [{"name": pod, "namespace": self._namespace} for pod in pods]
        self.remove([{"apiVersion": "v1", "kind": "Pod", "metadata": one} for one in metadata], task_vars)
        return {"changed": True, "in_force": False, "replaced": pods}

    def _patch(self, name: str, before: dict[str, str], after: dict[str, str], task_vars: dict[str, Any]) -> None:
        """Change the entries of a Secret, and drop those that are gone."""
        data: dict[str, str | None] = dict.fromkeys(before.keys() - after.keys())
        if name != self._names["api_key_secret"]:
            data = {}
        data.update(
            {key: base64.b64encode(value.encode()).decode() for key, value in after.items() if before.get(key) != value}
        )
        item = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": self._namespace},
            "data": data,
        }
        self.write([item], task_vars, state="patched", merge_type=["merge"])

    def _wait(self, revision: str) -> bool:
        """Return when the guard says that the change is in force; False at once where no head serves that would."""
        head = self._head()
        if head is None:
            return False
        path = f"/api/v1/namespaces/{part(self._namespace)}/pods/{part(head)}/log"
        began = time.monotonic()
        while time.monotonic() - began < TAKEN_SECONDS:
            log = self._kubernetes.read(path, sinceSeconds=int(time.monotonic() - began) + 10)
            if any(_revision_of(line) == revision for line in log_lines(log)):
                return True
            time.sleep(LOOK_SECONDS)
        found = f"pod {head} has not said within {TAKEN_SECONDS:.0f} s that the change is in force"
        remedy = "see the logs playbook; a group of an earlier version reads its key at its start only (adopt_defaults: true)"
        raise Refused([Fault("keys_not_in_force", f"Secret/{self._names['api_key_secret']}", found, "", remedy)])

    def _head(self) -> str | None:
        """Return the name of the head's pod where it serves."""
        selector = f"ray.io/cluster={self._name},ray.io/node-type=head"
        for pod in self._kubernetes.items(f"/api/v1/namespaces/{part(self._namespace)}/pods", labelSelector=selector):
            conditions = (pod.get("status") or {}).get("conditions") or []
            if any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions):
                return str(pod["metadata"]["name"])
        return None

    def _read(self, name: str) -> dict[str, str]:
        """Return the values of a Secret of this deployment; Refused where there is none, or it is somebody else's."""
        item = self._kubernetes.get(f"/api/v1/namespaces/{part(self._namespace)}/secrets/{part(name)}")
        labels = (item or {}).get("metadata", {}).get("labels") or {}
        if item is None or not common_labels(self._name).items() <= labels.items():
            fault = missing_deployment(self._kubernetes, self._name, f"Secret/{name}")
            raise Refused([fault if item is None else replace(fault, found="not of this deployment")])
        return secret_values(item)

    @staticmethod
    def _said(data: dict[str, str]) -> dict[str, Any]:
        former = api_keys.former(data, time.time())
        return {"keys": [{"name": name, "former_until": former.get(name)} for name in api_keys.current(data)]}


def _revision_of(line: str) -> str | None:
    """Return the revision in a line of the guard about its keys; None for any other line."""
    if not line.startswith("keys {"):
        return None
    try:
        return str(read_json(line.removeprefix("keys "))["revision"])
    except (ValueError, KeyError, TypeError):
        return None
