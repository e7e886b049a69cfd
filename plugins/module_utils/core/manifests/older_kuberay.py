# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a RayCluster is to be without where the installed KubeRay is older than 1.6.

Without upgradeStrategy it leaves living pods as they are when their template changes. Without authOptions.secretName it takes
Ray's token from the Secret named like the RayCluster, which it makes only where there is none.
"""

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


def token_secret_kind(
    objects: list[dict[str, Any]], raycluster: Mapping[str, Any] | None, known: Collection[str]
) -> str:
    """Return which Secret (a key of `object_names`) holds Ray's token; leave its name out of `objects` where it goes unsaid.

    A RayCluster that was made without stays so: KubeRay would make its pods again for the name alone.
    """
    standing = (raycluster or {}).get("spec", {}).get("authOptions")
    unknown = bool(known) and "authOptions.secretName" not in known
    if not unknown and (standing is None or "secretName" in standing):
        return "ray_token_secret"
    made = next(item for item in objects if item["kind"] == "RayCluster")
    made["spec"] = {**made["spec"], "authOptions": {"mode": "token"}}
    return "kuberay_token_secret"
