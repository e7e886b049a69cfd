# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS of the server (uvicorn's --ssl-*), and its certificate when the files change (vLLM's SSLCertRefresher, entrypoints/.../ssl.py).

Fact imitated: vLLM watches the files with inotify (watchfiles), which follows links to the files behind them. A file that is written in
place is seen each time; one that another replaces, as a mounted Secret's, is seen once and then no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from typing import Any

from vllm import log

LOOK_SECONDS = 0.2


def context_of(options: Any) -> ssl.SSLContext | None:
    """What the server ends TLS with; None where it speaks plain HTTP."""
    if not options.ssl_certfile:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.ssl_certfile, options.ssl_keyfile)
    return context


async def refresh(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load the pair again whenever one of the files changes; until neither can be seen any more."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, "rb")) for path in (certificate, key)]
        watched = {file: os.fstat(file.fileno()).st_mtime_ns for file in files}
        while watched:
            await asyncio.sleep(LOOK_SECONDS)
            now = {file: os.fstat(file.fileno()) for file in watched}
            changed = [file for file, seen in now.items() if seen.st_nlink == 0 or seen.st_mtime_ns != watched[file]]
            watched = {file: seen.st_mtime_ns for file, seen in now.items() if seen.st_nlink}
            if changed:
                log.write("ssl.py:32", "Reloading SSL certificate chain", process=log.SERVER)
                try:
                    context.load_cert_chain(certificate, key)
                except (OSError, ValueError) as error:
                    text = f"SSLCertRefresher failed taking action on file change. Error: {error}"
                    log.write("ssl.py:60", text, process=log.SERVER)
