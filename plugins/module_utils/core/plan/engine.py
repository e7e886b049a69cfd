# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs in the pods: vLLM's arguments, the environment, Ray's parameters, and the files each stage holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..fault import Findings
from ..model.facts import ModelFacts
from ..recipe.inputs import Inputs
from ..recipe.parameter_objects import RAY_PORTS, WORKER_PORTS
from ..recipe.vllm_arguments import merged, options
from ..sizing.parallelism import stage_files
from ..sizing.stages import MemoryPlan
from .arguments import EngineArguments
from .types import Engine, Repository, Staging

# Ray keeps at least 75 MB of object store (Ray, ray_constants.py) and vLLM hardly uses it: what it takes is lost to
# the page cache that loading reads through.
OBJECT_STORE_BYTES = 200_000_000
# Every path of the API asks for the key (roles/raycluster/files/engine_key_guard.py); vLLM's own check leaves some open.
GUARD = ("--middleware", "engine_key_guard.KeyGuard")
# How long an engine that is asked to end finishes the requests it has; the pods' grace period is a little longer.
DRAIN_SECONDS = 45
# A volume that ends with the pod: what lies there outlives the container, which ends with each restart.
STATE_FOLDER = "/run/multinode"
CACHE_FOLDER = f"{STATE_FOLDER}/cache"


def staging_of(
    found: Mapping[str, Any],
    model: ModelFacts,
    per_stage: list[int],
    path: str,
    whole_set: str = "",
    drafts: bool = False,
) -> Staging:
    """Which files the nodes hold, and which node which of the weights.

    whole_set: why each holds all, if it does; drafts: the last stage runs the model's own drafter too.
    """
    files = [{key: entry.get(key) for key in ("name", "size", "md5", "sha256")} for entry in found.get("files") or ()]
    weight_map = (found.get("index") or {}).get("weight_map") or {}
    by_stage: list[list[str]] = []
    if weight_map and per_stage and not whole_set:
        # Of a model that is not certain every stage gets embedding and head.
        inventory, unsure = model.inventory, not model.certain
        by_stage = stage_files(
            weight_map,
            per_stage,
            model.tied,
            inventory.embedding_everywhere or unsure,
            inventory.head_everywhere or unsure,
            drafts,
        )
    source = found["source"]
    repository = {key: source[key] for key in ("endpoint", "repository", "commit") if key in source}
    return {
        "source": source["kind"],
        **cast(Repository, repository),
        "prefix": found["prefix"],
        "root": path.rstrip("/"),
        "files": files,
        "by_stage": bool(by_stage),
        "shards_per_stage": by_stage,
    }


def served_names(recipe: Mapping[str, Any]) -> list[str]:
    """Return the names that requests may use for the model: the recipe's, or that of its folder, and its path."""
    path = recipe["recipe_raycluster_params"]["model_path_in_container"].rstrip("/")
    return [recipe["recipe_served_model_name"] or path.rpartition("/")[2], path]


def engine_of(
    inputs: Inputs,
    model: ModelFacts,
    memory: MemoryPlan | None,
    parallel: tuple[int, int],
    given: EngineArguments,
    network: Mapping[str, str],
    more: Sequence[str],
    findings: Findings,
    tls: tuple[str, ...] = (),
) -> Engine:
    """Return vLLM's arguments, the environment and Ray's parameters.

    parallel  GPUs of a node, and nodes
    network   what NCCL and Gloo have to know of the network, as variables
    more      further arguments that follow from the recipe and the model
    tls       arguments of the certificate, where TLS ends in the pod
    """
    recipe, (tensor, pipeline) = inputs.recipe, parallel
    params = recipe["recipe_raycluster_params"]
    arguments = [
        "--tensor-parallel-size", str(tensor),
        "--pipeline-parallel-size", str(pipeline),
        "--distributed-executor-backend", "ray",
        "--host", "0.0.0.0",
        "--port", str(recipe["recipe_container_port"]),
        "--served-model-name", *served_names(recipe),
    ]  # fmt: skip
    # The default differs from version to version (0.9, then 0.92), and the plan is computed with this.
    arguments += ["--gpu-memory-utilization", f"{given.memory.gpu_memory_utilization:g}"]
    if memory is not None and (
        recipe["recipe_max_model_length"] or memory.context != (model.default_length or memory.context)
    ):
        arguments += ["--max-model-len", str(memory.context)]
    if memory is not None and memory.max_num_seqs:
        arguments += ["--max-num-seqs", str(memory.max_num_seqs)]
    arguments += more
    if recipe["recipe_trust_remote_code"]:
        arguments.append("--trust-remote-code")
    # vLLM takes every --middleware, and the last as the outermost: no request gets past the guard.
    arguments = [*merged(arguments, given.given.words), *tls, *GUARD]
    # Of options that not every supported vLLM has, the pods leave out what their image's does not know.
    optional = [
        ["--shutdown-timeout", str(DRAIN_SECONDS)],
        # The probes ask every few seconds; their lines would bury what the engine says.
        ["--disable-uvicorn-access-log"],
        # A certificate that is renewed needs no restart.
        *([["--enable-ssl-refresh"]] if tls else []),
    ]
    queued = inputs.settings["max_queued_requests"]
    if queued is not None:
        optional.append(["--max-num-queued-reqs", str(queued)])
    said = {option.name.replace("--no-", "--") for option in options(arguments)}
    on_each_node = {
        **{name: str(port) for name, port in RAY_PORTS.items()},
        "min-worker-port": str(WORKER_PORTS[0]),
        "max-worker-port": str(WORKER_PORTS[-1]),
        "metrics-export-port": str(params["metrics_export_port"]),
        "object-store-memory": str(OBJECT_STORE_BYTES),
        "log-color": "false",
    }
    return {
        "args": arguments,
        "optional": [option for option in optional if option[0] not in said],
        "env": _environment(
            recipe,
            {
                # No unrequested traffic: usage reports, and look-ups of a model that is on the disk.
                "VLLM_NO_USAGE_STATS": "1",
                "DO_NOT_TRACK": "1",
                "RAY_USAGE_STATS_ENABLED": "0",
                "HF_HUB_OFFLINE": "1",
                # A large model takes longer to load than the 600 s that vLLM's client waits by default (vLLM, envs.py).
                "VLLM_ENGINE_READY_TIMEOUT_S": "7200",
                # What was compiled for these GPUs once need not be in a restart.
                "XDG_CACHE_HOME": CACHE_FOLDER,
                "VLLM_CACHE_ROOT": f"{CACHE_FOLDER}/vllm",
                "TRITON_CACHE_DIR": f"{CACHE_FOLDER}/triton",
                "TORCHINDUCTOR_CACHE_DIR": f"{CACHE_FOLDER}/torchinductor",
                # Not those: a build that was killed leaves a lock, which the next would wait for (PyTorch, file_baton.py).
                "TORCH_EXTENSIONS_DIR": "/tmp/torch_extensions",
                **network,
                # Loading fills the page cache up to the pod's limit; Ray would take that for a lack of memory.
                "RAY_memory_monitor_refresh_ms": "0",
            },
            findings,
        ),
        "ray_start": {
            "head": {
                "port": str(params["redis_port"]),
                "dashboard-host": "0.0.0.0",
                "dashboard-port": str(params["dashboard_port"]),
                "ray-client-server-port": str(params["rayclient_server_port"]),
                **on_each_node,
            },
            "worker": on_each_node,
        },
    }


def _environment(recipe: Mapping[str, Any], own: dict[str, str], findings: Findings) -> dict[str, str]:
    """Return our variables and those of the recipe, which may put another value in place of ours, from a Secret too."""
    environment = dict(own)
    for parameter, field in (("recipe_container_env", "key"), ("recipe_environment_secrets", "envvar_name")):
        for number, entry in enumerate(recipe[parameter] or ()):
            name = entry[field]
            if name in own:
                place = f"{parameter}[{number}].{field}"
                findings.warn("variable_overridden", place, f"{name}, in place of the plan's {own[name]}")
                environment.pop(name, None)
            if "value" in entry:
                environment[name] = entry["value"]
    return environment
