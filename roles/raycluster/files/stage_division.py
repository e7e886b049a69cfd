# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which weight files each stage holds where the engine divides the layers otherwise than the plan.

The head asks the engine for its division and records it; workers read it from the head's status. A pod that records a division it is not
staging for ends its container, and the next start stages by the record, so one run never mixes two divisions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from group_file import STATE_FOLDER, Group, Staging, write_whole
from pod_progress import Failure
from stage_tensors import shards_of_division

_PATH = STATE_FOLDER / "layers.json"
_MOST_LAYERS = 10_000


class Redivided(Exception):
    """This container ends, and its next start stages for another division."""


def kept(group: Group) -> Group:
    """Return the group with the division that was kept; with the plan's where none was, or the index is not here yet."""
    staging = group.staging
    try:
        layers = json.loads(_PATH.read_text())
        return replace(group, staging=_divided(staging, layers)) if is_division(layers, group) else group
    except (OSError, ValueError, RecursionError, Failure):
        return group


def keep(layers: Any, group: Group) -> bool:
    """Keep a division for the next start; False where it is kept already, or is none of this group."""
    if not is_division(layers, group):
        return False
    text = json.dumps(layers)
    if _PATH.exists() and _PATH.read_text() == text:
        return False
    write_whole(_PATH, text)
    return True


def is_division(layers: Any, group: Group) -> bool:
    """Say whether this counts the layers of each of the group's stages, and stages have files of their own."""
    return (
        group.staging.by_stage
        and isinstance(layers, list)
        and len(layers) == group.pipeline
        and all(
            isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= _MOST_LAYERS for count in layers
        )
    )


def _divided(staging: Staging, layers: Sequence[int]) -> Staging:
    return replace(staging, shards_per_stage=shards_of_division(layers, staging), layers_per_stage=tuple(layers))
