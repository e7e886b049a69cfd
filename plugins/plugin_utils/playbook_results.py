# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What each playbook adds to its result, and the lines it prints at its end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ..module_utils.core.catalog.shapes import find_shape
from ..module_utils.core.fault import Fault, fault_of
from ..module_utils.core.health.measured import beside_plan
from ..module_utils.core.names import DEPLOYMENT_TAG
from ..module_utils.core.plan.endpoint import endpoint_without_tls
from ..module_utils.core.plan.presentation.text import bill, describe
from ..module_utils.core.plan.types import Plan
from ..module_utils.core.source_request import end_near
from .reachability import certificates

Details = tuple[dict[str, Any], list[str]]
Results = Mapping[str, Mapping[str, Any]]


def deploy(results: Results) -> Details:
    """Endpoints, completion and how to reach them."""
    endpoint = results.get("endpoint") or {}
    plan = (results.get("preflight") or {}).get("plan")
    settings = (results.get("recipe") or {}).get("settings") or {}
    recipes = endpoint.get("recipes") or {}
    details: dict[str, Any] = {
        "recipes": recipes,
        "plan": plan,
        "model": endpoint.get("model"),
        "completion": endpoint.get("completion"),
        "measured": endpoint.get("measured") or {},
        "key_command": endpoint.get("key_command"),
        "address": endpoint.get("address"),
        "ca_pem": endpoint.get("ca_pem"),
        "ca_file": None,
        "curl": None,
        "repairs": endpoint.get("repairs") or [],
        **_served(plan),
    }
    if not plan or not endpoint.get("state"):
        return details, []
    details["ca_file"] = ca_file_of(settings.get("result_file")) if endpoint.get("ca_pem") else None
    details["seconds"] = {entry["phase"]: entry["seconds"] for entry in timeline(results)}
    lines = [json.dumps({"recipes": recipes}, indent=2)] if recipes else _reached_from_inside(plan)
    if recipes:
        details["curl"] = _curl(endpoint, plan, details["ca_file"])
        lines += ["", "Ask it for a completion:", f"  {details['curl']}"]
    else:
        lines += ["", "Its API key:", f"  {endpoint['key_command']}"]
    lines += [f"{entry['name']} {entry['action']}: {entry['reason']}" for entry in details["repairs"]]
    lines += ["", f"{endpoint['model']} answered: {endpoint.get('completion')!r}"]
    if details["measured"]:
        lines += ["vLLM measured at its start:", *(f"  {line}" for line in beside_plan(details["measured"], plan)[0])]
    price = plan["expected"]["usd_per_hour"]
    if price is not None:
        count, shape = plan["nodes"]["count"], plan["nodes"]["shape"]
        lines += [f"{count} x {shape} cost {price:.2f} US dollars an hour until undeploy, volumes included."]
    return details, lines


def ca_file_of(result_file: str | None) -> str | None:
    """Return the file for the endpoint's authority: beside the result, <name>-ca.pem; None where no result is written."""
    if not result_file or not result_file.strip():
        return None
    path = Path(result_file.strip()).expanduser()
    return str(path.with_name(f"{path.stem}-ca.pem"))


def _served(plan: Plan | None) -> dict[str, Any]:
    """What is served, for whoever reads the result and not the plan."""
    if not plan:
        return {}
    return {
        "model_names": plan["model"]["served_names"],
        "context": plan["memory"]["context"] if plan["memory"] else None,
        "tensor_parallel": plan["parallelism"]["tensor"],
        "pipeline_parallel": plan["parallelism"]["pipeline"],
        "usd_per_hour": plan["expected"]["usd_per_hour"],
    }


def _curl(endpoint: Mapping[str, Any], plan: Plan, ca_file: str | None) -> str:
    """Return a line that asks for a completion when it is pasted into a shell."""
    body = json.dumps({"model": endpoint["model"], "prompt": "The capital of France is", "max_tokens": 8})
    words = ["curl"]
    if endpoint.get("records_missing") and endpoint["host"] != endpoint["address"]:
        address = f"[{endpoint['address']}]" if ":" in endpoint["address"] else endpoint["address"]
        words += ["--resolve", shlex.quote(f"{endpoint['host']}:{endpoint['port']}:{address}")]
    if endpoint.get("ca_pem"):
        words += ["--cacert", shlex.quote(ca_file) if ca_file else f"<(echo {shlex.quote(endpoint['ca_pem'])})"]
    words += [
        f'--header "Authorization: Bearer $({endpoint["key_command"]})"',
        "--header 'Content-Type: application/json'",
        f"--data {shlex.quote(body)}",
        shlex.quote(f"{endpoint['url']}/v1/completions"),
    ]
    return " ".join(words)


def _reached_from_inside(plan: Plan) -> list[str]:
    name, namespace, port = (
        f"{plan['deployment']['name']}-api",
        plan["deployment"]["namespace"],
        plan["pod"]["ports"]["api"],
    )
    return [
        f"Inside the cluster: http://{name}.{namespace}:{port} (endpoint_exposure: none)",
        f"From here: kubectl --namespace {namespace} port-forward service/{name} {port}:{port}, then http://127.0.0.1:{port}",
    ]


def plan_only(results: Results) -> Details:
    """The plan, in words."""
    plan = (results.get("preflight") or {}).get("plan")
    return {"plan": plan}, describe(plan) if plan else []


def status(results: Results) -> Details:
    """A table of the deployments, and what stands without its other half: a node pool, or a RayCluster."""
    deployments = list((results.get("status") or {}).get("deployments") or [])
    keys = (
        "name",
        "namespace",
        "state",
        "ready",
        "shape",
        "nodes",
        "usd_per_hour",
        "age_seconds",
        "measured",
        "failure",
    )
    details = [{**{key: entry[key] for key in keys}, "drift": []} for entry in deployments]
    now = datetime.now(timezone.utc)
    warnings = [fault for entry in deployments if (fault := end_near(entry.get("source_request") or {}, now))]
    warnings += [fault for entry in deployments for fault in _endpoint_warnings(entry, now)]
    orphans = _orphans(results, deployments)
    header = ("NAME", "NAMESPACE", "STATE", "NODES", "SHAPE", "USD/H", "AGE", "WAITING FOR")
    rows = [header]
    for entry in deployments:
        price = "-" if entry["usd_per_hour"] is None else f"{entry['usd_per_hour']:.2f}"
        names = (entry["name"], entry["namespace"], entry["state"], str(entry["nodes"]), entry["shape"])
        rows.append((*names, price, _age(entry["age_seconds"]), "" if entry["ready"] else _awaited(entry)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    if not deployments:
        lines = ["No deployments."]
    for entry in deployments:
        if entry["measured"]:
            lines.append(f"{entry['name']}, measured at its start: {'; '.join(beside_plan(entry['measured'])[0])}")
    lines += [f"{_orphan_name(orphan)} {_orphan_words(orphan)}: run deploy again, or undeploy." for orphan in orphans]
    lines += [f"Warning: {fault.line()}" for fault in warnings]
    return {"deployments": details, "orphans": orphans, "warnings": [fault.as_dict() for fault in warnings]}, lines


def _endpoint_warnings(entry: Mapping[str, Any], now: datetime) -> list[Fault]:
    """Return what is to be known of an endpoint while it stands: no TLS, or a certificate that expires."""
    endpoint = entry.get("endpoint") or {}
    if endpoint.get("tls") == "none":
        return [endpoint_without_tls(f"deployment {entry['name']}")]
    try:
        until = datetime.fromisoformat(str(endpoint.get("until")))
        near = until - now < timedelta(days=certificates.RENEW_DAYS)
    except (ValueError, TypeError):
        return []
    return [certificates.expiring(f"deployment {entry['name']}", until, now)] if near else []


def not_ready(details: Mapping[str, Any], asked: str | None) -> list[dict[str, Any]]:
    """Return a fault for each deployment of `status` that does not serve, and each half of one.

    asked: the DNS name of the one deployment that was asked for, if any.
    """
    if asked and not details["deployments"] and not details["orphans"]:
        return [Fault("no_deployment", f"deployment {asked}", "not there", "a deployment of that name").as_dict()]
    faults = [
        Fault("not_ready", f"deployment {entry['name']}", entry["state"], "Ready", "").as_dict()
        for entry in details["deployments"]
        if not entry["ready"]
    ]
    return faults + [
        Fault("orphan", _orphan_name(orphan), _orphan_words(orphan), "", "deploy again, or undeploy").as_dict()
        for orphan in details["orphans"]
    ]


def _orphans(results: Results, deployments: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the node pools and Secrets without a RayCluster, and the RayClusters whose node pool is gone."""
    left = [
        {
            "secrets": entry["secrets"],
            "namespace": entry["namespace"],
            "deployment": entry["name"],
            "source_request": entry["source_request"].get("name"),
            "bucket": entry["source_request"].get("bucket"),
        }
        for entry in (results.get("status") or {}).get("leftovers") or []
    ]
    looked = results.get("node_pool") or {}
    if "node_pools" not in looked:
        # Without a cluster in Oracle Cloud there are none to compare.
        return left
    pools = {pool["freeform_tags"][DEPLOYMENT_TAG]: pool for pool in looked["node_pools"]}
    names = {entry["name"] for entry in deployments}
    found: list[dict[str, Any]] = []
    for name, pool in pools.items():
        if name not in names:
            nodes = len(pool.get("nodes") or [])
            price = _price_of(pool.get("node_shape") or "", nodes)
            found.append({"node_pool": pool.get("name"), "id": pool.get("id"), "nodes": nodes, "usd_per_hour": price})
    return [*found, *left] + [
        {"raycluster": entry["name"], "namespace": entry["namespace"]}
        for entry in deployments
        if entry.get("own_nodes") and entry["name"] not in pools
    ]


def _price_of(shape_name: str, nodes: int) -> float | None:
    """Return the list price of the nodes without their volumes, in US dollars an hour; None where it is not known."""
    shape = find_shape(shape_name)
    if shape is None or shape.usd_per_gpu_hour is None:
        return None
    return round(shape.usd_per_gpu_hour * shape.gpus * nodes, 2)


def _orphan_name(orphan: Mapping[str, Any]) -> str:
    if "secrets" in orphan:
        return f"Secret {', '.join(orphan['secrets'])} in namespace {orphan['namespace']}"
    return f"node pool {orphan['node_pool']}" if "node_pool" in orphan else f"RayCluster {orphan['raycluster']}"


def _orphan_words(orphan: Mapping[str, Any]) -> str:
    if "raycluster" in orphan:
        return "has lost its node pool"
    if "secrets" in orphan:
        request = f"perhaps with pre-authenticated request {orphan['source_request']} of bucket {orphan['bucket']}"
        return "has no RayCluster" + (f", {request}" if orphan["source_request"] else "")
    price = "" if orphan["usd_per_hour"] is None else f", {orphan['usd_per_hour']:.2f} USD an hour"
    return f"({orphan['nodes']} nodes{price}) has no RayCluster"


def _awaited(entry: Mapping[str, Any]) -> str:
    failure = entry.get("failure")
    if failure:
        return f"{failure['where']}: {failure['found']}"
    said = [entry["last_failure"]] if entry.get("last_failure") else []
    return "; ".join([*said, *(f"{phase}: {text}" for phase, text in entry["phases"].items())])


def _age(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def undeploy(results: Results) -> Details:
    """What was removed, and what was left."""
    result, retried = results.get("undeploy") or {}, results.get("retry") or {}
    removed = list(dict.fromkeys([*(result.get("removed") or []), *(retried.get("removed") or [])]))
    kept = list(dict.fromkeys([*(result.get("kept") or []), *(retried.get("kept") or [])]))
    pool = results.get("node_pool") or {}
    if pool.get("changed"):
        removed.append(
            f"node pool {(pool.get('node_pool') or {}).get('name') or (results.get('recipe') or {}).get('name')}"
        )
    lines = [f"removed  {item}" for item in removed] or ["Nothing was there to remove."]
    lines += [f"kept     {item}" for item in kept]
    rest = results.get("leftover") or {}
    last = retried if "left" in retried else result
    unseen = [fault for part in (last, pool, rest) for fault in part.get("unseen") or []]
    lost = [*unseen, *(last.get("unreached") or []), *(pool.get("left") or [])]
    if "remainder" in rest and not rest["remainder"] and not lost:
        lines += ["checked  Oracle Cloud has no node pool, instance, block volume or load balancer of it any more"]
    lines += [f"unseen   {fault['where']}: {fault['found']}; {fault['remedy']}" for fault in unseen]
    return {"removed": removed, "kept": kept, "unseen": unseen}, lines


def left_behind(results: Results) -> list[dict[str, Any]]:
    """Return a fault for each thing that undeploy could not remove, in the cluster and in Oracle Cloud."""
    retried = results.get("retry") or {}
    # Tried a second time, once the nodes were gone.
    last = retried if "left" in retried else results.get("undeploy") or {}
    unreached = list(last.get("unreached") or [])
    if unreached:
        name = (results.get("recipe") or {}).get("name")
        fault = Fault(
            "objects_left",
            f"Kubernetes objects of {name}",
            "not checked, since the API server did not answer: RayCluster, Secrets and, if it had them, block volumes and a "
            "load balancer, which are still billed, and a pre-authenticated request of a bucket",
            "no object of the deployment",
            "run undeploy again when it answers: they are found by their labels",
        )
        unreached.append(fault.as_dict())
    parts = (last, results.get("node_pool") or {}, results.get("leftover") or {})
    return [*unreached, *(fault for part in parts for fault in part.get("left") or [])]


def nodes_left(results: Results, faults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a fault where undeploy stopped before it came to the node pool: one that is there is still billed.

    faults: what it stopped for. Refused because the deployment is another one, there is nothing of ours to check.
    """
    recipe = results.get("recipe") or {}
    if any(fault.get("code") in ("name_taken", "namespace_taken") for fault in faults):
        return []
    if not (recipe.get("settings") or {}).get("oke_cluster_id") or "changed" in (results.get("node_pool") or {}):
        return []
    fault = Fault(
        "nodes_left",
        f"node pool {recipe.get('name')}",
        "not checked, since undeploy stopped before; if it is there, its nodes are still billed",
        "no node pool of the deployment",
        "fix what stopped it and run undeploy again, or delete the node pool in the console",
    )
    return [fault.as_dict()]


def nodes_cost(results: Results, faults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a warning where deploy stopped after nodes were asked for, and its faults do not say that they bill.

    faults: what it stopped for.
    """
    plan: Any = (results.get("preflight") or {}).get("plan") or {}
    said = {"timeout", "group_incomplete", "node_pool_released", "node_pool_not_released"}
    if not (results.get("node_pool") or {}).get("node_pool") or said & {str(fault.get("code")) for fault in faults}:
        return []
    if not (words := bill(plan)):
        return []
    return [
        Fault("nodes_cost_money", "node pool", words, "", "run deploy again to keep using them, or undeploy").as_dict()
    ]


# So many faults are told in full; of more, a line each.
_TOLD_IN_FULL = 3


def stopped(
    playbook: str,
    task: str,
    faults: Sequence[Mapping[str, Any]],
    costing: Sequence[Mapping[str, Any]],
    results: Results,
) -> list[str]:
    """Return the last lines of a playbook that failed: what, where, what to do, what it costs (`costing`), and what to run."""
    lines = [f"{playbook} stopped at `{task}`"]
    for fault in map(fault_of, faults):
        if len(faults) > _TOLD_IN_FULL:
            lines.append(f"  {fault.line()}")
            continue
        request = getattr(fault, "request_id", "")
        told = (
            ("Cause", fault.found + (f" (opc-request-id {request})" if request else "")),
            ("Place", fault.where),
            ("Expected", fault.expected),
            ("Remedy", fault.remedy),
        )
        lines += [f"  {name:<9} {text}" for name, text in told if text]
    if playbook != "deploy":
        return lines
    name = ((results.get("preflight") or {}).get("plan") or {}).get("deployment", {}).get("deployment_name")
    lines += [f"  {'Cost':<9} {fault['found']}" for fault in costing]
    if name and (results.get("raycluster") or {}).get("ended"):
        command = f"ansible-playbook multinode.inference.logs -e deployment_name={shlex.quote(name)} -e @settings.yml"
        lines.append(f"  {'Run':<9} {command}; then deploy again")
    return lines


def logs(results: Results) -> Details:
    """The lines that were asked for; those of a log that was followed are shown already."""
    followed = results.get("follow") or {}
    result = followed if followed.get("source") else results.get("logs") or {}
    lines = list(result.get("lines") or [])
    return {"source": result.get("source"), "lines": lines}, [] if result is followed else lines


def keys(results: Results) -> Details:
    """The names of the API keys, and whether a change is in force; never a key."""
    result, now = results.get("keys") or {}, datetime.now(timezone.utc)
    found = list(result.get("keys") or [])
    lines = []
    for entry in found:
        until = entry.get("former_until")
        former = datetime.fromtimestamp(until, timezone.utc) if until else None
        lines.append(
            entry["name"] + (f" (its former value until {former:%H:%M:%S} UTC)" if former and former > now else "")
        )
    if result.get("in_force") is False:
        lines.append("The group does not serve: it has the change when it does.")
    return {"keys": found, "in_force": result.get("in_force")}, lines


def timeline(results: Results) -> list[dict[str, Any]]:
    """Return when each phase began and ended; what the wait saw stands after the roles."""
    entries = []
    start = ""
    for phase in ("recipe", "preflight", "node_pool", "kuberay", "raycluster"):
        result = results.get(phase) or {}
        if result.get("ended"):
            entries.append({"phase": phase, "start": start or result["started"], "end": result["ended"]})
            start = result["ended"]
    entries += (results.get("endpoint") or {}).get("timeline") or []
    return [{**entry, "seconds": _seconds(entry["start"], entry["end"])} for entry in entries]


def _seconds(start: str, end: str) -> float:
    first, last = (datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (start, end))
    return round((last - first).total_seconds(), 3)


OF_PLAYBOOK: dict[str, Callable[[Results], Details]] = {
    "deploy": deploy,
    "plan": plan_only,
    "status": status,
    "undeploy": undeploy,
    "logs": logs,
    "keys": keys,
}
