# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Known causes of an engine's end, by the log line that shows each, with what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """pattern: of the log line; lasting: no restart mends it."""

    pattern: re.Pattern[str]
    cause: str
    remedy: str
    lasting: bool = True

    @property
    def text(self) -> str:
        """The cause with its remedy, as a person reads it."""
        return f"{self.cause}; {self.remedy}"


def _cause(pattern: str, cause: str, remedy: str, lasting: bool = True) -> Cause:
    return Cause(re.compile(pattern), cause, remedy, lasting)


# The words are vLLM's (0.22 to 0.32), PyTorch's and NCCL's. What comes first in a log wins; here the more particular goes first.
CAUSES = (
    _cause(
        r"No available memory for the cache blocks|KV cache is needed, which is larger than the available KV cache memory",
        "no GPU memory is left for the KV cache",
        "take a smaller --max-model-len, more nodes, or a shape with more GPU memory",
    ),
    _cause(
        r"Free memory on device .* is less than desired GPU memory utilization",
        "the GPU's memory is in use by something else",
        "see what else runs on the node; a restart frees what an earlier engine held",
        lasting=False,
    ),
    _cause(
        r"CUDA out of memory|torch\.OutOfMemoryError",
        "the GPU ran out of memory",
        "take a smaller --max-model-len or --max-num-seqs, or more nodes",
        lasting=False,
    ),
    _cause(
        r"Weight files referenced in index but missing|Following weights were not initialized from checkpoint",
        "weights that this stage needs are not among its files",
        "check that the model's folder at the source is complete",
    ),
    _cause(
        r"Model architectures .* are not supported for now|does not recognize this architecture|was supported in vLLM until",
        "the image's vLLM does not know the model's architecture",
        "take an image with another vLLM (recipe_image_uri)",
    ),
    _cause(
        r"Pipeline parallelism is not supported for this model",
        "the model's class in vLLM cannot be divided into pipeline stages",
        "serve it on one node, or take another model",
    ),
    _cause(
        r"contains custom code which must be executed|requires you to execute the configuration file",
        "the model comes with Python code of its own",
        "read that code, and set recipe_trust_remote_code if you trust it to run in the pods",
    ),
    _cause(
        r"The quantization method .* is not supported for the current GPU",
        "the model's quantization is not for this GPU",
        "take a shape with newer GPUs, or the model in another format",
    ),
    _cause(
        r"Bfloat16 is only supported on GPUs with compute capability",
        "the GPU has no bfloat16",
        "give --dtype half in recipe_container_command_args, or take a shape with newer GPUs",
    ),
    _cause(
        r"must be divisible by tensor parallel size|is not divisible by (?:weight quantization block|group_size)",
        "the model cannot be divided over the GPUs of a node",
        "take a shape with another number of GPUs",
    ),
    _cause(
        r"User-specified max_model_len .* is greater than the derived",
        "the context asked for is longer than the model's",
        "take a smaller recipe_max_model_length",
    ),
    _cause(
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient",
        "the node's NVIDIA driver is older than the image's CUDA needs",
        "take a newer node image, or an image with an older CUDA",
    ),
    _cause(
        r"no kernel image is available for execution on the device",
        "the image's kernels do not support this GPU's compute capability",
        "take an image that supports the GPU",
    ),
    _cause(
        r"[Aa]ddress already in use|EADDRINUSE",
        "a port is taken",
        "give the recipe other ports",
        lasting=False,
    ),
    _cause(
        r"Watchdog caught collective operation timeout|NCCL.*(?:[Tt]imeout|timed out)",
        "GPUs waited for each other until the NCCL time-out",
        "see the network between the nodes, and whether a stage ended before",
        lasting=False,
    ),
    _cause(
        r"Gloo connectFullMesh failed|NCCL error: (?:unhandled system error|remote process exited|internal error)|Bootstrap : no socket",
        "the ranks did not reach each other",
        "open all ports between the nodes and pods of the group, and see NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME",
        lasting=False,
    ),
    _cause(
        r"uncorrectable ECC error|GPU has fallen off the bus|unspecified launch failure|an illegal memory access",
        "a GPU failed",
        "where it comes again, replace the node: its GPU may be broken",
        lasting=False,
    ),
    _cause(
        r"RPC call to \w+ timed out|Execute model timed out",
        "a step of the engine took longer than vLLM waits for one",
        "see the GPUs and the network; VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS in recipe_container_env gives more time",
        lasting=False,
    ),
    _cause(
        r"No space left on device",
        "a disk or /dev/shm is full",
        "give recipe_ephemeral_storage_size or recipe_shared_memory_volume_size_limit_in_mb more room",
        lasting=False,
    ),
    _cause(
        r"Cannot provide a placement group requiring|No node info found matching attributes",
        "Ray could not place the engine on the group's GPUs",
        "see whether another program holds GPUs of this Ray cluster",
        lasting=False,
    ),
    _cause(
        r"Failed to import Ray|No module named '(?:ray|vllm)'",
        "the image's Python has no Ray or no vLLM",
        "take an image that holds both",
    ),
    _cause(
        r"died unexpectedly, shutting down executor",
        "a rank of the engine died",
        "see the log of its pod; the group restarts",
        lasting=False,
    ),
    _cause(
        r"vllm: error: |unrecognized arguments:",
        "the image's vLLM does not take an option that the plan gives it",
        "take an image with a vLLM that knows it, or leave it out",
    ),
)


# What is said for information shows nothing that is amiss, and may quote settings and requests.
_INFORMS = re.compile(r"(?<![=\w])(?:INFO|DEBUG)\b")


def known(line: str) -> Cause | None:
    """Return the known cause that a log line shows; None of one for information."""
    if _INFORMS.search(line):
        return None
    return next((cause for cause in CAUSES if cause.pattern.search(line)), None)
