# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the image's vLLM refuses in --speculative-config before it has read a draft model (vllm/config/speculative.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...catalog.drafters import DRAFT_MODELS_SINCE, MADE_FOR_ONE_MODEL, WITHOUT_WEIGHTS
from ...catalog.vllm.release import Release
from ...fault import Findings
from ...model.facts import ModelFacts
from ...recipe.values import nearest, shown
from ...recipe.vllm_arguments import PLACE
from .class_rules import images_from

CONFIG = f"{PLACE} --speculative-config"
# Methods that vLLM takes at their word; any other gives way to what the draft model's path says.
_TAKEN = ("dflash", "dspark", *MADE_FOR_ONE_MODEL)
_BY_PATH = {"eagle-": "eagle", "eagle3": "eagle3"}
_SUFFIX_PACKAGE = "arctic-inference"


def method_of(config: Mapping[str, Any]) -> str:
    """Return the method as vLLM tells it; "" where only the draft model's own configuration does."""
    given, model = str(config.get("method") or ""), str(config.get("model") or "")
    if model in WITHOUT_WEIGHTS:
        return given or model
    if not model or given in (*_TAKEN, *WITHOUT_WEIGHTS):
        return given
    return next((method for mark, method in _BY_PATH.items() if mark in model.lower()), given)


def check_config(
    config: Mapping[str, Any], model: ModelFacts, known: Release, parallel: tuple[int, int], findings: Findings
) -> None:
    """Refuse keys, methods, depths and divisions that vLLM refuses. parallel: GPUs of a node, and nodes."""
    tensor, stages = parallel
    if known.version is not None:
        _check_names(config, known, findings)
    _check_depth(config, model, findings)
    given = config.get("draft_tensor_parallel_size")
    if given not in (None, 1, tensor):
        findings.fault(
            "draft_division",
            f"{CONFIG} draft_tensor_parallel_size",
            shown(given),
            f"1 or {tensor}, the GPUs of a node",
            "leave it out: the draft model is divided like the model",
        )
    method = method_of(config)
    if method == "eagle3" and known.takes_eagle3(model.architecture, stages) is False:
        one = stages > 1 and known.takes_eagle3(model.architecture, 1) is not False
        findings.fault(
            "speculation_method",
            CONFIG,
            f"eagle3 with {stages} stages of {model.architecture}, which vLLM {known.version} does not run"
            if one
            else f"eagle3, for which {model.architecture} hands out no states in vLLM {known.version}",
            "one node" if one else "a class that supports EAGLE3",
            "leave it out, or use another method",
        )
    if method == "draft_model" and known.at_least(DRAFT_MODELS_SINCE) is False:
        findings.fault(
            "speculation_method",
            CONFIG,
            f"a draft model, for which vLLM {known.version} has no support",
            f"vLLM {DRAFT_MODELS_SINCE} or newer",
            images_from(DRAFT_MODELS_SINCE),
        )
    if method == "suffix":
        findings.warn(
            "speculation_uncertain",
            CONFIG,
            f"suffix, which needs the package {_SUFFIX_PACKAGE} in the image",
            "",
            "vLLM ends at its start where the image lacks it",
        )


def _check_names(config: Mapping[str, Any], known: Release, findings: Findings) -> None:
    for key in config:
        if key not in known.speculation_fields:
            like = nearest(key, known.speculation_fields)
            findings.fault(
                "speculation_key",
                CONFIG,
                shown(key),
                f"a key that vLLM {known.version} knows",
                f"did you mean {like}?" if like else "remove it",
            )
    method = config.get("method")
    if method is not None and method not in known.speculation_methods:
        expected = f"a method of vLLM {known.version}: {', '.join(sorted(known.speculation_methods))}"
        findings.fault("speculation_method", f"{CONFIG} method", shown(method), expected, "correct it")


def _check_depth(config: Mapping[str, Any], model: ModelFacts, findings: Findings) -> None:
    depth, method = config.get("num_speculative_tokens"), method_of(config)
    place = f"{CONFIG} num_speculative_tokens"
    number = depth if isinstance(depth, int) and not isinstance(depth, bool) else None
    if depth is not None and (number is None or number < 1):
        findings.fault("speculation_depth", place, shown(depth), "a number of at least 1", "correct it")
        return
    # A draft model's own configuration may say it; suffix goes by the depth of its tree.
    if depth is None and method != "suffix" and (not config.get("model") or method in WITHOUT_WEIGHTS):
        findings.fault("speculation_depth", place, "nothing", "how many tokens to draft at a time", "give a number")
    own = model.predicted if method.endswith("mtp") and not config.get("model") else 0
    if number and own and number > own and number % own:
        expected = f"a multiple of {own}, the layers that draft"
        findings.fault("speculation_depth", place, str(number), expected, f"give {own} or {number - number % own}")
    least, most = (config.get(f"prompt_lookup_{name}") for name in ("min", "max"))
    if isinstance(least, int) and isinstance(most, int) and least > most:
        found = f"{least} beside prompt_lookup_max {most}"
        findings.fault("speculation_depth", f"{CONFIG} prompt_lookup_min", found, f"at most {most}", "correct it")
