# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.health.launch_errors import (
    is_out_of_capacity,
    pool_faults,
)


def test_capacity_words_of_other_errors_do_not_count() -> None:
    assert is_out_of_capacity("InternalError", "… (500, InternalError, false) Out of host capacity.")
    assert not is_out_of_capacity("InvalidParameter", "Out of host capacity")
    assert not is_out_of_capacity("InternalError", None)


FULL = {"code": "InternalError", "message": "Out of host capacity.", "opc_request_id": "r"}
LIMIT = {"code": "", "message": "LimitExceeded: gpu-a10-count"}


def pool(*nodes: dict[str, Any], state: str = "ACTIVE") -> dict[str, Any]:
    return {
        "id": "pool",
        "lifecycle_state": state,
        "node_config_details": {"size": 2},
        "nodes": [{"name": f"node-{number}", "lifecycle_state": "ACTIVE", **node} for number, node in enumerate(nodes)],
    }


@pytest.mark.parametrize(
    ("found", "request_status", "codes"),
    [
        (pool({}, {}, state="NEEDS_ATTENTION"), "FAILED", []),
        (pool({}), "SUCCEEDED", []),
        (pool({}, {"lifecycle_state": "CREATING", "node_error": FULL}), "", ["node_out_of_host_capacity"]),
        (pool({}, {"lifecycle_state": "CREATING", "node_error": LIMIT}), "", ["node_limit_exceeded"]),
        (pool({}, {"lifecycle_state": "FAILING"}), "", ["node_failed"]),
        (pool({}), "FAILED", ["node_pool_work_request_failed"]),
        (pool({}, state="NEEDS_ATTENTION"), "", ["node_pool_not_active"]),
    ],
)
def test_why_a_pool_lacks_nodes(found: dict[str, Any], request_status: str, codes: list[str]) -> None:
    request = {"id": "w", "operation_type": "NODEPOOL_CREATE", "status": request_status} if request_status else {}
    assert [fault.code for fault in pool_faults(found, request)] == codes
