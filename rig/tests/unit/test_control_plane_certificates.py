# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from rig.control_plane.certificates import write_certificates


def shake_hands(client: ssl.SSLObject, server: ssl.SSLObject, wires: list[tuple[ssl.MemoryBIO, ssl.MemoryBIO]]) -> None:
    """Both sides in turn, with what one wrote handed to the other."""
    waiting = [client, server]
    for _turn in range(20):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            else:
                waiting.remove(side)
            for written, read in wires:
                if written.pending:
                    read.write(written.read())
        if not waiting:
            return
    pytest.fail("the handshake does not end")


@pytest.mark.parametrize(("server", "client"), [("apiserver", "admin"), ("kubelet", "kubelet-client")])
def test_strict_verifiers_take_them(server: str, client: str, tmp_path: Path) -> None:
    """Python 3.13 verifies so by default, on both sides."""
    write_certificates(tmp_path, "cluster.local", ["127.0.0.1"])
    contexts = {ssl.PROTOCOL_TLS_CLIENT: client, ssl.PROTOCOL_TLS_SERVER: server}
    made = {}
    for protocol, name in contexts.items():
        context = ssl.SSLContext(protocol)
        context.load_verify_locations(tmp_path / "ca.crt")
        context.load_cert_chain(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        made[protocol] = context
    to_server, from_server, to_client, from_client = (ssl.MemoryBIO() for _end in range(4))
    asking = made[ssl.PROTOCOL_TLS_CLIENT].wrap_bio(to_client, from_client, server_hostname="127.0.0.1")
    answering = made[ssl.PROTOCOL_TLS_SERVER].wrap_bio(to_server, from_server, server_side=True)
    shake_hands(asking, answering, [(from_client, to_server), (from_server, to_client)])
    assert asking.getpeercert()
