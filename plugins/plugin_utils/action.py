# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the action plugins share: earlier results and the connection as data, and faults that become results."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..module_utils.clock import moment
from ..module_utils.core.fault import Fault, Refused, fault_of, unexpected
from ..module_utils.core.recipe.inputs import RESULT
from ..module_utils.core.text import plain
from ..module_utils.kube.lease import Lease
from .cluster import Cluster
from .inputs import given_variables
from .lease.hold import Hold

_WATCH_SECONDS = 0.5


class Registered(dict[str, dict[str, Any]]):
    """Results of earlier tasks by their names; asked for by its key one that is not there is a fault, since a task was left out."""

    def __missing__(self, name: str) -> dict[str, Any]:
        raise Refused([task_left_out(name)])


def task_left_out(name: str) -> Fault:
    """Return the fault of a run that left out the task whose result is `name`."""
    return Fault(
        "task_left_out",
        f"{name}{RESULT}",
        "no result of the task that registers it",
        "all tasks of the playbook",
        "run it whole: --start-at-task, --step and tags leave out tasks that others need. A deploy that begins again changes only "
        "what has to change",
    )


class Action(ActionBase):
    """An action whose `act` returns the result, or raises Refused.

    registered  the results of earlier tasks, by their names without `_result`
    holds       whether the task keeps the Lease of the deployment that an earlier one took
    hold        what keeps it; None where no task took one
    """

    holds = True
    hold: Hold | None = None

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    registered: dict[str, dict[str, Any]]

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        end_with_the_playbook(os.getpid())
        started = moment()
        # What an action has done before it is refused belongs into its result, too.
        self.done: dict[str, Any] = {}
        self.registered = self._results(task_vars or {})
        try:
            # Arguments are tagged subclasses of str and dict; the work below wants plain ones.
            arguments = json.loads(json.dumps(self._task.args, default=str))
            self.hold = self._hold()
            with self.hold or nullcontext():
                result.update(self.act(arguments, task_vars or {}))
        except Refused as refused:
            result.update(self.done, **failure(refused.faults))
        except AnsibleError:
            raise
        except Exception as error:
            result.update(self.done, **failure([unexpected(error, type(self).__module__.rpartition(".")[2])]))
        result.update(started=started, ended=moment())
        return result

    def _hold(self) -> Hold | None:
        taken = (self.registered.get("lease") or {}).get("lease") if self.holds else None
        if not taken:
            return None
        settings = self.registered["recipe"]["settings"]

        def connect() -> Lease:
            kubernetes = self.reach(settings).connect()
            return Lease(kubernetes, taken["name"], taken["namespace"], taken["identity"])

        return Hold(connect, bool(taken["removal"]))

    def check_hold(self) -> None:
        """Make sure before a write that no other run has taken the deployment over. Raises Refused."""
        if self.hold:
            self.hold.check()

    @abstractmethod
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Do the work and return the result's keys."""

    def show(self, text: str, **options: Any) -> None:
        """Print a text, which may be anybody's words, without what a terminal would act on."""
        self._display.display(plain(text), **options)

    def _results(self, task_vars: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return what was registered as plain data, nothing of it templated.

        Extra variables win over what is registered: one of such a name hides the result, which then counts as not there.
        """
        given = given_variables(self._loader)
        found = Registered()
        for name, value in task_vars.items():
            if name.endswith(RESULT) and name not in given and isinstance(value, Mapping):
                found[name[: -len(RESULT)]] = json.loads(json.dumps(value, default=str))
        return found

    def reach(self, settings: Mapping[str, Any]) -> Cluster:
        """Return the cluster of the settings; what recipe_info found out of it is not asked for again."""
        cluster = Cluster(settings, self.registered.get("recipe", {}).get("kubeconfig"))
        if environment := cluster.environment():
            self._task.environment = [*(self._task.environment or []), environment]
        return cluster

    def _keep_off_the_disk(self) -> None:
        """Let a module come over Python's standard input: in a file, its arguments would outlive a run that is killed."""
        self._connection.set_option("pipelining", True)

    def run_module(self, name: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run a module and return its result without the arguments it was called with; Refused when it failed."""
        given = {key: value for key, value in arguments.items() if value is not None}
        self.check_hold()
        self._keep_off_the_disk()
        result: dict[str, Any] = self._execute_module(module_name=name, module_args=given, task_vars=task_vars)
        result.pop("invocation", None)
        if result.get("failed"):
            faults = [fault_of(entry) for entry in result.get("faults", [])]
            raise Refused(faults or [Fault("module", name, str(result.get("msg")), "", "")])
        return result


class ModuleAction(Action):
    """Runs the task's module, with the connection of the settings where the task gives no part of one itself."""

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        settings = self.registered.get("recipe", {}).get("settings")
        # In parts a token could go to another cluster than the one that it is for.
        if settings and self.connection_options().isdisjoint(arguments):
            found = self.connection(settings)
            arguments = {**arguments, **{name: value for name, value in found.items() if value is not None}}
        self.check_hold()
        self._keep_off_the_disk()
        result: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
        return result

    @abstractmethod
    def connection_options(self) -> set[str]:
        """Return the names of the module's options that say how it connects."""

    @abstractmethod
    def connection(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of those options for the settings. Raises Refused."""


@functools.cache
def end_with_the_playbook(own: int) -> None:
    """Let this process (of id `own`) and its children end when the playbook is killed; called again it does nothing.

    ansible-core runs each task in a process that leads a session of its own (since 2.19), so a signal that ends the playbook, such as
    the SIGKILL by which ansible-runner cancels a job, does not reach it: a wait would go on for an hour, and replace nodes.
    """
    playbook = multiprocessing.parent_process()
    if playbook is None:
        return

    def watch() -> None:
        while os.getppid() == playbook.pid:
            time.sleep(_WATCH_SECONDS)
        if os.getpgid(0) == own:
            os.killpg(0, signal.SIGKILL)
        os.kill(own, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="end-with-the-playbook").start()


def failure(faults: list[Fault]) -> dict[str, Any]:
    """Return the result of a task that failed: a line for each fault, and the same as data."""
    return {
        "failed": True,
        "msg": "\n".join(fault.line() for fault in faults),
        "faults": [fault.as_dict() for fault in faults],
    }
