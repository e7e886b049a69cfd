# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measures a deployment by a Job; see the module of the same name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..module_utils.clock import moment
from ..module_utils.core import api_keys
from ..module_utils.core.fault import Fault, Refused
from ..module_utils.core.health import benchmark
from ..module_utils.core.health.pod_words import progress_lines
from ..module_utils.core.manifests.benchmark import (
    COMPONENT,
    COMPONENT_LABEL,
    PROGRAM,
    START_SECONDS,
    benchmark_objects,
)
from ..module_utils.core.manifests.running import GROUP_DOCUMENT, runtime_of
from ..module_utils.core.names import object_names
from ..module_utils.core.ownership import is_ours
from ..module_utils.core.plan.standing_deployment import named_otherwise
from ..module_utils.core.text import log_lines, read_json
from ..module_utils.kube.client import Kubernetes, may_pass, part
from ..module_utils.kube.deployment import list_deployments, read_secret
from ..module_utils.kube.removal import namespace_of
from ..plugin_utils.inputs import given_inputs
from ..plugin_utils.kubernetes_writes import REMOVAL_SECONDS, WritingAction
from ..plugin_utils.progress import Lines

POLL_SECONDS = 2.0
# A pod that finds no room on the group's nodes will not find it later either: the group holds it.
UNSCHEDULED_SECONDS = 120.0
# The Job ends by its own deadline; its controller may take a moment to say so.
LATE_SECONDS = 60.0
# Where the plan's figures are not recorded.
FALLBACK_REQUESTS = 16
_LOG_LINES = 2000


class ActionModule(WritingAction):
    """The API key stays in its Secret: the Job's pod reads it there."""

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        inputs = given_inputs(self._loader, "deployment")
        settings, name = inputs.settings, inputs.name
        self.cluster = self.reach(settings)
        kubernetes = self.cluster.connect()
        namespace = namespace_of(kubernetes, name, settings["namespace"])
        place = f"/apis/ray.io/v1/namespaces/{part(namespace)}/rayclusters/{part(name)}"
        raycluster = kubernetes.get(place)
        if others := named_otherwise(inputs.deployment_name, name, raycluster):
            raise Refused(others)
        row = _serving(kubernetes, raycluster, name)
        plan = benchmark.planned(raycluster["metadata"].get("annotations"))
        asked = _asked(kubernetes, raycluster, settings, plan)
        policy, job = benchmark_objects(raycluster, asked, _key_name(kubernetes, name, namespace))
        self._make_room(kubernetes, job, policy, task_vars)
        tokens = {"input_tokens": asked["input_tokens"], "output_tokens": asked["output_tokens"]}
        result = {**tokens, "planned": plan, "at_start": row["measured"], "loads": asked["loads"], "remarks": []}
        if self._task.check_mode:
            return {"changed": True, **result, "measured": []}
        self.apply([policy], task_vars)
        if not kubernetes.create(_jobs(namespace), job):
            raise Refused([_running(job, "just started")])
        at = moment()
        try:
            measured, cause = self._follow(kubernetes, job, asked["seconds"])
        finally:
            left = self._clean_up([job, policy], task_vars)
        if not any("error" not in entry for entry in measured):
            words = next((entry["error"] for entry in measured), cause) or "its pod left no figures"
            remedy = "see the logs playbook for what the head says of the requests"
            raise Refused(
                [Fault("benchmark_failed", f"Job/{job['metadata']['name']}", words, "figures of one load", remedy)]
            )
        annotation = benchmark.record(at, **tokens, measured=measured)
        self.write([_patch(raycluster, annotation)], task_vars, state="patched", merge_type=["merge"])
        return {"changed": True, **result, "at": at, "measured": measured, "remarks": left + _remarks(measured, asked)}

    def _make_room(
        self, kubernetes: Kubernetes, job: dict[str, Any], policy: Mapping[str, Any], task_vars: dict[str, Any]
    ) -> None:
        """Raise Refused where a benchmark of the deployment runs: two would measure each other. One that has ended is removed."""
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        standing = kubernetes.get(f"{_jobs(namespace)}/{part(name)}")
        policies = f"/apis/networking.k8s.io/v1/namespaces/{part(namespace)}/networkpolicies"
        for kind, found in (("Job", standing), ("NetworkPolicy", kubernetes.get(f"{policies}/{part(name)}"))):
            if found is not None and not is_ours(found, policy["metadata"]["ownerReferences"][0]["name"]):
                expected, remedy = "one of this deployment, or none", "it is left alone: remove it, or rename it"
                raise Refused([Fault("not_ours", f"{kind}/{name}", "somebody else's", expected, remedy)])
        if standing is None:
            return
        if not _ended(standing):
            raise Refused([_running(job, str((standing.get("status") or {}).get("startTime") or "not started yet"))])
        if not self._task.check_mode:
            self._remove([job], task_vars)

    def _follow(
        self, kubernetes: Kubernetes, job: Mapping[str, Any], seconds: float
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return what was measured when the Job has ended, and why it failed; each load is shown as soon as it is there."""
        metadata, lines = job["metadata"], Lines(self.show)
        end = time.monotonic() + seconds + START_SECONDS + LATE_SECONDS
        said = 0
        unscheduled: float | None = None
        measured: list[dict[str, Any]] = []
        while time.monotonic() < end:
            try:
                standing = kubernetes.get(f"{_jobs(metadata['namespace'])}/{part(metadata['name'])}")
                pod = _pod(kubernetes, job)
                measured = benchmark.read_log(_log(kubernetes, pod)) or measured
            except Refused as refused:
                if not may_pass(refused.faults):
                    raise
                lines.say("benchmark", refused.faults[0].line())
                time.sleep(POLL_SECONDS)
                continue
            for entry in measured[said:]:
                words = entry.get("error") or f"{entry['tokens_per_second']:,.1f} tokens/s"
                lines.say("benchmark", f"{entry['concurrency']} at once: {words}", final=True)
            said = max(said, len(measured))
            if standing is None:
                raise Refused([Fault("benchmark_removed", f"Job/{metadata['name']}", "removed while it ran")])
            if ended := _ended(standing):
                return measured, None if ended == "Complete" else _cause(pod, standing)
            waiting, no_room = _waiting(pod)
            unscheduled = (unscheduled or time.monotonic()) if no_room else None
            if unscheduled is not None and time.monotonic() - unscheduled > UNSCHEDULED_SECONDS:
                remedy = "leave more of the nodes to other pods (node_pods_vcpus, node_pods_memory_gb)"
                raise Refused(
                    [Fault("benchmark_no_room", f"Job/{metadata['name']}", waiting, "room on a node", remedy)]
                )
            lines.say("benchmark", waiting or f"measuring, {len(measured)} loads done")
            time.sleep(POLL_SECONDS)
        return measured, "it did not end in its time"

    def _remove(self, objects: list[dict[str, Any]], task_vars: dict[str, Any]) -> None:
        """Remove the objects and return when they are gone; the API leaves a Job's pod alone where it is not told otherwise."""
        options = {"propagationPolicy": "Foreground"}
        self.write(objects, task_vars, state="absent", wait=True, wait_timeout=REMOVAL_SECONDS, delete_options=options)

    def _clean_up(self, objects: list[dict[str, Any]], task_vars: dict[str, Any]) -> list[dict[str, Any]]:
        """Remove the objects; return what stays as remarks, since it goes by itself with its time or with the deployment."""
        try:
            self._remove(objects, task_vars)
        except Refused as refused:
            return [fault.as_dict() for fault in refused.faults]
        return []


def _serving(kubernetes: Kubernetes, raycluster: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """Return the deployment's row; Refused where there is none, or it does not serve: figures of a group that starts mean nothing."""
    namespace = ((raycluster or {}).get("metadata") or {}).get("namespace")
    rows = [row for row in list_deployments(kubernetes, name) if row["namespace"] == namespace]
    where = f"deployment {name}"
    if not rows:
        remedy = "run deploy, or correct deployment_name and namespace"
        raise Refused([Fault("no_deployment", where, "not there", "a deployment of that name", remedy)])
    if not rows[0]["ready"]:
        remedy = "run benchmark when status says Ready"
        raise Refused([Fault("not_ready", where, rows[0]["state"], "Ready", remedy)])
    return rows[0]


def _asked(
    kubernetes: Kubernetes, raycluster: Mapping[str, Any], settings: Mapping[str, Any], plan: Mapping[str, float]
) -> dict[str, Any]:
    """Return what the Job's program is told. Raises Refused where the deployment cannot be measured like that."""
    metadata = raycluster["metadata"]
    document = _group_document(kubernetes, raycluster)
    sizes = {name: settings[f"benchmark_{name}"] for name in ("input_tokens", "output_tokens")}
    tokens = sum(sizes.values())
    if plan and tokens > plan["context"]:
        found = f"{tokens} tokens together"
        expected = f"at most the context of {plan['context']:.0f}"
        where = "benchmark_input_tokens, benchmark_output_tokens"
        raise Refused([Fault("benchmark_too_long", where, found, expected, "give smaller ones")])
    most = settings["benchmark_requests"] or benchmark.requests_that_fit(plan, tokens) or FALLBACK_REQUESTS
    try:
        scheme = "https" if document["engine"]["tls"] else "http"
        port, model = int(document["engine"]["port"]), str(document["model"]["served_names"][0])
    except (LookupError, TypeError, ValueError):
        raise Refused([_not_understood(raycluster)]) from None
    host = f"{object_names(metadata['name'])['head_service']}.{metadata['namespace']}.svc"
    return {
        "url": f"{scheme}://{host}:{port}",
        "model": model,
        "loads": benchmark.loads(most),
        **sizes,
        "seconds": settings["benchmark_minutes"] * 60,
    }


def _group_document(kubernetes: Kubernetes, raycluster: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the pods' programs know of their group; Refused where they are of a version that has no benchmark."""
    namespace, runtime = raycluster["metadata"]["namespace"], runtime_of(raycluster)
    found = kubernetes.get(f"/api/v1/namespaces/{part(namespace)}/configmaps/{part(runtime)}") if runtime else None
    data = (found or {}).get("data") or {}
    if PROGRAM not in data:
        remedy = "run deploy with adopt_defaults: true, which restarts the group with this version's programs"
        where = f"ConfigMap/{runtime or ''}"
        raise Refused([Fault("benchmark_unknown", where, "programs of a version without benchmark", PROGRAM, remedy)])
    try:
        document = read_json(data.get(GROUP_DOCUMENT) or "")
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Refused([_not_understood(raycluster)])
    return document


def _not_understood(raycluster: Mapping[str, Any]) -> Fault:
    where = f"ConfigMap/{runtime_of(raycluster)}"
    return Fault(
        "unreadable", where, f"its {GROUP_DOCUMENT} cannot be understood", "as deploy makes it", "run deploy again"
    )


def _key_name(kubernetes: Kubernetes, name: str, namespace: str) -> str:
    secret = object_names(name)["api_key_secret"]
    found = api_keys.first(read_secret(kubernetes, namespace, secret) or {})
    if found is None:
        raise Refused([Fault("no_key", f"Secret/{secret}", "no API key", "one", "run deploy, which makes one")])
    return found[0]


def _running(job: Mapping[str, Any], since: str) -> Fault:
    metadata = job["metadata"]
    return Fault(
        "benchmark_running",
        f"Job/{metadata['name']} in namespace {metadata['namespace']}",
        f"a benchmark of this deployment, since {since}",
        "none",
        "wait for its end; one whose playbook was killed goes by itself within minutes of its end",
    )


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{part(namespace)}/jobs"


def _pod(kubernetes: Kubernetes, job: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the Job's pod, the last one where there are more."""
    metadata = job["metadata"]
    path = f"/api/v1/namespaces/{part(metadata['namespace'])}/pods"
    selector = f"job-name={metadata['name']},{COMPONENT_LABEL}={COMPONENT}"
    pods = kubernetes.items(path, labelSelector=selector)
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp"))) if pods else None


def _status(pod: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the status of the pod's only container, {} while there is none."""
    return dict((((pod or {}).get("status") or {}).get("containerStatuses") or [{}])[0])


def _log(kubernetes: Kubernetes, pod: Mapping[str, Any] | None) -> list[str]:
    if pod is None or "waiting" in (_status(pod).get("state") or {"waiting": {}}):
        return []
    metadata = pod["metadata"]
    path = f"/api/v1/namespaces/{part(metadata['namespace'])}/pods/{part(metadata['name'])}/log"
    return log_lines(kubernetes.read(path, tailLines=_LOG_LINES))


def _ended(job: Mapping[str, Any]) -> str | None:
    """Return how a Job ended: Complete or Failed; None while it runs."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((str(one["type"]) for one in conditions if one["status"] == "True" and one["type"] in _ENDS), None)


_ENDS = ("Complete", "Failed")


def _cause(pod: Mapping[str, Any] | None, job: Mapping[str, Any]) -> str:
    """Return why the Job failed: what its program said, else why its container ended, else what the Job's controller says."""
    terminated = (_status(pod).get("state") or {}).get("terminated") or {}
    causes = [
        entry["cause"] for entry in progress_lines(str(terminated.get("message") or "")).values() if entry.get("cause")
    ]
    if causes:
        return str(causes[0])
    if terminated:
        return f"its container ended with {terminated.get('exitCode')} ({terminated.get('reason')})"
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((str(one.get("message")) for one in conditions if one["type"] == "Failed"), "it failed")


def _waiting(pod: Mapping[str, Any] | None) -> tuple[str, bool]:
    """Return what the pod waits for, "" once it runs, and whether that is room on a node."""
    if pod is None:
        return "waiting for its pod", False
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"no node has room: {condition.get('message')}", condition.get("reason") == "Unschedulable"
    waiting = (_status(pod).get("state") or {}).get("waiting") or {}
    if waiting:
        return f"{waiting.get('reason')}: {waiting['message']}" if waiting.get("message") else str(
            waiting.get("reason")
        ), False
    return ("" if status.get("phase") == "Running" else "its pod starts"), False


def _patch(raycluster: Mapping[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    metadata = {key: raycluster["metadata"][key] for key in ("name", "namespace")}
    kind = {"apiVersion": "ray.io/v1", "kind": "RayCluster"}
    return {**kind, "metadata": {**metadata, "annotations": annotations}}


def _remarks(measured: list[dict[str, Any]], asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is to be known of the figures: loads that are missing, and requests that failed."""
    found = []
    for entry in measured:
        where = f"{entry['concurrency']} requests at once"
        if "error" in entry:
            found.append(Fault("load_not_measured", where, entry["error"]))
        elif entry["failed"]:
            failed = f"{entry['failed']} of {entry['failed'] + entry['completed']} requests failed"
            found.append(Fault("requests_failed", where, failed, "none", "see the logs playbook"))
    seen = {entry["concurrency"] for entry in measured}
    if missing := [load for load in asked["loads"] if load not in seen]:
        where = f"{', '.join(map(str, missing))} requests at once"
        found.append(Fault("load_not_measured", where, "left out after the one before it"))
    return [fault.as_dict() for fault in found]
