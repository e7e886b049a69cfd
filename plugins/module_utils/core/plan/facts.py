# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is found out before planning, and the values that nobody gave.

Both are plain data: who found it out does not matter here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..fault import Fault

# The way to what a new deployment would get.
ADOPT = "take it with adopt_defaults: true"


@dataclass
class Cloud:
    """What was found out for the node pool: its fields in the SDK's names, and why each has its value.

    drift names the fields that would be chosen otherwise today: {field, value, today, why}.

    placements  where the pool may go, {placement_configs, nsg_ids, why}, the one in `values` first
    others      the placement_configs of those among them where it may go when there are no hosts, best first
    room        what the account has left, of `oke_cluster_info`; empty when no node is to be made
    size        nodes that the deployment's own pool has
    domains     availability domains of that pool's placement
    shape       the recipe's shape as the compute service lists it; None where it does not
    compute_cluster  {name, availability_domain, lifecycle_state} of the one that nodes are to be made in; empty without
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    choices: Sequence[Mapping[str, Any]] = ()
    drift: Sequence[Mapping[str, Any]] = ()
    others: Sequence[Sequence[Mapping[str, Any]]] = ()
    faults: Sequence[Fault] = ()
    placements: Sequence[Mapping[str, Any]] = ()
    room: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    domains: Sequence[str] = ()
    shape: Mapping[str, Any] | None = None
    compute_cluster: Mapping[str, Any] = field(default_factory=dict)


def commit_choice(repository: str, revision: str) -> str:
    """Return the name of the choice that keeps a deployment at the commit that a branch or tag named when it was made."""
    return f"commit of {repository} at {revision}"


@dataclass
class Facts:
    """What was found out before planning, all of it plain data.

    cloud       what the cluster's surroundings give to a node pool; None when the nodes are not ours to make
    model       of `model_info`: {config, index, files, left_out, source, prefix}
    exports     where the recipe's file systems can be mounted (`storage.storage_of`)
    deployment  of `deployment_info`: what stands on the objects of this deployment already; empty when there is none
    secrets     of `deployment_info`: the keys of each Secret that the recipe names; None where nobody looked
    surroundings  of `kubernetes_info`: what the cluster has; empty without one
    """

    model: Mapping[str, Any]
    cloud: Cloud | None = None
    deployment: Mapping[str, Any] = field(default_factory=dict)
    exports: Sequence[Mapping[str, Any]] = ()
    secrets: Mapping[str, Sequence[str] | None] | None = None
    surroundings: Mapping[str, Any] = field(default_factory=dict)


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
    """Values that nobody gave: found out or defaulted once, written on the deployment's objects, and then kept."""

    def __init__(self, kept: Mapping[str, Any], adopt_defaults: bool = False) -> None:
        """`kept`: what the deployment was made with; with `adopt_defaults` today's choice takes its place."""
        self._kept = {} if adopt_defaults else kept
        self.made: list[dict[str, Any]] = []
        self.warnings: list[Fault] = []

    def choose(self, name: str, given: Any, today: Any, why: str) -> Any:
        """Return what was given; else what the deployment was made with; else `today`."""
        if given is not None:
            return given
        kept = self._kept.get(name)
        if kept is None:
            self.made.append({"field": name, "value": today, "why": why})
            return today
        self.made.append({"field": name, "value": kept, "why": "the deployment was made with it"})
        if today is not None and kept != today:
            self.warnings.append(Fault("newer_choice", name, f"{kept}, kept", f"{today} for a new deployment", ADOPT))
        return kept

    def kept(self, name: str) -> Any:
        """Return what the deployment was made with, None where it is new or that was given."""
        return self._kept.get(name)

    def add(self, cloud: Cloud) -> None:
        """Take over what was chosen for the node pool; there the pool itself remembers it."""
        self.made.extend(dict(choice) for choice in cloud.choices if choice["why"] != "given")
        for entry in cloud.drift:
            self.warnings.append(
                Fault(
                    "newer_choice",
                    entry["field"],
                    f"{entry['value']}, kept",
                    f"{entry['today']} for a new deployment",
                    ADOPT,
                )
            )
