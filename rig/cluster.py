# SPDX-License-Identifier: GPL-3.0-or-later
"""A small asynchronous client of the rig's API server: requests, and caches kept by list and watch.

Objects are the JSON that the API server sends. The rig's parts watch much and change little, in one process and one thread each.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
import ssl
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

Object = dict[str, Any]
Key = tuple[str, str]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

LARGEST_EVENT = 4 * 1024 * 1024
"""Bytes of the longest line of a watch: etcd's largest object (1.5 MiB) with room."""
REQUEST_SECONDS = 30
WATCH_SECONDS = 300
RETRY_SECONDS = 1.0


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, method: str, path: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{method} {path}: {status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Cluster:
    """Requests to one API server, as the user of a kubeconfig."""

    def __init__(self, server: str, context: ssl.SSLContext) -> None:
        self.server = server.rstrip("/")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            read_bufsize=LARGEST_EVENT,
        )

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Cluster:
        """The cluster of the file's current context; certificates as data or as files."""
        config = yaml.safe_load(path.read_text())
        current = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], current["cluster"])["cluster"]
        user = _named(config["users"], current["user"])["user"]
        with tempfile.TemporaryDirectory() as folder:
            context = ssl.create_default_context(cafile=_file(cluster, "certificate-authority", folder))
            context.load_cert_chain(_file(user, "client-certificate", folder), _file(user, "client-key", folder))
        return cls(cluster["server"], context)

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def get(self, path: str, **parameters: str) -> Object:
        """The object or list at `path`."""
        return await self._request("GET", path, parameters=parameters)

    async def create(self, path: str, body: Object) -> Object:
        """Create `body` in the collection at `path`."""
        return await self._request("POST", path, body)

    async def replace(self, path: str, body: Object) -> Object:
        """Put `body` in the place of the object at `path`."""
        return await self._request("PUT", path, body)

    async def patch(self, path: str, body: Object, kind: str = MERGE) -> Object:
        """Change the object at `path`."""
        return await self._request("PATCH", path, body, content_type=kind)

    async def delete(self, path: str, body: Object | None = None) -> Object:
        """Delete the object at `path`; `body` holds DeleteOptions."""
        return await self._request("DELETE", path, body)

    async def _request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        parameters: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type}
        async with self._session.request(
            method, self.server + path, data=data, params=parameters, headers=headers
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise _error(method, path, answer.status, text)
            return json.loads(text)

    async def watch(self, path: str, version: str, **parameters: str) -> AsyncIterator[tuple[str, Object]]:
        """Events (type, object) after `version`, until the server ends the watch. ApiError 410 when `version` is too old."""
        parameters = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
            **parameters,
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_read=WATCH_SECONDS + REQUEST_SECONDS)
        async with self._session.get(self.server + path, params=parameters, timeout=timeout) as answer:
            if answer.status >= 400:
                raise _error("WATCH", path, answer.status, await answer.text())
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError("WATCH", path, status["code"], status.get("reason", ""), status.get("message", ""))
                yield event["type"], event["object"]


class Cache:
    """All objects of one collection, kept current; `changed(old, new)` is called for each change (None: not there)."""

    def __init__(self, cluster: Cluster, path: str, changed: Callable[[Object | None, Object | None], None]) -> None:
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        self._cluster = cluster
        self._path = path
        self._changed = changed

    def get(self, namespace: str, name: str) -> Object | None:
        """The object of that name; "" is the namespace of cluster-wide objects."""
        return self.objects.get((namespace, name))

    async def run(self) -> None:
        """List and watch without end; what fails is said and tried again."""
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                    self.synced.set()
                async for kind, found in self._cluster.watch(self._path, version):
                    version = found["metadata"]["resourceVersion"]
                    if kind != "BOOKMARK":
                        self._put(key(found), None if kind == "DELETED" else found)
            except ApiError as error:
                if error.status != 410:  # only a version that is too old goes without saying
                    say(f"watching {self._path}: {error}; listing again")
                    await asyncio.sleep(RETRY_SECONDS)
                version = ""
            except (aiohttp.ClientError, TimeoutError) as error:
                say(f"watching {self._path}: {error!r}; trying again")
                await asyncio.sleep(RETRY_SECONDS)

    async def _list(self) -> str:
        answer = await self._cluster.get(self._path)
        found = {key(item): item for item in answer["items"]}
        for gone in self.objects.keys() - found.keys():
            self._put(gone, None)
        for name, item in found.items():
            self._put(name, item)
        return answer["metadata"]["resourceVersion"]

    def _put(self, name: Key, new: Object | None) -> None:
        old = self.objects.get(name)
        if new is None:
            self.objects.pop(name, None)
        else:
            self.objects[name] = new
        if old is None and new is None:
            return
        if old and new and old["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]:
            return
        if old and new and old["metadata"]["uid"] != new["metadata"]["uid"]:  # deleted and made again between two lists
            self._changed(old, None)
            old = None
        self._changed(old, new)


class Tasks:
    """Tasks in the background: kept alive, their failures said, all cancelled at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Any, name: str) -> asyncio.Task[Any]:
        """Run the coroutine `work` beside everything else."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def cancel(self) -> None:
        """Cancel all that run, and wait until they are gone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            say(f"{task.get_name()} failed: {error!r}")
            for line in _trace(error):
                say(f"  {line}")


def key(found: Object) -> Key:
    """Namespace and name of an object."""
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def say(line: str) -> None:
    """One line into the part's log."""
    print(line, file=sys.stdout, flush=True)


@contextlib.contextmanager
def ignore_missing() -> Any:
    """Pass over answers that say the object is gone, or another one of the same name."""
    try:
        yield
    except ApiError as error:
        if error.status not in (404, 409):
            raise


def _trace(error: BaseException) -> list[str]:
    return "".join(traceback.format_exception(error)).rstrip().splitlines()


def _error(method: str, path: str, status: int, text: str) -> ApiError:
    try:
        fields = json.loads(text)
    except json.JSONDecodeError:
        fields = {}
    return ApiError(method, path, status, fields.get("reason", ""), fields.get("message", text.strip()))


def _named(entries: list[Object], name: str) -> Object:
    return next(entry for entry in entries if entry["name"] == name)


def _file(fields: Object, field: str, folder: str) -> str:
    data = fields.get(f"{field}-data")
    if data is None:
        return fields[field]
    path = Path(folder) / field
    path.write_bytes(base64.b64decode(data))
    return str(path)
