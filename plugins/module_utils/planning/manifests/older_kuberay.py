# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A KubeRay whose RayCluster has no upgradeStrategy: it leaves living pods as they are when their template changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..names import RENDERED_ANNOTATION
from .running import runtime_of


def without_upgrade_strategy(
    objects: list[dict[str, Any]], raycluster: Mapping[str, Any] | None, known: Collection[str]
) -> bool:
    """Leave upgradeStrategy out of the RayCluster in `objects` where the cluster does not know it.

    raycluster  the one that stands, if one does
    known       fields of a RayCluster's spec that the cluster knows; empty where the definition comes with this run

    Return whether the one that stands has to be deleted and made again, since its pods are to be others. That loses no more
    than KubeRay's own Recreate: the pods, and the volumes that go with them.
    """
    if not known or "upgradeStrategy" in known:
        return False
    made = next(item for item in objects if item["kind"] == "RayCluster")
    made["spec"] = {key: value for key, value in made["spec"].items() if key != "upgradeStrategy"}
    if raycluster is None:
        return False
    recorded = (raycluster["metadata"].get("annotations") or {}).get(RENDERED_ANNOTATION)
    same = recorded == made["metadata"]["annotations"][RENDERED_ANNOTATION]
    return not (same and runtime_of(raycluster) == runtime_of(made))
