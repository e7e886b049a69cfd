# SPDX-License-Identifier: GPL-3.0-or-later
"""What NetworkPolicy objects allow, as the API's documentation says (Kubernetes, networking/v1, NetworkPolicySpec).

The rig has no network plugin that enforces policies, so the objects are evaluated instead:

- a pod that no policy selects for Ingress takes everything; one that some select takes what any of their rules allows
- a rule without `from` is for every source, one without `ports` for every port
- a podSelector alone means pods of the policy's namespace, a namespaceSelector alone all pods of such namespaces
- an address that is no pod is met by an ipBlock, or by a rule without `from`
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Pod:
    """A pod, or with an empty namespace an address outside the cluster; `ports` are its named ports."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    address: str = "10.244.0.9"


def allowed(policies: Sequence[Mapping[str, Any]], source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
    """Say whether `source` may open a connection to `port` of `target`."""
    selecting = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == target.namespace
        and "Ingress" in policy["spec"].get("policyTypes", ["Ingress"])
        and selects(policy["spec"]["podSelector"], target.labels)
    ]
    if not selecting:
        return True
    return any(
        _from(rule.get("from"), policy["metadata"]["namespace"], source)
        and _to(rule.get("ports"), target, port, protocol)
        for policy in selecting
        for rule in policy["spec"].get("ingress") or ()
    )


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Say whether a label selector picks what has `labels`; an empty one picks all."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or ():
        key, operator, values = expression["key"], expression["operator"], expression.get("values") or ()
        good = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not good[operator]:
            return False
    return True


def _from(peers: Sequence[Mapping[str, Any]] | None, namespace: str, source: Pod) -> bool:
    return not peers or any(_peer(peer, namespace, source) for peer in peers)


def _peer(peer: Mapping[str, Any], namespace: str, source: Pod) -> bool:
    if "ipBlock" in peer:
        address = ipaddress.ip_address(source.address)
        block = peer["ipBlock"]
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(cut) for cut in block.get("except") or ()
        )
    if not source.namespace:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], source.namespace_labels):
            return False
    elif source.namespace != namespace:
        return False
    return selects(peer.get("podSelector") or {}, source.labels)


def _to(ports: Sequence[Mapping[str, Any]] | None, target: Pod, port: int, protocol: str) -> bool:
    if not ports:
        return True
    for entry in ports:
        if entry.get("protocol", "TCP") != protocol:
            continue
        wanted = entry.get("port")
        if isinstance(wanted, str):
            wanted = target.ports.get(wanted, -1)
        if wanted is None or wanted <= port <= entry.get("endPort", wanted):
            return True
    return False
