# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which weights vLLM's load formats read from a model's folder (vllm/model_executor/model_loader)."""

from __future__ import annotations

SAFETENSORS = ".safetensors"
# Weights of other formats, in the order in which vLLM looks for them where there are no safetensors (default_loader.py).
OTHER_WEIGHTS = (".bin", ".pt")
# The formats that are not here read as "auto" does.
_READ_BY = {
    "pt": (".pt",),
    "npcache": (".bin",),
    "tensorizer": (".tensors",),
    **dict.fromkeys(
        (
            "safetensors",
            "fastsafetensors",
            "instanttensor",
            "mistral",
            "runai_streamer",
            "runai_streamer_sharded",
            "sharded_state",
        ),
        (SAFETENSORS,),
    ),
}


def endings_of(load_format: str) -> tuple[str, ...]:
    """Return the endings of the weights that this load format reads; the first that is there counts."""
    return _READ_BY.get(load_format, (SAFETENSORS, *OTHER_WEIGHTS))


def is_read(name: str, load_format: str) -> bool:
    """Tell whether this load format may read a file of weights of that name."""
    base = name.rpartition("/")[2]
    return base.endswith(endings_of(load_format)) and (load_format != "mistral" or base.startswith("consolidated"))
