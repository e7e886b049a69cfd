# SPDX-License-Identifier: GPL-3.0-or-later
"""RayClusters of tests: an operator that runs, a namespace of one's own, what is asked again and again."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from rig.configuration import REPOSITORY
from rig.fixtures import RunningRig
from tests.waiting import wait

OPERATOR = "kuberay-operator"
NAMESPACE = "kuberay-system"
RAY_CLUSTERS = "rayclusters.ray.io"
# KubeRay's own definition, where it lies beside the checkout.
REAL_DEFINITION = REPOSITORY.parent / "shared" / "kuberay" / "crds" / "ray.io_rayclusters.yaml"
Object = dict[str, Any]


class Cluster:
    """One RayCluster of a test, in a namespace of its own."""

    def __init__(self, rig: RunningRig, namespace: str) -> None:
        self._rig = rig
        self._namespace = namespace
        self.name = f"llm-{uuid.uuid4().hex[:4]}"

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        return self._rig.kubectl("-n", self._namespace, *words, stdin=stdin)

    def apply(self, manifest: Object) -> Object:
        manifest["metadata"]["name"] = self.name
        self.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=json.dumps(manifest))
        return manifest

    def get(self) -> Object:
        return json.loads(self.kubectl("get", RAY_CLUSTERS, self.name, "-o", "json"))

    def status(self) -> Object:
        return self.get().get("status") or {}

    def is_ready(self) -> bool:
        found = self.get()
        status = found.get("status") or {}
        return (
            status.get("state") == "ready"
            and status["observedGeneration"] == found["metadata"]["generation"]
            and status["readyWorkerReplicas"] == status["desiredWorkerReplicas"]
        )

    def pods(self) -> list[Object]:
        """The pods that are not being deleted."""
        selector = f"ray.io/cluster={self.name}"
        found = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def workers(self) -> dict[str, str]:
        """Name by replica index of the workers."""
        labels = {pod["metadata"]["name"]: pod["metadata"]["labels"] for pod in self.pods()}
        return {
            label["ray.io/worker-group-replica-index"]: name
            for name, label in labels.items()
            if label["ray.io/node-type"] == "worker"
        }

    def until_ready(self) -> None:
        """Wait until the operator says so."""
        wait("a ready RayCluster", self.is_ready, also=self.describe)

    def describe(self) -> str:
        """What is there, for a test that waited in vain."""
        shown = ("get", f"{RAY_CLUSTERS},pods", "-o", "yaml"), ("get", "events", "--sort-by=.lastTimestamp")
        return "\n".join(self.kubectl(*words) for words in shown)

    def events(self, reason: str) -> list[str]:
        selector = f"involvedObject.name={self.name},reason={reason}"
        found = json.loads(self.kubectl("get", "events", "--field-selector", selector, "-o", "json"))
        return [event["message"] for event in found["items"]]


def helm(rig: RunningRig, *words: str) -> None:
    """Helm in the operator's namespace."""
    command = [str(rig.directory / "bin" / "helm"), "--kubeconfig", str(rig.kubeconfig), "-n", NAMESPACE]
    subprocess.run([*command, *words], check=True, capture_output=True)


@pytest.fixture
def no_operator(rig: RunningRig) -> None:
    """No operator: deploy installs its own, which stays for those who come after."""
    helm(rig, "uninstall", OPERATOR, "--wait", "--ignore-not-found")


@pytest.fixture(scope="module")
def operator(rig: RunningRig) -> Iterator[None]:
    """An operator that runs: one that is there already, else the chart's, taken away again."""
    if OPERATOR in rig.kubectl("get", "deployments", "-A", "-o", "name"):
        yield
        return
    chart = rig.directory / "charts" / OPERATOR
    rig.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(chart / "crds"))
    helm(rig, "install", OPERATOR, str(chart), "--create-namespace", "--skip-crds", "--wait", "--timeout", "120s")
    yield
    helm(rig, "uninstall", OPERATOR, "--wait")


@pytest.fixture
def namespace(rig: RunningRig) -> Iterator[str]:
    """A namespace that goes with the test."""
    name = f"ray-{uuid.uuid4().hex[:6]}"
    rig.kubectl("create", "namespace", name)
    yield name
    rig.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module", params=["rig", "real"])
def definition(rig: RunningRig, request: pytest.FixtureRequest) -> Iterator[str]:
    """The API group of the definition under test: installed under another name, so that the rig's own stays as it is."""
    if request.param == "rig":
        file = next((rig.directory / "charts" / OPERATOR / "crds").glob("*rayclusters.yaml"))
    elif REAL_DEFINITION.is_file():
        file = REAL_DEFINITION
    else:
        pytest.skip(f"not run: KubeRay's own definition is not here ({REAL_DEFINITION})")
    document = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
    group = f"{request.param}-{uuid.uuid4().hex[:6]}.example"
    name = f"checks.{group}"
    document["metadata"] = {"name": name}
    document["spec"]["group"] = group
    document["spec"]["names"] = {"kind": "Check", "plural": "checks", "singular": "check"}
    rig.kubectl("create", "-f", "-", stdin=json.dumps(document))

    def established() -> bool:
        found = json.loads(rig.kubectl("get", "crd", name, "-o", "json")).get("status", {}).get("conditions") or []
        return any(condition["type"] == "Established" and condition["status"] == "True" for condition in found)

    try:
        wait("an established definition", established, seconds=60)
        yield group
    finally:
        rig.kubectl("delete", "crd", name)
