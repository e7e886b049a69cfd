# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask vLLM what a plan wants to know: `python stage_models.py SECONDS QUESTIONS MODEL ARGUMENTS`.

A program, run with the Python of an environment that has vLLM; nothing of the collection is imported. QUESTIONS is the folder of
engine_question.py, whose question this is; MODEL a folder with config.json that may be changed; ARGUMENTS those of `vllm serve`.
Standard output is the answer of engine_question.py as one JSON object, and where vLLM accepts:

    "stages"     for each stage {"weights_bytes", "caches"}, as one GPU of it holds them; the model is built on the meta device,
                 which keeps no weights. A cache is {"layer", "kind", "window", "bytes_per_token", "value_bytes", "state_bytes"}
    "not_built"  why there are no stages: {"kind", "error"}
    "removed"    why config.json was asked about without its quantization: the weights are then not those of the model
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_QUANTIZATION_KEYS = ("quantization_config", "compression_config")
_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")


class _AnotherModel(Exception):
    """vLLM built a model whose parts cannot be told."""


def build_stages(config: Any) -> dict[str, Any]:
    """Return the weights and the caches of the first GPU of each stage, or why they cannot be said."""
    try:
        stages = config.parallel_config.pipeline_parallel_size
        return {"stages": [_stage(config, number) for number in range(stages)]}
    except Exception as error:
        return {"not_built": {"kind": type(error).__name__, "error": str(error) or _line_of(error)}}


def _line_of(error: Exception) -> str:
    """Return the line of source that raised an error without words: vLLM has such assertions where it divides."""
    frames = traceback.extract_tb(error.__traceback__)
    return (frames[-1].line or "") if frames else ""


def _stage(config: Any, number: int) -> dict[str, Any]:
    torch = importlib.import_module("torch")
    loading = importlib.import_module("vllm.model_executor.model_loader.utils")
    set_config = importlib.import_module("vllm.config").set_current_vllm_config
    layers = config.compilation_config.static_forward_context
    layers.clear()
    with set_config(config):
        _join(config, number)
        torch.set_default_dtype(config.model_config.dtype)
        with torch.device("meta"):
            model = loading.initialize_model(vllm_config=config)
        # A tensor that stands under two names is there once.
        weights = {id(weight): weight.numel() * weight.element_size() for weight in model.parameters()}
        caches = [_cache(name, layer.get_kv_cache_spec(config)) for name, layer in layers.items() if _keeps(layer)]
    return {"weights_bytes": sum(weights.values()), "caches": [cache for cache in caches if cache]}


def _join(config: Any, stage: int) -> None:
    """Make vLLM's groups as the first rank of the stage sees them, without processes and without a network."""
    torch = importlib.import_module("torch")
    dist = torch.distributed
    state: Any = importlib.import_module("vllm.distributed.parallel_state")
    store = importlib.import_module("torch.testing._internal.distributed.fake_pg").FakeStore
    parallel = config.parallel_config
    tensor, pipeline = parallel.tensor_parallel_size, parallel.pipeline_parallel_size
    rank = stage * tensor
    if dist.is_initialized():
        state.destroy_model_parallel()
        vars(state)["_WORLD"] = None
        dist.destroy_process_group()
    dist.init_process_group("fake", store=store(), rank=rank, world_size=tensor * pipeline)
    parallel.rank = rank
    if not hasattr(state.GroupCoordinator, "without_processes"):
        state.GroupCoordinator = _group_class(state.GroupCoordinator, dist, torch.device("cpu"))
        state._node_count = lambda _group: 1
    state.init_distributed_environment(tensor * pipeline, rank, "env://", 0, "fake")
    state.initialize_model_parallel(tensor, pipeline, backend="fake")


def _group_class(base: Any, dist: Any, device: Any) -> Any:
    class Group(base):
        """A group of ranks that knows its place and never communicates."""

        without_processes = True

        def __init__(self, group_ranks: list[list[int]], local_rank: int, *_more: Any, **named: Any) -> None:
            rank = dist.get_rank()
            ranks = next(among for among in group_ranks if rank in among)
            # The attributes of vLLM's own class.
            self.__dict__.update(
                rank=rank,
                ranks=ranks,
                rank_in_group=ranks.index(rank),
                local_rank=local_rank,
                world_size=len(ranks),
                unique_name=str(named.get("group_name") or ""),
                cpu_group=dist.group.WORLD,
                device_group=dist.group.WORLD,
                device=device,
                use_device_communicator=False,
                device_communicator=None,
                mq_broadcaster=None,
                destroy=lambda: None,
            )

    return Group


def _keeps(layer: Any) -> bool:
    """Whether a layer has a cache; one that uses an earlier layer's has none (vllm/v1/worker, get_kv_cache_spec)."""
    return hasattr(layer, "get_kv_cache_spec") and not getattr(layer, "kv_sharing_target_layer_name", None)


def _cache(name: str, spec: Any) -> dict[str, Any] | None:
    """Return what a layer keeps (vllm/v1/kv_cache_interface.py); None where it keeps nothing of its own."""
    if spec is None:
        return None
    found = _LAYER.search(name)
    kind = type(spec).__name__
    if found is None:
        raise _AnotherModel(f"{name} keeps a cache and is no layer of the model")
    page = getattr(spec, "real_page_size_bytes", None) or spec.page_size_bytes
    states = kind == "MambaSpec"
    per_token, rest = (0, 0) if states else divmod(page, spec.block_size)
    if rest:
        raise _AnotherModel(f"{name} keeps {page} bytes of {spec.block_size} tokens")
    return {
        "layer": int(found[1]),
        "kind": kind,
        "window": getattr(spec, "sliding_window", None) or getattr(spec, "attention_chunk_size", None) or 0,
        "bytes_per_token": per_token,
        "value_bytes": 0 if states else getattr(getattr(spec, "dtype", None), "itemsize", 0),
        "state_bytes": page if states else 0,
    }


def _without_quantization(model: Path) -> bool:
    """Take the quantization out of the model's files; return whether there was one."""
    path = model / "config.json"
    config = json.loads(path.read_text())
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    found = [part.pop(key) for part in parts for key in _QUANTIZATION_KEYS if part.get(key) is not None]
    beside = model / "hf_quant_config.json"
    if beside.exists():
        found.append(beside.name)
        beside.unlink()
    path.write_text(json.dumps(config))
    return bool(found)


def answer(question: Any, model: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Return vLLM's answer; what its quantization forbids to say here is asked without it."""

    def ask() -> dict[str, Any]:
        try:
            return dict(question.ask([str(model), *arguments], build_stages))
        except question.NotAnswered as reason:
            return {"ok": None, "error": str(reason)}

    first = ask()
    failed = first.get("not_built") or (None if first["ok"] else first)
    if failed is None or failed.get("kind") == "argument" or not _without_quantization(model):
        return first
    second = ask()
    if not second["ok"] and first["ok"]:
        return first
    return {**second, "removed": failed["error"]}


def main() -> int:
    """Answer on standard output; what vLLM and its libraries print goes to standard error."""
    seconds, questions, model, *arguments = sys.argv[1:]
    # Whoever asked may have ended before it could end this.
    signal.alarm(int(seconds))
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
    sys.path.insert(0, questions)
    question = importlib.import_module("engine_question")
    sys.path.remove(questions)
    output = os.dup(1)
    os.dup2(2, 1)
    said = json.dumps(answer(question, Path(model), arguments)).encode() + b"\n"
    while said:
        said = said[os.write(output, said) :]
    return 0


if __name__ == "__main__":
    code = 1
    with contextlib.suppress(BrokenPipeError):
        code = main()
    sys.stderr.flush()
    # Not sys.exit: threads of libraries must not hold up the end.
    os._exit(code)
