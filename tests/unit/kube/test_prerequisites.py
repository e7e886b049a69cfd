# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of a cluster, by what its API would answer."""

from __future__ import annotations

from typing import Any

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.kube.prerequisites import read_surroundings

SHAPE = "node.kubernetes.io/instance-type"
GIB = 2**30


def node(name: str, *taints: tuple[str, str], ready: str = "True", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {SHAPE: "VM.GPU.A10.2"}},
        "spec": {"taints": [{"key": key, "effect": effect} for key, effect in taints], **spec},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "allocatable": {
                "cpu": "59500m",
                "memory": f"{460 * GIB}",
                "nvidia.com/gpu": "2",
                "ephemeral-storage": "600Gi",
            },
        },
    }


def daemon(name: str, image: str = "registry.example/other:1", namespace: str = "kube-system") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
    }


def pod(name: str, on: str = "", requests: Any = (), inits: Any = (), **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "llama", "labels": labels},
        "spec": {
            "nodeName": on,
            "containers": [{"resources": {"requests": one}} for one in requests],
            "initContainers": list(inits),
        },
    }


OPERATOR = {
    "metadata": {"name": "kuberay-operator", "namespace": "kuberay-system"},
    "spec": {"template": {"spec": {"containers": [{"image": "quay.io/kuberay/operator:v1.5.1"}]}}},
    "status": {"availableReplicas": 1},
}


class Cluster:
    """Lists by the last part of their path; a list that is missing is forbidden. `allowed` answers reviews."""

    def __init__(
        self,
        allowed: Any = lambda right: True,
        crd: Any = None,
        secret: dict[str, Any] | None = None,
        **lists: list[dict[str, Any]],
    ) -> None:
        self._secret = secret
        self._lists = {"deployments": [], "daemonsets": [], "storageclasses": [], "pods": [], "nodes": [], **lists}
        self._allowed = allowed
        self._crd = crd
        self.asked: list[dict[str, str]] = []

    def metadata(self, path: str, **query: Any) -> list[dict[str, Any]]:
        return []

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        found = self._lists[path.rpartition("/")[2]]
        if found is None:
            raise Refused([Fault("forbidden", "kubeconfig", "403")])
        if path == "/apis/apps/v1/deployments":
            return [] if self._crd is None else [OPERATOR]
        return found

    def get(self, path: str, **_query: Any) -> Any:
        return self._secret if "/secrets/" in path else self._crd

    def allows(self, attributes: dict[str, str]) -> bool:
        self.asked.append(attributes)
        return bool(self._allowed(attributes))


def read(cluster: Cluster, selector: str = "", helm: str = "true") -> dict[str, Any]:
    return read_surroundings(cluster, "llama", "llama", "kuberay-system", helm, node_selector=selector)


def test_nodes_for_the_operator_are_ready_open_and_without_a_taint() -> None:
    nodes = [
        node("good"),
        node("preferred", ("a", "PreferNoSchedule")),
        node("gpu", ("nvidia.com/gpu", "NoSchedule")),
        node("young", ready="False"),
        node("cordoned", unschedulable=True),
    ]
    found = read(Cluster(nodes=nodes))
    assert found["system_nodes"] == ["good", "preferred"] and found["nodes"] == 5
    assert found["gpu_nodes"] is None


def test_what_runs_on_every_node() -> None:
    daemons = [
        daemon("nvidia-gpu-device-plugin", "iad.ocir.io/oke-public/nvidia-gpu-device-plugin:1"),
        daemon("nvidia-device-plugin-daemonset", "nvcr.io/nvidia/k8s-device-plugin:v0.17", "gpu-operator"),
        daemon("nvidia-device-plugin-mps-control-daemon", "nvcr.io/nvidia/k8s-device-plugin:v0.17", "gpu-operator"),
        daemon("calico-node"),
        daemon("kube-proxy"),
    ]
    found = read(Cluster(daemonsets=daemons))
    assert found["advertisers"] == [
        "DaemonSet kube-system/nvidia-gpu-device-plugin",
        "DaemonSet gpu-operator/nvidia-device-plugin-daemonset",
    ]
    assert found["policy_engines"] == ["Calico"]


def test_room_on_nodes_is_what_pods_of_others_leave() -> None:
    pods = [
        pod("a", "10.0.0.9", [{"cpu": "500m", "nvidia.com/gpu": 1}, {"memory": "1Gi"}]),
        pod("b", "10.0.0.9", [{"cpu": "1"}], [{"resources": {"requests": {"cpu": "4"}}}]),
        pod("sidecar", "10.0.0.9", [{}], [{"restartPolicy": "Always", "resources": {"requests": {"memory": "2Gi"}}}]),
        pod("elsewhere", "10.0.0.8", [{"cpu": "9"}]),
        pod("ours", "10.0.0.9", [{"cpu": "50"}], **{"ray.io/cluster": "llama"}),
    ]
    (described,) = read(Cluster(nodes=[node("10.0.0.9")], pods=pods), f"{SHAPE}=VM.GPU.A10.2")["gpu_nodes"]
    assert described["allocatable"] == {"gpus": 2, "cpu": 59.5, "memory_gib": 460, "ephemeral_gib": 600}
    assert described["requested"] == {"gpus": 1, "cpu": 4.5, "memory_gib": 3, "ephemeral_gib": 0}
    assert read(Cluster(nodes=[node("10.0.0.9")]), f"{SHAPE}=BM.GPU.H100.8")["gpu_nodes"] == []


def test_an_administrator_is_asked_one_thing_and_others_each_right() -> None:
    administrator = Cluster()
    assert read(administrator)["missing_rights"] == []
    assert {entry["resource"] for entry in administrator.asked} == {"*"}
    user = Cluster(allowed=lambda right: right["resource"] not in ("*", "secrets"))
    missing = read(user)["missing_rights"]
    assert {entry["resource"] for entry in missing} == {"secrets"}
    assert {entry["namespace"] for entry in missing} == {"llama", "kuberay-system"}


def test_what_may_not_be_read_is_not_known() -> None:
    forbidden: Any = None
    found = read(Cluster(nodes=forbidden, daemonsets=forbidden, storageclasses=forbidden))
    assert found["system_nodes"] is found["advertisers"] is found["policy_engines"] is found["storage_classes"] is None


def test_what_an_upgrade_takes_is_asked_for_before_anything_is_made() -> None:
    def asked(upgraded_to: str) -> tuple[list[str], bool]:
        schema = {"openAPIV3Schema": {"properties": {"spec": {"properties": {"authOptions": {}}}}}}
        cluster: Any = Cluster(
            crd={"spec": {"versions": [{"name": "v1", "schema": schema}]}},
            allowed=lambda right: right["verb"] != "*" and right["resource"] != "clusterroles",
        )
        found = read_surroundings(cluster, "llama", "llama", "kuberay-system", "/no/such/helm", upgraded_to=upgraded_to)
        rights = {right["resource"] for right in found["missing_rights"]}
        return [fault["code"] for fault in found["operator_faults"]], "clusterroles" in rights

    assert asked("") == ([], False)
    assert asked("1.0.0") == ([], False)
    assert asked("99.0.0") == (["no_helm"], True)


def test_without_an_operator_helm_is_looked_for_before_anything_is_made() -> None:
    found = read(Cluster(), helm="/no/such/helm")
    assert [fault["code"] for fault in found["operator_faults"]] == ["no_helm"]
    assert not found["operator_available"]
    assert found["raycluster_fields"] is None


def test_the_fields_of_a_raycluster_are_those_of_the_installed_definition() -> None:
    fields = {"authOptions": {}, "headGroupSpec": {}, "rayVersion": {}}
    schema = {"openAPIV3Schema": {"properties": {"spec": {"properties": fields}}}}
    found = read(Cluster(crd={"spec": {"versions": [{"name": "v1", "schema": schema}]}}))
    assert found["operator_available"]
    assert found["raycluster_fields"] == ["authOptions", "headGroupSpec", "rayVersion"]


def test_the_operators_image_can_be_pulled_before_it_is_installed() -> None:
    def against(cluster: Cluster) -> list[tuple[str, str]]:
        found = read_surroundings(cluster, "llama", "llama", "rays", "true", pull_secret="registry")
        return [(fault["code"], fault["where"]) for fault in found["operator_faults"]]

    place = "kuberay_image_pull_secret"
    helm = against(Cluster(secret={"data": {".dockerconfigjson": "e30="}}))
    assert place not in [where for _code, where in helm]
    assert [entry for entry in against(Cluster()) if entry not in helm] == [("secret_missing", place)]
    opaque = against(Cluster(secret={"data": {"password": "e30="}}))
    assert [entry for entry in opaque if entry not in helm] == [("secret_key_missing", place)]
    fields = {"spec": {"properties": {"authOptions": {}}}}
    schema = {"name": "v1", "schema": {"openAPIV3Schema": {"properties": fields}}}
    assert against(Cluster(crd={"spec": {"versions": [schema]}})) == [], "one that is there has its image"
