# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The program of the benchmark's pod: `vllm bench serve` at one load after the other, against the head of the group.

What to measure is JSON in MULTINODE_BENCHMARK: `url`, `model`, `loads` (requests at once), `input_tokens`, `output_tokens`, `seconds` for
all of it. vLLM makes prompts with the model's tokenizer, so every file of the model but its weights is staged first. The API key comes by
OPENAI_API_KEY, which vLLM reads.

Each load that was measured is one line of the log, `benchmark {"concurrency": 4, "result": {...}}`, with vLLM's own figures; one that was
not has an `error` in place of the result, and no larger load follows it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import group_file
from group_file import STATE_FOLDER, Group
from pod_progress import Board, Failure, emit, foreseen, leave_message, log, pass_on
from stage_model import WEIGHT_SUFFIXES, Stager
from stage_tensors import INDEX_SUFFIX

WORD = "benchmark"
SEED = 20260101
# Short loads say little, and a load of one takes as long as all its prompts one after the other.
LEAST_PROMPTS, PROMPTS_PER_REQUEST = 8, 3
LONGEST_RESULT = 1 << 20
# Options of `vllm serve` that say how its tokenizer is read, which `vllm bench serve` has by the same names.
_TOKENIZER_OPTIONS = ("--tokenizer", "--tokenizer-mode")
_TRUST = "--trust-remote-code"
# What is passed on of a result: vLLM's names, the same from 0.12 to 0.32.
_FIGURES = (
    *("duration", "completed", "failed", "total_input_tokens", "total_output_tokens"),
    *("request_throughput", "output_throughput", "total_token_throughput", "max_concurrent_requests"),
    *(f"{kind}_{name}_ms" for name in ("ttft", "tpot", "itl", "e2el") for kind in ("mean", "median", "p99")),
)
_ended = False


def main() -> int:
    """Measure every load; the exit code is 1 where not even the first could be."""
    signal.signal(signal.SIGTERM, _end)
    asked = json.loads(os.environ["MULTINODE_BENCHMARK"])
    board = Board()
    board.start()
    try:
        group = group_file.load()
        folder = _stage(group, board)
        return measure(group, folder, asked)
    except Exception as error:
        failure = foreseen(error, "benchmark")
        board.tell(failure.phase, state="failed", cause=failure.cause)
        leave_message(board.entries()[failure.phase], failure.evidence)
        return 1


def measure(group: Group, folder: Path, asked: dict[str, Any]) -> int:
    """Measure the loads one after the other until one fails or the time is over."""
    deadline = time.monotonic() + asked["seconds"]
    for number, concurrency in enumerate(asked["loads"]):
        try:
            result = run(command(group, folder, asked, concurrency), deadline - time.monotonic())
        except Failure as failure:
            _say({"concurrency": concurrency, "error": failure.cause})
            if not number:
                raise
            break
        _say({"concurrency": concurrency, "result": result})
    return 0


def command(group: Group, folder: Path, asked: dict[str, Any], concurrency: int) -> list[str]:
    """Return the command line of vLLM for one load. Values are joined to their options: a model's name may begin with a hyphen."""
    words = ["vllm", "bench", "serve", "--backend=openai", "--endpoint=/v1/completions"]
    words += [f"--base-url={asked['url']}", f"--model={asked['model']}"]
    words += tokenizer_options(group.engine_arguments, folder)
    words += ["--dataset-name=random", f"--seed={SEED}", "--ignore-eos", "--temperature=0"]
    words += [f"--random-input-len={asked['input_tokens']}", f"--random-output-len={asked['output_tokens']}"]
    words += [f"--num-prompts={max(LEAST_PROMPTS, PROMPTS_PER_REQUEST * concurrency)}"]
    words += [f"--max-concurrency={concurrency}", "--ready-check-timeout-sec=60", "--disable-tqdm"]
    words += ["--percentile-metrics=ttft,tpot,itl,e2el", "--metric-percentiles=99"]
    words += ["--save-result", f"--result-dir={STATE_FOLDER}", f"--result-filename={_result_file().name}"]
    # The certificate is for the endpoint's hosts, not for the head's name in the cluster.
    return [*words, *(["--insecure"] if group.engine_tls else [])]


def tokenizer_options(arguments: tuple[str, ...], folder: Path) -> list[str]:
    """Return how the tokenizer is read, as the engine reads it; without an own one it is the model's, in `folder`."""
    given: dict[str, str] = {"--tokenizer": str(folder)}
    trust = False
    for number, word in enumerate(arguments):
        name, joined, value = word.partition("=")
        if name in _TOKENIZER_OPTIONS:
            given[name] = value if joined else (arguments[number + 1 : number + 2] or ("",))[0]
        trust = trust or word == _TRUST
    return [*(f"{name}={value}" for name, value in given.items()), *([_TRUST] if trust else [])]


def run(words: list[str], seconds: float) -> dict[str, Any]:
    """Run vLLM's benchmark and return its figures; Failure with its last words, or where the time is over."""
    result = _result_file()
    result.unlink(missing_ok=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    output = STATE_FOLDER / "benchmark.log"
    late = Failure("benchmark", "the time of the benchmark is over")
    if seconds <= 0:
        raise late
    log(" ".join(words))
    with output.open("wb") as file, subprocess.Popen(
        words, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:  # fmt: skip
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline and not _ended:
            time.sleep(0.2)
        stopped = process.poll() is None
        if stopped:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    with output.open("rb") as written:
        written.seek(max(0, output.stat().st_size - 8192))
        lines = written.read().decode("utf-8", "replace").splitlines()
    for line in lines[-40:]:
        pass_on(line)
    if _ended:
        raise Failure("benchmark", "asked to end")
    if stopped:
        raise late
    if process.returncode:
        words_of_it = next((line for line in reversed(lines) if line.strip()), "nothing said")
        raise Failure("benchmark", f"vllm bench serve ended with {process.returncode}: {words_of_it.strip()[:300]}")
    return figures(result)


def figures(path: Path) -> dict[str, Any]:
    """Return the numbers of a result that vLLM wrote; Failure where it is none."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(LONGEST_RESULT + 1))
        return {name: float(document[name]) for name in _FIGURES if document.get(name) is not None}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Failure(
            "benchmark", f"vllm bench serve left no result that can be read: {type(error).__name__}"
        ) from None


def _stage(group: Group, board: Board) -> Path:
    """Bring what a tokenizer may need to this pod, and return the folder; files that lie in a folder of the node are there."""
    staging = group.staging
    if staging.source == "folder":
        return staging.root
    files = tuple(file for file in staging.files if not file.name.endswith((*WEIGHT_SUFFIXES, INDEX_SUFFIX)))
    here = dataclasses.replace(
        staging, root=STATE_FOLDER / "model", files=files, by_stage=False, shards_per_stage=(), layers_per_stage=()
    )
    Stager(here, board).run(None)
    return here.root


def _result_file() -> Path:
    return STATE_FOLDER / "benchmark.json"


def _say(entry: dict[str, Any]) -> None:
    emit(f"{WORD} {json.dumps(entry)}")


def _end(*_: Any) -> None:
    global _ended
    _ended = True


if __name__ == "__main__":
    sys.exit(main())
