# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What this pod has, looked at before anything is started or staged: GPUs and their driver, versions, the network interface.

A pod that cannot work ends here with its cause, and not minutes later with an engine's. What has to be equal in all pods of a
group is in each pod's status: a worker compares with the head before it joins, the head with all that have joined.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from pod_progress import Failure, log

# Ray refuses a node whose Ray or Python differs (Ray, node.py, check_version_info); vLLM's ranks speak no other version's words.
EQUAL = ("python", "ray", "vllm", "driver")
FIELDS = ("name", "driver_version", "compute_cap", "memory.total", "memory.used")
PROGRAMS = ("ray", "vllm")
# Token authentication came with it (Ray, "Ray token authentication").
LEAST_RAY = "2.52"
ASK_SECONDS = 60.0
# Of a GPU's memory; drivers keep some hundred MiB for themselves.
USED_SHARE = 0.05
# An engine's memory may take a while to be given back after its processes are gone.
FREE_SECONDS = 30.0
# Longer than the grace period of a pod that is being replaced.
UNLIKE_SECONDS = 90.0


def inspect(gpus: int, line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the versions and GPUs of this pod, which should have `gpus` GPUs. Failure where the engine cannot run here.

    line: what the plan's table says of the image; its Ray alone, as the plan has it, where the image is not in it.
    """
    _check_interface()
    for program in PROGRAMS:
        if shutil.which(program) is None:
            words = f"the image has no `{program}` on its PATH: use an image that holds Ray and vLLM"
            raise Failure("ray", words, lasting=True)
    found: dict[str, Any] = {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "ray": _version("ray"),
        "vllm": _version("vllm"),
        "driver": None,
        "gpu": None,
        "capability": None,
    }
    devices = _devices()
    if devices:
        if len(devices) != gpus:
            raise Failure(
                "ray",
                f"this pod has {len(devices)} GPUs ({devices[0]['name']}), the plan says {gpus}: the shape of the node is another",
                lasting=True,
            )
        first = devices[0]
        found |= {"driver": first["driver_version"], "gpu": first["name"], "capability": first["compute_cap"]}
    log("this pod: " + ", ".join(f"{name} {value}" for name, value in found.items() if value))
    if unlike := unlike_the_table(found, line):
        raise Failure("ray", "; ".join(unlike), lasting=True)
    if devices:
        _wait_for_memory(devices)
    return found


def unlike_the_table(found: Mapping[str, Any], line: Mapping[str, Any]) -> list[str]:
    """Return in words how this pod is not what the plan's table says of its image, or cannot run it."""
    words = []
    given = bool(line.get("given"))
    known = "python" in line and not given
    if _older(found["ray"], LEAST_RAY):
        words.append(
            f"ray is {found['ray']} in this image, which has no token authentication: its dashboard and job API would be open; "
            f"take an image with Ray {LEAST_RAY} or newer"
        )
    for name in ("ray", "vllm", "python") if line and not known else ():
        # What a person says of an image, or the plan's Ray for one of which nobody said anything.
        if line.get(name) and found[name] and not _same(found[name], line[name]):
            version = ".".join(map(str, _numbers(found[name])))
            words.append(
                f"{name} is {found[name]} in this image, and the plan says {line[name]}: give image_contents with {name}: {version}"
            )
    for name in ("python", "ray") if known else ():
        if line.get(name) and found[name] and found[name] != line[name]:
            words.append(
                f"{name} is {found[name]} in this image, and its name says {line[name]}: another image has its name"
            )
    # Older lines of the table know only the least version.
    if line.get("vllm") and not given and _older(found["vllm"], line["vllm"]):
        words.append(
            f"vllm is {found['vllm']} in this image, and its name says {line['vllm']}: another image has its name"
        )
    if line.get("least_driver") and _older(found["driver"], str(line["least_driver"])):
        words.append(
            f"the node's NVIDIA driver is {found['driver']}, and the image's CUDA {line['cuda']} needs {line['least_driver']} "
            "or newer: take a newer node image, or an image with an older CUDA"
        )
    if line.get("least_compute_capability") and _older(found["capability"], line["least_compute_capability"]):
        words.append(
            f"the {found['gpu']} has compute capability {found['capability']}, and the image has no kernels below "
            f"{line['least_compute_capability']}: take an older image, or a shape with newer GPUs"
        )
    return words


def _same(found: str, said: str) -> bool:
    """Say whether two versions are the same, as far as the second goes."""
    return _numbers(found)[: len(_numbers(said))] == _numbers(said)


def _older(found: str | None, least: str) -> bool:
    """Say whether a version is older than another; no, where it is not known."""
    if not found or not found[:1].isdigit():
        return False
    return _numbers(found) < _numbers(least)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3]]


def differences(own: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return in words what has to be equal in all pods and is not."""
    return [
        f"{name} {other[name]} there, {own[name]} here"
        for name in EQUAL
        if own.get(name) and other.get(name) and own[name] != other[name]
    ]


class Unlike:
    """For how long two pods have been unlike: while all are replaced, an old one and a new one meet for a moment."""

    def __init__(self) -> None:
        self._since: float | None = None

    def lasts(self, different: bool) -> bool:
        """Note whether they are unlike now; say whether they have been for so long that nobody is replacing them."""
        now = time.monotonic()
        self._since = (self._since or now) if different else None
        return self._since is not None and now - self._since >= UNLIKE_SECONDS


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[dict[str, str]]:
    """Return what nvidia-smi says of each GPU; nothing where the image lacks it."""
    command = ["nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except FileNotFoundError:
        log("nvidia-smi is not in the image: driver and GPU memory are not checked")
        return []
    except subprocess.TimeoutExpired:
        raise Failure("ray", f"nvidia-smi did not answer for {ASK_SECONDS:.0f} s: a GPU of the node hangs") from None
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())
        raise Failure("ray", f"the node's NVIDIA driver does not work: {said}", lasting=True)
    return [dict(zip(FIELDS, line.split(", "), strict=True)) for line in done.stdout.strip().splitlines()]


def _wait_for_memory(devices: list[dict[str, str]]) -> None:
    """See that the GPUs' memory is free, which may take a moment after a restart."""
    end = time.monotonic() + FREE_SECONDS
    while taken := [
        f"GPU {number}: {device['memory.used']} of {device['memory.total']} MiB"
        for number, device in enumerate(devices)
        # "[N/A]" where GPU and CPU share their memory.
        if device["memory.used"].isdigit() and int(device["memory.used"]) > USED_SHARE * int(device["memory.total"])
    ]:
        if time.monotonic() > end:
            raise Failure("ray", f"GPU memory is in use by something else on the node: {'; '.join(taken)}")
        time.sleep(1)
        devices = _devices()


def _check_interface() -> None:
    """See that NCCL's and Gloo's interface is there; `^` excludes, `=` asks for the whole name (NCCL, environment variables)."""
    for variable in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        given = os.environ.get(variable, "")
        if not given or given.startswith("^"):
            continue
        wanted = given.removeprefix("=").split(",")
        present = [name for _index, name in socket.if_nameindex()]
        if not any(name.startswith(prefix) for prefix in wanted for name in present):
            raise Failure(
                "ray", f"{variable} is {given}, but the pod's interfaces are {', '.join(sorted(present))}", lasting=True
            )
