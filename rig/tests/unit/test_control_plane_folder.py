# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from rig.configuration import Kubernetes, Oci, Rig, RigError, rig_name
from rig.control_plane import down, network
from rig.control_plane.certificates import write_certificates


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    rig = Rig(
        name=rig_name(tmp_path),
        directory=tmp_path,
        repository=tmp_path / "repository",
        cache=tmp_path / "cache",
        kubernetes=Kubernetes("https://127.0.0.1:1", tmp_path / "kubeconfig", tmp_path / "pki"),
        network=network.LOOPBACK,
        oci=Oci("http://127.0.0.1:2", "http://127.0.0.1:3"),
        kubelet_port=4,
        cluster_domain="cluster.local",
        root=False,
    )
    rig.save()
    assert Rig.load(tmp_path) == rig


def test_no_rig_is_said(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="no rig in"):
        Rig.load(tmp_path)


def test_a_folder_with_other_things_is_never_claimed_nor_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RigError, match="not empty"):
        down.claim(tmp_path)
    down.down(tmp_path, lambda _line: None)
    assert (tmp_path / "thesis.tex").exists()


def test_a_claimed_folder_is_emptied_twice(tmp_path: Path) -> None:
    down.claim(tmp_path)
    (tmp_path / "etcd").mkdir()
    (tmp_path / "bin").symlink_to("/usr/bin")
    lines: list[str] = []
    down.down(tmp_path, lines.append)
    down.down(tmp_path, lines.append)
    assert list(tmp_path.iterdir()) == []
    assert ["nothing is left" in lines[0], "no rig there" in lines[1]] == [True, True]


def test_ports_in_use_are_passed_over() -> None:
    free = network.free_ports("00000a", 3)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", free[1]))
        busy.listen()
        others = network.free_ports("00000a", 3)
    assert set(others).isdisjoint(free)
    assert network.free_ports("00000a", 3) == free


def test_mounts_are_read_with_their_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("1 0 0:1 / / rw - x x rw\n2 1 0:2 / /rig/a\\040b rw - x x rw\n3 1 0:3 / /rigs/c rw - x x rw\n")
    monkeypatch.setattr(network, "MOUNTS", table)
    assert network.mounts_below(Path("/rig")) == ["/rig/a b"]


def test_names_of_other_rigs_are_not_ours() -> None:
    assert network.is_ours("mipa1b2c3-0", "a1b2c3")
    assert network.is_ours("miba1b2c3", "a1b2c3")
    assert not network.is_ours("mipffffff-a1b2c3", "a1b2c3")
    assert not network.is_ours("docker0", "a1b2c3")


def test_certificates_name_whom_they_are_for(tmp_path: Path) -> None:
    write_certificates(tmp_path, "cluster.local", ["127.0.0.1", "10.60.0.1"])
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    for name in ("admin", "controller-manager", "scheduler", "kubelet-client", "apiserver", "kubelet"):
        certificate = x509.load_pem_x509_certificate((tmp_path / f"{name}.crt").read_bytes())
        certificate.verify_directly_issued_by(authority)
        assert stat.S_IMODE((tmp_path / f"{name}.key").stat().st_mode) == 0o600
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
    admin = x509.load_pem_x509_certificate((tmp_path / "admin.crt").read_bytes())
    assert admin.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:masters"
    server = x509.load_pem_x509_certificate((tmp_path / "apiserver.crt").read_bytes())
    names = server.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "10.60.0.1"]
    assert "kubernetes.default.svc.cluster.local" in names.get_values_for_type(x509.DNSName)
