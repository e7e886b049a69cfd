# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The liveness probe: the pod's program answers. What becomes of Ray and the engine that program judges itself, with the cause."""

from __future__ import annotations

import group_file
import pod_status

ANSWER_SECONDS = 15.0


def main() -> int:
    """Ask the pod's program for its status; the exit code is 0 if it answers."""
    try:
        state = pod_status.ask(pod_status.own_address(), group_file.load().ports["status"], ANSWER_SECONDS)
    except (OSError, ValueError) as error:
        print(f"the pod's program does not answer: {error}")
        return 1
    print(f"state {state['state']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
