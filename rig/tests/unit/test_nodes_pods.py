# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kubelet stand-in says and decides, without a cluster: environment, status, back-off, users, quantities."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from rig.nodes import environment, images, security, status
from rig.nodes.backoff import BackOff
from rig.nodes.quantities import in_units, parse

POD: dict[str, Any] = {
    "metadata": {
        "name": "llm-head",
        "namespace": "models",
        "uid": "u-1",
        "labels": {"ray.io/worker-group-replica-index": "2"},
        "annotations": {"a": "b"},
    },
    "spec": {"nodeName": "10.60.2.11", "containers": [], "serviceAccountName": "default"},
}


def context(**changes: Any) -> environment.Context:
    async def secret(name: str) -> dict[str, Any] | None:
        found = {"data": {"par": base64.b64encode(b"https://x").decode()}}
        return found if name == "source" else None

    async def config_map(name: str) -> dict[str, Any] | None:
        return {"data": {"one": "1", "two": "2"}} if name == "settings" else None

    fields: dict[str, Any] = {
        "pod": POD,
        "pod_ip": "10.60.1.7",
        "host_ip": "10.60.2.11",
        "allocatable": {"cpu": "7500m", "memory": "10Gi"},
        "services": [],
        "secret": secret,
        "config_map": config_map,
    }
    return environment.Context(**(fields | changes))


def variables(container: dict[str, Any], **changes: Any) -> dict[str, str]:
    return asyncio.run(environment.variables(container, context(**changes), {"PATH": "/bin"}))


def test_variables_see_those_before_them_and_leave_unknown_ones_alone() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(C)$$(A)"}, {"name": "C", "value": "3"}]
    assert variables({"env": env}) == {"PATH": "/bin", "A": "1", "B": "1$(C)$(A)", "C": "3"}


def test_variables_from_fields_secrets_and_config_maps() -> None:
    def of(**source: Any) -> dict[str, Any]:
        return {"name": next(iter(source)), "valueFrom": source}

    label = "metadata.labels['ray.io/worker-group-replica-index']"
    env = [
        {"name": "INDEX", "valueFrom": {"fieldRef": {"fieldPath": label}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "PAR", "valueFrom": {"secretKeyRef": {"name": "source", "key": "par"}}},
        {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "source", "key": "no", "optional": True}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Gi"}}},
    ]
    found = variables({"env": env, "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "S_"}]})
    assert found == {
        "PATH": "/bin",
        "INDEX": "2",
        "IP": "10.60.1.7",
        "PAR": "https://x",
        "CPU": "8",  # 7500m, rounded up: the node's allocatable, as there is no limit
        "MEMORY": "10",
        "S_one": "1",
        "S_two": "2",
    }


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"secretKeyRef": {"name": "nothing", "key": "k"}}, 'secret "nothing" not found'),
        ({"secretKeyRef": {"name": "source", "key": "k"}}, "couldn't find key k in Secret models/source"),
        ({"configMapKeyRef": {"name": "nothing", "key": "k"}}, 'configmap "nothing" not found'),
    ],
)
def test_what_is_missing_is_said_in_the_kubelets_words(source: dict[str, Any], said: str) -> None:
    with pytest.raises(environment.ConfigError, match="^" + said + "$"):
        variables({"env": [{"name": "X", "valueFrom": source}]})


def test_services_of_the_namespace_are_announced() -> None:
    service = {
        "metadata": {"name": "vllm", "namespace": "models"},
        "spec": {"clusterIP": "10.96.3.4", "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}]},
    }
    other = {**service, "metadata": {"name": "other", "namespace": "elsewhere"}}
    found = variables({}, services=[service, other])
    assert found["VLLM_PORT"] == "tcp://10.96.3.4:8000"
    assert found["VLLM_SERVICE_PORT_HTTP"] == "8000"
    assert not any(name.startswith("OTHER") for name in found)
    quiet = {**POD, "spec": {**POD["spec"], "enableServiceLinks": False}}
    assert variables({}, services=[service], pod=quiet) == {"PATH": "/bin"}


def test_back_off_starts_at_once_then_waits_ever_longer_until_a_long_run() -> None:
    back_off, now, waits = BackOff(), 1000.0, []
    for _ in range(8):
        until = back_off.until(now)
        waits.append(until - now)
        back_off.advance(now, until)
        now = until + 1  # it runs for a second
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    now += 601
    assert back_off.until(now) == now


def state(name: str = "ray", **fields: Any) -> status.ContainerState:
    return status.ContainerState(name, "image", **fields)


RUNNING = {"running": {"startedAt": "t"}}
FAILED = {"terminated": {"exitCode": 1}}
DONE = {"terminated": {"exitCode": 0}}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}


@pytest.mark.parametrize(
    ("inits", "mains", "ended", "policy", "expected"),
    [
        ([], [state()], False, "Always", "Pending"),
        ([], [state(state=RUNNING), state(state={"waiting": {"reason": "ErrImagePull"}})], False, "Always", "Pending"),
        ([], [state(state=RUNNING)], False, "Always", "Running"),
        ([], [state(state=BACK_OFF, last_state=FAILED)], False, "Always", "Running"),
        ([], [state(state=FAILED)], False, "OnFailure", "Running"),
        ([], [state(state=DONE), state(state=DONE)], True, "Never", "Succeeded"),
        ([], [state(state=DONE), state(state=FAILED)], True, "Never", "Failed"),
        ([], [state(state=DONE)], True, "Always", "Succeeded"),
        ([state(state=RUNNING)], [state()], False, "Always", "Pending"),
        ([state(state=DONE)], [state(state=RUNNING)], False, "Always", "Running"),
        ([state(state=FAILED)], [state()], True, "Never", "Failed"),
        ([state(state=RUNNING, sidecar=True, started=True)], [state(state=RUNNING)], False, "Always", "Running"),
    ],
)
def test_phase(inits: Any, mains: Any, ended: bool, policy: str, expected: str) -> None:
    assert status.phase({"spec": {"restartPolicy": policy}}, inits, mains, ended) == expected


def conditions(*mains: status.ContainerState, phase: str = "Running", **pod: Any) -> dict[str, tuple[str, Any, Any]]:
    found = status.conditions({"spec": {}, **pod}, [], list(mains), phase, True)
    return {one["type"]: (one["status"], one["reason"], one["message"]) for one in found}


def test_conditions_name_what_is_not_ready() -> None:
    found = conditions(state("head", state=RUNNING), state("side", state=RUNNING, ready=True))
    assert found["Ready"] == ("False", "ContainersNotReady", "containers with unready status: [head]")
    assert conditions(state(state=RUNNING, ready=True))["Ready"] == ("True", None, None)
    assert conditions(state(state=DONE), phase="Succeeded")["Ready"] == ("False", "PodCompleted", None)


def test_a_readiness_gate_holds_back_ready_only() -> None:
    gated = {"spec": {"readinessGates": [{"conditionType": "x/y"}]}}
    found = conditions(state(state=RUNNING, ready=True), **gated)
    assert found["ContainersReady"][0] == "True"
    assert found["Ready"][:2] == ("False", "ReadinessGatesNotReady")


def test_the_time_of_a_condition_is_that_of_its_last_change() -> None:
    old = [{"type": "Ready", "status": "True", "lastTransitionTime": "before"}]
    assert status.with_times([{"type": "Ready", "status": "True"}], old, "now")[0]["lastTransitionTime"] == "before"
    assert status.with_times([{"type": "Ready", "status": "False"}], old, "now")[0]["lastTransitionTime"] == "now"


def test_images_are_found_by_full_name_only() -> None:
    assert images.find("quay.io/kuberay/operator:v1.7.1").user == 65532
    with pytest.raises(images.PullError, match="short name mode is enforcing"):
        images.find("kuberay/operator:v1.7.1")
    with pytest.raises(images.PullError, match="not found"):
        images.find("quay.io/kuberay/operator:v0.1")


def identity(pod: dict[str, Any], container: dict[str, Any]) -> security.Identity:
    image = images.find("quay.io/kuberay/operator:v1.7.1")
    return security.identity({"spec": {"securityContext": pod}}, {"name": "c", "securityContext": container}, image)


def test_users_and_groups() -> None:
    assert identity({}, {}).uid == 65532
    found = identity(
        {"runAsUser": 1000, "runAsGroup": 100, "fsGroup": 7, "supplementalGroups": [9]}, {"runAsUser": 1001}
    )
    assert (found.uid, found.gid, found.groups) == (1001, 100, (7, 9))
    with pytest.raises(environment.ConfigError, match="runAsNonRoot"):
        identity({"runAsNonRoot": True}, {"runAsUser": 0})


def test_capabilities() -> None:
    assert security.CAPABILITIES["SYS_ADMIN"] not in (identity({}, {}).capabilities or ())
    assert identity({}, {"privileged": True}).capabilities is None
    only = identity({}, {"capabilities": {"drop": ["ALL"], "add": ["IPC_LOCK"]}}).capabilities
    assert only == (security.CAPABILITIES["IPC_LOCK"],)


def test_quantities() -> None:
    assert [int(parse(text)) for text in ("1k", "1Ki", "2e3", "1500m", "64Gi")] == [1000, 1024, 2000, 1, 64 * 2**30]
    assert in_units("100m", "1") == 1
    assert in_units("1Gi", "1Mi") == 1024
    with pytest.raises(ValueError, match="no quantity"):
        parse("12 apples")
