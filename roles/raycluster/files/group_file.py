# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a pod knows of its group: `group.json`, rendered from the plan, and its own place in it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GROUP_FILE = Path(__file__).with_name("group.json")
# An emptyDir: what is kept here outlives the container, and ends with the pod.
STATE_FOLDER = Path(os.environ.get("MULTINODE_STATE", "/run/multinode"))
SCHEMA = 1


@dataclass(frozen=True)
class ModelFile:
    """A file of the model. `size` in bytes, None where the source does not say; `md5` in base64, `sha256` in hex, where known."""

    name: str
    size: int | None
    md5: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Staging:
    """Which files come from where. `shards_per_stage` names the weight files of each pipeline stage, `layers_per_stage` counts its layers.

    source: par or bucket (the URL is in `url_file`, the names follow `prefix`), hugging_face (`repository` at `commit`, the token in
    `token_file` where one is needed), or folder (they lie in `root` already).
    """

    source: str
    url_file: Path
    token_file: Path
    prefix: str
    endpoint: str
    repository: str
    commit: str
    root: Path
    files: tuple[ModelFile, ...]
    by_stage: bool
    shards_per_stage: tuple[frozenset[str], ...]
    layers_per_stage: tuple[int, ...]
    streams: int


@dataclass(frozen=True)
class Group:
    """The group of pods that is one engine: `tensor` GPUs in each of `pipeline` pods."""

    deployment: str
    tensor: int
    pipeline: int
    model_path: str
    served_names: tuple[str, ...]
    engine_arguments: tuple[str, ...]
    # Options with their values that not every supported vLLM has; those that the image's has not are left out.
    optional_arguments: tuple[tuple[str, ...], ...]
    engine_port: int
    engine_tls: bool
    ports: dict[str, int]
    restart_limit: int
    restart_window_seconds: float
    # The image's line of the plan's table (ray, vllm, python, cuda, least_driver, least_compute_capability); ray alone: not known.
    image: dict[str, Any]
    staging: Staging


def load(path: Path = GROUP_FILE) -> Group:
    """Read group.json; ValueError with the reason where it is not what these programs understand."""
    document = json.loads(path.read_text())
    if document.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema {document.get('schema')!r}, but these programs read schema {SCHEMA}")
    try:
        return Group(
            deployment=document["deployment"],
            tensor=int(document["tensor"]),
            pipeline=int(document["pipeline"]),
            model_path=document["model"]["path"],
            served_names=tuple(document["model"]["served_names"]),
            engine_arguments=tuple(document["engine"]["args"]),
            optional_arguments=tuple(tuple(words) for words in document["engine"]["optional"]),
            engine_port=int(document["engine"]["port"]),
            engine_tls=bool(document["engine"]["tls"]),
            ports={name: int(port) for name, port in document["ports"].items()},
            restart_limit=int(document["restart"]["limit"]),
            restart_window_seconds=60.0 * document["restart"]["window_minutes"],
            image=dict(document["image"]),
            staging=_staging(document["staging"]),
        )
    except KeyError as missing:
        raise ValueError(f"{path}: the field {missing} is missing") from None


def _staging(document: dict[str, Any]) -> Staging:
    files = tuple(
        ModelFile(entry["name"], entry["size"], entry.get("md5"), entry.get("sha256")) for entry in document["files"]
    )
    for file in files:
        if not inside(file.name):
            raise ValueError(f"the model file name {file.name!r} would lie outside the model's folder")
    return Staging(
        source=document["source"],
        url_file=Path(document["url_file"]),
        token_file=Path(document["url_file"]).with_name("token"),
        prefix=document["prefix"],
        endpoint=document.get("endpoint", ""),
        repository=document.get("repository", ""),
        commit=document.get("commit", ""),
        root=Path(document["root"]),
        files=files,
        by_stage=bool(document["by_stage"]),
        shards_per_stage=tuple(frozenset(names) for names in document["shards_per_stage"]),
        layers_per_stage=tuple(document["layers_per_stage"]),
        streams=int(document["streams"]),
    )


def worker_stage(pipeline: int) -> int | None:
    """Return the pipeline stage of this worker pod: its replica index + 1, for the head is stage 0.

    A pod that is made while its forerunner still terminates has an index beyond those of the group: pods that are replaced together keep
    their order then. None where KubeRay gave the pod no index (label ray.io/worker-group-replica-index, KubeRay 1.6 and later).
    """
    index = os.environ.get("MULTINODE_REPLICA_INDEX", "")
    return int(index) % max(pipeline - 1, 1) + 1 if index.isdecimal() else None


def inside(name: str) -> bool:
    """Say whether a file's name stays below the folder it is taken from."""
    return bool(name) and not name.startswith("/") and ".." not in name.split("/")


def write_whole(path: Path, text: str) -> None:
    """Write a file in a folder that may not be there yet; whoever reads it finds the former text or this one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    os.replace(new, path)
