# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Can the cluster take a deployment? Judged before anything is made, by what `kubernetes_info` read.

What could not be read is None, and says nothing against the cluster: rights have their own check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..catalog.kuberay import behind, not_to_upgrade
from ..catalog.kubernetes_rights import report_missing
from ..fault import Findings, fault_of
from .types import Pod

# How many nodes that do not fit are named.
_NAMED = 8
_UNITS = (("gpus", "GPUs"), ("cpu", "vCPU"), ("memory_gib", "GiB of memory"), ("ephemeral_gib", "GiB of disk"))


def check_prerequisites(
    found: Mapping[str, Any], pod: Pod, nodes: int, settings: Mapping[str, Any], findings: Findings
) -> None:
    """Add what stands against a deployment, and what it has to do without.

    found  `cluster` of `kubernetes_info`; empty without a cluster
    pod    of the plan; nodes: how many of such pods, each on a node of its own
    """
    if not found:
        return
    findings.faults += map(fault_of, [*found["operator_faults"], *found["not_ours"]])
    report_missing(found["missing_rights"], findings)
    if operator := found["operator"]:
        if fault := not_to_upgrade(operator, settings):
            findings.faults.append(fault)
        if (warning := behind(operator, settings)) and not settings["kuberay_upgrade"]:
            findings.warnings.append(warning)
    if missing := found["definitions_missing"]:
        findings.fault(
            "prometheus_operator_missing",
            "monitoring",
            f"the cluster has no {' and no '.join(missing)}",
            "the definitions of prometheus-operator",
            "install it (its Helm chart, or kube-prometheus-stack), or set monitoring: none",
        )
    _check_system_node(found, findings)
    _check_dns(found, findings)
    _check_storage_classes(found, pod, findings)
    _check_advertisers(found, findings)
    if found["policy_engines"] == []:
        findings.warn(
            "network_policy_not_enforced",
            "cluster",
            "nothing that enforces NetworkPolicies was found",
            "Calico or another that does",
            "the group's ports, Ray's among them, are open to every pod of the cluster: install Calico (OKE, "
            '"Installing Calico")',
        )
    if found["gpu_nodes"] is not None and nodes:
        _check_gpu_nodes(found["gpu_nodes"], pod, nodes, findings)


def _check_system_node(found: Mapping[str, Any], findings: Findings) -> None:
    """The operator and CoreDNS tolerate no taint; nodes with GPUs have one."""
    if found["system_nodes"] is None or found["system_nodes"] or (found["operator_available"] and _dns_ready(found)):
        return
    findings.fault(
        "system_node_missing",
        "cluster",
        f"none of its {found['nodes']} nodes is Ready, schedulable and without a taint",
        "such a node for CoreDNS and the KubeRay operator",
        "create a node pool without GPUs; one node of 2 OCPUs will do",
    )


def _dns_ready(found: Mapping[str, Any]) -> bool:
    return any(entry["ready"] > 0 for entry in found["dns"] or [])


def _check_dns(found: Mapping[str, Any], findings: Findings) -> None:
    if found["dns"] is None or _dns_ready(found):
        return
    names = ", ".join(f"{entry['name']} with 0 of {entry['wanted']} pods ready" for entry in found["dns"])
    findings.fault(
        "dns_not_ready",
        "cluster",
        names or "no CoreDNS in namespace kube-system",
        "CoreDNS with a pod that is ready",
        "pods find each other by name: see why its pods do not run" if names else "enable OKE's add-on CoreDNS",
    )


def _check_storage_classes(found: Mapping[str, Any], pod: Pod, findings: Findings) -> None:
    known = found["storage_classes"]
    if known is None:
        return
    classes = [volume["storage_class"] for volume in pod["volumes"] if volume["kind"] == "block"]
    for name in sorted({name for name in classes if name} - set(known)):
        findings.fault(
            "storage_class_missing",
            "model_storage_class",
            name,
            f"one of {', '.join(sorted(known))}" if known else "a StorageClass of the cluster, which has none",
            "name another, or create it",
        )


def _check_advertisers(found: Mapping[str, Any], findings: Findings) -> None:
    """Two device plugins fight over the kubelet's one socket; without any, no node has GPUs to Kubernetes."""
    advertisers = found["advertisers"]
    if advertisers is None:
        return
    if len(advertisers) > 1:
        findings.fault(
            "gpus_advertised_twice",
            "cluster",
            " and ".join(sorted(advertisers)),
            "one device plugin for NVIDIA GPUs",
            "disable OKE's add-on NvidiaGpuPlugin, or the GPU operator's plugin (devicePlugin.enabled=false)",
        )
    elif not advertisers and not any(node["allocatable"]["gpus"] for node in found["gpu_nodes"] or []):
        findings.warn(
            "gpus_not_advertised",
            "cluster",
            "no device plugin for NVIDIA GPUs was found",
            "one: without it Kubernetes sees no GPUs",
            "enable OKE's add-on NvidiaGpuPlugin, or install NVIDIA's GPU operator",
        )


def _check_gpu_nodes(nodes: Sequence[Mapping[str, Any]], pod: Pod, wanted: int, findings: Findings) -> None:
    """As many of the nodes that exist have to take a pod as the group has."""
    needed = {
        "gpus": pod["gpus"],
        "cpu": pod["cpu"],
        "memory_gib": pod["memory_gib"],
        "ephemeral_gib": pod["ephemeral_storage_gib"],
    }
    matching = [
        node for node in nodes if all(node["labels"].get(key) == value for key, value in pod["node_selector"].items())
    ]
    against = {node["name"]: _against(node, needed, pod["tolerations"]) for node in matching}
    fitting = sum(not reasons for reasons in against.values())
    if fitting >= wanted:
        return
    unfit = [f"{name}: {', '.join(reasons)}" for name, reasons in sorted(against.items()) if reasons]
    if len(unfit) > _NAMED:
        unfit = [*unfit[:_NAMED], f"and {len(unfit) - _NAMED} more"]
    selector = ",".join(f"{key}={value}" for key, value in pod["node_selector"].items())
    findings.fault(
        "gpu_nodes_too_few",
        f"nodes with {selector}",
        f"{fitting} of {len(matching)} can take a pod" + ("; " + "; ".join(unfit) if unfit else ""),
        f"{wanted}, each with " + ", ".join(f"{needed[key]:g} {unit}" for key, unit in _UNITS) + " free",
        "free them, lower what a pod asks for, or let deploy create a node pool (node_provisioner: oke)",
    )


def _against(
    node: Mapping[str, Any], needed: Mapping[str, float], tolerations: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return what keeps a pod off the node, nothing where it fits."""
    reasons = [] if node["ready"] else ["not Ready"]
    reasons += [] if node["schedulable"] else ["cordoned"]
    tolerated = {"nvidia.com/gpu", *(entry.get("key") for entry in tolerations)}
    reasons += [f"taint {taint}" for taint in node["taints"] if taint not in tolerated]
    for key, unit in _UNITS:
        whole, free = node["allocatable"][key], node["allocatable"][key] - node["requested"][key]
        if free < needed[key]:
            reasons.append(f"{max(0, free):.4g} of {whole:.4g} {unit} free")
    return reasons
