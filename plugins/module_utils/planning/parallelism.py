# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a model is divided: layers over pipeline stages, heads over GPUs, files over nodes; and what vLLM refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .fault import Fault
from .model import ModelFacts
from .shapes import Shape


@dataclass(frozen=True)
class Findings:
    """What a check found: faults forbid the plan, warnings accompany it."""

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


def layers_per_stage(layers: int, stages: int) -> list[int]:
    """How many layers each stage holds, as vLLM divides them (vllm/distributed/utils.py, get_pp_indices)."""
    raise NotImplementedError


def check_parallelism(model: ModelFacts, shape: Shape, tensor: int, pipeline: int) -> Findings:
    """vLLM's own conditions on tensor and pipeline parallel, quantization and dtype for this GPU."""
    raise NotImplementedError


def stage_files(weight_map: Mapping[str, str], per_stage: Sequence[int], tied: bool) -> list[list[str]]:
    """The safetensors files each stage needs, in name order, from the index's weight_map (tensor -> file)."""
    raise NotImplementedError
