# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of one rig agree on: `rig.json` in the rig's folder, written by `up` before any part starts.

Every part is started as `python -m rig.<part> --rig FOLDER`, loads this file, and says with `mark_ready`
that it is usable.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

FILE_NAME = "rig.json"
REPOSITORY = Path(__file__).resolve().parents[1]

OKE_ADMINISTRATORS = "ocid1.group.oc1..aaaaaaaaadministrators"
"""The group as which Kubernetes knows the administrators of every tenancy."""


class RigError(Exception):
    """The rig cannot go on; the text says what failed, what was found and what to do next."""


@dataclasses.dataclass(frozen=True)
class Kubernetes:
    """Where the API server is.

    `pki` holds ca.crt/ca.key, kubelet.crt/.key (server certificate of the kubelet API) and kubelet-client.crt/.key (the
    API server as client of the kubelet API).
    """

    url: str
    kubeconfig: Path
    pki: Path


@dataclasses.dataclass(frozen=True)
class Network:
    """The rig's own bridge and addresses; without root `bridge` is empty and the address is loopback."""

    bridge: str
    address: str
    subnet: str
    pods: str
    node_prefix: str


@dataclasses.dataclass(frozen=True)
class Oci:
    """The OCI stand-in: the address that the SDK speaks to, and the one that tests steer it by."""

    endpoint: str
    control: str


@dataclasses.dataclass(frozen=True)
class Rig:
    """One rig, as written in its `rig.json`."""

    name: str
    directory: Path
    repository: Path
    cache: Path
    kubernetes: Kubernetes
    network: Network
    oci: Oci
    kubelet_port: int
    cluster_domain: str
    root: bool

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Rig:
        """Read the rig in `directory`; RigError when none is up there."""
        path = Path(directory) / FILE_NAME
        try:
            fields = json.loads(path.read_text())
        except FileNotFoundError:
            raise RigError(f"no rig in {directory}: {path} does not exist; start one with `python -m rig up`") from None
        kubernetes = fields["kubernetes"]
        return cls(
            name=fields["name"],
            directory=Path(fields["directory"]),
            repository=Path(fields["repository"]),
            cache=Path(fields["cache"]),
            kubernetes=Kubernetes(kubernetes["url"], Path(kubernetes["kubeconfig"]), Path(kubernetes["pki"])),
            network=Network(**fields["network"]),
            oci=Oci(**fields["oci"]),
            kubelet_port=fields["kubelet_port"],
            cluster_domain=fields["cluster_domain"],
            root=fields["root"],
        )

    def save(self) -> None:
        """Write `rig.json`, whole or not at all."""
        write_whole(self.directory / FILE_NAME, json.dumps(self.as_json(), indent=2) + "\n")

    def as_json(self) -> dict[str, Any]:
        """The content of `rig.json`."""
        fields = dataclasses.asdict(self)
        return json.loads(json.dumps(fields, default=str))

    @property
    def shared_memory(self) -> Path:
        """The folder in this machine's memory that is the /dev/shm of all pods whose image asks for one (`rig/nodes/images.py`)."""
        folder = shared_memory_folder(self.name)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o1777)
        return folder

    def log(self, part: str) -> Path:
        """The file that holds the standard output and error of `part`."""
        return self.directory / "logs" / f"{part}.log"

    def ready(self, part: str) -> Path:
        """The file whose existence says that `part` is usable."""
        return self.directory / "ready" / part

    def mark_ready(self, part: str) -> None:
        """Say that `part` is usable; called by the part itself."""
        marker = self.ready(part)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()

    @property
    def binaries(self) -> Path:
        """The folder of links to the programs this rig runs (kube-apiserver, etcd, kwok, helm, kubectl ...)."""
        return self.directory / "bin"

    @property
    def charts(self) -> Path:
        """The folder of Helm charts written at `up`."""
        return self.directory / "charts"


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write `text` to `path` so that a reader sees the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(path)


def rig_directory() -> Path:
    """The folder of the rig meant: RIG_DIR, else `.rig` in the repository."""
    return Path(os.environ.get("RIG_DIR") or REPOSITORY / ".rig").resolve()


def rig_name(directory: Path) -> str:
    """Six hex digits of the folder's path: two rigs have two names, one rig always the same."""
    return hashlib.sha256(str(directory).encode()).hexdigest()[:6]


# The vLLM that `make real-vllm` installs, for the image rig/images/vllm-real.
REAL_VLLM_VERSION = "0.32.0"


def real_vllm_folder() -> Path:
    """The environment of real vLLM in the cache; `complete` in it says that it is whole."""
    return cache_directory() / f"real-vllm-{REAL_VLLM_VERSION}"


def shared_memory_folder(name: str) -> Path:
    """Where the rig of that name keeps what its pods share in memory; `down` removes it."""
    return Path("/dev/shm") / f"multinode-rig-{name}"


def cache_directory() -> Path:
    """Where what is built once is kept: RIG_CACHE, else `multinode-inference` in the user's cache folder."""
    if given := os.environ.get("RIG_CACHE"):
        return Path(given).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(base) / "multinode-inference").resolve()
