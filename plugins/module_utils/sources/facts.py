# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the plan needs to know of a model, read from its files: configuration, index, names and sizes.

Kilobytes are read (some megabytes where the index is large), never weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.catalog.load_formats import endings_of, is_read
from ..core.fault import Fault, Refused
from ..core.text import read_json
from .selection import Selection, index_name, is_foreign, is_weight, leave_out_unindexed, select
from .source import ModelFile, Source

CONFIG, QUANTIZATION = "config.json", "hf_quant_config.json"
# Sizes of a pointer of git's large file storage: three lines, one of them a SHA-256.
LEAST_POINTER, POINTER_BYTES = 110, 1024
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
    if CONFIG not in names:
        raise Refused([_no_config(place, selection, {file.name for file in listed})])
    config = _json_object(source, CONFIG, CONFIG_BYTES, place)
    index = _index(source, names, load_format, place)
    faults = []
    if index:
        shards = set(index["weight_map"].values())
        selection = leave_out_unindexed(selection, shards)
        faults += _missing_shards(shards - names, shards, index["file"], place, selection)
    weights = [file for file in selection.files if is_weight(file.name) and is_read(file.name, load_format)]
    if not weights and not faults and load_format != "dummy":
        faults.append(_no_weights(place, [file.name for file in listed], load_format))
    empty = [file.name for file in weights if file.size == 0]
    if empty:
        faults.append(Fault("weights_empty", place, f"empty: {_some(empty)}", "files with weights", "copy them again"))
    faults += _pointers(source, weights, place)
    if faults:
        raise Refused(faults)
    return {
        "config": config,
        "index": index,
        "hf_quant_config": _quantization(source, config, names, place),
        "tokenizer": [file.name for file in selection.files if file.name in TOKENIZER_FILES],
        "files": [file.as_dict() for file in selection.files],
        "bytes": sum(file.size for file in selection.files),
        "left_out": sorted(selection.left_out, key=lambda item: item["name"]),
        "source": source.describe(),
        "prefix": source.prefix,
    }


def _quantization(source: Source, config: dict[str, Any], names: set[str], place: str) -> dict[str, Any]:
    """Return ModelOpt's own file where config.json says nothing of a quantization, as vLLM does; else {}."""
    if config.get("quantization_config") is not None or QUANTIZATION not in names:
        return {}
    return _json_object(source, QUANTIZATION, CONFIG_BYTES, place)


def _no_weights(place: str, listed: Sequence[str], load_format: str) -> Fault:
    foreign = sorted(name for name in listed if is_foreign(name))
    others = sorted(name for name in listed if is_weight(name) and not is_foreign(name))
    found = "no file with weights that vLLM reads" + (
        f" with load format {load_format}" if load_format != "auto" else ""
    )
    if foreign or others:
        found += f", but {_some([*others, *foreign])}"
    wanted = " or ".join(f"*{ending}" for ending in endings_of(load_format))
    remedy = "take the model in that form" if foreign or others else "copy the model again, whole"
    return Fault("weights_missing", place, found, wanted, remedy)


def _pointers(source: Source, weights: Sequence[ModelFile], place: str) -> list[Fault]:
    """Find files that only point to the weights: what git leaves where large file storage is not installed."""
    small = [file for file in weights if LEAST_POINTER <= file.size <= POINTER_BYTES]
    # One tells of all; reading each of hundreds would take long.
    if not small or not source.read(small[0].name, POINTER_BYTES).startswith(b"version https://git-lfs"):
        return []
    return [
        Fault(
            "weights_are_pointers",
            place,
            f"{len(small)} files of at most {max(file.size for file in small)} bytes that point to weights: "
            f"{_some([file.name for file in small])}",
            "the weights themselves",
            "install git-lfs and run git lfs pull, or copy the model again",
        )
    ]


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


def _no_config(place: str, selection: Selection, listed: set[str]) -> Fault:
    reasons = {item["name"]: item["why"] for item in selection.left_out}
    if CONFIG in reasons:
        return Fault("config_missing", place, f"{CONFIG} is left out: {reasons[CONFIG]}", CONFIG)
    if "params.json" in listed:
        return Fault(
            "mistral_layout",
            place,
            f"params.json and no {CONFIG}: the publisher's own form of Mistral models",
            f"a {CONFIG}, from which layers and cache are planned",
            "take a repository that has the model in the form of Transformers, too",
        )
    folders = sorted(name.rpartition("/")[0] for name in listed if name.endswith(f"/{CONFIG}") and name.count("/") < 4)
    found = f"no {CONFIG} among {len(listed)} files" + (f"; there is one in {_some(folders)}" if folders else "")
    return Fault("config_missing", place, found, f"the model's {CONFIG}", "check the model path")


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
