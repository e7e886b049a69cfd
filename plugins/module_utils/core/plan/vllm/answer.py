# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What vLLM itself says of the plan, where the setting vllm_python names one: it goes before what is computed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...catalog.vllm.release import Release
from ...fault import Findings
from ...model.facts import ModelFacts
from ...model.layers import MOST_LAYERS, Layer
from ...recipe.inputs import Inputs
from ...recipe.vllm_arguments import options
from ..types import Answer

SETTING = "vllm_python"
# What another Python than the image's cannot say: what its platform lacks, and what it may not do (load the model's own code).
_OF_THE_PLATFORM = re.compile(
    r"platform|\bcpus?\b|\bcuda|\bgpus?\b|device|kernel|capabilit|quantiz|triton|backend|flash|driver|not installed|No module|"
    r"trust.remote.code|custom code|huggingface|offline|tokenizer|processor|preprocessor|memory|inspected|\btorch\b|"
    # MLA without a GPU has neither (vllm/platforms/cpu.py).
    r"prefix.caching|chunked.prefill",
    re.IGNORECASE,
)
# A division that vLLM refuses is refused on every platform, also where its words name a quantization.
# Assertions without words are told by their line of source, where tp_size or the like divides.
_OF_THE_DIVISION = re.compile(
    r"divisible|cannot be (?:evenly )?divided|% (?:self\.)?(?:tp_size|tp_world_size)|% \w*tensor_\w+", re.IGNORECASE
)
_PYDANTIC = re.compile(r"Value error, (.*?)(?: \[type=|$)", re.DOTALL)
# Never asked with: the model's own code is not run where the plan is made.
# Folders of the pods are not where the plan is made.
_LEFT_OUT = ("--trust-remote-code", "--tokenizer")
_SPECULATION = ("--speculative-config", "--spec-method", "--spec-model", "--spec-tokens")
# Where the pods keep what they compile; the question has a folder of its own.
_CACHE = "VLLM_CACHE_ROOT"
_KINDS = {
    "FullAttentionSpec": "full",
    "SinkFullAttentionSpec": "full",
    "MLAAttentionSpec": "mla",
    "SlidingWindowSpec": "sliding",
    "SlidingWindowMLASpec": "sliding",
    "ChunkedLocalAttentionSpec": "chunked",
    "MambaSpec": "mamba",
}


@dataclass(frozen=True)
class Question:
    """What vLLM is asked: the arguments and vLLM's variables of the plan, and the small files of the model.

    version: of the image's vLLM, None where it is not known. place: the model's folder in the pods.
    """

    version: str | None
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]
    place: str


@dataclass(frozen=True)
class Said:
    """What vLLM answered, as far as it can be used; empty where it was not asked or could not say it.

    layers    of each stage
    length    the context that it serves where nobody asks for one
    weights   bytes on one GPU by (GPUs of a stage, first layer, last layer + 1)
    caches    of each layer: what it keeps
    shown     for the plan; None where nobody asked
    """

    layers: tuple[int, ...] = ()
    length: int | None = None
    weights: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    caches: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    shown: Answer | None = None


def question_of(
    inputs: Inputs,
    known: Release,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    model: Mapping[str, Any],
    other_drafter: bool,
) -> Question:
    """Return what to ask.

    arguments, environment  of the engine
    model                   of `model_info`
    other_drafter           another model drafts, which lies in the pods alone
    """
    left_out = (*_LEFT_OUT, *_SPECULATION) if other_drafter else _LEFT_OUT
    words = [word for option in options(arguments, known) if option.name not in left_out for word in option.words]
    length = inputs.recipe["recipe_max_model_length"]
    if length and "--max-model-len" not in words:
        words += ["--max-model-len", str(length)]
    files = {"config.json": model["config"], "hf_quant_config.json": model.get("hf_quant_config") or {}}
    index = model.get("index") or {}
    if index.get("file"):
        files[index["file"]] = {key: index[key] for key in ("metadata", "weight_map") if key in index}
    return Question(
        version=known.version,
        arguments=(*words, "--skip-tokenizer-init"),
        environment={name: value for name, value in environment.items() if name.startswith("VLLM_") and name != _CACHE},
        files={name: content for name, content in files.items() if content},
        place=inputs.recipe["recipe_raycluster_params"]["model_path_in_container"].rstrip("/"),
    )


def read_answer(
    answer: Mapping[str, Any] | None, known: Release, layers: int, stages: int, tensor: int, findings: Findings
) -> Said:
    """Return what can be used of vLLM's answer (stage_models.py); a refusal that holds on every platform is a fault.

    layers  of the model as the plan counts them; stages, tensor  as vLLM was asked
    """
    if answer is None:
        return Said()
    name = f"vLLM {known.version}"
    if not answer.get("ok"):
        return _refused(answer, name, findings)
    divided = tuple(answer["layers_per_stage"])
    if len(divided) != stages or sum(divided) != layers:
        findings.fault(
            "vllm_counts_otherwise",
            SETTING,
            f"{name} divides {sum(divided)} layers into {len(divided)} stages",
            f"{layers} layers in {stages} stages, as the plan reads config.json",
            "report it with config.json: without the number of layers nothing can be staged",
        )
        return Said(shown=_shown(known, [], "it counts other layers"))
    says, lacks = ["layers of each stage", "context"], ""
    not_built = answer.get("not_built")
    if not_built:
        if _OF_THE_DIVISION.search(not_built["error"]):
            return _refused({"ok": False, **not_built}, name, findings)
        lacks = f"it could not build the model here: {_words(not_built['error'])}"
    built = answer.get("stages") or []
    removed = answer.get("removed")
    weights: dict[tuple[int, int, int], int] = {}
    caches: dict[int, list[Mapping[str, Any]]] = {}
    first = 0
    for stage, count in zip(built, divided, strict=False):
        weights[tensor, first, first + count] = int(stage["weights_bytes"])
        first += count
        for cache in stage["caches"]:
            caches.setdefault(cache["layer"], []).append(cache)
    if removed:
        weights = {}
        lacks = f"the weights are computed, since here it cannot build them as they are quantized: {_words(removed)}"
    elif weights:
        says.append("weights")
    if built:
        says.append("KV cache")
    return Said(divided, answer.get("max_model_len"), weights, caches, _shown(known, says, lacks))


def _refused(answer: Mapping[str, Any], name: str, findings: Findings) -> Said:
    words, kind = _words(answer["error"]), answer.get("kind")
    holds = answer.get("ok") is False and (
        kind == "argument" or _OF_THE_DIVISION.search(words) or not _OF_THE_PLATFORM.search(words)
    )
    if holds:
        findings.fault(
            "vllm_refuses",
            f"{SETTING}, {name}",
            words,
            "a model and arguments that vLLM accepts",
            "correct what it names; leave vllm_python out to plan without asking",
        )
        return Said()
    findings.warn(
        "vllm_not_answered",
        SETTING,
        f"{name} did not say here whether it would start: {words}",
        "",
        "the plan is computed; the image's own vLLM is asked beside staging",
    )
    return Said(shown={"vllm": name.partition(" ")[2], "says": [], "lacks": words})


def _shown(known: Release, says: Sequence[str], lacks: str) -> Answer:
    return {"vllm": known.version or "", "says": list(says), "lacks": lacks}


def _words(text: str) -> str:
    """Return what vLLM says without the frame that pydantic puts around it, on one line and no longer than a fault should be."""
    framed = _PYDANTIC.search(text)
    line = " ".join((framed[1] if framed else text).split())
    return line if len(line) <= 400 else f"{line[:400]}..."


def with_answer(model: ModelFacts, said: Said, tensor: int, given_length: bool) -> ModelFacts:
    """Return the model as vLLM says it is. given_length: the context was asked for, and the answer only repeats it."""
    if said.weights:
        model = replace(model, said_weights=said.weights)
    if said.length and not given_length and said.length != model.default_length:
        model = replace(model, default_length=said.length, max_length=max(said.length, model.max_length or 0))
    if not said.caches:
        return model
    layers = tuple(_layer(layer, said.caches.get(layer.index, ()), model, tensor) for layer in model.layers)
    exact = bool(said.weights) and all(cache["kind"] in _KINDS for kept in said.caches.values() for cache in kept)
    return replace(
        model, layers=layers, kv_known=True, certain=model.certain or (exact and len(model.layers) <= MOST_LAYERS)
    )


def _layer(layer: Layer, caches: Sequence[Mapping[str, Any]], model: ModelFacts, tensor: int) -> Layer:
    """The layer with the cache that vLLM says it has, as one GPU holds it; as computed where both agree."""
    tokens = [cache for cache in caches if cache["bytes_per_token"]]
    states = sum(cache["state_bytes"] for cache in caches)
    # The index of a sparse layer is kept in bytes; the other values in the type that the plan counts with.
    values = sum(cache["bytes_per_token"] // cache["value_bytes"] for cache in tokens if cache["value_bytes"] > 1)
    fixed = sum(cache["bytes_per_token"] for cache in tokens if cache["value_bytes"] <= 1)
    kinds = {_KINDS.get(cache["kind"], "full") for cache in tokens}
    # What is kept in several ways counts as kept in full.
    kind = kinds.pop() if len(kinds) == 1 else "full" if kinds else "none"
    window = max((cache["window"] for cache in tokens), default=0) if kind in ("sliding", "chunked") else 0
    planned = layer.kv_bytes_per_token(tensor, 1) - layer.indexer_bytes if not layer.kv_shared else 0
    same_tokens = (values, fixed, window) == (planned, layer.indexer_bytes if planned else 0, layer.window)
    if same_tokens and states == layer.state_bytes(tensor, model.element_bytes, model.recurrent_element):
        return layer
    if states:
        recurrent = states * tensor // model.recurrent_element
        return replace(layer, attention="mamba", kv_heads=0, state_values=(0, recurrent), state_heads=())
    return replace(
        layer,
        attention=kind,
        window=window,
        # One GPU's part, which is not divided once more.
        kv_heads=1 if values or fixed else 0,
        head_dim=values,
        value_dim=0,
        kv_shared=False,
        indexer_bytes=fixed,
        state_values=(0, 0),
        state_heads=(),
    )
