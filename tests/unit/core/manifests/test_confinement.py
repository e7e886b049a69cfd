# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in the pods becomes no root, and reaches no metadata service: a model's own code among it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render

from ..plans import plan

CONFINED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def objects(**changes: Any) -> list[dict[str, Any]]:
    return render(plan(**changes), {"head.py": "", "worker.py": ""})


def pods(**changes: Any) -> list[dict[str, Any]]:
    (cluster,) = (item for item in objects(**changes) if item["kind"] == "RayCluster")
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize("user", [1000, 2000])
def test_pods_run_as_a_user_who_is_not_root_and_stays_so(user: int) -> None:
    made = pods(**({} if user == 1000 else {"image_user": user}))
    assert len(made) == 2
    for pod in made:
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": user,
            "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert [container["securityContext"] for container in pod["containers"]] == [CONFINED]
        assert pod["automountServiceAccountToken"] is False


def test_the_container_that_makes_a_folder_is_root_with_the_rights_that_takes() -> None:
    for pod in pods(model_cache="node", image_user=2000):
        (first,) = pod["initContainers"]
        rights = first["securityContext"]
        assert rights["runAsUser"] == 0 and rights["runAsNonRoot"] is rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"]}
        assert "--owner=2000" in first["command"]


def test_the_group_reaches_everything_but_the_metadata_services() -> None:
    (policy,) = (
        item for item in objects() if item["kind"] == "NetworkPolicy" and "Egress" in item["spec"]["policyTypes"]
    )
    assert policy["spec"]["podSelector"] == {"matchLabels": {"ray.io/cluster": policy["metadata"]["name"]}}
    blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule["to"] if "ipBlock" in peer]

    def open_to(address: str) -> bool:
        ip = ip_address(address)
        return any(
            ip in ip_network(block["cidr"]) and not any(ip in ip_network(part) for part in block["except"])
            for block in blocks
        )

    assert not open_to("169.254.169.254") and not open_to("169.254.0.1")
    assert open_to("134.70.28.1") and open_to("10.0.10.5")
