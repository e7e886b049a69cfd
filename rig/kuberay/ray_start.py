# SPDX-License-Identifier: GPL-3.0-or-later
"""The `ray start` command that KubeRay writes for a pod (KubeRay 1.7, controllers/ray/common/pod.go)."""

from __future__ import annotations

import re

from rig.kuberay import names, quantity
from rig.kuberay.ray_cluster import Object

ULIMIT = "ulimit -n ${RAY_START_ULIMIT_OPEN_FILES:-65536}"
# Of these, "false" is a value; of all other options "false" means that the flag is left out.
OPTIONS_TAKING_FALSE = ("log-color", "include-dashboard", "include-log-monitor")
MIG_SLICE = re.compile(r"nvidia\.com/mig-\d+g\.\d+gb$")


def parameters(given: dict[str, str], resources: Object, head_address: str | None, head_port: str) -> dict[str, str]:
    """All parameters of `ray start`: those given win over those that KubeRay adds; `block` is always added.

    `head_address` is None for the head itself.
    """
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    added = {
        "metrics-export-port": str(names.METRICS_PORT),
        "dashboard-agent-listen-port": str(names.AGENT_PORT),
    }
    if head_address is None:
        added["dashboard-host"] = "0.0.0.0"
    else:
        added["address"] = f"{head_address}:{head_port}"
    for option, amount in (
        ("num-cpus", limits.get("cpu") or requests.get("cpu")),
        ("memory", limits.get("memory")),
        ("num-gpus", _gpus(limits)),
    ):
        if amount and quantity.read(amount):
            added[option] = str(quantity.whole(amount))
    return {**added, **given, "block": "true"}


def command(is_head: bool, options: dict[str, str]) -> str:
    """The command line, options in alphabetical order."""
    words = ["ray start"] + (["--head"] if is_head else [])
    for option, value in sorted(options.items()):
        if value.lower() == "true" and option not in OPTIONS_TAKING_FALSE:
            words.append(f"--{option}")
        elif value.lower() != "false" or option in OPTIONS_TAKING_FALSE:
            words.append(f"--{option}={value}")
    return "  ".join(words) + " "


def _gpus(limits: Object) -> str | int | None:
    """The amount of the first GPU resource by name (`…gpu`, or a slice of a MIG)."""
    for key in sorted(limits):
        if (key.endswith("gpu") or MIG_SLICE.search(key)) and quantity.read(limits[key]):
            return limits[key]
    return None
