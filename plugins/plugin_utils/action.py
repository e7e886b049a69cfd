# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the action plugins share: faults become results, and each result says when its work began and ended."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any

from ansible.plugins.action import ActionBase

from ..module_utils.clock import moment
from ..module_utils.core.fault import Fault, Refused, fault_of


class Action(ActionBase):
    """An action whose `act` returns the result, or raises Refused."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        started = moment()
        # What an action has done before it is refused belongs into its result, too.
        self.done: dict[str, Any] = {}
        try:
            # Arguments are tagged subclasses of str and dict; the work below wants plain ones.
            arguments = json.loads(json.dumps(self._task.args, default=str))
            result.update(self.act(arguments, task_vars or {}))
        except Refused as refused:
            result.update(self.done, **failure(refused.faults))
        result.update(started=started, ended=moment())
        return result

    @abstractmethod
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Do the work and return the result's keys."""

    def run_module(self, name: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run a module and return its result without the arguments it was called with; Refused when it failed."""
        given = {key: value for key, value in arguments.items() if value is not None}
        result: dict[str, Any] = self._execute_module(module_name=name, module_args=given, task_vars=task_vars)
        result.pop("invocation", None)
        if result.get("failed"):
            faults = [fault_of(entry) for entry in result.get("faults", [])]
            raise Refused(faults or [Fault("module", name, str(result.get("msg")), "", "")])
        return result


def failure(faults: list[Fault]) -> dict[str, Any]:
    """Return the result of a task that failed: a line for each fault, and the same as data."""
    return {
        "failed": True,
        "msg": "\n".join(fault.line() for fault in faults),
        "faults": [fault.as_dict() for fault in faults],
    }
