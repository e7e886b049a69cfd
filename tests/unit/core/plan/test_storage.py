# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the model's files lie: on a volume of the pod, in a folder of the node, or on a file system for all nodes."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.presentation.text import describe
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.storage import BOOT_FOLDER

from ..plans import cluster, facts, plan

FILE_SYSTEM = {
    "file_system_ocid": "ocid1.filesystem.oc1.iad.aaaa",
    "mount_target_ocid": "ocid1.mounttarget.oc1.iad.bbbb",
    "mount_location": "/models",
    "volume_size_in_gbs": 100,
}
GIVEN = {"mount_target_ip": "10.0.1.7", "export_path": "/shared"}
H100 = {
    "recipe_node_shape": "BM.GPU.H100.8",
    "recipe_nvidia_gpu_count": 8,
    "recipe_raycluster_params__head_node_num_gpus": 8,
    "recipe_raycluster_params__worker_node_num_gpus": 8,
}


def objects(made: dict[str, Any]) -> dict[str, Any]:
    return {item["kind"]: item for item in render(made, {})}


def pod(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = objects(made)["RayCluster"]["spec"]["headGroupSpec"]["template"]["spec"]
    return found


def volume(made: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in pod(made)["volumes"] if entry["name"] == name)


def refused(found: Any = None, **changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(Refused) as refusal:
        plan(found, **changes)
    return [(fault.code, fault.where) for fault in refusal.value.faults]


class TestVolume:
    def test_each_pod_has_a_volume_of_its_own_that_the_kubelet_gives_to_the_user(self) -> None:
        made = plan()
        assert made["pod"]["model_cache"]["outlives"] == "container"
        claim = volume(made, "model")["ephemeral"]["volumeClaimTemplate"]
        assert claim["spec"]["resources"]["requests"] == {"storage": "500Gi"}
        given = pod(made)["securityContext"]
        assert (given["fsGroup"], given["fsGroupChangePolicy"]) == (1000, "OnRootMismatch")
        assert "initContainers" not in pod(made)
        assert made["expected"]["cost"]["model_volumes"] > 0

    def test_a_lost_pod_stages_again_and_a_restart_does_not(self) -> None:
        minutes = plan()["expected"]["minutes"]
        assert minutes["lost_pod"] > minutes["restart"] + minutes["staging"]

    def test_it_has_to_hold_the_model(self) -> None:
        assert refused(facts(model={**facts().model, "files": [{"name": "a", "size": 600 << 30}]})) == [
            ("volume_too_small", "input_object_storage[0].volume_size_in_gbs")
        ]


class TestNode:
    def test_a_folder_of_the_node_outlives_the_pod_and_costs_no_volume(self) -> None:
        made = plan(model_cache="node")
        folder = "/var/lib/multinode-inference/rayclustervmtest/rayclustervmtest"
        assert volume(made, "model")["hostPath"] == {"path": folder, "type": "DirectoryOrCreate"}
        assert made["expected"]["cost"]["model_volumes"] == 0
        minutes = made["expected"]["minutes"]
        assert minutes["lost_pod"] < minutes["restart"] + 1 < minutes["lost_node"] - minutes["staging"]
        assert minutes["changed_template"] > minutes["lost_pod"], "pods may change places"
        assert any(folder in line for line in describe(made))

    def test_root_gives_the_one_folder_to_the_images_user(self) -> None:
        made = plan(model_cache="node", image_registry="mirror.example.com")
        (first,) = pod(made)["initContainers"]
        assert first["image"] == pod(made)["containers"][0]["image"]
        assert first["image"].startswith("mirror.example.com/")
        assert first["command"][-1] == made["model"]["path"] and "--owner=1000" in first["command"]
        assert first["securityContext"]["runAsUser"] == 0
        assert first["volumeMounts"] == [{"name": "model", "mountPath": "/models"}]

    def test_the_boot_volume_holds_the_model_beside_what_the_pod_may_fill(self) -> None:
        large = facts(model={**facts().model, "files": [{"name": "a", "size": 250 << 30}]})
        assert refused(large, model_cache="node") == [("boot_volume_too_small", "recipe_node_boot_volume_size_in_gbs")]
        assert plan(large, model_cache="node", recipe_ephemeral_storage_size=400)

    def test_local_drives_where_the_shape_has_them(self) -> None:
        made = plan(model_cache="node", **H100)
        assert made["pod"]["model_cache"]["path"].startswith("/mnt/nvme/models/")
        script = base64.b64decode(made["node_pool"]["node_metadata"]["user_data"]).decode()
        assert "mkdir --parents /mnt/nvme" in script
        assert {"field": "model_cache_folder", "value": "/mnt/nvme/models", "why": "the shape's local drives"} in made[
            "choices"
        ]
        # Larger than any boot volume.
        large = facts(model={**facts().model, "files": [{"name": "a", "size": 40_000 << 30}]})
        assert plan(large, model_cache="node", **H100)
        larger = facts(model={**facts().model, "files": [{"name": "a", "size": 60_000 << 30}]})
        assert refused(larger, model_cache="node", **H100) == [("drives_too_small", "recipe_node_shape")]

    def test_a_folder_once_chosen_is_kept(self) -> None:
        kept = facts(deployment={"choices": {"model_cache_folder": BOOT_FOLDER}})
        assert plan(kept, model_cache="node", **H100)["pod"]["model_cache"]["path"].startswith(f"{BOOT_FOLDER}/")

    @pytest.mark.parametrize("folder", ["/etc", "/var/lib/kubelet", f"{BOOT_FOLDER}/../../lib/kubelet", 7, ["/"]])
    def test_no_annotation_leads_to_another_folder_of_the_node(self, folder: Any) -> None:
        forged = facts(deployment={"choices": {"model_cache_folder": folder}})
        made = plan(forged, model_cache="node", **H100)
        assert made["pod"]["model_cache"]["path"].startswith("/mnt/nvme/models/")
        assert "recorded_choice" in [warning["code"] for warning in made["warnings"]]

    def test_a_folder_of_the_recipe_at_the_models_place_holds_the_model(self) -> None:
        made = plan(local_filesystem=[{"node_directory_path": "/mnt/nvme/llms", "mount_location": "/models"}])
        assert volume(made, "folder-0")["hostPath"]["path"] == "/mnt/nvme/llms"
        assert made["pod"]["model_cache"]["kind"] == "node" and len(made["pod"]["volumes"]) == 1
        assert pod(made)["initContainers"]

    def test_a_folder_elsewhere_is_mounted_beside(self) -> None:
        made = plan(local_filesystem=[{"node_directory_path": "/mnt/prompts", "mount_location": "/prompts"}])
        assert made["pod"]["model_cache"]["kind"] == "volume"
        mounts = {entry["name"]: entry["mountPath"] for entry in pod(made)["containers"][0]["volumeMounts"]}
        assert (mounts["model"], mounts["folder-0"]) == ("/models", "/prompts")


class TestFileSystem:
    def test_it_is_filled_once_for_all_nodes(self) -> None:
        made = plan(input_file_system=[FILE_SYSTEM | GIVEN])
        found = objects(made)
        handle = "ocid1.filesystem.oc1.iad.aaaa:10.0.1.7:/shared"
        persistent, claim = found["PersistentVolume"], found["PersistentVolumeClaim"]
        assert persistent["spec"]["csi"] == {"driver": "fss.csi.oraclecloud.com", "volumeHandle": handle}
        assert persistent["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
        assert persistent["spec"]["claimRef"]["name"] == claim["metadata"]["name"]
        assert claim["spec"]["volumeName"] == persistent["metadata"]["name"] and claim["spec"]["storageClassName"] == ""
        assert volume(made, "file-system-0")["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        # Otherwise one node would delete what another needs.
        assert made["staging"]["by_stage"] is False
        minutes = made["expected"]["minutes"]
        assert minutes["lost_node"] < minutes["nodes"] + minutes["pods"] + minutes["restart"] + 0.2
        assert made["expected"]["cost"]["model_volumes"] == 0
        assert pod(made)["initContainers"]

    def test_the_claim_comes_before_the_pods_and_its_name_follows_what_it_leads_to(self) -> None:
        kinds = [item["kind"] for item in render(plan(input_file_system=[FILE_SYSTEM | GIVEN]), {})]
        assert kinds.index("PersistentVolume") < kinds.index("PersistentVolumeClaim") < kinds.index("RayCluster")
        other = objects(plan(input_file_system=[FILE_SYSTEM | GIVEN | {"export_path": "/other"}]))
        same = objects(plan(input_file_system=[FILE_SYSTEM | GIVEN]))
        assert other["PersistentVolume"]["metadata"] != same["PersistentVolume"]["metadata"]

    def test_what_is_not_given_was_looked_up(self) -> None:
        export = {
            "file_system_ocid": FILE_SYSTEM["file_system_ocid"],
            "mount_target_ocid": FILE_SYSTEM["mount_target_ocid"],
            "ip": "10.0.2.9",
            "export_path": "/models",
            "gbps": 40,
        }
        made = plan(facts(cluster=cluster(exports=[export])), input_file_system=[FILE_SYSTEM])
        assert made["pod"]["volumes"][0]["handle"].endswith(":10.0.2.9:/models")
        # A mount target of high throughput.
        at_default = plan(input_file_system=[FILE_SYSTEM | GIVEN])["expected"]["minutes"]["staging"]
        assert made["expected"]["minutes"]["staging"] < at_default / 4
        assert refused(input_file_system=[FILE_SYSTEM]) == [("export_unknown", "input_file_system[0]")]

    def test_any_size_of_model(self) -> None:
        large = facts(model={**facts().model, "files": [{"name": "a", "size": 4000 << 30}]})
        made = plan(large, input_file_system=[FILE_SYSTEM | GIVEN])
        assert "volume_slow" in {warning["code"] for warning in made["warnings"]}


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({"model_cache": "node", "input_file_system": [FILE_SYSTEM | GIVEN]}, "model_cache", "model_cache"),
        (
            {
                "input_file_system": [FILE_SYSTEM | GIVEN],
                "local_filesystem": [{"node_directory_path": "/mnt/a", "mount_location": "/models"}],
            },
            "mount",
            "local_filesystem[0].mount_location",
        ),
        (
            {"local_filesystem": [{"node_directory_path": "/a/../b", "mount_location": "/x"}]},
            "path",
            "local_filesystem[0].node_directory_path",
        ),
        (
            {"input_file_system": [FILE_SYSTEM | GIVEN | {"file_system_ocid": "ocid1.volume.oc1.iad.x"}]},
            "ocid",
            "input_file_system[0].file_system_ocid",
        ),
        (
            {"input_file_system": [FILE_SYSTEM | GIVEN | {"mount_target_ip": "fss.example.com"}]},
            "address",
            "input_file_system[0].mount_target_ip",
        ),
        ({"model_cache": "node", "model_cache_folder": "cache"}, "path", "model_cache_folder"),
    ],
)
def test_what_cannot_be(changes: dict[str, Any], code: str, where: str) -> None:
    assert refused(**changes) == [(code, where)]
