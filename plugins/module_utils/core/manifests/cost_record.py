# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a deployment costs, as its RayCluster records it for `status`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..plan.types import Plan
from ..text import read_json

# US dollars an hour of each part, and what a person calls it.
PARTS = {
    "nodes": "nodes",
    "boot_volumes": "boot volumes",
    "model_volumes": "model volumes",
    "load_balancer": "load balancer",
}
_NUMBERS = (*PARTS, "total", "file_systems")


def cost_record(plan: Plan) -> dict[str, float | str | None]:
    """Return US dollars an hour of each part, and the number of file systems, which are billed by what they hold."""
    file_systems = sum(volume["kind"] == "file_system" for volume in plan["pod"]["volumes"])
    cost = plan["expected"]["cost"]
    # mypy does not know that PARTS are keys of the cost.
    amounts: dict[str, float | None] = {**{name: cost[name] for name in PARTS}, "total": cost["total"]}  # type: ignore[literal-required]
    rounded = {name: None if amount is None else round(amount, 4) for name, amount in amounts.items()}
    return {**rounded, "file_systems": file_systems, "price_date": cost["price_date"]}


def recorded_cost(text: str | None) -> dict[str, Any]:
    """Return the record as anybody may have written it: numbers that can be prices; {} where it is none."""
    try:
        found = read_json(text or "{}")
    except ValueError:
        return {}
    if not isinstance(found, Mapping) or not found or not all(_is_amount(found.get(name)) for name in _NUMBERS):
        return {}
    date = found.get("price_date")
    return {**{name: found.get(name) for name in _NUMBERS}, "price_date": date if isinstance(date, str) else ""}


def _is_amount(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < 1e9
