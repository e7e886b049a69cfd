# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the plan takes from the further arguments of vLLM that the recipe gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..fault import Findings
from ..recipe.vllm_arguments import PLACE, options
from ..sizing.options import MemoryOptions

# Every rank reads all files together with the others, or a layout of its own (vLLM, model_loader): no shard may be away.
_WHOLE_SET_FORMATS = ("fastsafetensors", "instanttensor", "sharded_state", "runai_streamer_sharded", "tensorizer")
_OVERRIDES = "--hf-overrides"


@dataclass(frozen=True)
class EngineArguments:
    """The further arguments, and what follows from them.

    whole_set      why every node has to hold every file; "" where it need not
    hf_overrides   --hf-overrides: what vLLM puts in the place of fields of config.json
    has_tokenizer  the tokenizer is not among the model's files, or none is needed
    """

    arguments: tuple[str, ...] = ()
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    whole_set: str = ""
    hf_overrides: Mapping[str, Any] = field(default_factory=dict)
    has_tokenizer: bool = False


def read_arguments(recipe: Mapping[str, Any], settings: Mapping[str, Any], findings: Findings) -> EngineArguments:
    """Return what the arguments mean for memory, types and files; a value that vLLM would refuse is a fault."""
    given: Sequence[str] = recipe["recipe_container_command_args"] or []
    overhead, memory = settings["gpu_overhead_mib"], settings["gpu_memory_mib"]
    values = {option.name: option.value for option in options(given)}

    def number(name: str, kind: type[int] | type[float], most: float = float("inf")) -> int | float | None:
        text = values.get(name)
        if text is None:
            return None
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not 0 < value <= most:
            expected = "a number above 0" + (f", at most {most:g}" if most < float("inf") else "")
            findings.fault("argument", f"{PLACE} {name}", repr(text), expected, "correct it")
            return None
        return value

    utilization = number("--gpu-memory-utilization", float, 1)
    batched, block = number("--max-num-batched-tokens", int), number("--block-size", int)
    requests, cache_bytes = number("--max-num-seqs", int), number("--kv-cache-memory-bytes", int)
    offloaded = number("--cpu-offload-gb", float)
    defaults = MemoryOptions()
    load_format = values.get("--load-format", "auto")
    return EngineArguments(
        tuple(given),
        MemoryOptions(
            gpu_memory_utilization=defaults.gpu_memory_utilization if utilization is None else utilization,
            dtype=values.get("--dtype") or defaults.dtype,
            kv_cache_dtype=values.get("--kv-cache-dtype") or defaults.kv_cache_dtype,
            max_model_len=recipe["recipe_max_model_length"],
            allow_long=_variable(recipe, "VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1",
            block_size=defaults.block_size if block is None else int(block),
            max_num_batched_tokens=None if batched is None else int(batched),
            max_num_seqs=None if requests is None else int(requests),
            kv_cache_bytes=None if cache_bytes is None else int(cache_bytes),
            cpu_offload_gib=offloaded or 0.0,
            expert_parallel="--enable-expert-parallel" in values,
            encoder_whole=values.get("--mm-encoder-tp-mode") == "data",
            eager="--enforce-eager" in values,
            overhead_gib=None if overhead is None else overhead / 1024,
            gpu_memory_gib=None if memory is None else memory / 1024,
        ),
        f"the load format {load_format} reads all files on every node" if load_format in _WHOLE_SET_FORMATS else "",
        _overrides(given, findings),
        bool({"--tokenizer", "--skip-tokenizer-init"} & values.keys()),
    )


def _variable(recipe: Mapping[str, Any], name: str) -> str:
    return next((str(entry.get("value")) for entry in recipe["recipe_container_env"] or () if entry["key"] == name), "")


def _overrides(given: Sequence[str], findings: Findings) -> dict[str, Any]:
    """Return --hf-overrides: one JSON object, or field by field (--hf-overrides.text_config.rope_theta 1)."""
    found: dict[str, Any] = {}
    for option in options(given):
        name, _dot, path = option.name.partition(".")
        if name != _OVERRIDES:
            continue
        try:
            value = json.loads(option.value)
        except ValueError:
            value = option.value if path else None
        if path:
            where = found
            *parents, last = path.split(".")
            for parent in parents:
                where = where.setdefault(parent.replace("-", "_"), {})
            where[last.replace("-", "_")] = value
        elif isinstance(value, dict):
            found.update(value)
        else:
            findings.fault("argument", f"{PLACE} {_OVERRIDES}", repr(option.value)[:60], "a JSON object", "correct it")
    return found
