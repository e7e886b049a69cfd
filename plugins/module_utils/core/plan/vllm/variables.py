# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vLLM's environment variables of a recipe: those that the plan counts with, those it refuses, those its vLLM lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...catalog.vllm.defects import EXECUTOR_VARIABLE
from ...catalog.vllm.release import Release, versions_with_variable
from ...catalog.vllm.variable_effects import NOT_RECKONED, RECKONED, REFUSED
from ...fault import Findings
from ...recipe.values import nearest, shown

PARTITION = "VLLM_PP_LAYER_PARTITION"
_LONG = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
# How vLLM reads its switches (vllm/envs.py).
_ON = ("1", "true")


@dataclass(frozen=True)
class Variables:
    """What vLLM's variables say that the plan counts with.

    layers        a wish for the layers of each stage; empty where there is none
    allow_long    a context that is longer than the model's own is accepted
    old_executor  Ray's first executor is asked for
    """

    layers: tuple[int, ...] = ()
    allow_long: bool = False
    old_executor: bool = False


def read_variables(recipe: Mapping[str, Any], known: Release, findings: Findings) -> Variables:
    """Return what the variables mean for the plan; refuse and warn as docs/recipe.md says."""
    values: dict[str, str] = {}
    for place, name, value in _given(recipe):
        if name in REFUSED:
            findings.fault("variable_refused", place, name, "a supported variable", f"remove it: {REFUSED[name]}")
        elif name in RECKONED and value is None:
            findings.fault(
                "variable_refused",
                place,
                f"{name} from a Secret",
                "a value that the plan can read",
                "give it in recipe_container_env",
            )
        elif known.version is not None and name not in known.variables:
            _warn_of_unknown(place, name, known, findings)
        elif name in NOT_RECKONED:
            findings.warn("variable_not_reckoned", place, f"{name}: {NOT_RECKONED[name]}")
        elif name in RECKONED and value is not None:
            values[name] = value.strip()
    return Variables(
        _layers(values.get(PARTITION), findings),
        values.get(_LONG, "").lower() in _ON,
        values.get(EXECUTOR_VARIABLE) == "0",
    )


def _given(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    for parameter, field in (("recipe_container_env", "key"), ("recipe_environment_secrets", "envvar_name")):
        for number, entry in enumerate(recipe[parameter] or ()):
            if str(entry[field]).startswith("VLLM_"):
                yield f"{parameter}[{number}].{field}", entry[field], entry.get("value")


def _warn_of_unknown(place: str, name: str, known: Release, findings: Findings) -> None:
    has, like = versions_with_variable(name), nearest(name, known.variables)
    remedy = f"vLLM {has[0]} to {has[-1]} reads it" if has else f"did you mean {like}?" if like else "remove it"
    findings.warn("variable_unknown", place, f"{name}, which vLLM {known.version} does not read", "", remedy)


def _layers(text: str | None, findings: Findings) -> tuple[int, ...]:
    if not text:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if all(part.isascii() and part.isdigit() and 0 < int(part) < 100_000 for part in parts):
        return tuple(map(int, parts))
    findings.fault(
        "layer_partition",
        f"recipe_container_env {PARTITION}",
        shown(text),
        "layers of each stage, such as 22,20,19; at least one in each",
        "correct it, or remove it: vLLM divides the layers itself",
    )
    return ()


def check_layers(layers: tuple[int, ...], count: int, stages: int, findings: Findings) -> None:
    """Refuse a division of the layers that vLLM refuses (vllm/distributed/utils.py, get_pp_indices)."""
    if layers and (len(layers) != stages or sum(layers) != count):
        findings.fault(
            "layer_partition",
            f"recipe_container_env {PARTITION}",
            f"{','.join(map(str, layers))}: {sum(layers)} layers in {len(layers)} stages",
            f"{count} layers in {stages} stages",
            "correct it, or remove it: vLLM divides the layers itself",
        )
