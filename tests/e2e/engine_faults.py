# SPDX-License-Identifier: GPL-3.0-or-later
"""The address that the engines' RIG_ENGINE_CONTROL asks: which fault an engine shall have now."""

from __future__ import annotations

import http.server
import json
import threading
import time
from typing import Any


class Faults:
    """Answers on an address that pods reach; see tests/rig/images/vllm-ray/lib/vllm/control.py for what can be asked."""

    def __init__(self, address: str) -> None:
        self.asked: dict[str, Any] = {}
        faults = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(faults.asked).encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://{address}:{self.server.server_address[1]}/"

    def ask(self, **fault: Any) -> None:
        """Have the engine suffer this from its next look on; nothing: no fault."""
        self.asked = fault
        time.sleep(1.5)

    def close(self) -> None:
        """Answer no more."""
        self.server.shutdown()
        self.server.server_close()
