# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Credentials: where one becomes a header (http.client prints the whole of one that it does not take), and where one does not belong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .fault import Fault, Refused

# RFC 9110, token68 and what else a bearer may hold: visible ASCII.
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
# https://<host>/p/<secret>/n/<namespace>/b/<bucket>/o/ (OCI Object Storage, pre-authenticated requests).
_REQUEST_URL = re.compile(r"/p/[^/\s]+/n/[^/\s]+/b/")


def header_value(credential: str, where: str, exact: bool = False) -> str:
    """Return a credential as an HTTP header can have it: without the white space around it. Raises Refused.

    where  what the reader knows the credential by. The credential itself is in no message.
    exact  whether white space around it is refused: others, who would not take it off, send the same credential
    """
    value = credential.strip()
    if _HEADER_VALUE.fullmatch(value) and (value == credential or not exact):
        return value
    found = "a line break, a space or a character outside ASCII in it" if value else "empty"
    raise Refused([Fault("credential_malformed", where, found, "one line of visible characters", "copy it again")])


def bearer(token: str, where: str, exact: bool = False) -> str:
    """Return the Authorization header of a request that is signed in by a token; see `header_value`."""
    return f"Bearer {header_value(token, where, exact)}"


def places_of_requests(value: Any, where: str = "") -> Iterator[str]:
    """Yield where in `value` (plain data) the URL of a pre-authenticated request stands, which is a secret as a whole."""
    if isinstance(value, str):
        if _REQUEST_URL.search(value):
            yield where
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from places_of_requests(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, Sequence):
        for number, inner in enumerate(value):
            yield from places_of_requests(inner, f"{where}[{number}]")
