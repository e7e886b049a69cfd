# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for tests: the published sample with a real model's configuration."""

from __future__ import annotations

from typing import Any

from ansible_collections.multinode.inference.plugins.module_utils.core.plan.facts import Facts
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.make_plan import make_plan
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs

from .configurations import published
from .recipes import recipe

DOMAINS = [f"x:IAD-AD-{number}" for number in (1, 2, 3)]
PARAMS = "recipe_raycluster_params"
RAY_LLM = "docker.io/rayproject/ray-llm"
LLAMA_70B, LLAMA_405B = "meta-llama--Meta-Llama-3.1-70B", "meta-llama--Meta-Llama-3.1-405B"

# What each exposure of the endpoint needs beside its name.
EXPOSURES: dict[str, dict[str, Any]] = {
    "none": {},
    "load_balancer": {},
    "ingress": {"endpoint_ingress_class": "web"},
    "gateway": {"endpoint_gateway": "edge/main"},
}

# The fields of Llama 3.1 8B's config.json that a plan reads.
LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
SHARDS = [f"model-0000{number}-of-00004.safetensors" for number in (1, 2, 3, 4)]


def weight_map() -> dict[str, str]:
    """Eight layers in each of four shards, the embedding in the first, norm and head in the last."""
    names = {f"model.layers.{layer}.mlp.up_proj.weight": SHARDS[layer // 8] for layer in range(32)}
    return {
        "model.embed_tokens.weight": SHARDS[0],
        **names,
        "model.norm.weight": SHARDS[3],
        "lm_head.weight": SHARDS[3],
    }


def facts(**changes: Any) -> Facts:
    """What would be found out for the sample, with `changes` of the fields of Facts."""
    prefix = "NousResearch/Meta-Llama-3.1-8B-Instruct/"
    model = {
        "config": LLAMA_8B,
        "index": {"weight_map": weight_map(), "total_size": 16_060_522_496},
        "files": [{"name": "config.json", "size": 800, "md5": "x"}]
        + [{"name": name, "size": 4_015_130_624, "md5": None} for name in SHARDS],
        "source": {"kind": "par", "bucket": "models"},
        "prefix": prefix,
    }
    return Facts(**{"model": model, "cluster": cluster(), **changes})


def cluster(**changes: Any) -> dict[str, Any]:
    """What `oke_cluster_info` reads of a cluster with one node pool, which offers the recipe's shape in the first of its three domains.

    The offers are empty: then a shape is what the table says of it.
    """
    place = {"availability_domain": DOMAINS[0], "subnet_id": "ocid1.subnet.oc1.iad.aaaa"}
    return {
        "id": "ocid1.cluster.oc1.iad.aaaaaaaa",
        "region": "us-ashburn-1",
        "compartment_id": "ocid1.compartment.oc1..aaaa",
        "kubernetes_version": "v1.34.1",
        "cni_type": "FLANNEL_OVERLAY",
        "availability_domains": [{"name": name, "id": name} for name in DOMAINS],
        "shapes": {DOMAINS[0]: {}},
        "node_images": [
            {
                "image_id": f"ocid1.image.oc1.iad.{name}",
                "name": f"Oracle-Linux-8.10-Gen2-GPU{part}-2026.08.14-0-OKE-1.34.1-1699",
            }
            for name, part in (("aaaa", ""), ("arm", "-aarch64"))
        ],
        "node_pools": [
            {"id": "ocid1.nodepool.oc1.iad.aaaa", "name": "system", "lifecycle_state": "ACTIVE", "placements": [place]}
        ],
        "room": {},
        "compute_cluster": {},
        "exports": [],
        **changes,
    }


def plan(found: Facts | None = None, **changes: Any) -> dict[str, Any]:
    """The plan of the sample with `changes` of its parameters (see `recipe`)."""
    return make_plan(read_inputs(recipe(**changes)), found or facts())


def on(shape: str, gpus: int, nodes: int, cpus: int = 20, memory: int = 200, **more: Any) -> dict[str, Any]:
    """What to change in the sample's recipe for so many nodes of a shape, with pods of that size."""
    changes = {"recipe_node_shape": shape, "recipe_nvidia_gpu_count": gpus, "recipe_node_pool_size": nodes}
    changes[f"{PARAMS}__num_worker_nodes"] = nodes - 1
    for role in ("head", "worker"):
        for name, value in (("num_cpus", cpus), ("num_gpus", gpus), ("cpu_mem_in_gbs", memory)):
            changes[f"{PARAMS}__{role}_node_{name}"] = value
    return {**changes, **more}


def of(name: str = "", **changes: Any) -> Facts:
    """The facts with the configuration of a published model, else the sample's, and `changes` of it; no files known."""
    config = {**(published(name) if name else LLAMA_8B), **changes}
    return facts(model={**facts().model, "config": config, "index": None, "files": []})


def exposed(exposure: str, **changes: Any) -> dict[str, Any]:
    """What to change in the sample's recipe for this exposure of its endpoint."""
    return {"endpoint_exposure": exposure, **EXPOSURES[exposure], **changes}
