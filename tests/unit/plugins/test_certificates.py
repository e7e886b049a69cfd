# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of endpoints: strict verifiers take our own, and what is wrong with a given one is said."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.plugin_utils.completion import Reach, complete
from ansible_collections.multinode.inference.plugins.plugin_utils.reachability import certificates

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
TODAY = datetime.datetime.now(datetime.timezone.utc)
HOSTS = ["llama.192-0-2-7.nip.io", "dashboard.llama.192-0-2-7.nip.io", "192.0.2.7"]


@pytest.fixture(scope="module")
def authority() -> dict[str, str]:
    return certificates.new_authority("llama", NOW)


@pytest.fixture(scope="module")
def made(authority: dict[str, str]) -> dict[str, str]:
    return certificates.issue(authority, HOSTS, NOW)


def days(number: float) -> datetime.datetime:
    return NOW + datetime.timedelta(days=number)


def test_the_certificate_is_for_hosts_and_address_and_no_authority(made: dict[str, str]) -> None:
    certificate = x509.load_pem_x509_certificate(made["tls.crt"].encode())
    assert certificates.names_of(certificate) == set(HOSTS)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime < datetime.timedelta(days=398)
    assert made["tls.key"].startswith("-----BEGIN RSA PRIVATE KEY-----")


def test_a_good_certificate_is_kept_and_renewed_below_30_days(made: dict[str, str], authority: dict[str, str]) -> None:
    def why(data: dict[str, str], when: datetime.datetime = NOW, names: list[str] = HOSTS) -> str | None:
        return certificates.renewal(data, authority, names, when)

    assert why(made) is None and why(made, days(335)) is None
    assert why(made, days(336)) == "it expires in 29 days"
    assert why(made, names=["llama.192-0-2-8.nip.io"]) == "it is not for llama.192-0-2-8.nip.io"
    assert why({}) == "there is none yet"
    other = certificates.new_authority("llama", NOW)
    assert why(certificates.issue(other, HOSTS, NOW)) == "it is not of the deployment's authority"
    assert why({**made, "tls.key": other["tls.key"]}) == "its key or its authority is another's"
    assert why({**made, "tls.crt": "nonsense"}) == "it is not of the deployment's authority"


def test_an_authority_is_one_that_outlives_what_it_signs(authority: dict[str, str], made: dict[str, str]) -> None:
    assert certificates.is_authority(authority, NOW)
    assert not certificates.is_authority(authority, days(3650 - 364))
    assert not certificates.is_authority(made, NOW) and not certificates.is_authority({}, NOW)
    assert not certificates.is_authority({**authority, "tls.key": made["tls.key"]}, NOW)


@pytest.mark.parametrize(
    ("change", "when", "names", "codes"),
    [
        ({}, 0, HOSTS, []),
        ({}, 340, HOSTS, ["certificate_expires"]),
        ({}, 366, HOSTS, ["certificate_expired"]),
        ({}, -1, HOSTS, ["certificate_early"]),
        ({}, 0, ["other.example.com"], ["certificate_names"]),
        ({"tls.key": "nonsense"}, 0, HOSTS, ["certificate_unreadable"]),
        ({"tls.key": None}, 0, HOSTS, ["secret_key_missing"]),
        (None, 0, HOSTS, ["secret_missing"]),
    ],
)
def test_what_is_wrong_with_a_given_certificate(
    made: dict[str, str], change: dict[str, str | None] | None, when: int, names: list[str], codes: list[str]
) -> None:
    data = None if change is None else {key: text for key, text in {**made, **change}.items() if text is not None}
    faults, warnings = certificates.wrong_with(data, "endpoint_tls_secret", "mine", names, days(when))
    assert [fault.code for fault in (*faults, *warnings)] == codes
    assert not any("PRIVATE" in fault.line() or "nonsense" in fault.line() for fault in faults)


def test_a_key_of_another_certificate_is_told(made: dict[str, str], authority: dict[str, str]) -> None:
    data = {**made, "tls.key": authority["tls.key"]}
    ((fault,), _warnings) = certificates.wrong_with(data, "endpoint_tls_secret", "mine", HOSTS, NOW)
    assert fault.code == "certificate_key"


def of_key(key: Any, issuer: dict[str, str], name: str = HOSTS[0], authority: bool = False) -> dict[str, str]:
    """Certificate and key of any kind, signed by an authority of ours."""
    signer = x509.load_pem_x509_certificate(issuer["tls.crt"].encode())
    signer_key = serialization.load_pem_private_key(issuer["tls.key"].encode(), None)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(days(-1))
        .not_valid_after(days(300))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer_key, hashes.SHA256())  # type: ignore[arg-type]
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return {
        "tls.crt": made.public_bytes(pem).decode(),
        "tls.key": key.private_bytes(pem, form, serialization.NoEncryption()).decode(),
    }


def wrong(data: dict[str, str]) -> list[str]:
    faults, _warnings = certificates.wrong_with(data, "endpoint_tls_secret", "mine", HOSTS[:1], NOW)
    assert not any("PRIVATE" in fault.line() for fault in faults)
    return [fault.code for fault in faults]


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-256", "P-384", "Ed25519"],
)
def test_keys_of_every_kind_are_taken(authority: dict[str, str], key: Any) -> None:
    assert wrong(of_key(key, authority)) == []
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"phrase"),
    ).decode()
    assert wrong({**of_key(key, authority), "tls.key": sealed}) == ["certificate_unreadable"]


def test_a_chain_leads_from_the_host_to_its_authority(authority: dict[str, str]) -> None:
    middle = of_key(ec.generate_private_key(ec.SECP256R1()), authority, "middle", authority=True)
    host = of_key(ec.generate_private_key(ec.SECP256R1()), middle)
    other = certificates.new_authority("other", NOW)["tls.crt"]
    leaf, between, root = host["tls.crt"], middle["tls.crt"], authority["tls.crt"]
    for chain in (leaf, leaf + between, leaf + between + root):
        assert wrong({**host, "tls.crt": chain}) == []
    assert wrong({**host, "tls.crt": between + leaf})[0] == "certificate_chain", "the host's comes first"
    assert wrong({**host, "tls.crt": leaf + root + between}) == ["certificate_chain"]
    for authorities in (root, f"{other}{root}", between):
        assert wrong({**host, "tls.crt": leaf + between, "ca.crt": authorities}) == []
    assert wrong({**host, "tls.crt": leaf + between, "ca.crt": other}) == ["certificate_authority"]
    assert wrong({**host, "tls.crt": leaf, "ca.crt": root}) == ["certificate_authority"], "the one between is missing"
    assert wrong({**host, "ca.crt": "nonsense"}) == ["certificate_authority"]


def test_a_wildcard_stands_for_one_label(authority: dict[str, str]) -> None:
    data = certificates.issue(authority, ["*.example.com"], NOW)
    for name, codes in (("llama.example.com", []), ("dashboard.llama.example.com", ["certificate_names"])):
        faults, _warnings = certificates.wrong_with(data, "endpoint_tls_secret", "mine", [name], NOW)
        assert [fault.code for fault in faults] == codes, name


class Server:
    """Answers one request over TLS, and keeps what it was sent."""

    def __init__(self, folder: Path, data: dict[str, str], answer: bytes) -> None:
        pair = folder / "pair.pem"
        pair.write_text(data["tls.crt"] + data["tls.key"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pair)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sent = b""
        self.answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        plain, _peer = self.listener.accept()
        try:
            with self.context.wrap_socket(plain, server_side=True) as connection:
                while not self.sent.endswith(b"}") and (data := connection.recv(65536)):
                    self.sent += data
                connection.sendall(self.answer)
        except OSError:
            pass


COMPLETION = b'{"choices": [{"text": " Paris"}]}'
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(COMPLETION), COMPLETION)
MOVED = b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n"


def asked(
    folder: Path, answer: bytes, host: str = HOSTS[0], key: str = "k", trusted: bool = True
) -> tuple[dict[str, str | None], bytes]:
    own = certificates.new_authority("llama", TODAY)
    server = Server(folder, certificates.issue(own, HOSTS, TODAY), answer)
    pem = (own if trusted else certificates.new_authority("llama", TODAY))["tls.crt"]
    return complete(Reach("https", host, "127.0.0.1", server.port, pem), "m", key), server.sent


def test_a_completion_is_asked_for_by_name_with_the_chain_verified(tmp_path: Path) -> None:
    answer, sent = asked(tmp_path, GOOD)
    assert answer == {"text": " Paris", "problem": None}
    assert f"Host: {HOSTS[0]}".encode() in sent and b"Authorization: Bearer k" in sent


@pytest.mark.parametrize(("host", "trusted"), [("other.example.com", True), (HOSTS[0], False)])
def test_the_key_is_not_sent_to_whoever_has_another_certificate(tmp_path: Path, host: str, trusted: bool) -> None:
    answer, sent = asked(tmp_path, GOOD, host, "sk-CANARY", trusted)
    assert str(answer["problem"]).startswith("its certificate is not accepted: ")
    assert b"CANARY" not in sent


def test_no_redirect_is_followed_and_no_proxy_or_netrc_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("default login me password other\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    answer, sent = asked(tmp_path, MOVED)
    assert answer == {"text": None, "problem": "HTTP 302"} and b"Bearer k\r\n" in sent


def test_a_key_that_no_header_can_carry_is_not_quoted(tmp_path: Path) -> None:
    answer, _sent = asked(tmp_path, GOOD, key="sk-CANARY\nx")
    assert answer["text"] is None and "CANARY" not in str(answer["problem"])


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{}", "an answer that is not a completion"),
        (b"nonsense", "an answer that is not a completion"),
        (b'{"choices": [{"text": ""}]}', "a completion without a token"),
    ],
)
def test_an_answer_without_a_token_is_none(tmp_path: Path, body: bytes, problem: str) -> None:
    answer, _sent = asked(tmp_path, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert answer == {"text": None, "problem": problem}


@pytest.mark.parametrize(
    ("scheme", "port", "url"),
    [("https", 443, "https://a.example"), ("http", 80, "http://a.example"), ("http", 8000, "http://a.example:8000")],
)
def test_a_url_has_its_port_where_it_is_not_the_schemes(scheme: str, port: int, url: str) -> None:
    assert Reach(scheme, "a.example", "192.0.2.7", port).url == url


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4), st.binary(max_size=40))
def test_whatever_a_secret_holds_is_answered_or_said(
    authority: dict[str, str], made: dict[str, str], changes: list[tuple[int, int]], garbage: bytes
) -> None:
    """A part of the certificate is another: the library reads some of it only when it is asked for."""
    der = bytearray(ssl.PEM_cert_to_DER_cert(made["tls.crt"]))
    for place, value in changes:
        der[place % len(der)] = value
    odd = ssl.DER_cert_to_PEM_cert(bytes(der))
    for text in (odd, garbage.decode(errors="replace")):
        data = {**made, "tls.crt": text}
        certificates.until(text)
        certificates.own_root(text)
        certificates.renewal(data, authority, HOSTS, NOW)
        certificates.renewal(made, {**authority, "tls.crt": text}, HOSTS, NOW)
        certificates.wrong_with(data, "endpoint_tls_secret", "s", HOSTS, NOW)
        chain = {**made, "tls.crt": made["tls.crt"] + text}
        certificates.own_root(chain["tls.crt"])
        certificates.wrong_with(chain, "endpoint_tls_secret", "s", HOSTS, NOW)
        certificates.wrong_with({**made, "ca.crt": text}, "endpoint_tls_secret", "s", HOSTS, NOW)
        certificates.wrong_with({**made, "tls.key": text}, "endpoint_tls_secret", "s", HOSTS, NOW)
        if certificates.is_authority({**authority, "tls.crt": text}, NOW):
            certificates.issue({**authority, "tls.crt": text}, HOSTS, NOW)


def test_an_authority_has_to_be_one_to_be_taken(authority: dict[str, str], made: dict[str, str]) -> None:
    assert certificates.is_authority(authority, NOW)
    for other in (made, {**authority, "tls.key": made["tls.key"]}, {}, {"tls.crt": authority["tls.crt"]}):
        assert not certificates.is_authority(other, NOW)
