# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the checkpoint has what the configuration says: as many layers, and in each layer what its like have.

vLLM does not check that every weight of a quantized model was loaded: what lacks is served as it lay in memory.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..fault import Fault
from .checkpoint import layer_tensors
from .layers import Layer
from .quantization import Quantization

_INDEX = "the weights' index"
# Names of a weight itself, in the forms of the quantizations; what else a module has are scales and biases.
_WEIGHTS = ("weight", "qweight", "weight_packed", "blocks")
_EXPERT = re.compile(r"experts\.\d+\.")
# What this share of the layers of a kind has all of them must have.
_MOST = 0.75
_SCALES = ("weight_scale_inv", "weight_scale", "scales")


def check_layers(weight_map: Mapping[str, str], count: int, predicted: int) -> list[Fault]:
    """Compare the layers of the index with those of the configuration. predicted: layers for multi-token prediction."""
    numbers = set(layer_tensors(weight_map))
    if not numbers:
        return []
    beyond = sorted(number for number in numbers if number >= count + predicted)
    lacking = [number for number in range(count) if number not in numbers]
    if beyond:
        known = f" and {predicted} for multi-token prediction" if predicted else ""
        return [
            Fault(
                "layers_beyond",
                _INDEX,
                f"{max(numbers) + 1} layers",
                f"{count}, as config.json says{known}",
                "the configuration is not that of these weights, or says its layers in a way the planner does not know",
            )
        ]
    if lacking:
        return [
            Fault(
                "layers_missing",
                _INDEX,
                f"no tensor of the layers {_some(lacking)}",
                f"all {count} layers that config.json says",
                "copy the model again, whole, or take the configuration that belongs to it",
            )
        ]
    return []


def check_alike(
    weight_map: Mapping[str, str], layers: Sequence[Layer], quantization: Quantization | None
) -> list[Fault]:
    """Find tensors that a layer lacks while most layers of its kind have them."""
    found = {number: _modules(names) for number, names in layer_tensors(weight_map).items()}
    kinds: dict[Layer, list[int]] = defaultdict(list)
    for layer in layers:
        if layer.index in found:
            kinds[replace(layer, index=0)].append(layer.index)
    missing: list[str] = []
    for members in kinds.values():
        usual = Counter((module, count) for number in members for module, (count, _scales) in found[number].items())
        expected = {module: count for (module, count), times in usual.items() if times >= _MOST * len(members) >= 2}
        for number in members:
            has = found[number]
            missing += [
                f"layers.{number}.{module}" for module, count in expected.items() if has.get(module, (0, 0))[0] < count
            ]
        missing += _without_scale(members, found, quantization)
    if not missing:
        return []
    return [
        Fault(
            "tensors_missing",
            _INDEX,
            f"{len(missing)} tensors that most layers of the kind have: {_some(missing)}",
            "all of them in every layer",
            "copy the model again, whole: vLLM may serve with what lay in memory in their place",
        )
    ]


def _without_scale(
    members: Sequence[int], found: Mapping[int, Mapping[str, tuple[int, int]]], quantization: Quantization | None
) -> list[str]:
    """Modules that the quantization converts and that lack the scale which theirs like have."""
    if quantization is None:
        return []
    # Of each module: the layers in which it is converted, and whether all its weights have a scale there.
    scaled: dict[str, dict[int, bool]] = defaultdict(dict)
    for number in members:
        for module, (weights, scales) in found[number].items():
            if quantization.converts(f"model.layers.{number}.{module.replace('*', '0')}"):
                scaled[module][number] = scales >= weights
    return [
        f"layers.{number}.{module}, its scale"
        for module, where in scaled.items()
        if sum(where.values()) >= _MOST * len(where) >= 2
        for number, has in where.items()
        if not has
    ]


def _modules(names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The modules of a layer, experts counted together: how many weights and how many scales each has."""
    weights: Counter[str] = Counter()
    scales: Counter[str] = Counter()
    for name in names:
        module, _dot, parameter = name.rpartition(".")
        count = weights if parameter in _WEIGHTS else scales if parameter in _SCALES else None
        if count is not None:
            count[_EXPERT.sub("experts.*.", module)] += 1
    return {module: (number, scales[module]) for module, number in weights.items()}


def _some(names: Sequence[object], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
