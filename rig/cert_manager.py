# SPDX-License-Identifier: GPL-3.0-or-later
"""cert-manager's CA issuers and certificates: `python -m rig.cert_manager --rig FOLDER`. A test that wants it makes KINDS and starts it.

Facts imitated (cert-manager v1.21, pkg/issuer/ca, pkg/controller/certificates):
- an issuer with spec.ca is Ready while its Secret (a ClusterIssuer's in namespace cert-manager) holds an authority and its key
- a Certificate gets the Secret `secretName` of type kubernetes.io/tls with tls.crt, tls.key and ca.crt, with the labels of
  secretTemplate; it is not Ready before (DoesNotExist), and stays so while its issuer is not there or not Ready
- other dnsNames, or another issuer, are another certificate; the Secret outlives its Certificate

Differences: it looks every half second; there are no CertificateRequests; certificates are for 90 days and are not renewed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import datetime
import signal
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from rig.cluster import ApiError, Cluster, Object, ignore_missing, now, say
from rig.configuration import Rig

LOOK_SECONDS = 0.5
CLUSTER_NAMESPACE = "cert-manager"
GROUP = "cert-manager.io"
PREFIX = f"/apis/{GROUP}/v1"
NAME_ANNOTATION = f"{GROUP}/certificate-name"
_TEXT: Object = {"type": "string"}
_OPEN: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_TEXTS: Object = {"type": "object", "additionalProperties": _TEXT}


def _kind(name: str, plural: str, scope: str, spec: Object) -> Object:
    schema = {"type": "object", "properties": {"spec": spec, "status": _OPEN}, "required": ["spec"]}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"kind": name, "plural": plural, "singular": name.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": scope, "names": names, "versions": [version]},
    }


_CERTIFICATE: Object = {
    "type": "object",
    "required": ["issuerRef", "secretName"],
    "properties": {
        "secretName": _TEXT,
        "dnsNames": {"type": "array", "items": _TEXT},
        "secretTemplate": {"type": "object", "properties": {"labels": _TEXTS, "annotations": _TEXTS}},
        "issuerRef": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": _TEXT, "kind": _TEXT, "group": _TEXT},
        },
    },
}
KINDS = [
    _kind("ClusterIssuer", "clusterissuers", "Cluster", _OPEN),
    _kind("Issuer", "issuers", "Namespaced", _OPEN),
    _kind("Certificate", "certificates", "Namespaced", _CERTIFICATE),
]


def issuer_condition(secret_name: str, data: dict[str, str] | None) -> Object:
    """What an issuer with this authority says of itself; `data` is the Secret's, None where it is not there."""
    if data is None:
        return condition("Ready", False, "ErrGetKeyPair", _no_pair(f'secrets "{secret_name}" not found'))
    try:
        certificate, _key = pair(data)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (KeyError, ValueError, x509.ExtensionNotFound) as error:
        return condition("Ready", False, "ErrGetKeyPair", _no_pair(str(error)))
    if not constraints.ca:
        return condition("Ready", False, "ErrInvalidKeyPair", _no_pair("certificate is not a CA"))
    return condition("Ready", True, "KeyPairVerified", "Signing CA verified")


def is_due(names: list[str], data: dict[str, str] | None, authority: dict[str, str]) -> bool:
    """Whether a Certificate's Secret is to be made: none there, of other names, or of another authority."""
    if data is None or data.get("ca.crt") != authority["tls.crt"]:
        return True
    try:
        held = x509.load_pem_x509_certificate(data["tls.crt"].encode())
        found = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (KeyError, ValueError, x509.ExtensionNotFound):
        return True
    return sorted(found.get_values_for_type(x509.DNSName)) != sorted(names)


def issue(names: list[str], authority: dict[str, str]) -> dict[str, str]:
    """The data of a Secret with a certificate for these names; the subject is empty, as cert-manager's without commonName."""
    issuer, issuer_key = pair(authority)
    key, today = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today)
        .not_valid_after(today + datetime.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return {
        "tls.crt": made.public_bytes(pem).decode(),
        "tls.key": key.private_bytes(pem, form, serialization.NoEncryption()).decode(),
        "ca.crt": authority["tls.crt"],
    }


def pair(data: dict[str, str]) -> tuple[x509.Certificate, Any]:
    """Certificate and key of a Secret's data; KeyError or ValueError where there is none."""
    certificate = x509.load_pem_x509_certificate(data["tls.crt"].encode())
    return certificate, serialization.load_pem_private_key(data["tls.key"].encode(), None)


def condition(kind: str, good: bool, reason: str, message: str) -> Object:
    """A condition of a status."""
    status = "True" if good else "False"
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now()}


def _no_pair(why: str) -> str:
    return f"Error getting keypair for CA issuer: {why}"


class CertManager:
    """Keeps issuers and Certificates at what their objects ask for."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def run(self) -> None:
        """Look without end."""
        while True:
            try:
                await self._look()
            except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                say(f"cert-manager: {error!r}; trying again")
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        authorities: dict[tuple[str, str, str], dict[str, str]] = {}
        for kind, plural in (("ClusterIssuer", "clusterissuers"), ("Issuer", "issuers")):
            for item in await self._items(f"{PREFIX}/{plural}"):
                namespace = item["metadata"].get("namespace", "")
                secret = item["spec"]["ca"]["secretName"]
                data = await self._secret(namespace or CLUSTER_NAMESPACE, secret)
                said = issuer_condition(secret, data)
                if data and said["status"] == "True":
                    authorities[kind, namespace, item["metadata"]["name"]] = data
                space = f"namespaces/{namespace}/" if namespace else ""
                await self._tell(f"{PREFIX}/{space}{plural}/{item['metadata']['name']}/status", item, said)
        for item in await self._items(f"{PREFIX}/certificates"):
            await self._certificate(item, authorities)

    async def _certificate(self, item: Object, authorities: dict[tuple[str, str, str], dict[str, str]]) -> None:
        spec, namespace, name = item["spec"], item["metadata"]["namespace"], item["metadata"]["name"]
        reference = spec["issuerRef"]
        kind = reference.get("kind", "Issuer")
        authority = authorities.get((kind, "" if kind == "ClusterIssuer" else namespace, reference["name"]))
        data = await self._secret(namespace, spec["secretName"])
        said = condition("Ready", True, "Ready", "Certificate is up to date and has not expired")
        if authority is None:
            said = condition("Ready", False, "DoesNotExist", "Issuing certificate as Secret does not exist")
        elif is_due(spec.get("dnsNames") or [], data, authority):
            await self._write(namespace, name, spec, issue(spec.get("dnsNames") or [], authority), data is None)
        await self._tell(f"{PREFIX}/namespaces/{namespace}/certificates/{name}/status", item, said)

    async def _write(self, namespace: str, name: str, spec: Object, data: dict[str, str], new: bool) -> None:
        template = spec.get("secretTemplate") or {}
        metadata = {
            "name": spec["secretName"],
            "labels": {**(template.get("labels") or {}), "controller.cert-manager.io/fao": "true"},
            "annotations": {**(template.get("annotations") or {}), NAME_ANNOTATION: name},
        }
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
        body = {"metadata": metadata, "data": encoded}
        path = f"/api/v1/namespaces/{namespace}/secrets"
        if new:
            await self._cluster.create(path, {**body, "type": "kubernetes.io/tls"})
        else:
            await self._cluster.patch(f"{path}/{spec['secretName']}", body)

    async def _secret(self, namespace: str, name: str) -> dict[str, str] | None:
        with ignore_missing():
            found = (await self._cluster.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")).get("data") or {}
            return {key: base64.b64decode(value).decode() for key, value in found.items()}
        return None

    async def _items(self, path: str) -> list[Object]:
        with ignore_missing():
            return list((await self._cluster.get(path)).get("items") or [])
        return []

    async def _tell(self, path: str, item: Object, said: Object) -> None:
        stands = ((item.get("status") or {}).get("conditions") or [{}])[0]
        if {**stands, "lastTransitionTime": ""} != {**said, "lastTransitionTime": ""}:
            with ignore_missing():
                await self._cluster.patch(path, {"status": {"conditions": [said]}})


async def run(rig: Rig) -> None:
    """Run until SIGTERM."""
    cluster = Cluster.from_kubeconfig(rig.kubernetes.kubeconfig)
    task = asyncio.create_task(CertManager(cluster).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await cluster.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A rig's cert-manager.")
    parser.add_argument("--rig", required=True, help="the rig's folder")
    asyncio.run(run(Rig.load(parser.parse_args().rig)))
