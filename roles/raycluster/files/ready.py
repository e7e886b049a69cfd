# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The readiness probe. A head is ready when a token came back after this start of the engine, and /health says 200 since.

A worker is ready when its files are staged and the head has it in its order of stages.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from typing import Any

import engine_client
import group_file
import pod_status
from group_file import STATE_FOLDER, Group

HEALTH_SECONDS = 5.0
# Below the probe's own time-out, so that a late answer is told and not only cut off.
COMPLETION_SECONDS = 50.0
PROMPT = "Hello"
# Answers of admission control: the engine has more to do than it may queue, and says so at once.
BUSY_STATUSES = (429, 503)


class NotReady(Exception):
    """Why the pod is not ready."""


def check_head(group: Group, state: dict[str, Any]) -> str:
    """Return what shows that the head is ready."""
    if state["state"] not in ("forming", "starting", "serving"):
        raise NotReady(f"the head's state is {state['state']}")
    engine = _read("engine.json")
    if engine is None or engine["run"] != state["run"]:
        raise NotReady("the engine is not started yet")
    health = _ask(group, "GET", "/health", HEALTH_SECONDS)
    if health[0] != 200:
        raise NotReady(f"/health answered {health[0]}")
    token = _read("token.json")
    if token is not None and token["run"] == state["run"] and token["ok"]:
        return "a token came back, and /health says 200"
    return _complete(group, state["run"], state["state"] == "serving")


def _complete(group: Group, run: str, served: bool) -> str:
    """Ask for one token, and leave what came of it to the head's program.

    served: a token came back before. Then an engine that refuses for want of room is a busy one, and so is one whose answer is late while
    it gives tokens to others.
    """
    body = {"model": group.served_names[0], "prompt": PROMPT, "max_tokens": 1, "temperature": 0}
    began = time.monotonic()
    result: dict[str, Any] = {"run": run, "ok": False, "answered": False, "busy": False, "text": None}
    result["error"] = None
    try:
        status, answer = _ask(group, "POST", "/v1/completions", COMPLETION_SECONDS, body)
        result["answered"] = True
        if status == 200:
            result["text"] = json.loads(answer)["choices"][0]["text"]
            result["ok"] = True
        elif served and status in BUSY_STATUSES:
            result["ok"] = result["busy"] = True
        else:
            result["error"] = f"the completion was answered with {status}: {answer[:300].decode('utf-8', 'replace')}"
    except NotReady as reason:
        result["error"] = f"the completion failed: {reason}"
    except (ValueError, LookupError, TypeError, RecursionError):
        result["error"] = f"the completion's answer is not one: {answer[:300].decode('utf-8', 'replace')}"
    result["seconds"] = round(time.monotonic() - began, 2)
    # The head asks too, where the probe left nothing.
    new = STATE_FOLDER / f"token.json.{os.getpid()}.new"
    new.write_text(json.dumps(result))
    os.replace(new, STATE_FOLDER / "token.json")
    if result["busy"]:
        return "the engine is busy: it admits no further request now"
    if not result["ok"]:
        if served and not result["answered"] and _gives_tokens(group):
            return "the engine is busy: the probe's own completion is late, and tokens flow"
        raise NotReady(result["error"])
    return f"a token came back after {result['seconds']} s"


def _gives_tokens(group: Group) -> bool:
    """Say whether the engine has given tokens to anyone while the probe waited for its own."""
    try:
        quiet = pod_status.ask(pod_status.own_address(), group.ports["status"]).get("quiet")
    except (OSError, ValueError):
        return False
    return quiet is not None and quiet < COMPLETION_SECONDS


def check_worker(state: dict[str, Any]) -> str:
    """Return what shows that the worker is ready."""
    ray = state["phases"].get("ray", {})
    if state["staged"] is None:
        raise NotReady("the model's files are not staged yet")
    if ray.get("state") != "done":
        raise NotReady(ray.get("step") or ray.get("cause") or "Ray has not formed yet")
    return f"staged and in Ray as stage {state['stage']}"


def _ask(group: Group, method: str, path: str, seconds: float, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    connection = engine_client.connect(group.engine_port, group.engine_tls, seconds)
    headers = {**({"Content-Type": "application/json"} if body else {}), **engine_client.authorization()}
    try:
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        return response.status, response.read(engine_client.MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        reason = f"no answer within {seconds:.0f} s" if isinstance(error, TimeoutError) else str(error)
        raise NotReady(f"port {group.engine_port}: {reason}") from None
    finally:
        connection.close()


def _read(name: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads((STATE_FOLDER / name).read_text()))
    except (FileNotFoundError, ValueError):
        return None


def main() -> int:
    """Say in one line whether the pod is ready; the exit code is 0 if it is."""
    group = group_file.load()
    try:
        state = pod_status.ask(pod_status.own_address(), group.ports["status"])
        print(check_head(group, state) if state["role"] == "head" else check_worker(state))
    except (OSError, ValueError) as error:
        print(f"the pod's program does not answer: {error}")
        return 1
    except NotReady as reason:
        print(reason)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
