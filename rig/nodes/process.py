# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of the container runtime (runtime.py), seen from the nodes part."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNTIME = Path(__file__).with_name("runtime.py")


class CannotStart(Exception):
    """The runtime could not start what it was told to; the text says why."""


class Process:
    """One sandbox, container or exec: started, and waited for.

    Processes are started by the thread of the event loop, which lives as long as the part: they die with the thread that started
    them (runtime.py).
    """

    def __init__(self, shim: asyncio.subprocess.Process, report: asyncio.StreamReader) -> None:
        self.pid = 0
        self._shim = shim
        self._report = report
        self._ended: asyncio.Task[int]

    @classmethod
    async def start(cls, mode: str, specification: dict[str, Any], output: Callable[[bytes], None]) -> Process:
        """Start it and wait until it runs; CannotStart when it does not. `output` gets what it writes."""
        read, write = os.pipe()
        try:
            shim = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(RUNTIME),
                mode,
                str(write),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=[write],
                start_new_session=True,
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        report = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(report), os.fdopen(read, "rb"))
        assert shim.stdin and shim.stdout
        shim.stdin.write(json.dumps(specification).encode())
        shim.stdin.close()
        process = cls(shim, report)
        reading = asyncio.create_task(_read(shim.stdout, output))
        told = await process._told()
        process._ended = asyncio.create_task(process._end(reading))
        if "started" not in told:
            await process.wait()
            raise CannotStart(told.get("error") or "the container runtime ended without a word")
        process.pid = told["started"]
        return process

    @property
    def is_running(self) -> bool:
        """Whether it has not ended, as far as was seen."""
        return not self._ended.done()

    async def wait(self) -> int:
        """Its exit code, once it has ended and all its output was read."""
        return await asyncio.shield(self._ended)

    def signal(self, number: int) -> None:
        """Send a signal to its first process."""
        with contextlib.suppress(ProcessLookupError):
            self._shim.send_signal(number)

    async def kill(self) -> None:
        """End it and all its processes at once, and wait until they are gone."""
        self.signal(signal.SIGQUIT)  # the runtime kills what it waits for: only then are all gone when it ends
        try:
            await asyncio.wait_for(self.wait(), 5)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.wait()

    async def _end(self, reading: asyncio.Task[None]) -> int:
        await reading
        code = await self._shim.wait()
        told = await self._told()
        return told.get("exited", 128 - code if code < 0 else code)

    async def _told(self) -> dict[str, Any]:
        line = await self._report.readline()
        return json.loads(line) if line else {}


async def _read(stream: asyncio.StreamReader, output: Callable[[bytes], None]) -> None:
    while data := await stream.read(65536):
        output(data)


async def command(*words: str, given: str = "") -> str:
    """Run a command of the machine; its output. CannotStart with what it said when it fails."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(given.encode())
    if process.returncode:
        raise CannotStart(f"{' '.join(words)} ended with {process.returncode}: {said.decode().strip()}")
    return said.decode()
