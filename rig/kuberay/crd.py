# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition of RayCluster, made at rig-up: KubeRay's fields, and the API server's own schema of a pod template.

Fields, defaults and enums are those of KubeRay 1.7 (apis/ray/v1/raycluster_types.go). Options of parts that the rig
does not imitate are free-form.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

# What a structural schema may not hold. Descriptions stay: they make the definition too large for client-side apply (256 KiB in
# an annotation), as KubeRay's own is.
DROPPED = {
    "default",
    "x-kubernetes-group-version-kind",
    "x-kubernetes-unions",
    "x-kubernetes-patch-strategy",
    "x-kubernetes-patch-merge-key",
}
INT_OR_STRING: Schema = {"x-kubernetes-int-or-string": True}
STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
INT32: Schema = {"type": "integer", "format": "int32"}
TIME: Schema = {"type": "string", "format": "date-time"}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
FREE: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
LIST: Schema = {"type": "array", "items": STRING}


def structural(schemas: dict[str, Schema], schema: Schema) -> Schema:
    """`schema` of an OpenAPI v3 document with its references put in place, in the form that a CRD may hold."""
    if "$ref" in schema:
        return structural(schemas, schemas[schema["$ref"].rsplit("/", 1)[-1]])
    if len(schema.get("allOf", [])) == 1:
        return structural(schemas, schema["allOf"][0])
    if "oneOf" in schema or schema.get("format") == "int-or-string":
        return dict(INT_OR_STRING)
    result: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            result[key] = {name: structural(schemas, part) for name, part in value.items()}
        elif key == "items" or (key == "additionalProperties" and isinstance(value, dict)):
            result[key] = structural(schemas, value)
        elif key not in DROPPED:
            result[key] = value
    if result.get("x-kubernetes-list-type") == "map":
        _require_list_keys(result)
    return result


def _require_list_keys(schema: Schema) -> None:
    """The keys of a list map must be required or have a default."""
    item = schema["items"]
    for key in schema["x-kubernetes-list-map-keys"]:
        if key == "protocol":
            item["properties"][key]["default"] = "TCP"
        elif key not in item.setdefault("required", []):
            item["required"].append(key)


def pod_template(schemas: dict[str, Schema]) -> Schema:
    """A pod template: the API server's PodTemplateSpec, its metadata cut to what KubeRay takes over."""
    template = structural(schemas, schemas["io.k8s.api.core.v1.PodTemplateSpec"])
    template["properties"]["metadata"] = _object(
        annotations=STRINGS, labels=STRINGS, finalizers=LIST, name=STRING, namespace=STRING
    )
    return template


def ray_cluster_definition(schemas: dict[str, Schema]) -> Schema:
    """The whole definition; `schemas` are the components of the API server's /openapi/v3/api/v1."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rayclusters.ray.io"},
        "spec": {
            "group": "ray.io",
            "scope": "Namespaced",
            "names": {
                "kind": "RayCluster",
                "listKind": "RayClusterList",
                "plural": "rayclusters",
                "singular": "raycluster",
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                    "schema": {
                        "openAPIV3Schema": _object(
                            apiVersion=STRING,
                            kind=STRING,
                            metadata={"type": "object"},
                            spec=_spec(pod_template(schemas)),
                            status=_status(),
                        )
                    },
                }
            ],
        },
    }


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    result: Schema = {"type": "object", "properties": properties}
    return result | ({"required": list(required)} if required else {})


def _enum(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _spec(template: Schema) -> Schema:
    group = {"rayStartParams": STRINGS, "resources": STRINGS, "labels": STRINGS, "template": template}
    head = _object(
        ("template",),
        serviceType=STRING,
        headService=FREE,
        enableIngress=BOOLEAN,
        ingressOptions=FREE,
        **group,
    )
    worker = _object(
        ("groupName", "maxReplicas", "minReplicas", "template"),
        groupName=STRING,
        replicas=INT32 | {"default": 0},
        minReplicas=INT32 | {"default": 0},
        maxReplicas=INT32 | {"default": 2147483647},
        numOfHosts=INT32 | {"default": 1},
        priority=INT32 | {"default": 0},
        idleTimeoutSeconds=INT32,
        scaleStrategy=_object(workersToDelete=LIST),
        suspend=BOOLEAN,
        **group,
    )
    managed_by = STRING | {
        "x-kubernetes-validations": [
            {"rule": "self == oldSelf", "message": "the managedBy field is immutable"},
            {
                "rule": "self in ['ray.io/kuberay-operator', 'kueue.x-k8s.io/multikueue']",
                "message": "managedBy must be 'ray.io/kuberay-operator' or 'kueue.x-k8s.io/multikueue'",
            },
        ]
    }
    return _object(
        ("headGroupSpec",),
        rayVersion=STRING,
        headGroupSpec=head,
        workerGroupSpecs={"type": "array", "items": worker},
        headServiceAnnotations=STRINGS,
        authOptions=_object(mode=_enum("disabled", "token"), secretName=STRING, enableK8sTokenAuth=BOOLEAN),
        upgradeStrategy=_object(type=_enum("Recreate", "None")),
        suspend=BOOLEAN,
        managedBy=managed_by,
        enableInTreeAutoscaling=BOOLEAN,
        autoscalerOptions=FREE,
        gcsFaultToleranceOptions=FREE,
        historyServerOptions=FREE,
        networkPolicy=FREE,
        tlsOptions=_object(enabled=BOOLEAN),
    )


def _status() -> Schema:
    condition = _object(
        ("lastTransitionTime", "message", "reason", "status", "type"),
        type=STRING,
        status=_enum("True", "False", "Unknown"),
        reason=STRING | {"pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", "maxLength": 1024},
        message=STRING | {"maxLength": 32768},
        lastTransitionTime=TIME,
        observedGeneration={"type": "integer", "format": "int64"},
    )
    return _object(
        state=STRING,
        reason=STRING,
        observedGeneration={"type": "integer", "format": "int64"},
        lastUpdateTime=TIME,
        stateTransitionTimes={"type": "object", "additionalProperties": TIME},
        desiredWorkerReplicas=INT32,
        readyWorkerReplicas=INT32,
        availableWorkerReplicas=INT32,
        minWorkerReplicas=INT32,
        maxWorkerReplicas=INT32,
        desiredCPU=INT_OR_STRING,
        desiredMemory=INT_OR_STRING,
        desiredGPU=INT_OR_STRING,
        desiredTPU=INT_OR_STRING,
        endpoints=STRINGS,
        head=_object(podIP=STRING, podName=STRING, serviceIP=STRING, serviceName=STRING),
        conditions={
            "type": "array",
            "items": condition,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )


def _columns() -> list[dict[str, str]]:
    return [
        {"name": name, "type": kind, "jsonPath": path}
        for name, kind, path in (
            ("desired workers", "integer", ".status.desiredWorkerReplicas"),
            ("available workers", "integer", ".status.availableWorkerReplicas"),
            ("cpus", "string", ".status.desiredCPU"),
            ("memory", "string", ".status.desiredMemory"),
            ("gpus", "string", ".status.desiredGPU"),
            ("status", "string", ".status.state"),
            ("age", "date", ".metadata.creationTimestamp"),
        )
    ]
