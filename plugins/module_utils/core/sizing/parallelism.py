# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a model is divided: layers over pipeline stages, heads over GPUs, files over nodes; and what vLLM refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..catalog.shapes import Shape
from ..fault import Fault, Findings, Refused
from ..model.checkpoint import BESIDE, EMBEDDING, FINAL, HEAD, OTHER, places
from ..model.model import ModelFacts
from ..model.quantization import LEAST_CAPABILITY, UNSUPPORTED
from ..model.tensors import VOCABULARY_PADDING

# vLLM's kernels are not built for older GPUs.
_LEAST_CAPABILITY = (7, 0)
# "Bfloat16 is only supported on GPUs with compute capability of at least 8.0" (vllm/platforms/cuda.py).
_BFLOAT16_CAPABILITY = (8, 0)

_CONFIG = "config.json"
_GPUS = "recipe_nvidia_gpu_count"
_SHAPE = "recipe_node_shape"
_NODES = "recipe_node_pool_size"


def layers_per_stage(layers: int, stages: int) -> list[int]:
    """How many layers each stage holds, as vLLM divides them (vllm/distributed/utils.py, get_pp_indices).

    A remainder goes one each to the stages from the second-last backwards: the last has the head, the first the
    embedding. Raises Refused when a stage would be empty.
    """
    if stages < 1 or layers < stages:
        raise Refused([_too_many_stages(layers, stages)])
    parts = [layers // stages] * stages
    for place in range(2, layers % stages + 2):
        parts[-place] += 1
    return parts


def _too_many_stages(layers: int, stages: int) -> Fault:
    return Fault(
        "too_many_stages",
        _NODES,
        f"{stages} pipeline stages",
        f"from 1 to {layers}, the model's layers",
        "use fewer nodes",
    )


def check_parallelism(model: ModelFacts, shape: Shape, tensor: int, pipeline: int, dtype: str = "auto") -> Findings:
    """Check vLLM's own conditions on tensor and pipeline parallelism, and on quantization and type for this GPU.

    dtype is vLLM's --dtype where it is given.
    """
    findings = Findings()
    _check_tensor(model, tensor, findings)
    _check_pipeline(model, pipeline, findings)
    _check_gpu(model, shape, dtype, findings)
    _check_groups(model, tensor, findings)
    return findings


def _check_tensor(model: ModelFacts, tensor: int, findings: Findings) -> None:
    def divisible(count: int, what: str, code: str) -> None:
        if count and count % tensor:
            findings.fault(
                code,
                _GPUS,
                f"{tensor} GPUs for {count} {what}",
                f"a divisor of {count}",
                "choose a shape with such a number of GPUs",
            )

    divisible(model.heads, "attention heads", "heads_not_divisible")
    if model.intermediate_size:
        divisible(model.intermediate_size, "columns of the feed-forward", "intermediate_not_divisible")
    if model.expert_intermediate_size:
        divisible(model.expert_intermediate_size, "columns of an expert", "expert_not_divisible")
    padded = -(-model.vocab_size // VOCABULARY_PADDING) * VOCABULARY_PADDING
    divisible(padded, "rows of the padded vocabulary", "vocabulary_not_divisible")
    for layer_kv in sorted({layer.kv_heads for layer in model.layers if layer.attention != "mla" and layer.kv_heads}):
        larger, smaller = max(layer_kv, tensor), min(layer_kv, tensor)
        if larger % smaller:
            findings.fault(
                "kv_heads_not_divisible",
                _GPUS,
                f"{tensor} GPUs for {layer_kv} key/value heads",
                f"a divisor or a multiple of {layer_kv}",
                "choose a shape with such a number of GPUs",
            )
    if model.mamba_groups > 1:
        divisible(model.mamba_groups, "groups of the mamba layers", "mamba_groups_not_divisible")
    for heads in sorted({count for layer in model.layers for count in layer.state_heads}):
        divisible(heads, "heads of the linear layers", "linear_heads_not_divisible")
    if model.mla and tensor > 1:
        findings.warn(
            "mla_repeated",
            _GPUS,
            f"the latent KV cache of this model lies on each of the {tensor} GPUs of a node as a whole",
            "",
            "more nodes give more cache, more GPUs a node do not",
        )


def _check_pipeline(model: ModelFacts, pipeline: int, findings: Findings) -> None:
    if not 1 <= pipeline <= len(model.layers):
        findings.faults.append(_too_many_stages(len(model.layers), pipeline))
    if pipeline == 1:
        return
    name = model.architecture or "a model without architectures"
    if model.supports_pipeline is False:
        findings.fault(
            "pipeline_not_supported",
            f"{_CONFIG} architectures",
            f"{name}, which vLLM does not run with pipeline parallelism",
            "a class that supports it",
            "use one node whose GPUs hold the model",
        )
    elif model.supports_pipeline is None:
        findings.warn(
            "pipeline_unknown",
            f"{_CONFIG} architectures",
            f"{name}, of which the planner does not know whether vLLM divides it over nodes",
            "",
            "vLLM says at its start if it does not",
        )


def _capability(value: tuple[int, int]) -> str:
    return f"{value[0]}.{value[1]}"


def _check_gpu(model: ModelFacts, shape: Shape, dtype: str, findings: Findings) -> None:
    has = shape.compute_capability
    quantization = model.quantization
    if quantization is not None and quantization.method in UNSUPPORTED:
        findings.fault(
            "quantization_not_supported",
            f"{_CONFIG} quantization_config",
            f"{quantization.method}, which vLLM has no more",
            "one of " + ", ".join(sorted(LEAST_CAPABILITY)),
            "take the model in another form",
        )
    if has is None:
        return
    if has < _LEAST_CAPABILITY:
        findings.fault(
            "gpu_too_old",
            _SHAPE,
            f"{shape.gpu}, compute capability {_capability(has)}",
            f"at least {_capability(_LEAST_CAPABILITY)}",
            "choose a shape with newer GPUs",
        )
        return
    served = {"half": "float16", "auto": model.dtype}.get(dtype, dtype)
    if served == "bfloat16" and has < _BFLOAT16_CAPABILITY:
        findings.fault(
            "bfloat16_not_supported",
            _SHAPE,
            f"{shape.gpu}, compute capability {_capability(has)}, for a model in bfloat16",
            f"at least {_capability(_BFLOAT16_CAPABILITY)}",
            "choose a shape with newer GPUs, or give vLLM --dtype half",
        )
    if quantization is None:
        return
    least = LEAST_CAPABILITY.get(quantization.method)
    if least is not None and has < least:
        findings.fault(
            "quantization_needs_newer_gpu",
            _SHAPE,
            f"{shape.gpu}, compute capability {_capability(has)}, for {quantization.method} weights",
            f"at least {_capability(least)}",
            "choose a shape with newer GPUs, or the model in another form",
        )
    elif has < quantization.native:
        findings.warn(
            "quantization_not_native",
            _SHAPE,
            f"{shape.gpu} has no arithmetic for {quantization.method}: the weights are unpacked at each use",
            "",
            f"GPUs of compute capability {_capability(quantization.native)} compute in it and are faster",
        )


def _check_groups(model: ModelFacts, tensor: int, findings: Findings) -> None:
    """Check that what shares a scale is not cut: "... is not divisible by group_size" (quantization/*.py)."""
    quantization = model.quantization
    if quantization is None or not quantization.weight_bits:
        return
    unit = quantization.block[0] if quantization.block else quantization.group_size
    if unit <= 1 or quantization.experts_only:
        return
    dense, expert = model.intermediate_size, model.expert_intermediate_size
    if dense and dense % tensor == 0 and (dense // tensor) % unit:
        findings.fault(
            "group_cut",
            _GPUS,
            f"{dense // tensor} columns of the feed-forward for each of {tensor} GPUs",
            f"a multiple of {unit}, the {quantization.method} group",
            "use fewer GPUs a node and more nodes, or the model in another form",
        )
    if expert and expert % tensor == 0 and (expert // tensor) % unit:
        findings.warn(
            "expert_group_cut",
            _GPUS,
            f"{expert // tensor} columns of an expert for each of {tensor} GPUs",
            f"a multiple of {unit}, the {quantization.method} block",
            "older vLLM refuses this; give vLLM --enable-expert-parallel, or use fewer GPUs a node",
        )


def stage_files(
    weight_map: Mapping[str, str],
    per_stage: Sequence[int],
    tied: bool,
    embedding_everywhere: bool = True,
    head_everywhere: bool = True,
) -> list[list[str]]:
    """The safetensors files each stage needs, in name order, from the index's weight_map (tensor -> file).

    A layer's tensors go to its stage, the embedding to the first (and, tied, to the last), norm and head to the last.
    Some classes build embedding and head on every stage and want their weights there (model.inventory tells;
    everywhere is the safe answer for a class that is not known). What belongs to no layer (a vision tower) goes
    everywhere. Layers beyond the last are for speculation; no stage needs them.
    """
    stage_of = [stage for stage, count in enumerate(per_stage) for _layer in range(count)]
    everywhere, last = tuple(range(len(per_stage))), len(per_stage) - 1
    holders: dict[int | str, tuple[int, ...]] = {layer: (stage,) for layer, stage in enumerate(stage_of)}
    holders |= {BESIDE: everywhere, OTHER: everywhere, FINAL: (last,)}
    holders[EMBEDDING] = everywhere if embedding_everywhere else (0, last) if tied else (0,)
    holders[HEAD] = everywhere if head_everywhere else (last,)
    files: list[set[str]] = [set() for _stage in per_stage]
    for place, file in zip(places(weight_map), weight_map.values(), strict=True):
        for stage in holders.get(place, ()):
            files[stage].add(file)
    return [sorted(names) for names in files]
