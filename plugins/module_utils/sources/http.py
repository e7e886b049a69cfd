# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Small HTTP reads: bounded, tried again where that helps, never following a redirect by themselves."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.urls import ConnectionError as AnsibleConnectionError
from ansible.module_utils.urls import open_url

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
            answer = _get_once(url, limit, headers or {}, timeout)
            if answer.status not in RETRIED_STATUSES:
                return answer
        except Unreachable:
            pass  # the last attempt reports it
        sleep(pause)
        pause *= 2
    return _get_once(url, limit, headers or {}, timeout)


def _get_once(url: str, limit: int, headers: Mapping[str, str], timeout: float) -> Answer:
    try:
        try:
            # use_netrc would send a machine's stored password along with a pre-authenticated URL.
            response = open_url(
                url,
                headers=dict(headers),
                timeout=timeout,
                follow_redirects="none",
                http_agent=USER_AGENT,
                use_netrc=False,
            )
            status = response.status
        except urllib.error.HTTPError as error:
            response, status = error, error.code
        return _answer(response, status, limit)
    except (urllib.error.URLError, AnsibleConnectionError, OSError, http.client.HTTPException) as error:
        raise Unreachable(_reason(error)) from None


def _answer(response: Any, status: int, limit: int) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    body = response.read(limit + 1)
    if len(body) > limit:
        raise TooLarge(f"more than {limit} bytes")
    if "content-encoding" not in headers and len(body) < int(headers.get("content-length") or 0):
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
