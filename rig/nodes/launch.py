# SPDX-License-Identifier: GPL-3.0-or-later
"""What the container runtime is told to start: command, user, environment and mounts of one run of a container.

Facts imitated:
- /etc/hosts and /etc/resolv.conf are the kubelet's (ndots:5, the namespace's search list first; hostNetwork pods have the node's unless
  their dnsPolicy says otherwise); the host name is the pod's
- command replaces the image's entrypoint, args follow it; `$(NAME)` in both is replaced
- subPath is a folder of the volume, made when it is not there; a volume mounted nowhere else than at /dev/shm replaces the pod's 64 MiB
- each container has /tmp and home of its own, gone when it restarts
- the devices of its GPUs (here: NVIDIA_VISIBLE_DEVICES; and RIG_NODE_SHAPE for the stand-in of nvidia-smi)

For tests each container of a deployment has RIG_ENGINE_CONTROL, where the stand-in for vLLM asks for its faults.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rig.nodes import environment, security
from rig.nodes.environment import ConfigError
from rig.nodes.images import Image

if TYPE_CHECKING:
    from rig.nodes.pod import Pod

Object = dict[str, Any]
MESSAGE_PATH = "/dev/termination-log"
GPU = "nvidia.com/gpu"
DEPLOYMENT = "app.kubernetes.io/instance"


@dataclasses.dataclass(frozen=True)
class Launch:
    """One run to be: its specification for the runtime, and its folder on the machine."""

    identifier: str
    specification: Object
    folder: Path
    message_file: Path

    def inside(self, pid: int, command: list[str]) -> Object:
        """The specification of a command run in the container whose first process is `pid`."""
        kept = ("host_network", "uid", "gid", "groups", "capabilities", "no_new_privileges", "directory", "environment")
        return {"container": pid, "command": command, **{name: self.specification[name] for name in kept}}

    def remove(self) -> None:
        """Remove what the run had for itself."""
        shutil.rmtree(self.folder, ignore_errors=True)


async def prepare(pod: Pod, spec: Object, image: Image, number: int) -> Launch:
    """What run `number` of a container is; ConfigError when its pod refers to what is not there."""
    who = security.identity(pod.object, spec, image)
    variables = await environment.variables(spec, pod.context(), _image_variables(pod, spec, image))
    command = [environment.expand(word, variables) for word in spec.get("command") or list(image.entrypoint)]
    command += [environment.expand(word, variables) for word in spec.get("args") or []]
    if not command:
        raise ConfigError("no command specified")
    folder = pod.folder / "containers" / spec["name"] / str(number)
    scratch, temporary, home = (folder / name for name in ("scratch", "tmp", "home"))
    for path in (scratch, temporary, home):
        path.mkdir(parents=True, exist_ok=True)
    temporary.chmod(0o1777)
    home.chmod(0o755)
    os.chown(home, image.user, image.group)
    message_file = folder / "termination-log"
    message_file.touch()
    message_file.chmod(0o666)
    needed = security.needed_folders()
    own = [_mount(temporary, "/tmp")]
    if image.home != "/":
        own.append(_mount(home, image.home))
    mounts = [await _volume(pod, mount, variables) for mount in spec.get("volumeMounts") or []]
    if image.one_shared_memory:
        mounts = [mount for mount in mounts if mount["target"] != "/dev/shm"]
        own.append(_mount(pod.kubelet.rig.shared_memory, "/dev/shm"))
    elif all(mount["target"] != "/dev/shm" for mount in mounts):
        own.append(_mount(pod.shared_memory, "/dev/shm"))
    mounts.append(_mount(message_file, spec.get("terminationMessagePath", MESSAGE_PATH)))
    specification = {
        "sandbox": pod.sandbox.pid,
        "host_network": pod.host_network,
        "scratch": str(scratch),
        "opened": security.closed_folders(needed),
        "hidden": security.hidden_folders(needed),
        "files": {**pod.network_files(), "/etc/passwd": security.passwd(Path("/etc/passwd").read_text(), image)},
        "own": own,
        "mounts": sorted(mounts, key=lambda mount: mount["target"].count("/")),
        "read_only_root": bool((spec.get("securityContext") or {}).get("readOnlyRootFilesystem")),
        "directory": spec.get("workingDir") or image.home,
        "command": command,
        "environment": variables,
        **who.as_fields(),
    }
    return Launch(os.urandom(32).hex(), specification, folder, message_file)


def _image_variables(pod: Pod, spec: Object, image: Image) -> dict[str, str]:
    gpus = pod.machine.gpus_of(pod.uid, spec["name"])
    deployment = pod.object["metadata"].get("labels", {}).get(DEPLOYMENT)
    steered = {"RIG_ENGINE_CONTROL": f"{pod.kubelet.rig.oci.endpoint}/engines/{deployment}"} if deployment else {}
    return {
        **image.environment,
        "HOSTNAME": pod.hostname,
        "NVIDIA_VISIBLE_DEVICES": ",".join(map(str, gpus)) or "void",
        "RIG_NODE_SHAPE": pod.machine.shape,
        **steered,
    }


async def _volume(pod: Pod, mount: Object, variables: dict[str, str]) -> Object:
    path = pod.volumes.paths[mount["name"]]
    below = mount.get("subPath") or environment.expand(mount.get("subPathExpr", ""), variables)
    if below:
        path = _sub_path(pod, path, below)
    return _mount(path, mount["mountPath"], bool(mount.get("readOnly")))


def _sub_path(pod: Pod, volume: Path, below: str) -> Path:
    """A folder or file inside a volume. The sandbox's view is asked, which alone has the volumes in memory."""
    if ".." in Path(below).parts:
        raise ConfigError(f"subPath {below} must not contain '..'")
    view = Path(f"/proc/{pod.sandbox.pid}/root")
    seen = Path(f"{view}{volume}") / below
    if not seen.exists():
        mode = (view / str(volume).lstrip("/")).stat().st_mode & 0o7777
        seen.mkdir(parents=True)
        seen.chmod(mode)
    if seen.is_symlink():  # a file of a Secret or ConfigMap: what it leads to now, as with subPath it stays
        return (volume / below).resolve()
    return volume / below


def _mount(source: Path, target: str, read_only: bool = False) -> Object:
    return {"source": str(source), "target": target, "read_only": read_only}
