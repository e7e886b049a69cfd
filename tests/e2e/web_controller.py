# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster with a controller of Ingresses and Gateways, or with a cert-manager, for the tests that want one."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from rig.cert_manager import CLUSTER_NAMESPACE
from rig.cert_manager import KINDS as ISSUER_KINDS
from rig.configuration import REPOSITORY
from rig.fixtures import RunningRig
from rig.web_controller.classes import CLASSES, KINDS


def apply(rig: RunningRig, *objects: dict[str, Any]) -> None:
    """Apply the objects as they are."""
    rig.kubectl(
        "apply", "--filename", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    )


@contextlib.contextmanager
def running(rig: RunningRig, part: str, kinds: list[dict[str, Any]], **environment: str) -> Iterator[None]:
    """Install kinds, and run a part of the rig that serves them until the end; then the kinds go with all that is of them."""
    apply(rig, *kinds)
    names = [f"customresourcedefinition/{item['metadata']['name']}" for item in kinds]
    rig.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    with (rig.directory / f"{part}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"rig.{part}", "--rig", str(rig.directory)],
            cwd=REPOSITORY,
            env={**rig.environment(), **environment},
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
        rig.kubectl("delete", *names)


@contextlib.contextmanager
def web_controller(rig: RunningRig, idle_scale: float = 1.0) -> Iterator[None]:
    """A controller of Ingresses and Gateways with its classes."""
    with running(rig, "web_controller", KINDS, RIG_IDLE_SCALE=str(idle_scale)):
        apply(rig, *CLASSES)
        try:
            yield
        finally:
            rig.kubectl("delete", "ingressclass/rig-web")


@contextlib.contextmanager
def cert_manager(rig: RunningRig) -> Iterator[None]:
    """A cert-manager; the namespace that its cluster issuers' Secrets are in is there."""
    apply(rig, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CLUSTER_NAMESPACE}})
    with running(rig, "cert_manager", ISSUER_KINDS):
        yield
