# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: its ranks on the Ray cluster, a step through all of them, and the watch over their lives."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from vllm import __version__, checkpoint, log, placement
from vllm.control import Control
from vllm.measures import gpu_gib, measure

# What the stand-in says: words, chosen by the digests that the ranks compute.
TEXT = (
    "the a one some every this that model node layer stage token weight head group rank shard cache page queue batch step "
    "reads writes holds sends takes finds keeps loads starts waits answers follows crosses returns and or but then while "
    "when so first last next small large quick quiet warm cold new old here there again together alone slowly gladly"
)
WORDS = TEXT.split()
WATCH_SECONDS = 5.0


class EngineDeadError(Exception):
    """The engine has ended; the cause stands in the log."""


class GenerationError(Exception):
    """The engine ended this request by an error, and goes on (FinishReason "error")."""


class Engine:
    """A model on tensor x pipeline ranks."""

    def __init__(self, arguments: Any, config: dict[str, Any], ended: Callable[[], None]) -> None:
        self._arguments = arguments
        self._config = config
        self._ended = ended
        self._stages: list[list[Any]] = []
        self._watch: Watch | None = None
        self._control = Control()
        self.dead = threading.Event()

    def start(self) -> None:
        """Take the GPUs, start the ranks, load the model; any failure is raised."""
        import ray

        begin = time.monotonic()
        arguments = self._arguments
        self._say(
            "core.py:93",
            f"Initializing a V1 LLM engine (v{__version__}) with config: model='{arguments.model_tag}', "
            f"tensor_parallel_size={arguments.tensor_parallel_size}, "
            f"pipeline_parallel_size={arguments.pipeline_parallel_size}, dtype=torch.bfloat16, "
            f"max_seq_len={arguments.max_model_len}, served_model_name={arguments.served_model_name}",
        )
        # RAY_ADDRESS decides which cluster this is.
        ray.init(log_to_driver=True)
        ranks = self._start_ranks(ray)
        self._watch = Watch(ranks, self._die)
        ray.get([rank.identify.remote() for rank in ranks])
        ray.get([rank.load.remote(self._control.seconds) for rank in ranks])
        self._say_cache_size()
        self._control.watch(die=lambda: ray.kill(ranks[-1]))
        seconds = time.monotonic() - begin
        self._say("core.py:257", f"init engine (profile, create kv cache, warmup model) took {seconds:.2f} seconds")

    def _start_ranks(self, ray: Any) -> list[Any]:
        """One actor per GPU, in the order of the ranks: tensor ranks of a stage side by side."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        from vllm.worker import RayWorkerProc

        tensor, pipeline = self._arguments.tensor_parallel_size, self._arguments.pipeline_parallel_size
        world, local = tensor * pipeline, int(_gpus_here(ray))
        if world > local:
            self._say(
                "ray_utils.py:402", f"Tensor parallel size ({world}) exceeds available GPUs ({local}).", "WARNING"
            )
        group = placement.create(world)
        bundles = placement.ordered_bundles(group, tensor)
        layers = checkpoint.text_config(self._config)["num_hidden_layers"]
        parts = checkpoint.stages(layers, pipeline, os.environ.get("VLLM_PP_LAYER_PARTITION"))
        instance = uuid.uuid4().hex[:5]
        actor = ray.remote(RayWorkerProc)
        ranks = [
            actor.options(
                num_cpus=0,
                num_gpus=1,
                # One call waits for the rank's death, the other does the work.
                max_concurrency=2,
                name=f"vllm_Worker_{instance}_TP{rank % tensor}_PP{rank // tensor}",
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle),
            ).remote(rank, {"world": world, "tensor": tensor}, self._arguments.model_tag, parts[rank // tensor])
            for rank, bundle in enumerate(bundles)
        ]
        self._stages = [ranks[first : first + tensor] for first in range(0, world, tensor)]
        return ranks

    def _say_cache_size(self) -> None:
        """The lines about the KV cache, whose size follows from the GPU, the arguments and the model."""
        arguments, config = self._arguments, checkpoint.text_config(self._config)
        longest, tensor = arguments.max_model_len, arguments.tensor_parallel_size
        parts = checkpoint.stages(
            config["num_hidden_layers"], arguments.pipeline_parallel_size, os.environ.get("VLLM_PP_LAYER_PARTITION")
        )
        size = sum(path.stat().st_size for path in checkpoint.weight_files(arguments.model_tag)) / 2**30
        found = measure(
            config,
            [part.end_layer - part.first_layer for part in parts],
            tensor,
            arguments.gpu_memory_utilization * gpu_gib(),
            size / tensor,
            longest,
            self._control.cache_share,
        )
        self._say("gpu_worker.py:356", f"Available KV cache memory: {found.cache_gib:.2f} GiB")
        self._say("kv_cache_utils.py:1305", f"GPU KV cache size: {found.tokens:,} tokens")
        text = f"Maximum concurrency for {longest:,} tokens per request: {found.concurrency:.2f}x"
        self._say("kv_cache_utils.py:1310", text)
        if not self._arguments.enforce_eager:
            self._say("gpu_model_runner.py:4587", "Graph capturing finished in 0 secs, took 0.01 GiB")

    def generate(self, prompt: bytes, count: int) -> Iterator[str]:
        """`count` tokens of text after `prompt`, each through every rank; EngineDeadError when the engine has died."""
        state = hashlib.blake2b(prompt, digest_size=16).digest()
        for _ in range(count):
            state = self._step(state)
            yield " " + WORDS[int.from_bytes(state[:4], "big") % len(WORDS)]

    def close(self) -> None:
        """End the ranks and leave the cluster."""
        import ray

        if self._watch:
            self._watch.end()
        for stage in self._stages:
            for rank in stage:
                ray.kill(rank)
        ray.shutdown()

    def _step(self, state: bytes) -> bytes:
        import ray

        if self.dead.is_set():
            raise EngineDeadError("EngineCore encountered an issue. See stack trace (above) for the root cause.")
        timeout = float(os.environ.get("VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS", "300"))
        self._suffer(timeout)
        answers, carried = [], state
        for stage in self._stages:
            answers += [rank.step.remote(carried) for rank in stage]
            carried = answers[-len(stage)]
        try:
            results = ray.get(answers, timeout=timeout)
        except ray.exceptions.GetTimeoutError as error:
            self._die("RPC call to execute_model timed out.", error)
            raise EngineDeadError("RPC call to execute_model timed out.") from error
        except ray.exceptions.RayError as error:
            # The watch names the rank that died; what is left is a fault in the step itself.
            if not self.dead.wait(timeout=WATCH_SECONDS):
                self._die("EngineCore encountered a fatal error.", error)
            raise EngineDeadError("EngineCore encountered an issue.") from error
        return results[-1]

    def _suffer(self, timeout: float) -> None:
        """The fault that a test asks for, in one step."""
        time.sleep(self._control.seconds)
        if self._control.fault == "lie":
            raise GenerationError("Internal server error")
        end = time.monotonic() + timeout
        while self._control.fault == "hang" and not self.dead.wait(timeout=0.1):
            if time.monotonic() > end:
                self._die("RPC call to execute_model timed out.")
                raise EngineDeadError("RPC call to execute_model timed out.")

    def _die(self, text: str, error: BaseException | None = None) -> None:
        if self.dead.is_set():
            return
        self.dead.set()
        self._say("ray_executor_v2.py:370", text, "ERROR")
        if error:
            log.write_failure("core.py:845", error)
        self._ended()

    def _say(self, place: str, text: str, level: str = "INFO") -> None:
        log.write(place, text, level, log.ENGINE)


class Watch:
    """Waits, in a thread of its own, until one of the ranks dies: the call that never returns fails then."""

    def __init__(self, ranks: list[Any], died: Callable[[str], None]) -> None:
        self._died = died
        self._ended = False
        threading.Thread(target=self._run, args=(ranks,), daemon=True).start()

    def end(self) -> None:
        """Say nothing of deaths from now on."""
        self._ended = True

    def _run(self, ranks: list[Any]) -> None:
        import ray

        lives = {rank.wait_for_death.remote(): number for number, rank in enumerate(ranks)}
        dead, _ = ray.wait(list(lives), num_returns=1)
        if not self._ended:
            numbers = [lives[life] for life in dead]
            self._died(f"RayWorkerProc rank={numbers} died unexpectedly, shutting down executor.")


def _gpus_here(ray: Any) -> float:
    here = ray.get_runtime_context().get_node_id()
    return sum(node["Resources"].get("GPU", 0) for node in ray.nodes() if node["NodeID"] == here and node["Alive"])
