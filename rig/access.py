# SPDX-License-Identifier: GPL-3.0-or-later
"""How programs outside the rig use it: the environment that its `env` sets, and its control address."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any


def environment(directory: Path) -> dict[str, str]:
    """Return this process's environment with what `env` of the rig in `directory` sets."""
    script = f'. "{directory / "env"}" && env -0'
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return dict(entry.split("=", 1) for entry in result.stdout.split("\0") if "=" in entry)


def steer(control: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Send one request to the control address and return the decoded answer; urllib's HTTPError where it is refused."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{control}{path}", data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")
