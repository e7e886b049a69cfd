# SPDX-License-Identifier: GPL-3.0-or-later
"""The cause in whole logs of engines that failed: real ones of vLLM 0.32, and what other versions and libraries print."""

from __future__ import annotations

import json
from pathlib import Path

import engine_log
import pytest

from rig.configuration import REPOSITORY
from tests.unit.runtime.engines import CORE, RANK, end, frames

LOGS = REPOSITORY / "rig" / "images" / "vllm-ray" / "failures"
LASTING, PASSING = True, False
ENDS = (f"{CORE} EngineCore failed to start.", f"{CORE} Traceback (most recent call last):")

# By the beginning of the file's name: exit code, what is found, what is quoted of the log, whether no restart fixes it.
REAL: dict[str, tuple[int, str, str, bool]] = {
    "01": (1, "does not know the model's architecture", "Model architectures ['LlamaNextGenForCausalLM'] are not", LASTING),
    "02": (1, "does not know the model's architecture", "model type `llama9` but Transformers does not", LASTING),
    "03": (1, "Python code of its own", "contains custom code which must be executed", LASTING),
    "04": (1, "the tokenizer's files", "Couldn't instantiate the backend tokenizer from one of: (1) a `tokenizers`", LASTING),
    "05": (1, "JSON file of the model", "'/models/tiny-llama/config.json' is not a valid JSON file.", LASTING),
    "06": (1, "does not read the model's quantization", "Unknown quantization method: hyperquant.", LASTING),
    "07": (1, "context asked for is longer", "User-specified max_model_len (8192) is greater than", LASTING),
    "08": (2, "refuses the value of an option", "argument --dtype: invalid choice: 'float12'", LASTING),
    "09": (2, "refuses the value of an option", "argument --hf-overrides: Value {rope_theta: 1} cannot", LASTING),
    "10": (1, "does not have the parser", "invalid tool call parser: llama9_json", LASTING),
    "11": (1, "cannot be divided over the GPUs", "attention heads (4) must be divisible by tensor parallel size (3).", LASTING),
    "12": (1, "cannot be divided into pipeline stages", "NotImplementedError: Pipeline parallelism is not", LASTING),
    "13": (0, "a rank of the engine died", "RayWorkerProc rank=[0] died unexpectedly", PASSING),
    "14": (1, "a weight file is cut off", "SafetensorError: Error while deserializing header: header too large", LASTING),
    "15": (1, "git-lfs pointer", "SafetensorError: Error while deserializing header: header too large", LASTING),
    "16": (1, "not among its files", "index but missing: {'/models/tiny-llama/model-00003-of-00004.safetensors'}", LASTING),
    "17": (1, "not among its files", "{'model.layers.2.post_attention_layernorm.weight'}", LASTING),
    "18": (1, "no GPU memory is left for the KV cache", "ValueError: To serve at least one request", LASTING),
    "19": (0, "a step of the engine took longer", "TimeoutError: RPC call to sample_tokens timed out.", PASSING),
    "20": (1, "/dev/shm is full or too small", "160 MiB required, 0 MiB free", PASSING),
    "21": (1, "a disk or /dev/shm is full", "OSError: [Errno 28] No space left on device", PASSING),
    "22": (1, "a port is taken", "OSError: [Errno 98] Address already in use", PASSING),
    "23": (1, "the chat template is not where", "(/models/template.jinja) appears path-like, but doesn't exist!", LASTING),
    "24": (2, "does not take an option", "vllm: error: unrecognized arguments: --enable-turbo-mode", LASTING),
    "25": (1, "the layers are not divided", "ValueError: sum(partitions)=6 does not match num_hidden_layers=4.", LASTING),
    "26": (1, "a rank of the engine died", "RayWorkerProc rank=[1] died unexpectedly", PASSING),
    "27": (1, "tensors are not those", "no module or parameter named 'layers.0.mlp.down_proj.weight'", LASTING),
    "28": (1, "could not place the engine", "placement group requiring 2.0 GPUs", PASSING),
    "29": (1, "limit of open files", "Too many open files (src/epoll.cpp:38)", LASTING),
    "30": (-9, "SIGKILL: for lack of memory in the pod, or from outside", "by signal 9", PASSING),
    "31": (1, "lacks a Python package", "ModuleNotFoundError: No module named 'runai_model_streamer'", LASTING),
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_a_real_log_gives_its_cause(path: Path) -> None:
    code, words, quoted, lasting = REAL[path.name[:2]]
    failure = end(path.read_text().splitlines(), code)
    assert words in failure.cause and quoted in failure.cause, failure.cause
    assert failure.lasting is lasting
    assert len(failure.cause) < 700


def test_every_log_is_expected() -> None:
    assert sorted(REAL) == sorted(path.name[:2] for path in LOGS.glob("*.log"))


@pytest.mark.parametrize("number", ["14", "16", "17", "25", "27", "31"])
def test_the_error_of_a_rank_comes_with_its_stage(number: str) -> None:
    [path] = LOGS.glob(f"{number}-*.log")
    stage = 1 if number in ("14", "17") else 0
    assert f"(stage {stage} (192.0.2." in end(path.read_text().splitlines()).cause


@pytest.mark.parametrize(
    ("code", "exception", "expected"),
    [
        ("assert head_size in SUPPORTED", "AssertionError", "AssertionError at `assert head_size in SUPPORTED` (vllm/model_executor"),
        ("raise NotImplementedError", "NotImplementedError", "NotImplementedError at `raise NotImplementedError`"),
        ("assert x % y == 0, 'no'", "AssertionError: 12 is not divisible by 8", "(AssertionError: 12 is not divisible by 8)"),
        ("f()", "KeyError: 'layers.0.block_sparse_moe.gate.weight'", "(KeyError: 'layers.0.block_sparse_moe.gate.weight')"),
        ("f()", "ValueError: some error that nobody has thought of", "ValueError: some error that nobody has thought of"),
        (
            "f()",
            "RuntimeError: Worker failed with error 'CUDA error: uncorrectable ECC error', please check the stack trace above",
            "a GPU failed (CUDA error: uncorrectable ECC error)",
        ),
        ("f()", "torch.distributed.DistNetworkError: The client socket has timed out after 600000ms", "ranks waited"),
    ],
)  # fmt: skip
def test_the_core_says_what_the_api_server_does_not(code: str, exception: str, expected: str) -> None:
    server = "(APIServer pid=1) ERROR 11-30 13:44:54 [launcher.py:1]"
    failure = end([
        *ENDS, *frames(CORE, code), f"{CORE} {exception}",
        "Process EngineCore:", "Traceback (most recent call last):", *frames("", code), exception,
        f"{server} Traceback (most recent call last):", *frames(server, "raise"),
        f"{server} RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}",
    ])  # fmt: skip
    assert expected in failure.cause
    assert failure.cause.count("ValueError") <= 1


def test_a_message_of_several_lines_is_one() -> None:
    failure = end([
        *ENDS, *frames(CORE, "f()"), f"{CORE} ValueError: the first line", f"{CORE}   and the second,", f"{CORE} and a third",
        "(APIServer pid=1) INFO 11-30 13:44:54 [launcher.py:1] shutting down",
    ])  # fmt: skip
    assert "ValueError: the first line and the second, and a third" in failure.cause


def test_what_became_of_a_ranks_error_in_the_core_is_no_cause() -> None:
    """As vLLM 0.32 wrote it: the core missed the answer of a rank whose exception Ray passed on later."""
    failure = end([
        f"{CORE} EngineCore encountered a fatal error.", f"{CORE} Traceback (most recent call last):",
        *frames(CORE, "req_index = model_runner_output.req_id_to_index[req_id]"), f"{CORE} KeyError: 'cmpl-a56cefd5b166602f-0-80e58bf1'",
        f"{RANK} WorkerProc hit an exception.", f"{RANK} Traceback (most recent call last):",
        *frames(RANK, "assert self.intermediate_tensors is not None"), f"{RANK} AssertionError",
        "(APIServer pid=1) ERROR 11-30 13:44:54 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered it",
    ])  # fmt: skip
    assert "stage 1 (192.0.2.8): AssertionError at `assert self.intermediate_tensors is not None`" in failure.cause


def test_ranks_that_lose_each_other_are_no_cause_where_one_of_them_says_one() -> None:
    other = RANK.replace("238", "239").replace("192.0.2.8", "192.0.2.7").replace("PP1", "PP0")
    failure = end([
        f"{other} WorkerProc hit an exception.", f"{other} Traceback (most recent call last):", *frames(other, "f()"),
        f"{other} RuntimeError: [../gloo/transport/tcp/pair.cc:534] Connection closed by peer [192.0.2.8]:4711",
        f"{RANK} WorkerProc hit an exception.", f"{RANK} Traceback (most recent call last):", *frames(RANK, "f()"),
        f"{RANK} torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        *ENDS, *frames(CORE, "f()"), f"{CORE} RuntimeError: cancelled",
    ])  # fmt: skip
    assert "the GPU ran out of memory (stage 1 (192.0.2.8): OutOfMemoryError: CUDA out of memory" in failure.cause


@pytest.mark.parametrize(
    ("lines", "expected", "lasting"),
    [
        # pydantic names the field on a line of its own.
        (
            ["Traceback (most recent call last):", *frames("", "f()"),
             "pydantic_core._pydantic_core.ValidationError: 1 validation error for ParallelConfig", "data_parallel_size",
             "  Input should be greater than or equal to 1 [type=greater_than_equal, input_value=0, input_type=int]",
             "    For further information visit https://errors.pydantic.dev/2.14/v/greater_than_equal"],
            "ParallelConfig: data_parallel_size Input should be greater than or equal to 1", LASTING,
        ),
        # A chain: the cause first, what was made of it last.
        (
            ["Traceback (most recent call last):", *frames("", "f()"),
             "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory", "",
             "The above exception was the direct cause of the following exception:", "",
             "Traceback (most recent call last):", *frames("", "f()"), "RuntimeError: Failed to load the kernels"],
            "the image's vLLM is for another CUDA", LASTING,
        ),
        # vLLM before 0.20, its old Ray executor, and the processes of one node.
        (
            ["(EngineCore_DP0 pid=9) ERROR 09-01 10:00:00 [core.py:708] EngineCore failed to start.",
             "(EngineCore_DP0 pid=9) ERROR 09-01 10:00:00 [core.py:708] Traceback (most recent call last):",
             *frames("(EngineCore_DP0 pid=9) ERROR 09-01 10:00:00 [core.py:708]", "f()"),
             "(EngineCore_DP0 pid=9) ERROR 09-01 10:00:00 [core.py:708] KeyError: 'model.layers.21.self_attn.attn'"],
            "old Ray executor", LASTING,
        ),
        # vLLM 0.12 puts the process before every line, uncaught tracebacks included.
        (
            ["(EngineCore_DP0 pid=9) ERROR 12-05 10:00:00 [core.py:843] EngineCore failed to start.",
             "(EngineCore_DP0 pid=9) ERROR 12-05 10:00:00 [core.py:843] Traceback (most recent call last):",
             *frames("(EngineCore_DP0 pid=9) ERROR 12-05 10:00:00 [core.py:843]", "f()"),
             "(EngineCore_DP0 pid=9) ERROR 12-05 10:00:00 [core.py:843] Exception: WorkerProc initialization failed due to it.",
             "(EngineCore_DP0 pid=9) Process EngineCore_DP0:",
             "(Worker_TP1 pid=12) ERROR 12-05 10:00:00 [multiproc_executor.py:711] WorkerProc failed to start.",
             "(Worker_TP1 pid=12) ERROR 12-05 10:00:00 [multiproc_executor.py:711] Traceback (most recent call last):",
             *frames("(Worker_TP1 pid=12) ERROR 12-05 10:00:00 [multiproc_executor.py:711]", "f()"),
             "(Worker_TP1 pid=12) ERROR 12-05 10:00:00 [multiproc_executor.py:711] ValueError: Head size 80 is not supported by it.",
             "(APIServer pid=1) Traceback (most recent call last):", *frames("(APIServer pid=1)", "f()"),
             "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"],
            "no attention kernel fits", LASTING,
        ),
        (
            ["(APIServer pid=1) Traceback (most recent call last):", *frames("(APIServer pid=1)", "f()"),
             "(APIServer pid=1) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
             "(APIServer pid=1)   Value error, --turbo is not for this model [type=value_error, input_value=X]"],
            "ModelConfig: --turbo is not for this model", LASTING,
        ),
        (
            ["(RayWorkerWrapper pid=7, ip=192.0.2.8) ERROR 12-05 10:00:00 [worker_base.py:305] Error executing method 'init_device'.",
             "(RayWorkerWrapper pid=7, ip=192.0.2.8) ERROR 12-05 10:00:00 [worker_base.py:305] Traceback (most recent call last):",
             *frames("(RayWorkerWrapper pid=7, ip=192.0.2.8) ERROR 12-05 10:00:00 [worker_base.py:305]", "f()"),
             "(RayWorkerWrapper pid=7, ip=192.0.2.8) ERROR 12-05 10:00:00 [worker_base.py:305] RuntimeError: Found no NVIDIA driver on it"],
            "does not see its GPUs (stage 1 (192.0.2.8)", PASSING,
        ),
        # Refused before a rank was started, by a message that is not known.
        (["Traceback (most recent call last):", *frames("", "f()"), "ValueError: --turbo wants --boost"], "ValueError: --turbo", LASTING),
        # The same while ranks run may pass.
        (
            [f"{RANK} Traceback (most recent call last):", *frames(RANK, "f()"), f"{RANK} ValueError: an odd value"],
            "stage 1 (192.0.2.8): ValueError: an odd value", PASSING,
        ),
        ([f"{RANK} Traceback (most recent call last):", *frames(RANK, "f()"),
          f"{RANK} FileNotFoundError: [Errno 2] No such file or directory: '/psm_12ab'"], "/psm_12ab", PASSING),
        ([f"{RANK} Traceback (most recent call last):", *frames(RANK, "f()"),
          f"{RANK} FileNotFoundError: [Errno 2] No such file or directory: '/models/m/generation.bin'"], "generation.bin", LASTING),
        # PyTorch's hook and its C++ write the rank in front.
        (["[rank1]: Traceback (most recent call last):", *frames("[rank1]:", "f()"),
          "[rank1]: torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device"],
         "compute capability (stage 1 (192.0.2.8): AcceleratorError", LASTING),
        (["[rank0]:[E1130 13:43:14.823122019 ProcessGroupNCCL.cpp:685] [Rank 0] Watchdog caught collective operation timeout: x"],
         "NCCL time-out (stage 0", PASSING),
        (["node-1:88:91 [0] NCCL WARN Cuda failure 2 'out of memory'",
          f"{RANK} Traceback (most recent call last):", *frames(RANK, "f()"),
          f"{RANK} torch.distributed.DistBackendError: NCCL error in: NCCLUtils.cpp:93, unhandled cuda error"],
         "the GPU ran out of memory", PASSING),
        # Ray's words on an actor, over several lines.
        ([f"{CORE} Traceback (most recent call last):", *frames(CORE, "f()"),
          f"{CORE} ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.",
          f"{CORE} \tclass_name: RayWorkerWrapper", f"{CORE} The actor died because its node has died."],
         "a rank of the engine died", PASSING),
        (["api_server.py: error: argument --max-model-len: invalid int value: 'many'"], "invalid int value: 'many'", LASTING),
    ],
)  # fmt: skip
def test_a_log_of_another_kind_gives_its_cause(lines: list[str], expected: str, lasting: bool) -> None:
    failure = end(lines)
    assert expected in failure.cause
    assert failure.lasting is lasting


@pytest.mark.parametrize(
    ("line", "words", "lasting"),
    [
        ("ValueError: Weight input_size_per_partition = 1944 is not divisible by min_thread_k = 128.",
         "a quantized matrix too fine", LASTING),
        ("RuntimeError: size_k must divisible by BLOCK_SIZE_K", "a quantized matrix too fine", LASTING),
        ("RuntimeError: ('Quantization scheme is not supported for ', 'the current GPU. Min capability: 75. ')",
         "not for this GPU", LASTING),
        ("ValueError: Current node has no GPU available. current_node_resource={'memory': 1.0}.", "the head has no GPU", PASSING),
        ("RuntimeError: NCCL Error 2: unhandled system error (run with NCCL_DEBUG=INFO for details)", "did not reach each other", PASSING),
        ("torch.distributed.DistBackendError: NCCL error in: NCCLUtils.cpp:93, unhandled system error", "did not reach", PASSING),
        ("NCCL WARN Error while attaching to shared memory segment /dev/shm/nccl-Ab (size 9)", "/dev/shm is full", PASSING),
        ("torch.distributed.DistStoreError: wait timeout after 1800000ms, keys: /default_pg/0", "ranks waited for one", PASSING),
        ("RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized", "fabric manager", PASSING),
        ("RuntimeError: Failed to find C compiler. Please specify via CC environment variable", "no C compiler", LASTING),
        ("safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer", "is cut off", LASTING),
        ("RuntimeError: Cannot find any model weights with `/models/org/name`", "no weights in the format", LASTING),
        ("Worker unexpectedly exits with a connection error code 2. End of file. (1) The process is killed by SIGKILL by OOM killer",
         "its pod's memory is too small", PASSING),
        ("ValueError: type fp8e4nv not supported in this architecture.", "the GPU has no FP8", LASTING),
        ("ValueError: XForCausalLM has no vLLM implementation and the Transformers implementation is not compatible",
         "architecture", LASTING),
        ("ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=256)",
         "no attention kernel", LASTING),
        ("OSError: Can't load tokenizer for '/models/org/name'. If you were trying to load it from", "the tokenizer's files", LASTING),
        ("RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable", "another process holds the GPU", PASSING),
        ("OSError: /models/m does not appear to have a file named preprocessor_config.json.", "a file that the engine needs", LASTING),
        ("ValueError: Cannot auto-fit max_model_len: not enough GPU memory available", "for the KV cache", LASTING),
        ("ImportError: /opt/vllm/_C.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEi", "another CUDA", LASTING),
        ("_pickle.UnpicklingError: invalid load key, 'v'.", "git-lfs pointer", LASTING),
        ("RuntimeError: Version mismatch: The cluster was started with: Ray: 2.58.0", "different versions of Ray", LASTING),
        ("ValueError: Model type x is not supported with pipeline parallelism", "cannot be combined with pipeline", LASTING),
        ("RuntimeError: can't start new thread", "may not start more threads", PASSING),
        ("triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 106496", "more shared memory than", LASTING),
        ("torch._inductor.exc.InductorError: CalledProcessError: Command '['/usr/bin/gcc', 'x.c']' returned non-zero",
         "no C compiler", LASTING),
        ("RuntimeError: start (0) + length (2048) exceeds dimension size (1024).", "tensors are not those", LASTING),
        ("Failed: Cuda error /workspace/csrc/custom_all_reduce.cuh:455 'invalid argument'", "could not share memory", PASSING),
        ("OSError: [Errno 116] Stale file handle: '/models/m/model.safetensors'", "file system over the network", PASSING),
        ("ValueError: Ray does not allocate any GPUs on the driver node.", "the head has no GPU", PASSING),
        ("OSError: You are trying to access a gated repo.", "Hugging Face refuses the access", LASTING),
        ("The node with node id: 8f3a has been marked dead because the detector has missed too many heartbeats",
         "rank of the engine died", PASSING),
        ("ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'", "compute capability", LASTING),
        ("PermissionError: [Errno 13] Permission denied: '/models/m/config.json'", "may not read or write", LASTING),
    ],
)  # fmt: skip
def test_a_family_of_messages_is_known(line: str, words: str, lasting: bool) -> None:
    failure = end([line])
    assert words in failure.cause and failure.remedy, failure.cause
    assert failure.lasting is lasting


def test_warnings_and_information_are_no_cause() -> None:
    failure = end([
        "(APIServer pid=8) WARNING 11-30 13:33:18 [utils.py:255] It can cause errors like `OSError: [Errno 24] Too many open files`.",
        "2026-11-30 14:23:27,246\tWARNING worker.py:1768 -- File descriptor limit 64 is too low, Too many open files",
        "/opt/venv/lib/python3.11/site-packages/x.py:12: UserWarning: CUDA out of memory may follow",
        "(EngineCore pid=7) INFO 11-30 13:33:18 [core.py:93] config: No space left on device",
        "INFO:     Shutting down",
    ])  # fmt: skip
    assert failure.cause == "the engine ended with exit code 1" and not failure.lasting


def test_a_json_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "generation_config.json").write_text('{"top_p": ')
    failure = end(
        ["Traceback (most recent call last):", *frames("", "json.load(f)"),
         '  File "/usr/lib/python3.12/json/decoder.py", line 355, in raw_decode', "    raise JSONDecodeError(...)",
         "json.decoder.JSONDecodeError: Expecting value: line 1 column 11 (char 10)"],
        model=tmp_path,
    )  # fmt: skip
    assert f"not valid JSON: {tmp_path}/generation_config.json" in failure.cause and "linear.py:12" in failure.cause
    assert failure.lasting


def test_an_exit_code_of_argparse_is_lasting_whatever_was_said() -> None:
    assert end(["usage: vllm serve"], 2).lasting
    assert not end([f"{RANK} started"], 2).lasting


def test_nothing_is_lasting_once_it_served() -> None:
    said = ["(APIServer pid=1) ERROR 11-30 13:33:18 [serving.py:9] KeyError: 'x.layers.0.mlp.weight'"]
    assert not end(said, serves=True).lasting
    # A request may bring it about, and must not end the service.
    rank = [f"{RANK} Traceback (most recent call last):", *frames(RANK, "f()")]
    assert not end([*rank, f"{RANK} NotImplementedError: this mask is not supported"], serves=True).lasting
    assert not end([*rank, f"{RANK} ValueError: No valid attention backend found"], serves=True).lasting


@pytest.mark.parametrize(
    ("exception", "lasting"),
    [
        ("ValueError: Unsupported FP8 scale format: float4 for layer model.layers.0", LASTING),
        ("AssertionError: Only 8-bit and 4-bit are supported for this quantization, got 3", LASTING),
        ("ValueError: block_size must be a multiple of 16", LASTING),
        ("ValueError: an odd value", PASSING),
        ("OSError: the file system does not support it", PASSING),
        ("RuntimeError: this operation is not supported", PASSING),
    ],
)
def test_a_rank_that_refuses_what_was_asked_for_is_not_started_again(exception: str, lasting: bool) -> None:
    failure = end([f"{RANK} Traceback (most recent call last):", *frames(RANK, "f()"), f"{RANK} {exception}"])
    assert exception in failure.cause and failure.lasting is lasting


def test_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_log, "_KEPT", 5)
    log = engine_log.Log()
    for number in range(50):
        log.read(f"ERROR 11-30 13:33:18 [x.py:{number}] ValueError: {json.dumps({'number': number})}")
    root = log.root()
    assert root is not None and "44" in root.text
