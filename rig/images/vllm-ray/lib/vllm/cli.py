# SPDX-License-Identifier: GPL-3.0-or-later
"""`vllm serve`: its life from the bound port to the end (vllm/entrypoints/launchers/launcher.py, v1/engine/utils.py).

Exit codes as in vLLM: 2 for arguments, 1 when the engine does not start, 0 after SIGTERM and, misleadingly, after the
death of the engine.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import Any

from vllm import __version__, arguments, bench, checkpoint, checks, failures, log, tls
from vllm.control import Control

WATCHDOG_SECONDS = 5.0


def main() -> None:
    """Run the command line."""
    words = sys.argv[1:]
    if words[:1] in (["--version"], ["-v"]):
        print(__version__)
    elif words[:1] == ["serve"]:
        sys.exit(serve(arguments.parse(words[1:])))
    elif words[:2] == ["bench", "serve"]:
        sys.exit(bench.main(words[2:]))
    else:
        print(
            "usage: vllm [-h] [-v] {serve,bench} ...\n\nThe rig's vllm knows `serve` and `bench serve` only.",
            file=sys.stderr,
        )
        sys.exit(0 if words[:1] in (["-h"], ["--help"]) else 2)


def serve(options: Any) -> int:
    """Serve until the engine dies or a signal comes; the exit code."""
    signal.signal(signal.SIGTERM, _end_while_loading)
    if failure := Control().failure:
        return failures.play(failure)
    _say(f"vLLM API server version {__version__}")
    _say(f"non-default args: {arguments.given(options)}")
    listener = _bind(options)
    try:
        config = checkpoint.read_config(options.model_tag)
        checks.check(options, config)
    except (ValueError, OSError) as error:
        log.write_failure("api_server.py:1", error, log.SERVER)
        return 1
    return asyncio.run(_serve(options, config, listener))


async def _serve(options: Any, config: dict[str, Any], listener: socket.socket) -> int:
    from vllm.engine import Engine

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    engine = Engine(options, config, ended=lambda: loop.call_soon_threadsafe(stop.set))
    try:
        engine.start()
    except Exception as error:
        engine.close()
        log.write_failure("core.py:866", error)
        failure = RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
        log.write_failure("api_server.py:1", failure, log.SERVER)
        return 1
    from aiohttp import web

    from vllm.server import Server

    keys = options.api_key or [os.environ.get("VLLM_API_KEY", "")]
    server = Server(engine, options, {key for key in keys if key})
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=options.shutdown_timeout)
    await runner.setup()
    scheme = "https" if options.ssl_certfile else "http"
    _say(f"Starting vLLM API server 0 on {scheme}://{options.host or '0.0.0.0'}:{options.port}")
    log.uvicorn(f"Started server process [{os.getpid()}]")
    log.uvicorn("Waiting for application startup.")
    context = tls.context_of(options)
    site = web.SockSite(runner, listener, ssl_context=context)
    await site.start()
    refreshing = context and options.enable_ssl_refresh
    refresher = (
        asyncio.create_task(tls.refresh(context, options.ssl_certfile, options.ssl_keyfile)) if refreshing else None
    )
    log.uvicorn("Application startup complete.")
    signalled = False

    def end() -> None:
        nonlocal signalled
        signalled = True
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await stop.wait()
    if not signalled:
        # vLLM's watchdog looks every five seconds: until then /health is 503.
        if os.environ.get("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH") == "1":
            await asyncio.Event().wait()
        await asyncio.sleep(WATCHDOG_SECONDS)
    log.uvicorn("Shutting down")
    if refresher:
        refresher.cancel()
    await runner.cleanup()
    log.uvicorn("Application shutdown complete.")
    engine.close()
    log.uvicorn(f"Finished server process [{os.getpid()}]")
    sys.stdout.flush()
    return 0


def _bind(options: Any) -> socket.socket:
    """Take the port before Ray can; it is listened on once the engine is there, so that clients are refused till then."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.host or "0.0.0.0", options.port))
    return listener


def _end_while_loading(*_: Any) -> None:
    """SIGTERM before serving ends the program at once; Ray ends its actors with their driver."""
    _say("Received SIGTERM while loading, shutting down.")
    sys.stdout.flush()
    os._exit(0)


def _say(text: str) -> None:
    log.write("api_server.py:1", text, process=log.SERVER)
