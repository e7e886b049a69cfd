# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of one actor: `python -m ray.actor DESCRIPTOR` reads what it is made of, writes its port, and answers calls."""

from __future__ import annotations

import os
import pickle
import sys
import time

from ray import wire

LOOK_SECONDS = 0.5


def main() -> None:
    """Answer calls until the raylet ends."""
    parent = os.getppid()
    kind, arguments = pickle.loads(sys.stdin.buffer.read())
    instance = kind(*arguments)
    calls = {name: getattr(instance, name) for name in dir(kind) if not name.startswith("_")}
    server = wire.Server(("0.0.0.0", 0), calls).start()
    with os.fdopen(int(sys.argv[1]), "w") as descriptor:
        descriptor.write(str(server.port))
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)


main()
