# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is read of Kubernetes' objects, and of which type it is: what has another type counts as not there.

One table for all kinds, since their fields do not contradict each other. An API server checks the types of its own kinds; those
of other controllers it checks as far as their definitions say, and whatever answers in its place checks nothing. Parts that are
not in the table are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class _Texts:
    """A mapping of texts."""


class _Amount:
    """A quantity: a text or a number."""


_Shape = (
    Any  # a type, _Texts, _Amount, a mapping of fields to shapes, or a list of one such mapping and the fields it needs
)


def _each(*needed: str, **fields: _Shape) -> list[_Shape]:
    """A list of mappings; those without one of the `needed` fields, which are texts, are left out."""
    return [{**dict.fromkeys(needed, str), **fields}, *needed]


_CONDITIONS = _each("type", "status", reason=str, message=str)
_AMOUNTS = dict.fromkeys(("nvidia.com/gpu", "cpu", "memory", "ephemeral-storage"), _Amount)
_ENDED = {"exitCode": int, "reason": str, "message": str, "finishedAt": str}
_STATE = {"running": {"startedAt": str}, "waiting": {"reason": str, "message": str}, "terminated": _ENDED}
_STATUSES = _each("name", image=str, restartCount=int, containerID=str, state=_STATE, lastState=_STATE)
_RESOURCES = {"limits": _AMOUNTS, "requests": _AMOUNTS}
_CONTAINERS = _each(
    *("name",),
    image=str,
    resources=_RESOURCES,
    restartPolicy=str,
    env=_each("name"),
    volumeMounts=_each("name"),
)
_VOLUMES = _each(
    *("name",),
    persistentVolumeClaim={"claimName": str},
    configMap={"name": str},
    hostPath={"path": str},
)
_POD = {
    "nodeName": str,
    "containers": _CONTAINERS,
    "initContainers": _CONTAINERS,
    "volumes": _VOLUMES,
    "nodeSelector": _Texts,
    "imagePullSecrets": _each("name"),
    "tolerations": _each(),
    "securityContext": {},
}
_TEMPLATE = {"metadata": {"labels": _Texts, "annotations": _Texts}, "spec": _POD}
_METADATA = {
    "name": str,
    "namespace": str,
    "uid": str,
    "resourceVersion": str,
    "generation": int,
    "creationTimestamp": str,
    "labels": _Texts,
    "annotations": _Texts,
    "ownerReferences": _each("uid"),
}
_SPEC = {
    **_POD,
    "template": _TEMPLATE,
    "replicas": int,
    "type": str,
    # RayCluster
    "headGroupSpec": {"template": _TEMPLATE},
    "workerGroupSpecs": _each(template=_TEMPLATE, replicas=int, numOfHosts=int),
    "authOptions": {"secretName": str},
    # Node
    "taints": _each("key", "effect"),
    # PersistentVolume
    "claimRef": {"name": str, "namespace": str},
    "csi": {"driver": str, "volumeHandle": str},
    "persistentVolumeReclaimPolicy": str,
    # Gateway
    "listeners": _each(
        "name",
        protocol=str,
        port=int,
        hostname=str,
        tls={"mode": str, "certificateRefs": _each("name", namespace=str)},
        allowedRoutes={"namespaces": {"from": str}},
    ),
    # Lease
    "holderIdentity": str,
    # CustomResourceDefinition
    "versions": _each("name"),
}
_STATUS = {
    "conditions": _CONDITIONS,
    "phase": str,
    "podIP": str,
    "containerStatuses": _STATUSES,
    "initContainerStatuses": _STATUSES,
    "allocatable": _AMOUNTS,
    "observedGeneration": int,
    "readyReplicas": int,
    "availableReplicas": int,
    # Service, Ingress
    "loadBalancer": {"ingress": _each(ip=str, hostname=str)},
    # Gateway, HTTPRoute
    "addresses": _each(value=str),
    "listeners": _each("name", conditions=_CONDITIONS),
    "parents": _each(parentRef={"name": str}, conditions=_CONDITIONS),
}
_OBJECT = {
    "kind": str,
    "metadata": _METADATA,
    "spec": _SPEC,
    "status": _STATUS,
    "data": _Texts,
    # Event
    "reason": str,
    "message": str,
    "involvedObject": {"kind": str, "name": str},
    # Discovery
    "groups": _each("name", preferredVersion={"groupVersion": str}),
    "resources": _each("name", "kind", verbs=list),
}


def shaped(item: dict[str, Any]) -> dict[str, Any]:
    """Return an object without the parts that are of another type than the API has them; its namespace is "" where it has none."""
    found = _mapping(item, _OBJECT)
    if "metadata" in found:
        found["metadata"].setdefault("namespace", "")
    return found


def _fitting(value: Any, shape: _Shape) -> Any:
    """Return the value as far as it has the shape; None where it has another."""
    if shape is _Texts:
        texts = isinstance(value, dict) and {key: text for key, text in value.items() if isinstance(text, str)}
        return texts if isinstance(texts, dict) else None
    if shape is _Amount:
        return value if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None
    if shape is int:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        return value if whole else None
    if isinstance(shape, type):
        return value if isinstance(value, shape) else None
    if isinstance(shape, Mapping):
        return _mapping(value, shape) if isinstance(value, dict) else None
    if not isinstance(value, list):
        return None
    fields, *needed = shape
    entries = [_mapping(entry, fields) for entry in value if isinstance(entry, dict)]
    return [entry for entry in entries if all(name in entry for name in needed)]


def _mapping(value: dict[str, Any], fields: Mapping[str, _Shape]) -> dict[str, Any]:
    found = {}
    for key, part in value.items():
        if key in fields:
            part = _fitting(part, fields[key])
            if part is None:
                continue
        found[key] = part
    return found
