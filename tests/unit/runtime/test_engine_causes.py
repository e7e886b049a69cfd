# SPDX-License-Identifier: GPL-3.0-or-later
"""The known causes, each by a line as vLLM, PyTorch, NCCL or Ray writes it; and lines that show none."""

from __future__ import annotations

import engine_causes
import pytest

LASTING, PASSING = True, False


@pytest.mark.parametrize(
    ("line", "words", "lasting"),
    [
        (
            "(EngineCore pid=7) ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
            "no GPU memory is left for the KV cache",
            LASTING,
        ),
        (
            "ValueError: To serve ... (16.00 GiB KV cache is needed, which is larger than the available KV cache memory (9.21 GiB).",
            "no GPU memory is left for the KV cache",
            LASTING,
        ),
        (
            "ValueError: Free memory on device (3.1/22.06 GiB) on startup is less than desired GPU memory utilization (0.92, 20.3 GiB).",
            "in use by something else",
            PASSING,
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "ran out of memory", PASSING),
        (
            "FileNotFoundError: Weight files referenced in index but missing: model-00002-of-00004.safetensors",
            "not among its files",
            LASTING,
        ),
        (
            "ValueError: Following weights were not initialized from checkpoint: {'model.layers.3.mlp.down_proj.weight'}",
            "not among its files",
            LASTING,
        ),
        (
            "ValueError: Model architectures ['NewForCausalLM'] are not supported for now.",
            "does not know the model's architecture",
            LASTING,
        ),
        (
            "NotImplementedError: Pipeline parallelism is not supported for this model.",
            "cannot be divided into pipeline stages",
            LASTING,
        ),
        (
            "ValueError: The repository /models/m contains custom code which must be executed to correctly load the model.",
            "recipe_trust_remote_code",
            LASTING,
        ),
        (
            "ValueError: The quantization method mxfp4 is not supported for the current GPU. Minimum capability: 80.",
            "quantization is not for this GPU",
            LASTING,
        ),
        (
            "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla V100 GPU has 7.0.",
            "--dtype half",
            LASTING,
        ),
        (
            "ValueError: Total number of attention heads (14) must be divisible by tensor parallel size (4).",
            "another number of GPUs",
            LASTING,
        ),
        (
            "ValueError: User-specified max_model_len (65536) is greater than the derived max_model_len (max_position_embeddings=32768.0)",
            "recipe_max_model_length",
            LASTING,
        ),
        (
            "RuntimeError: The NVIDIA driver on your system is too old (found version 12080).",
            "driver is older than the image's CUDA needs",
            LASTING,
        ),
        (
            "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device",
            "compute capability",
            LASTING,
        ),
        ("OSError: [Errno 98] Address already in use", "a port is taken", PASSING),
        (
            "[rank1]:[E] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, OpType=ALLREDUCE) ran for 600000 ms",
            "NCCL time-out",
            PASSING,
        ),
        (
            "RuntimeError: Gloo connectFullMesh failed with [../third_party/gloo/gloo/transport/tcp/pair.cc:144] no error",
            "did not reach each other",
            PASSING,
        ),
        (
            "torch.distributed.DistBackendError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)",
            "did not reach each other",
            PASSING,
        ),
        ("torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered", "a GPU failed", PASSING),
        ("TimeoutError: RPC call to execute_model timed out.", "took longer than vLLM waits", PASSING),
        (
            "OSError: [Errno 28] No space left on device: '/home/ray/.cache/vllm/torch_compile_cache'",
            "is full",
            PASSING,
        ),
        (
            "ValueError: Cannot provide a placement group requiring 4 GPUs (placement_group_specs=[...]) within 1800 seconds.",
            "could not place",
            PASSING,
        ),
        (
            "ImportError: Failed to import Ray. Please install Ray with `pip install ray`.",
            "use an image that holds both",
            LASTING,
        ),
        (
            "(EngineCore pid=9) ERROR 11-25 RayWorkerProc rank=[1] died unexpectedly, shutting down executor.",
            "a rank of the engine died",
            PASSING,
        ),
        ("vllm: error: unrecognized arguments: --enable-ep-weight-filter", "does not take an option", LASTING),
    ],
)
def test_a_line_shows_its_cause_and_what_to_do(line: str, words: str, lasting: bool) -> None:
    cause = engine_causes.known(line)
    assert cause is not None
    assert words in cause.text
    assert cause.lasting is lasting
    assert cause.remedy


@pytest.mark.parametrize(
    "line",
    [
        "(EngineCore pid=7) INFO 11-25 [core.py:93] Initializing a V1 LLM engine (v0.26.0) with config: trust_remote_code=True",
        "INFO 11-25 [logger.py:43] Received request: prompt: 'What is: Address already in use?'",
        "(EngineCore pid=7) WARNING 11-25 [ray_utils.py:402] Tensor parallel size (2) exceeds available GPUs (1).",
        "Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:00<00:00]",
    ],
)
def test_a_line_of_every_day_shows_none(line: str) -> None:
    assert engine_causes.known(line) is None
