# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of a deployment's endpoint: curl with the hosts of the result, its authority, and a key."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.playbooks import Playbooks


@dataclass(frozen=True)
class Answer:
    """What curl said: its exit code, the answer's status and body, and the URL of a redirect."""

    code: int
    status: str
    body: str
    location: str


class EndpointClient:
    """Asks the endpoint of a deploy's result. Names lead to its address by --resolve: no name server here knows them."""

    def __init__(self, playbooks: Playbooks, result: dict[str, Any], folder: Path) -> None:
        self.result = result
        self.urls = {label.rpartition("-")[2]: url for label, url in result["recipes"].items()}
        self._folder = folder
        command = ["bash", "-c", result["key_command"]]
        self.key = subprocess.run(command, env=playbooks.environment, capture_output=True, text=True, check=True).stdout

    def ask(
        self, url: str, *words: str, key: str | None = None, trusted: bool = True, address: str | None = None
    ) -> Answer:
        """Ask a URL. trusted: with the result's authority; address: of another than the endpoint's."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        resolve = f"{parts.hostname}:{port}:{address or self.result['address']}"
        command = ["curl", "--silent", "--show-error", "--resolve", resolve, "--max-time", "120"]
        if trusted and self.result["ca_file"]:
            command += ["--cacert", self.result["ca_file"]]
        if key is not None:
            command += ["--header", f"Authorization: Bearer {key}"]
        body = self._folder / f"answer-{threading.get_ident()}"
        body.write_text("")
        # The last --write-out wins.
        command += ["--output", str(body), "--write-out", "%{http_code} %{redirect_url}", *words, url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        status, _space, location = done.stdout.partition(" ")
        return Answer(done.returncode, status, body.read_text(errors="replace"), location)
