# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads what the plan is made of: the deployment, the cluster, the account and the model, side by side in this process."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..module_utils.core.fault import Findings, Refused
from ..module_utils.core.recipe.endpoint_settings import endpoint_resources
from ..module_utils.core.recipe.inputs import Inputs
from ..module_utils.core.recipe.model_source import model_options
from ..module_utils.core.recipe.secret_references import named_secrets
from ..module_utils.core.recipe.vllm_arguments import load_format
from ..module_utils.kube.client import Kubernetes
from ..module_utils.kube.deployment import list_deployments, secret_keys
from ..module_utils.kube.lease import read_version
from ..module_utils.kube.prerequisites import read_surroundings
from ..module_utils.oci.client import Connection, sign_in_by
from ..module_utils.oci.cluster import Wanted, describe
from ..module_utils.oci.file_storage import read_exports
from ..module_utils.sources.facts import model_facts
from ..module_utils.sources.opening import open_source
from .kubernetes_writes import kubernetes_core_version


@dataclass(frozen=True)
class Found:
    """What was read; empty or None where nothing could be asked. lease: `read_version` before the rest was read."""

    deployment: dict[str, Any]
    secrets: dict[str, list[str] | None] | None
    surroundings: dict[str, Any]
    cluster: dict[str, Any] | None
    model: dict[str, Any] | None
    lease: str


def read_all(inputs: Inputs, kubernetes: Kubernetes | None, with_model: bool) -> Found:
    """Return what the plan needs to know. Raises Refused with every fault of every reader.

    kubernetes  None where there is no cluster
    with_model  whether the model's source is read
    """
    findings = Findings()

    def result(reader: Future[Any] | None, otherwise: Any = None) -> Any:
        try:
            return reader.result() if reader else otherwise
        except Refused as refused:
            # Two readers of one cluster that is away say the same.
            findings.faults += [fault for fault in refused.faults if fault not in findings.faults]

    with ThreadPoolExecutor(max_workers=5) as threads:
        # Before the rest: who takes the Lease from now on, and may change what is read here, shows by it.
        lease = result(threads.submit(_lease, inputs, kubernetes), "") if kubernetes else ""
        deployment = threads.submit(_deployment, inputs, kubernetes) if kubernetes else None
        secrets = threads.submit(_secrets, inputs, kubernetes) if kubernetes else None
        surroundings = threads.submit(_surroundings, inputs, kubernetes) if kubernetes else None
        cluster = threads.submit(_cluster, inputs) if inputs.settings["node_provisioner"] == "oke" else None
        model = threads.submit(_model, inputs, deployment) if with_model else None

    found = Found(
        result(deployment, {}), result(secrets), result(surroundings, {}), result(cluster), result(model), lease
    )
    findings.refuse()
    return found


def _lease(inputs: Inputs, kubernetes: Kubernetes) -> str:
    return read_version(kubernetes, inputs.name, inputs.settings["namespace"] or inputs.name)


def _deployment(inputs: Inputs, kubernetes: Kubernetes) -> dict[str, Any]:
    return next(iter(list_deployments(kubernetes, inputs.name)), {})


def _secrets(inputs: Inputs, kubernetes: Kubernetes) -> dict[str, list[str] | None]:
    namespace = inputs.settings["namespace"] or inputs.name
    return {name: secret_keys(kubernetes, namespace, name) for name in named_secrets(inputs.recipe)}


def _surroundings(inputs: Inputs, kubernetes: Kubernetes) -> dict[str, Any]:
    settings, recipe = inputs.settings, inputs.recipe
    shape = recipe["recipe_node_shape"] if settings["node_provisioner"] == "none" else ""
    return read_surroundings(
        kubernetes,
        inputs.name,
        settings["namespace"] or inputs.name,
        settings["kuberay_namespace"],
        settings["helm_binary"],
        kubernetes_core_version(),
        settings["kuberay_chart_version"] if settings["kuberay_upgrade"] else "",
        f"node.kubernetes.io/instance-type={shape}" if shape else "",
        bool(recipe["input_file_system"]),
        settings["kuberay_image_pull_secret"] or "",
        endpoint_resources(settings),
    )


def _connection(inputs: Inputs, resource_ocid: str) -> Connection:
    return Connection(sign_in_by(inputs.settings), resource_ocid)


def _cluster(inputs: Inputs) -> dict[str, Any]:
    settings, recipe = inputs.settings, inputs.recipe
    size, pod_subnet = recipe["recipe_node_pool_size"], recipe["recipe_pod_subnet_ocid"]
    wanted = Wanted(
        inputs.name,
        size if isinstance(size, int) else 0,
        _checks(inputs),
        (pod_subnet,) if pod_subnet else (),
        settings["compute_cluster_id"] or "",
    )
    connection = _connection(inputs, settings["oke_cluster_id"])
    compartment_id = settings["compartment_id"] or ""
    cluster = describe(connection, settings["oke_cluster_id"], compartment_id, recipe["recipe_node_shape"], wanted)
    return {**cluster, "exports": read_exports(connection, recipe["input_file_system"] or [])}


def _checks(inputs: Inputs) -> tuple[str, ...]:
    """Return what is asked of the account before nodes are.

    Hosts that are reserved are free, and count against the limit already.
    """
    recipe, settings = inputs.recipe, inputs.settings
    checks, reserved = ["addresses"], settings["node_pool_capacity_reservation_id"]
    if not recipe["skip_capacity_validation"] and not reserved:
        checks.append("capacity")
    if not recipe["skip_quota_validation"]:
        checks += ["volumes"] if reserved else ["limits", "volumes"]
        if settings["endpoint_exposure"] == "load_balancer":
            checks.append("load_balancer")
    return tuple(checks)


def _model(inputs: Inputs, deployment: Future[dict[str, Any]] | None) -> dict[str, Any]:
    settings, options = inputs.settings, model_options(inputs.recipe)
    choices: dict[str, Any] = {}
    if options["repository"] and deployment and not settings["adopt_defaults"]:
        # The commit that a standing deployment was made with.
        choices = deployment.result().get("choices") or {}
    given = {
        **options,
        "revision": options["revision"] or "main",
        "par": inputs.secrets.get("par"),
        "oci_service_endpoint": settings["oci_service_endpoint"],
        "cluster_id": settings["oke_cluster_id"],
        "huggingface_endpoint": settings["hugging_face_endpoint"],
        # As the pods read it: without a token where they have none.
        "huggingface_token": os.environ.get("HF_TOKEN") if options["with_token"] else "",
        "choices": choices,
    }
    source = open_source(given, lambda resource_ocid: _connection(inputs, resource_ocid))
    return model_facts(source, options["include"], options["exclude"], load_format(inputs.recipe))
