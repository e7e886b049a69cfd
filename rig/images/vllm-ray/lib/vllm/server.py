# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP server: the part of the OpenAI API that the product and its tests use, with vLLM's errors and unguarded paths.

Source: vllm/entrypoints/serve, entrypoints/openai; keys guard only paths that begin with one of `GUARDED`; what else is guarded is up to
the middleware.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from vllm import __version__, log
from vllm.engine import Engine, EngineDeadError, GenerationError
from vllm.metrics import Metrics
from vllm.middleware import Middleware

GUARDED = ("/v1", "/v2", "/inference", "/cohere")
# The instrumentator does not count these.
UNCOUNTED = ("/metrics", "/health", "/load", "/ping", "/version")
DEFAULT_TOKENS = 16
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(Exception):
    """A request that is answered with an error in OpenAI's form."""

    def __init__(self, status: int, kind: str, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": parameter, "code": status}}


class Server:
    """Answers requests for one engine."""

    def __init__(self, engine: Engine, arguments: Any, keys: set[str]) -> None:
        self._engine = engine
        self._arguments = arguments
        self._keys = keys
        self._names: list[str] = arguments.served_model_name or [arguments.model_tag]
        self._threads = ThreadPoolExecutor(max_workers=64)
        self._quiet = set((arguments.disable_access_log_for_endpoints or "").split(","))
        self._created = int(time.time())
        self._middleware = Middleware(arguments.middleware or [], arguments.root_path)
        self.metrics = Metrics(self._names[0])

    def application(self) -> web.Application:
        """The paths and what stands before them."""
        application = web.Application(middlewares=[self._around], client_max_size=64 * 2**20)
        application.add_routes(
            [
                web.get("/health", self._health),
                web.get("/ping", self._health),
                web.post("/ping", self._health),
                web.get("/version", self._version),
                web.get("/load", self._load),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.post("/v1/completions", self._completions),
                web.post("/v1/chat/completions", self._chat),
                web.post("/invocations", self._invocations),
                web.post("/tokenize", self._tokenize),
                web.post("/detokenize", self._detokenize),
            ]
        )
        return application

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Middleware, keys, errors, access log."""
        refused = await self._middleware.answer(request)
        try:
            if refused is not None:
                answer: web.StreamResponse = refused
            elif self._keys and request.path.startswith(GUARDED) and not self._has_key(request):
                answer = web.json_response({"error": "Unauthorized"}, status=401)
            else:
                answer = await handler(request)
        except Refusal as refusal:
            answer = web.json_response(refusal.body, status=refusal.status)
        except (EngineDeadError, GenerationError) as error:
            body = {"message": str(error), "type": "InternalServerError", "param": None, "code": 500}
            answer = web.json_response({"error": body}, status=500)
        except web.HTTPException as error:
            answer = web.json_response({"detail": error.reason}, status=error.status)
        if refused is None and request.path not in UNCOUNTED:
            with self.metrics.lock:
                self.metrics.answers[request.path, request.method, f"{answer.status // 100}xx"] += 1
        if not self._arguments.disable_uvicorn_access_log and request.path not in self._quiet:
            version = f"HTTP/{request.version.major}.{request.version.minor}"
            log.uvicorn(f'{_peer(request)} - "{request.method} {request.path_qs} {version}" {answer.status}')
        return answer

    def _has_key(self, request: web.Request) -> bool:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and key in self._keys

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=503 if self._engine.dead.is_set() else 200)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": __version__})

    async def _load(self, _: web.Request) -> web.Response:
        return web.json_response({"server_load": self.metrics.running})

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=self.metrics.text(), content_type="text/plain")

    async def _models(self, _: web.Request) -> web.Response:
        models = [
            {
                "id": name,
                "object": "model",
                "created": self._created,
                "owned_by": "vllm",
                "root": self._arguments.model_tag,
                "parent": None,
                "max_model_len": self._arguments.max_model_len,
            }
            for name in self._names
        ]
        return web.json_response({"object": "list", "data": models})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        prompt = body.get("prompt")
        if not prompt:
            message = "Either prompt or prompt_embeds must be provided and non-empty."
            raise Refusal(400, "BadRequestError", message, "prompt")
        first = prompt[0] if isinstance(prompt, list) else prompt
        return await self._answer(request, body, _bytes(first), chat=False)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        messages = body.get("messages")
        if not messages:
            raise Refusal(400, "BadRequestError", "messages: Field required", "messages")
        prompt = "".join(f"{message['role']}: {_content(message)}\n" for message in messages) + "assistant: "
        return await self._answer(request, body, prompt.encode(), chat=True)

    async def _invocations(self, request: web.Request) -> web.StreamResponse:
        """Full inference that no key guards."""
        return await (self._chat(request) if "messages" in await request.json() else self._completions(request))

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        tokens = list(_bytes(body.get("prompt", "")))
        return web.json_response(
            {"count": len(tokens), "max_model_len": self._arguments.max_model_len, "tokens": tokens, "token_strs": None}
        )

    async def _detokenize(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        return web.json_response({"prompt": bytes(body.get("tokens", [])).decode(errors="replace")})

    async def _body(self, request: web.Request) -> dict[str, Any]:
        try:
            body = await request.json()
        except ValueError as error:
            raise Refusal(400, "BadRequestError", f"There was an error parsing the body: {error}") from None
        name = body.get("model")
        if name and name not in self._names:
            raise Refusal(404, "NotFoundError", f"The model `{name}` does not exist.", "model")
        return body

    async def _answer(
        self, request: web.Request, body: dict[str, Any], prompt: bytes, chat: bool
    ) -> web.StreamResponse:
        asked = body.get("max_completion_tokens") or body.get("max_tokens")
        count = DEFAULT_TOKENS if asked is None else int(asked)
        if count < 1:
            raise Refusal(400, "BadRequestError", f"max_tokens must be at least 1, got {count}.", "max_tokens")
        longest, total = self._arguments.max_model_len, len(prompt) + count
        if total > longest:
            raise Refusal(
                400,
                "BadRequestError",
                f"This model's maximum context length is {longest} tokens. However, you requested {count} output tokens "
                f"and your prompt contains {len(prompt)} input tokens, for a total of {total} tokens. Please reduce the "
                "length of the input prompt or the number of requested output tokens.",
                "input_tokens",
            )
        self._admit()
        form = Form(chat, body.get("model") or self._names[0], len(prompt))
        words = self._words(prompt, count)
        if body.get("stream"):
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return await self._stream(request, form, words, usage)
        text = "".join([word async for word in words])
        return web.json_response(form.whole(text, count))

    def _admit(self) -> None:
        """Refuse one request more than may be unfinished (vllm/v1/engine/async_llm.py, check_admission)."""
        most = self._arguments.max_num_queued_reqs
        if most is not None and self.metrics.running + 1 > most:
            message = "The engine is currently busy and cannot accept new requests."
            raise Refusal(503, "ServiceUnavailable", f"{message} Please try again later or on a different instance.")

    async def _stream(
        self, request: web.Request, form: Form, words: AsyncIterator[str], usage: bool
    ) -> web.StreamResponse:
        """Server-sent events; a fault is told in the stream, as the status has been sent."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)

        async def send(event: Any) -> None:
            data = event if isinstance(event, str) else json.dumps(event)
            await response.write(f"data: {data}\n\n".encode())

        count = 0
        try:
            async for word in words:
                count += 1
                await send(form.part(word, None))
            await send(form.part("", "length"))
            if usage:
                await send(form.usage_only(count))
        except (EngineDeadError, GenerationError) as error:
            await send({"error": {"message": str(error), "type": "InternalServerError", "code": 500}})
        await send("[DONE]")
        return response

    async def _words(self, prompt: bytes, count: int) -> AsyncIterator[str]:
        """The tokens as they come, counted."""
        loop, metrics = asyncio.get_running_loop(), self.metrics
        begin = time.monotonic()
        source = self._engine.generate(prompt, count)
        with metrics.lock:
            metrics.running += 1
        try:
            for position in range(count):
                word = failure = None
                try:
                    word = await loop.run_in_executor(self._threads, next, source)
                except GenerationError as error:
                    failure = error
                with metrics.lock:
                    metrics.steps += 1
                    if position == 0:
                        metrics.prompt_tokens += len(prompt)
                        metrics.first_token_seconds += time.monotonic() - begin
                    metrics.generation_tokens += word is not None
                    metrics.failures += failure is not None
                if failure:
                    raise failure
                yield str(word)
            with metrics.lock:
                metrics.requests += 1
                metrics.seconds += time.monotonic() - begin
        finally:
            with metrics.lock:
                metrics.running -= 1


class Form:
    """The JSON of an answer, for completions or chat."""

    def __init__(self, chat: bool, model: str, prompt_tokens: int) -> None:
        self._chat = chat
        self._prompt_tokens = prompt_tokens
        self._id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._model = model
        self._created = int(time.time())

    def whole(self, text: str, count: int) -> dict[str, Any]:
        """The answer at once."""
        held = {"message": {"role": "assistant", "content": text.strip()}} if self._chat else {"text": text}
        choice = {"index": 0, **held, "logprobs": None, "finish_reason": "length", "stop_reason": None}
        head = self._head("chat.completion" if self._chat else "text_completion", [choice])
        return {**head, "usage": self._usage(count)}

    def part(self, text: str, reason: str | None) -> dict[str, Any]:
        """One event of a stream."""
        held = {"delta": {"content": text}} if self._chat else {"text": text}
        choice = {"index": 0, **held, "logprobs": None, "finish_reason": reason}
        return self._head("chat.completion.chunk" if self._chat else "text_completion", [choice])

    def usage_only(self, count: int) -> dict[str, Any]:
        """The last event when usage was asked for."""
        return {
            **self._head("chat.completion.chunk" if self._chat else "text_completion", []),
            "usage": self._usage(count),
        }

    def _head(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "choices": choices,
        }

    def _usage(self, count: int) -> dict[str, int]:
        total = self._prompt_tokens + count
        return {"prompt_tokens": self._prompt_tokens, "total_tokens": total, "completion_tokens": count}


def _bytes(prompt: Any) -> bytes:
    """A prompt is text or a list of tokens; here a byte is a token."""
    return prompt.encode() if isinstance(prompt, str) else repr(prompt).encode()


def _content(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _peer(request: web.Request) -> str:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return f"{peer[0]}:{peer[1]}" if peer else "-"
