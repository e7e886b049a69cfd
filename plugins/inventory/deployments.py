# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: deployments
short_description: Deployments of a cluster as hosts
version_added: 0.1.0
description:
  - Makes one host of each deployment that this collection made in a cluster, with its state, endpoint, model, shape, nodes and price,
    each as a variable C(multinode_<name>). C(multinode_endpoint) is the URL of its API, C(multinode_endpoint_host) that URL's host, both
    empty where there is none; C(multinode_model) the name that requests give.
  - A host is called like its deployment. Where two have one name, the namespace follows it.
  - The file's name ends in C(multinode.yml) or C(multinode.yaml).
  - Nothing runs on these hosts. They are there to pick deployments by state or price, and to hand their names to playbooks.
author:
  - multinode.inference contributors (@multinode-inference)
options:
  plugin:
    description: Says that the file is one of this plugin.
    type: str
    required: true
    choices: [multinode.inference.deployments, deployments]
  oke_cluster_id:
    description: OCID of the OKE cluster, which the OCI sign-in reaches where no kubeconfig is given.
    type: str
  kubeconfig:
    description: Path of a kubeconfig that reaches the cluster. Without it E(K8S_AUTH_KUBECONFIG) or E(KUBECONFIG), else the OCI sign-in.
    type: path
  kubeconfig_context:
    description: Context in the kubeconfig. Without it its current one.
    type: str
  kubernetes_endpoint:
    description: Endpoint of the cluster that the OCI sign-in reaches.
    type: str
    choices: [auto, public, private]
    default: auto
  auth_type:
    description: How to sign in to Oracle Cloud. Without it E(OCI_ANSIBLE_AUTH_TYPE), else V(api_key).
    type: str
    choices: [api_key, security_token, instance_principal, resource_principal, workload_identity]
  config_file_location:
    description: OCI configuration file. Without it E(OCI_CONFIG_FILE), else C(~/.oci/config).
    type: path
  config_profile_name:
    description: Profile in that file. Without it E(OCI_CONFIG_PROFILE), else C(DEFAULT).
    type: str
  region:
    description: OCI region. Without it that of the cluster's OCID.
    type: str
  oci_service_endpoint:
    description: URL of the OCI services, or a mapping of service to URL.
    type: raw
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
"""

EXAMPLES = r"""
# deployments.multinode.yml
plugin: multinode.inference.deployments
oke_cluster_id: ocid1.cluster.oc1.iad.aaaa
keyed_groups:
  - key: multinode_state | lower
    prefix: state
groups:
  expensive: multinode_usd_per_hour | default(0, true) > 50
"""

import re
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var

from ..module_utils.core.fault import Refused
from ..module_utils.core.parts import inner
from ..module_utils.kube.deployment import list_deployments
from ..plugin_utils.cluster import Cluster

_SETTINGS = (
    "oke_cluster_id",
    "kubeconfig",
    "kubeconfig_context",
    "kubernetes_endpoint",
    "auth_type",
    "config_file_location",
    "config_profile_name",
    "region",
    "oci_service_endpoint",
)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
# What a host tells of its deployment; each becomes the variable multinode_<key>.
_SHOWN = (
    "name",
    "namespace",
    "deployment_name",
    "recipe_name",
    "state",
    "ready",
    "shape",
    "nodes",
    "gpus",
    "usd_per_hour",
    "age_seconds",
    "model",
    "endpoint",
    "endpoint_host",
)
# Hosts and groups that Ansible has of its own.
_TAKEN = ("localhost", "all", "ungrouped")


def _shown(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a host tells of its deployment."""
    endpoint, names = entry.get("endpoint") or {}, (entry.get("values") or {}).get("model.served_names")
    model = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    host = inner(endpoint, "hosts").get("api")
    host = host if isinstance(host, str) and _HOST.fullmatch(host) else ""
    plain = endpoint.get("tls") == "none"
    # A load balancer without TLS has the engine's port, which is not recorded.
    known = host and not (plain and endpoint.get("exposure") == "load_balancer")
    url = f"{'http' if plain else 'https'}://{host}" if known else ""
    shown = {**entry, "model": model, "endpoint": url, "endpoint_host": host}
    return {name: shown[name] for name in _SHOWN if name in shown}


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """One host per deployment."""

    NAME = "multinode.inference.deployments"

    def verify_file(self, path: str) -> bool:
        """Say whether the file is one of ours, by its name."""
        return bool(super().verify_file(path)) and path.endswith(("multinode.yml", "multinode.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Read the cluster, or the cache, and add the hosts."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        found = self._deployments(path, cache)
        names = [entry["name"] for entry in found]
        for entry in found:
            # Another of the name can only be somebody else's: neither takes the other's place.
            unique = names.count(entry["name"]) == 1 and entry["name"] not in _TAKEN
            self._add(entry["name"] if unique else f"{entry['name']}.{entry['namespace']}", entry)

    def _deployments(self, path: str, cache: bool) -> list[dict[str, Any]]:
        key = self.get_cache_key(path)
        if cache and self.get_option("cache"):
            try:
                return list(self._cache[key])
            except KeyError:
                pass
        try:
            settings = {name: self.get_option(name) for name in _SETTINGS}
            # With the endpoints a deployment that cannot be read is a row of its own, and hides no other.
            found = [_shown(entry) for entry in list_deployments(Cluster(settings).connect(), with_endpoint=True)]
        except Refused as refused:
            raise AnsibleParserError(str(refused)) from None
        if self.get_option("cache"):
            self._cache[key] = found
        return found

    def _add(self, host: str, entry: Mapping[str, Any]) -> None:
        self.inventory.add_host(host)
        for name, value in entry.items():
            # Annotations are anybody's text: never a template (ansible-core before 2.19 would take it for one).
            self.inventory.set_variable(host, f"multinode_{name}", wrap_var(value))
        variables = self.inventory.get_host(host).get_vars()
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, host, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, host, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host, strict=strict)
