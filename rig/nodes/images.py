# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image name means on process nodes: the folders `rig/images/<folder>` with their `image.json`.

image.json: names (patterns of full names), user, group, home (and work directory), path (folders of programs, relative to this one),
environment, entrypoint, alone, one_shared_memory. In a value "{image}" is this folder, "{python}" the rig's interpreter,
"{real_vllm}" the environment of `make real-vllm`. A pod's PATH is RIG_POD_PATH, the image's own folders, the interpreter's
environment unless the image is to be `alone` (that has Ray), the system's. With `one_shared_memory` all pods of the image have one
/dev/shm: vLLM's CPU build passes tensors between ranks through it.

Facts imitated:
- only full names (registry/repository:tag): CRI-O on OKE refuses short ones from Kubernetes 1.34 on
- a name that no image has: ErrImagePull, then ImagePullBackOff, in the words of CRI-O
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
import os
import sys
from pathlib import Path

from rig.configuration import REPOSITORY, real_vllm_folder

FOLDER = REPOSITORY / "rig" / "images"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class PullError(Exception):
    """The image cannot be had; the text is what the container runtime would say."""


@dataclasses.dataclass(frozen=True)
class Image:
    """One image: who runs in it, where, with which programs."""

    name: str
    folder: Path
    user: int
    group: int
    home: str
    environment: dict[str, str]
    entrypoint: tuple[str, ...]
    one_shared_memory: bool = False

    @property
    def identifier(self) -> str:
        """As in a container status: the repository with a digest, always the same for one name."""
        repository = self.name.partition("@")[0]
        if ":" in repository.rpartition("/")[2]:
            repository = repository.rpartition(":")[0]
        return f"{repository}@sha256:{hashlib.sha256(self.name.encode()).hexdigest()}"


def find(name: str, folder: Path = FOLDER) -> Image:
    """The image of that name; PullError when there is none."""
    registry, slash, _ = name.partition("/")
    if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
        raise PullError(
            f"rpc error: code = Unknown desc = short name mode is enforcing, but image name {name} returns ambiguous list"
        )
    for path in sorted(folder.glob("*/image.json")):
        fields = json.loads(path.read_text())
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in fields["names"]):
            return _image(name, path.parent, fields)
    raise PullError(
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{name}": '
        f"failed to resolve reference: {name}: not found"
    )


def _image(name: str, folder: Path, fields: dict) -> Image:
    folders = [
        os.environ.get("RIG_POD_PATH", ""),
        *(str(folder / _filled(entry, folder)) for entry in fields.get("path", [])),
    ]
    folders += [SYSTEM_PATH] if fields.get("alone") else [str(Path(sys.prefix) / "bin"), SYSTEM_PATH]
    return Image(
        name=name,
        folder=folder,
        user=fields.get("user", 0),
        group=fields.get("group", 0),
        home=fields.get("home", "/root"),
        environment={
            "PATH": ":".join(entry for entry in folders if entry),
            "HOME": fields.get("home", "/root"),
            **{key: _filled(value, folder) for key, value in fields.get("environment", {}).items()},
        },
        entrypoint=tuple(fields.get("entrypoint", [])),
        one_shared_memory=bool(fields.get("one_shared_memory")),
    )


def _filled(value: str, folder: Path) -> str:
    return (
        value.replace("{image}", str(folder))
        .replace("{python}", sys.executable)
        .replace("{real_vllm}", str(real_vllm_folder()))
    )
