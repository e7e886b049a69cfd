# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the plan takes from the further arguments of vLLM that the recipe gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..fault import Findings
from ..recipe.vllm_arguments import PLACE, options
from ..sizing.memory import MemoryOptions

# Every rank reads all files together with the others, or a layout of its own (vLLM, model_loader): no shard may be away.
_WHOLE_SET_FORMATS = ("fastsafetensors", "instanttensor", "sharded_state", "runai_streamer_sharded", "tensorizer")


@dataclass(frozen=True)
class EngineArguments:
    """The further arguments, and what follows from them.

    whole_set  why every node has to hold every file; "" where it has not
    """

    arguments: tuple[str, ...] = ()
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    dtype: str = "auto"
    whole_set: str = ""


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
    defaults = MemoryOptions()
    load_format = values.get("--load-format", "auto")
    return EngineArguments(
        tuple(given),
        MemoryOptions(
            gpu_memory_utilization=defaults.gpu_memory_utilization if utilization is None else utilization,
            kv_cache_dtype=values.get("--kv-cache-dtype") or defaults.kv_cache_dtype,
            max_model_len=recipe["recipe_max_model_length"],
            block_size=defaults.block_size if block is None else int(block),
            max_num_batched_tokens=None if batched is None else int(batched),
            overhead_gib=None if overhead is None else overhead / 1024,
            gpu_memory_gib=None if memory is None else memory / 1024,
        ),
        values.get("--dtype") or "auto",
        f"the load format {load_format} reads all files on every node" if load_format in _WHOLE_SET_FORMATS else "",
    )
