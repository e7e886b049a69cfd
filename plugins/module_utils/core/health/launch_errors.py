# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a node pool does not have the nodes that it should have, by what the Container Engine says of it."""

from __future__ import annotations

from typing import Any

from ..fault import CloudFault

CAPACITY_WORDS = ("out of host capacity", "out of capacity")
LIMIT_CODES = ("LimitExceeded", "QuotaExceeded")


def is_out_of_capacity(code: str | None, message: str | None) -> bool:
    """Tell whether an error says that no host is free.

    There is no code of its own for it: a launch fails with 500 InternalError or, in some regions, 400 LimitExceeded,
    and only the text says "Out of host capacity".
    """
    text = (message or "").lower()
    return code in ("InternalError", *LIMIT_CODES, None, "") and any(words in text for words in CAPACITY_WORDS)


def is_beyond_limit(code: str | None, message: str | None) -> bool:
    """Tell whether an error says that a service limit or a quota is used up; a launch's is in the text only."""
    return code in LIMIT_CODES or any(limit in (message or "") for limit in LIMIT_CODES)


def pool_faults(pool: dict[str, Any], work_request: dict[str, Any]) -> list[CloudFault]:
    """Return why a pool has not the nodes it should have; nothing while it is busy without an error, or when it has.

    A launch that failed leaves a node entry without an instance, which counts until it is deleted. An old work request
    that failed, or a drain that did, says nothing about a pool that has all of its nodes.
    """
    nodes = pool.get("nodes") or []
    size = (pool.get("node_config_details") or {}).get("size", 0)
    if size and sum(node.get("lifecycle_state") == "ACTIVE" for node in nodes) >= size:
        return []
    found = [fault for node in nodes if (fault := node_fault(node))]
    if work_request.get("status") in ("FAILED", "CANCELED"):
        found.append(work_request_fault(work_request, pool["id"]))
    if pool.get("lifecycle_state") in ("NEEDS_ATTENTION", "FAILED", "INACTIVE") and not found:
        found.append(state_fault(pool))
    return found


def node_fault(node: dict[str, Any]) -> CloudFault | None:
    """Return why a node of a pool was not launched or is failing; None where it says nothing of the kind."""
    error = node.get("node_error") or {}
    if not error and node.get("lifecycle_state") != "FAILING":
        return None
    words = (
        f"{error.get('code', '')}: {error.get('message', '')}" if error else node.get("lifecycle_details", "no details")
    )
    kind, remedy = _kind_of(error.get("code"), error.get("message"))
    return CloudFault(
        code=f"node_{kind or 'failed'}",
        where=f"node {node.get('name') or node.get('id') or 'without an instance'}",
        found=f"{node.get('lifecycle_state', 'no state')}: {words}",
        expected="ACTIVE",
        remedy=remedy,
        service="container_engine",
        request_id=error.get("opc_request_id", ""),
    )


def work_request_fault(request: dict[str, Any], node_pool_id: str) -> CloudFault:
    """The fault of a work request that failed, in its own words."""
    errors = request.get("errors", [])
    words = "; ".join(f"{error.get('code', '')}: {error.get('message', '')}" for error in errors)
    kinds = [_kind_of(error.get("code"), error.get("message")) for error in errors]
    kind, remedy = next((found for found in kinds if found[0]), _kind_of("", ""))
    return CloudFault(
        code=f"node_pool_{kind or 'work_request_failed'}",
        where=node_pool_id,
        found=f"work request {request.get('operation_type')} {request.get('status')}: {words or 'without an error'}",
        remedy=f"{remedy}; nodes that did launch are billed until the pool is deleted",
        service="container_engine",
        work_request=str(request.get("id") or ""),
    )


def _kind_of(code: str | None, message: str | None) -> tuple[str, str]:
    """Return what kind of error ended a launch, "" where waiting or another place may not help, and the remedy."""
    if is_out_of_capacity(code, message):
        return "out_of_host_capacity", "try another availability domain or shape, or later"
    if is_beyond_limit(code, message):
        return "limit_exceeded", "ask for a higher service limit or quota, or try another availability domain"
    return "", "see the message of Oracle Cloud"


def state_fault(pool: dict[str, Any], work_request_id: str = "") -> CloudFault:
    """The fault of a pool in a state that it does not leave by itself."""
    return CloudFault(
        code="node_pool_not_active",
        where=pool["id"],
        found=f"{pool['lifecycle_state']}: {pool.get('lifecycle_details', 'no details')}",
        expected="ACTIVE",
        remedy="see the nodes' errors",
        service="container_engine",
        work_request=work_request_id,
    )
