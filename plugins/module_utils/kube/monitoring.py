# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a cluster has of a deployment's monitoring, and whether it can take any."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.fault import Fault, Refused
from ..core.manifests.monitoring import DEFINITIONS, KINDS, VERSION
from ..core.names import object_names
from ..core.ownership import is_ours, not_ours
from .client import Kubernetes, part, unless_forbidden

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def missing_definitions(kubernetes: Kubernetes) -> list[str]:
    """Return the definitions of prometheus-operator that the cluster lacks; who may not read them is told of none."""
    found = []
    for name in DEFINITIONS:
        try:
            if kubernetes.get(f"{_DEFINITIONS}/{name}") is None:
                found.append(name)
        except Refused as refused:
            if any(fault.code != "forbidden" for fault in refused.faults):
                raise
    return found


def strange(kubernetes: Kubernetes, objects: Iterable[Mapping[str, Any]], name: str, namespace: str) -> list[Fault]:
    """Return a fault for each of the objects that stands there already, and is somebody else's."""
    return [
        not_ours(item["kind"], item["metadata"]["name"], name, namespace)
        for item in objects
        if (found := _read(kubernetes, item["kind"], item["metadata"]["name"], namespace)) and not is_ours(found, name)
    ]


def standing_monitoring(kubernetes: Kubernetes, name: str, namespace: str) -> list[dict[str, Any]]:
    """Return the objects of the deployment's monitoring that are there, by apiVersion, kind and name."""
    names = object_names(name)
    wanted = [(version, kind, name) for version, kind, _plural in KINDS]
    wanted += [(VERSION, "PrometheusRule", names["certificate_rule"]), ("v1", "ConfigMap", names["board"])]
    found = []
    for version, kind, object_name in wanted:
        item = unless_forbidden(functools.partial(_read, kubernetes, kind, object_name, namespace))
        if item and is_ours(item, name):
            metadata = {"name": object_name, "namespace": namespace}
            found.append({"apiVersion": version, "kind": kind, "metadata": metadata})
    return found


def _read(kubernetes: Kubernetes, kind: str, object_name: str, namespace: str) -> Any:
    paths = {kind: f"/apis/{version}/namespaces/{part(namespace)}/{plural}" for version, kind, plural in KINDS}
    paths["ConfigMap"] = f"/api/v1/namespaces/{part(namespace)}/configmaps"
    return kubernetes.get(f"{paths[kind]}/{part(object_name)}")
