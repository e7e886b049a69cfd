# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the plan takes from the further arguments of vLLM that the recipe gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..catalog.vllm.release import Release, release
from ..fault import Findings
from ..model.facts import CACHE_TYPES
from ..recipe.values import shown
from ..recipe.vllm_arguments import PLACE, Arguments, size
from ..sizing.options import MemoryOptions
from .vllm.variables import Variables

# Every rank reads all files together with the others, or a layout of its own (vLLM, model_loader): no shard may be away.
_WHOLE_SET_FORMATS = ("fastsafetensors", "instanttensor", "sharded_state", "runai_streamer_sharded", "tensorizer")


@dataclass(frozen=True)
class EngineArguments:
    """The further arguments, and what follows from them. Where nothing is given: vLLM's default, None or empty.

    given              as the image's vLLM reads them
    memory             what the sizes are computed with
    whole_set          why every node has to hold every file; "" where it need not
    hf_overrides       --hf-overrides: what vLLM puts in the place of fields of config.json
    has_tokenizer      the tokenizer is not among the model's files, or none is needed
    speculative        --speculative-config; empty without speculation
    """

    given: Arguments = field(default_factory=lambda: Arguments((), release(None)))
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    whole_set: str = ""
    hf_overrides: Mapping[str, Any] = field(default_factory=dict)
    has_tokenizer: bool = False
    load_format: str = "auto"
    config_format: str = "auto"
    speculative: Mapping[str, Any] = field(default_factory=dict)


class _Reader:
    """Reads single values; one that vLLM would refuse is a fault."""

    def __init__(self, arguments: Arguments, findings: Findings) -> None:
        self.arguments = arguments
        self._findings = findings

    def number(
        self, name: str, kind: Callable[[str], float], least: float = 1, most: float = float("inf")
    ) -> float | None:
        text = self.arguments.text(name)
        if text is None:
            return None
        try:
            value = kind(text)
        except ValueError:
            # The parser's own complaint is enough.
            return None
        if least <= value <= most:
            return value
        expected = f"a number of at least {least:g}" if least >= 1 or not least else "a number above 0"
        expected += f", at most {most:g}" if most < float("inf") else ""
        self._findings.fault("argument", f"{PLACE} {name}", repr(text), expected, "correct it")
        return None

    def whole(self, name: str) -> int | None:
        value = self.number(name, size)
        return None if value is None else int(value)


def read_arguments(
    recipe: Mapping[str, Any],
    settings: Mapping[str, Any],
    findings: Findings,
    known: Release | None = None,
    variables: Variables | None = None,
) -> EngineArguments:
    """Return what the arguments mean for memory, types and files; a value that vLLM would refuse is a fault.

    known  the vLLM that reads them; variables  what its environment says
    """
    arguments = Arguments(recipe["recipe_container_command_args"] or (), known or release(None))
    read, variables = _Reader(arguments, findings), variables or Variables()
    overhead, memory = settings["gpu_overhead_mib"], settings["gpu_memory_mib"]
    defaults = MemoryOptions()
    utilization = read.number("--gpu-memory-utilization", float, 1e-9, 1)
    block = read.whole("--block-size")
    load_format = arguments.text("--load-format") or "auto"
    tokenizer = arguments.text("--tokenizer")
    if tokenizer and not tokenizer.startswith("/"):
        findings.fault(
            "argument",
            f"{PLACE} --tokenizer",
            shown(tokenizer),
            "an absolute path in the pods, which download nothing",
            "leave it out for the model's own, or mount a folder that has it",
        )
    cache_type = arguments.text("--kv-cache-dtype") or defaults.kv_cache_dtype
    if cache_type not in CACHE_TYPES:
        findings.warn(
            "argument_not_reckoned",
            PLACE,
            f"--kv-cache-dtype {shown(cache_type)}: the plan counts 16 bits a value; the cache holds more tokens than it says",
        )
    tower = arguments.text("--mm-encoder-tp-mode") == "data" or arguments.has(
        "--enable-multimodal-encoder-data-parallel"
    )
    return EngineArguments(
        given=arguments,
        memory=MemoryOptions(
            gpu_memory_utilization=defaults.gpu_memory_utilization if utilization is None else utilization,
            dtype=arguments.text("--dtype") or defaults.dtype,
            kv_cache_dtype=cache_type,
            max_model_len=recipe["recipe_max_model_length"],
            allow_long=variables.allow_long,
            block_size=defaults.block_size if block is None else block,
            max_num_batched_tokens=read.whole("--max-num-batched-tokens"),
            max_num_seqs=read.whole("--max-num-seqs"),
            kv_cache_bytes=read.whole("--kv-cache-memory-bytes"),
            cpu_offload_gib=read.number("--cpu-offload-gb", float, 0) or 0.0,
            expert_parallel=bool(arguments.switch("--enable-expert-parallel")),
            encoder_whole=tower,
            eager=bool(arguments.switch("--enforce-eager")),
            overhead_gib=None if overhead is None else overhead / 1024,
            gpu_memory_gib=None if memory is None else memory / 1024,
            layers=variables.layers,
        ),
        whole_set=f"the load format {load_format} reads all files on every node"
        if load_format in _WHOLE_SET_FORMATS
        else "",
        hf_overrides=_overrides(arguments, findings),
        has_tokenizer=arguments.has("--tokenizer") or bool(arguments.switch("--skip-tokenizer-init")),
        load_format=load_format,
        config_format=arguments.text("--config-format") or "auto",
        speculative=speculative_config(arguments),
    )


def _overrides(arguments: Arguments, findings: Findings) -> dict[str, Any]:
    """--hf-overrides as a mapping; its text is read as JSON by vLLM too, where it looks like some."""
    found = arguments.mapping("--hf-overrides")
    if arguments.text("--hf-overrides") and not found:
        findings.fault("argument", f"{PLACE} --hf-overrides", "text that is not JSON", "a JSON object", "correct it")
    return found


def speculative_config(arguments: Arguments) -> dict[str, Any]:
    """The configuration of speculation; the three short options fill it (vllm/engine/arg_utils.py)."""
    config = arguments.mapping("--speculative-config")
    for option, key in (("--spec-method", "method"), ("--spec-model", "model")):
        if text := arguments.text(option):
            config.setdefault(key, text)
    tokens = arguments.text("--spec-tokens")
    if tokens and tokens.isdigit():
        config.setdefault("num_speculative_tokens", int(tokens))
    return config
