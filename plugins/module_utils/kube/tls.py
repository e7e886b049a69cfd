# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why TLS with an API server fails, told as a fault of its own: nothing that is tried again would help."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from ..core.fault import Fault

# What only strict verification (X509_V_FLAG_X509_STRICT) objects to, in OpenSSL's words (crypto/x509/x509_txt.c).
_STRICT = (
    "Missing Authority Key Identifier",
    "Missing Subject Key Identifier",
    "Basic Constraints of CA cert not marked critical",
    "CA cert does not include key usage extension",
    "Path length given without key usage keyCertSign",
)
_ANOTHER_AUTHORITY = (
    "unable to get local issuer certificate",
    "self-signed certificate",
    "certificate signature failure",
)


def tls_fault(host: str, error: BaseException) -> Fault | None:
    """Return what is wrong with the TLS of the API server at `host`; None where the error is not about TLS."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            words = str(cause.verify_message)
            return Fault(
                "tls",
                f"Kubernetes API {host}",
                f"its certificate is refused: {words}",
                "a certificate that the authority of the kubeconfig, or of OKE, signed for this address",
                _remedy(words),
            )
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return Fault(
                "tls",
                f"Kubernetes API {host}",
                f"no TLS with it: {cause.reason or cause}",
                "an API server that speaks TLS 1.2 or newer there",
                "check the address and its port; a proxy in between may speak another protocol",
            )
    return None


def _remedy(words: str) -> str:
    if any(reason in words for reason in _STRICT):
        return (
            "Python 3.13 and newer verify strictly, and the authorities of some clusters were made without what that asks for: "
            "set kubernetes_strict_tls: false (signature, dates and name are checked all the same), or have the cluster's "
            "authority renewed"
        )
    if any(reason in words for reason in _ANOTHER_AUTHORITY):
        return "take the kubeconfig again: its authority is another cluster's, or a proxy ends TLS in between"
    if "mismatch" in words or "not valid for" in words:
        return "use an address that the certificate names"
    if "expired" in words or "not yet valid" in words:
        return "check this machine's clock; else have the cluster's certificate renewed"
    return "see the certificate with `openssl s_client -connect`"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised for, as urllib3 nests them."""
    seen: set[int] = set()
    following: list[BaseException] = [error]
    while following:
        cause = following.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        nested = (getattr(cause, "reason", None), cause.__cause__, cause.__context__, *cause.args)
        following += [entry for entry in nested if isinstance(entry, BaseException)]
