# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files that the nodes stage: what the pods' own loader, the file system or Kubernetes would refuse is refused here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..fault import Findings
from ..recipe.values import shown

# Where staging keeps its records in the model's folder (roles/raycluster/files/stage_model.py).
_RECORDS = ".multinode"
# A file on its way is kept under its whole name, with / as %2F, and this behind it (stage_partial.py).
_LONGEST_SUFFIX = ".journal"
# Linux, NAME_MAX.
_LONGEST_NAME = 255
_LARGEST = 2**63 - 1
# Kubernetes, validation of ConfigMaps: the data of one has at most 1 MiB. The programs are in it, too.
CONFIG_MAP_BYTES = 2**20
ROOM_FOR_PROGRAMS = 320 * 1024
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_NAMED = 3


def check_files(staging: Mapping[str, Any], arguments: Sequence[str], findings: Findings) -> None:
    """Check the plan's `staging` and, with vLLM's `arguments`, whether the pods' document of both fits into its ConfigMap."""
    problems: dict[str, list[str]] = {}
    for name, problem in _problems(staging["files"]):
        problems.setdefault(problem, []).append(shown(name))
    for problem, names in problems.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        findings.fault(
            "file_name",
            "the model's files",
            f"{', '.join(names[:_NAMED])}{more}: {problem}",
            "names and sizes that a folder can have",
            "rename them at the source, or leave them out with exclude",
        )
    size = len(json.dumps({"staging": staging, "engine": list(arguments)}, indent=1))
    if size > CONFIG_MAP_BYTES - ROOM_FOR_PROGRAMS:
        findings.fault(
            "too_many_files",
            "the model's files",
            f"{len(staging['files'])} files, whose list and vLLM's arguments take {size} bytes",
            f"at most {CONFIG_MAP_BYTES - ROOM_FOR_PROGRAMS}, for which a ConfigMap has room",
            "leave files out with exclude, or give model_path_in_container the model's own folder",
        )
    _warn_of_pickles([entry["name"] for entry in staging["files"]], findings)


def _problems(files: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the name of each file that cannot be staged, and why."""
    names = {entry["name"] for entry in files}
    seen: set[str] = set()
    for entry in files:
        name, size = entry["name"], entry.get("size")
        parts = name.split("/")
        kept_as = name.replace("/", "%2F")
        if problem := _name_problem(name, parts):
            yield name, problem
        elif kept_as in seen:
            yield name, "two files would be one"
        elif any("/".join(parts[:depth]) in names for depth in range(1, len(parts))):
            yield name, "it lies in a folder that is a file, too"
        elif size is not None and (isinstance(size, bool) or not 0 <= size <= _LARGEST):
            yield name, "its size cannot be"
        seen.add(kept_as)


def _name_problem(name: str, parts: Sequence[str]) -> str:
    if any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 or character == "\x7f" for character in name):
        return "control characters in the name"
    if "" in parts or "." in parts or ".." in parts:
        return "a part of the name is empty or leads elsewhere"
    if parts[0] == _RECORDS:
        return f"{_RECORDS} is the folder of staging's own records"
    if len(name.replace("/", "%2F").encode()) + len(_LONGEST_SUFFIX) > _LONGEST_NAME:
        return f"the name takes more than {_LONGEST_NAME - len(_LONGEST_SUFFIX)} bytes, / counted as three"
    return ""


def _warn_of_pickles(names: Sequence[str], findings: Findings) -> None:
    """vLLM reads pickles only where there are no safetensors."""
    pickles = [name for name in names if name.endswith(_PICKLES) and "/" not in name and name != "training_args.bin"]
    if pickles and not any(name.endswith((".safetensors", ".gguf")) for name in names):
        findings.warn(
            "pickle_weights",
            "the model's files",
            f"{shown(pickles[0])} and other weights are pickles, which are programs: only PyTorch's own check keeps them from "
            "running any code in the pods",
            "safetensors",
            "convert them, or use a model that has safetensors, unless you trust who made it",
        )
