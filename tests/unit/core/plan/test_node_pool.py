# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import subprocess
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.cloud_init import user_data
from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import find_shape
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.names import HASH_TAG
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.node_pool import moved, prepared_folder
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs

from ..plans import DOMAINS, cluster, facts, plan
from ..recipes import recipe


def script(**options: Any) -> str:
    return base64.b64decode(user_data(**options)).decode()


def refusals(**changes: Any) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        read_inputs(recipe(**changes))
    return {fault.where: fault.code for fault in refused.value.faults}


@pytest.mark.parametrize("options", [{}, {"nvme_folder": "/mnt/nvme"}, {"taints": ("a=b:NoSchedule", "c:NoExecute")}])
def test_the_start_script_is_one_and_joins_last(options: dict[str, Any]) -> None:
    text = script(**options)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert text.splitlines()[-1].startswith("bash /var/run/oke-init.sh")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_local_drives_are_joined_before_the_kubelet_starts() -> None:
    text = script(nvme_folder="/mnt/nvme")
    assert text.index("oci-growfs") < text.index("mdadm --create") < text.index("mkfs") < text.index("oke_init_script")
    assert "mount /mnt/nvme\n" in text and "nvme" not in script()


def test_local_drives_are_prepared_where_the_recipe_uses_them_and_the_shape_has_them() -> None:
    def folder(path: str | None, shape: str) -> str:
        inputs = read_inputs(recipe())
        inputs.recipe["local_filesystem"] = [{"node_directory_path": path, "mount_location": "/x"}] if path else None
        return prepared_folder(inputs, find_shape(shape))

    assert folder("/mnt/nvme/models", "BM.GPU.H100.8") == "/mnt/nvme"
    assert folder("/mnt/nvme", "BM.GPU.H100.8") == "/mnt/nvme"
    assert folder("/mnt/nvmes", "BM.GPU.H100.8") == ""
    assert folder("/mnt/nvme/models", "VM.GPU.A10.2") == ""
    assert folder(None, "BM.GPU.H100.8") == ""


def test_settings_reach_the_pool_and_its_instances() -> None:
    made = plan(
        node_pool_fault_domains=["FAULT-DOMAIN-2"],
        node_pool_capacity_reservation_id="ocid1.capacityreservation.oc1.iad.aaaa",
        node_pool_preemptible=True,
        node_pool_taints=["team=red:NoSchedule"],
        node_pool_labels={"team": "red"},
        node_pool_tags={"cost-center": "7"},
    )
    pool = made["node_pool"]
    config = pool["node_config_details"]
    (placement,) = config["placement_configs"]
    assert placement["fault_domains"] == ["FAULT-DOMAIN-2"]
    assert placement["capacity_reservation_id"].startswith("ocid1.capacityreservation")
    assert placement["preemptible_node_config"]["preemption_action"]["type"] == "TERMINATE"
    assert {"key": "team", "value": "red"} in pool["initial_node_labels"]
    assert pool["freeform_tags"]["cost-center"] == config["freeform_tags"]["cost-center"] == "7"
    assert HASH_TAG not in config["freeform_tags"]
    started = base64.b64decode(pool["node_metadata"]["user_data"]).decode()
    assert "--register-with-taints=team=red:NoSchedule" in started
    assert made["expected"]["cost"]["nodes"] == plan()["expected"]["cost"]["nodes"] / 2


def test_pods_tolerate_what_the_settings_put_on_the_nodes() -> None:
    made = plan(node_pool_taints=["team=red:NoSchedule", "x:NoExecute"], node_pool_preemptible=True)
    (cluster,) = [item for item in render(made, {}) if item["kind"] == "RayCluster"]
    tolerated = cluster["spec"]["headGroupSpec"]["template"]["spec"]["tolerations"]
    assert {"key": "team", "operator": "Exists", "effect": "NoSchedule"} in tolerated
    assert {"key": "x", "operator": "Exists", "effect": "NoExecute"} in tolerated
    assert {"key": "oci.oraclecloud.com/oke-is-preemptible", "operator": "Exists"} in tolerated


@pytest.mark.parametrize(
    ("changes", "where", "code"),
    [
        ({"node_pool_taints": ["team=red"]}, "node_pool_taints[0]", "taint"),
        ({"node_pool_taints": ["a b:NoSchedule"]}, "node_pool_taints[0]", "taint"),
        ({"node_pool_labels": {"a b": "c"}}, "node_pool_labels.a b", "label"),
        (
            {"node_pool_labels": {"multinode.inference/deployment": "c"}},
            "node_pool_labels.multinode.inference/deployment",
            "label",
        ),
        ({"node_pool_tags": {HASH_TAG: "c"}}, f"node_pool_tags.{HASH_TAG}", "tag"),
        ({"node_pool_tags": {"a": "c" * 257}}, "node_pool_tags.a", "tag"),
        ({"node_pool_fault_domains": ["1"]}, "node_pool_fault_domains[0]", "fault_domain"),
        ({"node_pool_capacity_reservation_id": "mine"}, "node_pool_capacity_reservation_id", "ocid"),
        ({"nvme_folder": "mnt"}, "nvme_folder", "path"),
    ],
)
def test_what_the_cloud_would_refuse_is_refused_before(changes: dict[str, Any], where: str, code: str) -> None:
    assert refusals(**changes) == {where: code}


def test_preemptible_bare_metal_is_refused() -> None:
    found = refusals(node_pool_preemptible=True, recipe_node_shape="BM.GPU.A10.4")
    assert found["node_pool_preemptible"] == "preemptible_bare_metal"


def test_a_pool_that_moved_is_what_a_plan_made_there_has() -> None:
    changes = {"node_pool_tags": {"cost-center": "7"}, "node_pool_fault_domains": ["FAULT-DOMAIN-1"]}
    offers = {name: {} for name in DOMAINS[:2]}
    full = {DOMAINS[0]: {"status": "OUT_OF_HOST_CAPACITY", "count": 0}}
    made = plan(facts(cluster=cluster(shapes=offers)), **changes)
    made_there = plan(facts(cluster=cluster(shapes=offers, room={"capacity": full})), **changes)
    (elsewhere,) = made["other_placements"]
    assert elsewhere[0]["availability_domain"] == DOMAINS[1]
    assert moved(made["node_pool"], elsewhere) == made_there["node_pool"]
    assert made["node_pool"]["freeform_tags"] != made_there["node_pool"]["freeform_tags"]
    assert render(made, {}) == render(made_there, {}), "the objects in Kubernetes stay as they are"


def test_a_capacity_reservation_is_of_one_domain() -> None:
    found = facts(cluster=cluster(shapes={name: {} for name in DOMAINS[:2]}))
    assert plan(found)["other_placements"]
    assert not plan(found, node_pool_capacity_reservation_id="ocid1.capacityreservation.oc1.a")["other_placements"]


def test_a_field_without_a_value_is_not_in_the_hash_of_the_pool() -> None:
    pool = plan()["node_pool"]
    configs = pool["node_config_details"]["placement_configs"]
    later = {**pool, "later": None, "node_source_details": {**pool["node_source_details"], "later": None}}
    assert moved(later, configs)["freeform_tags"] == pool["freeform_tags"]
