# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The version of the collection, as galaxy.yml has it; and versions of others as numbers."""

from __future__ import annotations

import re

VERSION = "0.1.0"


def read_version(text: str) -> tuple[int, int, int] | None:
    """Return the three numbers of a version such as v1.7.0, or None."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
