# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is read before planning, and the values that were not given. Both are plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..fault import Findings
from ..names import CHOICES_ANNOTATION
from ..recipe.values import shown
from .placement import Placement
from .types import Choice

# How to get what a new deployment would get.
ADOPT = "take it with adopt_defaults: true"


def commit_choice(repository: str, revision: str) -> str:
    """Return the name of the choice that keeps a deployment at the commit that a branch or tag named when it was made."""
    return f"commit of {repository} at {revision}"


@dataclass
class Facts:
    """What was read before planning, all of it plain data.

    model       of `model_info`: {config, index, files, left_out, source, prefix}
    cluster     of `oke_cluster_info`; None where the nodes are not ours to make
    own_pool    the one of the cluster's node pools that is the deployment's; None without
    deployment  of `deployment_info`: what the objects of this deployment record; empty when there is none
    secrets     of `deployment_info`: the keys of each Secret that the recipe names; None where they were not read
    surroundings  of `kubernetes_info`: what the cluster has; empty without one
    answer      of the vLLM that the setting vllm_python names (stage_models.py); None where it was not asked
    """

    model: Mapping[str, Any]
    cluster: Mapping[str, Any] | None = None
    own_pool: Mapping[str, Any] | None = None
    deployment: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Sequence[str] | None] | None = None
    surroundings: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] | None = None


def are_model_facts(value: Any) -> bool:
    """Say whether `value`, read from a file that anybody may have written, has the form of `Facts.model`."""
    if not isinstance(value, Mapping) or not isinstance(value.get("config"), Mapping):
        return False
    index, files, source = value.get("index") or {}, value.get("files") or [], value.get("source") or {"kind": ""}
    if not all(isinstance(part, Mapping) for part in (index, source)) or not isinstance(files, list):
        return False
    weight_map = index.get("weight_map") or {}
    return (
        isinstance(weight_map, Mapping)
        and all(isinstance(file, str) for file in weight_map.values())
        and isinstance(source.get("kind"), str)
        and isinstance(value.get("prefix") or "", str)
        and all(
            isinstance(entry, Mapping)
            and isinstance(entry.get("name"), str)
            and isinstance(entry.get("size") or 0, int)
            for entry in files
        )
    )


class Choices:
    """Values that were not given: found or defaulted once, recorded on the deployment's objects, and then kept."""

    def __init__(self, kept: Mapping[str, Any], adopt_defaults: bool, findings: Findings) -> None:
        """`kept`: what the deployment was made with; with `adopt_defaults` today's choice takes its place."""
        self._kept = {} if adopt_defaults else kept
        # The deployment was made before: what it has no record of was not chosen then.
        self.stands = bool(self._kept)
        self._findings = findings
        self.made: list[Choice] = []

    def choose(
        self, name: str, given: Any, today: Any, why: str, possible: Callable[[Any], bool] = lambda value: True
    ) -> Any:
        """Return what was given; else what the deployment was made with; else `today`.

        possible: tells of a value on the deployment's objects whether this collection may have chosen it. Whoever may write
        them may have written it: what spends money, runs on a node or leads out of the deployment's folder is not believed.
        """
        if given is not None:
            return given
        kept = self._kept.get(name)
        if kept is not None and not possible(kept):
            self._findings.warn(
                "recorded_choice",
                name,
                f"{shown(kept)} in the annotation {CHOICES_ANNOTATION}, not taken",
                "a value that deploy may have written there",
                "see who else writes to the namespace",
            )
            kept = None
        if kept is None:
            self.made.append({"field": name, "value": today, "why": why})
            return today
        self.made.append({"field": name, "value": kept, "why": "the deployment was made with it"})
        if today is not None and kept != today:
            self._findings.warn("newer_choice", name, f"{kept}, kept", f"{today} for a new deployment", ADOPT)
        return kept

    def kept(self, name: str) -> Any:
        """Return what the deployment was made with, None where it is new or that was given."""
        return self._kept.get(name)

    def add(self, placement: Placement) -> None:
        """Take over what was chosen for the node pool; there the pool itself remembers it."""
        self.made.extend(choice for choice in placement.choices if choice["why"] != "given")
        for entry in placement.drift:
            self._findings.warn(
                "newer_choice",
                entry["field"],
                f"{entry['value']}, kept",
                f"{entry['today']} for a new deployment",
                ADOPT,
            )
