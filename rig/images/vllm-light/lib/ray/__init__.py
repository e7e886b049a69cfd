# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Ray on the rig's light image: as much of it as pods and the stand-in for vLLM use, over TCP, up in a blink.

Imitated (Ray 2.58): `ray start` leaves the processes gcs_server (head) and raylet behind; the GCS forgets all when it ends; a
node is DEAD after five missed health checks, 3 s apart; a raylet ends when it has not seen the GCS for 60 s; token authentication of
everything but the health pages; the state API; placement groups (PACK); actors as processes on the node of their bundle, which end
with their raylet and their driver; their output with the driver, prefixed by class, process and address.

Not imitated: the object store, tasks, jobs, runtime environments, the autoscaler, autostart of a local cluster.
"""

from ray import exceptions, util
from ray.driver import get, get_runtime_context, init, kill, nodes, remote, shutdown, wait

__all__ = ["exceptions", "get", "get_runtime_context", "init", "kill", "nodes", "remote", "shutdown", "util", "wait"]
__version__ = "2.58.0"
