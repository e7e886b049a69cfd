# SPDX-License-Identifier: GPL-3.0-or-later
"""What all services of the stand-in share: operations, their calls and answers, pages, etags and retry tokens.

Facts imitated:
- pages: `limit` (1 to 1000) and `page`; the header opc-next-page leads on, its absence ends; filters act after the page
  is cut, so that a page can be short or empty and still have a next one;
- if-match with another than the current etag is 412 NoEtagMatch;
- the same opc-retry-token (valid for 24 hours) is answered with what the first call was answered, and carries nothing
  out; with another body it is 409 InvalidatedRetryToken.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import unquote

from aiohttp import web

from rig.oci import errors
from rig.oci.state import Tenancy, now

PAGE_SIZE = 20
MAXIMUM_LIMIT = 1000
RETRY_TOKEN_LIFE = timedelta(hours=24)

Item = TypeVar("Item")


@dataclasses.dataclass
class Content:
    """A part of a file on disk, to be sent without holding it in memory."""

    path: str
    start: int
    length: int


@dataclasses.dataclass
class Answer:
    """What a service answers: JSON in `body`, or a text, or the `content` of a file."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    text: str | None = None
    content: Content | None = None


@dataclasses.dataclass
class Call:
    """One request to an operation. `tenancy` is the caller's (of a pre-authenticated request: the bucket's)."""

    operation: Operation
    request: web.Request
    parameters: dict[str, str]
    tenancy: Tenancy
    request_id: str
    raw_body: bytes = b""
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    """what the call log shall hold beside the ordinary"""

    def query(self, name: str, default: str | None = None) -> str | None:
        return self.request.query.get(name, default)

    def required(self, name: str) -> str:
        """A query parameter that must be given."""
        value = self.request.query.get(name)
        if not value:
            raise errors.missing_parameter(name)
        return value

    def number(self, name: str, default: int | None = None) -> int | None:
        value = self.request.query.get(name)
        if value is None:
            return default
        if not re.fullmatch(r"-?\d+", value):
            raise errors.invalid_parameter(f"{name} is {value!r}; expected a whole number")
        return int(value)

    def header(self, name: str) -> str | None:
        return self.request.headers.get(name)

    def json(self) -> dict[str, Any]:
        """The request's body, an object."""
        try:
            body = json.loads(self.raw_body or b"{}")
        except ValueError as error:
            raise errors.cannot_parse(f"The body is no JSON: {error}") from None
        if not isinstance(body, dict):
            raise errors.cannot_parse("The body is no JSON object.")
        return body

    def compartment(self, *, root: bool = False) -> str:
        """The query's compartmentId, which must be the caller's; with `root` the tenancy itself will do, too."""
        ocid = self.required("compartmentId")
        allowed = [self.tenancy.compartment_id] + ([self.tenancy.tenancy_id] if root else [])
        if ocid not in allowed:
            raise errors.not_found()
        return ocid


Handler = Callable[[Call], Awaitable[Answer]]


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of a service; `{name}` in `path` stands for one segment, `{name*}` for the rest of the path."""

    service: str
    name: str
    method: str
    path: str
    handler: Handler
    owner: Callable[[Call], Tenancy] | None = None
    """finds the tenancy of an operation that needs no signature; None: the caller signs"""
    takes_bytes: bool = False
    """the body is content that the handler reads itself"""

    def match(self, method: str, raw_path: str) -> dict[str, str] | None:
        """The path's parameters, decoded, when this operation is meant."""
        if method != self.method:
            return None
        match = _pattern(self.path).fullmatch(raw_path)
        return {name: unquote(value) for name, value in match.groupdict().items()} if match else None


class Operations:
    """The operations of all services."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []

    def add(self, service: str, name: str, method: str, path: str, handler: Handler, **options: Any) -> None:
        self._operations.append(Operation(service, name, method, path, handler, **options))

    def find(self, method: str, raw_path: str) -> tuple[Operation, dict[str, str]]:
        """The operation of a request, and the parameters in its path."""
        for operation in self._operations:
            parameters = operation.match(method, raw_path)
            if parameters is not None:
                return operation, parameters
        if any(operation.match(operation.method, raw_path) is not None for operation in self._operations):
            raise errors.method_not_allowed(method)
        raise errors.no_such_operation(method, raw_path)


_patterns: dict[str, re.Pattern[str]] = {}


def _pattern(path: str) -> re.Pattern[str]:
    if path not in _patterns:
        expression = re.sub(r"\\\{(\w+)(\\\*)?\\\}", _group, re.escape(path))
        _patterns[path] = re.compile(expression, re.DOTALL)
    return _patterns[path]


def _group(match: re.Match[str]) -> str:
    return f"(?P<{match[1]}>.+)" if match[2] else f"(?P<{match[1]}>[^/]+)"


def page(
    call: Call, items: Iterable[Item], keep: Callable[[Item], bool] = lambda item: True
) -> tuple[list[Item], dict[str, str]]:
    """One page of `items`, and the headers that lead to the next."""
    everything = list(items)
    limit = call.number("limit", PAGE_SIZE) or 0
    if not 1 <= limit <= MAXIMUM_LIMIT:
        raise errors.invalid_parameter(f"limit is {limit}; expected 1 to {MAXIMUM_LIMIT}")
    start = _page_start(call.query("page"))
    headers = {}
    if start + limit < len(everything):
        headers["opc-next-page"] = base64.urlsafe_b64encode(f"page:{start + limit}".encode()).decode().rstrip("=")
    return [item for item in everything[start : start + limit] if keep(item)], headers


def _page_start(token: str | None) -> int:
    if not token:
        return 0
    try:
        word, number = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode().split(":")
        if word == "page":
            return int(number)
    except ValueError:
        pass
    raise errors.invalid_parameter("page is no token of a list operation")


def check_if_match(call: Call, etag: str) -> None:
    """412 when the caller acts on another version of the resource."""
    given = call.header("if-match")
    if given is not None and given not in (etag, "*"):
        raise errors.no_etag_match(given)


async def once(call: Call, carry_out: Callable[[], Awaitable[Answer]]) -> Answer:
    """Carry a create operation out, or repeat the answer where its opc-retry-token was seen before."""
    token = call.header("opc-retry-token")
    if not token:
        return await carry_out()
    digest = hashlib.sha256(call.raw_body).hexdigest()
    key = (call.operation.name, token)
    seen = call.tenancy.retry_tokens.get(key)
    if seen and now() - seen[0] < RETRY_TOKEN_LIFE:
        if seen[1] != digest:
            raise errors.invalidated_retry_token()
        call.details["replayed"] = True
        return seen[2]
    answer = await carry_out()
    call.tenancy.retry_tokens[key] = (now(), digest, answer)
    return answer
