# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ray's agents on this pod: the raylet is told their ports before they have started, and waits for neither.

A raylet joins its cluster only when its two agents, programs in Python, have written their ports into files, and crashes where one takes
longer than 15 s, as on busy cores it does (Ray 2.58, raylet/node_manager.cc, WaitForDashboardAgentPorts). So the files are written here,
with the ports that the start command gives the agents.
"""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

from group_file import write_whole
from pod_processes import yield_cpu

# An option of `ray start`, and the file in which the raylet looks for the port (Ray 2.58, src/ray/util/port_persistence.h).
PORTS = {
    "--dashboard-agent-grpc-port": "metrics_agent_port",
    "--metrics-export-port": "metrics_export_port",
    "--dashboard-agent-listen-port": "dashboard_agent_listen_port",
    "--runtime-env-agent-port": "runtime_env_agent_port",
}
# How long the raylet lets an agent be late once it needs it. Ray's default: 30 s.
ENVIRONMENT = {"RAY_agent_register_timeout_ms": "300000"}
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 300.0
# The group needs it neither to form nor to serve, unlike the other one.
_DASHBOARD_AGENT = b"ray/dashboard/agent.py"


def attend(sessions: Path, node_id: str, command: str) -> None:
    """Write the ports that Ray's start command gives where the raylet of `node_id` looks for them, in the background.

    Call it before the start: the folder of the session that comes then is the one.
    """
    ports = {name: given[1] for option, name in PORTS.items() if (given := re.search(rf"{option}[= ](\d+)", command))}
    before = set(sessions.glob("session_[0-9]*"))
    threading.Thread(target=_attend, args=(sessions, before, node_id, ports), name="agents", daemon=True).start()


def _attend(sessions: Path, before: set[Path], node_id: str, ports: dict[str, str]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not (new := set(sessions.glob("session_[0-9]*")) - before):
        if time.monotonic() > end:
            return
        time.sleep(LOOK_SECONDS)
    session = new.pop()
    for name, port in ports.items():
        path = session / f"{name}_{node_id}"
        # Where the agent was first, its own stays.
        if not path.exists():
            write_whole(path, port)
    while not yield_cpu(_DASHBOARD_AGENT) and time.monotonic() < end:
        time.sleep(10 * LOOK_SECONDS)
