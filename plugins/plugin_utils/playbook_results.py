# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What each playbook adds to its result, and the lines it prints at its end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..module_utils.core.fault import Fault, fault_of
from ..module_utils.core.health import benchmark as benchmarks
from ..module_utils.core.health.measured import beside_plan
from ..module_utils.core.plan.presentation.text import bill, describe
from ..module_utils.core.plan.types import Plan
from .reporting.pausing import nothing_removed, pause, resume
from .reporting.status import Details, Results, status


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
    lines = [f"removed  {item}" for item in removed] or nothing_removed(results)
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
        # What is found of a parameter, such as `6`, says nothing without its name.
        cause = fault.found if " " in fault.where else f"{fault.where}: {fault.found}"
        told = (
            ("Cause", cause + (f" (opc-request-id {request})" if request else "")),
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
    if pods := result.get("replaced"):
        lines.append(f"Ray's token was rotated, and the group restarts with it: {', '.join(pods)} are recreated.")
        lines.append("Run deploy to wait until it serves again.")
    elif result.get("in_force") is False:
        lines.append("The group is not serving: the change takes effect when it does.")
    return {"keys": found, "in_force": result.get("in_force"), "replaced": list(pods or [])}, lines


def benchmark(results: Results) -> Details:
    """What each load came to, beside the plan."""
    return benchmarks.reported(results.get("benchmark") or {})


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
    "benchmark": benchmark,
    "pause": pause,
    "resume": resume,
}
