# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Certificates of endpoints: an authority of the deployment's own, what it signs, and what is wrong with a given one.

Strict verifiers (OpenSSL's X509_V_FLAG_X509_STRICT, Python 3.13's default) ask for the key identifiers and usages that are set here.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from ...module_utils.core.fault import Fault, Refused

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:  # reported where one is needed
    MISSING: ImportError | None = error
    _UNREADABLE: tuple[type[Exception], ...] = (LookupError, ValueError, TypeError)
else:
    MISSING = None
    # By which a certificate or key is missing, or the library refuses it; parts are read when they are asked for.
    _UNREADABLE = (
        LookupError,
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.UnsupportedGeneralNameType,
    )

# Browsers take no certificate of more than 398 days.
LEAF_DAYS, AUTHORITY_DAYS = 365, 3650
RENEW_DAYS = 30
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"
_BITS = 2048
_DAY = datetime.timedelta(days=1)
# A clock of somebody else may be a little behind.
_EARLIER = datetime.timedelta(hours=1)


def new_authority(name: str, now: datetime.datetime) -> dict[str, str]:
    """Return certificate and key of a new authority (PEM), as a Secret of type kubernetes.io/tls holds them."""
    key = rsa.generate_private_key(65537, _BITS)
    subject = _name(f"{name} endpoint authority")
    usage = _usage(sign_certificates=True)
    made = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return {CERTIFICATE: _pem(made), KEY: _key_pem(key)}


def issue(authority: Mapping[str, str], names: Iterable[str], now: datetime.datetime) -> dict[str, str]:
    """Return certificate, key and authority's certificate (PEM) for hosts and addresses, signed by the authority."""
    issuer, issuer_key = _load(authority[CERTIFICATE]), _load_key(authority[KEY])
    names = list(names)
    key = rsa.generate_private_key(65537, _BITS)
    public = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    made = (
        # A common name has 64 characters at most; verifiers ignore it (RFC 9525).
        _builder(_name(names[0][:64]), issuer.subject, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(public), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return {CERTIFICATE: _pem(made), KEY: _key_pem(key), AUTHORITY: authority[CERTIFICATE]}


def is_authority(data: Mapping[str, str], now: datetime.datetime) -> bool:
    """Say whether a Secret's data is an authority that outlives a certificate that it signs now."""
    try:
        certificate, key = _load(data[CERTIFICATE]), _load_key(data[KEY])
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        # A certificate is issued by it: all that this reads has to be there.
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        lasting = certificate.not_valid_after_utc > now + LEAF_DAYS * _DAY
        own = certificate.issuer == certificate.subject and certificate.public_key() == key.public_key()
    except _UNREADABLE:
        return False
    return bool(constraints.ca and lasting and own and isinstance(key, rsa.RSAPrivateKey))


def renewal(
    data: Mapping[str, str], authority: Mapping[str, str], names: Iterable[str], now: datetime.datetime
) -> str | None:
    """Return why a certificate has to be made: words for a line of the log; None where it is good."""
    try:
        certificate, key = _load(data[CERTIFICATE]), _load_key(data[KEY])
        certificate.verify_directly_issued_by(_load(authority[CERTIFICATE]))
        pair = certificate.public_key() == key.public_key()
        lacking = _lacking(certificate, names)
        left = certificate.not_valid_after_utc - now
    except _UNREADABLE:
        return "there is none yet" if CERTIFICATE not in data else "it is not of the deployment's authority"
    except InvalidSignature:
        return "it is not of the deployment's authority"
    if not pair or data.get(AUTHORITY) != authority[CERTIFICATE]:
        return "its key or its authority is another's"
    if lacking:
        return f"it is not for {', '.join(lacking)}"
    return f"it expires in {left.days} days" if left < RENEW_DAYS * _DAY else None


def wrong_with(
    data: Mapping[str, str] | None, place: str, secret: str, names: Iterable[str], now: datetime.datetime
) -> tuple[list[Fault], list[Fault]]:
    """Return what is wrong with a given certificate: faults, and warnings. `names` are the hosts it has to be for."""

    def fault(code: str, found: str, expected: str, remedy: str) -> Fault:
        return Fault(code, place, f"Secret {secret}: {found}", expected, remedy)

    make = f"kubectl create secret tls {secret} --cert ... --key ... --namespace ..."
    if data is None:
        return [fault("secret_missing", "not there", "a Secret of type kubernetes.io/tls", make)], []
    try:
        certificate, key = _load(data[CERTIFICATE]), _load_key(data[KEY])
        pair, held = certificate.public_key() == key.public_key(), sorted(names_of(certificate))
        broken = _broken_chain(data) if pair else None
        of_another = any(other.public_key() == key.public_key() for other in _chain(data[CERTIFICATE])[1:])
        begins, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except KeyError as missing:
        return [fault("secret_key_missing", f"no {missing.args[0]} in it", f"{CERTIFICATE} and {KEY}", make)], []
    except _UNREADABLE:
        return [
            fault(
                "certificate_unreadable", "no PEM certificate and key in it", "both, the key without pass phrase", make
            )
        ], []
    faults, warnings = [], []
    if not pair:
        if of_another:
            found = "the certificate of its key is not the first"
            faults.append(fault("certificate_chain", found, "it first, then the one that signed it, and so on", make))
        else:
            faults.append(fault("certificate_key", "the key is not the certificate's", "a pair", make))
    elif broken:
        faults.append(fault(broken[0], broken[1], broken[2], make))
    left = until - now
    if left <= datetime.timedelta(0):
        faults.append(
            fault("certificate_expired", f"expired on {until:%Y-%m-%d}", "a certificate that is valid", "renew it")
        )
    elif left < RENEW_DAYS * _DAY:
        warnings.append(expiring(place, until, now))
    if begins > now:
        faults.append(
            fault(
                "certificate_early",
                f"not valid before {begins:%Y-%m-%d %H:%M} UTC",
                "a certificate that is valid",
                "wait, or make another",
            )
        )
    if lacking := _lacking(certificate, names):
        found = f"for {', '.join(held) or 'no host'}"
        remedy = "make one for both hosts, or set service_endpoint_domain"
        faults.append(fault("certificate_names", found, f"for {', '.join(lacking)} as well", remedy))
    return faults, warnings


def _broken_chain(data: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return code, finding and expectation where the certificates of a Secret do not lead to one another; None where they do."""
    chain = _chain(data[CERTIFICATE])
    for signed, signer in zip(chain, chain[1:], strict=False):
        if not _signed_by(signed, signer):
            found = f"{_subject(signer)} follows {_subject(signed)}, which it has not signed"
            return "certificate_chain", found, "the host's certificate, then the one that signed it, and so on"
    if not data.get(AUTHORITY, "").strip():
        return None
    try:
        authorities = _chain(data[AUTHORITY])
    except _UNREADABLE:
        return "certificate_authority", f"no PEM certificate in {AUTHORITY}", "the authority's, or none"
    if any(one in authorities or any(_signed_by(one, other) for other in authorities) for one in chain):
        return None
    names = ", ".join(map(_subject, authorities))
    return "certificate_authority", f"{AUTHORITY} holds {names}, which has not signed it", "the authority that has"


def expiring(place: str, until: datetime.datetime, now: datetime.datetime) -> Fault:
    """Return the warning of a certificate that is to be renewed."""
    left = (until - now).days
    found = (
        f"the certificate expires in {left} days, on {until:%Y-%m-%d}"
        if left >= 0
        else f"the certificate expired on {until:%Y-%m-%d}"
    )
    return Fault(
        "certificate_expires", place, found, f"{RENEW_DAYS} days and more", "renew it; deploy renews one of its own"
    )


def until(pem: str) -> datetime.datetime | None:
    """Return when the first certificate of a PEM text expires; None where there is none."""
    try:
        found: datetime.datetime = _load(pem).not_valid_after_utc
    except _UNREADABLE:
        return None
    return found


def own_root(pem: str) -> str | None:
    """Return the last certificate of a chain where it signed itself; None where another authority did, or none can be read."""
    try:
        last = _chain(pem)[-1]
        return _pem(last) if last.issuer == last.subject else None
    except _UNREADABLE:
        return None


def names_of(certificate: Any) -> set[str]:
    """Return the hosts and addresses that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = {str(address) for address in found.get_values_for_type(x509.IPAddress)}
    return {name.lower() for name in found.get_values_for_type(x509.DNSName)} | addresses


def _lacking(certificate: Any, names: Iterable[str]) -> list[str]:
    held = names_of(certificate)
    # A wildcard stands for one label (RFC 9525).
    return [name for name in names if name not in held and f"*.{name.partition('.')[2]}" not in held]


def _need_library() -> None:
    if MISSING:
        raise Refused(
            [Fault("library", "Python", "no library `cryptography`", "42 or newer", "pip install -r requirements.txt")]
        )


def _name(common_name: str) -> Any:
    _need_library()
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: Any, issuer: Any, public: Any, now: datetime.datetime, days: int) -> Any:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + days * _DAY)
    )


def _usage(sign_certificates: bool) -> Any:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_encipherment=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> Any:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _load(pem: str) -> Any:
    _need_library()
    return x509.load_pem_x509_certificate(pem.encode())


def _chain(pem: str) -> list[Any]:
    """Return the certificates of a PEM text, one at least. Raises ValueError."""
    _need_library()
    return list(x509.load_pem_x509_certificates(pem.encode()))


def _signed_by(certificate: Any, other: Any) -> bool:
    try:
        certificate.verify_directly_issued_by(other)
    except InvalidSignature:
        return False
    except _UNREADABLE:
        return False
    return True


def _subject(certificate: Any) -> str:
    return f"`{certificate.subject.rfc4514_string()}`"


def _load_key(pem: str) -> Any:
    return serialization.load_pem_private_key(pem.encode(), password=None)


def _pem(certificate: Any) -> str:
    return str(certificate.public_bytes(serialization.Encoding.PEM).decode())


def _key_pem(key: Any) -> str:
    # PKCS #1: the form that every load balancer takes.
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return str(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode())


def readable(pem: str) -> bool:
    """Say whether a text is one or more PEM certificates."""
    try:
        return bool(_chain(pem))
    except ValueError:
        return False
