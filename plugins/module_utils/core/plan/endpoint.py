# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a deployment is reached from outside the cluster, and by which names."""

from __future__ import annotations

from ..fault import Findings
from ..recipe.inputs import Inputs
from .types import Endpoint

# external-dns makes the records of the names that it finds in it (external-dns, annotations).
HOSTNAME_ANNOTATION = "external-dns.alpha.kubernetes.io/hostname"


def endpoint_of(inputs: Inputs, findings: Findings) -> Endpoint:
    """Return the exposure, the annotations of its Service, the names of API and dashboard, and who may read metrics."""
    exposure, domain = inputs.settings["endpoint_exposure"], inputs.recipe["service_endpoint_domain"]
    annotations = dict(inputs.settings["service_annotations"] or {})
    hosts: dict[str, str] = {}
    if domain and exposure == "none":
        findings.fault(
            "domain_without_endpoint",
            "service_endpoint_domain",
            f"{domain}, and endpoint_exposure is none",
            "an endpoint that can have a name",
            "give endpoint_exposure: load_balancer, or take service_endpoint_domain out",
        )
    elif domain:
        name = f"{inputs.name}.{domain.lower().strip('.')}"
        hosts = {"api": name, "dashboard": f"dashboard.{name}"}
        annotations.setdefault(HOSTNAME_ANNOTATION, ",".join(hosts.values()))
    return {
        "exposure": exposure,
        "annotations": annotations,
        "hosts": hosts,
        "metrics_namespaces": list(inputs.settings["metrics_namespaces"] or ()),
    }
