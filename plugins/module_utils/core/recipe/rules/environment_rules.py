# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The environment of the containers: names that can be, none twice, none of the deployment's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...fault import Findings
from ..values import shown

# Set by the pods' own programs or by KubeRay: another value would take the group apart.
_OURS = re.compile(
    r"POD_IP|VLLM_API_KEY|VLLM_HOST_IP|VLLM_PORT|VLLM_USE_RUST_FRONTEND|CUDA_VISIBLE_DEVICES|LD_PRELOAD|RAY_AUTH_\w+|"
    r"RAY_ADDRESS|RAY_PORT|FQ_RAY_IP|RAY_IP|REDIS_PASSWORD|(KUBERAY|MULTINODE|RAY_CLUSTER)_\w+"
)
# The one of ours that a recipe may set: seconds after which an engine without a step hangs (roles/raycluster/files/engine_heartbeat.py).
HANG_VARIABLE = "MULTINODE_HANG_SECONDS"
# etcd takes 1.5 MiB as one object, and a RayCluster holds the environment twice.
_MOST_BYTES = 256 * 1024


def check_environment(recipe: Mapping[str, Any], findings: Findings) -> None:
    seen: dict[str, str] = {}
    total = 0
    for parameter, field in (("recipe_container_env", "key"), ("recipe_environment_secrets", "envvar_name")):
        for number, entry in enumerate(recipe.get(parameter) or ()):
            name, place = entry.get(field), f"{parameter}[{number}].{field}"
            if not name:
                continue
            total += len(name) + len((entry.get("value") or "").encode())
            if name == HANG_VARIABLE and field == "key":
                if not re.fullmatch(r"[1-9]\d{1,5}", str(entry.get("value"))):
                    found = f"{name} with the value {shown(entry.get('value'))}"
                    findings.fault("variable", place, found, "whole seconds, 10 to 999999", "correct it")
            elif _OURS.fullmatch(name):
                found = f"{name}, which the deployment sets"
                findings.fault("variable", place, found, "another variable", "remove it")
            elif name in seen:
                findings.fault("variable", place, name, f"another name than {seen[name]} has", "remove one")
            seen.setdefault(name, place)
    if total > _MOST_BYTES:
        found, expected = f"{total} bytes of names and values", f"at most {_MOST_BYTES}"
        remedy = "put large values into a file of the image, or into a Secret"
        findings.fault("environment_too_large", "recipe_container_env", found, expected, remedy)
