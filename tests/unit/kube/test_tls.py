# SPDX-License-Identifier: GPL-3.0-or-later
"""A TLS failure is told as one, with what to do; a real handshake each, verified as Python 3.13 does by default."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.kube.client import connect

DAY = datetime.timedelta(days=1)


class Authority:
    """An authority, whose certificates have no key identifiers unless asked for."""

    def __init__(self, folder: Path, name: str = "cluster") -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        made = made.add_extension(x509.KeyUsage(*[False] * 5, True, True, False, False), True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False)
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, age: datetime.timedelta = DAY
    ) -> x509.CertificateBuilder:
        begin = datetime.datetime.now(datetime.timezone.utc) - age
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + 2 * DAY)
        )

    def sign(self, *, identified: bool = True, address: str = "127.0.0.1", age: datetime.timedelta = DAY) -> Path:
        """A file with a certificate for the address, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = self._builder(name, key, age).add_extension(names, False)
        if identified:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(issuer, False)
        path = self._folder / "server.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        made = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        path.write_bytes(private + made)
        return path


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"major": "1"}')

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def serve() -> Iterator[Any]:
    """Starts an API server with a certificate, or without TLS, and returns its port."""
    servers = []

    def start(certificate: Path | None) -> int:
        server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def as_python_3_13(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = urllib3.util.ssl_.create_urllib3_context

    def strictly(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = made(*arguments, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(urllib3.util.ssl_, "create_urllib3_context", strictly)
    monkeypatch.setenv("HOME", str(tmp_path))


def ask(port: int, authority: Authority, strict: bool = True) -> Any:
    host = f"https://127.0.0.1:{port}"
    return connect(host=host, api_key="a-token", ca_cert=str(authority.file), strict=strict).get("/version")


def fault_of(port: int, authority: Authority) -> Fault:
    with pytest.raises(Refused) as refused:
        ask(port, authority)
    (fault,) = refused.value.faults
    assert fault.code == "tls"
    return fault


def test_a_certificate_as_strict_verifiers_want_it_is_taken(tmp_path: Path, serve: Any) -> None:
    authority = Authority(tmp_path)
    assert ask(serve(authority.sign()), authority) == {"major": "1"}


def test_without_key_identifiers_the_setting_is_named_and_helps(tmp_path: Path, serve: Any) -> None:
    authority = Authority(tmp_path)
    port = serve(authority.sign(identified=False))
    fault = fault_of(port, authority)
    assert "Missing Authority Key Identifier" in fault.found and "kubernetes_strict_tls: false" in fault.remedy
    assert ask(port, authority, strict=False) == {"major": "1"}


def test_the_setting_does_not_let_another_authority_in(tmp_path: Path, serve: Any) -> None:
    port = serve(Authority(tmp_path).sign())
    other = Authority(tmp_path, "other")
    assert "another cluster's" in fault_of(port, other).remedy
    with pytest.raises(Refused):
        ask(port, other, strict=False)


def test_what_else_is_wrong_with_a_certificate(tmp_path: Path, serve: Any) -> None:
    authority = Authority(tmp_path)
    assert "clock" in fault_of(serve(authority.sign(age=10 * DAY)), authority).remedy
    assert "certificate names" in fault_of(serve(authority.sign(address="192.0.2.1")), authority).remedy


def test_a_server_without_tls(tmp_path: Path, serve: Any) -> None:
    fault = fault_of(serve(None), Authority(tmp_path))
    assert fault.found.startswith("no TLS with it") and "address" in fault.remedy
