# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Comparing versions of vLLM."""

from __future__ import annotations

import re

# The newest vLLM whose source the planner's rules were read in: what an image holds that is not known counts as this.
NEWEST_READ = (0, 32)


def version_of(text: str) -> tuple[int, int]:
    """Return major and minor of a version like "0.26.0"; NEWEST_READ for one that is not known."""
    match = re.match(r"v?(\d{1,4})\.(\d{1,4})", text)
    return (int(match[1]), int(match[2])) if match else NEWEST_READ
