# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods for contract tests: made in a namespace of a test's own, watched through kubectl."""

from __future__ import annotations

import json
from typing import Any

from rig.fixtures import RunningRig
from tests.waiting import wait

Object = dict[str, Any]
IMAGE = "docker.io/rayproject/ray-llm:2.58.0-py312-cu130"
KIND = "rig.multinode.inference/kind"


def script(text: str, **fields: Any) -> Object:
    """A container that runs a bash script."""
    return {"name": "main", "image": IMAGE, "command": ["bash", "-c", text], **fields}


class Namespace:
    """One namespace, and the pods in it."""

    def __init__(self, rig: RunningRig, name: str) -> None:
        self.rig = rig
        self.name = name
        nodes = json.loads(rig.kubectl("get", "nodes", "-o", "json"))["items"]
        processes = [
            node["metadata"]["name"] for node in nodes if node["metadata"].get("annotations", {}).get(KIND) == "process"
        ]
        self.node = next((node for node in processes if node.endswith(".250")), None)
        """The rig's system node; on a real cluster None: any node will do."""

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """kubectl in this namespace."""
        return self.rig.kubectl("-n", self.name, *words, stdin=stdin)

    def apply(self, manifest: Object) -> Object:
        """Create or change an object."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        return manifest

    def get(self, kind: str, name: str) -> Object:
        """The object, {} when there is none."""
        return json.loads(self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found") or "{}")

    def pod(self, name: str, *containers: Object, labels: dict[str, str] | None = None, **spec: Any) -> None:
        """Create a pod."""
        where = {"kubernetes.io/hostname": self.node} if self.node else {}
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "labels": labels or {}},
                "spec": {
                    "containers": list(containers),
                    "nodeSelector": where,
                    "terminationGracePeriodSeconds": 1,
                    **spec,
                },
            }
        )

    def status(self, name: str) -> Object:
        """A pod's status."""
        return self.get("pod", name).get("status", {})

    def container(self, name: str, index: int = 0) -> Object:
        """The status of a pod's container, {} while there is none."""
        return (self.status(name).get("containerStatuses") or [{}] * (index + 1))[index]

    def condition(self, name: str, kind: str = "Ready") -> Object:
        """A condition of a pod."""
        return next((one for one in self.status(name).get("conditions", []) if one["type"] == kind), {})

    def until_ready(self, name: str, seconds: float = 30) -> None:
        """Wait until a pod is Ready."""
        wait(f"pod {name} Ready", lambda: self.condition(name).get("status") == "True", seconds)

    def until_phase(self, name: str, phase: str, seconds: float = 30) -> Object:
        """Wait until a pod is in this phase; its status."""
        return wait(
            f"pod {name} {phase}",
            lambda: (status := self.status(name)).get("phase") == phase and status,
            seconds,
        )

    def output(self, name: str, text: str, seconds: float = 30, **spec: Any) -> str:
        """What a script prints that is run in a pod to its end."""
        self.pod(name, script(text, **spec.pop("container", {})), restartPolicy="Never", **spec)
        wait(f"end of pod {name}", lambda: self.status(name).get("phase") in ("Succeeded", "Failed"), seconds)
        return self.logs(name)

    def logs(self, name: str, *options: str) -> str:
        """A pod's log."""
        return self.kubectl("logs", name, *options)

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of each event of a pod."""
        found = json.loads(
            self.kubectl("get", "events", "--field-selector", f"involvedObject.name={name}", "-o", "json")
        )
        return [(event["reason"], event["message"]) for event in found["items"]]
