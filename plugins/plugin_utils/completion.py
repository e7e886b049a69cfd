# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asking a served model for a completion, as its users will: by name, with TLS verified, with a key.

The key goes to the one address that was found, and nowhere else: no redirect is followed, no proxy and no netrc is read.
"""

from __future__ import annotations

import functools
import http.client
import json
import socket
import ssl
from dataclasses import dataclass

from ..module_utils.core.credentials import bearer
from ..module_utils.core.fault import Refused
from ..module_utils.core.text import plain, read_json
from ..module_utils.deadline import LONGEST_SECONDS, within

PROMPT = "The capital of France is"
# A first completion may still compile kernels.
SECONDS = 60
# Of the answer to a question for a few tokens.
MOST_BYTES = 1024 * 1024
# How the problem of a certificate begins that is not verified.
NOT_ACCEPTED = "its certificate is not accepted"
# And of a key that whoever answers does not know: the deployment's guard knows it.
NOT_KNOWN = "HTTP 401"
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Reach:
    """How an endpoint is reached: `host` at `address` (a host's name where there is no other) and `port`.

    ca_pem: the authority that its certificate is verified by; None for those of this machine
    """

    scheme: str
    host: str
    address: str
    port: int
    ca_pem: str | None = None

    @property
    def url(self) -> str:
        """The URL by the host's name."""
        return self.at(self.host, self.port)

    def at(self, host: str, port: int) -> str:
        """Return the URL of another host or port."""
        shown = f"[{host}]" if ":" in host else host
        return f"{self.scheme}://{shown}" + ("" if port == _DEFAULT_PORTS[self.scheme] else f":{port}")


class _ByAddress(http.client.HTTPConnection):
    """A connection to the address of a Reach that asks for its host."""

    def __init__(self, reach: Reach, seconds: float) -> None:
        super().__init__(reach.host, reach.port, timeout=seconds)
        self._reach = reach
        self.default_port = _DEFAULT_PORTS[reach.scheme]

    def connect(self) -> None:
        plain = socket.create_connection((self._reach.address, self._reach.port), self.timeout)
        self.sock = plain
        if self._reach.scheme == "https":
            context = ssl.create_default_context(cadata=self._reach.ca_pem)
            # A given authority may be one that another signed; curl and Python 3.13 take it by themselves.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            self.sock = context.wrap_socket(plain, server_hostname=self._reach.host)


def complete(reach: Reach, model: str, api_key: str, tokens: int = 8) -> dict[str, str | None]:
    """Return {text, problem} of one completion: exactly one of them is None. The problem never quotes the key."""
    body = json.dumps({"model": model, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0})
    connection = _ByAddress(reach, SECONDS)

    def ask(headers: dict[str, str]) -> tuple[int, bytes]:
        connection.request("POST", "/v1/completions", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES) if answer.status == 200 else b""

    try:
        headers = {
            "Content-Type": "application/json",
            "Authorization": bearer(api_key, "API key"),
            "User-Agent": "multinode.inference",
        }
        status, content = within(LONGEST_SECONDS, functools.partial(ask, headers))
        if status != 200:
            return {"text": None, "problem": f"HTTP {status}"}
        text = read_json(content)["choices"][0]["text"]
    except Refused as refused:
        return {"text": None, "problem": refused.faults[0].line()}
    except ssl.SSLCertVerificationError as error:
        return {"text": None, "problem": f"{NOT_ACCEPTED}: {error.verify_message}"}
    except (OSError, http.client.HTTPException) as error:
        # Of HTTP's own the type alone: they may quote what was sent.
        said = f": {error}" if isinstance(error, OSError) else ""
        return {"text": None, "problem": f"no answer ({type(error).__name__}{said})"}
    except (ValueError, LookupError, TypeError):
        return {"text": None, "problem": "an answer that is not a completion"}
    finally:
        connection.close()
    if not text or not isinstance(text, str):
        return {"text": None, "problem": "a completion without a token"}
    return {"text": plain(text), "problem": None}
