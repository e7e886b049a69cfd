# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Parsers of tool calls and of reasoning: what the recipe names, else what the model's family writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...catalog.parsers import REASONING, TOOL_CALLS
from ...catalog.vllm.release import Release
from ...fault import Findings
from ...model.facts import ModelFacts
from ...recipe.vllm_arguments import PLACE, Arguments
from ..facts import Choices

OFF = "off"
LLAMA_3_VOCABULARY = 128256


def plan_parsers(
    recipe: Mapping[str, Any],
    model: ModelFacts,
    known: Release,
    arguments: Arguments,
    choices: Choices,
    findings: Findings,
) -> tuple[str, ...]:
    """Return vLLM's arguments for the parsers. Where one is given as an argument, that stands."""
    found: list[str] = []
    for option, parameter, families, has in (
        ("--tool-call-parser", "recipe_tool_call_parser", TOOL_CALLS, known.tool_parsers),
        ("--reasoning-parser", "recipe_reasoning_parser", REASONING, known.reasoning_parsers),
    ):
        given = arguments.text(option)
        if given is not None or arguments.has(f"{option}-plugin"):
            if given is not None:
                _check(f"{PLACE} {option}", given, has, known, arguments, findings)
            continue
        names = families.get(model.model_type, ()) if _is_of_family(model) and known.version is not None else ()
        of_family = next((name for name in names if name in has), OFF)
        asked = recipe[parameter]
        if asked is not None and asked != OFF:
            _check(parameter, asked, has, known, arguments, findings)
        # A deployment that was made before there were parsers goes on without.
        kept = OFF if choices.stands and choices.kept(parameter) is None else of_family
        name = choices.choose(
            parameter, asked, kept, "what models of this family write", lambda kept: isinstance(kept, str)
        )
        if name != OFF:
            found += [option, name]
            if option == "--tool-call-parser" and arguments.switch("--enable-auto-tool-choice") is None:
                found.append("--enable-auto-tool-choice")
    return tuple(found)


def _is_of_family(model: ModelFacts) -> bool:
    """Whether the model_type tells the family: many models are built like Llama, and those of Llama 3 share a vocabulary."""
    return model.model_type != "llama" or model.vocab_size == LLAMA_3_VOCABULARY


def _check(
    where: str, name: str, has: frozenset[str], known: Release, arguments: Arguments, findings: Findings
) -> None:
    plugin = arguments.has("--tool-parser-plugin") or arguments.has("--reasoning-parser-plugin")
    if known.version is not None and name not in has and not plugin:
        findings.fault(
            "parser_unknown",
            where,
            f"{name[:60]}, which vLLM {known.version} does not have",
            "one of " + ", ".join(sorted(has)),
            "choose one, or off",
        )
