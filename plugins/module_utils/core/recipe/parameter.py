# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The description of one thing that a person can give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .formats import LINE, Format


@dataclass(frozen=True)
class Parameter:
    """One parameter of the recipe or one platform setting: validation, JSON Schema, documentation and survey follow from it.

    kind          string, integer, boolean, mapping (of text), list (of text), object (with `properties`), objects (a list of
                  such), endpoint (a URL, or a mapping of service to URL). Integers may be given as digit strings, since the
                  published recipes do and surveys always do.
    wire          what the value becomes in the cloud, in Kubernetes or in vLLM's arguments
    format        of the text: of each entry of a list, of each value of a mapping
    key_format    of a mapping's keys
    words         texts that an integer may be instead (`auto`)
    secret        the value is never shown
    reaches_pods  whether the pods may be made of it: a deployment whose recipe or settings change in nothing that reaches the
                  pods keeps those that run, also with another version of the collection
    not_served    why it may not be given yet; empty where it is served. A parameter without effect would lie.
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
    format: Format = LINE
    key_format: Format = LINE
    words: tuple[str, ...] = ()
    secret: bool = False
    reaches_pods: bool = True
    not_served: str = ""

    @property
    def hidden(self) -> bool:
        """Whether what was given is never shown: it is a secret or holds one, or may be one in the wrong place."""
        return self.secret or self.format.hidden or any(inner.secret for inner in self.properties)


def of_no_pod(name: str, kind: str, description: str, **more: Any) -> Parameter:
    """A setting of the node pool alone, of how the cluster is reached, or of what is only calculated or printed."""
    return Parameter(name, kind, description, reaches_pods=False, **more)
