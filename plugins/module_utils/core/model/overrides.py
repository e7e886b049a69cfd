# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What --hf-overrides makes of a config.json before vLLM reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .config_fields import as_mapping

# Two names of the same: the one that is given takes the other's place.
_ROPE_NAMES = {"rope_scaling": "rope_parameters", "rope_parameters": "rope_scaling"}


def with_overrides(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with the overrides in it (vllm/config/model.py).

    A nested configuration (text_config, vision_config) is changed field by field; everything else is replaced.
    """
    changed = dict(config)
    for name, value in overrides.items():
        nested = as_mapping(config.get(name))
        if name.endswith("_config") and name != "quantization_config" and nested and isinstance(value, Mapping):
            changed[name] = with_overrides(nested, value)
            continue
        changed.pop(_ROPE_NAMES.get(name, ""), None)
        changed[name] = value
    return changed
