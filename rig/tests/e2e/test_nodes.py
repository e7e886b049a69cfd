# SPDX-License-Identifier: GPL-3.0-or-later
"""What the product relies on in a kubelet, asked of process nodes. Nothing here knows of the rig, but where it says so."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from typing import Any

import pytest

from rig.tests.e2e.pods import Namespace, script
from tests.waiting import wait


def test_a_pod_knows_itself(namespace: Namespace) -> None:
    env = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {
            "name": "INDEX",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['ray.io/worker-group-replica-index']"}},
        },
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "BOTH", "value": "$(POD_IP)/$(INDEX)"},
    ]
    text = (
        'id -u; id -G; hostname; echo "$BOTH $MEMORY"; getent hosts $(hostname) | cut -d" " -f1; cat /proc/1/comm; true'
    )
    said = namespace.output(
        "self",
        text,
        container={"env": env, "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}}},
        labels={"ray.io/worker-group-replica-index": "3"},
        securityContext={"runAsUser": 1000, "runAsGroup": 100, "fsGroup": 2000, "supplementalGroups": [3000]},
    )
    status = namespace.status("self")
    address = status["podIP"]
    assert said.splitlines() == ["1000", "100 2000 3000", "self", f"{address}/3 64", address, "bash"]
    assert status["containerStatuses"][0]["imageID"].partition("@")[2].startswith("sha256:")
    reasons = {reason for reason, _ in namespace.events("self")}
    assert {"Scheduled", "Pulled", "Created", "Started"} <= reasons


def test_a_service_account_token_is_mounted_and_bound_to_the_pod(namespace: Namespace) -> None:
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    said = namespace.output("token", f"cat {folder}/token; echo; cat {folder}/namespace; echo; head -1 {folder}/ca.crt")
    token, where, certificate = said.splitlines()
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["kubernetes.io"]["pod"]["name"] == "token"
    assert claims["sub"] == f"system:serviceaccount:{namespace.name}:default"
    assert where == namespace.name
    assert certificate == "-----BEGIN CERTIFICATE-----"
    said = namespace.output("no-token", f"ls {folder} 2>&1 || true", automountServiceAccountToken=False)
    assert "No such file" in said


def test_containers_of_a_pod_share_its_network_but_no_processes_or_files(namespace: Namespace) -> None:
    server = script("touch /tmp/mine; cd /tmp && exec python3 -m http.server 8000", name="server")
    text = "until curl -sf localhost:8000; do sleep 0.2; done; ls /tmp/mine; ls -d /proc/[0-9]* | wc -l; sleep 100"
    namespace.pod("shared", server, script(text))
    namespace.until_ready("shared")
    wait("the answer", lambda: "No such file" in namespace.logs("shared", "-c", "main"))
    said = namespace.logs("shared", "-c", "main")
    assert "mine</a>" in said
    assert int(wait("the count", lambda: namespace.logs("shared", "-c", "main").split()[-1])) < 6


def test_a_restarted_container_keeps_volumes_and_nothing_else(namespace: Namespace) -> None:
    text = "ls /kept /memory; ls /tmp/c || true; touch /kept/a /memory/b /tmp/c; (setsid sleep 1000 &); echo why > $0; exit 7"
    mounts = [{"name": "kept", "mountPath": "/kept"}, {"name": "memory", "mountPath": "/memory"}]
    volumes = [
        {"name": "kept", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
    ]
    container = script(text, volumeMounts=mounts)
    container["command"].append("/dev/termination-log")
    namespace.pod("again", container, volumes=volumes)
    wait("the first restart", lambda: namespace.container("again").get("restartCount", 0) >= 1)
    wait(
        "back-off",
        lambda: namespace.container("again")["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff",
        10,
    )
    found = namespace.container("again")
    assert found["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=main")
    last = found["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"], last["message"]) == (7, "Error", "why\n")
    gone = "ls: cannot access '/tmp/c': No such file or directory"
    assert namespace.logs("again").split("\n") == ["/kept:", "a", "", "/memory:", "b", gone, ""]
    assert namespace.logs("again", "--previous").split("\n") == ["/kept:", "", "/memory:", gone, ""]
    assert namespace.status("again")["phase"] == "Running"
    assert ("BackOff", f"Back-off restarting failed container main in pod again_{namespace.name}") in [
        (reason, message.partition("(")[0]) for reason, message in namespace.events("again")
    ]


def test_volumes_are_roots_until_fs_group_says_otherwise(namespace: Namespace) -> None:
    mounts = [{"name": "empty", "mountPath": "/empty"}, {"name": "memory", "mountPath": "/dev/shm"}]
    volumes = [
        {"name": "empty", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "96Mi"}},
    ]
    text = (
        "stat -c '%U %a' /empty; df -m --output=size /dev/shm | tail -1; touch /etc/x 2>&1; touch $HOME/x && echo home"
    )
    said = namespace.output("volumes", text, container={"volumeMounts": mounts}, volumes=volumes)
    lines = said.splitlines()
    assert lines[0] == "root 777"
    assert lines[1].strip() == "96"
    assert "Permission denied" in lines[2]
    assert lines[3] == "home"


def test_files_of_secrets_and_config_maps(namespace: Namespace) -> None:
    namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"par": "one"}})
    namespace.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"head.py": "print(1)"}}
    )
    mounts = [
        {"name": "secret", "mountPath": "/run/secrets/source", "readOnly": True},
        {"name": "programs", "mountPath": "/opt/multinode"},
        {"name": "programs", "mountPath": "/one.py", "subPath": "head.py"},
    ]
    volumes: list[dict[str, Any]] = [
        {"name": "secret", "secret": {"secretName": "s", "defaultMode": 0o440}},
        {"name": "programs", "configMap": {"name": "c", "defaultMode": 0o555}},
    ]
    text = """
    stat -Lc '%a %U:%g' /run/secrets/source/par; stat -Lc %a /opt/multinode/head.py; python3 /opt/multinode/head.py; python3 /one.py
    touch /run/secrets/source/x 2>&1
    until [ "$(cat /run/secrets/source/par)" = two ]; do sleep 1; done; echo changed; sleep 100
    """
    namespace.pod("files", script(text, volumeMounts=mounts), volumes=volumes, securityContext={"fsGroup": 1000})
    wait(
        "the first lines",
        lambda: "Read-only" in namespace.logs("files") if namespace.container("files").get("started") else "",
    )
    assert namespace.logs("files").splitlines()[:4] == ["440 root:1000", "555", "1", "1"]
    namespace.kubectl("patch", "secret", "s", "-p", json.dumps({"stringData": {"par": "two"}}))
    wait("the new secret", lambda: "changed" in namespace.logs("files"), 120)


def test_what_is_missing_is_waited_for(namespace: Namespace) -> None:
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "later", "key": "api_key"}}}]
    namespace.pod("waits", script("echo $KEY; sleep 100", env=env))
    waiting = wait(
        "the reason", lambda: namespace.container("waits").get("state", {}).get("waiting", {}).get("message")
    )
    assert waiting == 'secret "later" not found'
    assert namespace.container("waits")["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    namespace.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later"}, "stringData": {"api_key": "k"}}
    )
    namespace.until_ready("waits")
    wait("its log", lambda: namespace.logs("waits") == "k\n")


@pytest.mark.parametrize(
    ("image", "words"),
    [("docker.io/rayproject/no-such-image:1", "not found"), ("rayproject/ray-llm:2.58.0-py312-cu130", "short name")],
)
def test_an_image_that_cannot_be_had(namespace: Namespace, image: str, words: str) -> None:
    namespace.pod("image", script("true", image=image))
    seen = set()

    def reasons() -> bool:
        seen.add(namespace.container("image").get("state", {}).get("waiting", {}).get("reason"))
        return {"ErrImagePull", "ImagePullBackOff"} <= seen

    wait("both reasons", reasons)
    assert namespace.status("image")["phase"] == "Pending"
    assert any(reason == "Failed" and words in message for reason, message in namespace.events("image"))


def test_a_command_that_is_not_there(namespace: Namespace) -> None:
    namespace.pod("nothing", {**script(""), "command": ["no-such-program"]}, restartPolicy="Never")
    ended = namespace.until_phase("nothing", "Failed")["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] in (127, 128)
    assert "no-such-program" in ended["message"]


def test_init_containers_run_in_turn_and_sidecars_go_on(namespace: Namespace) -> None:
    mounts = [{"name": "state", "mountPath": "/state"}]
    inits = [
        script("sleep 1; echo first >> /state/order", name="first", volumeMounts=mounts),
        script("echo side >> /state/order; sleep 1000", name="side", restartPolicy="Always", volumeMounts=mounts),
        script("echo second >> /state/order", name="second", volumeMounts=mounts),
    ]
    main = script("cat /state/order", volumeMounts=mounts)
    namespace.pod(
        "ordered", main, initContainers=inits, volumes=[{"name": "state", "emptyDir": {}}], restartPolicy="Never"
    )
    namespace.until_phase("ordered", "Succeeded")
    order = namespace.logs("ordered", "-c", "main").split()
    assert order[0] == "first"
    assert sorted(order[1:]) == ["second", "side"]
    assert namespace.condition("ordered")["reason"] == "PodCompleted"


def test_readiness_comes_and_goes(namespace: Namespace) -> None:
    text = "sleep 2; touch /tmp/ready; sleep 3; rm /tmp/ready; sleep 1000"
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    namespace.pod("probed", script(text, readinessProbe=probe))
    wait("its start", lambda: namespace.container("probed").get("started"))
    assert namespace.condition("probed")["message"] == "containers with unready status: [main]"
    namespace.until_ready("probed")
    wait("the end of readiness", lambda: namespace.condition("probed").get("status") == "False")
    assert namespace.container("probed")["restartCount"] == 0


def test_a_container_that_is_not_alive_is_restarted_after_its_start(namespace: Namespace) -> None:
    text = "trap 'echo asked; exit 0' TERM; sleep 2; touch /tmp/up; sleep 2; rm /tmp/up; while :; do sleep 0.2; done"
    probe = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 1}
    namespace.pod("alive", script(text, startupProbe={**probe, "failureThreshold": 30}, livenessProbe=probe))
    wait("the restart", lambda: namespace.container("alive").get("restartCount", 0) >= 1, 40)
    assert "asked" in namespace.logs("alive", "--previous")
    messages = [message for reason, message in namespace.events("alive") if reason == "Killing"]
    assert "Container main failed liveness probe, will be restarted" in messages


def test_stopping_runs_the_hook_then_asks_then_kills(namespace: Namespace) -> None:
    text = "trap 'echo asked' TERM; (trap '' TERM; sleep 1000) & while :; do sleep 0.1; done"
    hook = {"preStop": {"exec": {"command": ["bash", "-c", "echo hook > /proc/1/fd/1"]}}}
    namespace.pod("stops", script(text, lifecycle=hook), terminationGracePeriodSeconds=3)
    wait("its start", lambda: namespace.container("stops").get("started"))
    command = [str(namespace.rig.directory / "bin" / "kubectl"), "--kubeconfig", str(namespace.rig.kubeconfig)]
    log = subprocess.Popen([*command, "-n", namespace.name, "logs", "-f", "stops"], stdout=subprocess.PIPE, text=True)
    began = time.monotonic()
    namespace.kubectl("delete", "pod", "stops")
    assert time.monotonic() - began > 2.5
    said, _ = log.communicate(timeout=60)
    assert said.split() == ["hook", "asked"]


def test_a_grace_period_can_be_made_shorter_meanwhile(namespace: Namespace) -> None:
    script_ = script("trap '' TERM; while :; do sleep 0.1; done")
    namespace.pod("stays", script_, terminationGracePeriodSeconds=60)
    wait("its start", lambda: namespace.container("stays").get("started"))
    began = time.monotonic()
    namespace.kubectl("delete", "pod", "stays", "--wait=false")
    time.sleep(1)
    namespace.kubectl("delete", "pod", "stays", "--grace-period=1")
    assert time.monotonic() - began < 20


def test_an_end_by_signal_is_told_by_the_exit_code(namespace: Namespace) -> None:
    namespace.pod(
        "killed",
        script(
            "echo before; exec python3 -c 'import ctypes; ctypes.string_at(0)'",
            terminationMessagePolicy="FallbackToLogsOnError",
        ),
        restartPolicy="Never",
    )
    ended = namespace.until_phase("killed", "Failed")["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 139
    assert ended["message"].startswith("before")


def test_logs(namespace: Namespace) -> None:
    namespace.pod("talks", script("for i in 1 2 3 4; do echo line $i; done; printf rest; sleep 1; echo; sleep 1000"))
    wait("its lines", lambda: namespace.container("talks").get("started") and "rest" in namespace.logs("talks"))
    assert namespace.logs("talks", "--tail=2") == "line 4\nrest\n"
    assert namespace.logs("talks", "--limit-bytes=8") == "line 1\nl"
    assert namespace.logs("talks", "--since=1h").startswith("line 1\n")
    assert namespace.logs("talks", "--timestamps", "--tail=1").endswith("Z rest\n")


def test_names_of_services(namespace: Namespace) -> None:
    ports = [{"name": "gcs-server", "port": 6379}]
    headless = {"clusterIP": "None", "selector": {"app": "head"}, "publishNotReadyAddresses": True, "ports": ports}
    namespace.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "head-svc"}, "spec": headless})
    never = {"exec": {"command": ["false"]}}
    namespace.pod("head", script("sleep 1000", readinessProbe=never), labels={"app": "head"})
    address = wait("its address", lambda: namespace.status("head").get("podIP"))
    name = f"head-svc.{namespace.name}.svc.cluster.local"
    slices = ("get", "endpointslices", "-l", "kubernetes.io/service-name=head-svc", "-o", "json")
    wait("its endpoint", lambda: address in namespace.kubectl(*slices))
    text = f"for n in head-svc {name} absent.{name}; do getent hosts $n | cut -d' ' -f1 || true; done; grep -c ndots /etc/resolv.conf"
    assert namespace.output("asks", text).split() == [address, address, "1"]


def test_a_pod_in_the_nodes_network_reaches_the_api_server(namespace: Namespace) -> None:
    text = """
    cd /var/run/secrets/kubernetes.io/serviceaccount
    curl -s --cacert ca.crt -H "Authorization: Bearer $(cat token)" https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/api/v1/nodes
    """
    said = json.loads(namespace.output("host", text, hostNetwork=True))
    assert said["reason"] == "Forbidden"
    assert f"system:serviceaccount:{namespace.name}:default" in said["message"]
    assert namespace.status("host")["podIP"] == namespace.status("host")["hostIP"]
