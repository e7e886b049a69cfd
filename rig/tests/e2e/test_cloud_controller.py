# SPDX-License-Identifier: GPL-3.0-or-later
"""What the product relies on in OKE's block volumes and load balancers, asked of the cloud controller stand-in."""

from __future__ import annotations

import json
import socket
import urllib.request
from typing import Any

import pytest

from rig.fixtures import RunningRig
from rig.tests.e2e.pods import Namespace, script
from tests.waiting import wait


def claim(name: str, size: str = "10Gi") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "oci-bv",
            "resources": {"requests": {"storage": size}},
        },
    }


def volumes(rig: RunningRig, namespace: Namespace) -> list[dict[str, Any]]:
    """The PersistentVolumes of a namespace's claims."""
    found = json.loads(rig.kubectl("get", "persistentvolumes", "-o", "json"))["items"]
    return [volume for volume in found if volume["spec"].get("claimRef", {}).get("namespace") == namespace.name]


def test_a_volume_comes_with_the_first_pod_and_goes_with_its_claim(rig: RunningRig, namespace: Namespace) -> None:
    namespace.apply(claim("data"))
    mounts = [{"name": "data", "mountPath": "/data"}]
    data = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    wait("the reason", lambda: any(reason == "WaitForFirstConsumer" for reason, _ in namespace.events("data")))
    assert namespace.get("pvc", "data")["status"]["phase"] == "Pending"
    text = "stat -c '%u %a' /data; ls /data; touch /data/x 2>&1"
    said = namespace.output("first", text, container={"volumeMounts": mounts}, volumes=data)
    assert said.splitlines()[:2] == ["0 755", "lost+found"]
    assert "Permission denied" in said
    found = namespace.get("pvc", "data")
    assert found["status"]["capacity"]["storage"] == "50Gi"
    volume = volumes(rig, namespace)[0]
    assert volume["spec"]["csi"]["volumeHandle"].startswith("ocid1.volume.")
    grouped = {"fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch"}
    fields: dict[str, Any] = {"container": {"volumeMounts": mounts}, "volumes": data, "securityContext": grouped}
    assert namespace.output("second", "touch /data/kept && ls -l /data/kept | cut -d' ' -f4 && id -G", **fields)
    assert "kept" in namespace.output("third", "ls /data", **fields)
    namespace.kubectl("delete", "pods", "--all")
    namespace.kubectl("delete", "pvc", "data")
    wait("the volume's end", lambda: not volumes(rig, namespace))


def test_an_ephemeral_volume_goes_with_its_pod(rig: RunningRig, namespace: Namespace) -> None:
    template = {"spec": claim("", "60Gi")["spec"]}
    cache = [{"name": "cache", "ephemeral": {"volumeClaimTemplate": template}}]
    container = script("sleep 1000", volumeMounts=[{"name": "cache", "mountPath": "/cache"}])
    namespace.pod("pod", container, volumes=cache)
    namespace.until_ready("pod")
    assert namespace.get("pvc", "pod-cache")["status"]["capacity"]["storage"] == "60Gi"
    namespace.kubectl("delete", "pod", "pod")
    wait("the volume's end", lambda: not volumes(rig, namespace))


def test_the_account_lists_the_volume(rig: RunningRig, namespace: Namespace) -> None:
    """Of the rig only: its control address is asked."""
    namespace.apply(claim("listed"))
    mounts = [{"name": "data", "mountPath": "/data"}]
    data = [{"name": "data", "persistentVolumeClaim": {"claimName": "listed"}}]
    namespace.output("uses", "true", container={"volumeMounts": mounts}, volumes=data)
    handle = volumes(rig, namespace)[0]["spec"]["csi"]["volumeHandle"]
    assert handle in json.dumps(rig.steer("GET", "/state"))
    namespace.kubectl("delete", "pods", "--all")
    namespace.kubectl("delete", "pvc", "listed")
    wait("the volume's end", lambda: handle not in json.dumps(rig.steer("GET", "/state")))
    assert not (rig.directory / "volumes" / handle).exists()


def test_a_load_balancer_forwards_to_what_is_ready(namespace: Namespace) -> None:
    ports = [{"name": "api", "port": 80, "targetPort": "http"}, {"name": "other", "port": 8265, "targetPort": 8265}]
    service = {"type": "LoadBalancer", "selector": {"app": "api"}, "ports": ports}
    namespace.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"}, "spec": service})

    def address() -> str | None:
        ingress = namespace.get("service", "api")["status"]["loadBalancer"].get("ingress")
        return ingress[0]["ip"] if ingress else None

    found = wait("its address", address, 300)
    with pytest.raises(OSError, match="refused|timed out"):
        socket.create_connection((found, 80), timeout=5)
    text = "echo hello > /tmp/index.html; cd /tmp; (sleep 2; touch up) & exec python3 -m http.server 8000"
    container = script(
        text,
        ports=[{"name": "http", "containerPort": 8000}],
        readinessProbe={"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1},
    )
    namespace.pod("server", container, labels={"app": "api"})
    namespace.until_ready("server")

    def read() -> str:
        try:
            with urllib.request.urlopen(f"http://{found}/", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    assert wait("an answer", read) == "hello\n"
    assert "service.kubernetes.io/load-balancer-cleanup" in namespace.get("service", "api")["metadata"]["finalizers"]
    namespace.kubectl("delete", "pod", "server")
    wait("the end of answers", lambda: not read())
    namespace.kubectl("delete", "service", "api")
    assert namespace.get("service", "api") == {}
