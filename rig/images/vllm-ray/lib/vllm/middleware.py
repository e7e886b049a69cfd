# SPDX-License-Identifier: GPL-3.0-or-later
"""`--middleware`: ASGI classes, imported by their paths and put around the server's own application, the last one outermost.

Source: vllm/entrypoints/serve/middleware/register.py, over Starlette's add_middleware. Functions, which vLLM takes as well, and what
changes a request or an answer that passes are not imitated.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import Any

from aiohttp import web

PASSED = "rig.passed"


class Middleware:
    """The classes of the paths, around an application that only says that the request reached it."""

    def __init__(self, paths: Sequence[str], root_path: str | None) -> None:
        self._root_path = root_path or ""
        self._application: Any = _inner
        for path in paths:
            module, name = path.rsplit(".", 1)
            imported = getattr(importlib.import_module(module), name)
            if not inspect.isclass(imported):
                raise ValueError(f"Invalid middleware {path}. Must be a function or a class.")
            self._application = imported(self._application)

    async def answer(self, request: web.Request) -> web.Response | None:
        """What one of the classes answers itself; None where the request passes."""
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": await request.read(), "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._application(self._scope(request), receive, send)
        if sent[0]["type"] == PASSED:
            return None
        start, *bodies = sent
        return web.Response(
            status=start["status"],
            headers=[(name.decode(), value.decode()) for name, value in start["headers"]],
            body=b"".join(message.get("body", b"") for message in bodies),
        )

    def _scope(self, request: web.Request) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": f"{request.version.major}.{request.version.minor}",
            "scheme": request.scheme,
            "method": request.method,
            "path": request.path,
            "raw_path": request.raw_path.partition("?")[0].encode(),
            "query_string": request.query_string.encode(),
            "root_path": self._root_path,
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
        }


async def _inner(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": PASSED})
