# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading what stands in the cluster of a deployment."""

from __future__ import annotations

import base64
import contextlib
import difflib
import math
from collections.abc import Container, Mapping
from datetime import datetime, timezone
from typing import Any

from ..core.fault import Fault, Refused
from ..core.health import benchmark
from ..core.health.deployment_health import judge
from ..core.health.observation import Observation, container_statuses, living, node_ready, restarts, taken_up
from ..core.health.paused import billed_while_paused, is_paused, kept_while_paused, read_paused
from ..core.health.pod_words import progress_lines
from ..core.manifests.cost_record import recorded_cost
from ..core.names import (
    CHOICES_ANNOTATION,
    COST_ANNOTATION,
    ENDPOINT_ANNOTATION,
    FIELDS_ANNOTATION,
    GIVEN_ANNOTATION,
    HASH_ANNOTATION,
    NAME_ANNOTATION,
    NODE_LABEL,
    PRICE_ANNOTATION,
    RECIPE_ANNOTATION,
    SHAPE_ANNOTATION,
    VALUES_ANNOTATION,
    label_selector,
    object_names,
)
from ..core.ownership import recorded_pool
from ..core.parts import head_pod_spec, inner
from ..core.source_request import recorded
from ..core.text import read_json
from .client import Kubernetes, may_pass, part, unless_forbidden
from .operator import DEPLOYMENTS
from .operator import SELECTOR as OPERATOR_SELECTOR

# A price beyond it is none of ours.
MOST_USD = 1e9
# A pod's log may name so many phases; its programs have seven.
MOST_PHASES = 32
RAYCLUSTERS = "/apis/ray.io/v1/rayclusters"


def list_deployments(
    kubernetes: Kubernetes, name: str | None = None, with_endpoint: bool = False
) -> list[dict[str, Any]]:
    """Return what each deployment's RayCluster says of it, judged now; `name` picks one.

    with_endpoint: also what its Service says of the endpoint
    """
    found = kubernetes.items(RAYCLUSTERS, labelSelector=label_selector(name))
    return [_row(kubernetes, item, with_endpoint) for item in found]


def missing_deployment(kubernetes: Kubernetes, name: str, where: str) -> Fault:
    """Return the fault of a deployment that is not there, with the name of the one that may be meant."""
    nearest = nearest_deployment(kubernetes, name)
    remedy = f"did you mean {nearest}?" if nearest else "run deploy, or correct deployment_name and namespace"
    return Fault("no_deployment", where, "not there", f"of deployment {name}", remedy)


def nearest_deployment(kubernetes: Kubernetes, name: str) -> str:
    """Return the name of the cluster's deployment that is most like `name` and another one, "" where none is."""
    found = unless_forbidden(lambda: kubernetes.metadata(RAYCLUSTERS, labelSelector=label_selector())) or []
    names = {item["metadata"]["name"] for item in found} - {name}
    return next(iter(difflib.get_close_matches(name, sorted(names), 1)), "")


def _row(kubernetes: Kubernetes, cluster: Mapping[str, Any], with_endpoint: bool) -> dict[str, Any]:
    """Describe a deployment; one whose objects cannot be read or understood is a row of its own, and hides no other."""
    try:
        row = _describe(kubernetes, cluster)
        if with_endpoint:
            row["endpoint"] = read_endpoint(kubernetes, row["name"], row["namespace"])
            if row["paused"] is not None:
                kept = kept_while_paused(cluster, row["endpoint"])
                row["paused"]["kept"], row["usd_per_hour"] = kept, billed_while_paused(kept)
        return row
    except Refused as refused:
        # Whoever lists them all wants the others; where the API server is away, there are none to be had.
        if not with_endpoint or may_pass(refused.faults):
            raise
        fault = refused.faults[0]
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        fault = Fault(
            "unreadable",
            f"RayCluster {(cluster.get('metadata') or {}).get('name')}",
            f"its objects cannot be parsed ({type(error).__name__})",
            "objects as deploy writes them",
            "run deploy again: it rewrites them",
        )
    metadata = cluster.get("metadata") or {}
    return {
        "name": str(metadata.get("name", "")),
        "namespace": str(metadata.get("namespace", "")),
        "deployment_name": str(metadata.get("name", "")),
        "recipe_name": "",
        "state": "Unknown",
        "ready": False,
        "shape": "",
        "nodes": 0,
        "gpus": 0,
        "own_nodes": False,
        "usd_per_hour": None,
        "cost": {},
        "created": "",
        "age_seconds": 0,
        "hash": "",
        "choices": {},
        "given": "",
        "fields": {},
        "values": {},
        "source_request": {},
        "node_pool": {},
        "phases": {},
        "measured": {},
        "planned": {},
        "benchmark": {},
        "last_failure": None,
        "failure": fault.as_dict(),
        "paused": None,
        **({"endpoint": {}} if with_endpoint else {}),
    }


def _describe(kubernetes: Kubernetes, cluster: Mapping[str, Any]) -> dict[str, Any]:
    metadata = cluster["metadata"]
    annotations = metadata.get("annotations") or {}
    groups = cluster["spec"].get("workerGroupSpecs") or []
    pod = head_pod_spec(cluster)
    head = pod["containers"][0]
    gpus = int((head.get("resources", {}).get("limits") or {}).get("nvidia.com/gpu", 0))
    nodes = 1 + sum(group.get("replicas", 0) * group.get("numOfHosts", 1) for group in groups)
    judgement = judge(Observer(kubernetes, metadata["name"], metadata["namespace"]).look(cluster), nodes, gpus)
    created = datetime.fromisoformat(metadata["creationTimestamp"].replace("Z", "+00:00"))
    price = annotations.get(PRICE_ANNOTATION)
    return {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "deployment_name": annotations.get(NAME_ANNOTATION, metadata["name"]),
        "recipe_name": annotations.get(RECIPE_ANNOTATION, ""),
        "state": judgement.state,
        "ready": judgement.ready,
        "shape": annotations.get(SHAPE_ANNOTATION, ""),
        "nodes": nodes,
        "gpus": gpus,
        "own_nodes": has_own_nodes(cluster),
        "usd_per_hour": 0.0 if is_paused(cluster) else _number(price),
        "cost": recorded_cost(annotations.get(COST_ANNOTATION)),
        "created": f"{created.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
        "age_seconds": int((datetime.now(timezone.utc) - created).total_seconds()),
        "hash": annotations.get(HASH_ANNOTATION, ""),
        "choices": _json(annotations.get(CHOICES_ANNOTATION)),
        "given": annotations.get(GIVEN_ANNOTATION, ""),
        "fields": _json(annotations.get(FIELDS_ANNOTATION)),
        "values": _json(annotations.get(VALUES_ANNOTATION)),
        "source_request": recorded(annotations),
        "node_pool": recorded_pool(annotations),
        "phases": {step.phase: step.text for step in judgement.steps},
        "measured": judgement.measured,
        "planned": benchmark.planned(annotations),
        "benchmark": benchmark.recorded(annotations),
        "last_failure": judgement.last_failure,
        "failure": judgement.failure.as_dict() if judgement.failure else None,
        "paused": read_paused(cluster) if is_paused(cluster) else None,
    }


def _number(text: str | None) -> float | None:
    """Return a number that an annotation holds; None where it holds none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value < MOST_USD else None


def has_own_nodes(raycluster: Mapping[str, Any]) -> bool:
    """Tell whether a deployment has a node pool of its own: its pods ask for nodes with its label."""
    return NODE_LABEL in (head_pod_spec(raycluster).get("nodeSelector") or {})


def read_endpoint(kubernetes: Kubernetes, name: str, namespace: str) -> dict[str, Any]:
    """Return what the Service says of the endpoint (`manifests/endpoint.record`); {} where it says nothing."""
    path = f"/api/v1/namespaces/{part(namespace)}/services/{part(object_names(name)['api_service'])}"
    service = unless_forbidden(lambda: kubernetes.get(path) or {}) or {}
    return _json((service.get("metadata", {}).get("annotations") or {}).get(ENDPOINT_ANNOTATION))


def _json(text: str | None) -> dict[str, Any]:
    try:
        value = read_json(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Observer:
    """Looks at one deployment again and again, and reads of each pod's log only what is new."""

    def __init__(self, kubernetes: Kubernetes, name: str, namespace: str) -> None:
        self._kubernetes = kubernetes
        self._name = name
        self._namespace = namespace
        self._progress: dict[str, dict[str, dict[str, Any]]] = {}
        self._read: dict[str, tuple[str, datetime]] = {}

    def look(self, raycluster: Mapping[str, Any] | None = None) -> Observation:
        """Return what is to be seen now."""
        namespace = part(self._namespace)
        if raycluster is None:
            raycluster = self._kubernetes.get(f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters/{part(self._name)}")
        pods = self._kubernetes.items(
            f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"ray.io/cluster={self._name}"
        )
        nodes = nodes_of(self._kubernetes, self._name, raycluster)
        operator, said, words = self._operator(raycluster)
        return Observation(
            raycluster=raycluster,
            pods=pods,
            nodes=nodes,
            progress=self._all_progress(pods, {node["metadata"]["name"] for node in nodes if node_ready(node)}),
            warnings=[*self._warnings(self._namespace, self._named(pods)), *said],
            operator=operator,
            operator_words=words,
        )

    def _named(self, pods: list[dict[str, Any]]) -> set[str]:
        """The names of what events may be about: the RayCluster, its pods and their volume claims."""
        claims = {
            claim
            for pod in pods
            for volume in (pod.get("spec") or {}).get("volumes") or []
            if (claim := inner(volume, "persistentVolumeClaim").get("claimName"))
        }
        return {self._name, *claims, *(pod["metadata"]["name"] for pod in pods)}

    def _operator(self, cluster: Mapping[str, Any] | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
        """The operator's pods with their warnings and last words, while it has not acted; nothing where it may not be read."""
        if cluster is None or taken_up(cluster):
            return [], [], ""
        try:
            owners = self._kubernetes.items(DEPLOYMENTS, labelSelector=OPERATOR_SELECTOR)
            pods: list[dict[str, Any]] = []
            said: list[dict[str, Any]] = []
            words = ""
            for namespace in sorted({owner["metadata"]["namespace"] for owner in owners}):
                path = f"/api/v1/namespaces/{part(namespace)}/pods"
                found = self._kubernetes.items(path, labelSelector=OPERATOR_SELECTOR)
                pods += found
                said += self._warnings(namespace, {pod["metadata"]["name"] for pod in found})
            for pod in living(pods):
                if restarts([pod]):
                    words = self._last_words(pod)
        except Refused:
            # Who may deploy need not see the operator's namespace.
            return [], [], ""
        return pods, said, words

    def _last_words(self, pod: Mapping[str, Any]) -> str:
        """The last lines of the run of a pod's container that ended; "" where they cannot be read."""
        namespace, name = part(pod["metadata"]["namespace"]), part(pod["metadata"]["name"])
        container = container_statuses(pod)[0]["name"]
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
        with contextlib.suppress(Refused):
            log = self._kubernetes.read(path, container=container, tailLines=5, previous="true")
            return (log or b"").decode(errors="replace")
        return ""

    def _warnings(self, namespace: str, names: Container[str]) -> list[dict[str, Any]]:
        """The warnings of the namespace's objects of these names."""
        found = self._kubernetes.items(f"/api/v1/namespaces/{part(namespace)}/events", fieldSelector="type=Warning")
        return [event for event in found if (event.get("involvedObject") or {}).get("name") in names]

    def _all_progress(self, pods: list[dict[str, Any]], ready: set[str]) -> dict[str, dict[str, dict[str, Any]]]:
        for pod in pods:
            # The API server asks the node for a log, and a dead one for half a minute.
            if (pod.get("spec") or {}).get("nodeName") in ready:
                self._read_log(pod)
        names = {pod["metadata"]["name"] for pod in pods}
        self._progress = {name: phases for name, phases in self._progress.items() if name in names}
        return self._progress

    def _read_log(self, pod: Mapping[str, Any]) -> None:
        name = pod["metadata"]["name"]
        statuses = (pod.get("status") or {}).get("containerStatuses") or []
        running = (statuses[0].get("state") or {}).get("running") if statuses else None
        if not running:
            return
        # Another run of the container starts its phases again.
        run = statuses[0].get("containerID", "") + str(running.get("startedAt"))
        last_run, last_time = self._read.get(name, ("", None))
        now = datetime.now(timezone.utc)
        since = None
        if run == last_run and last_time is not None:
            since = int((now - last_time).total_seconds()) + 2
        else:
            self._progress[name] = {}
        try:
            log = self._kubernetes.read(
                f"/api/v1/namespaces/{part(self._namespace)}/pods/{part(name)}/log",
                container=statuses[0]["name"],
                sinceSeconds=since,
                tailLines=None if since else 5000,
                limitBytes=4_000_000,
            )
        except Refused as refused:
            # The node may have left just now; an API server that is away is found by the next read.
            if may_pass(refused.faults):
                return
            raise
        if log is not None:
            known = self._progress.setdefault(name, {})
            for phase, entry in progress_lines(log.decode(errors="replace")).items():
                if phase in known or len(known) < MOST_PHASES:
                    known[phase] = entry
            self._read[name] = (run, now)


def nodes_of(kubernetes: Kubernetes, name: str, raycluster: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the nodes that the head's node selector picks: those of the pool, or those that were there already."""
    selector = f"{NODE_LABEL}={name}"
    if raycluster:
        wanted = head_pod_spec(raycluster).get("nodeSelector") or {}
        selector = ",".join(f"{key}={value}" for key, value in wanted.items())
    return kubernetes.items("/api/v1/nodes", labelSelector=selector)


def read_secret(kubernetes: Kubernetes, namespace: str, name: str) -> dict[str, str] | None:
    """Return the decoded values of a Secret, or None where there is none."""
    item = kubernetes.get(f"/api/v1/namespaces/{part(namespace)}/secrets/{part(name)}")
    return None if item is None else secret_values(item)


def secret_keys(kubernetes: Kubernetes, namespace: str, name: str) -> list[str] | None:
    """Return the keys of a Secret, or None where there is none; its values may be anything."""
    item = kubernetes.get(f"/api/v1/namespaces/{part(namespace)}/secrets/{part(name)}")
    return None if item is None else sorted(item.get("data") or {})


def secret_values(item: Mapping[str, Any]) -> dict[str, str]:
    """Return the decoded values of a Secret, of those that are text."""
    values = {}
    for key, value in (item.get("data") or {}).items():
        with contextlib.suppress(ValueError, TypeError):
            values[key] = base64.b64decode(value).decode()
    return values
