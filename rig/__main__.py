# SPDX-License-Identifier: GPL-3.0-or-later
"""The rig's command: `python -m rig build|up|down|status`. Which rig: RIG_DIR, else `.rig` in the repository."""

from __future__ import annotations

import argparse
import sys

from rig.configuration import RigError, cache_directory, rig_directory
from rig.control_plane import down, status, up
from rig.control_plane.build import ensure_programs


def say(line: str) -> None:
    """One line of progress."""
    print(line, flush=True)


def main() -> int:
    """Run one command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rig", description="A cloud on one machine, for tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the programs of the control plane into the cache, where they are missing")
    commands.add_parser("up", help="start a rig (building first where needed)")
    commands.add_parser("down", help="end the rig and remove all of it")
    commands.add_parser("status", help="show the rig's processes; exit status 0 only if all run")
    command = parser.parse_args().command
    try:
        if command == "build":
            for name, path in ensure_programs(cache_directory(), say).items():
                say(f"have    {name}: {path}")
        elif command == "up":
            up.up(rig_directory(), say)
        elif command == "down":
            down.down(rig_directory(), say)
        else:
            return status.show(rig_directory(), say)
    except RigError as error:
        print(f"rig: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rig: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
