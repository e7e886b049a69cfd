# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a model is divided: layers over pipeline stages, heads over GPUs, files over nodes; and what vLLM refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .fault import Fault, Refused
from .model import ModelFacts
from .shapes import Shape


@dataclass(frozen=True)
class Findings:
    """What a check found: faults forbid the plan, warnings accompany it."""

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


def layers_per_stage(layers: int, stages: int) -> list[int]:
    """How many layers each stage holds, as vLLM divides them (vllm/distributed/utils.py, get_pp_indices).

    A remainder goes one each to the stages from the second-last backwards: the last has the head, the first the
    embedding. Raises Refused when a stage would be empty.
    """
    if stages < 1 or layers < stages:
        raise Refused(
            [
                Fault(
                    "too_many_stages",
                    "recipe_node_pool_size",
                    f"{stages} pipeline stages",
                    f"from 1 to {layers}, the model's layers",
                    "use fewer nodes",
                )
            ]
        )
    parts = [layers // stages] * stages
    for place in range(2, layers % stages + 2):
        parts[-place] += 1
    return parts


def check_parallelism(model: ModelFacts, shape: Shape, tensor: int, pipeline: int) -> Findings:
    """vLLM's own conditions on tensor and pipeline parallel, quantization and dtype for this GPU."""
    raise NotImplementedError


def stage_files(weight_map: Mapping[str, str], per_stage: Sequence[int], tied: bool) -> list[list[str]]:
    """The safetensors files each stage needs, in name order, from the index's weight_map (tensor -> file)."""
    raise NotImplementedError
