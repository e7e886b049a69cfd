# SPDX-License-Identifier: GPL-3.0-or-later
"""The load balancer stand-in: a connection over which nothing goes is closed after the idle time, in the rig's time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rig.cloud_controller.load_balancers import IDLE_SECONDS, LoadBalancer, LoadBalancers, idle_seconds

ANNOTATION = "service.beta.kubernetes.io/oci-load-balancer-connection-idle-timeout"


async def silent_for(folder: Path, asked: float, bound: float) -> float | None:
    """How long a connection that says nothing stays; None where it outlives `bound`."""
    rig: Any = SimpleNamespace(
        directory=folder, oci=SimpleNamespace(control=""), name="0a", network=SimpleNamespace(address="127.0.0.1")
    )
    # A connection is passed on without what None stands for here.
    balancers = LoadBalancers(rig, None, None, None)  # type: ignore[arg-type]

    async def answer_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    behind = await asyncio.start_server(answer_nothing, "127.0.0.1", 0)
    balancer = LoadBalancer("127.0.0.1", targets={1: [("127.0.0.1", behind.sockets[0].getsockname()[1])]}, idle=asked)
    front = await asyncio.start_server(
        lambda reader, writer: balancers._forward(balancer, 1, reader, writer), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", front.sockets[0].getsockname()[1])
    began = time.monotonic()
    try:
        await asyncio.wait_for(reader.read(), bound)
        return time.monotonic() - began
    except TimeoutError:
        return None
    finally:
        writer.close()
        front.close()
        behind.close()
        # Both ends see that the connection is gone.
        await asyncio.sleep(0.2)


def test_a_silent_connection_is_closed_in_the_rigs_time(tmp_path: Path) -> None:
    assert asyncio.run(silent_for(tmp_path, 60, 1.5)) is None
    (tmp_path / "idle_scale").write_text("0.01")
    stayed = asyncio.run(silent_for(tmp_path, 60, 30))
    assert stayed is not None and stayed > 0.5


@pytest.mark.parametrize(
    ("annotations", "seconds"),
    [
        ({}, IDLE_SECONDS),
        ({ANNOTATION: "3600"}, 3600),
        ({ANNOTATION: "3600", "oci.oraclecloud.com/load-balancer-type": "nlb"}, IDLE_SECONDS),
    ],
)
def test_the_idle_time_is_the_annotations_but_for_a_network_load_balancer(
    annotations: dict[str, str], seconds: float
) -> None:
    assert idle_seconds({"metadata": {"annotations": annotations}}) == seconds
