# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gives one clear error, an exit code, and costs nothing: the cloud's call log shows no request that makes something."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.playbooks import READS_BY_POST, Playbooks, Run

PREPARED_BY_TESTS = ("PutObject", "CreatePreauthenticatedRequest")
# It asks whether hosts are free, and reserves none.


@pytest.fixture
def playbooks(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> Playbooks:
    return Playbooks(tmp_path, rig.environment(), tenancy.settings)


@pytest.fixture
def nothing_made(rig: RunningRig, tenancy: Tenancy) -> Iterator[None]:
    """After the test: the call log of the tenancy holds reads only, and the cluster no RayCluster that was not there before."""
    since = time.time()
    before = ray_clusters(rig)
    yield
    calls = rig.steer("GET", f"/calls?tenancy={tenancy.compartment_id}&since={since}")
    harmless = PREPARED_BY_TESTS + READS_BY_POST
    made = [call for call in calls if call["method"] != "GET" and call["operation"] not in harmless]
    assert not made, made
    assert ray_clusters(rig) <= before


def ray_clusters(rig: RunningRig) -> set[str]:
    """The RayClusters there are, also those that other tests left to the operator to remove."""
    if not rig.kubectl("get", "customresourcedefinition", "rayclusters.ray.io", "--output=name", "--ignore-not-found"):
        return set()
    found = rig.kubectl(
        "get", "rayclusters", "--all-namespaces", "--output", "jsonpath={.items[*].metadata.uid}", "--ignore-not-found"
    )
    return set(found.split())


def assert_one_fault(run: Run, code: str, *words: str) -> None:
    assert run.code != 0
    assert "Traceback" not in run.output
    assert run.result is not None and run.result["ok"] is False, run.output
    assert [fault["code"] for fault in run.faults] == [code], run.output
    line = json.dumps(run.faults[0])
    for word in words:
        assert word in line, f"{word!r} is not in {line}"
    # What a person sees last, below Ansible's own error.
    last = run.output.rstrip().splitlines()[-12:]
    told = [text.split()[0] for text in last if text.startswith("  ")]
    assert told[:2] == ["Cause", "Place"] and "Remedy" in told, "\n".join(last)


def recipe_of(rig: RunningRig, tenancy: Tenancy, **changes: Any) -> dict[str, Any]:
    """The sample with a model and a PAR of the tenancy."""
    samples.put_model(tenancy.json, rig.configuration)
    return samples.recipe(samples.make_par(tenancy.json, rig.configuration), **changes)


def test_a_missing_file(playbooks: Playbooks, nothing_made: None) -> None:
    run = playbooks.run("deploy", "@/no/such/recipe.json")
    assert run.code != 0
    assert "/no/such/recipe.json" in run.output and "No such file" in run.output


def test_broken_json(playbooks: Playbooks, tmp_path: Path, nothing_made: None) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"recipe_mode": "raycluster",', encoding="utf-8")
    run = playbooks.run("deploy", f"@{broken}")
    assert run.code != 0
    assert str(broken) in run.output


def test_the_samples_placeholder(playbooks: Playbooks, nothing_made: None) -> None:
    run = playbooks.run("deploy", f"@{samples.SAMPLE.with_name('multinode_inference_VM_A10.json')}")
    assert_one_fault(run, "par", "placeholder", "Pre-Authenticated Requests")


def test_an_unknown_cluster(playbooks: Playbooks, rig: RunningRig, tenancy: Tenancy, nothing_made: None) -> None:
    unknown = tenancy.oke_cluster_id[:-6] + "zzzzzz"
    run = playbooks.run("deploy", recipe_of(rig, tenancy), {"oke_cluster_id": unknown})
    assert run.code != 0 and len(run.faults) == 1
    assert unknown in json.dumps(run.faults) and run.faults[0].get("request_id"), run.faults


def test_a_wrong_key(
    playbooks: Playbooks, rig: RunningRig, tenancy: Tenancy, tmp_path: Path, nothing_made: None
) -> None:
    recipe = recipe_of(rig, tenancy)
    config = tmp_path / "config"
    key = tmp_path / "key.pem"
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    lines = Path(tenancy.settings["config_file_location"]).read_text(encoding="utf-8").splitlines()
    config.write_text(
        "\n".join(f"key_file={key}" if line.startswith("key_file") else line for line in lines), encoding="utf-8"
    )
    run = playbooks.run("deploy", recipe, {"config_file_location": str(config)})
    assert run.code != 0 and len(run.faults) == 1, run.output
    assert "401" in json.dumps(run.faults) or "NotAuthenticated" in json.dumps(run.faults), run.faults


def test_an_expired_par(playbooks: Playbooks, rig: RunningRig, tenancy: Tenancy, nothing_made: None) -> None:
    samples.put_model(tenancy.json, rig.configuration)
    par = samples.make_par(tenancy.json, rig.configuration, expires_in=timedelta(seconds=1))
    time.sleep(1.2)
    run = playbooks.run("deploy", samples.recipe(par))
    assert run.code != 0 and len(run.faults) == 1, run.output
    assert "expired" in json.dumps(run.faults)
    secret = par.split("/p/")[1].split("/")[0]
    assert secret not in run.output + json.dumps(run.result)


def test_an_api_server_that_is_away(
    playbooks: Playbooks, rig: RunningRig, tenancy: Tenancy, tmp_path: Path, nothing_made: None
) -> None:
    recipe = recipe_of(rig, tenancy)
    away = tmp_path / "kubeconfig"
    text = rig.kubeconfig.read_text(encoding="utf-8")
    away.write_text(text.replace(rig.configuration.kubernetes.url, "https://127.0.0.1:1"), encoding="utf-8")
    run = playbooks.run("deploy", recipe, {"kubeconfig": str(away)})
    assert_one_fault(run, "unreachable", "https://127.0.0.1:1", "refused")
