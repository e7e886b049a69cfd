# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a node keeps the model's files, and what else is mounted into the pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..catalog.shapes import Shape, allocatable
from ..fault import Findings
from ..names import short_hash
from ..recipe.inputs import Inputs
from ..recipe.model_source import model_source
from .facts import Choices
from .types import FileSystemVolume, ModelCache, Volume

# Of the node's boot volume, where the shape has no local drives or the nodes are not ours to prepare.
BOOT_FOLDER = "/var/lib/multinode-inference"
FILE_SYSTEM_DRIVER = "fss.csi.oraclecloud.com"
# A file system keeps some of a disk for itself, 5 % with ext4's defaults.
_USABLE_SHARE = 0.95


def storage_of(
    inputs: Inputs, choices: Choices, shape: Shape | None, exports: Sequence[Mapping[str, Any]], findings: Findings
) -> tuple[list[Volume], ModelCache]:
    """Return the pods' volumes, and what holds the model.

    exports: where the mount targets of the recipe's file systems were found, {file_system_ocid, mount_target_ocid, ip,
    export_path, gbps}
    """
    recipe, settings = inputs.recipe, inputs.settings
    source = model_source(recipe)
    mount = source["mount_location"].rstrip("/")
    volumes: list[Volume] = [*_file_systems(inputs, exports, findings)]
    for number, entry in enumerate(recipe["local_filesystem"] or ()):
        folder, path = entry["mount_location"].rstrip("/"), entry["node_directory_path"].rstrip("/")
        volumes.append({"name": f"folder-{number}", "kind": "folder", "mount": folder, "path": path})
    cache = next((volume for volume in volumes if volume["mount"] == mount), None)
    if cache is None:
        if settings["model_cache"] == "node":
            cache = {"name": "model", "kind": "folder", "mount": mount, "path": _folder(inputs, choices, shape)}
        else:
            cache = {
                "name": "model",
                "kind": "block",
                "mount": mount,
                "size_gib": source["volume_size_in_gbs"],
                "storage_class": settings["model_storage_class"],
            }
        volumes.insert(0, cache)
    return volumes, _held(cache)


def _held(cache: Volume) -> ModelCache:
    """What the files outlive: the container always, since a restart is an exit of it."""
    if cache["kind"] == "block":
        return {"kind": "volume", "outlives": "container", "path": None, "size_gib": cache["size_gib"]}
    if cache["kind"] == "folder":
        return {"kind": "node", "outlives": "pod", "path": cache["path"], "size_gib": 0}
    return {"kind": "file_system", "outlives": "node", "path": cache["handle"], "size_gib": 0}


def _folder(inputs: Inputs, choices: Choices, shape: Shape | None) -> str:
    """The node's folder for this deployment alone: two of them may follow each other on nodes that stay."""
    settings = inputs.settings
    today, why = BOOT_FOLDER, "the boot volume"
    if shape is not None and shape.nvme_drives and settings["node_provisioner"] == "oke":
        today, why = f"{settings['nvme_folder'].rstrip('/')}/models", "the shape's local drives"
    folder = choices.choose(
        "model_cache_folder", settings["model_cache_folder"], today, why, lambda kept: kept in (BOOT_FOLDER, today)
    )
    return f"{folder.rstrip('/')}/{settings['namespace'] or inputs.name}/{inputs.name}"


def _file_systems(
    inputs: Inputs, exports: Sequence[Mapping[str, Any]], findings: Findings
) -> Iterable[FileSystemVolume]:
    """Volumes of OCI File Storage; what the recipe does not say of the mount target was looked up."""
    for number, entry in enumerate(inputs.recipe["input_file_system"] or ()):
        found: Mapping[str, Any] = next(
            (
                export
                for export in exports
                if (export["file_system_ocid"], export["mount_target_ocid"])
                == (entry["file_system_ocid"], entry["mount_target_ocid"])
            ),
            {},
        )
        address = entry["mount_target_ip"] or found.get("ip")
        path = entry["export_path"] or found.get("export_path")
        if not address or not path:
            findings.fault(
                "export_unknown",
                f"input_file_system[{number}]",
                "no address of its mount target, or no export of the file system there",
                "a mount target that exports the file system",
                "make the export, or give mount_target_ip and export_path",
            )
            continue
        # <file system>:<address of the mount target>:<export path> (Oracle, "Provisioning a PVC on an Existing File System").
        handle = f"{entry['file_system_ocid']}:{address}:{path}"
        yield {
            "name": f"file-system-{number}",
            "kind": "file_system",
            "mount": entry["mount_location"].rstrip("/"),
            "claim": f"{inputs.name}-{short_hash(handle)}",
            "handle": handle,
            "size_gib": entry["volume_size_in_gbs"],
        }


def throughput(cache: ModelCache, exports: Iterable[Mapping[str, Any]]) -> float | None:
    """Return the Gbit/s of the mount target that the model's file system was found at, None where it is not known."""
    for export in exports:
        if f"{cache['path'] or ''}".startswith(f"{export['file_system_ocid']}:") and export.get("gbps"):
            return float(export["gbps"])
    return None


def on_local_drives(path: str | None, settings: Mapping[str, Any], shape: Shape | None) -> bool:
    """Say whether a folder of a node lies on the local drives of its shape, which the node's start prepares."""
    folder = settings["nvme_folder"].rstrip("/")
    return bool(shape and shape.nvme_drives) and f"{path or ''}/".startswith(f"{folder}/")


def check_storage(
    inputs: Inputs, cache: ModelCache, model: Mapping[str, Any], shape: Shape | None, findings: Findings
) -> None:
    """What holds the model has to hold it whole: with an unknown stage order any node may need any file.

    A file system of OCI grows with what is written. Of a node that is not ours only the pod's own disk is known: there
    staging says what is free before it fetches a byte.
    """
    needed = sum(entry.get("size") or 0 for entry in model.get("files") or ()) / 2**30
    amount = f"the model's {needed * 2**30 / 1e9:.1f} GB"
    if cache["kind"] == "volume":
        if needed > cache["size_gib"] * _USABLE_SHARE:
            place = model_source(inputs.recipe)["place"]
            findings.fault(
                "volume_too_small",
                f"{place}.volume_size_in_gbs",
                str(cache["size_gib"]),
                f"at least {needed / _USABLE_SHARE:.0f} for {amount}",
                "raise it",
            )
    elif cache["kind"] == "node" and shape is not None and inputs.settings["node_provisioner"] == "oke":
        _check_folder(inputs, cache, needed, amount, shape, findings)


def _check_folder(
    inputs: Inputs, cache: ModelCache, needed: float, amount: str, shape: Shape, findings: Findings
) -> None:
    recipe = inputs.recipe
    if on_local_drives(cache["path"], inputs.settings, shape):
        room = shape.nvme_gb * 1e9 / 2**30 * _USABLE_SHARE
        if needed > room:
            found = f"{cache['path']} on {shape.name}, whose local drives hold {shape.nvme_gb} GB"
            findings.fault(
                "drives_too_small",
                "recipe_node_shape",
                found,
                f"room for {amount}",
                "choose another folder or shape",
            )
        return
    boot, pod = recipe["recipe_node_boot_volume_size_in_gbs"], recipe["recipe_ephemeral_storage_size"]
    room = allocatable(shape, boot).ephemeral_gib
    if needed + pod > room:
        findings.fault(
            "boot_volume_too_small",
            "recipe_node_boot_volume_size_in_gbs",
            f"{boot}, of which {room:.0f} can be used",
            f"room for {amount} beside recipe_ephemeral_storage_size ({pod})",
            f"raise it by {needed + pod - room:.0f} / 0.9, or lower recipe_ephemeral_storage_size",
        )
