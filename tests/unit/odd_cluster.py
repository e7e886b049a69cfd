# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster with a deployment in it, of which any part may be odd: what every reader of Kubernetes' objects meets."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.benchmark import benchmark_objects
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.endpoint import KINDS
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.names import HOLDER_ANNOTATION, common_labels
from ansible_collections.multinode.inference.plugins.module_utils.kube.client import Kubernetes
from tests.unit.core.plans import exposed, plan
from tests.unit.test_outside_data import JSON, PROGRESS, replaced

Object = dict[str, Any]
_HOSTS = {"service_endpoint_domain": "llama.example.com"}
PLANS = [
    plan(**exposed("ingress", endpoint_tls_issuer="ClusterIssuer/le", **_HOSTS)),
    plan(**exposed("ingress", endpoint_tls_secret="source", **_HOSTS)),
    plan(**exposed("gateway", **_HOSTS)),
    plan(**exposed("load_balancer")),
    plan(**exposed("load_balancer", monitoring="prometheus_operator")),
]
PLAN = PLANS[0]
NAME, NAMESPACE = PLAN["deployment"]["name"], PLAN["deployment"]["namespace"]
LABELS = common_labels(NAME)
PROGRAMS = {"benchmark.py": "", "head.py": ""}
CONDITIONS = [{"type": "Ready", "status": "False", "reason": "Failed", "message": "no"}]
LOG = "multinode " + json.dumps(PROGRESS)


def _metadata(name: str, **more: Any) -> Object:
    return {"name": name, "namespace": NAMESPACE, "uid": "u", "resourceVersion": "1", "labels": LABELS, **more}


def _pod(name: str, role: str) -> Object:
    ended = {"exitCode": 1, "reason": "Error", "message": LOG, "finishedAt": "2026-12-01T00:00:00Z"}
    container = {"name": "ray", "restartCount": 2, "state": {"running": {"startedAt": "x"}}, "containerID": "c"}
    return {
        "metadata": _metadata(name, labels={"ray.io/cluster": NAME, "ray.io/node-type": role}),
        "spec": {
            "nodeName": "n",
            "containers": [{"name": "ray", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}],
            "initContainers": [{"name": "wait", "restartPolicy": "Always"}],
            "volumes": [{"name": "model", "persistentVolumeClaim": {"claimName": f"{NAME}-head-x"}}],
            "imagePullSecrets": [{"name": "pull"}],
        },
        "status": {
            "phase": "Pending",
            "podIP": "192.0.2.1",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "none"}],
            "containerStatuses": [{**container, "lastState": {"terminated": ended}}],
            "initContainerStatuses": [{"name": "wait", "state": {"waiting": {"reason": "ErrImagePull"}}}],
        },
    }


def _objects() -> dict[str, Object]:
    """The objects by their paths."""
    rendered = {item["kind"]: json.loads(json.dumps(item)) for item in render(PLAN, PROGRAMS)}
    cluster, runtime = rendered["RayCluster"], rendered["ConfigMap"]
    cluster["metadata"] |= {"uid": "u", "creationTimestamp": "2026-12-01T00:00:00Z", "generation": 2}
    cluster["status"] = {"observedGeneration": 1}
    _policy, job = benchmark_objects(cluster, {"seconds": 1}, "default")
    space = f"namespaces/{NAMESPACE}"
    gateway = {"name": "https", "protocol": "HTTPS", "port": 443, "hostname": "*.example.com"}
    secret = {"type": "Opaque", "data": {"default": base64.b64encode(b"canary").decode(), "tls.crt": "eA=="}}
    operator = {"name": "operator", "image": "kuberay/operator:v1.7.1", "env": [{"name": "A", "value": "b"}]}
    fields = {"spec": {"properties": {"authOptions": {"properties": {"mode": {}}}, "suspend": {}}}}
    definition = {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"properties": fields}}}]}
    address = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}}
    lease = {"holderIdentity": "a@b/c", "renewTime": "t", "acquireTime": "t", "leaseTransitions": 1}
    holder = {HOLDER_ANNOTATION: json.dumps({"user": "a", "host": "b", "playbook": "deploy", "process": "x y 1 2"})}
    found = {
        f"/apis/ray.io/v1/{space}/rayclusters/{NAME}": cluster,
        f"/api/v1/{space}/configmaps/{runtime['metadata']['name']}": runtime,
        f"/api/v1/{space}/pods/h": _pod("h", "head"),
        f"/api/v1/{space}/pods/w": _pod("w", "worker"),
        "/api/v1/nodes/n": {
            "metadata": {"name": "n", "labels": {"a": "b"}},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}], "unschedulable": True},
            "status": {"allocatable": {"nvidia.com/gpu": "8", "cpu": "4", "memory": "9Gi"}, "conditions": CONDITIONS},
        },
        f"/api/v1/{space}/events/e": {
            "metadata": _metadata("e"),
            "reason": "FailedScheduling",
            "message": "no node",
            "involvedObject": {"kind": "Pod", "name": "h"},
            "lastTimestamp": "t",
        },
        f"/api/v1/{space}/services/{NAME}-api": {
            **rendered["Service"],
            **address,
            "metadata": {**rendered["Service"]["metadata"], "uid": "u"},
            "spec": {"type": "LoadBalancer"},
        },
        f"/apis/networking.k8s.io/v1/{space}/ingresses/{NAME}": {"metadata": _metadata(NAME), **address},
        "/apis/networking.k8s.io/v1/ingressclasses/web": {"metadata": {"name": "web"}},
        "/apis/gateway.networking.k8s.io/v1/namespaces/edge/gateways/main": {
            "metadata": {"name": "main", "namespace": "edge"},
            "spec": {"listeners": [{**gateway, "tls": {"mode": "Terminate", "certificateRefs": [{"name": "s"}]}}]},
            "status": {
                "addresses": [{"value": "192.0.2.9"}],
                "conditions": CONDITIONS,
                "listeners": [{"name": "https", "conditions": CONDITIONS}],
            },
        },
        f"/apis/gateway.networking.k8s.io/v1/{space}/httproutes/{NAME}-api": {
            "metadata": _metadata(f"{NAME}-api"),
            "status": {
                "parents": [
                    {
                        "parentRef": {"name": "main"},
                        "conditions": [{"type": "Accepted", "status": "False", "reason": "x"}],
                    }
                ]
            },
        },
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/certificates.cert-manager.io": {
            "metadata": {"name": "certificates.cert-manager.io"}
        },
        "/apis/cert-manager.io/v1/clusterissuers/le": {
            "metadata": {"name": "le"},
            "status": {"conditions": CONDITIONS},
        },
        f"/apis/cert-manager.io/v1/{space}/certificates/{NAME}-tls": {
            "metadata": _metadata(f"{NAME}-tls"),
            "status": {"conditions": [*CONDITIONS, {**CONDITIONS[0], "type": "Issuing"}]},
        },
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rayclusters.ray.io": {
            "metadata": {"name": "rayclusters.ray.io"},
            "spec": definition,
        },
        "/apis/apps/v1/deployments/o": {
            "metadata": {
                "name": "o",
                "namespace": "kuberay-system",
                "labels": {"app.kubernetes.io/name": "kuberay-operator", "app.kubernetes.io/version": "1.7.1"},
                "annotations": {"meta.helm.sh/release-name": "r", "meta.helm.sh/release-namespace": "s"},
            },
            "spec": {"replicas": 1, "template": {"spec": {"containers": [operator]}}},
            "status": {"availableReplicas": 1, "readyReplicas": 1},
        },
        "/apis/apps/v1/daemonsets/d": {
            "metadata": {"name": "calico-node", "namespace": "kube-system"},
            "spec": {"template": {"spec": {"containers": [{"name": "d", "image": "nvidia/k8s-device-plugin:v1"}]}}},
        },
        "/apis/storage.k8s.io/v1/storageclasses/s": {"metadata": {"name": "s"}},
        f"/apis/coordination.k8s.io/v1/{space}/leases/{NAME}": {
            "metadata": _metadata(NAME, annotations=holder),
            "spec": lease,
        },
        f"/apis/batch/v1/{space}/jobs/{NAME}-benchmark": {
            **job,
            "status": {"conditions": [{"type": "Failed", "status": "True", "message": "late"}], "startTime": "t"},
        },
        f"/api/v1/{space}/persistentvolumeclaims/c": {"metadata": _metadata(f"{NAME}-head-x")},
        "/api/v1/persistentvolumes/v": {
            "metadata": {"name": "v", "labels": {"a": "b"}},
            "spec": {
                "claimRef": {"name": f"{NAME}-head-x", "namespace": NAMESPACE},
                "csi": {"driver": "blockvolume.csi.oraclecloud.com", "volumeHandle": "ocid1.volume.a"},
                "persistentVolumeReclaimPolicy": "Retain",
            },
        },
        f"/api/v1/{space}": {"metadata": {"name": NAMESPACE, "labels": LABELS, "deletionTimestamp": "t"}},
        "/api/v1/namespaces/kube-system": {"metadata": {"name": "kube-system", "uid": "u"}},
        "/apis": {"groups": [{"name": "apps", "preferredVersion": {"groupVersion": "apps/v1"}}]},
        "/api/v1": {"resources": [{"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["list"]}]},
    }
    for ending in ("api-key", "ray-token", "source", "tls", "tls-authority"):
        item = {"metadata": _metadata(f"{NAME}-{ending}", annotations={"a": "b"}), **secret}
        found[f"/api/v1/{space}/secrets/{NAME}-{ending}"] = item
    return found


OBJECTS = _objects()


def _parts(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_parts, inner))


# Of JSON's kinds each: what a part is replaced by most often.
_KINDS = st.sampled_from(
    [None, True, 0, -1, 1e308, "", "x", [], [None], ["x"], [{}], {}, {"x": None}, {"a": {"b": [0]}}]
)


def _odd(path: str) -> st.SearchStrategy[tuple[str, Any]]:
    whole = OBJECTS[path]
    parts = st.builds(replaced, st.just(whole), _KINDS | JSON, st.integers(2, _parts(whole)))
    return st.tuples(st.just(path), parts)


# A cluster as `OddCluster` takes it: one object of it is odd, and the logs say anything.
ODD = st.sampled_from(sorted(OBJECTS)).flatmap(_odd)
LOGS = st.sampled_from([LOG, ""]) | st.text(max_size=30) | JSON.map(lambda value: f"multinode {json.dumps(value)}")


class OddCluster(Kubernetes):
    """Answers from memory, as the API server's JSON: `path` has `item` in place of what stands there."""

    def __init__(self, path: str = "", item: Any = None, log: str = LOG) -> None:
        super().__init__(
            SimpleNamespace(configuration=SimpleNamespace(host="https://k", auth_settings=dict)), lambda: "t"
        )
        self._objects: Mapping[str, Any] = {**OBJECTS, path: item} if path else OBJECTS
        self._log = log

    def _ask(self, method: str, path: str, accept: str = "", content_type: str = "", **content: Any) -> bytes | None:
        if method != "GET":
            return b'{"metadata": {"name": "x"}, "status": {"allowed": true}}'
        if path.endswith("/log"):
            return self._log.encode(errors="replace")
        if path in self._objects:
            return json.dumps(self._objects[path]).encode()
        listed = self._listed(path)
        return json.dumps({"metadata": {}, "items": listed}).encode() if listed else None

    def _listed(self, path: str) -> list[Any]:
        return [
            item
            for place, item in self._objects.items()
            if self._of(place) == path or self._everywhere(self._of(place)) == path
        ]

    @staticmethod
    def _of(place: str) -> str:
        return place.rpartition("/")[0]

    @staticmethod
    def _everywhere(path: str) -> str:
        """The path of a list over all namespaces."""
        before, found, after = path.partition("/namespaces/")
        return f"{before}/{after.partition('/')[2]}" if found and "/" in after else path


__all__ = ["KINDS", "LABELS", "NAME", "NAMESPACE", "ODD", "PLAN", "PLANS", "LOGS", "OddCluster"]
