# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the image's vLLM says of the plan, asked beside staging: a refusal ends the group before the weights have arrived.

A question that gets no answer is a line in the log, never an end: the engine itself is started and asked then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pod_processes
import stage_division
from engine_error import Error
from group_file import STATE_FOLDER, Group, write_whole
from pod_progress import Failure, log
from stage_tensors import lacking

ASK_SECONDS = 180.0
QUESTION = Path(__file__).with_name("engine_question.py")


class Question:
    """One question, which can be ended from another thread."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False
        self._lock = threading.Lock()

    def ask(self, more: Sequence[str] = ()) -> None:
        """Ask with the group's arguments and `more`; Failure where vLLM refuses, or divides the layers otherwise than the files lie.

        An answer that agrees with the plan outlives the container: a restart does not ask again.
        """
        path = STATE_FOLDER / "answer.json"
        if path.exists():
            return
        answer = self._answer([self._group.model_path, *self._group.engine_arguments, *more])
        if answer["ok"] is None:
            log(f"vLLM was not asked before its start: {answer['error']}")
            return
        if not answer["ok"]:
            raise refused(answer)
        compare(answer, self._group)
        log(f"vLLM would start with these arguments: {json.dumps(answer)}")
        write_whole(path, json.dumps(answer))

    def end(self) -> None:
        """End the question, whether it is being asked or not."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                pod_processes.end_session(self._process)

    def _answer(self, arguments: Sequence[str]) -> dict[str, Any]:
        # On the engine's own cluster a driver would be one too many.
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        with tempfile.TemporaryFile() as said:
            with self._lock:
                if self._ended:
                    return {"ok": None, "error": "the pod ends"}
                self._process = subprocess.Popen(
                    [sys.executable, str(QUESTION), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    env=environment,
                    start_new_session=True,
                )
            try:
                output, _errors = self._process.communicate(timeout=ASK_SECONDS)
            except subprocess.TimeoutExpired:
                pod_processes.end_session(self._process)
                return {"ok": None, "error": f"no answer within {ASK_SECONDS:.0f} s"}
            try:
                return _checked(json.loads(output))
            except (ValueError, TypeError, RecursionError):
                said.seek(0)
                last = said.read().decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
                return {"ok": None, "error": f"the question ended with exit code {self._process.returncode}: {last}"}


def _checked(answer: Any) -> dict[str, Any]:
    """Return the answer where it has a form that `engine_question.py` gives it; ValueError where another program spoke in between."""
    found = answer if isinstance(answer, dict) else {}
    texts = {None: ("error",), False: ("kind", "error"), True: ()}.get(found.get("ok", "none"))
    layers = found.get("layers_per_stage") if found.get("ok") else []
    if texts is None or not all(isinstance(found.get(name), str) for name in texts) or not isinstance(layers, list):
        raise ValueError("no answer of the question")
    return found


def refused(answer: dict[str, Any]) -> Failure:
    """Return the failure that a refusal is, with the known cause and its remedy."""
    error = Error(answer["kind"], answer["error"].splitlines() or [""], "core")
    words, cause = f"the image's vLLM refuses to start: {error.text}", error.known
    if cause is None:
        return Failure("engine", words, lasting=True)
    return Failure("engine", f"the image's vLLM refuses to start: {cause.cause} ({error.text})", True, (), cause.remedy)


def compare(answer: dict[str, Any], group: Group) -> None:
    """See that vLLM's division of the layers finds its files.

    Where it does not, Redivided: the next start stages by it. Failure that names both divisions where that was tried, or cannot be.
    """
    staging = group.staging
    said, planned = list(answer["layers_per_stage"]), list(staging.layers_per_stage)
    if not planned or said == planned:
        return
    words = f"vLLM divides the layers into {said}, the plan into {planned}"
    missing = lacking(said, staging) if staging.by_stage and len(said) == len(planned) else None
    if len(said) == len(planned) and missing is None:
        log(f"{words}; each node's files hold what vLLM's division needs")
        return
    if stage_division.keep(said, group):
        raise stage_division.Redivided(f"{words}: the files are staged by vLLM's")
    wish = ",".join(map(str, planned))
    raise Failure(
        "engine",
        f"{words}: {missing}" if missing else words,
        lasting=True,
        remedy=f'set VLLM_PP_LAYER_PARTITION: "{wish}" in recipe_container_env, or use the image that the plan knows',
    )
