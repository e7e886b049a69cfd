# SPDX-License-Identifier: GPL-3.0-or-later
"""What an OKE cluster has from the start, in the rig's: StorageClass, CoreDNS, the device plugin.

Facts imitated (OKE documentation): `oci-bv` is the default class; CoreDNS is a Deployment of kube-system labelled
k8s-app=kube-dns, its pods stand on nodes without GPUs; the add-on NvidiaGpuPlugin is a DaemonSet of kube-system. Nothing
enforces NetworkPolicies until somebody installs it.
"""

from __future__ import annotations

from typing import Any

STORAGE_CLASS: dict[str, Any] = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": "oci-bv",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": "blockvolume.csi.oraclecloud.com",
    "volumeBindingMode": "WaitForFirstConsumer",
    "allowVolumeExpansion": True,
    "reclaimPolicy": "Delete",
}
"""The default class of OKE clusters (OKE documentation, "Setting Up Storage for Kubernetes Clusters")."""

_DNS = {"k8s-app": "kube-dns"}
_PLUGIN = {"k8s-app": "nvidia-gpu-device-plugin"}
_REGISTRY = "iad.ocir.io/oke-public"

COREDNS: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "coredns", "namespace": "kube-system", "labels": _DNS},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": _DNS},
        "template": {
            "metadata": {"labels": _DNS},
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "coredns", "image": f"{_REGISTRY}/coredns:v1.12.1"}],
            },
        },
    },
}

DEVICE_PLUGIN: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "nvidia-gpu-device-plugin", "namespace": "kube-system", "labels": _PLUGIN},
    "spec": {
        "selector": {"matchLabels": _PLUGIN},
        "template": {
            "metadata": {"labels": _PLUGIN},
            "spec": {
                # The kubelet stand-in tells of the GPUs itself, so that no pod need run for it.
                "nodeSelector": {"rig.multinode.inference/device-plugin": "pods"},
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "plugin", "image": f"{_REGISTRY}/nvidia-gpu-device-plugin:v0.17.4"}],
            },
        },
    },
}

OBJECTS = (
    ("/apis/storage.k8s.io/v1/storageclasses", STORAGE_CLASS),
    ("/apis/apps/v1/namespaces/kube-system/deployments", COREDNS),
    ("/apis/apps/v1/namespaces/kube-system/daemonsets", DEVICE_PLUGIN),
)
