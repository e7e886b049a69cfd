# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The description of one thing that a person can give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """One parameter of the recipe or one platform setting.

    kind: string, integer, number, boolean, mapping (of text), list (of text), object (with `properties`) or objects
    (a list of such). Integers may be given as digit strings, since the published recipes do and surveys always do.
    wire: what the value becomes in the cloud, in Kubernetes or in vLLM's arguments.
    words: texts that an integer may be instead (`auto`).
    not_served: why it may not be given yet; empty where it is served. A parameter without effect would lie.
    words_not_served: the same for `words`.
    """

    name: str
    kind: str
    description: str
    wire: str = ""
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    properties: tuple[Parameter, ...] = ()
    secret: bool = False
    words: tuple[str, ...] = ()
    not_served: str = ""
    words_not_served: str = ""
