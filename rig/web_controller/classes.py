# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster has once the controller is installed: its IngressClass and GatewayClass, and the kinds of the Gateway API.

The kinds' fields are open, but for those that the product writes: their types are those of the Gateway API's standard channel (v1).
"""

from __future__ import annotations

from typing import Any

CONTROLLER = "rig.multinode.inference/web"
INGRESS_CLASS = GATEWAY_CLASS = "rig-web"

_OPEN: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_ROUTE = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "hostnames": {
                    "type": "array",
                    "maxItems": 16,
                    "items": {
                        "type": "string",
                        "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                    },
                },
                "parentRefs": {"type": "array", "items": {**_OPEN, "required": ["name"]}},
                "rules": {"type": "array", "items": _OPEN},
            },
        },
        "status": _OPEN,
    },
}


def _kind(name: str, plural: str, scope: str, schema: dict[str, Any]) -> dict[str, Any]:
    group = "gateway.networking.k8s.io"
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            # The API server asks for it in groups of Kubernetes' own.
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api"},
        },
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": name, "plural": plural, "singular": name.lower()},
            "versions": [version],
        },
    }


KINDS = [
    _kind("GatewayClass", "gatewayclasses", "Cluster", _OPEN),
    _kind("Gateway", "gateways", "Namespaced", _OPEN),
    _kind("HTTPRoute", "httproutes", "Namespaced", _ROUTE),
]
CLASSES = [
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": INGRESS_CLASS},
        "spec": {"controller": CONTROLLER},
    },
    {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": GATEWAY_CLASS},
        "spec": {"controllerName": CONTROLLER},
    },
]
