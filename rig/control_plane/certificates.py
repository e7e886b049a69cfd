# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates of one rig: an authority of its own and what it signs, all on curve P-256 (made in a moment).

They have the key identifiers that strict verifiers ask for (X509_V_FLAG_X509_STRICT, the default since Python 3.13).
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = datetime.timedelta(days=30)
CLIENTS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet-client": ("kube-apiserver-kubelet-client", "system:masters"),
}
"""File name of each client certificate, with the user and the group that it names."""


def write_certificates(folder: Path, domain: str, addresses: list[str]) -> None:
    """Write ca, apiserver, kubelet and client certificates with their keys, and the service accounts' key pair `sa`.

    `addresses` are those under which the API server and the kubelet API are reached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("multinode-inference rig", "")
    authority = (
        _builder(authority_name, authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    _write(folder, "ca", authority_key, authority)
    service = "kubernetes.default.svc"
    names = ["localhost", "kubernetes", "kubernetes.default", service, f"{service}.{domain}"]
    subjects = {name: (*subject, ExtendedKeyUsageOID.CLIENT_AUTH) for name, subject in CLIENTS.items()}
    subjects["apiserver"] = ("kube-apiserver", "", ExtendedKeyUsageOID.SERVER_AUTH)
    subjects["kubelet"] = ("kubelet", "", ExtendedKeyUsageOID.SERVER_AUTH)
    for name, (user, group, purpose) in subjects.items():
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(user, group), authority_name, key)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if purpose == ExtendedKeyUsageOID.SERVER_AUTH:
            alternatives = [x509.DNSName(text) for text in names]
            alternatives += [x509.IPAddress(ipaddress.ip_address(text)) for text in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        _write(folder, name, key, builder.sign(authority_key, hashes.SHA256()))
    accounts = ec.generate_private_key(ec.SECP256R1())
    _write_private(folder / "sa.key", accounts)
    (folder / "sa.pub").write_bytes(
        accounts.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _name(user: str, group: str) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _write_private(folder / f"{name}.key", key)


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(encoded)
