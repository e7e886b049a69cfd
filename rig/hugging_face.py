# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the Hugging Face Hub: repositories with branches and commits, read over HTTPS by pods and by this machine.

A test that needs one starts it (`with Hub(rig).running() as hub`). Facts imitated, those that the client
huggingface_hub goes by, which `rig/tests/e2e/test_hugging_face.py` drives against it:
- GET /api/models/<repository>/revision/<revision>?blobs=true lists the files (siblings: rfilename, size, blobId, and lfs with
  sha256, size and pointerSize for large files), and says which commit (sha) a branch names; without blobs no sizes
- HEAD or GET /<repository>/resolve/<revision>/<file>: 302 to a signed link of another host for a large file, with
  X-Repo-Commit, X-Linked-Size and X-Linked-Etag (its SHA-256); 307 to a relative address of the Hub for a small one
- a signed link holds for a while; who sends an Authorization header along is refused, as an S3 store does
- single ranges
- X-Error-Code: RepoNotFound (401 without a token, 404 with one), RevisionNotFound and EntryNotFound (404), GatedRepo
  (401 without a token, 403 with one that may not). The files of a gated repository are listed to everybody. A token that is
  no token: 401 with X-Error-Message alone
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rig.configuration import Rig

LARGE_BYTES = 10_000
"""Files of this size and more are in large file storage; on the Hub what a repository's .gitattributes says."""
LINK_SECONDS = 3600.0
_LISTING = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?")
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_CACHED = re.compile(r"/api/resolve-cache/models/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclasses.dataclass
class Repository:
    """A model repository: the files of each commit, and the commit that each branch names. `gated`: who may read it."""

    commits: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=dict)
    branches: dict[str, str] = dataclasses.field(default_factory=dict)
    gated: bool = False
    readers: set[str] = dataclasses.field(default_factory=set)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Put `files` on a branch and return the commit."""
        digest = hashlib.sha1(f"{branch} {len(self.commits)}".encode())
        for name, content in sorted(files.items()):
            digest.update(name.encode() + hashlib.sha256(content).digest())
        commit = digest.hexdigest()
        self.commits[commit] = dict(files)
        self.branches[branch] = commit
        return commit

    def named(self, revision: str) -> str | None:
        """Return the commit that a branch or a commit names."""
        return self.branches.get(revision) or (revision if revision in self.commits else None)


@dataclasses.dataclass(frozen=True)
class Request:
    """One request that was answered; `store`: of a link to large file storage."""

    method: str
    path: str
    token: str | None
    store: bool


class Hub:
    """The stand-in at `url`; `authority` is the file with the certificate that signs its own."""

    def __init__(self, rig: Rig) -> None:
        self.repositories: dict[str, Repository] = {}
        self.tokens: set[str] = set()
        self.requests: list[Request] = []
        self.authority = rig.kubernetes.pki / "ca.crt"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # The API server's certificate is for the address that pods see this machine at, too.
        context.load_cert_chain(rig.kubernetes.pki / "apiserver.crt", rig.kubernetes.pki / "apiserver.key")
        self._hub = _server(rig.network.address, context, self, store=False)
        self._store = _server(rig.network.address, context, self, store=True)
        self.url = f"https://{rig.network.address}:{self._hub.server_address[1]}"
        self._links = f"https://{rig.network.address}:{self._store.server_address[1]}"
        self._blobs: dict[str, bytes] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[Hub]:
        """Serve until the block ends."""
        threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in (self._hub, self._store)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for server in (self._hub, self._store):
                server.shutdown()
                server.server_close()
            for thread in threads:
                thread.join(5)

    # --- the Hub --------------------------------------------------------------------------------------------------

    def answer(self, request: Handler, path: str, query: dict[str, list[str]], token: str | None) -> None:
        """Answer one request to the Hub itself."""
        if token is not None and token not in self.tokens:
            request.refuse(401, "", "Invalid credentials in Authorization header")
        elif match := _LISTING.fullmatch(path):
            self._list(request, match[1], match[2] or "main", "blobs" in query, token)
        elif match := _RESOLVE.fullmatch(path):
            self._resolve(request, (match[1], match[2], match[3]), token)
        elif match := _CACHED.fullmatch(path):
            found = self._file(request, (match[1], match[2], match[3]), token)
            if found:
                request.send(found[1], {"X-Repo-Commit": found[0], "ETag": f'"{_blob_id(found[1])}"'})
        else:
            request.refuse(404, "", "Not Found")

    def _list(self, request: Handler, name: str, revision: str, blobs: bool, token: str | None) -> None:
        repository = self._repository(request, name, token)
        if repository is None:
            return
        commit = repository.named(revision)
        if commit is None:
            request.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        siblings: list[dict[str, Any]] = []
        for file, content in sorted(repository.commits[commit].items()):
            entry: dict[str, Any] = {"rfilename": file}
            if blobs:
                entry |= {"size": len(content), "blobId": _blob_id(content)}
            if blobs and len(content) >= LARGE_BYTES:
                entry["lfs"] = {"sha256": _sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        gated = "manual" if repository.gated else False
        answer = {"_id": _blob_id(name.encode())[:24], "id": name, "modelId": name, "sha": commit, "private": False}
        request.send(json.dumps({**answer, "gated": gated, "siblings": siblings}).encode(), {})

    def _resolve(self, request: Handler, place: tuple[str, str, str], token: str | None) -> None:
        found = self._file(request, place, token)
        if found is None:
            return
        commit, content = found
        headers = {"X-Repo-Commit": commit}
        if len(content) < LARGE_BYTES:
            location = f"/api/resolve-cache/models/{place[0]}/{commit}/{place[2]}"
            request.send(b"", {**headers, "Location": location, "ETag": f'"{_blob_id(content)}"'}, status=307)
            return
        digest = _sha256(content)
        self._blobs[digest] = content
        link = f"{self._links}/{digest}?Expires={time.time() + LINK_SECONDS:.0f}&Signature={digest[:8]}"
        linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{digest}"'}
        request.send(b"", {**headers, **linked, "Location": link}, status=302)

    def _file(self, request: Handler, place: tuple[str, str, str], token: str | None) -> tuple[str, bytes] | None:
        """Return commit and content of a file; None where the request was refused."""
        repository = self._repository(request, place[0], token)
        if repository is None:
            return None
        if repository.gated and token not in repository.readers:
            words = f"Access to model {place[0]} is restricted."
            request.refuse(401 if token is None else 403, "GatedRepo", words)
            return None
        commit = repository.named(place[1])
        if commit is None:
            request.refuse(404, "RevisionNotFound", f"Invalid rev id: {place[1]}")
            return None
        content = repository.commits[commit].get(place[2])
        if content is None:
            request.refuse(404, "EntryNotFound", "Entry not found")
            return None
        return commit, content

    def _repository(self, request: Handler, name: str, token: str | None) -> Repository | None:
        if name not in self.repositories:
            request.refuse(401 if token is None else 404, "RepoNotFound", "Repository not found")
        return self.repositories.get(name)

    # --- large file storage ---------------------------------------------------------------------------------------

    def answer_link(self, request: Handler, path: str, query: dict[str, list[str]], token: str | None) -> None:
        """Answer one request to a signed link."""
        content = self._blobs.get(path.strip("/"))
        if token is not None:
            request.refuse(400, "", "Only one auth mechanism allowed")
        elif content is None or time.time() > float(query.get("Expires", ["0"])[0]) or "Signature" not in query:
            request.refuse(403, "", "Access denied")
        else:
            request.send(content, {"ETag": f'"{_sha256(content)[:32]}"'})


class Handler(BaseHTTPRequestHandler):
    """Reads one request and writes its answer."""

    protocol_version = "HTTP/1.1"
    hub: Hub
    store: bool

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        given = self.headers.get("Authorization")
        token = given.removeprefix("Bearer ") if given else None
        self.hub.requests.append(Request(self.command, path, token, self.store))
        answer = self.hub.answer_link if self.store else self.hub.answer
        answer(self, path, query, token)

    do_HEAD = do_GET

    def send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        """Send `content`, or the one range of it that was asked for."""
        length, body = len(content), content
        match = _RANGE.fullmatch(self.headers.get("Range", "")) if status == 200 else None
        if match:
            first, last = int(match[1]), min(int(match[2] or length - 1), length - 1)
            if first >= length:
                self.refuse(416, "", "Requested range not satisfiable")
                return
            status, body = 206, content[first : last + 1]
            headers = {**headers, "Content-Range": f"bytes {first}-{last}/{length}"}
        self.send_response(status)
        for name, value in {"Accept-Ranges": "bytes", **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, message: str) -> None:
        """Send an error as the Hub does: what it is stands in headers."""
        body = json.dumps({"error": message}).encode()
        self.send_response(status)
        for name, value in {"X-Error-Code": code, "X-Error-Message": message}.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """The requests are kept instead."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that went away."""


def _server(address: str, context: ssl.SSLContext, hub: Hub, store: bool) -> ThreadingHTTPServer:
    handler = type("BoundHandler", (Handler,), {"hub": hub, "store": store})
    server = _Server((address, 0), handler)
    # The handshake belongs into the connection's own thread.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _blob_id(content: bytes) -> str:
    """The id that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
