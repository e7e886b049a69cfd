# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The model of a plan: what was read from its files, as the image's vLLM takes it with the recipe's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..fault import Findings
from ..model.facts import ModelFacts
from ..model.model import read_model
from .arguments import EngineArguments


def model_of(found: Mapping[str, Any], given: EngineArguments, vllm: str, findings: Findings) -> ModelFacts:
    """Return what the plan has to know of the model. found: of `model_info`; vllm: the image's version, "" if not known.

    Raises Refused where nothing says how many layers the model has.
    """
    model = read_model(
        found["config"],
        found.get("index"),
        found.get("files") or (),
        vllm=vllm,
        overrides=given.hf_overrides,
        hf_quant_config=found.get("hf_quant_config"),
    )
    findings.faults += model.faults
    findings.warnings += model.warnings
    if found.get("tokenizer") == [] and not given.has_tokenizer:
        findings.warn(
            "tokenizer_missing",
            "the model's files",
            "no tokenizer among them",
            "tokenizer.json, tokenizer.model or what the model's own code reads",
            "copy it beside the weights, or give vLLM --skip-tokenizer-init",
        )
    return model
