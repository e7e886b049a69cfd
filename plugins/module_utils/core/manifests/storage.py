# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The pods' volumes as Kubernetes has them, and the objects that file systems take beside the pods."""

from __future__ import annotations

from typing import Any

from ..names import MODEL_FOLDER, common_labels
from ..plan.storage import FILE_SYSTEM_DRIVER
from ..plan.types import BlockVolume, Plan


def volumes_of(plan: Plan) -> list[dict[str, Any]]:
    """Return the entries of the pod's `volumes` for the plan's own."""
    found = []
    for volume in plan["pod"]["volumes"]:
        source: dict[str, Any]
        if volume["kind"] == "block":
            source = {"ephemeral": {"volumeClaimTemplate": _claim_template(volume, plan["deployment"]["name"])}}
        elif volume["kind"] == "folder":
            source = {"hostPath": {"path": volume["path"], "type": "DirectoryOrCreate"}}
        else:
            source = {"persistentVolumeClaim": {"claimName": volume["claim"]}}
        found.append({"name": volume["name"], **source})
    return found


def mounts_of(plan: Plan) -> list[dict[str, Any]]:
    """Return the entries of a container's `volumeMounts` for them."""
    return [{"name": volume["name"], "mountPath": volume["mount"]} for volume in plan["pod"]["volumes"]]


def init_containers(plan: Plan) -> list[dict[str, Any]]:
    """Return what gives the model's folder to the image's user, where the kubelet does not.

    It gives a block volume to fsGroup; a folder of the node and a file system stay root's. The group may write, too:
    an image with another user has fsGroup among its groups. That one folder changes hands, nothing beside or in it.
    """
    if plan["pod"]["model_cache"]["kind"] == "volume":
        return []
    path, user = plan["model"]["path"], str(plan["pod"]["user"])
    mount = next(entry for entry in mounts_of(plan) if f"{path}/".startswith(f"{entry['mountPath']}/"))
    return [
        {
            "name": MODEL_FOLDER,
            "image": plan["pod"]["image"],
            "command": ["install", "--directory", f"--owner={user}", f"--group={user}", "--mode=2775", path],
            # Root, since the folder's parent is root's; of root's rights those that making and giving a folder take.
            "securityContext": {
                "runAsUser": 0,
                "runAsGroup": 0,
                "runAsNonRoot": False,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"]},
            },
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
            "volumeMounts": [mount],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
    ]


def file_system_objects(plan: Plan) -> list[dict[str, Any]]:
    """Return a PersistentVolume and its claim for each file system. Their names hold a hash of what they lead to.

    A volume belongs to the whole cluster, and what it leads to can never change.
    """
    namespace = plan["deployment"]["namespace"]
    objects: list[dict[str, Any]] = []
    for volume in plan["pod"]["volumes"]:
        if volume["kind"] != "file_system":
            continue
        size = {"storage": f"{volume['size_gib']}Gi"}
        # An empty class: no provisioner is to make another.
        common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        name = f"{namespace}-{volume['claim']}"
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    **common,
                    "capacity": size,
                    # The files are the user's.
                    "persistentVolumeReclaimPolicy": "Retain",
                    "csi": {"driver": FILE_SYSTEM_DRIVER, "volumeHandle": volume["handle"]},
                    "claimRef": {"namespace": namespace, "name": volume["claim"]},
                },
            }
        )
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": volume["claim"], "namespace": namespace},
                "spec": {**common, "volumeName": name, "resources": {"requests": size}},
            }
        )
    return objects


def _claim_template(volume: BlockVolume, name: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": common_labels(name)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": volume["storage_class"],
            "resources": {"requests": {"storage": f"{volume['size_gib']}Gi"}},
        },
    }
