# SPDX-License-Identifier: GPL-3.0-or-later
"""How the programs of the control plane are started: their command lines, kubeconfigs and signs of readiness."""

from __future__ import annotations

import base64
import dataclasses
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rig.configuration import Rig, RigError, write_whole
from rig.control_plane.build import stages_file

SERVICE_RANGE = "10.96.0.0/16"
FAKE_NODES = "kwok.x-k8s.io/node=fake"

AUDIT_LOG = "audit.log"
"""In the rig's `logs`: a line of JSON (audit.k8s.io Event) for each request of a service account."""
NODE_GRACE_SECONDS = 24
"""A node is NotReady after so long without a heartbeat (they come every 10 s); Kubernetes waits 50 s."""
REVIEW_SECONDS = 5
"""How long the API server goes by what the cloud said of a token; so much longer may one be taken."""
TOLERATION_SECONDS = 15
"""Pods leave a node that is NotReady after so long; Kubernetes waits 300 s, and each test of a dead node would."""


@dataclasses.dataclass(frozen=True)
class Ports:
    """One free port for each listener of a rig."""

    api_server: int
    etcd: int
    etcd_peer: int
    controller_manager: int
    scheduler: int
    kwok: int
    kubelet: int
    oci: int
    control: int


def write_kubeconfig(rig: Rig, path: Path, client: str) -> None:
    """A kubeconfig that holds its certificates itself: it can be copied anywhere."""
    pki = rig.kubernetes.pki
    cluster = {"server": rig.kubernetes.url, "certificate-authority-data": _encoded(pki / "ca.crt")}
    user = {
        "client-certificate-data": _encoded(pki / f"{client}.crt"),
        "client-key-data": _encoded(pki / f"{client}.key"),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "rig", "cluster": cluster}],
        "users": [{"name": client, "user": user}],
        "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": client}}],
        "current-context": "rig",
    }
    write_whole(path, json.dumps(content, indent=2) + "\n", mode=0o600)  # JSON is YAML


def write_token_webhook(rig: Rig) -> None:
    """How the API server asks the cloud who made a token (a kubeconfig, of all things)."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "oci", "cluster": {"server": f"{rig.oci.control}/token-reviews"}}],
        "users": [{"name": "kube-apiserver", "user": {}}],
        "contexts": [{"name": "oci", "context": {"cluster": "oci", "user": "kube-apiserver"}}],
        "current-context": "oci",
    }
    write_whole(_token_webhook(rig), json.dumps(content, indent=2) + "\n")


def _token_webhook(rig: Rig) -> Path:
    return rig.directory / "token-webhook.json"


def write_audit_policy(rig: Rig) -> None:
    """Which requests the API server notes: those of service accounts, one of which a test can make to be told from others."""
    parts_of_kubernetes = {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]}
    content = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [
            parts_of_kubernetes,
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    }
    write_whole(_audit_policy(rig), json.dumps(content, indent=2) + "\n")


def _audit_policy(rig: Rig) -> Path:
    return rig.directory / "audit-policy.json"


def etcd(rig: Rig, ports: Ports) -> list[str]:
    """etcd of one member on loopback. What it holds ends with the rig, so it need not wait for the disk."""
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peer}"
    return [
        str(rig.binaries / "etcd"),
        f"--data-dir={rig.directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(rig: Rig, ports: Ports) -> list[str]:
    """The API server on loopback: RBAC, signed service account tokens, OKE's tokens, kubelets reached at the nodes' own addresses."""
    pki = rig.kubernetes.pki
    return [
        str(rig.binaries / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={ports.api_server}",
        f"--cert-dir={pki}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        "--authorization-mode=RBAC",
        f"--authentication-token-webhook-config-file={_token_webhook(rig)}",
        "--authentication-token-webhook-version=v1",
        f"--authentication-token-webhook-cache-ttl={REVIEW_SECONDS}s",
        f"--audit-policy-file={_audit_policy(rig)}",
        f"--audit-log-path={rig.directory / 'logs' / AUDIT_LOG}",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=1",
        "--allow-privileged=true",
        f"--service-account-issuer=https://kubernetes.default.svc.{rig.cluster_domain}",
        f"--service-account-key-file={pki / 'sa.pub'}",
        f"--service-account-signing-key-file={pki / 'sa.key'}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--default-not-ready-toleration-seconds={TOLERATION_SECONDS}",
        f"--default-unreachable-toleration-seconds={TOLERATION_SECONDS}",
        "--endpoint-reconciler-type=none",
        "--profiling=false",
    ]


def controller_manager(rig: Rig, ports: Ports) -> list[str]:
    """The controllers, each with its own service account."""
    pki = rig.kubernetes.pki
    return [
        str(rig.binaries / "kube-controller-manager"),
        f"--kubeconfig={rig.directory / 'controller-manager.kubeconfig'}",
        f"--service-account-private-key-file={pki / 'sa.key'}",
        "--use-service-account-credentials=true",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
        "--node-monitor-period=2s",
        "--node-eviction-rate=10",
        "--pvclaimbinder-sync-period=2s",
        "--kube-api-qps=100",
        "--kube-api-burst=200",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.controller_manager}",
        "--profiling=false",
    ]


def scheduler(rig: Rig, ports: Ports) -> list[str]:
    """The default scheduler."""
    return [
        str(rig.binaries / "kube-scheduler"),
        f"--kubeconfig={rig.directory / 'scheduler.kubeconfig'}",
        "--kube-api-qps=100",
        "--kube-api-burst=200",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.scheduler}",
        "--profiling=false",
    ]


def kwok(rig: Rig, ports: Ports) -> list[str]:
    """KWOK, which plays nodes and pods without processes, for the nodes annotated as fake only."""
    program = rig.binaries / "kwok"
    return [
        str(program),
        f"--kubeconfig={rig.kubernetes.kubeconfig}",
        f"--config={stages_file(program.resolve())}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={FAKE_NODES}",
        f"--server-address=127.0.0.1:{ports.kwok}",
    ]


class ApiServer:
    """The rig's API server, asked as its administrator."""

    def __init__(self, rig: Rig) -> None:
        self._url = rig.kubernetes.url
        pki = rig.kubernetes.pki
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def is_ready(self) -> bool:
        """Whether it says that it is."""
        return _answers(f"{self._url}/readyz", self._context)

    def exists(self, path: str) -> bool:
        """Whether there is an object at `path`."""
        return _answers(f"{self._url}{path}", self._context)

    def has_ready_pods(self, path: str) -> bool:
        """Whether the Deployment at `path` has a pod that is ready."""
        with urllib.request.urlopen(f"{self._url}{path}", context=self._context, timeout=20) as answer:
            return bool(json.load(answer).get("status", {}).get("readyReplicas"))

    def create(self, path: str, content: dict[str, Any]) -> None:
        """Create an object in the collection at `path`; one that is there already is left as it is."""
        request = urllib.request.Request(
            f"{self._url}{path}",
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        try:
            urllib.request.urlopen(request, context=self._context, timeout=20).close()
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise RigError(f"cannot create {content['kind']} at {path}: {error.read().decode()}") from None


def is_healthy(port: int, secure: bool = True) -> bool:
    """Whether the component with this port on loopback says that it is well; its certificate is of its own making."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _answers(f"{'https' if secure else 'http'}://127.0.0.1:{port}/healthz", context if secure else None)


def _answers(url: str, context: ssl.SSLContext | None) -> bool:
    try:
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
