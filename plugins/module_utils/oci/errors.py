# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Oracle Cloud or its SDK answered, as a fault.

No traceback reaches the user for anything that the cloud, the network or a configuration file can do.
The error codes are those of https://docs.oracle.com/iaas/Content/API/References/apierrors.htm.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..core.fault import CloudFault, Fault, Refused, unexpected
from ..core.health.launch_errors import LIMIT_CODES, is_out_of_capacity
from ..core.text import TooDeep, read_json

try:
    from oci import exceptions as sdk_exceptions
    from oci._vendor import requests  # whose errors the SDK's signers let through
except ImportError:  # the module reports the missing library before anything here is used
    sdk_exceptions = None

# Of one answer; a page of a list has 1000 entries of a few kB.
MOST_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
# Of the words of a service in a fault.
_MOST_WORDS = 1000

# How a connection error ends inside the texts that urllib3, requests and the SDK put around it.
REASON = re.compile(
    r"\[Errno -?\d+\] [\w ,.-]+|certificate verify failed: [\w ,.-]+|timed out|timeout=\d+"
    r"|Remote end closed connection[\w ]*|Connection (?:aborted|broken|reset)[\w ]*|Unable to connect to proxy"
)


def bound_answers(session: Any) -> None:
    """Let a session of the SDK refuse answers that no service of Oracle Cloud gives: too long, too deep, or elsewhere.

    The SDK would read an answer whole whatever its length, parse it whatever its depth, and follow where it is sent. What is
    asked for as a stream is read, and bounded, by whoever asked.
    """
    for adapter in session.adapters.values():
        adapter.send = functools.partial(_send, adapter.send)


def _send(send: Callable[..., Any], request: Any, stream: bool = False, **options: Any) -> Any:
    response = send(request, stream=True, **options)
    where = f"{request.method} {request.url.partition('?')[0]}"
    if response.is_redirect:
        response.close()
        raise _odd_answer(where, f"HTTP {response.status_code}, a redirect")
    if stream and response.ok:
        return response
    body = bytearray()
    for piece in response.iter_content(_PIECE_BYTES):
        body += piece
        if len(body) > MOST_BYTES:
            response.close()
            raise _odd_answer(where, f"an answer of more than {MOST_BYTES} bytes")
    try:
        read_json(bytes(body))
    except TooDeep as error:
        raise _odd_answer(where, f"an answer of {error}") from None
    except ValueError:
        # The SDK's to tell: not all answers are JSON.
        pass
    # Read to its end it counts as consumed.
    response._content = bytes(body)
    return response


def _odd_answer(where: str, found: str) -> Refused:
    remedy = "check oci_service_endpoint and the proxy: another program answers"
    return Refused([Fault("cloud_answer", where, found, "an answer of Oracle Cloud", remedy)])


def is_service_error(error: BaseException, *statuses: int) -> bool:
    """Tell whether `error` is an answer of a service, with one of `statuses` where any are given."""
    if sdk_exceptions is None or not isinstance(error, sdk_exceptions.ServiceError):
        return False
    return not statuses or error.status in statuses


def is_connection_error(error: BaseException) -> bool:
    """Tell whether no answer came: refused, unreachable, timed out, cut."""
    return (
        sdk_exceptions is not None
        and isinstance(
            error,
            (
                sdk_exceptions.RequestException,
                sdk_exceptions.ConnectTimeout,
                requests.exceptions.ConnectionError,
                requests.exceptions.Timeout,
            ),
        )
    ) or isinstance(error, (ConnectionError, TimeoutError))


def is_ambiguous(error: BaseException) -> bool:
    """Tell whether a request that failed so may still have been carried out."""
    status = getattr(error, "status", None) if is_service_error(error) else None
    return is_connection_error(error) or (status is not None and (status >= 500 or status == -1))


def service_fault(error: Any, doing: str, where: str, policy: str = "", sign_in: str = "") -> CloudFault:
    """The fault of a `ServiceError`.

    doing    what was asked, as a participle: "reading the cluster"
    where    the resource or setting concerned
    policy   the IAM statement's verb and resource type that this call needs, such as "use clusters"
    sign_in  what is known of the sign-in, reported when it was not accepted
    """
    found = f"{doing}: HTTP {error.status} {error.code or ''}".rstrip() + f": {error.message or 'no message'}"
    found = found[:_MOST_WORDS]
    expected, remedy, code = "", "", "cloud_error"
    needed = f"allow the caller to {policy} in the compartment" if policy else "check the caller's policies"
    if error.status == 401:
        code = "cloud_not_authenticated"
        expected = "a signature that OCI accepts"
        remedy = "check user, key, fingerprint, tenancy and the clock (it may be off by 5 minutes at most)"
        remedy += f"; {sign_in}" if sign_in else ""
    elif error.status == 404:
        code = "cloud_not_found_or_not_authorized"
        remedy = f"OCI returns the same for missing and forbidden resources: check the OCID and its region, or {needed}"
    elif error.status == 403:
        code = "cloud_not_authorized"
        remedy = needed
    elif is_out_of_capacity(error.code, error.message):
        code = "cloud_out_of_host_capacity"
        remedy = "try another availability domain or shape, or later"
    elif error.code in LIMIT_CODES:
        code = "cloud_limit_exceeded"
        remedy = "ask for a higher service limit or quota, or use fewer nodes"
    elif error.status in (409, 412):
        code = "cloud_conflict"
        remedy = "another change of the resource is in progress: run again when it has finished"
    elif error.status == 429:
        code = "cloud_too_many_requests"
        remedy = "run again in a few minutes"
    elif error.status >= 500:
        code = "cloud_unavailable"
        remedy = "run again later; with the request id Oracle's support can find the call"
    elif error.status == 400:
        code = "cloud_invalid_request"
    return CloudFault(
        code=code,
        where=where,
        found=found,
        expected=expected,
        remedy=remedy,
        service=error.target_service or "",
        status=error.status,
        request_id=error.request_id or "",
    )


def connection_fault(error: BaseException, doing: str, endpoint: str) -> CloudFault:
    """The fault of a request that got no answer; it names the address that was asked."""
    return CloudFault(
        code="cloud_unreachable",
        where=endpoint,
        found=f"{doing}: no answer ({_reason(error)})",
        expected="an OCI endpoint that answers",
        remedy="check the region, oci_service_endpoint, proxy and network of this machine",
    )


def _reason(error: BaseException) -> str:
    """The operating system's or TLS library's own words, which the SDK wraps in texts about itself."""
    seen = REASON.search(str(error))
    return seen.group(0).strip() if seen else type(error).__name__


@contextmanager
def explained(
    doing: str, where: str, *, policy: str = "", endpoint: str = "", sign_in: str = "", ambiguous_remedy: str = ""
) -> Iterator[None]:
    """Turn what the SDK raises into `Refused`; see `service_fault` for the words.

    endpoint          the address asked, named when nothing answers
    ambiguous_remedy  what to do when it is unknown whether the request was carried out
    """
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        if is_service_error(error):
            fault = service_fault(error, doing, where, policy, sign_in)
        elif is_connection_error(error):
            fault = connection_fault(error, doing, endpoint or where)
        else:
            fault = CloudFault(**unexpected(error, where, doing).as_dict())
        if ambiguous_remedy and is_ambiguous(error):
            fault = CloudFault(**{**fault.as_dict(), "remedy": ambiguous_remedy})
        raise Refused([fault]) from error
