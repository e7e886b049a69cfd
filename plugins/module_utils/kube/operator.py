# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Is there a KubeRay operator that serves, and if not, a Helm that can install one?"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

from ..core.fault import Fault, Refused
from ..core.parts import inner
from ..core.version import read_version
from .client import Kubernetes

# Token authentication (spec.authOptions) came with KubeRay 1.5.1 (release notes).
OLDEST = (1, 5, 1)
SELECTOR = "app.kubernetes.io/name=kuberay-operator"
# With it workers reach no port of the head by its name but those that its container declares, and the programs take others.
_HEAD_CLUSTER_IP = "ENABLE_RAY_HEAD_CLUSTER_IP_SERVICE"
DEPLOYMENTS = "/apis/apps/v1/deployments"
_IMAGE = re.compile(r"kuberay[^:@]*operator", re.IGNORECASE)
# The oldest kubernetes.core that can run each Helm: from 6.5 on it leaves out options that Helm 4 no longer has (its changelog).
_HELM = {3: (6, 0, 0), 4: (6, 5, 0)}
# What is told of an operator.
SHOWN = ("version", "namespace", "release")
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rayclusters.ray.io"


def find_operator(kubernetes: Kubernetes) -> dict[str, Any]:
    """Return {installed, usable, version, namespace, release, available, crd, fields}.

    release: <namespace>/<name> of Helm's release that it is part of, None where Helm did not install it.
    fields: the keys of RayCluster's spec that the installed CRD knows, and those of its authOptions.
    Raises Refused where an operator is installed that cannot serve: it is somebody's, so it is left alone, and none is
    installed beside it. Of several, each has to serve: whose a RayCluster becomes is not ours to say.
    """
    crd = kubernetes.get(_CRD)
    deployments = [item for item in kubernetes.items(DEPLOYMENTS) if _is_operator(item)]
    found: dict[str, Any] = {
        "installed": bool(deployments),
        "usable": False,
        "version": None,
        "namespace": None,
        "release": None,
        "available": False,
        "crd": crd is not None,
        "fields": _spec_fields(crd) if crd else [],
    }
    if not deployments:
        return found
    for deployment in reversed(deployments):
        _judge(deployment, found)
    return found


def shown_operator(kubernetes: Kubernetes) -> dict[str, Any] | None:
    """Return {version, namespace, release} of the operator; None where there is none, or none that can be used or read."""
    try:
        found = find_operator(kubernetes)
    except Refused:
        return None
    return {key: found[key] for key in SHOWN} if found["installed"] else None


def _is_operator(deployment: dict[str, Any]) -> bool:
    """By the chart's label, or by the image: who installs it otherwise may label it otherwise."""
    metadata = deployment["metadata"]
    key, _equals, value = SELECTOR.partition("=")
    if (metadata.get("labels") or {}).get(key) == value:
        return True
    pod = inner(deployment, "spec", "template", "spec")
    return any(_IMAGE.search(str(one.get("image") or "")) for one in pod.get("containers") or ())


def _judge(deployment: dict[str, Any], found: dict[str, Any]) -> None:
    """Put what the Deployment of an operator says into `found`; see `find_operator`."""
    metadata = deployment["metadata"]
    containers = inner(deployment, "spec", "template", "spec").get("containers") or [{}]
    container = containers[0]
    image = str(container.get("image") or "")
    version = read_version(image.rpartition(":")[2]) or read_version(
        (metadata.get("labels") or {}).get("app.kubernetes.io/version", "")
    )
    found["namespace"] = metadata["namespace"]
    marks = metadata.get("annotations") or {}
    if release := marks.get("meta.helm.sh/release-name"):
        found["release"] = f"{marks.get('meta.helm.sh/release-namespace')}/{release}"
    else:
        found["release"] = None
    found["version"] = ".".join(map(str, version)) if version else None
    found["available"] = (deployment.get("status") or {}).get("availableReplicas", 0) > 0
    if version and version < OLDEST:
        raise Refused(
            [
                Fault(
                    "kuberay_too_old",
                    f"KubeRay operator in namespace {metadata['namespace']}",
                    found["version"],
                    f"{'.'.join(map(str, OLDEST))} or newer",
                    "upgrade it (helm upgrade), or remove it so that deploy installs its own",
                )
            ]
        )
    variables = {entry["name"]: str(entry.get("value") or "") for entry in container.get("env") or ()}
    if variables.get(_HEAD_CLUSTER_IP, "").lower() == "true":
        raise Refused(
            [
                Fault(
                    "kuberay_head_service",
                    f"KubeRay operator in namespace {metadata['namespace']}",
                    f"{_HEAD_CLUSTER_IP} is true",
                    "false: the pods of a group reach the head on ports that its Service does not forward",
                    f"remove {_HEAD_CLUSTER_IP} from the operator's environment (env of its chart), and restart it",
                )
            ]
        )
    if "authOptions" not in found["fields"]:
        raise Refused(
            [
                Fault(
                    "kuberay_not_usable",
                    f"KubeRay operator in namespace {metadata['namespace']}",
                    "its RayCluster CRD has no authOptions" if found["crd"] else "there is no RayCluster CRD",
                    f"that of KubeRay {'.'.join(map(str, OLDEST))} or newer",
                    "ask its owner to upgrade it with its CRDs (kubectl apply --server-side), or remove it so that "
                    "deploy installs its own",
                )
            ]
        )
    found["usable"] = True


def _spec_fields(crd: dict[str, Any]) -> list[str]:
    for version in inner(crd, "spec").get("versions") or ():
        if version["name"] == "v1":
            known = inner(version, "schema", "openAPIV3Schema", "properties", "spec", "properties")
            authentication = inner(known, "authOptions", "properties")
            return sorted([*known, *(f"authOptions.{name}" for name in authentication)])
    return []


def find_helm(binary: str | None, kubernetes_core: str = "") -> dict[str, str]:
    """Return {path, version} of Helm 3 or 4. Raises Refused where there is none that can be used.

    kubernetes_core  version of the collection that runs Helm; "" where it is not known: then any Helm counts
    """
    ways_out = (
        "install Helm on the controller or give `helm_binary`; or install the KubeRay operator yourself "
        "(then Helm is not needed)"
    )
    expected = "Helm 3 or 4"
    path = shutil.which(binary or "helm")
    if path is None:
        raise Refused([Fault("no_helm", "helm_binary", f"{binary or 'helm'} is not there", expected, ways_out)])
    try:
        run = subprocess.run(
            [path, "version", "--template", "{{.Version}}"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Refused([Fault("no_helm", "helm_binary", f"{path} does not run: {error}", expected, ways_out)]) from None
    version = run.stdout.strip()
    numbers, runner = read_version(version), read_version(kubernetes_core)
    if numbers is None or numbers[0] not in _HELM:
        raise Refused([Fault("helm_version", "helm_binary", f"{path} is Helm {version}", expected, ways_out)])
    if runner and runner < _HELM[numbers[0]]:
        needed = ".".join(map(str, _HELM[numbers[0]]))
        raise Refused(
            [
                Fault(
                    "helm_version",
                    "helm_binary",
                    f"{path} is Helm {version}, and kubernetes.core is {kubernetes_core}",
                    f"kubernetes.core {needed} or newer with Helm {numbers[0]}, or Helm 3",
                    f"ansible-galaxy collection install --upgrade 'kubernetes.core:>={needed},<7.0.0'; or {ways_out}",
                )
            ]
        )
    return {"path": path, "version": version}
