# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster with a controller of Ingresses and Gateways, for the tests that want one."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from rig.configuration import REPOSITORY
from rig.fixtures import RunningRig
from rig.web_controller.classes import CLASSES, KINDS


def apply(rig: RunningRig, *objects: dict[str, Any]) -> None:
    """Apply the objects as they are."""
    rig.kubectl(
        "apply", "--filename", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    )


@contextlib.contextmanager
def web_controller(rig: RunningRig, idle_scale: float = 1.0) -> Iterator[None]:
    """Install the kinds and classes, and run the controller until the end."""
    apply(rig, *KINDS)
    names = [f"customresourcedefinition/{item['metadata']['name']}" for item in KINDS]
    rig.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    apply(rig, *CLASSES)
    with (rig.directory / "web_controller.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rig.web_controller", "--rig", str(rig.directory)],
            cwd=REPOSITORY,
            env={**rig.environment(), "RIG_IDLE_SCALE": str(idle_scale)},
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
        rig.kubectl("delete", *names, "ingressclass/rig-web")
