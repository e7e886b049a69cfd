# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a container runs as, and what the machine shows it. Pure, but for looking at folders.

Facts imitated (kubelet, CRI-O):
- runAsUser of the container, else of the pod, else the image's; runAsGroup likewise, else the image's group of that user, else 0
- supplementalGroups and fsGroup are groups of every process
- runAsNonRoot with an image that runs as root: CreateContainerConfigError
- root has CRI-O's default capabilities, more or less those of securityContext.capabilities; privileged has all
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from rig.configuration import REPOSITORY, real_vllm_folder
from rig.nodes.environment import ConfigError
from rig.nodes.images import Image

Object = dict[str, Any]

CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "DAC_READ_SEARCH": 2,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "IPC_LOCK": 14,
    "SYS_CHROOT": 18,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "SYS_NICE": 23,
    "SYS_RESOURCE": 24,
    "MKNOD": 27,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}
"""Numbers of linux/capability.h; of those that pods ask for."""
DEFAULT_CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "KILL",
)


OWN_FOLDERS = ("/tmp", "/run", "/dev")
"""Of which each container has its own."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """A container's user and rights; `capabilities` None: all."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: tuple[int, ...] | None
    no_new_privileges: bool

    def as_fields(self) -> Object:
        """As in a specification for the container runtime."""
        return dataclasses.asdict(self)


def identity(pod: Object, container: Object, image: Image) -> Identity:
    """Who `container` runs as; ConfigError when it may not."""
    shared = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    both = {**shared, **own}
    uid = both.get("runAsUser", image.user)
    if both.get("runAsNonRoot") and uid == 0:
        who = "container's runAsUser breaks non-root policy" if "runAsUser" in both else "image will run as root"
        raise ConfigError(f"container has runAsNonRoot and {who} (container: {container['name']})")
    gid = both.get("runAsGroup", image.group if uid == image.user else 0)
    groups = [*shared.get("supplementalGroups", []), *([shared["fsGroup"]] if "fsGroup" in shared else [])]
    return Identity(
        uid=uid,
        gid=gid,
        groups=tuple(sorted(set(groups))),
        capabilities=None if own.get("privileged") else capabilities(own.get("capabilities") or {}),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
    )


def capabilities(fields: Object) -> tuple[int, ...]:
    """The numbers of the default capabilities, less those dropped, and those added."""
    dropped, added = set(fields.get("drop") or []), set(fields.get("add") or [])
    kept = set() if "ALL" in dropped else set(DEFAULT_CAPABILITIES) - dropped
    kept |= set(CAPABILITIES) if "ALL" in added else added
    unknown = kept - CAPABILITIES.keys()
    if unknown:
        raise ConfigError(f"process nodes do not know the capabilities {', '.join(sorted(unknown))}")
    return tuple(sorted(CAPABILITIES[name] for name in kept))


def passwd(text: str, image: Image) -> str:
    """/etc/passwd with a line for the image's user, as the image would have it."""
    if any(line.split(":")[2:3] == [str(image.user)] for line in text.splitlines()):
        return text
    name = Path(image.home).name or f"user{image.user}"
    return f"{text.rstrip()}\n{name}:x:{image.user}:{image.group}::{image.home}:/bin/bash\n"


def needed_folders() -> list[Path]:
    """The folders of this machine that pods need: interpreter, its environment, repository, RIG_POD_PATH, real vLLM."""
    given = [sys.prefix, sys.base_prefix, str(REPOSITORY), *os.environ.get("RIG_POD_PATH", "").split(":")]
    if real_vllm_folder().exists():
        given.append(str(real_vllm_folder()))
    found: dict[Path, None] = {}
    for text in filter(None, given):
        path = Path(text).absolute()
        found[path] = found[path.resolve()] = None
    return list(found)


def closed_folders(needed: list[Path]) -> list[str]:
    """Those of the folders and of the ones they lie in that not everyone may enter; outermost first."""
    folders = {folder for path in needed for folder in (path, *path.parents)}
    return sorted(str(folder) for folder in folders if not folder.stat().st_mode & 0o001 and folder != Path("/"))


def hidden_folders(needed: list[Path]) -> list[str]:
    """Those that a container's root would not show: on other filesystems, or where it has a folder of its own.

    Outermost first, none within another.
    """
    root = os.stat("/").st_dev
    found: list[Path] = []
    for path in sorted(needed):
        hidden = path.stat().st_dev != root or any(path.is_relative_to(own) for own in OWN_FOLDERS)
        if hidden and not any(path.is_relative_to(other) for other in found):
            found.append(path)
    return [str(path) for path in found]
