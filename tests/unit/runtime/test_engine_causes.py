# SPDX-License-Identifier: GPL-3.0-or-later
"""The known causes, each by a line as vLLM, PyTorch, NCCL or Ray writes it; and lines that show none."""

from __future__ import annotations

import engine_causes
import engine_log
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
    cause = engine_causes.shown_by(line)
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
    log = engine_log.Log()
    log.read(line)
    assert log.root() is None


@pytest.mark.parametrize(
    ("error", "words", "lasting"),
    [
        ("ValueError: VLLM_PORT 'tcp://10.96.4.4:8000' appears to be a URI. This may be caused by a Kubernetes service discovery issue",
         "a Service named vllm sets VLLM_PORT", LASTING),
        ("ValueError: LoRA rank 64 is greater than max_lora_rank 16.", "--max-lora-rank", LASTING),
        ("LoRAAdapterNotFoundError: Loading lora /models/a failed: No adapter found for /models/a", "a LoRA adapter", LASTING),
        ("ValueError: num_speculative_tokens must be provided with speculative model unless the draft model has one",
         "correct --speculative-config", LASTING),
        ("ImportError: LlamaTokenizer requires the SentencePiece library but it was not found in your environment.",
         "lacks a Python package", LASTING),
        ("ValueError: `tiktoken` is required to read a `tiktoken` file. Install it with `pip install tiktoken`.",
         "lacks a Python package", LASTING),
        ("RuntimeError: DeepGEMM backend is not available or outdated. Please install or update the `deep_gemm`",
         "lacks a Python package", LASTING),
        ("ValueError: Found 0 files matching the pattern: `tekken`. Make sure that a Mistral tokenizer is present in ['config.json'].",
         "the tokenizer's files", LASTING),
        ("HfHubHTTPError: 429 Client Error: Too Many Requests for url: https://huggingface.co/api/models/x", "asks Hugging Face", PASSING),
        ("AssertionError: Tried to load weights of size torch.Size([2048])to a parameter of size torch.Size([1024])",
         "tensors are not those", LASTING),
        ("ValueError: Trying to set a tensor of shape torch.Size([64]) in 'weight' (which has shape torch.Size([32]))",
         "tensors are not those", LASTING),
        ("KeyError: 'rope_type'", "config.json lacks", LASTING),
        ("AttributeError: 'Qwen3NextConfig' object has no attribute 'layers_block_type'", "config.json lacks", LASTING),
        ("ValueError: No MXFP4 MoE backend supports the deployment configuration.", "quantization is not for this GPU", LASTING),
        ("ValueError: Failed to find a kernel that can implement the WNA16 linear layer. Reasons:", "not for this GPU", LASTING),
        ("RuntimeError: FP8 Marlin kernels are not supported on this GPU", "GPU", LASTING),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ARCH_MISMATCH when calling cublasGemmEx", "compute capability", LASTING),
        # Not the image's: the container runtime mounts it with the GPUs.
        ("ImportError: libcuda.so.1: cannot open shared object file: No such file or directory", "does not see its GPUs", PASSING),
        ("NVMLError_DriverNotLoaded: Driver Not Loaded", "does not see its GPUs", PASSING),
        ("ncclInvalidUsage: Last error: Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 18000", "the same GPU", PASSING),
        # The lack is of memory that a device can lock, not of the pod's.
        ("node:88:91 [0] NCCL WARN Call to ibv_reg_mr failed with error Cannot allocate memory", "RDMA network", PASSING),
        ("ConnectError: [Errno -2] Name or service not known", "name could not be resolved", PASSING),
        ("TimeoutError: Timed out waiting for engine core processes to start. Waited 600s (configured by VLLM_ENGINE_READY_TIMEOUT_S).",
         "increase VLLM_ENGINE_READY_TIMEOUT_S", PASSING),
        ("ProcessGroupNCCL's watchdog got stuck for 480 seconds without making progress", "NCCL time-out", PASSING),
        ("PlacementGroupRemoved: The placement group corresponding to this Actor has been removed", " rank of the engine died", PASSING),
        ("RuntimeEnvSetupError: Failed to set up runtime environment.", "lost Ray", PASSING),
        ("Unsupported: Attempted to call function marked as skipped", "compiling the model failed", PASSING),
        ("RuntimeError: Ninja build failed. Ninja output:", "compiling the model failed", PASSING),
    ],
)  # fmt: skip
def test_an_error_is_one_of_a_family(error: str, words: str, lasting: bool) -> None:
    cause = engine_causes.shown_by(error)
    assert cause is not None
    assert words in cause.text
    assert cause.lasting is lasting
