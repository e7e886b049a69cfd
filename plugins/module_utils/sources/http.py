# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything that the controller asks over HTTP by itself: bounded in bytes and time, and told to nobody else.

No redirect is followed, no ~/.netrc is read, and what is not encrypted goes through no proxy: each would send a credential, or
a URL that is one, to somebody it is not meant for.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.error
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.urls import ConnectionError as AnsibleConnectionError
from ansible.module_utils.urls import open_url

from ..deadline import LONGEST_SECONDS, within

ATTEMPTS = 4
FIRST_PAUSE = 0.5  # seconds, doubled after each attempt
RETRIED_STATUSES = (408, 429, 500, 502, 503, 504)
USER_AGENT = "multinode.inference"


class Unreachable(Exception):
    """No answer came. Its text is the reason alone; the URL, which may hold a secret, is not in it."""


class TooLarge(Exception):
    """The answer has more bytes than a file of this kind should have."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer of any status. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def get(
    url: str,
    limit: int,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """GET `url` and return the answer, at most `limit` bytes of it.

    Busy and failing services, and connections that break, are tried again within a few seconds.
    """
    pause = FIRST_PAUSE
    for _attempt in range(ATTEMPTS - 1):
        try:
            answer = ask(url, limit, headers, timeout)
            if answer.status not in RETRIED_STATUSES:
                return answer
        except Unreachable:
            pass  # the last attempt reports it
        sleep(pause)
        pause *= 2
    return ask(url, limit, headers, timeout)


def ask(
    url: str, limit: int, headers: Mapping[str, str] | None = None, timeout: float = 30, data: bytes | None = None
) -> Answer:
    """Ask once: GET, or POST of `data`. Raises Unreachable and TooLarge; nothing that either says is of URL or headers."""
    try:
        return within(LONGEST_SECONDS, lambda: _attempt(url, limit, headers or {}, timeout, data))
    except TimeoutError as error:
        raise Unreachable(str(error)) from None


def _attempt(url: str, limit: int, headers: Mapping[str, str], timeout: float, data: bytes | None) -> Answer:
    try:
        try:
            response = open_url(
                url,
                method="GET" if data is None else "POST",
                data=data,
                headers=dict(headers),
                timeout=timeout,
                follow_redirects="none",
                http_agent=USER_AGENT,
                use_netrc=False,
                use_proxy=url.startswith("https://"),
            )
            status = response.status
        except urllib.error.HTTPError as error:
            response, status = error, error.code
        return _answer(response, status, limit)
    except (TooLarge, Unreachable):
        raise
    # ValueError: a URL or an answer that http.client cannot take, UnicodeError among them; the last two: of gzip.
    except (AnsibleConnectionError, OSError, http.client.HTTPException, ValueError, EOFError, zlib.error) as error:
        raise Unreachable(_reason(error)) from None


def _answer(response: Any, status: int, limit: int) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    body = response.read(limit + 1)
    if len(body) > limit:
        raise TooLarge(f"more than {limit} bytes")
    length = headers.get("content-length") or ""
    if "content-encoding" not in headers and length.isdecimal() and len(body) < int(length[:20]):
        raise Unreachable("the answer was cut short")  # http.client says nothing of it
    return Answer(status, headers, body)


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    inner = reason if isinstance(reason, BaseException) else error
    if isinstance(inner, (socket.timeout, TimeoutError)):
        return "timed out"
    if isinstance(inner, ssl.SSLError):
        return f"TLS: {getattr(inner, 'verify_message', '') or inner.reason or 'handshake failed'}"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    # Other texts (http.client.InvalidURL) may quote the URL.
    return type(inner).__name__
