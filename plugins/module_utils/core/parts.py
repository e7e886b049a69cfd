# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Parts of objects that come from outside, of which any may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NONE: Mapping[str, Any] = {}


def inner(value: Any, *keys: str) -> Mapping[str, Any]:
    """Return the mapping below `keys` of a value; an empty one where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else _NONE


def head_pod_spec(raycluster: Any) -> Mapping[str, Any]:
    """Return the spec of the head's pods of a RayCluster; an empty one where it has none."""
    return inner(raycluster, "spec", "headGroupSpec", "template", "spec")
