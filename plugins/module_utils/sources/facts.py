# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the plan needs to know of a model, read from its files: configuration, index, names and sizes.

Kilobytes are read (some megabytes where the index is large), never weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.fault import Fault, Refused
from ..core.text import read_json
from .selection import Selection, index_name, is_weight, leave_out_unindexed, select
from .source import Source

CONFIG_BYTES = 8 * 1024 * 1024
# The index of a mixture of experts with 90,000 tensors has 9 MB.
INDEX_BYTES = 64 * 1024 * 1024
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer.model.v3",
    "tekken.json",
    "tiktoken.model",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)


def model_facts(
    source: Source, include: Sequence[str] = (), exclude: Sequence[str] = (), load_format: str = "auto"
) -> dict[str, Any]:
    """Return the facts of the model at `source`, or refuse with everything that is missing."""
    place = source.describe()["place"]
    listed = source.files()
    if not any(not file.name.endswith("/") and file.name for file in listed):
        raise Refused([_nothing_there(source, place)])
    selection = select(listed, source.prefix, include, exclude, load_format)
    names = {file.name for file in selection.files}
    config_name = "params.json" if load_format == "mistral" and "config.json" not in names else "config.json"
    if config_name not in names:
        raise Refused([_no_config(place, selection, {file.name for file in listed}, config_name)])
    config = _json_object(source, config_name, CONFIG_BYTES, place)
    index = _index(source, names, load_format, place)
    faults = []
    if index:
        shards = set(index["weight_map"].values())
        selection = leave_out_unindexed(selection, shards)
        faults += _missing_shards(shards - names, shards, index["file"], place, selection)
    if not any(is_weight(file.name) for file in selection.files) and not faults:
        faults.append(
            Fault("weights_missing", place, "no file with weights", "safetensors", "copy the model again, whole")
        )
    empty = [file.name for file in selection.files if is_weight(file.name) and file.size == 0]
    if empty:
        faults.append(Fault("weights_empty", place, f"empty: {_some(empty)}", "files with weights", "copy them again"))
    if faults:
        raise Refused(faults)
    return {
        "config": config,
        "config_file": config_name,
        "index": index,
        "tokenizer": [file.name for file in selection.files if file.name in TOKENIZER_FILES],
        "files": [file.as_dict() for file in selection.files],
        "bytes": sum(file.size for file in selection.files),
        "left_out": sorted(selection.left_out, key=lambda item: item["name"]),
        "source": source.describe(),
        "prefix": source.prefix,
    }


def _index(source: Source, names: set[str], load_format: str, place: str) -> dict[str, Any]:
    """Return {file, weight_map, metadata, total_size} of the weights' index, {} when the model has none."""
    name = index_name(names, load_format)
    if not name:
        return {}
    content = _json_object(source, name, INDEX_BYTES, place)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(map(_is_text, weight_map.values())):
        raise Refused(
            [
                Fault(
                    "index_malformed", place + name, "no usable weight_map", "tensor names and the files that hold them"
                )
            ]
        )
    metadata = content.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    return {"file": name, "weight_map": weight_map, "metadata": metadata, "total_size": _bytes(metadata)}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _bytes(metadata: dict[str, Any]) -> int | None:
    total = metadata.get("total_size")
    return int(total) if isinstance(total, (int, float)) and 0 < total < 2**63 else None


def _json_object(source: Source, name: str, limit: int, place: str) -> dict[str, Any]:
    content = source.read(name, limit)
    try:
        value = read_json(content)
    except ValueError as error:
        hint = ", a pointer of large file storage" if content.startswith(b"version https://git-lfs") else ""
        raise Refused(
            [Fault("file_malformed", place + name, f"not JSON{hint}: {error}", "a JSON object", "copy the file again")]
        ) from error
    if not isinstance(value, dict):
        raise Refused([Fault("file_malformed", place + name, type(value).__name__, "a JSON object")])
    return value


def _missing_shards(missing: set[str], shards: set[str], index: str, place: str, selection: Selection) -> list[Fault]:
    if not missing:
        return []
    reasons = {item["name"]: item["why"] for item in selection.left_out}
    left_out = sorted({reasons[name] for name in missing if name in reasons})
    why = f" (left out: {', '.join(left_out)})" if left_out else ""
    return [
        Fault(
            "shards_missing",
            place,
            f"{len(missing)} of the {len(shards)} files named by {index} are not there{why}: {_some(sorted(missing))}",
            "every file that the index names",
            "copy the model again, whole; check include and exclude",
        )
    ]


def _nothing_there(source: Source, place: str) -> Fault:
    models = sorted(
        name.rpartition("/")[0] for name in source.nearby() if name.rpartition("/")[2] == "config.json" and "/" in name
    )
    found = "no object there" + (f"; models are at {_some(models)}" if models else "")
    return Fault("model_missing", place, found, "a model's files", "check the model path and include")


def _no_config(place: str, selection: Selection, listed: set[str], config_name: str) -> Fault:
    reasons = {item["name"]: item["why"] for item in selection.left_out}
    if config_name in reasons:
        return Fault("config_missing", place, f"{config_name} is left out: {reasons[config_name]}", config_name)
    folders = sorted(
        name.rpartition("/")[0] for name in listed if name.endswith(f"/{config_name}") and name.count("/") < 4
    )
    found = f"no {config_name} among {len(listed)} files" + (f"; there is one in {_some(folders)}" if folders else "")
    return Fault("config_missing", place, found, f"the model's {config_name}", "check the model path")


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
