# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The preStop hook of the head: an engine that serves is asked to end only when load balancers have stopped sending to it.

A pod that is deleted leaves the endpoints at once, but whoever sends by them learns it a moment later, and an engine that drains takes no
further request.
"""

from __future__ import annotations

import time

import group_file
import pod_status

# Within the pod's grace period, beside the time for the drain.
PAUSE_SECONDS = 5.0


def main() -> int:
    """Wait where the head serves; the exit code is 0 in any case."""
    try:
        group = group_file.load()
        serves = pod_status.ask(pod_status.own_address(), group.ports["status"])["state"] == "serving"
    except (OSError, ValueError, KeyError):
        return 0
    if serves:
        time.sleep(PAUSE_SECONDS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
