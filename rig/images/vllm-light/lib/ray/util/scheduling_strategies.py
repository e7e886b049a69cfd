# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an actor goes (ray/util/scheduling_strategies.py)."""

from __future__ import annotations

import dataclasses

from ray.driver import PlacementGroup


@dataclasses.dataclass
class PlacementGroupSchedulingStrategy:
    """Onto the node of a bundle."""

    placement_group: PlacementGroup
    placement_group_bundle_index: int = -1
