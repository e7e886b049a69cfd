# SPDX-License-Identifier: GPL-3.0-or-later
"""The cause in logs of other shapes: other versions, Ray's copies, collectors, JSON, asides of what goes on, and floods."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable

import engine_error
import engine_line
import engine_log
import pytest
from pod_progress import Failure

from tests.unit.runtime.engines import CORE, RANK, end, frames, raised

LASTING, PASSING = True, False
SERVER = "(APIServer pid=1)"
HOLLOW = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"


OLD_RANK = "(VllmWorker rank=1 pid=336) ERROR 08-16 11:45:16 [multiproc_executor.py:511]"
OLD_CORE = "ERROR 08-16 11:45:17 [core.py:632]"
NESTED = "(APIServer pid=1) (EngineCore_DP0 pid=24) (Worker_PP1_TP0 pid=25) ERROR 10-30 17:32:00 [v1/executor/multiproc_executor.py:671]"
KERNELS = "(EngineCore pid=9) ERROR 04-01 11:21:57 [config.py:29] Failed to import Triton kernels. Error: No module named 'triton_kernels'"
DIED = f"{CORE} RayWorkerProc rank=[1] died unexpectedly, shutting down executor."
PLUGINS = "(RayWorkerProc pid=238, ip=192.0.2.8) ERROR 04-01 11:21:57 [__init__.py:98]"
REGISTRY = "(APIServer pid=1) ERROR 04-01 11:21:57 [registry.py:883]"
CHAIN = ("", "The above exception was the direct cause of the following exception:", "")
REPEATED = " [repeated 3x across cluster] (Ray deduplicates logs by default. Set RAY_DEDUP_LOGS=0 to disable log deduplication)"


def record(level: str, message: str, error: str = "") -> str:
    """A line as a logging configuration for JSON makes it."""
    entry = {"asctime": "2026-11-30 10:00:00", "levelname": level, "name": "vllm", "message": message}
    return json.dumps({**entry, "exc_info": error} if error else entry)


@pytest.mark.parametrize(
    ("lines", "expected", "lasting"),
    [
        # vLLM 0.10: its ranks have another name, and its core none.
        (
            [f"{OLD_RANK} WorkerProc failed to start.", *raised(OLD_RANK, "KeyError: 'layers.1.mlp.experts.w13_weight'"),
             f"{OLD_CORE} EngineCore failed to start.", *raised(OLD_CORE, "Exception: WorkerProc initialization failed due to it."),
             *raised("", HOLLOW)],
            "tensors are not those", LASTING,
        ),
        ([*raised(OLD_RANK, "ValueError: an odd value")], "ValueError: an odd value", PASSING),
        (
            [f"{OLD_CORE} EngineCore hit an exception: Traceback (most recent call last):", *frames(OLD_CORE, "f()"),
             f"{OLD_CORE} torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."],
            "the GPU ran out of memory", PASSING,
        ),
        ([*raised(NESTED, "RuntimeError: an odd value")], "stage 1 (192.0.2.8): RuntimeError: an odd value", PASSING),
        # What Ray writes once for several ranks.
        (
            [line + REPEATED for line in raised(RANK, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")],
            "the GPU ran out of memory (stage 1 (192.0.2.8): OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.)", PASSING,
        ),
        # What collectors write in front, and what they leave of colours.
        ([f"2026-11-30T10:00:00.123456789Z stderr F {line}" for line in raised(CORE, "ValueError: --turbo wants --boost")],
         "1: ValueError: --turbo wants --boost", LASTING),
        ([f"Nov 30 10:00:00 node-1 vllm[8052]: {line}" for line in raised(CORE, "ValueError: --turbo wants --boost")],
         "1: ValueError: --turbo wants --boost", LASTING),
        ([line.replace("\x1b", "") for line in raised(RANK, "torch.OutOfMemoryError: CUDA out of memory.")],
         "the GPU ran out of memory (stage 1 (192.0.2.8)", PASSING),
        (
            [record("INFO", "No space left on device"), record("WARNING", "CUDA out of memory may follow"),
             record("ERROR", "EngineCore failed to start.", "\n".join(raised("", "ValueError: --turbo wants", "  --boost"))),
             *raised(SERVER, HOLLOW)],
            "1: ValueError: --turbo wants --boost", LASTING,
        ),
        (
            [f"(Worker_PP1 pid=25) {record('ERROR', 'it failed', chr(10).join(raised('', 'RuntimeError: an odd value')))}"],
            "stage 1 (192.0.2.8): RuntimeError: an odd value", PASSING,
        ),
        ([json.dumps({"log": f"{line}\n", "stream": "stderr"}) for line in raised(CORE, "ValueError: --turbo wants --boost")],
         "1: ValueError: --turbo wants --boost", LASTING),
        # A bar that did not end its line.
        (
            [f"Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:00<00:02,  1.27it/s]{line}" if number == 0 else line
             for number, line in enumerate(raised(RANK, "RuntimeError: an odd value"))],
            "stage 1 (192.0.2.8): RuntimeError: an odd value", PASSING,
        ),
        (
            ["  + Exception Group Traceback (most recent call last):", '  |   File "/opt/venv/x.py", line 1, in main', "  |     f()",
             "  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)", "  +-+---------------- 1 ----------------",
             "    | Traceback (most recent call last):", '    |   File "/opt/venv/x.py", line 2, in f', "    |     g()",
             "    | ValueError: --turbo wants --boost", "    +------------------------------------"],
            "1: ValueError: --turbo wants --boost", LASTING,
        ),
        # What ended an actor comes below the exception of the one that waited for it.
        (
            [f"{CORE} EngineCore failed to start.",
             *raised(CORE, "ray.exceptions.ActorDiedError: The actor died because of an error raised in its creation task, "
                     "\x1b[36mray::RayWorkerProc.__init__()\x1b[39m (pid=240, ip=192.0.2.8, actor_id=3f)"),
             *(f"{CORE} {line}" for line in frames("", "import x")), f"{CORE} ModuleNotFoundError: No module named 'turbo'"],
            "the image lacks a Python package (stage 1 (192.0.2.8): ModuleNotFoundError: No module named 'turbo')", LASTING,
        ),
        (
            [*raised(CORE, "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.",
                     "\tclass_name: RayWorkerWrapper", "\tpid: 440", "\tip: 192.0.2.8", "The actor is dead because its process died.")],
            "a rank of the engine died (stage 1 (192.0.2.8)", PASSING,
        ),
        (
            ["(raylet) The node with node id: 8f3a and address: 192.0.2.8 and node name: x has been marked dead because it is silent",
             "[rank0]:[E1130 13:43:14.8 ProcessGroupNCCL.cpp:685] [Rank 0] Watchdog caught collective operation timeout: x"],
            "a rank of the engine died with its pod or node (stage 1 (192.0.2.8): The node with node id", PASSING,
        ),
        # A time-out without words, and what was made of it.
        (
            [f"{CORE} EngineCore encountered a fatal error.",
             *raised(CORE, "TimeoutError", *CHAIN), *raised(CORE, "TimeoutError: RPC call to execute_model timed out.")],
            "took longer than vLLM waits for one (TimeoutError: RPC call to execute_model timed out.)", PASSING,
        ),
        (
            [*raised(CORE, "RuntimeError: Worker failed with error 'CUDA error: an illegal memory access was encountered",
                     "CUDA kernel errors might be asynchronously reported at some other API call.",
                     "', please check the stack trace above for the root cause")],
            "a GPU failed (CUDA error: an illegal memory access was encountered", PASSING,
        ),
        # The core does not say what the rank said.
        (
            [f"{CORE} EngineCore encountered a fatal error.", *raised(CORE, "RuntimeError: Worker failed with error '', please check it"),
             *raised(RANK, "AssertionError", code="assert self.kept is not None")],
            "stage 1 (192.0.2.8): AssertionError at `assert self.kept is not None`", PASSING,
        ),
        # The place of a bare assertion in an image of Debian's Python.
        (
            [line.replace("/opt/venv/lib/python3.12/site-packages", "/usr/local/lib/python3.12/dist-packages")
             for line in raised(CORE, "AssertionError", code="assert page == largest")],
            "AssertionError at `assert page == largest` (vllm/model_executor/layers/linear.py:12, __init__)", LASTING,
        ),
        # Containers count their processes each for itself: the head's rank, without an address, has the same ID as the other's.
        (
            ["(RayWorkerProc pid=238) (Worker_PP0 pid=238) INFO 11-30 10:00:00 [x.py:1] a", f"{RANK.replace('ERROR', 'INFO')} b",
             *raised("(RayWorkerProc pid=238)", "RuntimeError: an odd value")],
            "stage 0 (192.0.2.7): RuntimeError: an odd value", PASSING,
        ),
        # The first words of a rank come before it knows its stage.
        ([*raised("(RayWorkerProc pid=240)", "RuntimeError: an odd value")], "stage 0 (192.0.2.7): RuntimeError: an odd value", PASSING),
        (
            ["(EngineCore pid=9) (RayWorkerProc pid=2, ip=192.0.2.8) (Worker pid=2) Failed: capability: SM 12.x requires CUDA >= 12.9.",
             *raised(RANK, "RuntimeError: FlashInfer requires GPUs with sm75 or higher")],
            "compute capability (stage 1 (192.0.2.8): Failed: capability: SM 12.x requires CUDA", LASTING,
        ),
        (
            ["(RayWorkerProc pid=2158, ip=192.0.2.8) double free or corruption (fasttop)",
             "(RayWorkerProc pid=2158, ip=192.0.2.8) *** SIGABRT received at time=1785200000 on cpu 3 ***", DIED],
            "a process of the engine crashed (stage 1 (192.0.2.8): double free or corruption (fasttop))", PASSING,
        ),
        (
            ["node-1:2472:2472 [0] NCCL INFO NET/IB : error to be expected",
             "node-1:24:24 [0] init.cc:449 NCCL WARN open: Permission denied",
             "[10:00:00] node-1:2:2 [0] init.cc:9 NCCL INFO Bootstrap : no socket interface", DIED],
            "a rank of the engine died", PASSING,
        ),
        ([f"2026-11-30 10:00:00.058 | {line}" for line in raised(CORE, "ValueError: --turbo wants it")], "1: ValueError: --turbo", LASTING),
        (["vllm-1  | " + line for line in raised(CORE, "ValueError: --turbo wants --boost")], "1: ValueError: --turbo", LASTING),
        (["ERROR:    a line about something else", "a line", *raised("", "ValueError: --turbo wants --boost")], "1: ValueError", LASTING),
        # What failed before, and the rank went on without.
        (
            [f"{PLUGINS} Failed to load plugin turbo", *raised(PLUGINS, "ModuleNotFoundError: No module named 'turbo'"),
             f"{RANK} WorkerProc failed to start.", *raised(RANK, "torch.OutOfMemoryError: CUDA out of memory.")],
            "the GPU ran out of memory (stage 1", PASSING,
        ),
        (
            [f"{REGISTRY} Error in inspecting model architecture 'X'", *raised(REGISTRY, "ImportError: libx.so: undefined symbol: _ZN3")],
            "for another CUDA", LASTING,
        ),
        # The model's class is looked at in a process of its own, whose traceback is a part of the message.
        (
            [f"{REGISTRY} Error in inspecting model architecture 'X'",
             *raised(REGISTRY, "subprocess.CalledProcessError: Command '['python', '-m', 'vllm.model_executor.models.registry']' returned "
                     "non-zero exit status 1.", *CHAIN),
             *raised(REGISTRY, "RuntimeError: Error raised in subprocess:", "<frozen runpy>:128: RuntimeWarning: x found in sys.modules"),
             *raised(REGISTRY, "ModuleNotFoundError: No module named 'turbo'"),
             *raised(SERVER, "pydantic_core.ValidationError: 1 validation error for ModelConfig",
                     "  Value error, Model architectures ['X'] failed to be inspected. Please check the logs for more details.")],
            "the image lacks a Python package (ModuleNotFoundError: No module named 'turbo')", LASTING,
        ),
        ([f"{CORE} Worker proc x died unexpectedly (exit code: -9), shutting down executor."], "a rank of the engine died", PASSING),
        # uvicorn puts its level before the first line alone.
        (["ERROR:    Traceback (most recent call last):", *frames("", "f()"), "ValueError: --turbo wants --boost", "",
          "ERROR:    Application startup failed. Exiting."], "1: ValueError: --turbo wants --boost", LASTING),
    ],
)  # fmt: skip
def test_a_log_of_another_shape_gives_its_cause(lines: list[str], expected: str, lasting: bool) -> None:
    failure = end(lines)
    assert expected in failure.cause, failure.cause
    assert failure.lasting is lasting


@pytest.mark.parametrize(
    "lines",
    [
        [KERNELS],
        [KERNELS.replace("EngineCore", "Worker_PP1")],
        ["(APIServer pid=1) ERROR 11-30 10:00:00 [repo_utils.py:65] Repo id must be in the form 'repo_name': '/models/m', retrying 1 of 2"],
        [f"{PLUGINS} Failed to load plugin turbo", *raised(PLUGINS, "ModuleNotFoundError: No module named 'turbo'")],
        [f"{REGISTRY} Error saving model info cache.", *raised(REGISTRY, "PermissionError: [Errno 13] Permission denied: '/cache/x'")],
        ["ERROR:    Exception in ASGI application", *raised("", "ValueError: an odd value")],
        ["[transformers] The fast path is not available: a library is missing. To install it: pip install causal-conv1d"],
        ["(Worker_PP1 pid=3) node-1: gdrdrv: Permission denied, going on without it"],
        ["Exception in thread Thread-2 (_report_usage_worker):",
         *raised("", "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)")],
        ["Exception ignored in: <function Pool.__del__ at 0x7f>", *raised("", "AttributeError: 'Pool' object has no attribute 'x'")],
        ["Task exception was never retrieved", "future: <Task finished name='Task-7' coro=<f()>>", *raised("", "ValueError: an odd value")],
        ["[rank0]:[W816 11:45:16.475700829 ProcessGroupNCCL.cpp:1479] Warning: destroy_process_group() was not called, NCCL error"],
        ["W0505 00:53:50.723000 8340 torch/utils/cpp_extension.py:140] No CUDA runtime is found, no kernel image is available"],
        ["(Worker pid=3) /opt/venv/torch/cuda/__init__.py:371: UserWarning: Found GPU1 of compute capability 7.0.",
         "(Worker pid=3) ",
         "(Worker pid=3) The GPU with CUDA capability sm_70 is not compatible with the current PyTorch installation.",
         "(Worker pid=3) - 7.5 which no kernel image is available for", "(Worker pid=3)   _warn_unsupported_code(d, device_cc)"],
        ["<frozen importlib._bootstrap>:488: DeprecationWarning: a type has no __module__", "DeprecationWarning: old"],
    ],
)  # fmt: skip
def test_what_goes_wrong_beside_the_engine_is_no_cause(lines: list[str]) -> None:
    """Each of them comes in logs of engines that serve."""
    alone = end(lines, -9)
    assert not alone.lasting, alone.cause
    after = end([*lines, DIED])
    assert "a rank of the engine died" in after.cause and not after.lasting


def test_what_follows_a_warning_is_read() -> None:
    warning = [
        "/opt/venv/x.py:3: UserWarning: No space left on device may follow",
        "and more of it",
        "  warnings.warn(",
    ]
    error = "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device"
    assert "compute capability" in end([*warning, *raised("", error)]).cause
    assert "compute capability" in end([*warning[:1], *raised("", error)]).cause
    assert (
        "compute capability"
        in end([*warning, "ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'"]).cause
    )


def test_a_killed_engine_may_do_better_whatever_it_said_before() -> None:
    said = raised(SERVER, "ValueError: --turbo wants --boost")
    assert end(said).lasting and end(said, -6).lasting
    assert not end(said, -9).lasting


def test_words_that_point_elsewhere_are_no_cause() -> None:
    failure = end([
        f"{CORE} EngineCore encountered a fatal error.", *raised(CORE, "RuntimeError: Executor failed."),
        *raised(SERVER, "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for it."),
        *raised(SERVER, HOLLOW),
        "ERROR 06-15 13:57:57 [dump_input.py:80] SchedulerOutput(scheduled_new_reqs=[], free_encoder_input_ids=[])",
    ])  # fmt: skip
    assert failure.cause == "the engine ended with exit code 1"


def test_a_request_that_fails_ends_no_engine_that_serves() -> None:
    request = raised(
        f"{SERVER} ERROR 11-30 10:00:00 [serving_chat.py:9]", "jinja2.exceptions.TemplateError: roles must alternate"
    )
    assert "a rank of the engine died" in end([*request, DIED], serves=True).cause


@pytest.mark.parametrize(
    ("exception", "place", "expected"),
    [
        ("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)", "triton/runtime/cache.py", "a compiler kept"),
        ("_pickle.UnpicklingError: invalid load key, '\\x00'.", "torch/_inductor/codecache.py", "a compiler kept"),
        ("EOFError: Ran out of input", "torch/_functorch/_aot_autograd/cache.py", "a compiler kept"),
        ("ImportError: /home/ray/.cache/flashinfer/89/sampling/sampling.so: file too short", "flashinfer/jit/core.py", "a compiler kept"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/home/ray/.cache/vllm/torch_compile_cache/1a'", "x.py", "a compiler"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/var/cache/x/y.json'", "x.py", "FileNotFoundError"),
        ("requests.exceptions.JSONDecodeError: Expecting value: line 1 column 1 (char 0)", "requests/models.py", "JSONDecodeError"),
        ("AssertionError: failed to get the hash of the compiled graph", "vllm/compilation/compiler_interface.py", "a compiler kept"),
        ("AssertionError: Expected tensors only, but got: <class 'int'>", "torch/_inductor/utils.py", "Expected tensors only"),
        ("KeyError: 'node:192.0.2.9'", "ray/_private/state.py", "KeyError: 'node:192.0.2.9'"),
        ("IndexError: list index out of range", "vllm/v1/executor/ray_utils.py", "IndexError: list index out of range"),
        ("OSError: [Errno 113] No route to host", "socket.py", "did not reach each other"),
        ("OSError: [Errno 99] Cannot assign requested address", "socket.py", "Cannot assign requested address"),
    ],
)  # fmt: skip
def test_what_may_not_come_again_is_not_lasting_before_a_rank_started_either(
    exception: str, place: str, expected: str
) -> None:
    failure = end(raised(SERVER, exception, place=place))
    assert expected in failure.cause and not failure.lasting, failure.cause


def _flood(kind: str) -> Callable[[int], str]:
    noise = random.Random(7)
    junk = [noise.randbytes(100).decode("utf-8", "replace") for _line in range(1000)]
    lines: dict[str, Callable[[int], str]] = {
        "bare": lambda number: f"value {number} of {noise.random()}",
        "exceptions": lambda number: f"ValueError: {number} CUDA error: x",
        "levels": lambda number: f"(Worker_PP0 pid={number}) ERROR 11-30 10:00:00 [x{number}.py:{number}] said {number}",
        "colours": lambda number: "\x1b[31m" * 50 + str(number) + "\x1b[0m" * 50,
        "binary": lambda number: junk[number % 1000],
        "frames": lambda number: f"{CORE}   File \"/x.py\", line {number}" if number else f"{CORE} Traceback (most recent call last):",
        "code": lambda number: f"{CORE}     call({number})" if number else f"{CORE} Traceback (most recent call last):",
        "chain": lambda number: (
            f"{CORE} Traceback (most recent call last):", f"{CORE} ValueError: {number}",
            f"{CORE} During handling of the above exception, another exception occurred:",
        )[number % 3],
    }  # fmt: skip
    return lines[kind]


@pytest.mark.parametrize("kind", ["bare", "exceptions", "levels", "colours", "binary", "frames", "code", "chain"])
def test_a_flood_takes_little_time_and_no_memory(kind: str) -> None:
    """A million lines would take 50 times as long as these, and as much memory: nothing is kept for each line."""
    log, line, began = engine_log.Log(), _flood(kind), time.process_time()
    for number in range(20_000):
        log.read(line(number))
    log.root()
    assert time.process_time() - began < 10
    kept = [log._streams, log._reports, log._alone, log._bare, log._fatal, log._stages]
    assert all(len(each) <= 1001 for each in kept)
    assert all(len(stream.code) <= 40 and len(stream.report) <= 41 for stream in log._streams.values())


HOSTILE = {
    "one letter": "a" * 10_000_000,
    "words of kinds": "Error" * 2_000_000,
    "dots": "a." * 5_000_000,
    "colours": "\x1b[" * 5_000_000,
    "tags": "(pid=1)" * 1_400_000,
    "open tags": "(" * 10_000_000,
    "brackets": "[type=x, input_value=" * 500_000,
    "bars": "1% [00:00<" * 1_000_000,
    "JSON": "{" * 10_000_000,
    "JSON of depth": '{"levelname": "ERROR", "message": ' + "[" * 150_000,
    "causes begun": "GCS NCCL num_heads collective FP8 tokenizer chat template KeyError: 'layers.1.a.a.a " * 120_000,
    "spaces": " " * 10_000_000 + "x",
    "pointers": "see the error " * 700_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("before", ["", f"{CORE} ", f"{CORE} ValueError: ", "ValueError: "])
def test_a_line_of_ten_megabytes_takes_little_time(name: str, before: str) -> None:
    log, began = engine_log.Log(), time.process_time()
    log.read(f"{CORE} Traceback (most recent call last):")
    log.read(before + HOSTILE[name])
    root = log.root()
    assert time.process_time() - began < 2
    assert root is None or len(root.text) <= engine_error.SHOWN_CHARACTERS


def test_a_record_that_is_none_of_a_log_stays_a_line() -> None:
    for line in ('{"a": 1}', "{not JSON}", '{"level": "ERROR"}', '["x"]', '{"level": {"x": 1}, "message": "m"}'):
        [each] = engine_line.read(line)
        assert each.text == line and not each.level


def test_a_failure_names_the_file_of_a_setting_in_json() -> None:
    failure: Failure = end(raised(
        SERVER, "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "  Value error, Expecting value: line 1 column 1 (char 0) [type=value_error, input_value=Args((), {}), input_type=Args]",
    ))  # fmt: skip
    assert (
        "a JSON file of the model cannot be read (ModelConfig: Expecting value: line 1 column 1 (char 0))"
        in failure.cause
    )
    assert failure.lasting


def test_another_thread_may_read_on_while_the_cause_is_looked_for() -> None:
    log, stop = engine_log.Log(), threading.Event()

    def read_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            log.read(f"value {number}")
            log.read(f"ValueError: {number}")

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        for _try in range(5):
            log.root()
    finally:
        stop.set()
        reader.join()
