# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of a deployment's endpoint: curl with the hosts of the result, its authority, and a key."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rig.fixtures import RunningRig
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


@contextlib.contextmanager
def slow_engine(rig: RunningRig, name: str, seconds: int = 4) -> Iterator[None]:
    """An engine whose tokens each take that much longer."""
    rig.steer("POST", f"/engines/{name}/slow", {"seconds": seconds})
    try:
        time.sleep(1.5)
        yield
    finally:
        rig.steer("POST", f"/engines/{name}/heal", {})


def check_long_answers(client: EndpointClient, rig: RunningRig, usual: float) -> None:
    """An answer that is silent for longer than `usual` seconds comes, and a stream that takes longer comes as it is made."""
    name = next(iter(client.result["recipes"])).removesuffix("-raycluster-app")
    url = f"{client.urls['app']}/v1/completions"

    def words(**more: Any) -> tuple[str, ...]:
        body = json.dumps({"model": client.result["model"], "prompt": "Hello", "max_tokens": 3, **more})
        return ("--header", "Content-Type: application/json", "--data", body)

    with slow_engine(rig, name):
        began = time.monotonic()
        silent = client.ask(url, *words(), key=client.key)
        assert silent.status == "200" and time.monotonic() - began > usual + 2, silent
        times = ("--no-buffer", "--write-out", "%{http_code} %{time_starttransfer} %{time_total}")
        streamed = client.ask(url, *words(stream=True), *times, key=client.key)
        first, whole = map(float, streamed.location.split())
        assert streamed.status == "200" and whole - first > usual, "nothing holds the parts back"
