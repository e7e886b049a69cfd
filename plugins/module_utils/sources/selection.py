# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which of a model's files vLLM reads: what else lies beside them is not staged, and is said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ..core.catalog.load_formats import OTHER_WEIGHTS, SAFETENSORS, endings_of
from .source import ModelFile

# Weights of other frameworks and programs, never read from a model's folder. vLLM reads no GGUF since 0.24.
FOREIGN_WEIGHTS = (
    ".h5",
    ".msgpack",
    ".onnx",
    ".onnx_data",
    ".ot",
    ".tflite",
    ".mlmodel",
    ".ckpt",
    ".gguf",
    ".ggml",
    ".nemo",
    ".llamafile",
    ".keras",
)
# Folders and files that a download or a clone leaves behind.
_LEFTOVER_FOLDERS = (".cache", ".git", ".huggingface", ".locks", "._____temp")
_LEFTOVER_ENDINGS = (".incomplete", ".lock", ".part", ".aria2", ".tmp")
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
    top = [file.name for file in wanted if "/" not in file.name and is_weight(file.name)]
    consolidated = load_format == "mistral" or (bool(top) and all(name.startswith("consolidated") for name in top))
    usable = [name for name in top if name.startswith("consolidated") == consolidated and not _is_adapter(name)]
    ending = next((ending for ending in endings_of(load_format) if any(name.endswith(ending) for name in usable)), "")
    for file in wanted:
        why = _unserved(file.name, consolidated, ending)
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
    order = (CONSOLIDATED_INDEX,) if load_format == "mistral" else (*INDEXES, CONSOLIDATED_INDEX)
    return next((name for name in order if name in names), "")


def is_weight(name: str) -> bool:
    """Tell whether a file holds weights that vLLM can read, by its name."""
    endings = (SAFETENSORS, *OTHER_WEIGHTS, ".tensors")
    return name.endswith(endings) and not name.endswith(
        ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt")
    )


def _is_adapter(name: str) -> bool:
    return name.startswith("adapter_model")


def is_foreign(name: str) -> bool:
    """Tell whether a file holds weights that vLLM never reads from a model's folder."""
    return name.endswith((*FOREIGN_WEIGHTS, ".pth")) or name.startswith("original/") or _is_adapter(name)


def _unwanted(file: ModelFile, prefix: str, include: Sequence[str], exclude: Sequence[str]) -> str:
    if not file.name or file.name.endswith("/"):
        return "an empty object that marks a folder"
    if file.name.endswith(_LEFTOVER_ENDINGS) or any(
        part.startswith(_LEFTOVER_FOLDERS) for part in file.name.split("/")[:-1]
    ):
        return "left behind by a download"
    if include and not any(matches(pattern, prefix, file.name) for pattern in include):
        return "not in include"
    if any(matches(pattern, prefix, file.name) for pattern in exclude):
        return "in exclude"
    return ""


def _unserved(name: str, consolidated: bool, ending: str) -> str:
    """Why vLLM does not read a file. ending: of the weights that it reads; "" where there are none."""
    base = name.rpartition("/")[2]
    if name.startswith("original/"):
        return "the publisher's original format"
    if base.startswith("consolidated") and not consolidated and (is_weight(base) or base.endswith(".json")):
        return "the same weights once more, for load_format mistral"
    others = is_weight(base) or base in INDEXES
    if not base.startswith("consolidated") and consolidated and others and ending == SAFETENSORS:
        return "the same weights once more; the consolidated files are loaded"
    if base.endswith(FOREIGN_WEIGHTS):
        return "weights of another framework"
    if base.endswith(".pth"):
        return "a PyTorch pickle of another layout"
    if _is_adapter(base) and is_weight(base):
        return "an adapter, which needs a model beside it"
    if is_weight(base) and "/" in name:
        return "vLLM loads no weights from a folder below"
    if is_weight(base) and ending and not base.endswith(ending):
        return "safetensors are there" if ending == SAFETENSORS else f"weights ending with {ending} are read"
    if base == "pytorch_model.bin.index.json" and ending and ending != ".bin":
        return "safetensors are there" if ending == SAFETENSORS else f"weights ending with {ending} are read"
    return ""
