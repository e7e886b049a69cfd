# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `status` adds to its result, and the table it prints."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from ...module_utils.core.catalog.kuberay import behind
from ...module_utils.core.catalog.shapes import find_shape
from ...module_utils.core.fault import Fault, fault_of
from ...module_utils.core.health import benchmark as benchmarks
from ...module_utils.core.health.measured import beside_plan
from ...module_utils.core.health.paused import kept_line
from ...module_utils.core.manifests.cost_record import PARTS
from ...module_utils.core.names import DEPLOYMENT_TAG
from ...module_utils.core.plan.comparison.words import line
from ...module_utils.core.plan.endpoint import endpoint_without_tls
from ...module_utils.core.plan.presentation.text import MOST_PARTS
from ...module_utils.core.source_request import end_near
from ...module_utils.core.text import escaped, plain
from ..reachability import certificates
from .pausing import missing, nodes_of_paused, paused_words

Details = tuple[dict[str, Any], list[str]]
Results = Mapping[str, Mapping[str, Any]]


COLUMNS = 100
_HEADER = ("NAME", "NAMESPACE", "STATE", "NODES", "SHAPE", "USD/H", "AGE")
_SHORTEST = 12
# Of a deployment as `deployment_info` describes it, what the result has.
_KEYS = (
    "name",
    "namespace",
    "state",
    "ready",
    "shape",
    "nodes",
    "usd_per_hour",
    "cost",
    "created",
    "age_seconds",
    "measured",
    "planned",
    "benchmark",
    "failure",
    "paused",
)


def status(results: Results) -> Details:
    """A table of the deployments, and what stands without its other half: a node pool, or a RayCluster."""
    deployments = list((results.get("status") or {}).get("deployments") or [])
    now = datetime.now(timezone.utc)
    comparison = results.get("comparison") or {}
    details, blocks = [], []
    warnings = [fault for entry in deployments if (fault := end_near(entry.get("source_request") or {}, now))]
    warnings += [fault for entry in deployments for fault in _endpoint_warnings(entry, now)]
    warnings += nodes_of_paused(results, {entry["name"] for entry in deployments if entry["paused"]})
    looked = results.get("node_pool") or {}
    warnings += [fault_of(fault) for fault in looked.get("unseen") or ()]
    operator = (results.get("status") or {}).get("operator")
    if operator and (older := behind(operator, results["recipe"]["settings"])):
        warnings.append(older)
    for entry in deployments:
        plan, drift = comparison.get("plan"), _drift(comparison, entry)
        measured, differing = beside_plan(entry["measured"], plan, entry.get("planned"))
        warnings += [replace(fault, where=f"deployment {entry['name']}: {fault.where}") for fault in differing]
        days = _days_left(entry, now)
        details.append({**{key: entry.get(key) for key in _KEYS}, "days_left": days, "drift": drift})
        blocks.append(
            [
                *([] if entry["ready"] else [f"waiting for: {_awaited(entry)}"]),
                *_costs(entry),
                *([f"measured at its start: {'; '.join(measured)}"] if measured else []),
                *([benchmarks.in_short(entry["benchmark"])] if entry.get("benchmark") else []),
                *(f"{words} in {days[name]} days" for name, words in _ENDS.items() if days[name] is not None),
                *_drift_lines(comparison, drift),
            ]
        )
    orphans = _orphans(results, deployments)
    table = _table(deployments)
    lines = table[:1]
    for row, block in zip(table[1:], blocks, strict=True):
        lines += [row, *(part for text in block for part in _wrapped(text))]
    lines += [f"{_orphan_name(orphan)} {_orphan_words(orphan)}: run deploy again, or undeploy." for orphan in orphans]
    lines += [f"Warning: {fault.line()}" for fault in warnings]
    return {"deployments": details, "orphans": orphans, "warnings": [fault.as_dict() for fault in warnings]}, lines


def _table(deployments: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a header and a row for each deployment; names are cut where the row would be wider than a screen."""
    if not deployments:
        return ["No deployments."]
    rows = [list(_HEADER)]
    for entry in deployments:
        price = "-" if entry["usd_per_hour"] is None else f"{entry['usd_per_hour']:.2f}"
        names = [entry["name"], entry["namespace"], entry["state"], str(entry["nodes"]), entry["shape"] or "-"]
        rows.append([*map(escaped, names), price, _age(entry["age_seconds"])])
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for column in (1, 0, 4):
        over = sum(widths) + 2 * (len(widths) - 1) - COLUMNS
        widths[column] -= max(0, min(over, widths[column] - _SHORTEST))
    return ["  ".join(_cell(*pair) for pair in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(text: str, width: int) -> str:
    return f"{text[: width - 3]}..." if len(text) > width else text.ljust(width)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(plain(text), COLUMNS, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _costs(entry: Mapping[str, Any]) -> list[str]:
    """Return what the deployment costs an hour and since when, with what is billed beside its nodes; what it keeps while paused."""
    if paused := entry["paused"]:
        return [f"keeps {kept_line(kept)}" for kept in paused.get("kept") or ()]
    cost = entry.get("cost") or {}
    parts = [f"{words} {cost[name]:.2f}" for name, words in PARTS.items() if cost.get(name)]
    if not parts:
        return []
    since = f" since {entry['created'][:16].replace('T', ' ')} UTC" if entry.get("created") else ""
    total = "USD an hour" if cost.get("total") is None else f"{cost['total']:.2f} USD an hour"
    files = ", and a file system, billed by what it holds" if cost.get("file_systems") else ""
    return [f"billed {total}{since}: {', '.join(parts)}{files}"]


_ENDS = {"source_request": "pre-authenticated request ends", "certificate": "certificate expires"}


def _days_left(entry: Mapping[str, Any], now: datetime) -> dict[str, int | None]:
    """Return the days until the request that the pods read through ends, and the endpoint's certificate; negative when over."""
    ends = {
        "source_request": (entry.get("source_request") or {}).get("time_expires"),
        "certificate": (entry.get("endpoint") or {}).get("until"),
    }
    return {name: _days(end, now) for name, end in ends.items()}


def _days(end: Any, now: datetime) -> int | None:
    try:
        return (datetime.fromisoformat(str(end)) - now).days
    except (ValueError, TypeError):
        return None


def _drift(comparison: Mapping[str, Any], entry: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return what differs from what the given recipe would make; None where that was not compared."""
    plan = comparison.get("plan") or {}
    if (plan.get("deployment") or {}).get("name") != entry["name"] or not plan.get("existing"):
        return None
    existing = plan["existing"]
    return [{**change, "kept": False} for change in existing["changes"]] + [
        {**change, "kept": True} for change in existing["kept"]
    ]


def _drift_lines(comparison: Mapping[str, Any], drift: Sequence[Mapping[str, Any]] | None) -> list[str]:
    if drift is None:
        faults = [fault_of(fault).line() for fault in comparison.get("faults") or ()]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return [f"not compared with the recipe: {faults[0]}{more}"] if faults else []
    texts = [
        f"{'kept' if change['kept'] else change['class']}, {line(part)}" for change in drift for part in change["parts"]
    ]
    shown = [f"differs from the recipe: {text}" for text in texts[:MOST_PARTS]]
    if len(texts) > MOST_PARTS:
        shown.append(f"and {len(texts) - MOST_PARTS} more differences")
    return shown or ["as the recipe has it"]


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
    pools = [(pool["freeform_tags"][DEPLOYMENT_TAG], pool) for pool in looked["node_pools"]]
    having = Counter(name for name, _pool in pools)
    # What lies in a compartment that could not be read is not gone for that.
    unseen = {fault["where"] for fault in looked.get("unseen") or ()}
    names = {entry["name"] for entry in deployments}
    found: list[dict[str, Any]] = []
    recorded = {entry["name"]: (entry.get("node_pool") or {}).get("id") for entry in deployments}
    for name, pool in pools:
        second = having[name] > 1 and pool.get("id") != recorded.get(name)
        if name not in names or second:
            nodes = len(pool.get("nodes") or [])
            price = _price_of(pool.get("node_shape") or "", nodes)
            found.append(
                {
                    "node_pool": pool.get("name"),
                    "id": pool.get("id"),
                    "compartment_id": pool.get("compartment_id"),
                    "nodes": nodes,
                    "usd_per_hour": price,
                    "second": second and name in names,
                }
            )
    return [*found, *left] + [
        {"raycluster": entry["name"], "namespace": entry["namespace"]}
        for entry in deployments
        if entry.get("own_nodes")
        and not entry["paused"]
        and entry["name"] not in having
        and (entry.get("node_pool") or {}).get("compartment_id") not in unseen
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
    why = "is not the one that its RayCluster names" if orphan["second"] else "has no RayCluster"
    return f"({orphan['nodes']} nodes{price}) {why}"


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
