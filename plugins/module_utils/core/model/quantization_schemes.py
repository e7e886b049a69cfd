# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which of vLLM's schemes a checkpoint of compressed-tensors may be served with: they want different GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .config_fields import Fields, as_mapping


def quantization_schemes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the schemes by vLLM's names (compressed_tensors/schemes), best first; () where nothing tells.

    vLLM takes the next where a GPU is too old for the first (compressed_tensors.py, _get_scheme_from_parts). Of several
    groups the first counts.
    """
    raw = as_mapping(config.get("quantization_config")) or as_mapping(config.get("compression_config"))
    if not Fields(raw).text("quant_method").startswith("compressed"):
        return ()
    for group in as_mapping(raw.get("config_groups")).values():
        weights = Fields(as_mapping(as_mapping(group).get("weights")))
        inputs = Fields(as_mapping(as_mapping(group).get("input_activations")))
        bits, kind = weights.size("num_bits"), weights.text("type")
        if kind == "float" and bits == 8:
            # Microscaling has groups of 32.
            if weights.size("group_size") == 32:
                return ("w8a8_mxfp8",)
            return ("w8a8_fp8", "w8a16_fp8") if inputs.raw else ("w8a16_fp8",)
        if kind == "float" and bits == 4:
            form = "mxfp4" if weights.size("group_size") == 32 else "nvfp4"
            return (f"w4a4_{form}", f"w4a16_{form}")
        if kind == "int":
            if bits == 8 and inputs.size("num_bits") == 8:
                return ("w8a8_int8",)
            if bits == 4 and inputs.text("type") == "float":
                return ("w4a8_fp8",)
            return ("wNa16",)
    return ()
