# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployment's objects as the real API server takes them: dry runs on the server, every field validated strictly.

The RayCluster is looked at with the rig's definition (KubeRay's own where RIG_KUBERAY_CRDS names it), and with KubeRay's own
where it lies beside the checkout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import config
from kubernetes.client import ApiClient

from ansible_collections.multinode.inference.plugins.action.deployment import PROGRAMS
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.objects import render, secret
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.make_plan import make_plan
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from rig.configuration import REPOSITORY
from rig.fixtures import RunningRig
from rig.tests.e2e.ray_clusters import definition, namespace
from tests.unit.core.generated import drawn_plan
from tests.unit.core.plans import facts
from tests.unit.core.recipes import CLUSTER, PAR

__all__ = ["definition", "namespace"]  # fixtures
PLURALS = {"NetworkPolicy": "networkpolicies"}
SAMPLES = sorted(path for path in (REPOSITORY / "sample_recipes").glob("*.json") if ".schema." not in path.name)
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(PROGRAMS.glob("*.py"))}


def sample_plan(text: str, namespace: str) -> dict[str, Any]:
    """The plan of a sample recipe, with a source that could be read."""
    recipe = json.loads(text)
    for source in recipe.get("input_object_storage") or ():
        if "par" in source:
            source["par"] = PAR
        if source.get("bucket_name") == "BUCKET":
            source["bucket_name"] = "models"
    return make_plan(read_inputs({**recipe, "oke_cluster_id": CLUSTER, "namespace": namespace}), facts())


@pytest.fixture(scope="module")
def api(rig: RunningRig) -> Iterator[ApiClient]:
    """A client of the rig's API server, as its administrator."""
    with config.new_client_from_config(config_file=str(rig.kubeconfig)) as client:
        yield client


def refusals(api: ApiClient, made: dict[str, Any], group: str) -> list[str]:
    """What the API server says against each of the plan's objects, and the Secrets beside them."""
    objects = render(made, TEXTS)
    objects += [secret(made, kind, {"key": "x"}) for kind in ("api_key_secret", "ray_token_secret", "source_secret")]
    said = []
    for item in objects:
        if item["kind"] == "RayCluster":
            item.update(apiVersion=f"{group}/v1", kind="Check")
        if error := _dry_run(api, item):
            said.append(error)
    return said


def _dry_run(api: ApiClient, item: dict[str, Any]) -> str:
    version, metadata = item["apiVersion"], item["metadata"]
    path = f"/apis/{version}" if "/" in version else f"/api/{version}"
    if "namespace" in metadata:
        path += f"/namespaces/{metadata['namespace']}"
    path += f"/{PLURALS.get(item['kind'], item['kind'].lower() + 's')}/{metadata['name']}"
    query = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "multinode.inference", "force": "true"}
    request = api.param_serialize(
        method="PATCH",
        resource_path=path,
        query_params=list(query.items()),
        header_params={"Content-Type": "application/apply-patch+yaml"},
        body=json.dumps(item).encode(),
        auth_settings=["BearerToken"],
    )
    answer = api.call_api(*request)
    text = answer.read().decode()
    return "" if answer.status in (200, 201) else f"{item['kind']}: {json.loads(text)['message']}"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_sample_recipes(api: ApiClient, definition: str, namespace: str, sample: Any) -> None:
    assert refusals(api, sample_plan(sample.read_text(encoding="utf-8"), namespace), definition) == []


def generated(api: ApiClient, group: str, namespace: str, seeds: range) -> None:
    found = {seed: refusals(api, drawn_plan(seed, namespace=namespace), group) for seed in seeds}
    assert {seed: text for seed, text in found.items() if text} == {}


def test_twenty_generated_recipes(api: ApiClient, definition: str, namespace: str) -> None:
    generated(api, definition, namespace, range(20))


@pytest.mark.soak
def test_two_hundred_generated_recipes(api: ApiClient, definition: str, namespace: str) -> None:
    generated(api, definition, namespace, range(1000, 1200))


def test_what_is_wrong_is_found(api: ApiClient, definition: str, namespace: str) -> None:
    """The check itself sees a field that no Kubernetes has, and a value of another type."""
    made = drawn_plan(1, namespace=namespace)
    made["pod"]["node_selector"] = {"a": {"b": "c"}}
    (said,) = refusals(api, made, definition)
    assert "nodeSelector" in said
    policy = next(item for item in render(made, {}) if item["kind"] == "NetworkPolicy")
    policy["spec"]["colour"] = "red"
    assert "colour" in _dry_run(api, policy)
