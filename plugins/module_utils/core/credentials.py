# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a credential becomes a header, and nowhere else: http.client prints the whole of one that it does not take."""

from __future__ import annotations

import re

from .fault import Fault, Refused

# RFC 9110, token68 and what else a bearer may hold: visible ASCII.
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")


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
