# SPDX-License-Identifier: GPL-3.0-or-later
"""The address that the `oci` SDK speaks to: finds the operation, verifies the caller, lets scenarios act, logs the
call.

Facts imitated:
- errors are `{"code", "message"}` with the header opc-request-id; each answer bears that header, which begins with what
  the client sent;
- a GET of a pre-authenticated request needs no signature;
- an answer may be lost though the operation was carried out (scenario `lose_answer`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from rig.oci import errors
from rig.oci.cloud import Cloud
from rig.oci.errors import ServiceError
from rig.oci.identifiers import request_id
from rig.oci.scenarios import Effect
from rig.oci.service import Answer, Call, Content, Operation, Operations
from rig.oci.signature import verify
from rig.oci.state import Tenancy, now

CHUNK = 256 * 1024

log = logging.getLogger(__name__)


class AnswerLost(Exception):
    """The connection is to be cut without an answer."""


class Server:
    """Answers every request to the stand-in's endpoint."""

    def __init__(self, cloud: Cloud, operations: Operations) -> None:
        self._cloud = cloud
        self._operations = operations

    def application(self, *others: web.RouteDef) -> web.Application:
        """The application; `others` are answered before the cloud is asked."""
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_routes(others)
        application.router.add_route("*", "/{path:.*}", self.answer)
        return application

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever it is."""
        started = time.time()
        entry: dict[str, Any] = {
            "time": started,
            "tenancy": None,
            "operation": None,
            "method": request.method,
            "path": request.raw_path,
            "status": None,
            "request_id": request_id(
                request.headers.get("opc-request-id") or request.headers.get("opc-client-request-id")
            ),
            "user_agent": request.headers.get("user-agent"),
        }
        self._cloud.calls.append(entry)
        try:
            return await self._answer(request, entry)
        except ServiceError as error:
            entry["code"] = error.code
            return await self._send(request, entry, _error(error, request.method), Effect())
        except AnswerLost:
            entry["lost"] = True
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        except (ConnectionError, asyncio.CancelledError):
            entry["lost"] = True
            raise
        except Exception as error:
            log.exception("the stand-in failed in %s %s", request.method, request.raw_path)
            failure = errors.internal_error(f"The rig's OCI stand-in failed, see its log: {error!r}")
            return await self._send(request, entry, _error(failure, request.method), Effect())
        finally:
            entry["seconds"] = round(time.time() - started, 3)

    async def _answer(self, request: web.Request, entry: dict[str, Any]) -> web.StreamResponse:
        raw_path = request.raw_path.partition("?")[0]
        operation, parameters = self._operations.find(request.method, raw_path)
        entry["operation"] = operation.name
        body = b"" if operation.takes_bytes else await request.read()
        call = Call(operation, request, parameters, None, entry["request_id"], body, entry)  # type: ignore[arg-type]
        call.tenancy = operation.owner(call) if operation.owner else self._caller(call)
        entry["tenancy"] = call.tenancy.compartment_id
        entry["retry_token"] = request.headers.get("opc-retry-token")
        effect = await self._effect(call)
        answer = await operation.handler(call)
        if effect.lose_answer:
            raise AnswerLost
        return await self._send(request, entry, answer, effect)

    def _caller(self, call: Call) -> Tenancy:
        operation: Operation = call.operation
        key_id = verify(
            method=call.request.method,
            target=call.request.raw_path,
            headers=call.request.headers,
            body=None if operation.takes_bytes else call.raw_body,
            keys=self._cloud.keys,
            now=now(),
        )
        return self._cloud.caller(key_id)

    async def _effect(self, call: Call) -> Effect:
        resource = call.request.raw_path + " " + " ".join(call.parameters.values())
        effect = self._cloud.scenarios.effect(call.tenancy, call.operation.name, resource)
        if effect.delay_s:
            await asyncio.sleep(effect.delay_s)
        if effect.error:
            raise effect.error
        return effect

    async def _send(
        self, request: web.Request, entry: dict[str, Any], answer: Answer, effect: Effect
    ) -> web.StreamResponse:
        entry["status"] = answer.status
        headers = {"opc-request-id": entry["request_id"], **answer.headers}
        if answer.content is not None and request.method != "HEAD":
            return await self._send_content(request, entry, answer, headers, effect)
        if answer.text is not None:
            headers.setdefault("content-type", "application/x-yaml")
            return web.Response(status=answer.status, text=answer.text, headers=headers)
        if request.method == "HEAD":
            return web.Response(status=answer.status, headers=headers)
        if answer.body is None:
            return web.Response(status=answer.status, headers=headers)
        headers["content-type"] = "application/json"
        return web.Response(status=answer.status, body=json.dumps(answer.body).encode(), headers=headers)

    async def _send_content(
        self, request: web.Request, entry: dict[str, Any], answer: Answer, headers: dict[str, str], effect: Effect
    ) -> web.StreamResponse:
        content = answer.content
        assert content is not None
        response = web.StreamResponse(status=answer.status, headers=headers)
        response.content_length = content.length
        await response.prepare(request)
        sent = 0
        try:
            async for chunk in _chunks(content, effect):
                await response.write(chunk)
                sent += len(chunk)
                entry["bytes"] = sent
        except ConnectionError:
            entry["lost"] = True
            return response
        if sent < content.length:
            raise AnswerLost
        await response.write_eof()
        return response


async def _chunks(content: Content, effect: Effect) -> Any:
    """The bytes of `content`, as slowly and as far as the scenarios allow."""
    left = content.length if effect.cut_bytes is None else min(effect.cut_bytes, content.length)
    size = CHUNK
    if effect.rate_bytes_per_s:
        size = max(1, min(CHUNK, int(effect.rate_bytes_per_s / 10)))
    with Path(content.path).open("rb") as file:
        file.seek(content.start)
        while left > 0:
            chunk = file.read(min(size, left))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk
            if effect.rate_bytes_per_s:
                await asyncio.sleep(len(chunk) / effect.rate_bytes_per_s)


def _error(error: ServiceError, method: str) -> Answer:
    if method == "HEAD":
        return Answer(status=error.status)
    return Answer({"code": error.code, "message": error.message}, error.status)
