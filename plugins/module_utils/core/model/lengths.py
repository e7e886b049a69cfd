# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The context that a model was made for, as vLLM derives it (vllm/config/model.py, _get_and_verify_max_len)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .config_fields import Fields, as_mapping

_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
# RoPE types whose stated length is already the scaled one, in every vLLM.
_SCALED = ("longrope", "llama3")
# The same, since vLLM 0.31; before it "yarn" counts from the original length.
_SCALED_SINCE_31 = ("yarn", "deepseek_yarn", "deepseek_llama_scaling")
_FROM_ORIGINAL_UNTIL, _SCALED_FROM = (0, 29), (0, 31)
_OLD_NAMES = {"su": "longrope", "telechat3-yarn": "yarn", "mrope": "default"}
_LARGEST_FACTOR = 1024
# Original length of the models that state none beside longrope (Transformers, Phi3Config).
_PHI3_ORIGINAL = 4096


@dataclass(frozen=True)
class Lengths:
    """default: what vLLM serves where nobody asks; longest: the longest wish that it accepts. None: nothing says."""

    default: int | None
    longest: int | None


def read_lengths(text: Fields, model_types: Sequence[str], vllm: tuple[int, int]) -> Lengths:
    """Return the lengths that this version of vLLM derives. model_types: of the model and of its text part."""
    stated = [length for name in _NAMES if (length := text.size(name))]
    own = text.size("model_max_length")
    longest = own or (min(stated) if stated else 0)
    if not longest:
        return Lengths(None, None)
    ropes = _ropes(text)
    kinds = {_kind(rope) for rope in ropes}
    scaled = min(_scaled(longest, ropes, text, old) for old in _readings(vllm))
    if any("gemma3" in name for name in model_types):
        scaled = longest
    default = scaled
    if "longrope" in kinds:
        inside = max((Fields(rope).size("original_max_position_embeddings") for rope in ropes), default=0)
        phi3 = _PHI3_ORIGINAL if "phi3" in model_types else 0
        default = text.size("original_max_position_embeddings") or inside or phi3 or scaled
    # A wish may reach model_max_length where the configuration has that, too.
    return Lengths(min(default, scaled), max(scaled, own))


def _readings(vllm: tuple[int, int]) -> tuple[bool, ...]:
    """Whether yarn counts from the original length; both readings for a version between those that were read."""
    if vllm <= _FROM_ORIGINAL_UNTIL:
        return (True,)
    return (False,) if vllm >= _SCALED_FROM else (True, False)


def _ropes(text: Fields) -> list[Mapping[str, Any]]:
    """The RoPE parameters, one per type of layer where they are nested."""
    given = text.mapping("rope_scaling", "rope_parameters")
    nested = [as_mapping(value) for value in given.values() if isinstance(value, Mapping)]
    if nested and not any(name in given for name in ("rope_type", "type", "factor")):
        return nested
    return [given] if given else []


def _kind(rope: Mapping[str, Any]) -> str:
    name = Fields(rope).text("rope_type", "type")
    return _OLD_NAMES.get(name, name)


def _scaled(longest: int, ropes: Sequence[Mapping[str, Any]], text: Fields, from_original: bool) -> int:
    factor = 1.0
    for rope in ropes:
        kind = _kind(rope)
        if kind in _SCALED or (kind in _SCALED_SINCE_31 and not from_original):
            continue
        given = rope.get("factor")
        if isinstance(given, (int, float)) and not isinstance(given, bool) and 0 < given < _LARGEST_FACTOR:
            factor = float(given)
        if kind == "yarn":
            original = text.size("original_max_position_embeddings")
            longest = original or Fields(rope).size("original_max_position_embeddings") or longest
    return int(longest * factor)
