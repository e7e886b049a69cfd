# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Times as results carry them."""

from __future__ import annotations

from datetime import datetime, timezone


def moment() -> str:
    """Return now in UTC to the millisecond, in RFC 3339."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
