# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a namespace holds that is not one deployment's, of whatever kind the cluster knows: it would go with the namespace."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from ..core.fault import Refused
from ..core.ownership import is_ours
from ..core.parts import inner
from .client import Kubernetes, part

# Kubernetes, and what is commonly added to it, makes these in every namespace; nobody's work is in them.
_EVERYWHERE = {
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "istio-ca-root-cert"),
    ("ConfigMap", "openshift-service-ca.crt"),
    ("ServiceAccount", "default"),
}
# Written by controllers about other objects, with which they go; metrics are no objects at all.
_DERIVED = {"Event", "Endpoints", "EndpointSlice"}
_METRICS = ("metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io")
# How many strangers are named.
_NAMED = 5


class _Kind(NamedTuple):
    kind: str
    path: str


class NamespaceContents:
    """Looks at a namespace; what was seen to be the deployment's stays so, also once its owner is gone."""

    def __init__(self, kubernetes: Kubernetes, deployment: str, namespace: str) -> None:
        self._kubernetes = kubernetes
        self._deployment = deployment
        self._namespace = part(namespace)
        self._ours: set[str] = set()

    def reason_to_stay(self) -> str:
        """Return why the namespace is not to be deleted, in words; empty where it holds the deployment's things alone."""
        items, unseen = self._items()
        # A pod is owned by a RayCluster, its claim by the pod: looked through until no more are found.
        while found := {
            item["metadata"].get("uid", "")
            for _kind, item in items
            if item["metadata"].get("uid", "") not in self._ours and is_ours(item, self._deployment, self._ours)
        }:
            self._ours |= found
        strangers = sorted(
            f"{kind}/{item['metadata']['name']}"
            for kind, item in items
            if item["metadata"].get("uid", "") not in self._ours and (kind, item["metadata"]["name"]) not in _EVERYWHERE
        )
        if strangers:
            more = f" and {len(strangers) - _NAMED} more" if len(strangers) > _NAMED else ""
            return f"it holds {', '.join(strangers[:_NAMED])}{more}, not of this deployment"
        if unseen:
            more = f" and {len(unseen) - _NAMED} more kinds" if len(unseen) > _NAMED else ""
            return f"it may hold {', '.join(sorted(unseen)[:_NAMED])}{more}, which could not be listed"
        return ""

    def _items(self) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
        """Return the objects with their kinds, and the plurals of the kinds that could not be listed."""
        found: list[tuple[str, dict[str, Any]]] = []
        unseen: list[str] = []
        kinds = sorted(set(self._kinds(unseen)))
        with ThreadPoolExecutor(max_workers=8) as threads:
            for kind, items in zip(kinds, threads.map(self._list, kinds), strict=True):
                if items is None:
                    unseen.append(kind.path.rpartition("/")[2])
                else:
                    found += [(kind.kind, item) for item in items]
        return found, unseen

    def _list(self, kind: _Kind) -> list[dict[str, Any]] | None:
        try:
            return self._kubernetes.metadata(kind.path)
        except Refused:
            return None

    def _kinds(self, unseen: list[str]) -> Iterator[_Kind]:
        """Yield what can be listed in a namespace (Kubernetes API, discovery), each group in its preferred version."""
        groups = (self._kubernetes.get("/apis") or {}).get("groups") or []
        preferred = [inner(group, "preferredVersion") for group in groups if group["name"] not in _METRICS]
        versions = [version["groupVersion"] for version in preferred if "groupVersion" in version]
        for prefix in ["/api/v1", *(f"/apis/{version}" for version in versions)]:
            try:
                resources = (self._kubernetes.get(prefix) or {}).get("resources") or []
            except Refused:
                unseen.append(prefix)
                continue
            for resource in resources:
                listed = resource.get("namespaced") and "list" in (resource.get("verbs") or ())
                if listed and resource["kind"] not in _DERIVED:
                    yield _Kind(resource["kind"], f"{prefix}/namespaces/{self._namespace}/{resource['name']}")
