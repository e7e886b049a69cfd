# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions that end-to-end tests run with: both ends of what is supported, and those between. README.md has them as a table."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Versions:
    """ansible-core and the Pythons that it is tried on, best first; other packages where a version is asked for."""

    core: str
    pythons: tuple[str, ...]
    packages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.core.replace(".", "-")


# What requirements.txt and meta/runtime.yml still take.
OLDEST = Versions("2.17", ("3.10",), ("oci==2.150.0", "kubernetes==31.0.0", "cryptography==42.0.8", "jmespath==1.0.1"))
BETWEEN = (Versions("2.18", ("3.11",)), Versions("2.20", ("3.12",)))
NEWEST = Versions("2.21", ("3.13", "3.12"))
NEWEST_KUBERNETES_CORE = ("6.6.0", "ansible==14.5.0")
