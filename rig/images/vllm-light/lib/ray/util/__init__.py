# SPDX-License-Identifier: GPL-3.0-or-later
"""`ray.util`: placement groups, and this node's address."""

from __future__ import annotations

from typing import Any

from ray.driver import PlacementGroup
from ray.wire import own_address


def get_node_ip_address() -> str:
    """The address of this node."""
    return own_address()


def placement_group(bundles: list[dict[str, float]], strategy: str = "PACK") -> PlacementGroup:
    """Ask for a place for each bundle."""
    if strategy != "PACK":
        raise ValueError(f"the light Ray knows the strategy PACK, not {strategy}")
    return PlacementGroup(bundles)


def placement_group_table(group: PlacementGroup) -> dict[str, Any]:
    """Where the bundles are."""
    return {"placement_group_id": group.identifier, "bundles_to_node_id": dict(group.nodes)}


def remove_placement_group(group: PlacementGroup) -> None:
    """Give the group's resources back."""
    group.remove()
