# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a checkpoint's weights are stored, and which GPUs vLLM runs that on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..catalog.config_keys import HARMLESS_QUANTIZATION
from ..catalog.vllm.release import Release
from .config_fields import Fields, as_mapping, as_strings


@dataclass(frozen=True)
class Quantization:
    """How the checkpoint's weights are stored.

    method           vLLM's name: fp8, mxfp4, awq, gptq, compressed-tensors, modelopt, ...
    weight_bits      bits of one weight without scales; 0 when not known
    group_size       weights that share a scale along one row; 0 for one scale per row or matrix
    block            weights that share a scale as (rows, columns); None when scales are per group
    scale_bytes      bytes of scale and zero point per group or block
    experts_only     only the experts' weights are stored so (mxfp4)
    not_converted    names or patterns of modules that are stored in the model's own type
    targets          expressions for the modules that are stored so, where these are not all
    padding          an expert's width on one GPU and its hidden size are filled up to multiples of these by the kernel
    kv_bits          bits of a cached value where the checkpoint brings a type of its own for the cache; 0: none
    doubts           fields of which the planner does not know what they mean
    native           least compute capability with arithmetic in this type; below it the weights are unpacked first
    least            least compute capability on which the vLLM that serves it runs the method; None: not known
    supported        whether that vLLM has the method; None: not known
    algorithm        that config.json names in ModelOpt's older form, of which vLLM knows a few; "" in other forms
    """

    method: str
    weight_bits: float
    group_size: int = 0
    block: tuple[int, int] | None = None
    scale_bytes: float = 0.0
    experts_only: bool = False
    not_converted: tuple[str, ...] = ()
    native: tuple[int, int] = (0, 0)
    targets: tuple[str, ...] = ()
    padding: tuple[int, int] = (1, 1)
    kv_bits: int = 0
    doubts: tuple[str, ...] = ()
    least: tuple[int, int] | None = None
    supported: bool | None = None
    algorithm: str = ""

    @property
    def bytes_per_weight(self) -> float:
        """Bytes of one converted weight with its share of the scales; 0 when not known."""
        if not self.weight_bits:
            return 0.0
        shared = self.block[0] * self.block[1] if self.block else self.group_size
        return self.weight_bits / 8 + (self.scale_bytes / shared if shared else 0.0)

    @cached_property
    def _exact(self) -> frozenset[str]:
        plain = (name for name in self.not_converted if not name.startswith("re:") and "*" not in name)
        return frozenset(_own_name(name) for name in plain)

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        patterns = []
        for name in self.not_converted:
            try:
                if name.startswith("re:"):
                    patterns.append(re.compile(name[3:]))
                elif "*" in name:
                    patterns.append(re.compile("(?:.*\\.)?" + re.escape(_own_name(name)).replace("\\*", ".*")))
            except re.error:
                continue
        return tuple(patterns)

    def converts(self, module: str) -> bool:
        """Whether the module of that full name (`model.layers.0.mlp.gate`) is stored in this form."""
        own = _own_name(module)
        parts = own.split(".")
        names = {".".join(parts[:end]) for end in range(1, len(parts) + 1)} | set(parts)
        if names & self._exact:
            return False
        # A pattern is written for the names of the checkpoint, which may have the prefix of a language model.
        spellings = (module, own, f"model.language_model.{own}", f"language_model.model.{own}")
        if self.targets and not any(re.match(target, name) for target in self.targets for name in spellings):
            return False
        return not any(pattern.match(name) for pattern in self._patterns for name in spellings)


# What stands before the layers of a language model, in the names of checkpoints and of vLLM's classes.
_PREFIX = re.compile(
    r"^(?:(?:model|language_model|backbone|transformer|llm|thinker|text_model|decoder|gpt_neox)\.)+(?=\S)"
)


def _own_name(name: str) -> str:
    """A module's name without the prefixes of the language model: checkpoints and classes have different ones."""
    return _PREFIX.sub("", name)


def kernel_padding(quantization: Quantization, capability: tuple[int, int] | None) -> tuple[int, int]:
    """What the kernels for mxfp4 experts fill up: width on one GPU, hidden size.

    Marlin below compute capability 9.0, Triton's kernels on 9.0, TensorRT-LLM's above (vLLM, fused_moe/oracle/mxfp4.py;
    what Triton's layout adds is from logs: 13.47 GiB of gpt-oss-20b and 64.4 to 66 of gpt-oss-120b on one H100).
    """
    if not quantization.experts_only:
        return 1, 1
    if capability is None or capability[0] == 9:
        return 64, 256
    return (128, 256) if capability[0] < 9 else (256, 256)


def on_vllm(quantization: Quantization, known: Release, schemes: Sequence[str]) -> Quantization:
    """Return the quantization as that vLLM serves it: whether it has the method, and on which GPUs.

    schemes: by vLLM's names, where the method tells them apart.
    """
    method = quantization.method
    if method == "auto-round" and not known.has_quantization(method):
        # vllm/model_executor/layers/quantization/inc, override_quantization_method.
        method = "inc"
    supported = known.has_quantization(method) if method != "unknown" else None
    if quantization.algorithm and known.version is not None:
        supported = supported and quantization.algorithm in _older_form(known)
    return replace(quantization, least=known.least_capability(method, *schemes), supported=supported)


def _older_form(known: Release) -> tuple[str, ...]:
    """Return the algorithms of ModelOpt's older form that vLLM takes (transformers_utils/model_arch_config_convertor.py)."""
    more = ("FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO") if known.at_least("0.18.0") else ()
    mixed = ("MIXED_PRECISION",) if known.at_least("0.33.0") else ()
    return ("FP8", "NVFP4", *more, *mixed)


def read_quantization(
    config: Mapping[str, Any], text: Mapping[str, Any], hf_quant_config: Mapping[str, Any] | None = None
) -> Quantization | None:
    """Read the quantization from where vLLM looks for it, or return None when the weights are stored as they are.

    vllm/transformers_utils/model_arch_config_convertor.py: quantization_config or compression_config, at the top or
    in the text part; ModelOpt's separate hf_quant_config.json.
    """
    raw: Mapping[str, Any] = {}
    for place, name in (
        (part, key) for part in (config, text) for key in ("quantization_config", "compression_config")
    ):
        raw = raw or as_mapping(place.get(name))
    of_config = bool(raw)
    if not raw and hf_quant_config:
        raw = {"quant_method": "modelopt", **as_mapping(hf_quant_config)}
    if not raw:
        return None
    fields = Fields(raw)
    method = fields.text("quant_method").lower().replace("compressed_tensors", "compressed-tensors")
    producer = Fields(fields.mapping("producer")).text("name")
    if producer == "modelopt" or method.startswith("modelopt"):
        form = _modelopt(fields, method or "modelopt")
        older = Fields(fields.mapping("quantization")).text("quant_algo").upper() if producer == "modelopt" else ""
        return replace(form, algorithm=older if of_config else "")
    found = _by_method(method, fields)
    # What is switched off or empty says nothing.
    return replace(found, doubts=tuple(name for name in fields.unread(HARMLESS_QUANTIZATION) if raw[name]))


def _by_method(method: str, fields: Fields) -> Quantization:
    ignored = tuple(
        name
        for key in ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules")
        for name in fields.strings(key)
    )
    if method in ("fp8", "fbgemm_fp8"):
        block = fields.integers("weight_block_size")
        if len(block) == 2 and all(block):
            return Quantization(method, 8, 0, (block[0], block[1]), 4.0, False, ignored, (8, 9))
        return Quantization(method, 8, not_converted=ignored, native=(8, 9))
    if method in ("mxfp4", "gpt_oss_mxfp4"):
        # One byte of scale for 32 weights of 4 bits (OCP Microscaling Formats).
        return Quantization(method, 4, 32, None, 1.0, True, ignored, (10, 0))
    if method in ("awq", "awq_marlin", "gptq", "gptq_marlin", "auto-round", "auto_round", "inc"):
        return _integers(method.replace("_", "-") if method == "auto_round" else method, fields, ignored)
    if method == "compressed-tensors":
        return replace(_compressed(fields, ignored), kv_bits=8 if fields.mapping("kv_cache_scheme") else 0)
    return Quantization(method or "unknown", 0, not_converted=ignored)


def _integers(method: str, fields: Fields, ignored: tuple[str, ...]) -> Quantization:
    bits = fields.size("bits", "w_bit", "num_bits") or 4
    group = fields.size("group_size", "q_group_size")
    # A scale of 16 bits and a zero point of the weights' own size.
    return Quantization(method, bits, group, None, 2 + bits / 8, False, ("lm_head", *ignored))


def _modelopt(fields: Fields, method: str) -> Quantization:
    inner = Fields(fields.mapping("quantization") or fields.raw)
    algorithm = (inner.text("quant_algo") or fields.text("quant_algo")).upper()
    ignored = inner.strings("exclude_modules") or inner.strings("ignore") or fields.strings("ignore")
    form = _modelopt_form(algorithm, method, inner, ignored)
    # What each group has is said once more in config_groups; of several algorithms only quantized_layers tells.
    known = {*HARMLESS_QUANTIZATION, "config_groups", "quantized_layers", "quantization", "group_size", "quant_algo"}
    doubts = {name for part in (inner, fields) for name in part.unread(known) if part.raw[name]}
    return replace(form, kv_bits=_modelopt_cache(inner, fields), doubts=tuple(sorted(doubts - _CACHE_FIELDS)))


_CACHE_FIELDS = {"kv_cache_scheme", "kv_cache_quant_algo"}


def _modelopt_cache(inner: Fields, fields: Fields) -> int:
    """Bits of a cached value, 0 where the cache has the model's own type (vllm/utils/torch_utils.py)."""
    for name in ("kv_cache_scheme", "kv_cache_quant_algo"):
        for part in (inner, fields):
            given = part.value(name)
            scheme = Fields(as_mapping(given))
            bits = scheme.size("num_bits") if scheme.text("type") == "float" else 0
            if bits == 4 or (bits == 8 and scheme.value("dynamic") is False):
                return bits
            if given:
                return {"FP8": 8, "NVFP4": 4}.get(given.upper(), 0) if isinstance(given, str) else 0
    return 0


def _modelopt_form(algorithm: str, method: str, inner: Fields, ignored: tuple[str, ...]) -> Quantization:
    if algorithm in ("FP8", "FP8_PER_CHANNEL_PER_TOKEN"):
        return Quantization("modelopt", 8, not_converted=ignored, native=(8, 9))
    if algorithm == "FP8_PB_WO":
        return Quantization("modelopt", 8, 0, (128, 128), 4.0, False, ignored, (8, 9))
    if algorithm in ("NVFP4", "NVFP4_AWQ", "W4A16_NVFP4"):
        group = inner.size("group_size") or 16
        return Quantization("modelopt_fp4", 4, group, None, 1.0, False, ignored, (10, 0))
    if algorithm == "MXFP8":
        return Quantization("modelopt_mxfp8", 8, 32, None, 1.0, False, ignored, (10, 0))
    return Quantization("modelopt_mixed" if algorithm == "MIXED_PRECISION" else method, 0, not_converted=ignored)


def _compressed(fields: Fields, ignored: tuple[str, ...]) -> Quantization:
    groups = [as_mapping(group) for group in fields.mapping("config_groups").values()]
    weights = [Fields(as_mapping(group.get("weights"))) for group in groups]
    schemes = {
        (item.size("num_bits"), item.text("type"), item.size("group_size"), item.text("strategy")) for item in weights
    }
    if len(schemes) != 1:
        # Several schemes for several modules: which module has which is not worked out here.
        return Quantization("compressed-tensors", 0, not_converted=ignored)
    bits, kind, group, strategy = schemes.pop()
    targets = [target for item in groups for target in as_strings(item.get("targets"))]
    expressions = tuple(target[3:] for target in targets if target.startswith("re:"))
    unclear = [target for target in targets if target != "Linear" and not target.startswith("re:")]
    if not bits or unclear or not all(map(_is_expression, expressions)):
        return Quantization("compressed-tensors", 0, not_converted=ignored)
    form = _compressed_form(bits, kind, group, strategy, weights[0], ignored)
    return form if "Linear" in targets else replace(form, targets=expressions)


def _is_expression(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def _compressed_form(
    bits: int, kind: str, group: int, strategy: str, weights: Fields, ignored: tuple[str, ...]
) -> Quantization:
    if kind == "float" and bits == 4:
        return Quantization("compressed-tensors", 4, group or 16, None, 1.0, False, ignored, (10, 0))
    if kind == "float":
        block = weights.integers("block_structure")
        if strategy == "block" and len(block) == 2 and all(block):
            return Quantization("compressed-tensors", bits, 0, (block[0], block[1]), 4.0, False, ignored, (8, 9))
        return Quantization("compressed-tensors", bits, group, None, 2.0, False, ignored, (8, 9))
    return Quantization("compressed-tensors", bits, group, None, 2 + bits / 8, False, ignored)
