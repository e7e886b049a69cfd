# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `status` adds to its result, and the table it prints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from ...module_utils.core.catalog.kuberay import behind
from ...module_utils.core.catalog.shapes import find_shape
from ...module_utils.core.fault import Fault
from ...module_utils.core.health import benchmark as benchmarks
from ...module_utils.core.health.measured import beside_plan
from ...module_utils.core.names import DEPLOYMENT_TAG
from ...module_utils.core.plan.endpoint import endpoint_without_tls
from ...module_utils.core.source_request import end_near
from ..reachability import certificates
from .pausing import kept_lines, missing, nodes_of_paused, paused_words

Details = tuple[dict[str, Any], list[str]]
Results = Mapping[str, Mapping[str, Any]]


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
        "planned",
        "benchmark",
        "failure",
        "paused",
    )
    details = [{**{key: entry[key] for key in keys}, "drift": []} for entry in deployments]
    now = datetime.now(timezone.utc)
    warnings = [fault for entry in deployments if (fault := end_near(entry.get("source_request") or {}, now))]
    warnings += [fault for entry in deployments for fault in _endpoint_warnings(entry, now)]
    warnings += nodes_of_paused(results, {entry["name"] for entry in deployments if entry["paused"]})
    operator = (results.get("status") or {}).get("operator")
    if operator and (older := behind(operator, results["recipe"]["settings"])):
        warnings.append(older)
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
        lines += kept_lines(entry)
        if entry["measured"]:
            lines.append(f"{entry['name']}, measured at its start: {'; '.join(beside_plan(entry['measured'])[0])}")
        if entry.get("benchmark"):
            lines.append(f"{entry['name']}, {benchmarks.in_short(entry['benchmark'])}")
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


def not_ready(details: Mapping[str, Any], results: Results) -> list[dict[str, Any]]:
    """Return a fault for each deployment of `status` that does not serve though it should, and each half of one."""
    if not details["orphans"] and (faults := missing(results)):
        return faults
    faults = [
        Fault("not_ready", f"deployment {entry['name']}", entry["state"], "Ready", "").as_dict()
        for entry in details["deployments"]
        if not entry["ready"] and not entry["paused"]
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
        if entry.get("own_nodes") and not entry["paused"] and entry["name"] not in pools
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
    if paused := entry.get("paused"):
        return paused_words(paused)
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
