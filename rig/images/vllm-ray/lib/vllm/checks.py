# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM refuses before it takes a GPU, with its words (vllm/config/model.py, config/parallel.py)."""

from __future__ import annotations

import os
from typing import Any

from vllm import checkpoint


def check(arguments: Any, config: dict[str, Any]) -> None:
    """Check arguments against the model and fill in `max_model_len`; ValueError on what does not fit."""
    text = checkpoint.text_config(config)
    tensor, pipeline = arguments.tensor_parallel_size, arguments.pipeline_parallel_size
    heads = text["num_attention_heads"]
    if heads % tensor:
        raise ValueError(
            f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({tensor})."
        )
    if pipeline > text["num_hidden_layers"]:
        raise ValueError(f"{text['num_hidden_layers']} layers cannot be divided into {pipeline} pipeline stages.")
    if arguments.distributed_executor_backend != "ray" and tensor * pipeline > 1:
        raise ValueError(
            f"World size ({tensor * pipeline}) is larger than the number of available GPUs in this node. If this is "
            "intentional and you are using: - ray, set '--distributed-executor-backend ray'. - multiprocessing, set "
            "'--nnodes' appropriately."
        )
    derived = text.get("max_position_embeddings", 2048)
    asked = arguments.max_model_len
    if asked is None or asked == -1:
        arguments.max_model_len = derived
    elif asked > derived and os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0") != "1":
        raise ValueError(
            f"User-specified max_model_len ({asked}) is greater than the derived max_model_len "
            f"(max_position_embeddings={derived} or model_max_length=None in model's config.json). To allow overriding "
            "this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1."
        )
    port = os.environ.get("VLLM_PORT", "")
    if port and not port.isdigit():
        # A Service named vllm sets this variable in every pod of its namespace.
        raise ValueError(
            f"VLLM_PORT '{port}' appears to be a URI. This may be caused by a Kubernetes service discovery issue."
        )
