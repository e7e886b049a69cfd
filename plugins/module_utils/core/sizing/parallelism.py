# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a model is divided: layers over pipeline stages, heads over GPUs, files over nodes; and what vLLM refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..catalog.shapes import Shape
from ..fault import Fault, Findings, Refused
from ..model.checkpoint import BESIDE, EMBEDDING, FINAL, HEAD, OTHER, PREDICTION, places
from ..model.facts import ModelFacts
from .division import ENCODER_WHOLE, EXPERT_PARALLEL, GPUS, check_division
from .options import MemoryOptions

# vLLM's kernels are not built for older GPUs.
_LEAST_CAPABILITY = (7, 0)
# "Bfloat16 is only supported on GPUs with compute capability of at least 8.0" (vllm/platforms/cuda.py).
_BFLOAT16_CAPABILITY = (8, 0)
# Families that vLLM does not serve in float16 (config/model.py).
_NOT_IN_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "plamo2", "glm4")

_CONFIG = "config.json"
_SHAPE = "recipe_node_shape"
_NODES = "recipe_node_pool_size"
_DEFAULTS = MemoryOptions()
# Classes that tie head and embedding on a stage which has only the head (ernie45_moe.py, ernie45_vl_moe.py, falcon_h1.py).
_TIED_ALONE = ("Ernie4_5_MoeForCausalLM", "Ernie4_5_VLMoeForConditionalGeneration", "FalconH1ForCausalLM")
# Classes that want a layer with experts on each stage, and since which version they do or are there ("No ... layer found in model.layers";
# nemotron_h.py is so since 0.31, not in 0.29).
_EXPERTS_EACH_STAGE = {
    **dict.fromkeys(("NemotronHForCausalLM", "NemotronHPuzzleForCausalLM"), (0, 30)),
    **dict.fromkeys(("Glm4MoeForCausalLM", "Glm4vMoeForConditionalGeneration", "MixtralForCausalLM"), (0, 0)),
    **dict.fromkeys(("Qwen3MoeForCausalLM", "Qwen3VLMoeForConditionalGeneration"), (0, 0)),
    **dict.fromkeys(("AfmoeForCausalLM", "HYV3ForCausalLM", "PanguUltraMoEForCausalLM"), (0, 0)),
    **dict.fromkeys(("SarvamMLAForCausalLM", "Step3p5ForCausalLM"), (0, 0)),
}


def layers_per_stage(layers: int, stages: int, wish: Sequence[int] = ()) -> list[int]:
    """How many layers each stage holds, as vLLM divides them (vllm/distributed/utils.py, get_pp_indices).

    wish: VLLM_PP_LAYER_PARTITION; one that does not fit this division (another number of nodes is tried) is left out.

    A remainder goes one each to the stages from the second-last backwards: the last has the head, the first the
    embedding. Raises Refused when a stage would be empty.
    """
    if stages < 1 or layers < stages:
        raise Refused([_too_many_stages(layers, stages)])
    if len(wish) == stages and sum(wish) == layers:
        return list(wish)
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


def check_parallelism(
    model: ModelFacts, shape: Shape, tensor: int, pipeline: int, options: MemoryOptions = _DEFAULTS
) -> Findings:
    """Check vLLM's own conditions on tensor and pipeline parallelism, and on quantization and type for this GPU."""
    findings = Findings()
    check_division(model, tensor, options, findings)
    if model.mla and tensor > 1:
        findings.warn(
            "mla_repeated",
            GPUS,
            f"the latent KV cache of this model lies on each of the {tensor} GPUs of a node as a whole",
            "",
            "more nodes give more cache, more GPUs a node do not",
        )
    _check_pipeline(model, pipeline, options, findings)
    _check_gpu(model, shape, options.dtype, findings)
    return findings


def ways_to_divide(model: ModelFacts, shape: Shape, tensor: int, pipeline: int, options: MemoryOptions) -> list[str]:
    """Arguments of vLLM with which the division is allowed; each was tried here. Empty where none helps."""
    ways: list[str] = []
    for argument, changed in (
        (EXPERT_PARALLEL, replace(options, expert_parallel=True)),
        (ENCODER_WHOLE, replace(options, encoder_whole=True)),
        (f"{EXPERT_PARALLEL} {ENCODER_WHOLE}", replace(options, expert_parallel=True, encoder_whole=True)),
    ):
        if not ways and not check_parallelism(model, shape, tensor, pipeline, changed).faults:
            ways.append(argument)
    return ways


def _check_pipeline(model: ModelFacts, pipeline: int, options: MemoryOptions, findings: Findings) -> None:
    if not 1 <= pipeline <= len(model.layers):
        findings.faults.append(_too_many_stages(len(model.layers), pipeline))
    if pipeline <= 1:
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
    if model.tied and model.architecture in _TIED_ALONE:
        findings.fault(
            "tied_with_pipeline",
            f"{_CONFIG} tie_word_embeddings",
            f"true, and {name} ties them on the last stage, which has no embedding",
            "one stage, or embeddings that are not tied",
            "use one node whose GPUs hold the model",
        )
    since = _EXPERTS_EACH_STAGE.get(model.architecture)
    if since is not None and model.vllm >= since and pipeline <= len(model.layers):
        _check_experts_each_stage(model, pipeline, options, findings)
    if pipeline <= len(model.layers):
        _check_shared_caches(model, pipeline, options, findings)


def _check_experts_each_stage(model: ModelFacts, pipeline: int, options: MemoryOptions, findings: Findings) -> None:
    kinds = [layer.feed_forward for layer in model.layers]
    first = 0
    for stage, count in enumerate(layers_per_stage(len(kinds), pipeline, options.layers)):
        if "experts" in kinds and "experts" not in kinds[first : first + count]:
            findings.fault(
                "stage_without_experts",
                _NODES,
                f"{pipeline} stages, of which stage {stage} has no layer with experts",
                "one in every stage, as this class wants",
                "use fewer nodes",
            )
            return
        first += count


def _check_shared_caches(model: ModelFacts, pipeline: int, options: MemoryOptions, findings: Findings) -> None:
    """Refuse stages that cut a layer off from the one whose cache it uses: the last of its kind with a cache of its own.

    vllm/model_executor/layers/attention/attention.py, validate_kv_sharing_target.
    """
    stages = layers_per_stage(len(model.layers), pipeline, options.layers)
    stage_of = [stage for stage, count in enumerate(stages) for _layer in range(count)]
    keeper: dict[str, int] = {}
    for layer in model.layers:
        if not layer.kv_shared:
            keeper[layer.attention] = layer.index
        elif (kept := keeper.get(layer.attention)) is not None and stage_of[kept] != stage_of[layer.index]:
            findings.fault(
                "cache_shared_over_stages",
                _NODES,
                f"{pipeline} stages: layer {layer.index} uses the KV cache of layer {kept}, which lies on another stage",
                "layers that share a cache on one stage",
                "use one node whose GPUs hold the model",
            )
            return


def _capability(value: tuple[int, int]) -> str:
    return f"{value[0]}.{value[1]}"


def _check_gpu(model: ModelFacts, shape: Shape, dtype: str, findings: Findings) -> None:
    has = shape.compute_capability
    quantization = model.quantization
    if quantization is not None and quantization.supported is False:
        findings.fault(
            "quantization_not_supported",
            f"{_CONFIG} quantization_config",
            f"{quantization.method}, which the image's vLLM does not have",
            "a method that it has",
            "use the model in another form, or another image",
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
    falls_back = dtype == "auto" and model.model_type not in _NOT_IN_FLOAT16
    if {"auto": model.dtype}.get(dtype, dtype) == "bfloat16" and has < _BFLOAT16_CAPABILITY:
        say = findings.warn if falls_back else findings.fault
        say(
            "bfloat16_not_supported",
            _SHAPE,
            f"{shape.gpu}, compute capability {_capability(has)}, for a model in bfloat16",
            f"at least {_capability(_BFLOAT16_CAPABILITY)}",
            "vLLM serves it in float16"
            if falls_back
            else "choose a shape with newer GPUs" + ("" if dtype == "auto" else ", or give vLLM --dtype half"),
        )
    if quantization is None:
        return
    least = quantization.least
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


def stage_files(
    weight_map: Mapping[str, str],
    per_stage: Sequence[int],
    tied: bool,
    embedding_everywhere: bool = True,
    head_everywhere: bool = True,
    drafts: bool = False,
) -> list[list[str]]:
    """The safetensors files each stage needs, in name order, from the index's weight_map (tensor -> file).

    A layer's tensors go to its stage, the embedding to the first (and, tied, to the last), norm and head to the last.
    Some classes build embedding and head on every stage and want their weights there (model.inventory tells;
    everywhere is the safe answer for a class that is not known). What belongs to no layer (a vision tower) goes
    everywhere. Layers beyond the last are for speculation: the last stage needs them, and the embedding, where it `drafts`.
    """
    stage_of = [stage for stage, count in enumerate(per_stage) for _layer in range(count)]
    everywhere, last = tuple(range(len(per_stage))), len(per_stage) - 1
    holders: dict[int | str, tuple[int, ...]] = {layer: (stage,) for layer, stage in enumerate(stage_of)}
    holders |= {BESIDE: everywhere, OTHER: everywhere, FINAL: (last,)}
    holders[EMBEDDING] = everywhere if embedding_everywhere else (0, last) if tied else (0,)
    holders[HEAD] = everywhere if head_everywhere else (last,)
    if drafts:
        holders[PREDICTION] = (last,)
        holders[EMBEDDING] = tuple(sorted({*holders[EMBEDDING], last}))
    beyond = (last,) if drafts else ()
    files: list[set[str]] = [set() for _stage in per_stage]
    for place, file in zip(places(weight_map), weight_map.values(), strict=True):
        for stage in holders.get(place, beyond):
            files[stage].add(file)
    return [sorted(names) for names in files]
