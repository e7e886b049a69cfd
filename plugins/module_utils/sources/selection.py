# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which of a model's files vLLM reads: what else lies beside them is not staged, and is said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from .source import ModelFile

SAFETENSORS = ".safetensors"
# Weights of other formats, read only where there are no safetensors (vLLM, default loader).
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".gguf")
# Weights of other frameworks, never read.
FOREIGN_WEIGHTS = (".h5", ".msgpack", ".onnx", ".onnx_data", ".ot", ".tflite", ".mlmodel", ".ckpt")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
CONSOLIDATED_INDEX = "consolidated.safetensors.index.json"


@dataclass
class Selection:
    """The files to stage, and those left out with the reason."""

    files: list[ModelFile] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)


def matches(pattern: str, prefix: str, name: str) -> bool:
    """Tell whether a pattern of include or exclude means a file.

    A pattern is a file, a folder, or a shell pattern; it may be given from the top of the bucket or of the model.
    """
    pattern = pattern.strip().lstrip("/")
    folder = pattern.rstrip("/") + "/"
    return any(
        path == pattern or path.startswith(folder) or fnmatchcase(path, pattern)
        for path in (prefix + name, name, name.rpartition("/")[2])
    )


def select(
    files: Iterable[ModelFile],
    prefix: str = "",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    load_format: str = "auto",
) -> Selection:
    """Return the files that serving needs. `load_format` is vLLM's; `mistral` reads consolidated* files."""
    selection = Selection()
    wanted = []
    for file in sorted(files, key=lambda file: file.name):
        why = _unwanted(file, prefix, include, exclude)
        if why:
            selection.left_out.append({"name": file.name, "why": why})
        else:
            wanted.append(file)
    top_weights = [file.name for file in wanted if is_weight(file.name) and "/" not in file.name]
    consolidated = load_format == "mistral" or (
        bool(top_weights) and all(name.startswith("consolidated") for name in top_weights)
    )
    has_safetensors = any(
        name.endswith(SAFETENSORS) and name.startswith("consolidated") == consolidated for name in top_weights
    )
    for file in wanted:
        why = _unserved(file.name, consolidated, has_safetensors)
        if why:
            selection.left_out.append({"name": file.name, "why": why})
        else:
            selection.files.append(file)
    return selection


def leave_out_unindexed(selection: Selection, shards: set[str]) -> Selection:
    """Leave out the safetensors that the index does not name: vLLM does not load them."""
    kept = Selection(left_out=list(selection.left_out))
    for file in selection.files:
        if file.name.endswith(SAFETENSORS) and file.name not in shards:
            kept.left_out.append({"name": file.name, "why": "the index does not name it"})
        else:
            kept.files.append(file)
    return kept


def index_name(names: set[str], load_format: str = "auto") -> str:
    """Return the name of the weights' index among `names`, "" when there is none."""
    order = (CONSOLIDATED_INDEX, *INDEXES) if load_format == "mistral" else (*INDEXES, CONSOLIDATED_INDEX)
    return next((name for name in order if name in names), "")


def is_weight(name: str) -> bool:
    """Tell whether a file holds weights that vLLM can read, by its name."""
    return name.endswith((SAFETENSORS, *OTHER_WEIGHTS)) and not name.endswith(("training_args.bin", "optimizer.bin"))


def _unwanted(file: ModelFile, prefix: str, include: Sequence[str], exclude: Sequence[str]) -> str:
    if not file.name or file.name.endswith("/"):
        return "an empty object that marks a folder"
    if include and not any(matches(pattern, prefix, file.name) for pattern in include):
        return "not in include"
    if any(matches(pattern, prefix, file.name) for pattern in exclude):
        return "in exclude"
    return ""


def _unserved(name: str, consolidated: bool, has_safetensors: bool) -> str:
    base = name.rpartition("/")[2]
    if name.startswith("original/"):
        return "the publisher's original format"
    if base.startswith("consolidated") and not consolidated and (is_weight(base) or base.endswith(".json")):
        return "the same weights once more, for load_format mistral"
    if not base.startswith("consolidated") and consolidated and is_weight(base) and has_safetensors:
        return "the same weights once more; the consolidated files are loaded"
    if base.endswith(FOREIGN_WEIGHTS):
        return "weights of another framework"
    if base.endswith(".pth"):
        return "a PyTorch pickle of another layout"
    if base.endswith(OTHER_WEIGHTS) and has_safetensors:
        return "safetensors are there"
    if is_weight(base) and "/" in name:
        return "vLLM loads no weights from a folder below"
    if base == "pytorch_model.bin.index.json" and has_safetensors:
        return "safetensors are there"
    return ""
