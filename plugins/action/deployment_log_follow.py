# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prints a log as it is written; see the module of the same name."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from ..module_utils.core.fault import Fault, Refused
from ..module_utils.core.health.log_text import readable
from ..module_utils.kube.client import may_pass
from ..module_utils.kube.logs import FollowedLog
from ..plugin_utils.action import Action

POLL_SECONDS = 2.0
COMPONENTS = ("head", "worker", "operator")


class ActionModule(Action):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        component, count = arguments.get("component", "head"), int(arguments.get("lines", 200))
        if component not in COMPONENTS:
            expected = f"one of {', '.join(COMPONENTS)}"
            raise Refused([Fault("logs_follow", "logs_component", component, expected, "leave logs_follow out")])
        kubernetes = self.reach(self.registered.get("recipe", {}).get("settings") or {}).connect()
        log = FollowedLog(kubernetes, arguments["name"], component, int(arguments.get("worker", 1)), count)
        end = time.monotonic() + int(arguments.get("minutes", 10)) * 60
        lines: deque[str] = deque(maxlen=count)
        said: dict[str, str] = {}
        trouble = ""
        new = log.read()
        while True:
            text = [line.partition(" ")[2] for line in new] if arguments.get("raw") else readable(new, said=said)
            for line in text:
                self.show(line)
            lines += text
            if time.monotonic() >= end:
                return {"changed": False, "source": log.source, "lines": list(lines)}
            time.sleep(POLL_SECONDS)
            try:
                new, trouble = log.read(), ""
            except Refused as refused:
                # The pod that takes the place of one that is gone is not there at once.
                if not may_pass(fault for fault in refused.faults if fault.code != "no_pod"):
                    raise
                new = []
                if trouble != (words := refused.faults[0].line()):
                    trouble = words
                    self.show(words)
