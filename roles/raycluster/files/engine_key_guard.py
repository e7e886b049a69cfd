# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guard of the engine's API: every path asks for one of the deployment's keys (`engine_keys`).

vLLM's own check covers what begins with /v1, /v2, /inference and /cohere; it leaves /invocations (full inference), /tokenize, /metrics and
more open (vllm/entrypoints/serve/middleware/authenticate.py). vLLM imports the class here
(`--middleware engine_key_guard.KeyGuard`) and puts it around its application (ASGI); of several, the one given last is the outermost.

Without a key pass: GET /health, which probes and load balancers ask, and what a browser asks before a request of another site's page
(CORS preflight), which has no key and which vLLM's CORSMiddleware answers, whatever the path.

A line of the log names the key of each request, never its value: `request {"key": "default", "method": "POST", ...}`.
Nothing else in the log begins so.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

from engine_keys import FOLDER, Keys

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

_KEYS = Keys()
if not _KEYS.valid():
    # Here, at import: a server whose middleware cannot be made starts all the same, and answers each request with an error.
    raise RuntimeError(f"no API key in {FOLDER}: the API would answer whoever reaches it")
# Asked every few seconds, by the pods and by Prometheus.
_UNSAID = ("/metrics",)
_LONGEST = 200
# Before each line, so that the head's program tells it from what a client made vLLM say (engine_process.MARK).
_MARK = os.environ.get("MULTINODE_GUARD_MARK", "")
_said: list[Any] = []
# The form of OpenAI's own refusal, which its clients show.
_REFUSAL = json.dumps(
    {
        "error": {
            "message": "The API key is missing or wrong: send the header `Authorization: Bearer <key>`.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
    }
).encode()


class KeyGuard:
    """Passes on to `app` what has the key or needs none, and answers the rest itself."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Take one connection (ASGI)."""
        _say_change()
        if scope["type"] == "lifespan" or _needs_no_key(scope):
            await self._app(scope, receive, send)
        elif name := _key_name(scope):
            _say(name, scope)
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(_REFUSAL)).encode()),
                (b"www-authenticate", b"Bearer"),
            ]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL})
        else:
            # Before it was accepted: the client sees an HTTP answer 403.
            await send({"type": "websocket.close", "code": 1008, "reason": "the API key is missing or wrong"})


def _needs_no_key(scope: Message) -> bool:
    if scope["type"] != "http":
        return False
    if scope["method"] == "OPTIONS":
        # Any other OPTIONS reaches the path itself.
        return {b"origin", b"access-control-request-method"} <= dict(scope["headers"]).keys()
    # The path is decoded already, as the router takes it, and has the root path in front where a proxy left it there.
    path = scope["path"].removeprefix(scope.get("root_path") or "")
    return bool(scope["method"] == "GET" and path == "/health")


def _key_name(scope: Message) -> str | None:
    """Return the name of the key that the connection has; None without a valid one."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    # Of several, each program on the way may mean another.
    if len(given) != 1:
        return None
    scheme, _space, key = given[0].partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    # All are compared, so that the time tells nothing of which is nearly right.
    matching = [name for value, name in _KEYS.valid().items() if hmac.compare_digest(key, value)]
    return matching[0] if matching else None


def _say_change() -> None:
    """Log which change of the keys is in force, whenever it is another: whoever made it waits for the line."""
    names = sorted(set(_KEYS.valid().values()))
    if [_KEYS.revision, names] != _said:
        _said[:] = [_KEYS.revision, names]
        os.write(1, f"{_MARK}keys {json.dumps({'revision': _KEYS.revision, 'names': names})}\n".encode())


def _say(name: str, scope: Message) -> None:
    """Log whose request it is, in one write: lines of several threads, and vLLM's prefix, would get into a print."""
    if scope["path"] in _UNSAID:
        return
    said = {
        "key": name,
        "method": scope.get("method", "WEBSOCKET"),
        "path": scope["path"][:_LONGEST],
        "client": (scope.get("client") or ("",))[0],
    }
    os.write(1, f"{_MARK}request {json.dumps(said)}\n".encode())
