# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The folders that are mounted into the pods, and the folders of the nodes that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...fault import Findings

# What the deployment mounts itself: nothing may lie in them, nor over them.
_OURS = ("/opt/multinode", "/run/multinode", "/run/secrets/multinode", "/tmp/ray", "/dev/shm", "/dev/infiniband")
# The container runtime refuses mounts in them.
_OF_THE_KERNEL = ("/proc", "/sys", "/dev")
# A mount over one of them hides what the container is made of: its system, and the Python of the images that are known.
_OF_THE_IMAGE = (
    *("/bin", "/sbin", "/lib", "/lib64", "/etc", "/usr/bin", "/usr/lib", "/usr/local/bin", "/usr/local/lib"),
    *("/var/lib", "/var/run", "/home/ray/anaconda3"),
)
_SOURCES = ("input_object_storage", "input_hugging_face")
_PLACES = ("input_file_system", "local_filesystem")


def check_folders(recipe: Mapping[str, Any], settings: Mapping[str, Any], findings: Findings) -> None:
    """No mounted folder lies over another, but the model may be staged to one of them."""
    cached = _mounts(recipe, findings)
    if cached and settings.get("model_cache") == "node":
        findings.fault(
            "model_cache",
            "model_cache",
            f"node, and {cached} is mounted where the model is staged to",
            "one place for the model's files",
            f"leave model_cache out, or give {cached} another mount_location",
        )
    _folders_of_nodes(recipe, settings.get("local_filesystem_folders") or (), findings)


def _folders_of_nodes(recipe: Mapping[str, Any], allowed: Any, findings: Findings) -> None:
    """A recipe reaches no other folder of a node than those that are allowed: in /etc or the kubelet's it would own the node."""
    for place, entry in _entries(recipe, "local_filesystem"):
        folder = entry.get("node_directory_path")
        if folder is not None and not any(_inside(folder, root) for root in allowed):
            findings.fault(
                "folder_not_allowed",
                f"{place}.node_directory_path",
                folder,
                f"a folder in {' or '.join(allowed)}",
                "choose another folder, or add its parent to the setting local_filesystem_folders",
            )


def _mounts(recipe: Mapping[str, Any], findings: Findings) -> str:
    """Return which entry of the recipe holds the model's files, "" where none does."""
    # Folder: (who has it, the parameter that it stands in).
    taken: dict[str, tuple[str, str]] = dict.fromkeys(_OURS, ("the deployment", ""))
    cached = ""
    for parameter in (*_SOURCES, *_PLACES):
        for place, entry in _entries(recipe, parameter):
            if entry.get("mount_location") is None:
                continue
            mount = entry["mount_location"].rstrip("/")
            if parameter in _PLACES and taken.get(mount, ("", ""))[1] in _SOURCES:
                cached = place
                taken[mount] = (place, parameter)
                continue
            other = next(
                (owner for known, (owner, _in) in taken.items() if _inside(mount, known) or _inside(known, mount)), None
            )
            hidden = any(_inside(folder, mount) for folder in _OF_THE_IMAGE)
            if other is None and (hidden or any(_inside(mount, folder) for folder in _OF_THE_KERNEL)):
                other = "the container's system"
            if other is not None:
                expected = f"a folder that {other} does not use"
                findings.fault("mount", f"{place}.mount_location", mount, expected, "choose another")
            taken.setdefault(mount, (place, parameter))
    return cached


def _entries(recipe: Mapping[str, Any], parameter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    given = recipe.get(parameter) or ()
    if isinstance(given, Mapping):
        yield parameter, given
    else:
        yield from ((f"{parameter}[{number}]", entry) for number, entry in enumerate(given))


def _inside(folder: str, root: str) -> bool:
    """Say whether `folder` is `root` or lies in it; both are plain absolute paths (formats.FOLDER)."""
    return f"{folder.rstrip('/')}/".startswith(f"{root.rstrip('/')}/")
