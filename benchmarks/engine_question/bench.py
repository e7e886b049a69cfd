# SPDX-License-Identifier: GPL-3.0-or-later
"""Seconds of the two questions that vLLM is asked before it serves, beside the import that each of them begins with.

Real vLLM (`make real-vllm`), a 405B model's config.json: the pods' question beside staging, and that of plan with `vllm_python`,
which builds each stage on the meta device too. All run alternately in this run; the ratio to the import is the figure.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rig.configuration import REAL_VLLM_VERSION, real_vllm_folder
from tests.tools.setup import REPOSITORY
from tests.unit.core.configurations import DATA

ROUNDS = 3
CONFIG = DATA / "meta-llama--Meta-Llama-3.1-405B.json"
PROGRAMS = REPOSITORY / "roles" / "raycluster" / "files"
STAGES = REPOSITORY / "plugins" / "plugin_utils" / "vllm_python" / "stage_models.py"
ARGUMENTS = (
    *("--tensor-parallel-size", "8", "--pipeline-parallel-size", "2"),
    *("--distributed-executor-backend", "ray", "--skip-tokenizer-init"),
)


def main() -> None:
    if not (real_vllm_folder() / "complete").exists():
        print("  not measured: real vLLM is not in the cache (make real-vllm)")
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(CONFIG.read_text())
        words = {
            "import of vLLM's arguments": ("-c", "from vllm.engine.arg_utils import AsyncEngineArgs"),
            "the pods' question": (str(PROGRAMS / "engine_question.py"), folder, *ARGUMENTS),
            "plan's question": (str(STAGES), "600", str(PROGRAMS), folder, *ARGUMENTS),
        }
        seconds: dict[str, list[float]] = {name: [] for name in words}
        for number in range(ROUNDS + 1):
            for name, arguments in words.items():
                took = _seconds(arguments, folder)
                # The first round reads the files of vLLM from the disk.
                if number:
                    seconds[name].append(took)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    floor = next(iter(medians.values()))
    print(f"  vLLM {REAL_VLLM_VERSION}, median of {ROUNDS}")
    for name, median in medians.items():
        print(f"  {name:<30} {median:7.1f} s   {median / floor:5.2f} x the import")


def _seconds(arguments: Sequence[str], home: str) -> float:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
    }
    began = time.perf_counter()
    ended = subprocess.run(
        [str(real_vllm_folder() / "bin" / "python"), *arguments], env=environment, capture_output=True, check=False
    )
    took = time.perf_counter() - began
    if ended.returncode or b'"ok": false' in ended.stdout or b'"ok": null' in ended.stdout:
        raise SystemExit(ended.stdout.decode() + ended.stderr.decode()[-2000:])
    return took
