# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine of Oracle's cloud has to sign in by, for a program that runs elsewhere: an instance's, and a pod's.

A test that needs one starts it (`with Instance(rig, tenancy).running() as instance`) and runs its programs with `environment`.
Facts imitated, those that the SDK's signers go by:
- the metadata service has /instance/region and, in PEM, /identity/{cert,key,intermediate}.pem, for requests that bear
  `Authorization: Bearer Oracle` only; the certificate's subject names the tenancy as opc-tenant:<OCID>
- POST https://auth.<region>.oraclecloud.com/v1/x509 {certificate, intermediateCertificates, publicKey} trades it for a token;
  the request is signed with the certificate's key, its keyId is <tenancy>/fed-x509/<SHA-1 of the certificate>
- in a pod of an enhanced cluster, POST https://<API server>:12250/resourcePrincipalSessionTokens {podKey} with the service
  account's token gives one in base64, with ST$ before it
- further requests are signed with the key that was sent, their keyId is ST$<token>
The way to the auth service is a proxy that is the auth service itself, since its name means nothing here.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rig import access
from rig.configuration import Rig
from rig.oci.errors import ServiceError, not_authenticated
from rig.oci.identifiers import REGION, new_ocid
from rig.oci.signature import verify
from rig.oci.state import now

AUTH_HOST = f"auth.{REGION}.oraclecloud.com"
METADATA = "/opc/v2"
WORKLOAD_PORT = 12250
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SIGNED = ("date", "(request-target)", "content-length", "content-type", "x-content-sha256")


class Principal:
    """A server that gives tokens of a tenancy: `tokens` is how many it gave."""

    handler: type[BaseHTTPRequestHandler]

    def __init__(self, rig: Rig, tenancy: str) -> None:
        """`tenancy`: the OCID of the tenancy, whose user's rights the principal has."""
        self.tokens = 0
        self._rig = rig
        self._tenancy = tenancy

    def _admit(self, public_key: str) -> str:
        body = {"tenancy": self._tenancy, "public_key": public_key}
        self.tokens += 1
        return str(access.steer(self._rig.oci.control, "POST", "/principals", body)["token"])

    @contextlib.contextmanager
    def _serving(self, server: ThreadingHTTPServer) -> Iterator[None]:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5)


class Instance(Principal):
    """A compute instance of a tenancy."""

    def __init__(self, rig: Rig, tenancy: str, folder: Path) -> None:
        super().__init__(rig, tenancy)
        self.authority = rig.kubernetes.pki / "ca.crt"
        self._issuer = x509.load_pem_x509_certificate(self.authority.read_bytes())
        issuer_key = serialization.load_pem_private_key((rig.kubernetes.pki / "ca.key").read_bytes(), None)
        assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = [f"opc-certtype:instance:{new_ocid('instance')}", f"opc-tenant:{tenancy}"]
        certificate = _certificate(self._issuer, issuer_key, key.public_key(), subject, [])
        self.files = {
            "instance/region": REGION.encode(),
            "identity/cert.pem": certificate.public_bytes(serialization.Encoding.PEM),
            "identity/key.pem": _pem(key),
            "identity/intermediate.pem": self.authority.read_bytes(),
        }
        host_key = ec.generate_private_key(ec.SECP256R1())
        host = _certificate(self._issuer, issuer_key, host_key.public_key(), [], [AUTH_HOST])
        chain = folder / "auth.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(_pem(host_key) + host.public_bytes(serialization.Encoding.PEM))
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(chain)
        self.environment: dict[str, str] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[Instance]:
        """Serve until the block ends; `environment` is what a program needs to think itself on the instance."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_InstanceHandler,), {"instance": self}))
        url = f"http://127.0.0.1:{server.server_address[1]}"
        self.environment = {
            "OCI_METADATA_BASE_URL": url + METADATA,
            "HTTPS_PROXY": url,
            "NO_PROXY": "127.0.0.1,localhost",
            "OCI_ANSIBLE_CERT_BUNDLE": str(self.authority),
        }
        with self._serving(server):
            yield self

    def federate(self, method: str, target: str, headers: Any, body: bytes) -> str:
        """The token for one request to the auth service; ServiceError where it is not the instance's."""
        sent = json.loads(body)
        certificate = x509.load_der_x509_certificate(base64.b64decode(sent["certificate"]))
        try:
            certificate.verify_directly_issued_by(self._issuer)
        except (InvalidSignature, ValueError, TypeError):
            raise not_authenticated("the certificate is not of an instance") from None
        fingerprint = certificate.fingerprint(hashes.SHA1()).hex(":").upper()
        names = [str(attribute.value) for attribute in certificate.subject]
        tenant = next(name for name in names if name.startswith("opc-tenant:")).partition(":")[2]
        key = certificate.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        verify(
            method=method,
            target=target,
            headers=headers,
            body=body,
            keys={f"{tenant}/fed-x509/{fingerprint}": key},
            now=now(),
            needed=SIGNED,
        )
        return self._admit(sent["publicKey"])


class _InstanceHandler(BaseHTTPRequestHandler):
    """The metadata service, and a proxy whose other end is the auth service."""

    protocol_version = "HTTP/1.1"
    instance: ClassVar[Instance]
    _tunnel = False

    def do_GET(self) -> None:
        content = self.instance.files.get(self.path.removeprefix(METADATA + "/"))
        if self._tunnel or content is None:
            _send(self, 404, b"not found")
        elif self.headers.get("Authorization") != "Bearer Oracle":
            _send(self, 401, b"the header Authorization: Bearer Oracle is missing")
        else:
            _send(self, 200, content)

    def do_CONNECT(self) -> None:
        if self.path != f"{AUTH_HOST}:443":
            _send(self, 403, b"this proxy leads to the auth service only")
            return
        self.send_response(200)
        self.end_headers()
        self.connection = self.instance.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self._tunnel, self.close_connection = True, False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._tunnel or self.path != "/v1/x509":
            _send(self, 404, b"{}")
            return
        try:
            token = self.instance.federate("POST", self.path, self.headers, body)
        except ServiceError as error:
            _send(self, error.status, json.dumps({"code": error.code, "message": error.message}).encode())
        else:
            _send(self, 200, json.dumps({"token": token}).encode())

    def log_message(self, *_: Any) -> None:
        """Nothing is said of a request."""


class Pod(Principal):
    """A pod of the tenancy's cluster, which is an enhanced one: its service account's files, and who takes their token."""

    def __init__(self, rig: Rig, tenancy: str, folder: Path, account_token: str) -> None:
        """`folder` gets the files of the service account, whose token `account_token` is."""
        super().__init__(rig, tenancy)
        self.account_token = account_token
        self._files = folder
        self.environment = {"KUBERNETES_SERVICE_HOST": rig.network.address}
        authority = (rig.kubernetes.pki / "ca.crt").read_bytes()
        for name, content in (("token", account_token.encode()), ("ca.crt", authority)):
            (folder / name).write_bytes(content)

    @contextlib.contextmanager
    def running(self) -> Iterator[Pod]:
        """Serve until the block ends."""
        pki, address = self._rig.kubernetes.pki, (self._rig.network.address, WORKLOAD_PORT)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # The API server's certificate is for the address that pods see this machine at, too.
        tls.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        server = ThreadingHTTPServer(address, type("Bound", (_PodHandler,), {"pod": self}))
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        with self._serving(server):
            yield self

    def prefix(self) -> tuple[str, ...]:
        """What, before a command, lets it find the service account's files where they lie in a pod."""
        script = f'mount -t tmpfs tmpfs /run && mkdir -p {SERVICE_ACCOUNT} && cp "$0"/* {SERVICE_ACCOUNT} && exec "$@"'
        return ("unshare", "--mount", "sh", "-c", script, str(self._files))

    def take(self, body: bytes) -> bytes:
        """The answer to one request for a token."""
        token = self._admit(json.loads(body)["podKey"])
        return base64.b64encode(json.dumps({"token": f"ST${token}"}).encode())


class _PodHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pod: ClassVar[Pod]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/resourcePrincipalSessionTokens":
            _send(self, 404, b"")
        elif self.headers.get("Authorization") != f"Bearer {self.pod.account_token}":
            _send(self, 401, b"")
        else:
            _send(self, 200, self.pod.take(body))

    def log_message(self, *_: Any) -> None:
        """Nothing is said of a request."""


def _send(handler: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
    handler.wfile.flush()


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _certificate(
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    units: list[str],
    hosts: list[str],
) -> x509.Certificate:
    """A certificate of a day, whose subject has the organizational units `units`, and which is for the names `hosts`."""
    subject = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit, _validate=False) for unit in units]
    began = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rig"), *subject]))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(began - datetime.timedelta(minutes=5))
        .not_valid_after(began + datetime.timedelta(days=1))
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(names, critical=False).add_extension(usage, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
