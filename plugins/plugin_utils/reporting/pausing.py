# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the results and lines say of a deployment that is paused, or is not there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ...module_utils.core.fault import Fault
from ...module_utils.core.health.paused import billed_while_paused, kept_line
from ...module_utils.core.names import DEPLOYMENT_TAG

_GONE = ("DELETING", "DELETED")


def pause(results: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Since when the deployment is paused, and what stays meanwhile."""
    result = results.get("pause") or {}
    if "paused" not in result:
        return {"paused": None, "kept": []}, []
    kept, paused = list(result["kept"]), result["paused"]
    lines = [f"kept     {kept_line(entry)}" for entry in kept]
    if since := paused["since"]:
        lines = [f"{result['name']} is paused since {since} by {paused['by']}.", *lines]
    lines.append(f"{billed_while_paused(kept):.4f} US dollars an hour until resume, beside what is billed by its size.")
    return {"paused": paused, "kept": kept}, lines


def resume(results: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """What stands there to be resumed; `deploy` does the work."""
    return {"deployments": [entry["name"] for entry in (results.get("status") or {}).get("deployments") or []]}, []


def missing(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a fault where the one deployment that was asked for is not there, with the name that may be meant."""
    found, name = results.get("status") or {}, (results.get("recipe") or {}).get("name")
    if not name or found.get("deployments"):
        return []
    nearest = found.get("nearest")
    remedy = f"did you mean {nearest}?" if nearest else "run status without deployment_name to see which there are"
    return [Fault("no_deployment", f"deployment {name}", "not there", "a deployment of that name", remedy).as_dict()]


def paused_words(paused: Mapping[str, Any]) -> str:
    """Return what a paused deployment waits for."""
    return f"resume; paused since {paused['since'] or 'an unknown time'} by {paused['by'] or 'somebody'}"


def nodes_of_paused(results: Mapping[str, Mapping[str, Any]], paused: Collection[str]) -> list[Fault]:
    """Return a fault for each node pool of a paused deployment that has nodes: of a pause that was killed, or scaled by hand."""
    faults = []
    for pool in (results.get("node_pool") or {}).get("node_pools") or ():
        name = pool["freeform_tags"][DEPLOYMENT_TAG]
        living = [node for node in pool.get("nodes") or () if node.get("lifecycle_state") not in _GONE]
        if name in paused and living:
            found = f"{len(living)} nodes, which are billed, though the deployment is paused"
            faults.append(Fault("paused_with_nodes", f"node pool {name}", found, "none", "run pause again, or resume"))
    return faults


def nothing_removed(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the words of an undeploy that found nothing, with the name that may be meant."""
    nearest, name = (results.get("undeploy") or {}).get("nearest"), (results.get("recipe") or {}).get("name")
    lines = ["There was nothing to remove."]
    return [*lines, f"There is no deployment {name}; did you mean {nearest}?"] if nearest else lines
