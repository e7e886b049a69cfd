# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of folders, file systems and the model's cache that need no fact from elsewhere."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...fault import Fault
from ..values import shown

_FOLDER = re.compile(r"(/[A-Za-z0-9._-]+)+/?")
# What the pods mount themselves.
_OUR_FOLDERS = ("/opt/multinode", "/run/multinode", "/run/secrets/multinode", "/dev/shm", "/dev/infiniband")
_SOURCES = ("input_object_storage", "input_hugging_face")
_PLACES = ("input_file_system", "local_filesystem")
_OCIDS = {"file_system_ocid": "filesystem", "mount_target_ocid": "mounttarget"}


def check_storage_rules(recipe: Mapping[str, Any], settings: Mapping[str, Any], faults: list[Fault]) -> None:
    """Folders that are mounted are absolute and none lies over another; but the model may be brought to one of them."""
    cached = _mounts(recipe, faults)
    for number, entry in enumerate(recipe.get("input_file_system") or ()):
        _file_system(entry, f"input_file_system[{number}]", faults)
    folder = settings.get("model_cache_folder")
    if folder and not _is_folder(folder):
        faults.append(Fault("path", "model_cache_folder", shown(folder), "an absolute folder", "correct it"))
    if cached and settings.get("model_cache") == "node":
        faults.append(
            Fault(
                "model_cache",
                "model_cache",
                f"node, and the model's mount_location is that of {cached}",
                "one place for the model's files",
                f"leave model_cache out, or give {cached} another mount_location",
            )
        )


def _mounts(recipe: Mapping[str, Any], faults: list[Fault]) -> str:
    """Return which entry of the recipe holds the model's files, "" where none does."""
    # Folder: (who has it, the parameter that it stands in).
    taken: dict[str, tuple[str, str]] = dict.fromkeys(_OUR_FOLDERS, ("the deployment", ""))
    cached = ""
    for parameter, place, entry in _entries(recipe):
        path, mount = entry.get("node_directory_path"), entry.get("mount_location")
        for field, folder in (("node_directory_path", path), ("mount_location", mount)):
            if folder is not None and not _is_folder(folder):
                faults.append(Fault("path", f"{place}.{field}", shown(folder), "an absolute folder", "correct it"))
        if mount is None or not _is_folder(mount):
            continue
        mount = mount.rstrip("/")
        if parameter in _PLACES and taken.get(mount, ("", ""))[1] in _SOURCES:
            cached = place
            taken[mount] = (place, parameter)
            continue
        other = next((owner for known, (owner, _in) in taken.items() if _overlap(mount, known)), None)
        if other:
            faults.append(
                Fault("mount", f"{place}.mount_location", mount, f"a folder that {other} has not", "choose another")
            )
        taken.setdefault(mount, (place, parameter))
    return cached


def _entries(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for parameter in (*_SOURCES, *_PLACES):
        given = recipe.get(parameter) or ()
        if isinstance(given, Mapping):
            yield parameter, parameter, given
        else:
            for number, entry in enumerate(given):
                yield parameter, f"{parameter}[{number}]", entry


def _file_system(entry: Mapping[str, Any], place: str, faults: list[Fault]) -> None:
    for name, kind in _OCIDS.items():
        given = entry.get(name)
        if given and not re.fullmatch(rf"ocid1\.{kind}\.[a-z0-9._-]+", given):
            faults.append(Fault("ocid", f"{place}.{name}", shown(given), f"an OCID, ocid1.{kind}...", "correct it"))
    address, path = entry.get("mount_target_ip"), entry.get("export_path")
    if address:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            faults.append(
                Fault(
                    "address", f"{place}.mount_target_ip", shown(address), "an address, such as 10.0.1.7", "correct it"
                )
            )
    if path and not re.fullmatch(r"/[A-Za-z0-9._/-]*", path):
        faults.append(Fault("path", f"{place}.export_path", shown(path), "a path, such as /models", "correct it"))


def _is_folder(folder: str) -> bool:
    return bool(_FOLDER.fullmatch(folder)) and not {".", ".."} & set(folder.split("/"))


def _overlap(folder: str, other: str) -> bool:
    first, second = folder.rstrip("/") + "/", other.rstrip("/") + "/"
    return first.startswith(second) or second.startswith(first)
