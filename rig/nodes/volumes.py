# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes of one pod: folders of the machine that its containers mount.

Facts imitated:
- a new block volume's root belongs to root, 0755: only fsGroup lets another user write; fsGroup is given to all files, or with
  OnRootMismatch only when the volume's root does not have it yet
- emptyDir is 0777; with medium Memory a tmpfs of at most sizeLimit, kept over container restarts
- a claim that is not bound, or bound to a volume that another node has attached (ReadWriteOnce), keeps the pod from starting
- what a dead node had attached stays so until its Node object is removed
- Secrets and tokens are written anew when they change, some time later
- hostPath is the node's own disk, kept while the node is there
- a file system of OCI (volumeHandle `<file system>:<address>:<export path>`) is one folder for all nodes; its root belongs to
  root, and fsGroup does not change that (CSI drivers give ReadWriteOnce volumes alone to a group by default)

Differences: sizeLimit of an emptyDir on disk is not enforced; a hostPath below /dev, /sys, /proc, /usr and /lib is the machine's.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rig.nodes.payload import MountError, Sources, write
from rig.nodes.quantities import parse

Object = dict[str, Any]
FILE_KINDS = {"secret", "configMap", "projected", "downwardAPI"}
FILE_SYSTEM_DRIVER = "fss.csi.oraclecloud.com"
MACHINE_PATHS = ("/dev", "/sys", "/proc", "/usr", "/lib")


class Attachments:
    """Which node has which block volume: ReadWriteOnce allows one at a time."""

    def __init__(self) -> None:
        self._users: dict[str, set[tuple[str, str]]] = {}

    def attach(self, handle: str, node: str, pod: str, once: bool) -> None:
        """Pod `pod` (its uid) on `node` uses the volume; MountError while another node has it."""
        users = self._users.setdefault(handle, set())
        if once and any(other != node for other, _ in users):
            raise MountError(
                f'Multi-Attach error for volume "{handle}" Volume is already used by pod(s) on another node'
            )
        users.add((node, pod))

    def detach(self, gone: str) -> None:
        """A pod (its uid) or a node has gone."""
        for users in self._users.values():
            users -= {user for user in users if gone in user}


class Volumes:
    """Prepares a pod's volumes; afterwards `paths` has the folder of each."""

    def __init__(
        self,
        pod: Object,
        folder: Path,
        node_folder: Path,
        sources: Sources,
        volume_of_claim: Callable[[str], Awaitable[tuple[Path, str, bool]]],
        attachments: Attachments,
    ) -> None:
        self.paths: dict[str, Path] = {}
        self._pod = pod
        self._folder = folder
        self._node_folder = node_folder
        self._sources = sources
        self._volume_of_claim = volume_of_claim
        self._attachments = attachments
        security = pod["spec"].get("securityContext") or {}
        self._group: int | None = security.get("fsGroup")
        self._only_on_mismatch = security.get("fsGroupChangePolicy") == "OnRootMismatch"

    @property
    def _volumes(self) -> list[Object]:
        return self._pod["spec"].get("volumes") or []

    def memory(self) -> list[Object]:
        """The tmpfs that the pod's sandbox mounts: target and mount options."""
        found = []
        for volume in self._volumes:
            fields = volume.get("emptyDir")
            if fields is None or fields.get("medium") != "Memory":
                continue
            options = "mode=777" if self._group is None else f"mode=2777,gid={self._group}"
            if fields.get("sizeLimit"):
                options += f",size={int(parse(fields['sizeLimit']))}"
            found.append({"target": str(self._folder / volume["name"]), "options": options})
        return found

    async def prepare(self) -> None:
        """Make every volume that is not there yet; MountError, naming the volume, when one cannot be had now."""
        for volume in self._volumes:
            if volume["name"] not in self.paths:
                try:
                    self.paths[volume["name"]] = await self._prepare(volume)
                except MountError as error:
                    raise MountError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from None

    async def refresh(self) -> None:
        """Write Secrets, ConfigMaps and tokens that have changed; what has gone stays as it was."""
        for volume in self._volumes:
            if FILE_KINDS & volume.keys():
                try:
                    write(self.paths[volume["name"]], await self._sources.files(volume), self._group)
                except MountError:
                    continue

    async def _prepare(self, volume: Object) -> Path:
        folder = self._folder / volume["name"]
        if FILE_KINDS & volume.keys():
            files = await self._sources.files(volume)
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
            write(folder, files, self._group)
            return folder
        if "emptyDir" in volume:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
            if self._group is not None:
                os.chown(folder, -1, self._group)
                folder.chmod(0o2777)
            return folder
        if "hostPath" in volume:
            return host_path(volume["hostPath"], self._node_folder)
        if "persistentVolumeClaim" in volume:
            return await self._claim(volume["persistentVolumeClaim"]["claimName"])
        if "ephemeral" in volume:
            return await self._claim(f"{self._pod['metadata']['name']}-{volume['name']}")
        kind = next(iter(volume.keys() - {"name"}), "none")
        raise MountError(f"process nodes have no volumes of the kind {kind}")

    async def _claim(self, name: str) -> Path:
        path, handle, once = await self._volume_of_claim(name)
        metadata = self._pod["metadata"]
        self._attachments.attach(handle, self._pod["spec"]["nodeName"], metadata["uid"], once)
        if self._group is not None and once:
            await asyncio.to_thread(give_to_group, path, self._group, self._only_on_mismatch)
        return path


def host_path(fields: Object, node_folder: Path) -> Path:
    """The folder or file that a hostPath volume means on its node; MountError when its type asks for what is not there."""
    given, kind = fields["path"], fields.get("type", "")
    if given.startswith(MACHINE_PATHS):
        path = Path(given)
    else:
        path = node_folder / "root" / given.lstrip("/")
        if kind in ("", "DirectoryOrCreate"):  # containerd makes a folder where nothing is there
            path.mkdir(parents=True, exist_ok=True)
        elif kind == "FileOrCreate":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    tests: dict[str, Callable[[int], bool]] = {
        "Directory": stat.S_ISDIR,
        "DirectoryOrCreate": stat.S_ISDIR,
        "File": stat.S_ISREG,
        "FileOrCreate": stat.S_ISREG,
        "Socket": stat.S_ISSOCK,
        "CharDevice": stat.S_ISCHR,
        "BlockDevice": stat.S_ISBLK,
    }
    test = tests.get(kind)
    if not path.exists() or (test and not test(path.stat().st_mode)):
        raise MountError(f"hostPath type check failed: {given} is not a {kind or 'file or folder'}")
    return path


def file_system(handle: str, folder: Path) -> Path:
    """The folder that an export of a file system is; MountError for a handle that the driver does not understand."""
    ocid, _, rest = handle.partition(":")
    address, _, export = rest.partition(":")
    if not ocid.startswith("ocid1.filesystem.") or not address or not export.startswith("/"):
        raise MountError(f"{handle} is not <file system>:<address of the mount target>:<export path>")
    path = folder / ocid / export.strip("/").replace("/", "_")
    path.mkdir(parents=True, exist_ok=True)
    return path


def give_to_group(root: Path, group: int, only_on_mismatch: bool) -> None:
    """Give a volume to `group` as the kubelet does: group ID, read and write for it, and the setgid bit on folders."""
    found = root.stat()
    if only_on_mismatch and found.st_gid == group and found.st_mode & 0o2070 == 0o2070:
        return
    for folder, _, files in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                continue
            os.chown(path, -1, group)
            os.chmod(path, stat.S_IMODE(mode) | (0o2770 if stat.S_ISDIR(mode) else 0o660))
