# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The endpoint of a deployment in its cluster: what it needs there, its certificate, its address, and what it lacks still."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from ..module_utils.core.fault import Fault, Findings, Refused
from ..module_utils.core.manifests.endpoint import (
    HTTP,
    HTTPS,
    INTERNAL_ANNOTATIONS,
    KINDS,
    TLS_SECRET_ANNOTATION,
    Surroundings,
    endpoint_objects,
    provisional_hosts,
    record,
    tls_secret,
)
from ..module_utils.core.manifests.objects import mark
from ..module_utils.core.names import ENDPOINT_ANNOTATION, label_selector, object_names
from ..module_utils.core.plan.endpoint import TYPE_ANNOTATION, hosts_at
from ..module_utils.core.plan.types import Issuer, Plan
from ..module_utils.core.text import read_json
from ..module_utils.kube.client import Kubernetes, part, unless_forbidden
from ..module_utils.kube.deployment import read_secret
from .completion import Reach
from .reachability import certificates
from .reachability.checks import issuer_fault, listeners_of, route_problem

Object = dict[str, Any]


class Endpoint:
    """What a plan's endpoint is in the cluster now. `look` reads it; the rest follows from the last look."""

    def __init__(self, kubernetes: Kubernetes, plan: Plan) -> None:
        self._kubernetes = kubernetes
        self._plan = plan
        self._endpoint = plan["endpoint"]
        self._name, self._namespace = plan["deployment"]["name"], plan["deployment"]["namespace"]
        self._names = object_names(self._name)
        self._service: Object = {}
        self._gateway: Object | None = None
        self.around = Surroundings()
        self.ca_pem: str | None = None
        # What the cluster refuses as the last `problem` found it: it passes where somebody corrects it, or is given up.
        self.refusal: Fault | None = None

    @property
    def hosts(self) -> dict[str, str]:
        """The hosts of api and dashboard; {} before they are known."""
        return hosts_at(self._plan, self.around.address)

    def look(self) -> list[Object]:
        """Read address, listeners and certificate; return the Secrets that are to be applied before the objects."""
        self._service = self._get("/api/v1", "services", self._names["api_service"]) or {}
        listeners: dict[str, str] = {}
        if gateway := self._endpoint["gateway"]:
            self._gateway = self._get(
                "/apis/gateway.networking.k8s.io/v1", "gateways", gateway["name"], gateway["namespace"]
            )
            listeners = listeners_of(self._gateway or {}, gateway["listener"])
        self.around = Surroundings(self._address(), listeners=listeners)
        secrets, certificate, until = self._certificates()
        self.around = Surroundings(self.around.address, certificate, until, listeners)
        for item in secrets:
            mark(item, self._plan)
        return secrets

    def objects(self) -> list[Object]:
        """Return the objects of the endpoint as they are to be now."""
        objects = endpoint_objects(self._plan, self.around)
        for item in objects:
            mark(item, self._plan)
        return objects

    @property
    def is_settled(self) -> bool:
        """Whether the objects that stand are of what the cluster tells now."""
        annotations = (self._service.get("metadata") or {}).get("annotations") or {}
        try:
            stands = read_json(annotations.get(ENDPOINT_ANNOTATION, ""))
        except ValueError:
            return False
        return bool(stands == record(self._plan, self.around))

    def in_the_way(self) -> list[Object]:
        """Return the Service where it has to be made again: OCI changes neither kind nor visibility of a load balancer."""
        spec, metadata = self._service.get("spec") or {}, self._service.get("metadata") or {}
        if spec.get("type") != "LoadBalancer" or self._endpoint["exposure"] != "load_balancer":
            return []
        wanted, stands = self.objects()[0]["metadata"]["annotations"], metadata.get("annotations") or {}
        defaults = {TYPE_ANNOTATION: "lb", **dict.fromkeys(INTERNAL_ANNOTATIONS, "false")}
        if all(stands.get(name, usual) == wanted.get(name, usual) for name, usual in defaults.items()):
            return []
        return [_reference("v1", "Service", metadata["name"], self._namespace)]

    def stale(self) -> list[Object]:
        """Return what a former exposure or certificate left."""
        objects = self.objects()
        kept = {(item["kind"], item["metadata"]["name"]) for item in objects}
        found = []
        for api_version, kind, plural in KINDS:
            for name in self._ours(f"/apis/{api_version}", plural):
                if (kind, name) not in kept:
                    found.append(_reference(api_version, kind, name, self._namespace))
        secrets = {self.around.certificate}
        if self._endpoint["tls"] in ("self_signed", "issuer"):
            secrets.add(self._names["tls_secret"])
        if self._endpoint["tls"] == "self_signed":
            secrets.add(self._names["tls_authority_secret"])
        for name in self._ours("/api/v1", "secrets"):
            if name.startswith(self._names["tls_secret"]) and name not in secrets:
                found.append(_reference("v1", "Secret", name, self._namespace))
        return found

    def reach(self) -> Reach | None:
        """Return how the API is reached by a user; None before that is known."""
        hosts, address = self.hosts, self.around.address
        if not address or not hosts:
            return None
        secure = self._endpoint["tls"] != "none"
        balanced = self._endpoint["exposure"] == "load_balancer"
        port = HTTPS if secure else self._plan["pod"]["ports"]["api"] if balanced else HTTP
        return Reach("https" if secure else "http", hosts["api"], address, port, self.ca_pem)

    def dashboard_url(self, reach: Reach) -> str | None:
        """Return the dashboard's URL; None where it is not exposed."""
        if "dashboard" not in self.hosts:
            return None
        balanced = self._endpoint["exposure"] == "load_balancer"
        return reach.at(self.hosts["dashboard"], self._plan["pod"]["ports"]["dashboard"] if balanced else reach.port)

    def problem(self) -> str | None:
        """Return what the endpoint lacks still, in words; None where a completion may be tried. Refused where waiting is vain."""
        exposure, gateway, self.refusal = self._endpoint["exposure"], self._endpoint["gateway"], None
        what = {
            "load_balancer": f"the load balancer of Service {self._names['api_service']}",
            "ingress": f"Ingress {self._name} (class {self._endpoint['ingress_class']})",
            "gateway": f"Gateway {gateway['name'] if gateway else ''}",
        }[exposure]
        if not self.around.address:
            return f"{what} has no address yet" + self._last_warning()
        if not self.hosts:
            found = f"{what} has the address {self.around.address}, which cannot be part of a nip.io name"
            remedy = "give a domain whose records lead there"
            raise Refused([Fault("address_is_a_name", "service_endpoint_domain", found, "a domain", remedy)])
        if self._endpoint["tls"] == "secret":
            findings = Findings()
            self.check_given_certificate(findings)
            findings.refuse()
        if exposure == "gateway" and (found_of_routes := route_problem(self._routes())):
            words, self.refusal = found_of_routes
            return words
        if issuer := self._endpoint["issuer"]:
            return self._issuing(issuer)
        return None

    def check_given_certificate(self, findings: Findings) -> None:
        """Add what is wrong with the certificate of the Secret that the user named."""
        name = str(self._endpoint["tls_secret"])
        faults, warnings = certificates.wrong_with(
            self._secret(name), "endpoint_tls_secret", name, self.hosts.values(), _now()
        )
        findings.faults += faults
        findings.warnings += warnings

    def _certificates(self) -> tuple[list[Object], str | None, str | None]:
        """Return the Secrets to apply, the name of the one for the load balancer, and until when its certificate is valid."""
        tls = self._endpoint["tls"]
        wanted: list[Object] = []
        if tls == "listener":
            self.ca_pem = self._listener_authority()
        if tls in (None, "none", "listener"):
            return [], None, None
        if tls == "self_signed":
            data, wanted = self._self_signed()
        else:
            data = self._secret(self._endpoint["tls_secret"] or self._names["tls_secret"]) or {}
        self.ca_pem = _authority_of(data)
        until = certificates.until(data.get(certificates.CERTIFICATE, ""))
        said = until.isoformat() if until and tls != "issuer" else None
        if self._endpoint["exposure"] != "load_balancer" or self._endpoint["tls_to_pod"]:
            return wanted, None, said
        if until is None:
            annotations = (self._service.get("metadata") or {}).get("annotations") or {}
            stands = annotations.get(TLS_SECRET_ANNOTATION, "")
            if stands.startswith(f"{self._names['tls_secret']}-") and self._secret(stands):
                return wanted, stands, said
            # OCI makes no load balancer without a certificate, and no name is known without the load balancer.
            names = list(provisional_hosts(self._plan).values())
            data = certificates.issue(certificates.new_authority(self._name, _now()), names, _now())
        # OCI knows a certificate by its Secret's name, and never reads a Secret of the same name again
        # (oci-cloud-controller-manager, ensureSSLCertificates): each certificate has a Secret of its own.
        pair = {key: data[key] for key in (certificates.CERTIFICATE, certificates.KEY) if key in data}
        digest = hashlib.sha256(json.dumps(pair, sort_keys=True).encode()).hexdigest()[:8]
        name = f"{self._names['tls_secret']}-{digest}"
        if self._secret(name) != pair:
            wanted.append(tls_secret(self._plan, name, pair))
        return wanted, name, said

    def _self_signed(self) -> tuple[dict[str, str], list[Object]]:
        """Return the deployment's own certificate, made or renewed where it has to be, and the Secrets to apply."""
        now, wanted = _now(), []
        authority = self._secret(self._names["tls_authority_secret"]) or {}
        if not certificates.is_authority(authority, now):
            authority = certificates.new_authority(self._name, now)
            wanted.append(tls_secret(self._plan, self._names["tls_authority_secret"], authority))
        names = [*(self.hosts or provisional_hosts(self._plan)).values()]
        if self.hosts and self.around.address not in (None, *names):
            names.append(str(self.around.address))
        if self._endpoint["tls_to_pod"]:
            names.append(f"{self._names['api_service']}.{self._namespace}.svc")
        data = self._secret(self._names["tls_secret"]) or {}
        self.renewed = certificates.renewal(data, authority, names, now)
        if self.renewed:
            data = certificates.issue(authority, names, now)
            wanted.append(tls_secret(self._plan, self._names["tls_secret"], data))
        return data, wanted

    def _listener_authority(self) -> str | None:
        """Return the authority in the Secret of the Gateway's listener, as far as the user may read it."""
        listeners = ((self._gateway or {}).get("spec") or {}).get("listeners") or []
        chosen: Object = next((one for one in listeners if one["name"] == self.around.listeners.get("https")), {})
        reference = next(iter((chosen.get("tls") or {}).get("certificateRefs") or []), None)
        if reference is None:
            return None
        gateway = self._endpoint["gateway"]
        namespace = reference.get("namespace") or (gateway["namespace"] if gateway else "")
        data = unless_forbidden(lambda: self._secret(reference["name"], namespace) or {})
        return _authority_of(data or {})

    def _address(self) -> str | None:
        exposure = self._endpoint["exposure"]
        if exposure == "gateway":
            addresses = ((self._gateway or {}).get("status") or {}).get("addresses") or []
            return _best_address(entry.get("value") for entry in addresses)
        item: Object | None = None
        if exposure == "load_balancer" and (self._service.get("spec") or {}).get("type") == "LoadBalancer":
            item = self._service
        elif exposure == "ingress":
            item = self._get("/apis/networking.k8s.io/v1", "ingresses", self._name)
        entries = (((item or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        return _best_address(entry.get("ip") or entry.get("hostname") for entry in entries)

    def _routes(self) -> list[Object]:
        return self._kubernetes.items(
            f"/apis/gateway.networking.k8s.io/v1/namespaces/{part(self._namespace)}/httproutes",
            labelSelector=label_selector(self._name),
        )

    def _issuing(self, issuer: Issuer) -> str | None:
        """Return what cert-manager says of a certificate that it has not made yet."""
        item = self._get("/apis/cert-manager.io/v1", "certificates", self._names["tls_secret"]) or {}
        conditions = (item.get("status") or {}).get("conditions") or []
        ready: Object = next((entry for entry in conditions if entry["type"] == "Ready"), {})
        if ready.get("status") == "True":
            return None
        said = f": {ready['message']}" if ready.get("message") else ""
        words = f"{issuer['kind']} {issuer['name']} has not made the certificate yet{said}"
        issuing: Object = next((entry for entry in conditions if entry["type"] == "Issuing"), {})
        if issuing.get("status") == "False" and issuing.get("reason") == "Failed":
            found, remedy = f"{words}; {issuing.get('message')}", "see kubectl describe certificate, certificaterequest"
            self.refusal = Fault("certificate_not_issued", "endpoint_tls_issuer", found, "a certificate", remedy)
        else:
            self.refusal = issuer_fault(self._kubernetes, self._plan, issuer)
        return words

    def _last_warning(self) -> str:
        kind, name = (
            ("Ingress", self._name)
            if self._endpoint["exposure"] == "ingress"
            else ("Service", self._names["api_service"])
        )
        path = f"/api/v1/namespaces/{part(self._namespace)}/events"
        selector = f"type=Warning,involvedObject.kind={kind},involvedObject.name={name}"
        events = unless_forbidden(lambda: self._kubernetes.items(path, fieldSelector=selector)) or []
        return f": {events[-1].get('message')}" if events else ""

    def _ours(self, prefix: str, plural: str) -> list[str]:
        path = f"{prefix}/namespaces/{part(self._namespace)}/{plural}"
        found = unless_forbidden(lambda: self._kubernetes.metadata(path, labelSelector=label_selector(self._name)))
        return [item["metadata"]["name"] for item in found or []]

    def _get(self, prefix: str, plural: str, name: str, namespace: str | None = None) -> Object | None:
        path = f"{prefix}/namespaces/{part(namespace or self._namespace)}/{plural}/{part(name)}"
        found: Object | None = self._kubernetes.get(path)
        return found

    def _secret(self, name: str, namespace: str | None = None) -> dict[str, str] | None:
        return read_secret(self._kubernetes, namespace or self._namespace, name)


def _reference(api_version: str, kind: str, name: str, namespace: str) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def _best_address(addresses: Iterable[str | None]) -> str | None:
    """Return the first IPv4 address, else the first of IPv6, else the first name: what most clients can ask by nip.io."""
    found: list[tuple[int, str]] = []
    for address in addresses:
        try:
            parsed = ipaddress.ip_address(address or "")
            found.append((parsed.version, str(parsed)))
        except ValueError:
            found += [(9, address)] if address else []
    return min(found, key=lambda entry: entry[0])[1] if found else None


def _authority_of(data: Mapping[str, str]) -> str | None:
    """Return the authority of a Secret's certificate: its ca.crt, or the last of the chain where that signed itself."""
    given = data.get(certificates.AUTHORITY, "")
    if given.strip() and certificates.readable(given):
        return given
    return certificates.own_root(data.get(certificates.CERTIFICATE, ""))


def _now() -> datetime:
    return datetime.now(timezone.utc)
