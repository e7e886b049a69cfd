# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The ports of a pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...fault import Findings
from ..parameter_objects import RAY_PORTS, STATUS_PORT, WORKER_PORTS

_OF_RAY = ("redis_port", "dashboard_port", "metrics_export_port", "rayclient_server_port")


def check_ports(recipe: Mapping[str, Any], findings: Findings) -> None:
    """Ports of one pod differ; Ray takes some for itself, the group's programs one."""
    params = recipe.get("recipe_raycluster_params") or {}
    taken: dict[int, str] = {STATUS_PORT: "the group's own status port"}
    named = [("recipe_container_port", recipe.get("recipe_container_port"))]
    named += [(f"recipe_raycluster_params.{name}", params.get(name)) for name in _OF_RAY]
    for place, port in named:
        if port is None:
            continue
        if port in taken:
            expected = f"another port than {taken[port]} has"
            findings.fault("port_twice", place, str(port), expected, f"change {place}")
        elif port in WORKER_PORTS or port in RAY_PORTS.values():
            expected = f"a port that Ray does not use itself ({WORKER_PORTS[0]}-{max(RAY_PORTS.values())})"
            findings.fault("port_of_ray", place, str(port), expected, f"change {place}")
        taken.setdefault(port, place)
