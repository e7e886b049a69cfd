# SPDX-License-Identifier: GPL-3.0-or-later
"""What a playbook's result is made of."""

from __future__ import annotations

import inspect
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault
from ansible_collections.multinode.inference.plugins.plugin_utils.playbook_results import (
    ca_file_of,
    deploy,
    left_behind,
    nodes_cost,
    nodes_left,
    stopped,
    timeline,
    undeploy,
)
from ansible_collections.multinode.inference.plugins.plugin_utils.reporting.status import not_ready, status
from tests.unit.core.plans import exposed, plan

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}.000Z"


def test_the_timeline_has_no_gap() -> None:
    results: dict[str, Any] = {
        "recipe": {"started": at(0), "ended": at(1)},
        "preflight": {"started": at(3), "ended": at(4)},
        "node_pool": {"started": at(4), "ended": at(5)},
        "kuberay": {"started": at(5), "ended": at(20)},
        "raycluster": {"started": at(20), "ended": at(22)},
        "endpoint": {"started": at(22), "timeline": [{"phase": "nodes", "start": at(22), "end": at(30)}]},
    }
    entries = [(entry["phase"], entry["seconds"]) for entry in timeline(results)]
    assert entries == [
        ("recipe", 1),
        ("preflight", 3),
        ("node_pool", 1),
        ("kuberay", 15),
        ("raycluster", 2),
        ("nodes", 8),
    ]


def test_a_run_that_failed_early_has_the_phases_it_reached() -> None:
    assert timeline({"recipe": {"started": at(0), "ended": at(1)}, "preflight": {}}) == [
        {"phase": "recipe", "start": at(0), "end": at(1), "seconds": 1.0}
    ]
    assert timeline({}) == []


def deployment(name: str, ready: bool) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": name,
        "state": "Ready" if ready else "Staging",
        "ready": ready,
        "shape": "VM.GPU.A10.1",
        "nodes": 2,
        "usd_per_hour": 4.0,
        "age_seconds": 7300,
        "failure": None,
        "measured": {},
        "planned": {},
        "benchmark": {},
        "paused": None,
        "phases": {"nodes": "2/2 nodes with 1 GPU", "staging": "1/2 nodes staged"},
    }


def test_status_is_a_table_and_names_the_halves_of_deployments() -> None:
    tags = {"multinode-inference-deployment": "lost"}
    pool = {
        "name": "lost",
        "id": "ocid1.nodepool.x",
        "nodes": [{}, {}],
        "node_shape": "VM.GPU.A10.1",
        "freeform_tags": tags,
    }
    without_pool, on_other_nodes = deployment("b", False), deployment("a", True)
    without_pool["last_failure"] = "restart 2 of 5: it died"
    without_pool["own_nodes"], on_other_nodes["own_nodes"] = True, False
    results = {
        "status": {"deployments": [on_other_nodes, without_pool]},
        "node_pool": {"node_pools": [pool]},
    }
    details, lines = status(results)
    assert lines[1].split() == ["a", "a", "Ready", "2", "VM.GPU.A10.1", "4.00", "2h"]
    assert lines[2].split()[:3] == ["b", "b", "Staging"]
    assert lines[3].strip() == (
        "waiting for: restart 2 of 5: it died; nodes: 2/2 nodes with 1 GPU; staging: 1/2 nodes staged"
    )
    assert lines[-2] == "node pool lost (2 nodes, 4.00 USD an hour) has no RayCluster: run deploy again, or undeploy."
    assert lines[-1] == "RayCluster b has lost its node pool: run deploy again, or undeploy."
    assert [fault["code"] for fault in not_ready(details, {})] == ["not_ready", "orphan", "orphan"]


def test_a_paused_deployment_is_neither_an_orphan_nor_a_fault() -> None:
    balancer = {"what": "load balancer, with its address", "usd_per_hour": 0.0113}
    paused = {"since": "2026-11-30T20:00:00.000Z", "by": "alice@ws1", "kept": [balancer]}
    entry = {**deployment("a", False), "state": "Paused", "own_nodes": True, "paused": paused}
    entry["failure"] = {"where": "pod a-head", "found": "gone"}
    details, lines = status({"status": {"deployments": [entry]}, "node_pool": {"node_pools": []}})
    assert (
        details["orphans"] == []
        and not_ready(details, {"recipe": {"name": "a"}, "status": {"deployments": [entry]}}) == []
    )
    assert lines[2] == "  waiting for: resume; paused since 2026-11-30T20:00:00.000Z by alice@ws1"
    assert lines[3] == "  keeps load balancer, with its address (0.0113 US dollars an hour)"


def test_nodes_of_a_paused_deployment_are_told() -> None:
    """A pause that was killed, or a pool that was scaled by hand, bills what nobody expects."""
    entry = {**deployment("a", False), "state": "Paused", "own_nodes": True}
    entry["paused"] = {"since": "", "by": "", "kept": []}
    nodes = [{"lifecycle_state": "ACTIVE"}, {"lifecycle_state": "DELETED"}, {"lifecycle_state": "DELETING"}]
    pool = {"freeform_tags": {"multinode-inference-deployment": "a"}, "nodes": nodes}
    found = {"status": {"deployments": [entry]}, "node_pool": {"node_pools": [pool]}}
    details, lines = status(found)
    assert [fault["code"] for fault in details["warnings"]] == ["paused_with_nodes"]
    assert lines[-1].startswith("Warning: node pool a: 1 nodes, which are billed")
    pool["nodes"] = nodes[1:]
    assert status(found)[0]["warnings"] == []


def test_a_name_that_is_not_there_is_told_with_the_nearest() -> None:
    found = {"recipe": {"name": "lama"}, "status": {"deployments": [], "nearest": "llama"}}
    (fault,) = not_ready({"deployments": [], "orphans": []}, found)
    assert (fault["code"], fault["where"], fault["remedy"]) == (
        "no_deployment",
        "deployment lama",
        "did you mean llama?",
    )
    _details, lines = undeploy({"recipe": {"name": "lama"}, "undeploy": {"removed": [], "nearest": "llama"}})
    assert lines == ["There was nothing to remove.", "There is no deployment lama; did you mean llama?"]


def test_without_a_look_at_the_node_pools_nobody_is_an_orphan() -> None:
    entry = {**deployment("a", True), "own_nodes": True}
    details, _lines = status({"status": {"deployments": [entry]}, "node_pool": {"skipped": True}})
    assert details["orphans"] == []


def test_secrets_without_a_raycluster_are_named_wherever_the_nodes_are_from() -> None:
    request = {"name": "multinode-inference-a-1", "bucket": "models", "namespace": "tenancy"}
    left = {"name": "a", "namespace": "team", "secrets": ["a-source"], "source_request": request}
    details, lines = status({"status": {"deployments": [], "leftovers": [left]}})
    assert lines[-1] == (
        "Secret a-source in namespace team has no RayCluster, perhaps with pre-authenticated request "
        "multinode-inference-a-1 of bucket models: run deploy again, or undeploy."
    )
    assert [fault["code"] for fault in not_ready(details, {"recipe": {"name": "a"}})] == ["orphan"]


def test_undeploy_says_what_is_left_and_what_could_not_be_looked_for() -> None:
    fault = {"code": "not_removed", "where": "Pod/a", "found": "still there", "expected": "gone", "remedy": ""}
    rest = {"code": "left_behind", "where": "volume csi-1", "found": "AVAILABLE", "expected": "gone", "remedy": ""}
    unseen = {"code": "cloud_not_authorized", "where": "c", "found": "listing instances: 403", "remedy": "allow it"}
    results: dict[str, Any] = {
        "undeploy": {"removed": ["RayCluster/a"], "kept": ["Namespace/b (…)"], "left": [fault]},
        "node_pool": {"changed": True, "node_pool": {"name": "a"}},
        "leftover": {"remainder": [], "left": [], "unseen": []},
    }
    assert left_behind(results) == [fault]
    # What its nodes blocked went with them.
    results["retry"] = {"removed": ["Pod/a"], "left": []}
    assert left_behind(results) == []
    details, lines = undeploy(results)
    assert details["removed"] == ["RayCluster/a", "Pod/a", "node pool a"]
    assert lines[-1].startswith("checked ")
    results["leftover"] = {"remainder": [{}], "left": [rest], "unseen": [unseen]}
    assert left_behind(results) == [rest]
    details, lines = undeploy(results)
    assert details["unseen"] == [unseen]
    assert lines[-1] == "unseen   c: listing instances: 403; allow it"
    # Which volumes there were is for the cluster to say.
    results["retry"]["unseen"] = [{"code": "volumes_unseen", "where": "v", "found": "403", "remedy": "look"}]
    results["leftover"] = {"remainder": [], "left": [], "unseen": []}
    details, lines = undeploy(results)
    assert [fault["code"] for fault in details["unseen"]] == ["volumes_unseen"]
    assert not [line for line in lines if line.startswith("checked")]


def test_undeploy_without_an_api_server_says_what_it_did_not_look_at() -> None:
    away = {"code": "unreachable", "where": "Kubernetes API", "found": "no answer", "expected": "", "remedy": ""}
    nothing = {"removed": [], "kept": [], "left": [], "volumes": [], "load_balancers": []}
    results: dict[str, Any] = {
        "recipe": {"name": "a"},
        "undeploy": {**nothing, "unreached": [away]},
        "node_pool": {"changed": True, "node_pool": {}},
        "retry": {**nothing, "unreached": [away]},
        "leftover": {"remainder": [], "left": [], "unseen": []},
    }
    faults = left_behind(results)
    assert [fault["code"] for fault in faults] == ["unreachable", "objects_left"]
    assert "block volumes and a load balancer" in faults[1]["found"] and "again" in faults[1]["remedy"]
    details, lines = undeploy(results)
    assert details["removed"] == ["node pool a"]
    assert not [line for line in lines if line.startswith("checked")]
    # It came back meanwhile.
    results["retry"] = {**nothing, "removed": ["RayCluster/a"], "kept": ["Namespace/a (…)"], "unreached": []}
    assert left_behind(results) == []
    details, lines = undeploy(results)
    assert details["removed"] == ["RayCluster/a", "node pool a"] and details["kept"] == ["Namespace/a (…)"]
    assert lines[-1].startswith("checked ")


def test_a_deploy_that_failed_says_what_its_nodes_cost_where_its_faults_do_not() -> None:
    prices = {"gpu_hour": "2", "volume_gb_month": "0", "volume_vpu_month": "0"}
    results: dict[str, Any] = {"preflight": {"plan": plan(prices=prices)}, "node_pool": {"node_pool": {"id": "pool"}}}
    (warning,) = nodes_cost(results, [{"code": "engine_failed"}])
    assert warning["found"] == (
        "4 x VM.GPU.A10.2 cost 16.00 US dollars an hour with their volumes until undeploy: "
        "ansible-playbook multinode.inference.undeploy -e deployment_name=raycluster_vm_test -e @settings.yml"
    )
    assert nodes_cost(results, [{"code": "timeout"}]) == []
    assert nodes_cost({**results, "node_pool": {}}, [{"code": "cloud_conflict"}]) == [], "none were asked for"
    assert nodes_cost({"preflight": {}}, [{"code": "right_missing"}]) == []
    on_nodes_there = {"preflight": {"plan": {**plan(), "node_pool": None}}, "node_pool": {"node_pool": {}}}
    assert nodes_cost(on_nodes_there, [{"code": "engine_failed"}]) == []


def test_the_last_lines_of_a_failure_are_cause_place_remedy_price_and_command_once() -> None:
    prices = {"gpu_hour": "2", "volume_gb_month": "0", "volume_vpu_month": "0"}
    results: dict[str, Any] = {
        "preflight": {"plan": plan(prices=prices)},
        "node_pool": {"node_pool": {"id": "pool"}},
        "raycluster": {"ended": "2026-01-01T00:00:00Z"},
    }
    fault = Fault("runtime", "pod llama-head-x", "engine: no GPU memory is left", "", "use more nodes").as_dict()
    lines = stopped("deploy", "Wait for it", [fault], nodes_cost(results, [fault]), results)
    assert [line.split()[0] for line in lines] == ["deploy", "Cause", "Place", "Remedy", "Cost", "Run"]
    assert len("\n".join(lines).split("no GPU memory is left")) == 2
    assert "cost 16.00 US dollars an hour" in lines[4]
    assert "multinode.inference.logs -e deployment_name=raycluster_vm_test" in lines[5]
    of_recipe = Fault("gpus", "recipe_nvidia_gpu_count", "6", "8", "give 8").as_dict()
    assert stopped("plan", "Check it", [of_recipe], [], {})[1] == "  Cause     recipe_nvidia_gpu_count: 6"
    many = stopped("deploy", "Check it", [fault] * 9, [], {})
    assert len(many) == 10 and many[1] == "  pod llama-head-x: engine: no GPU memory is left; use more nodes"


def test_undeploy_that_stopped_before_the_node_pool_says_that_nodes_may_bill() -> None:
    recipe = {"name": "llama", "settings": {"oke_cluster_id": "ocid1.cluster.oc1.iad.aaaa"}}
    (fault,) = nodes_left({"recipe": recipe, "undeploy": {"failed": True}, "node_pool": {}}, [])
    assert (fault["code"], fault["where"]) == ("nodes_left", "node pool llama")
    assert "billed" in fault["found"]
    # The pool's own task says what went wrong with it, and without a cluster of OKE there is no pool.
    assert nodes_left({"recipe": recipe, "node_pool": {"failed": True, "changed": False}}, []) == []
    assert nodes_left({"recipe": {"name": "llama", "settings": {"oke_cluster_id": None}}}, []) == []
    # The deployment of that name is another one.
    assert nodes_left({"recipe": recipe}, [{"code": "name_taken"}]) == []


def test_a_deployment_that_was_asked_for_and_is_not_there_is_a_fault() -> None:
    details, _lines = status({"status": {"deployments": []}})
    assert [fault["code"] for fault in not_ready(details, {"recipe": {"name": "nobody"}})] == ["no_deployment"]
    assert not_ready(details, {}) == []


@pytest.mark.parametrize(
    ("endpoint", "codes"),
    [
        ({}, []),
        ({"exposure": "none", "tls": None, "until": None}, []),
        ({"exposure": "load_balancer", "tls": "none"}, ["endpoint_without_tls"]),
        ({"exposure": "ingress", "tls": "self_signed", "until": "2020-01-01T00:00:00+00:00"}, ["certificate_expires"]),
        ({"exposure": "ingress", "tls": "self_signed", "until": "2999-01-01T00:00:00+00:00"}, []),
        ({"exposure": "ingress", "tls": "self_signed", "until": "2020-01-01"}, []),
        ({"exposure": "ingress", "tls": "issuer", "until": None}, []),
    ],
)
def test_status_warns_of_an_endpoint_without_tls_or_with_a_certificate_that_expires(
    endpoint: dict[str, Any], codes: list[str]
) -> None:
    details, lines = status({"status": {"deployments": [{**deployment("a", True), "endpoint": endpoint}]}})
    assert [warning["code"] for warning in details["warnings"]] == codes
    assert len([line for line in lines if line.startswith("Warning: deployment ")]) == len(codes)


SERVED = {
    "state": "Ready",
    "model": "it's; a $(model)",
    "completion": " Paris",
    "key_command": "echo the-key",
    "recipes": {"a-raycluster-app": "https://llama.192-0-2-7.nip.io"},
    "url": "https://llama.192-0-2-7.nip.io",
    "host": "llama.192-0-2-7.nip.io",
    "address": "192.0.2.7",
    "port": 443,
    "ca_pem": "PEM\n",
    "records_missing": [{"code": "dns_record_missing"}],
}


def deployed(**changes: Any) -> tuple[dict[str, Any], list[str]]:
    results = {
        "preflight": {"plan": plan(**exposed("load_balancer"))},
        "recipe": {"settings": {"result_file": "/tmp/a b/result.json"}},
        "endpoint": {**SERVED, **changes},
    }
    return deploy(results)


def test_the_curl_line_is_quoted_and_has_what_the_endpoint_takes() -> None:
    details, lines = deployed()
    assert any(details["curl"] in line for line in lines)
    words = shlex.split(details["curl"])
    assert words[words.index("--resolve") + 1] == "llama.192-0-2-7.nip.io:443:192.0.2.7"
    assert words[words.index("--cacert") + 1] == details["ca_file"] == "/tmp/a b/result-ca.pem"
    assert json.loads(words[words.index("--data") + 1])["model"] == "it's; a $(model)"
    assert words[-1] == "https://llama.192-0-2-7.nip.io/v1/completions"


def test_what_vllm_measured_is_shown_beside_the_plan_and_by_status() -> None:
    measured = {"weights_gib": 1.0, "concurrency": 8.0}
    details, lines = deployed(measured=measured)
    assert details["measured"] == measured and any(
        "weights on the fullest GPU: 1.0 GiB (plan: " in line for line in lines
    )
    details, lines = status({"status": {"deployments": [{**deployment("a", True), "measured": measured}]}})
    assert details["deployments"][0]["measured"] == measured
    assert "  measured at its start: weights on the fullest GPU: 1.0 GiB; requests" in lines[2]


def test_a_name_that_leads_there_and_a_known_authority_need_no_more() -> None:
    details, _lines = deployed(records_missing=[], ca_pem=None)
    assert "--resolve" not in details["curl"] and "--cacert" not in details["curl"] and details["ca_file"] is None


def test_the_result_says_what_is_served() -> None:
    details, _lines = deployed()
    assert details["model_names"] and (details["tensor_parallel"], details["pipeline_parallel"]) == (2, 4)
    assert details["usd_per_hour"] > 0 and details["context"] > 0


def test_without_an_exposure_the_way_in_is_told() -> None:
    results = {"preflight": {"plan": plan()}, "endpoint": {"state": "Ready", "model": "m", "key_command": "k"}}
    _details, lines = deploy(results)
    assert any("port-forward service/rayclustervmtest-api 8000:8000" in line for line in lines)


@pytest.mark.parametrize(
    ("path", "file"), [("/a/r.json", "/a/r-ca.pem"), (" r ", "r-ca.pem"), (None, None), ("", None)]
)
def test_the_authority_is_beside_the_result(path: str | None, file: str | None) -> None:
    assert ca_file_of(path) == file


def test_undeploy_that_did_not_find_the_pool_does_not_say_that_none_is_left() -> None:
    lost = Fault("node_pool_not_found", "node pool a", "not in compartment c").as_dict()
    gone: dict[str, Any] = {"undeploy": {"left": []}, "leftover": {"remainder": [], "left": []}}
    assert "checked" in str(undeploy(gone)[1]) and left_behind(gone) == []
    results = {**gone, "node_pool": {"changed": False, "left": [lost]}}
    assert "checked" not in str(undeploy(results)[1]) and left_behind(results) == [lost]
    unseen = {**gone, "node_pool": {"changed": False, "unseen": [{**lost, "remedy": "look"}]}}
    details, lines = undeploy(unseen)
    assert "checked" not in str(lines) and details["unseen"] and left_behind(unseen) == []


def _templated(playbook: str, module: str, **variables: Any) -> Any:
    """The arguments of a task of a playbook, as Ansible would hand them to its module."""
    loader = DataLoader()
    # Since ansible-core 2.19 a file is no template unless its reader says so.
    known = inspect.signature(loader.load_from_file).parameters
    trust = {"trusted_as_template": True} if "trusted_as_template" in known else {}
    play: Any = loader.load_from_file(str(PLAYBOOKS / playbook), **trust)
    task = next(one for one in play[0]["tasks"][0]["block"] if f"multinode.inference.{module}" in one)
    return Templar(loader=loader, variables=variables).template(task[f"multinode.inference.{module}"])


def test_status_and_undeploy_look_wherever_a_pool_is_recorded() -> None:
    recipe: dict[str, Any] = {"name": "", "settings": {"oke_cluster_id": "ocid1.cluster.a", "compartment_id": None}}
    rows = [
        {"node_pool": {"id": "p", "compartment_id": "c"}},
        {"node_pool": {}},
        {"node_pool": {"compartment_id": "c"}},
    ]
    found = _templated("status.yml", "oci_node_pool_info", recipe_result=recipe, status_result={"deployments": rows})
    assert found["other_compartments"] == ["c"] and not found["compartment_id"]
    recipe["settings"]["compartment_id"] = "given"
    removed = {"node_pool": {"id": "p", "compartment_id": "c"}, "volumes": [], "load_balancers": []}
    results = {"undeploy_result": removed, "retry_result": {}, "node_pool_result": {"compartment_id": "c"}}
    found = _templated("undeploy.yml", "oci_leftover_info", recipe_result=recipe, **results)
    assert found["other_compartments"] == ["given", "c"] and found["compartment_id"] == "c"
    removed["node_pool"] = {}
    recipe["settings"]["compartment_id"] = None
    found = _templated("undeploy.yml", "oci_leftover_info", recipe_result=recipe, **{**results, "node_pool_result": {}})
    assert found["other_compartments"] == [] and not found["compartment_id"]
