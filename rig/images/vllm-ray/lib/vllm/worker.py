# SPDX-License-Identifier: GPL-3.0-or-later
"""The actor of one rank: it reads its stage's tensors on its own node and takes part in every step."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import Any

from vllm import checkpoint, log


class RayWorkerProc:
    """One rank of the engine. Ray writes `(RayWorkerProc pid=.., ip=..)` before its lines when the driver shows them."""

    def __init__(self, rank: int, layout: dict[str, int], model: str, stage: checkpoint.Stage) -> None:
        self._rank = rank
        self._layout = layout
        self._model = model
        self._stage = stage
        self._chain: list[bytes] = []
        self._dead = threading.Event()

    def identify(self) -> dict[str, Any]:
        """Where this rank runs."""
        import ray

        context = ray.get_runtime_context()
        log.write(
            "parallel_state.py:1240",
            f"rank {self._rank} in world size {self._layout['world']} is assigned as DP rank 0, PP rank "
            f"{self._rank // self._layout['tensor']}, PCP rank 0, TP rank {self._rank % self._layout['tensor']}, EP rank N/A",
        )
        return {"node": context.get_node_id(), "pid": os.getpid(), "ip": ray.util.get_node_ip_address()}

    def load(self, delay: float) -> float:
        """Read the model's files, `delay` seconds longer for each; the seconds it took. Faults of files are raised as in vLLM."""
        start = time.monotonic()
        config = checkpoint.read_config(self._model)
        if self._rank == 0:
            log.write("gpu_model_runner.py:3259", f"Starting to load model {self._model}...")
            size = sum(path.stat().st_size for path in checkpoint.weight_files(self._model)) / 2**30
            kind = checkpoint.filesystem_type(self._model)
            log.write(
                "weight_utils.py:823", f"Filesystem type for checkpoints: {kind}. Checkpoint size: {size:.2f} GiB."
            )
        digests: dict[str, bytes] = {}
        count = 0
        for done, total, part in checkpoint.load(self._model, config, self._stage):
            time.sleep(delay)
            digests.update(part)
            count = total
            if self._rank == 0:
                if done == 1:
                    log.bar("Loading safetensors checkpoint shards", 0, total, 0.0)
                log.bar("Loading safetensors checkpoint shards", done, total, time.monotonic() - start)
        self._chain = checkpoint.chain(digests, self._stage)
        seconds = time.monotonic() - start
        if self._rank == 0 and count:
            log.write("default_loader.py:314", f"Loading weights took {seconds:.2f} seconds")
        log.write("gpu_model_runner.py:3338", f"Model loading took 0.01 GiB memory and {seconds:.6f} seconds")
        return seconds

    def step(self, state: bytes) -> bytes:
        """What this rank's layers make of the state of a sequence."""
        for part in self._chain:
            state = hashlib.blake2b(state + part, digest_size=16).digest()
        return state

    def wait_for_death(self) -> None:
        """Return never: the call fails when this process ends."""
        self._dead.wait()
