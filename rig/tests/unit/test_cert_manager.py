# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in for cert-manager says of issuers, and when it makes a certificate."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509

from ansible_collections.multinode.inference.plugins.plugin_utils.reachability import certificates
from rig import cert_manager

NAMES = ["a.example", "dashboard.a.example"]


@pytest.fixture(scope="module")
def authority() -> dict[str, str]:
    return certificates.new_authority("x", datetime.datetime.now(datetime.timezone.utc))


def test_an_issuer_is_ready_while_its_secret_holds_an_authority(authority: dict[str, str]) -> None:
    ready = cert_manager.issuer_condition("ca", authority)
    assert (ready["status"], ready["reason"]) == ("True", "KeyPairVerified")
    missing = cert_manager.issuer_condition("ca", None)
    assert (missing["status"], missing["reason"]) == ("False", "ErrGetKeyPair") and '"ca" not found' in missing[
        "message"
    ]
    leaf = cert_manager.issuer_condition("ca", cert_manager.issue(NAMES, authority))
    assert leaf["reason"] == "ErrInvalidKeyPair"
    assert cert_manager.issuer_condition("ca", {"tls.crt": "nonsense", "tls.key": ""})["status"] == "False"


def test_a_certificate_is_for_its_names_and_signed_by_the_authority(authority: dict[str, str]) -> None:
    made = cert_manager.issue(NAMES, authority)
    certificate = x509.load_pem_x509_certificate(made["tls.crt"].encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority["tls.crt"].encode()))
    assert certificates.names_of(certificate) == set(NAMES) and made["ca.crt"] == authority["tls.crt"]


def test_other_names_or_another_authority_are_another_certificate(authority: dict[str, str]) -> None:
    made = cert_manager.issue(NAMES, authority)
    assert not cert_manager.is_due(NAMES[::-1], made, authority)
    assert cert_manager.is_due(NAMES, None, authority) and cert_manager.is_due(NAMES, {}, authority)
    assert cert_manager.is_due(["b.example"], made, authority)
    assert cert_manager.is_due(NAMES, made, {**authority, "tls.crt": made["tls.crt"]})
