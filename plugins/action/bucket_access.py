# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lets a deployment's pods read its bucket; see the module of the same name."""

from __future__ import annotations

from typing import Any

from ..plugin_utils.inputs import given_inputs
from ..plugin_utils.kubernetes_writes import WritingAction, would_be_made


class ActionModule(WritingAction):
    """The request's URL is told once, so the Secret that keeps it is there before the request is made."""

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        plan, settings = arguments["plan"], given_inputs(self._loader).settings
        self.cluster = self.reach(settings)
        kubernetes = self.cluster.connect()
        deployment = plan["deployment"]
        self.refuse_strange(kubernetes, plan)
        access = self.access(kubernetes, settings, deployment, task_vars)
        announced = access.announce(plan)
        changes = []
        if announced and not self._task.check_mode:
            first, _there = self.own_namespace(kubernetes, plan, settings)
            changes += self.apply(first, task_vars)
            if access.has_secret:
                changes += self.apply([announced], task_vars)
            else:
                changes += self.create_secret(kubernetes, announced)
            self.done = {"changed": bool(changes), "objects": changes}
        secrets = access.present(plan)
        if secrets and self._task.check_mode:
            return would_be_made(secrets)
        if secrets:
            changes += self.apply(secrets, task_vars)
        if settled := access.settle(plan):
            changes += self.apply(settled, task_vars)
        return {"changed": bool(changes), "objects": changes}
