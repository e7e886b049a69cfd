# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every Kubernetes object of a deployment, in the order in which they are applied, rendered from the plan alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from ..names import (
    CHOICES_ANNOTATION,
    COST_ANNOTATION,
    FIELDS_ANNOTATION,
    GIVEN_ANNOTATION,
    HASH_ANNOTATION,
    MONITORING_ANNOTATION,
    NAME_ANNOTATION,
    PLANNED_ANNOTATION,
    PRICE_ANNOTATION,
    RECIPE_ANNOTATION,
    RENDERED_ANNOTATION,
    SHAPE_ANNOTATION,
    VALUES_ANNOTATION,
    common_labels,
    object_names,
)
from ..plan.changes import field_hashes, field_values
from ..plan.types import Plan
from ..recipe.parameter_objects import STATUS_PORT
from .cost_record import cost_record
from .endpoint import Surroundings, endpoint_objects
from .raycluster import SOURCE_FOLDER, raycluster
from .running import GROUP_DOCUMENT, rendered_hash
from .storage import file_system_objects

# What of the plan's memory is recorded: what a benchmark and `status` are compared with.
PLANNED: tuple[Literal["context", "concurrent", "kv_tokens", "kv_tokens_high"], ...] = (
    "context",
    "concurrent",
    "kv_tokens",
    "kv_tokens_high",
)


def render(plan: Plan, programs: Mapping[str, str], around: Surroundings | None = None) -> list[dict[str, Any]]:
    """Return the objects of the deployment, Secrets left out: their values are not in the plan.

    programs: the text of each program that runs in the pods, by file name; around: what the cluster tells of the endpoint.
    """
    runtime = _runtime(plan, programs)
    objects = [namespace(plan), runtime, *_network_policies(plan), _disruption_budget(plan)]
    objects += file_system_objects(plan)
    objects.append(raycluster(plan, runtime["metadata"]["name"]))
    cluster = objects[-1]
    objects += endpoint_objects(plan, around)
    for item in objects:
        mark(item, plan)
    cluster["metadata"]["annotations"].update(_record(plan))
    cluster["metadata"]["annotations"][RENDERED_ANNOTATION] = rendered_hash(cluster)
    return objects


def namespace(plan: Plan) -> dict[str, Any]:
    """Return the namespace of the deployment."""
    item = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": plan["deployment"]["namespace"]}}
    mark(item, plan)
    return item


def secret(plan: Plan, kind: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the Secret `kind` (a key of `object_names`) of the deployment with `values` as its data."""
    item = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(plan, object_names(plan["deployment"]["name"])[kind]),
        "type": "Opaque",
        "stringData": dict(values),
    }
    mark(item, plan)
    return item


def group_document(plan: Plan) -> dict[str, Any]:
    """Return what the programs in the pods read as group.json: all that they know of the plan."""
    return {
        "schema": 1,
        "deployment": plan["deployment"]["name"],
        "namespace": plan["deployment"]["namespace"],
        "cluster": plan["deployment"]["name"],
        "tensor": plan["parallelism"]["tensor"],
        "pipeline": plan["parallelism"]["pipeline"],
        "model": {"path": plan["model"]["path"], "served_names": plan["model"]["served_names"]},
        "staging": {
            **plan["staging"],
            "layers_per_stage": plan["parallelism"]["layers_per_stage"],
            "url_file": f"{SOURCE_FOLDER}/par",
            "streams": 8,
        },
        # Of an image that is not known the plan takes one thing for granted, its Ray.
        "image": {"ray": plan["pod"]["ray_version"], **{k: v for k, v in plan["image"].items() if k != "name"}},
        "engine": {
            "args": plan["engine"]["args"],
            "optional": plan["engine"]["optional"],
            "port": plan["pod"]["ports"]["api"],
            "tls": plan["endpoint"]["tls_to_pod"],
        },
        "ports": {**plan["pod"]["ports"], "status": STATUS_PORT},
        "restart": plan["restart"],
    }


def _runtime(plan: Plan, programs: Mapping[str, str]) -> dict[str, Any]:
    """The programs as a ConfigMap named by its content: another version of the collection restarts nothing unasked."""
    data = {**programs, GROUP_DOCUMENT: json.dumps(group_document(plan), indent=1, sort_keys=True)}
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:10]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(plan, f"{plan['deployment']['name']}-runtime-{digest}"),
        "immutable": True,
        "data": data,
    }


def _metadata(plan: Plan, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": plan["deployment"]["namespace"]}


def mark(item: dict[str, Any], plan: Plan) -> None:
    """Give the object the labels by which it is found again, and the hash of the plan it follows from."""
    item["metadata"].setdefault("labels", {}).update(common_labels(plan["deployment"]["name"]))
    item["metadata"].setdefault("annotations", {})[HASH_ANNOTATION] = plan["deployment"]["hash"]


def _record(plan: Plan) -> dict[str, str]:
    """What a later run, or `status`, wants to know of the deployment and finds nowhere else."""
    price = plan["expected"]["cost"]["nodes"]
    return {
        NAME_ANNOTATION: plan["deployment"]["deployment_name"],
        RECIPE_ANNOTATION: plan["deployment"]["recipe_name"],
        SHAPE_ANNOTATION: plan["nodes"]["shape"],
        PRICE_ANNOTATION: "" if price is None else f"{price:.2f}",
        COST_ANNOTATION: json.dumps(cost_record(plan), sort_keys=True),
        # The pool itself remembers where it is, and the wait may move it after the objects were applied.
        CHOICES_ANNOTATION: json.dumps(
            {choice["field"]: choice["value"] for choice in plan["choices"] if choice["field"] != "placement_configs"},
            sort_keys=True,
        ),
        GIVEN_ANNOTATION: plan["deployment"]["given"],
        FIELDS_ANNOTATION: json.dumps(field_hashes(plan), sort_keys=True, separators=(",", ":")),
        **({MONITORING_ANNOTATION: watched} if (watched := plan["endpoint"]["monitoring"]) else {}),
        PLANNED_ANNOTATION: json.dumps({name: plan["memory"][name] for name in PLANNED} if plan["memory"] else {}),
        VALUES_ANNOTATION: field_values(plan),
    }


# Everywhere but to link-local addresses: the metadata services of instance and OKE node are there (169.254.169.254). Pods are
# named beside, since not every network plugin takes a block of addresses to mean them.
EGRESS: list[dict[str, Any]] = [
    {"to": [{"namespaceSelector": {}}]},
    {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]},
]


def _network_policies(plan: Plan) -> list[dict[str, Any]]:
    """Close the group, and the metadata service to it: with the node's own identity a model's code would act in Oracle Cloud.

    Its own pods reach each other on every port (NCCL, Gloo and vLLM take ports as they come).

    From elsewhere only the head's API, its dashboard where it is exposed (Ray's token guards that one), and metrics where
    they are asked for.
    """
    name = plan["deployment"]["name"]
    names = object_names(name)
    ports = plan["pod"]["ports"]
    endpoint = plan["endpoint"]
    open_ports = [ports["api"], ports["dashboard"]] if endpoint["dashboard"] else [ports["api"]]
    outside: dict[str, Any] = {"ports": [{"port": port, "protocol": "TCP"} for port in open_ports]}
    # A load balancer's connections come from nodes or from its subnet; those of ingress and gateway from the controller's pods,
    # which may be in the nodes' network.
    if endpoint["exposure"] == "none":
        outside["from"] = [{"namespaceSelector": {}}]
    group = {"matchLabels": {"ray.io/cluster": name}}
    inside: list[dict[str, Any]] = [{"from": [{"podSelector": group}]}]
    if namespaces := plan["endpoint"]["metrics_namespaces"]:
        # Each namespace has its own name as this label (Kubernetes, "Automatic labelling").
        named = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces}
        inside.append(
            {
                "from": [{"namespaceSelector": {"matchExpressions": [named]}}],
                "ports": [{"port": port, "protocol": "TCP"} for port in (ports["metrics"], STATUS_PORT)],
            }
        )
    head = {"matchLabels": {"ray.io/cluster": name, "ray.io/node-type": "head"}}
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": _metadata(plan, names[policy]),
            "spec": {"podSelector": selector, "policyTypes": list(rules), **{key.lower(): rules[key] for key in rules}},
        }
        for policy, selector, rules in (
            ("network_policy", group, {"Ingress": inside, "Egress": EGRESS}),
            ("endpoint_policy", head, {"Ingress": [outside]}),
        )
    ]


def _disruption_budget(plan: Plan) -> dict[str, Any]:
    """No pod of the group is evicted: one gone, the engine is gone.

    As a number of pods: a share, or maxUnavailable, would need a scale subresource, which RayCluster has not.
    """
    name = plan["deployment"]["name"]
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(plan, object_names(name)["disruption_budget"]),
        "spec": {
            "minAvailable": plan["nodes"]["count"],
            "selector": {"matchLabels": {"ray.io/cluster": name}},
            # A pod that is not Ready serves nobody: a group that has failed holds up no drain of its nodes.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
