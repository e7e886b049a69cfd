# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Speculation: whether the image's vLLM can draft for this model over so many stages, and with what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...catalog.drafters import DRAFTERS, DRAFTS_WITH_STAGES_SINCE, MADE_FOR_ONE_MODEL, WITHOUT_WEIGHTS, Drafter
from ...catalog.vllm.release import Release
from ...fault import Findings
from ...model.facts import ModelFacts
from .class_rules import images_from
from .speculative_config import CONFIG, check_config, method_of

_RECIPE = "recipe_speculation"


@dataclass(frozen=True)
class Speculation:
    """arguments: what vLLM is given for it; layers: of the model's own drafter, on the last stage."""

    arguments: tuple[str, ...] = ()
    layers: int = 0


def drafts_itself(recipe: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether the model's own drafter is asked for; config: --speculative-config."""
    return recipe[_RECIPE] == "mtp" or (str(config.get("method") or "").endswith("mtp") and not config.get("model"))


def draft_states(config: Mapping[str, Any]) -> int:
    """Return how many hidden states a drafter made for one model projects; 0 for every other. config: --speculative-config."""
    return MADE_FOR_ONE_MODEL.get(method_of(config), 0) if config.get("model") else 0


def plan_speculation(
    recipe: Mapping[str, Any],
    model: ModelFacts,
    config: Mapping[str, Any],
    known: Release,
    parallel: tuple[int, int],
    findings: Findings,
    staged: str = "",
) -> Speculation:
    """Return what drafts for the model: what the recipe asks for, or --speculative-config (`config`) as it is given.

    parallel: GPUs of a node, and nodes. staged: the folder in the pods in which nothing lies but what is staged, where there is one
    """
    wish, stages = recipe[_RECIPE], parallel[1]
    if wish == "mtp" and config:
        expected = "one of the two"
        findings.fault("speculation", _RECIPE, f"{wish} beside --speculative-config", expected, f"leave {_RECIPE} out")
        return Speculation()
    if wish == "mtp":
        drafter = _own_drafter(_RECIPE, model, known, stages, findings)
        if drafter is None:
            return Speculation()
        depth = drafter.depth if drafter.depth % model.predicted == 0 else model.predicted
        said = json.dumps({"method": "mtp", "num_speculative_tokens": depth})
        return Speculation(("--speculative-config", said), model.predicted)
    if config:
        check_config(config, model, known, parallel, findings)
    method, own = str(config.get("method") or ""), str(config.get("model") or "")
    if not config or method in WITHOUT_WEIGHTS or own in WITHOUT_WEIGHTS:
        return Speculation()
    if drafts_itself(recipe, config):
        drafter = _own_drafter(CONFIG, model, known, stages, findings)
        return Speculation(layers=model.predicted if drafter else 0)
    _other_model(own, config, known, stages, staged, findings)
    return Speculation()


def _own_drafter(where: str, model: ModelFacts, known: Release, stages: int, findings: Findings) -> Drafter | None:
    drafter = DRAFTERS.get(model.model_type)
    if drafter is None or not model.predicted:
        findings.fault(
            "speculation_without_drafter",
            where,
            f"mtp, and {model.architecture or 'the model'} brings no layers that draft",
            "a model with layers for multi-token prediction",
            "leave it out, or use another method in --speculative-config",
        )
        return None
    if stages > 1 and known.version is not None:
        if not known.at_least(DRAFTS_WITH_STAGES_SINCE):
            findings.fault(
                "speculation_with_stages",
                where,
                f"mtp with {stages} stages, which vLLM {known.version} refuses",
                f"vLLM {DRAFTS_WITH_STAGES_SINCE} or newer, or one node",
                images_from(DRAFTS_WITH_STAGES_SINCE),
            )
            return None
        if not known.drafts.get(drafter.name):
            findings.fault(
                "speculation_with_stages",
                where,
                f"mtp with {stages} stages: vLLM {known.version} cannot run {drafter.name} beside several",
                "a drafter that works with pipeline parallelism",
                "leave it out, or use one node whose GPUs hold the model",
            )
            return None
    if known.version is None:
        findings.warn(
            "speculation_uncertain",
            where,
            "mtp, and which vLLM the image holds is not known",
            "",
            "say it in image_contents",
        )
    return drafter


def _other_model(
    own: str, config: Mapping[str, Any], known: Release, stages: int, staged: str, findings: Findings
) -> None:
    method = str(config.get("method") or "")
    if not own.startswith("/"):
        findings.fault(
            "speculation_model",
            CONFIG,
            f"the method {method or 'of a draft model'} without a folder of the pods",
            "the draft model's absolute path: the pods download nothing",
            "put it on a file system that input_file_system or local_filesystem mounts, and name its folder",
        )
    elif staged and f"{own}/".startswith(f"{staged.rstrip('/')}/"):
        findings.fault(
            "speculation_model",
            CONFIG,
            f"the draft model in {own}",
            f"a folder outside of {staged}, where the pods find the model's own weights alone",
            "put it on a file system that input_file_system or local_filesystem mounts, and name its folder",
        )
    elif stages > 1 and known.at_least(DRAFTS_WITH_STAGES_SINCE) is False:
        findings.fault(
            "speculation_with_stages",
            CONFIG,
            f"a draft model with {stages} stages, which vLLM {known.version} refuses",
            f"vLLM {DRAFTS_WITH_STAGES_SINCE} or newer, or one node",
            images_from(DRAFTS_WITH_STAGES_SINCE),
        )
    else:
        least = (
            "counted with the least that a drafter of its kind has, a projection and the attention of one layer; "
            if draft_states(config)
            else "and nothing of its weights and cache is counted; "
        )
        findings.warn(
            "draft_model_not_read",
            CONFIG,
            f"the draft model is in the pods alone: {least}"
            "what the last stage holds, and so the KV cache of the group, is not certain",
            "",
            "leave room for it with gpu_overhead_mib; the image's vLLM checks beside staging whether the GPUs divide it",
        )
