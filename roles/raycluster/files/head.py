# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The program of the head pod: Ray and staging together, then the group, then the engine, until one of them ends.

Any end of the engine is the end of this container; the kubelet starts it again, a bounded number of times.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from typing import Any

import engine_heartbeat
import engine_options
import group_file
import group_metrics
import pod_inspection
import pod_status
import ray_dashboard
import ready
import stage_division
from engine_answer import Question
from engine_certificate import Certificate
from engine_heartbeat import Pulse
from engine_process import Engine
from group_file import STATE_FOLDER, Group, write_whole
from group_formation import Formation
from group_reach import open_door
from group_restarts import Restarts, doubt_caches
from pod_progress import Board, Failure, foreseen, leave_message, log
from ray_driver import Cluster
from ray_node import RayNode
from stage_division import Redivided
from stage_model import Stager

ENGINE_FILE = STATE_FOLDER / "engine.json"
TOKEN_FILE = STATE_FOLDER / "token.json"
STEP_SECONDS = 0.5
# The engine is loaded, but no completion succeeds: how long that is looked at.
TOKEN_SECONDS = 600.0


class Stopped(Exception):
    """The pod is to end (SIGTERM)."""


class Head:
    """One run of the head's program."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._run = pod_status.new_run()
        self._state = "forming"
        self._board = Board()
        self._restarts = Restarts(group)
        self._stop = threading.Event()
        self._staged = threading.Event()
        self._staging_failure: Failure | None = None
        self._cluster = Cluster(f"127.0.0.1:{group.ports['gcs']}")
        self._formation = Formation(group, self._cluster)
        self._stager = Stager(group.staging, self._board)
        self._question = Question(group)
        self._engine = Engine(group, self._board)
        self._certificate = Certificate(group.engine_arguments)
        self._ray = RayNode()
        self._machine: dict[str, Any] = {}
        self._loaded_at: float | None = None
        self._no_token_since: float | None = None
        self._options: list[str] = []
        self._refusal: Failure | Redivided | None = None
        self._asked_at = 0.0
        self._refused_at: float | None = None
        self._door = 0
        self._pulse: Pulse | None = None
        # Completions that the group asked itself for: they serve nobody.
        self._own = 0

    def run(self) -> int:
        """Serve until the end; the exit code of the container."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        signal.signal(signal.SIGINT, lambda *_: self._stop.set())
        self._board.start()
        try:
            self._door = open_door(pod_status.own_address())
            pod_status.serve(self._group.ports["status"], self._status, self._metrics)
            self._restarts.begin()
            for path in (ENGINE_FILE, TOKEN_FILE):
                path.unlink(missing_ok=True)
            if self._restarts.spent:
                self._give_up()
            self._machine = pod_inspection.inspect(self._group.tensor, self._group.image)
            self._form()
            self._serve()
        except Stopped:
            return self._drain()
        except Redivided as other:
            # No failure: it does not count.
            log(str(other))
            self._board.tell("staging", state="ended", cause=str(other))
            leave_message(self._board.entries()["staging"])
        except Exception as error:
            return self._fail(foreseen(error, "ray" if self._state == "forming" else "engine"))
        finally:
            self._restarts.end()
            self._question.end()
            self._cluster.stop()
            self._engine.kill()
            self._ray.stop()
        return 1

    def _form(self) -> None:
        """Return when the group is as the plan says: its GPUs alive and stable, and every stage's files on its node."""
        self._board.tell("ray", state="running", total=self._group.tensor * self._group.pipeline, unit="GPUs")
        doubt_caches(self._restarts.unserved)
        self._ray.start()
        self._cluster.start()
        ray_dashboard.attend(self._group.ports["dashboard"], lambda words: self._board.tell("ray", warning=words))
        threading.Thread(target=self._stage, name="staging", daemon=True).start()
        asking = threading.Thread(target=self._ask_engine, name="question", daemon=True)
        asking.start()
        unlike = pod_inspection.Unlike()
        while True:
            self._watch()
            self._formation.look()
            # No failure to count: another pod in a worker's place may be like this one.
            different = self._formation.mismatch(self._machine)
            state, step = "failed" if unlike.lasts(bool(different)) else "running", self._formation.waiting_for
            if not step and asking.is_alive():
                step = "vLLM is asked whether it would start"
            self._board.tell("ray", state=state, done=self._formation.gpus, step=step, cause=different)
            if different:
                continue
            if self._formation.complete and self._staged.is_set() and not asking.is_alive():
                break
        self._cluster.stop()
        self._state = "starting"
        self._board.tell("ray", state="done", step=None)
        for line in self._formation.description():
            log(line)

    def _serve(self) -> None:
        """Run the engine; ends by Failure or Stopped only."""
        write_whole(ENGINE_FILE, json.dumps({"run": self._run}))
        self._engine.places = {
            address: f"stage {stage} ({address})" for address, stage in self._formation.stages.items()
        }
        self._certificate.bring()
        self._engine.start(self._options)
        while True:
            pulse = self._pulse
            self._watch()
            self._certificate.bring()
            if failure := self._engine.failure() or self._formation.failure() or (pulse and pulse.failure()):
                raise failure
            if self._state == "starting":
                self._look_for_token()
            elif pulse is None:
                self._pulse = Pulse(self._group.engine_port, self._group.engine_tls)
                self._asked_at = time.monotonic()
            else:
                self._ask_again(pulse)

    def _look_for_token(self) -> None:
        """The readiness probe asks for the first token; what came of it is told here, in the pod's log."""
        now = time.monotonic()
        if self._engine.serving:
            self._board.tell("token", state="running", total=1, unit="completions")
            self._loaded_at = self._loaded_at or now
        token = self._token()
        if token is None:
            if self._loaded_at and now - self._loaded_at > TOKEN_SECONDS:
                self._ask_itself(now - self._loaded_at)
            return
        if token["ok"]:
            self._state = "serving"
            self._own += 1
            self._engine.note_serving()
            self._restarts.served()
            self._board.tell("token", state="done", done=1, cause=None, text=token["text"], seconds=token["seconds"])
        else:
            self._board.tell("token", state="running", cause=token["error"])
            self._no_token_since = self._no_token_since or now
            if now - self._no_token_since > TOKEN_SECONDS:
                raise Failure(
                    "token",
                    f"no completion came back for {TOKEN_SECONDS:.0f} s though /health says 200: {token['error']}",
                )

    def _ask_again(self, pulse: Pulse) -> None:
        """Have the readiness probe ask for a token where the engine has not proven that it answers: is quiet, or fails requests.

        It may lie, or hang with nothing to show for it. Its answer closes or opens the endpoint; where none comes, the engine is ended.
        """
        now, token = time.monotonic(), self._token()
        if token is None:
            # The probe may have been cut off before it could say what came of it.
            if (silent := now - max(pulse.gave, self._asked_at)) > engine_heartbeat.HANG_SECONDS:
                self._ask_itself(silent)
            return
        if not token["ok"]:
            self._refused_at = self._refused_at or now
            self._board.tell("token", state="running", cause=token["error"])
            # One that is late may have many to answer before; one that answers with an error has none of that excuse.
            silent = now - (self._refused_at if token["answered"] else max(pulse.gave, self._refused_at))
            if silent > engine_heartbeat.HANG_SECONDS:
                raise Failure(
                    "token", f"no completion came back for {silent:.0f} s though /health says 200: {token['error']}"
                )
            return
        self._refused_at = None
        self._board.tell("token", state="done", cause=None)
        if now - max(pulse.proven, self._asked_at) > engine_heartbeat.QUIET_SECONDS:
            self._asked_at = now
            self._own += 1
            TOKEN_FILE.unlink(missing_ok=True)

    def _ask_itself(self, silent: float) -> None:
        """Do what the readiness probe should have done for `silent` seconds: it may be cut off by its time-out, or not be run."""
        left = f"the readiness probe has left nothing for {silent:.0f} s"
        self._own += 1
        try:
            log(f"{left}; asked without it: {ready.check_head(self._group, self._status())}")
        except ready.NotReady as reason:
            raise Failure("token", f"no completion came back: {left}, and asked without it: {reason}") from None

    def _token(self) -> dict[str, Any] | None:
        """What came of the readiness probe's last completion in this run; None before there was one."""
        try:
            token = dict(json.loads(TOKEN_FILE.read_text()))
        except (FileNotFoundError, ValueError):
            return None
        return token if token["run"] == self._run else None

    def _ask_engine(self) -> None:
        """Ask vLLM what it takes and whether it would start, before its start; the weights are fetched meanwhile."""
        try:
            engine_options.demanded(self._group.engine_arguments)
            self._options = engine_options.taken(self._group.optional_arguments)
            self._stager.small_files.wait()
            self._question.ask(self._options)
        except Redivided as other:
            self._refusal = other
        except Exception as error:
            self._refusal = foreseen(error, "engine")

    def _watch(self) -> None:
        """Wait a moment; raise what ended meanwhile."""
        if self._stop.wait(STEP_SECONDS):
            raise Stopped
        if failure := self._staging_failure or self._refusal:
            raise failure
        if failure := self._ray.failure():
            raise failure

    def _stage(self) -> None:
        try:
            self._stager.run(0)
            self._staged.set()
        except Exception as error:
            self._staging_failure = foreseen(error, "staging")

    def _drain(self) -> int:
        self._state = "draining"
        log("asked to end: the engine finishes the requests it has")
        ENGINE_FILE.unlink(missing_ok=True)
        self._engine.drain()
        return 0

    def _fail(self, failure: Failure) -> int:
        """Record the failure, say it, and end the container; stay where it cannot be recorded, for the next start would not know of it."""
        self._state = "ending"
        ENGINE_FILE.unlink(missing_ok=True)
        recorded = self._restarts.report(failure, self._board)
        if not recorded:
            self._engine.kill()
            self._ray.stop()
            with contextlib.suppress(Stopped):
                self._give_up()
        return 1

    def _give_up(self) -> None:
        """Stay up, not ready and without Ray, so that the cause can be read; return where the source's URL is a new one."""
        first = self._restarts.first
        assert first is not None
        self._state = "given_up"
        self._board.tell(first["phase"], state="failed", cause=self._restarts.verdict(), remedy=self._restarts.remedy)
        for line in first["evidence"]:
            log(f"first failure: {line}")
        if not self._restarts.wait_for_change(self._stop):
            raise Stopped
        self._state = "forming"
        self._board.tell(first["phase"], state="waiting", cause=None, remedy=None, failures=None)

    def _metrics(self) -> str:
        return group_metrics.text(self._status(), self._board.seconds(), self._restarts.count, self._own)

    def _status(self) -> dict[str, Any]:
        return {
            "role": "head",
            "deployment": self._group.deployment,
            "run": self._run,
            "state": self._state,
            "machine": self._machine,
            "door": self._door,
            "unserved": self._restarts.unserved,
            "quiet": time.monotonic() - self._pulse.gave if self._pulse else None,
            "joinable": self._state == "forming" and self._ray.joinable,
            "stages": self._formation.stages,
            "layers": list(self._group.staging.layers_per_stage),
            "phases": self._board.entries(),
        }


def main() -> int:
    """Run the head; the exit code of the container."""
    try:
        group = stage_division.kept(group_file.load())
    except (OSError, ValueError) as error:
        log(str(error))
        return 2
    return Head(group).run()


if __name__ == "__main__":
    # Not sys.exit: threads that wait for the network must not hold up the end of the container.
    os._exit(main())
