# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every plan that is accepted, whatever the model, the shape and the number of nodes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.catalog.shapes import SHAPES, Shape, allocatable
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.facts import are_model_facts
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.make_plan import make_plan
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.presentation.page import page
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.presentation.text import COLUMNS, describe
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.parameters import RECIPE
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.settings import SETTINGS

from ..configurations import PUBLISHED, published
from ..model.test_model import ANYTHING, odd_configurations
from ..plans import facts, plan
from ..recipes import recipe

NVIDIA = [shape for shape in SHAPES if shape.vendor == "nvidia"]


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """A published configuration, or a dense one of any size."""
    if draw(st.booleans()):
        return published(draw(st.sampled_from(PUBLISHED)))
    heads = draw(st.sampled_from([8, 12, 16, 28, 32, 40, 64, 96, 128]))
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": heads * 128,
        "intermediate_size": draw(st.sampled_from([1000, 4096, 14336, 28672, 53248])),
        "num_hidden_layers": draw(st.integers(1, 130)),
        "num_attention_heads": heads,
        "num_key_value_heads": draw(st.sampled_from([1, 2, 4, 8, heads])),
        "vocab_size": draw(st.integers(1000, 260_000)),
        "max_position_embeddings": draw(st.sampled_from([2048, 32768, 131072, 1_000_000])),
        "torch_dtype": "bfloat16",
    }


def indexed(config: dict[str, Any], shards: int) -> dict[str, Any]:
    """An index whose layers lie over `shards` files in order."""
    layers = (config.get("text_config") or config).get("num_hidden_layers") or 1
    names = [f"model-{number:05}.safetensors" for number in range(shards)]
    weights = {f"model.layers.{layer}.mlp.up_proj.weight": names[layer * shards // layers] for layer in range(layers)}
    weights |= {"model.embed_tokens.weight": names[0], "lm_head.weight": names[-1], "model.norm.weight": names[-1]}
    return {"weight_map": weights, "total_size": None}


def planned(config: dict[str, Any], shape: Shape, nodes: int, shards: int) -> dict[str, Any]:
    room = allocatable(shape, 800)
    sizes = {"num_cpus": int(room.ocpus), "cpu_mem_in_gbs": int(room.memory_gib), "num_gpus": shape.gpus}
    changes = {
        f"recipe_raycluster_params__{role}_node_{name}": value
        for role in ("head", "worker")
        for name, value in sizes.items()
    }
    index = indexed(config, shards)
    files = [{"name": name, "size": None} for name in sorted(set(index["weight_map"].values()))]
    model = {**facts().model, "config": config, "index": index, "files": [*files, {"name": "config.json", "size": 9}]}
    return plan(
        facts(model=model),
        recipe_node_shape=shape.name,
        recipe_nvidia_gpu_count=shape.gpus,
        recipe_node_pool_size=nodes,
        recipe_raycluster_params__num_worker_nodes=nodes - 1,
        **changes,
    )


@given(configurations(), st.sampled_from(NVIDIA), st.integers(1, 8), st.integers(1, 40))
def test_an_accepted_plan_satisfies_what_vllm_asks_for(
    config: dict[str, Any], shape: Shape, nodes: int, shards: int
) -> None:
    try:
        made = planned(config, shape, nodes, shards)
    except Refused as refused:
        assert refused.faults and all(fault.line() for fault in refused.faults)
        return
    text = config.get("text_config") or config
    tensor, per_stage = made["parallelism"]["tensor"], made["parallelism"]["layers_per_stage"]
    assert tensor == shape.gpus and len(per_stage) == nodes and min(per_stage) > 0
    if text.get("num_attention_heads"):
        assert text["num_attention_heads"] % tensor == 0
    memory = made["memory"]
    # Where it is sure to start the worse end of the range fits; else the better end does, and a warning says so.
    unsure = {"may_not_fit", "context_uncertain"} & {warning["code"] for warning in made["warnings"]}
    beside = "overhead_low_bytes" if unsure else "overhead_bytes"
    first = 0
    for stage, count in zip(memory["per_gpu"], per_stage, strict=True):
        assert (stage["first_layer"], stage["layers"]) == (first, count)
        assert stage["weights_bytes"] + stage[beside] < stage["usable_bytes"] or not stage["usable_bytes"]
        first += count
    if memory["kv_tokens"]:
        assert memory["kv_tokens"] >= memory["context"] and memory["max_context"] >= memory["context"]
    held = made["staging"]["shards_per_stage"]
    weights = {name for name in (entry["name"] for entry in made["staging"]["files"]) if name != "config.json"}
    assert not held or {name for names in held for name in names} == weights, "every shard is held by some node"
    assert len(made["expected"]["bytes_per_node"]) == nodes
    assert sum(made["expected"]["bytes_per_node"]) >= made["model"]["bytes"]
    assert all(len(line) <= COLUMNS for line in describe(made))
    (cluster,) = [item for item in render(made, {}) if item["kind"] == "RayCluster"]
    assert sum(group["replicas"] for group in cluster["spec"]["workerGroupSpecs"]) == nodes - 1


_PARAMS = next(parameter.properties for parameter in RECIPE if parameter.name == "recipe_raycluster_params")
# What may be right in some place, so that much of it goes beyond the recipe's own rules.
_LIKELY = (
    st.sampled_from(["auto", "true", "none", "node", "load_balancer", "/models", "/mnt/nvme/x", "1", "8", "64", "a/b"])
    | st.sampled_from([shape.name for shape in SHAPES])
    | st.integers(0, 2000)
    | st.booleans()
    | ANYTHING
)


@st.composite
def odd_recipes(draw: st.DrawFn) -> dict[str, Any]:
    """The sample in which some parameters and settings are anything at all."""
    given_variables = recipe()
    names = [parameter.name for parameter in (*RECIPE, *SETTINGS)]
    for name in draw(st.lists(st.sampled_from(names), max_size=4)):
        given_variables[name] = draw(_LIKELY)
    params = given_variables.get("recipe_raycluster_params")
    for parameter in draw(st.lists(st.sampled_from(_PARAMS), max_size=3)):
        if isinstance(params, dict):
            params[parameter.name] = draw(_LIKELY)
    return given_variables


_NAMES = st.sampled_from(["model.layers.0.a.weight", "lm_head.weight", "model.embed_tokens.weight", "x", ""])
_FILES = st.sampled_from(["a.safetensors", "b.safetensors", "config.json", ""])
_INDICES = st.fixed_dictionaries({"weight_map": st.dictionaries(_NAMES, _FILES, max_size=4), "metadata": ANYTHING})
_LISTS = st.lists(st.fixed_dictionaries({"name": _FILES, "size": st.none() | st.integers(0, 10**13)}), max_size=4)


@given(odd_recipes(), odd_configurations(), _INDICES | ANYTHING, _LISTS | ANYTHING, st.booleans())
def test_no_recipe_and_no_model_gives_a_traceback(
    variables: dict[str, Any], config: dict[str, Any], index: Any, files: Any, usual: bool
) -> None:
    model = facts().model if usual else {**facts().model, "config": config, "index": index, "files": files}
    if not are_model_facts(model):
        return
    try:
        made = make_plan(read_inputs(variables), facts(model=model))
    except Refused as refused:
        assert refused.faults and all(fault.line() for fault in refused.faults)
        return
    assert all(len(line) <= COLUMNS for line in describe(made)) and page(made)
    assert render(made, {})
