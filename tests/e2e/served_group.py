# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployed group as its tests look at it and hurt it: pods, logs, processes, files, the API, what was fetched."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rig.fixtures import RunningRig
from tests.waiting import wait

Object = dict[str, Any]
API_PORT, STATUS_PORT = 8000, 8081
INDEX_LABEL = "ray.io/worker-group-replica-index"


class ServedGroup:
    """The pods of one deployment, and its model's files in a bucket."""

    def __init__(self, rig: RunningRig, name: str, tenancy: str) -> None:
        self.rig = rig
        self.name = name
        self._tenancy = tenancy
        self._key: str | None = None

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """kubectl in the deployment's namespace."""
        return self.rig.kubectl("-n", self.name, *words, stdin=stdin)

    # --- pods -----------------------------------------------------------------------------------------------------

    def pods(self) -> list[Object]:
        """The pods that are not being deleted, the head first, then by replica index."""
        found = json.loads(self.kubectl("get", "pods", "-l", f"ray.io/cluster={self.name}", "-o", "json"))["items"]
        living = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return sorted(living, key=lambda pod: int(pod["metadata"]["labels"].get(INDEX_LABEL, -1)))

    def head(self) -> Object:
        """The head pod, {} while there is none."""
        return next((pod for pod in self.pods() if pod["metadata"]["labels"]["ray.io/node-type"] == "head"), {})

    def worker(self, index: int = 0) -> Object:
        """The worker pod of a replica index, {} while there is none."""
        return next((pod for pod in self.pods() if pod["metadata"]["labels"].get(INDEX_LABEL) == str(index)), {})

    def stage(self, number: int) -> Object:
        """The pod of a pipeline stage."""
        return self.worker(number - 1) if number else self.head()

    def delete(self, pod: Object) -> None:
        """Delete a pod at once, as the loss of its node does."""
        self.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")

    def log(self, pod: Object, *options: str) -> str:
        """A pod's log, "" while there is none."""
        if not pod or not container(pod).get("containerID"):
            return ""
        return self.kubectl("logs", pod["metadata"]["name"], *options)

    def progress(self, pod: Object) -> dict[str, Object]:
        """The latest progress line of each phase in a pod's log."""
        return progress_lines(self.log(pod))

    def status(self, pod: Object) -> Object:
        """What a pod says on its status port, {} where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{address(pod)}:{STATUS_PORT}/", timeout=5) as answer:
                return dict(json.loads(answer.read()))
        except (OSError, ValueError):
            return {}

    def endpoint_is_open(self) -> bool:
        """Say whether the Service of the API has a ready endpoint."""
        found = self.kubectl("get", "endpointslices", "-l", f"kubernetes.io/service-name={self.name}-api", "-o", "json")
        endpoints = [entry for item in json.loads(found)["items"] for entry in item.get("endpoints") or []]
        return any(entry["conditions"].get("ready") for entry in endpoints)

    def events(self, pod: Object) -> list[str]:
        """The messages of a pod's events."""
        selector = f"involvedObject.name={pod['metadata']['name']}"
        found = json.loads(self.kubectl("get", "events", "--field-selector", selector, "-o", "json"))
        return [event["message"] for event in found["items"]]

    # --- the API --------------------------------------------------------------------------------------------------

    def key(self) -> str:
        """The deployment's API key."""
        if self._key is None:
            secret = json.loads(self.kubectl("get", "secret", f"{self.name}-api-key", "-o", "json"))
            self._key = base64.b64decode(secret["data"]["default"]).decode()
        return self._key

    def ask(
        self, path: str, body: Object | None = None, seconds: float = 30, pod: Object | None = None
    ) -> tuple[int, str]:
        """Status and text of the engine's answer; status 0 where the connection is refused. `pod`: by default the head."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key()}"}
        data = None if body is None else json.dumps(body).encode()
        try:
            url = f"http://{address(pod or self.head())}:{API_PORT}{path}"
            with urllib.request.urlopen(
                urllib.request.Request(url, data=data, headers=headers), timeout=seconds
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def complete(self, seconds: float = 30, pod: Object | None = None) -> int:
        """The status of a completion; 0 where the engine does not answer."""
        body = {"model": "tiny-llama", "prompt": "Hello", "max_tokens": 2}
        return self.ask("/v1/completions", body, seconds, pod)[0]

    def serves(self) -> bool:
        """Say whether all pods are Ready and a completion comes back."""
        pods = self.pods()
        return bool(pods) and all(map(is_ready, pods)) and self.complete() == 200

    def until_served(self, since: float, seconds: float = 600) -> float:
        """Wait until the group serves; the seconds since `since` (monotonic)."""
        # Each look costs as much as a twentieth of a core for a second: the group needs them all to start.
        wait("the group serves", self.serves, seconds, self.describe, pause=0.75)
        return time.monotonic() - since

    def describe(self) -> str:
        """States, messages and the ends of the logs of all pods, for a test that failed."""
        lines = []
        for pod in self.pods():
            lines.append(f"{pod['metadata']['name']}: {json.dumps(container(pod))[:1500]}")
            lines += self.log(pod, "--tail=15").splitlines()
        return "\n".join(lines)

    def suffer(self, what: str, **how: Any) -> None:
        """Have the engine die, hang, lie or be slow, or `heal` it; it looks twice a second."""
        self.rig.steer("POST", f"/engines/{self.name}/{what}", how)
        time.sleep(1.5)

    # --- processes and files --------------------------------------------------------------------------------------

    def processes(self, pod: Object, words: str = "", name: str = "") -> list[int]:
        """The processes of a pod that have `words` in their command line, and this name where one is given."""
        mark = f"pods/{pod['metadata']['uid']}/"
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                if words not in command or (name and (folder / "comm").read_text().strip() != name):
                    continue
                if mark in (folder / "mountinfo").read_text():
                    found.append(int(folder.name))
        return found

    def kill(self, pod: Object, words: str = "", name: str = "", number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the processes of a pod that `processes` finds; there has to be one."""
        found = self.processes(pod, words, name)
        assert found, f"no process {words or name!r} in {pod['metadata']['name']}"
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def kill_rank(self, pod: Object) -> None:
        """Kill the engine's ranks in a pod: actors, which real Ray names by their class."""
        self.kill(pod, "RayWorkerProc" if self.processes(pod, "RayWorkerProc") else "-m ray.actor")

    def files(self, pod: Object) -> dict[str, bytes]:
        """The model's files on the volume of a pod, by their names below the mount."""
        claim = next(volume for volume in pod["spec"]["volumes"] if "ephemeral" in volume)
        name = f"{pod['metadata']['name']}-{claim['name']}"
        volume = json.loads(self.kubectl("get", "pvc", name, "-o", "json"))["spec"]["volumeName"]
        handle = json.loads(self.kubectl("get", "pv", volume, "-o", "json"))["spec"]["csi"]["volumeHandle"]
        root = self.rig.directory / "volumes" / handle
        paths = (path for path in root.rglob("*") if path.is_file() and ".multinode" not in path.parts)
        return {str(path.relative_to(root)): path.read_bytes() for path in paths}

    def fetched(self, since: float) -> list[str]:
        """The names of the objects that pods have read since then (seconds since 1970)."""
        path = f"/calls?tenancy={self._tenancy}&since={since}"
        calls = self.rig.steer("GET", path)
        return [
            call["path"].rpartition("/o/")[2] for call in calls if call["method"] == "GET" and "/p/" in call["path"]
        ]

    @contextlib.contextmanager
    def scenario(self, do: Object, **match: Any) -> Iterator[None]:
        """A fault of the cloud while the block runs."""
        made = self.rig.steer("POST", "/scenarios", {"match": {"tenancy": self._tenancy, **match}, "do": do})
        try:
            yield
        finally:
            self.rig.steer("DELETE", f"/scenarios/{made['id']}")


def progress_lines(text: str) -> dict[str, Object]:
    """The latest progress line of each phase: JSON after the word `multinode`."""
    lines = (line.removeprefix("multinode ") for line in text.splitlines() if line.startswith("multinode {"))
    return {entry["phase"]: entry for entry in map(json.loads, lines)}


def container(pod: Object) -> Object:
    """The status of a pod's only container, {} while there is none."""
    return ((pod.get("status") or {}).get("containerStatuses") or [{}])[0]


def address(pod: Object) -> str:
    """A pod's address; one that refuses while it has none."""
    return (pod.get("status") or {}).get("podIP") or "127.0.0.1:1"


def is_ready(pod: Object) -> bool:
    """Say whether a pod is Ready."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def restarts(pod: Object) -> int:
    """How often a pod's container has started again."""
    return int(container(pod).get("restartCount", 0))


def cause(pod: Object) -> Object:
    """The progress line in the termination message of the container's last end; {} where it left none."""
    ended = (container(pod).get("lastState") or {}).get("terminated") or (container(pod).get("state") or {}).get(
        "terminated"
    )
    lines = progress_lines((ended or {}).get("message") or "")
    return next(iter(lines.values()), {})
