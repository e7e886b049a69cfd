# SPDX-License-Identifier: GPL-3.0-or-later
"""The KubeRay stand-in's pure parts: what is made of a RayCluster, and what is done when pods change."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rig.kuberay import names, pods, quantity, ray_cluster, reconcile, services, status, validation
from rig.kuberay.ray_cluster import Settings

SETTINGS = Settings()
NOW = "2026-01-01T00:00:00Z"


def template(**container: Any) -> dict[str, Any]:
    resources = {"limits": {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "2"}}
    return {"spec": {"containers": [{"name": "ray", "image": "i", "resources": resources, **container}]}}


def cluster(replicas: int = 2, **spec: Any) -> dict[str, Any]:
    group = {"groupName": "workers", "replicas": replicas, "minReplicas": 0, "maxReplicas": 9, "template": template()}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "llm", "namespace": "serving", "uid": "u", "generation": 3},
        "spec": {
            "rayVersion": "2.58.0",
            "headGroupSpec": {"template": template()},
            "workerGroupSpecs": [group],
            **spec,
        },
    }


def made(pod: dict[str, Any], name: str, phase: str = "Running", ready: bool = True) -> dict[str, Any]:
    """`pod` as it comes back from the API server."""
    pod = copy.deepcopy(pod)
    pod["metadata"]["name"] = name
    ready_condition = {"type": "Ready", "status": str(ready), "reason": "" if ready else "ContainersNotReady"}
    pod["status"] = {"phase": phase, "podIP": "10.0.0.9", "conditions": [ready_condition]}
    return pod


def all_pods(of: dict[str, Any]) -> list[dict[str, Any]]:
    return [made(pod, f"p{i}") for i, pod in enumerate(reconcile.decide(of, [], SETTINGS).create)]


def environment(pod: dict[str, Any], init: bool = False) -> dict[str, str]:
    holder = pod["spec"]["initContainers" if init else "containers"][0]
    return {variable["name"]: variable.get("value", "from") for variable in holder["env"]}


def container(pod: dict[str, Any]) -> dict[str, Any]:
    return pod["spec"]["containers"][0]


def worker(of: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return pods.worker_pod(of, ray_cluster.worker_groups(of)[0], index, SETTINGS)


class TestPods:
    def test_names_labels_and_owner(self) -> None:
        head, first = pods.head_pod(cluster(), SETTINGS), worker(cluster(), 1)
        assert head["metadata"]["generateName"] == "llm-head-"
        assert first["metadata"]["generateName"] == "llm-workers-worker-"
        assert first["metadata"]["labels"] == {
            "ray.io/is-ray-node": "yes",
            "ray.io/cluster": "llm",
            "ray.io/node-type": "worker",
            "ray.io/group": "workers",
            "ray.io/identifier": "llm-worker",
            "ray.io/worker-group-replica-index": "1",
            "app.kubernetes.io/name": "kuberay",
            "app.kubernetes.io/created-by": "kuberay-operator",
        }
        assert head["metadata"]["ownerReferences"][0]["uid"] == "u"

    def test_three_labels_cannot_be_overridden(self) -> None:
        given = cluster()
        labels = {"ray.io/group": "mine", "app.kubernetes.io/name": "mine"}
        given["spec"]["headGroupSpec"]["template"]["metadata"] = {"labels": labels}
        found = pods.head_pod(given, SETTINGS)["metadata"]["labels"]
        assert (found["ray.io/group"], found["app.kubernetes.io/name"]) == ("headgroup", "mine")

    def test_start_command_of_head_and_worker(self) -> None:
        head = environment(pods.head_pod(cluster(), SETTINGS))["KUBERAY_GEN_RAY_START_CMD"]
        assert head.split() == [
            *("ray", "start", "--head", "--block", "--dashboard-agent-listen-port=52365", "--dashboard-host=0.0.0.0"),
            *("--memory=17179869184", "--metrics-export-port=8080", "--num-cpus=8", "--num-gpus=2"),
        ]
        first = environment(worker(cluster()))["KUBERAY_GEN_RAY_START_CMD"]
        assert "--address=llm-head-svc.serving.svc.cluster.local:6379" in first
        assert "--head" not in first

    def test_given_parameters_win_and_booleans_are_flags(self) -> None:
        given = cluster()
        given["spec"]["headGroupSpec"]["rayStartParams"] = {
            "num-gpus": "1",
            "port": "7000",
            "no-monitor": "true",
            "log-color": "false",
            "disable-usage-stats": "false",
        }
        words = environment(pods.head_pod(given, SETTINGS))["KUBERAY_GEN_RAY_START_CMD"].split()
        assert {"--num-gpus=1", "--port=7000", "--no-monitor", "--log-color=false"} <= set(words)
        assert not [word for word in words if "usage" in word]
        assert environment(worker(given))["RAY_ADDRESS"].endswith(":7000")

    def test_own_command_stands_before_ray_start(self) -> None:
        given = cluster()
        container_of = given["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
        container_of["command"] = ["echo", "hello"]
        found = container(pods.head_pod(given, SETTINGS))
        assert found["command"] == ["/bin/bash", "-c", "--"]
        assert found["args"][0].startswith("echo hello && ulimit -n ")
        given["metadata"]["annotations"] = {"ray.io/overwrite-container-cmd": "true"}
        found = container(pods.head_pod(given, SETTINGS))
        assert found["command"] == ["echo", "hello"]
        assert "args" not in found

    def test_environment_of_head_and_worker(self) -> None:
        head, first = environment(pods.head_pod(cluster(), SETTINGS)), environment(worker(cluster()))
        assert head["RAY_ADDRESS"] == "127.0.0.1:6379"
        assert "FQ_RAY_IP" not in head
        assert first["FQ_RAY_IP"] == "llm-head-svc.serving.svc.cluster.local"
        assert first["RAY_IP"] == "llm-head-svc"
        assert {"RAY_PORT", "RAY_CLUSTER_NAME", "RAY_NODE_TYPE_NAME", "RAY_USAGE_STATS_KUBERAY_IN_USE"} <= set(head)

    @pytest.mark.parametrize(
        ("options", "secret"),
        [({"mode": "token"}, "llm"), ({"mode": "token", "secretName": "mine"}, "mine"), ({}, None), (None, None)],
    )
    def test_token_only_with_mode_token(self, options: dict[str, str] | None, secret: str | None) -> None:
        given = cluster(**({} if options is None else {"authOptions": options}))
        first = worker(given)
        for init in (False, True):
            assert environment(first, init).get("RAY_AUTH_MODE") == (secret and "token")
        if secret:
            token = [v for v in container(first)["env"] if v["name"] == "RAY_AUTH_TOKEN"]
            assert token[0]["valueFrom"]["secretKeyRef"] == {"name": secret, "key": "auth_token"}
        assert (services.token_secret(given) is not None) == (options is not None and "secretName" not in options)

    def test_worker_waits_for_the_head(self) -> None:
        given = cluster()
        spec = given["spec"]["workerGroupSpecs"][0]["template"]["spec"]
        spec["containers"][0]["securityContext"] = {"runAsUser": 0}
        spec["containers"][0]["env"] = [{"name": "MINE", "value": "1"}]
        wait = worker(given)["spec"]["initContainers"][0]
        assert wait["name"] == "wait-gcs-ready"
        assert "ray health-check --address llm-head-svc.serving.svc.cluster.local:6379" in wait["args"][0]
        assert wait["securityContext"] == {"runAsUser": 0}
        assert wait["env"][0]["name"] == "MINE"
        assert "initContainers" not in pods.head_pod(given, SETTINGS)["spec"]
        bare = pods.worker_pod(given, ray_cluster.worker_groups(given)[0], 0, Settings(inject_init_container=False))
        assert "initContainers" not in bare["spec"]

    def test_probes_by_ray_version(self) -> None:
        head = container(pods.head_pod(cluster(), SETTINGS))
        assert head["readinessProbe"]["httpGet"] == {"path": "/api/healthz", "port": 52365}
        assert head["livenessProbe"]["failureThreshold"] == 120
        old = container(pods.head_pod(cluster(rayVersion="2.52.0"), SETTINGS))
        assert "wget" in old["readinessProbe"]["exec"]["command"][2]
        given = cluster()
        mine = {"exec": {"command": ["true"]}}
        given["spec"]["headGroupSpec"]["template"] = template(readinessProbe=mine)
        found = container(pods.head_pod(given, SETTINGS))
        assert found["readinessProbe"] == mine
        assert "httpGet" in found["livenessProbe"]

    def test_shared_memory_unless_mounted(self) -> None:
        head = pods.head_pod(cluster(), SETTINGS)
        assert head["spec"]["volumes"] == [
            {"name": "shared-mem", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}}
        ]
        given = cluster()
        given["spec"]["headGroupSpec"]["template"] = template(volumeMounts=[{"name": "x", "mountPath": "/dev/shm"}])
        assert "volumes" not in pods.head_pod(given, SETTINGS)["spec"]

    def test_long_names_are_cut(self) -> None:
        assert names.pod_prefix("a" * 60, "head") == "a" * 50 + "-head-"
        assert names.head_service("a1" * 30).startswith("r")
        assert len(names.head_service("a" * 53)) == 50


class TestServices:
    def test_default_ports_only_where_none_is_declared(self) -> None:
        given = cluster()
        assert set(services.head_ports(given)) == {"client", "gcs-server", "dashboard", "metrics", "serve"}
        ports = [{"name": "api", "containerPort": 8000}]
        given["spec"]["headGroupSpec"]["template"] = template(ports=ports)
        assert services.head_ports(given) == {"api": 8000, "metrics": 8080}

    def test_headless_and_published_before_ready(self) -> None:
        service = services.head_service(cluster(), SETTINGS)
        assert service["metadata"]["name"] == "llm-head-svc"
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is True
        assert "clusterIP" not in services.head_service(cluster(), Settings(head_cluster_ip=True))["spec"]


class TestReconcile:
    def test_makes_head_and_workers_with_their_indexes(self) -> None:
        created = reconcile.decide(cluster(), [], SETTINGS).create
        assert [pod["metadata"]["labels"].get(names.LABEL_REPLICA_INDEX) for pod in created] == [None, "0", "1"]
        assert not reconcile.decide(cluster(), all_pods(cluster()), SETTINGS).create

    def test_replacement_takes_the_lowest_free_index(self) -> None:
        existing = all_pods(cluster(3))
        del existing[1]
        created = reconcile.decide(cluster(3), existing, SETTINGS).create
        assert [pod["metadata"]["labels"][names.LABEL_REPLICA_INDEX] for pod in created] == ["0"]

    def test_a_pod_being_deleted_counts_until_it_is_gone(self) -> None:
        existing = all_pods(cluster())
        existing[2]["metadata"]["deletionTimestamp"] = NOW
        assert reconcile.decide(cluster(), existing, SETTINGS) == reconcile.Steps()

    @pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
    def test_ended_pods_are_replaced(self, phase: str) -> None:
        existing = all_pods(cluster())
        for pod in (existing[0], existing[2]):
            pod["status"]["phase"] = phase
        steps = reconcile.decide(cluster(), existing, SETTINGS)
        assert [pod["metadata"]["name"] for pod, _ in steps.delete] == ["p0", "p2"]
        assert not steps.create

    def test_a_restarting_container_is_left_to_the_kubelet(self) -> None:
        existing = all_pods(cluster())
        existing[1]["status"]["containerStatuses"] = [{"name": "ray", "state": {"terminated": {"exitCode": 1}}}]
        assert reconcile.decide(cluster(), existing, SETTINGS) == reconcile.Steps()

    def test_changed_template_only_restarts_with_recreate(self) -> None:
        existing = all_pods(cluster())
        changed = cluster()
        changed["spec"]["headGroupSpec"]["template"] = template(image="j")
        assert reconcile.decide(changed, existing, SETTINGS) == reconcile.Steps()
        changed["spec"]["upgradeStrategy"] = {"type": "Recreate"}
        assert len(reconcile.decide(changed, existing, SETTINGS).delete) == 3

    def test_an_operator_upgrade_restarts_nothing(self) -> None:
        existing = all_pods(cluster())
        changed = cluster(upgradeStrategy={"type": "Recreate"})
        changed["spec"]["headGroupSpec"]["template"] = template(image="j")
        existing[0]["metadata"]["annotations"][names.ANNOTATION_OPERATOR_VERSION] = "v1.6.0"
        assert reconcile.decide(changed, existing, SETTINGS) == reconcile.Steps(adopt=existing[0])

    @pytest.mark.parametrize("field", ["replicas", "minReplicas", "maxReplicas", "tolerations"])
    def test_what_recreate_does_not_look_at(self, field: str) -> None:
        given, changed = cluster(), cluster()
        place = changed["spec"]["workerGroupSpecs"][0]
        (place["template"]["spec"] if field == "tolerations" else place)[field] = 3
        assert ray_cluster.spec_hash(given) == ray_cluster.spec_hash(changed)

    def test_surplus_and_named_workers_are_deleted(self) -> None:
        existing = all_pods(cluster(2))
        assert len(reconcile.decide(cluster(1), existing, SETTINGS).delete) == 1
        given = cluster(1)
        given["spec"]["workerGroupSpecs"][0]["scaleStrategy"] = {"workersToDelete": ["p2"]}
        deleted = [pod["metadata"]["name"] for pod, _ in reconcile.decide(given, existing, SETTINGS).delete]
        assert deleted == ["p2"]

    def test_suspend_deletes_all(self) -> None:
        assert len(reconcile.decide(cluster(suspend=True), all_pods(cluster()), SETTINGS).delete) == 3

    def test_a_unit_of_several_hosts_goes_as_one(self) -> None:
        given = cluster(1)
        given["spec"]["workerGroupSpecs"][0]["numOfHosts"] = 3
        existing = all_pods(given)
        assert [pod["metadata"]["labels"].get(names.LABEL_HOST_INDEX) for pod in existing] == [None, "0", "1", "2"]
        assert reconcile.decide(given, existing, SETTINGS) == reconcile.Steps()
        assert len(reconcile.decide(given, existing[:-1], SETTINGS).delete) == 2

    def test_replicas_are_clamped_silently(self) -> None:
        assert ray_cluster.worker_groups(cluster(12))[0].replicas == 9


class TestStatus:
    def test_ready_with_all_pods_and_not_taken_back(self) -> None:
        given = cluster()
        service = services.head_service(given, SETTINGS)
        given["status"] = status.calculate(given, all_pods(given), service, None, NOW)
        found = given["status"]
        assert found["state"] == "ready"
        assert (found["readyWorkerReplicas"], found["desiredWorkerReplicas"]) == (2, 2)
        assert found["head"] == {
            "podName": "p0",
            "podIP": "10.0.0.9",
            "serviceIP": "10.0.0.9",
            "serviceName": "llm-head-svc",
        }
        assert (found["desiredGPU"], found["desiredMemory"], found["desiredCPU"]) == ("6", "48Gi", "24")
        assert found["endpoints"]["gcs-server"] == "6379"
        assert found["observedGeneration"] == 3
        later = status.calculate(given, all_pods(given)[:2], service, None, "2026-01-02T00:00:00Z")
        assert later["state"] == "ready"
        assert later["readyWorkerReplicas"] == 1
        assert conditions(later)["RayClusterProvisioned"]["status"] == "True"

    def test_unchanged_status_is_equal(self) -> None:
        given = cluster()
        given["status"] = status.calculate(given, all_pods(given), None, None, NOW)
        assert status.calculate(given, all_pods(given), None, None, "2026-01-02T00:00:00Z") == given["status"]

    def test_provisioned_with_the_head_alone(self) -> None:
        found = status.calculate(cluster(), all_pods(cluster())[:1], None, ("FailedCreateWorkerPod", "quota"), NOW)
        assert conditions(found)["RayClusterProvisioned"]["status"] == "True"
        assert conditions(found)["ReplicaFailure"]["reason"] == "FailedCreateWorkerPod"
        assert "state" not in found

    def test_head_condition_names_the_cause(self) -> None:
        existing = [made(all_pods(cluster())[0], "h", "Pending", ready=False)]
        waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
        existing[0]["status"]["containerStatuses"] = [{"name": "ray", "ready": False, "state": {"waiting": waiting}}]
        found = conditions(status.calculate(cluster(), existing, None, None, NOW))["HeadPodReady"]
        assert (found["status"], found["reason"]) == ("False", "ImagePullBackOff")
        assert (
            conditions(status.calculate(cluster(), [], None, None, NOW))["HeadPodReady"]["reason"] == "HeadPodNotFound"
        )

    def test_suspended_once_no_pod_is_left(self) -> None:
        given = cluster(suspend=True)
        assert status.calculate(given, all_pods(cluster()), None, None, NOW).get("state") is None
        found = status.calculate(given, [], None, None, NOW)
        assert (found["state"], found["desiredWorkerReplicas"]) == ("suspended", 0)


def conditions(found: dict[str, Any]) -> dict[str, Any]:
    return {condition["type"]: condition for condition in found["conditions"]}


class TestValidation:
    def test_good_clusters_pass(self) -> None:
        assert validation.refusal(cluster(authOptions={"mode": "token"})) is None

    @pytest.mark.parametrize(
        ("name", "part"), [("x" * 54, "53 characters"), ("1abc", "DNS1035"), ("a_b", "DNS1035"), ("a-", "DNS1035")]
    )
    def test_names(self, name: str, part: str) -> None:
        given = cluster()
        given["metadata"]["name"] = name
        found = validation.refusal(given)
        assert found is not None
        assert found.reason == "InvalidRayClusterMetadata"
        assert part in found.message

    @pytest.mark.parametrize(
        ("spec", "part"),
        [
            ({"authOptions": {"mode": "token"}, "rayVersion": "2.51.0"}, "2.52.0"),
            ({"authOptions": {"mode": "token"}, "rayVersion": ""}, "not a version"),
            ({"headGroupSpec": {"template": {"spec": {"containers": []}}}}, "at least one container"),
            ({"headGroupSpec": {"template": template(), "rayStartParams": {"labels": "a=b"}}}, "labels"),
            ({"enableInTreeAutoscaling": True}, "not imitated"),
        ],
    )
    def test_specs(self, spec: dict[str, Any], part: str) -> None:
        found = validation.refusal(cluster(**spec))
        assert found is not None
        assert found.reason == "InvalidRayClusterSpec"
        assert part in found.message


@pytest.mark.parametrize(
    ("text", "number"), [("500m", 1), ("8", 8), ("16Gi", 16 * 2**30), ("1.5G", 1_500_000_000), ("1e3", 1000), (4, 4)]
)
def test_quantities(text: str | int, number: int) -> None:
    assert quantity.whole(text) == number


def test_no_quantity() -> None:
    with pytest.raises(ValueError, match="not a Kubernetes quantity"):
        quantity.whole("many")
