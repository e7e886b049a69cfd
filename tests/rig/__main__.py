# SPDX-License-Identifier: GPL-3.0-or-later
"""The rig's command: `python -m tests.rig build|up|down|status`."""

from __future__ import annotations

import sys

from tests.rig.configuration import RigError, cache_directory
from tests.rig.control_plane.build import ensure_programs


def main() -> int:
    ensure_programs(cache_directory(), lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RigError as error:
        sys.exit(f"rig: {error}")
