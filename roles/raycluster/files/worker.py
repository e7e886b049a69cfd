# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The program of a worker pod: staging at once, Ray as soon as the head is there, and an eye on the head.

When rank 0 ends, this container ends within ten seconds (Ray alone takes about 47), so that the group forms again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import Any

import group_file
import pod_inspection
import pod_status
import stage_division
from group_file import Group
from group_reach import Reach
from group_restarts import Restarts, doubt_caches
from pause import PAUSE_SECONDS
from pod_progress import Board, Failure, foreseen, leave_message, log
from pod_status import Watch
from ray_node import RayNode, worker_node_id
from stage_model import Stager

STEP_SECONDS = 0.5
# How long a worker that is asked to end waits to see whether the head is, too: then it stays until the head has drained. The head's end
# begins with a pause.
DRAIN_NOTICE_SECONDS = PAUSE_SECONDS + 3.0


class HeadGone(Exception):
    """Rank 0 ended or started again: no failure of this pod."""


class Stopped(Exception):
    """The pod is to end (SIGTERM)."""


class Worker:
    """One run of a worker's program."""

    def __init__(self, group: Group, head: str) -> None:
        self._group = group
        self._address = os.environ.get("POD_IP", "")
        self._stage = group_file.worker_stage(group.pipeline)
        self._run = pod_status.new_run()
        self._node_id = worker_node_id(self._stage)
        self._state = "forming"
        self._cause: str | None = None
        self._machine: dict[str, Any] = {}
        self._board = Board()
        self._restarts = Restarts(group)
        self._stager = Stager(group.staging, self._board)
        self._staged: int | None = None
        self._staging: threading.Thread | None = None
        self._staging_failure: Failure | None = None
        self._ray = RayNode()
        self._head = head
        self._watch = Watch(head, group.ports["status"])
        self._head_run: str | None = None
        self._served = False
        self._reach: Reach | None = None
        self._stop = threading.Event()

    def run(self) -> int:
        """Serve until the end; the exit code of the container."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        signal.signal(signal.SIGINT, lambda *_: self._stop.set())
        self._board.start()
        try:
            pod_status.serve(self._group.ports["status"], self._status)
            self._restarts.begin()
            if self._restarts.spent:
                self._give_up()
            self._machine = pod_inspection.inspect(self._group.tensor, self._group.image)
            self._begin_staging(self._stage)
            self._join()
            while True:
                self._step()
        except Stopped:
            return self._drain()
        except HeadGone as gone:
            # No failure of its own: it does not count.
            log(f"rank 0 is gone: {gone}; this container ends, to form the group again")
            self._board.tell("ray", state="ended", cause=f"rank 0 is gone: {gone}")
            leave_message(self._board.entries()["ray"])
            return 1
        except Exception as error:
            return self._fail(foreseen(error, "ray"))
        finally:
            self._restarts.end()
            self._ray.stop()

    def _join(self) -> None:
        """Start Ray when the head's program is up and has not given up."""
        self._board.tell("ray", state="waiting", total=self._group.tensor, unit="GPUs")
        unlike = pod_inspection.Unlike()
        while True:
            head, different = self._watch.status, []
            if head is None:
                step = f"waiting for the head: {self._watch.trouble}"
            elif head["state"] == "given_up":
                step = "waiting: the head has given up, its log says why"
            elif head["joinable"] and not self._watch.lost:
                different = pod_inspection.differences(self._machine, head["machine"])
                self._follow_division(head)
                if not different:
                    break
                step = "waiting for a head that is like this pod"
            elif head["state"] == "forming":
                step = "waiting for the head's Ray"
            else:
                step = "waiting for the head to form a new group"
            # No failure to count: another head may be like this pod, and another pod in this one's place like the head.
            words = f"this pod is not like the head's: {'; '.join(different)}; give all pods one image and node image"
            cause = words if different else None
            state = "failed" if unlike.lasts(bool(different)) else "waiting"
            self._board.tell("ray", state=state, step=step, cause=cause)
            self._pause()
        self._head_run = head["run"]
        doubt_caches(head.get("unserved", 0))
        log(f"joining Ray at {self._head} with node ID {self._node_id}")
        self._board.tell("ray", state="running", step="joining")
        self._ray.start(self._node_id)
        self._reach = Reach(self._head, head["door"])

    def _step(self) -> None:
        """Wait a moment; raise what ended meanwhile; follow the order of stages that the head found."""
        self._pause()
        if lost := self._watch.lost:
            raise HeadGone(lost)
        head = self._watch.status or {}
        if head.get("run") != self._head_run:
            raise HeadGone("it started again")
        if head["state"] == "ending":
            raise HeadGone("it ends")
        self._follow_division(head)
        if failure := self._ray.failure() or (self._reach and self._reach.failure()):
            raise failure
        if head["state"] == "serving" and not self._served:
            self._served = True
            self._restarts.served()
        stage = head.get("stages", {}).get(self._address)
        if stage is None:
            return
        self._board.tell("ray", state="done", done=self._group.tensor, step=None)
        if stage != self._stage and self._group.staging.by_stage and not self._busy:
            log(f"the cluster formed with this node as stage {stage}, not {self._stage}: staging for that one")
            self._begin_staging(stage)
        elif not self._group.staging.by_stage and self._staged is not None:
            self._stage = self._staged = stage

    def _follow_division(self, head: dict[str, Any]) -> None:
        """End where the head's vLLM divides the layers otherwise than this pod stages; the index, by which it is done, comes first."""
        layers, staging = head.get("layers"), self._group.staging
        if layers == list(staging.layers_per_stage) or not self._stager.small_files.is_set():
            return
        if stage_division.keep(layers, self._group):
            raise HeadGone(
                f"its vLLM divides the layers into {layers}, this pod staged for {list(staging.layers_per_stage)}"
            )

    @property
    def _busy(self) -> bool:
        return self._staging is not None and self._staging.is_alive()

    def _begin_staging(self, stage: int | None) -> None:
        self._stage, self._staged = stage, None
        self._staging = threading.Thread(target=self._run_stager, args=(stage,), name="staging", daemon=True)
        self._staging.start()

    def _run_stager(self, stage: int | None) -> None:
        try:
            self._stager.run(stage)
            self._staged = -1 if stage is None else stage
        except Exception as error:
            self._staging_failure = foreseen(error, "staging")

    def _pause(self) -> None:
        if self._stop.wait(STEP_SECONDS):
            raise Stopped
        if self._staging_failure:
            raise self._staging_failure

    def _drain(self) -> int:
        """End; but while the head finishes its requests this stage is needed."""
        self._state = "draining"
        noticed = time.monotonic()
        while self._head_run is not None and not self._watch.lost:
            head = self._watch.status or {}
            if head.get("run") != self._head_run:
                break
            if head.get("state") != "draining" and time.monotonic() - noticed > DRAIN_NOTICE_SECONDS:
                break
            time.sleep(STEP_SECONDS)
        log("asked to end")
        return 0

    def _fail(self, failure: Failure) -> int:
        """Record the failure, say it, and end the container; stay where it cannot be recorded, for the next start would not know of it."""
        self._cause = failure.cause
        recorded = self._restarts.report(failure, self._board)
        if not recorded:
            self._ray.stop()
            with contextlib.suppress(Stopped):
                self._give_up()
        return 1

    def _give_up(self) -> None:
        """Stay up without Ray, so that the cause can be read; return where the source's URL is a new one."""
        first = self._restarts.first
        assert first is not None
        self._state, self._cause = "given_up", self._restarts.verdict()
        self._board.tell(first["phase"], state="failed", cause=self._cause, remedy=self._restarts.remedy)
        if not self._restarts.wait_for_change(self._stop):
            raise Stopped
        self._state, self._cause = "forming", None
        self._board.tell(first["phase"], state="waiting", cause=None, remedy=None, failures=None)

    def _status(self) -> dict[str, Any]:
        return {
            "role": "worker",
            "deployment": self._group.deployment,
            "run": self._run,
            "state": self._state,
            "stage": self._stage,
            "staged": self._staged,
            "reaches": self._reach is not None and self._reach.done,
            "node_id": self._node_id,
            "cause": self._cause,
            "machine": self._machine,
            "phases": self._board.entries(),
        }


def main() -> int:
    """Run a worker; the exit code of the container."""
    try:
        group = stage_division.kept(group_file.load())
    except (OSError, ValueError) as error:
        log(str(error))
        return 2
    head = os.environ.get("FQ_RAY_IP")
    if not head:
        log("FQ_RAY_IP is not set: this program is for a worker pod made by KubeRay")
        return 2
    return Worker(group, head).run()


if __name__ == "__main__":
    # Not sys.exit: threads that wait for the network must not hold up the end of the container.
    os._exit(main())
