# SPDX-License-Identifier: GPL-3.0-or-later
"""Records on objects, and texts of services: whatever anybody wrote there is read, or counts as not written."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import oci
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core import api_keys
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.health import benchmark
from ansible_collections.multinode.inference.plugins.module_utils.core.health.paused import (
    billed_while_paused,
    kept_line,
    kept_while_paused,
    read_paused,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests import differences, running
from ansible_collections.multinode.inference.plugins.module_utils.core.manifests.cost_record import recorded_cost
from ansible_collections.multinode.inference.plugins.module_utils.core.names import (
    BENCHMARK_ANNOTATION,
    PAUSED_ANNOTATION,
    PLANNED_ANNOTATION,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe import vllm_arguments
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.values import read_known
from ansible_collections.multinode.inference.plugins.module_utils.kube.answers import fault_of_answer, object_of
from ansible_collections.multinode.inference.plugins.module_utils.kube.shapes import shaped
from ansible_collections.multinode.inference.plugins.module_utils.oci import cluster_access
from ansible_collections.multinode.inference.plugins.module_utils.oci.file_storage import read_exports
from ansible_collections.multinode.inference.plugins.module_utils.oci.models import as_data
from ansible_collections.multinode.inference.plugins.plugin_utils.reporting.status import status
from tests.unit.oci.fakes import Connection
from tests.unit.plugins.test_status import row
from tests.unit.test_outside_data import JSON, odd
from tests.unit.test_outside_data_cloud import answering
from tests.unit.test_outside_data_cloud import odd as odd_model

FEW = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
LOAD = {"concurrency": 4, **dict.fromkeys((*benchmark.FIGURES, *benchmark.COUNTS), 1.5)}
KEPT = {"at": "2026-12-01T00:00:00Z", "input_tokens": 8, "output_tokens": 8, "loads": [LOAD, LOAD]}
PLANNED = {"context": 8, "concurrent": 1, "kv_tokens": 100, "kv_tokens_high": 200}
COST = {"nodes": 1.5, "boot_volumes": 0, "model_volumes": None, "load_balancer": 0, "total": 1.5, "file_systems": 1}
POD = {
    "volumes": [{"name": "a", "configMap": {"name": "b"}}, {"name": "c", "persistentVolumeClaim": {"claimName": "d"}}]
}
CLUSTER = {"metadata": {"name": "d", "annotations": {}}, "spec": {"headGroupSpec": {"template": {"spec": POD}}}}


@FEW
@given(odd(KEPT).map(json.dumps) | st.text(max_size=40), odd(PLANNED).map(json.dumps), odd(COST).map(json.dumps))
def test_what_a_deployment_recorded(kept: str, planned: str, cost: str) -> None:
    annotations = {BENCHMARK_ANNOTATION: kept, PLANNED_ANNOTATION: planned}
    found = {"benchmark": benchmark.recorded(annotations), "planned": benchmark.planned(annotations)}
    _details, lines = status({"status": {"deployments": [row(**found, cost=recorded_cost(cost))]}})
    assert all("\x1b" not in line for line in lines)


@FEW
@given(st.lists(odd(KEPT).map(lambda value: f"benchmark {json.dumps(value)}") | st.text(max_size=40), max_size=4))
def test_a_log_of_a_benchmark(lines: list[str]) -> None:
    assert all(isinstance(text, str) for text in benchmark.table(benchmark.read_log(lines)))


@FEW
@given(odd({"since": "2026-12-01T00:00:00Z", "by": "a@b"}).map(json.dumps) | st.text(max_size=40), odd(CLUSTER))
def test_a_paused_deployment(record: str, cluster: Any) -> None:
    paused = read_paused({"metadata": {"annotations": {PAUSED_ANNOTATION: record}}})
    assert all(isinstance(text, str) and len(text) <= 100 and "\x1b" not in text for text in paused.values())
    item = shaped(cluster) if isinstance(cluster, dict) else {}
    kept = kept_while_paused(item, {"exposure": "load_balancer"})
    assert billed_while_paused(kept) > 0 and all(map(kept_line, kept))
    running.runtime_of(item)


@FEW
@given(st.dictionaries(st.text(max_size=12) | st.just("a.until-999999999999999"), st.text(max_size=12), max_size=4))
def test_keys_of_a_secret(data: dict[str, str]) -> None:
    now = datetime.now(timezone.utc).timestamp()
    assert all(value.isascii() for value in api_keys.current(data).values())
    former = api_keys.former(data, now)
    assert all(isinstance(until, int) for until in former.values())
    for change in (lambda: api_keys.added(data, "x", "y", now), lambda: api_keys.removed(data, "a", now)):
        with contextlib.suppress(Refused):
            change()


POOL_OF_WORDS = st.sampled_from(
    ["-", "--max-model-len", "--hf-overrides", "--x.y+", "{", "9" * 400 + "k", "1e999", "\x00"]
)


@FEW
@given(st.lists(POOL_OF_WORDS | st.text(max_size=12), max_size=6))
def test_arguments_of_vllm(words: list[str]) -> None:
    vllm_arguments.load_format({"recipe_container_command_args": words})
    vllm_arguments.merged(["--max-model-len", "8"], words)
    for word in words:
        vllm_arguments.as_mapping(word)
        with contextlib.suppress(ValueError):
            assert isinstance(vllm_arguments.size(word), int)


@FEW
@given(odd(CLUSTER), odd(CLUSTER), st.sampled_from(["RayCluster", "ConfigMap", "Secret"]))
def test_what_changed_of_an_object(before: Any, after: Any, kind: str) -> None:
    for item in (before, after):
        if not isinstance(item, dict):
            return
    assert all(isinstance(line, str) for line in differences.object_lines(kind, shaped(before), shaped(after)))


@FEW
@given(
    st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([401, 403, 409, 422, 503]),
)
def test_a_refusal_of_the_api_server(body: bytes, code: int) -> None:
    assert isinstance(fault_of_answer(code, body, "GET /x", "token"), Fault)
    with contextlib.suppress(Refused):
        object_of(body, "/x")


OKE = {"clusters": [{"name": "c", "cluster": {"server": "https://x", "certificate-authority-data": "eA=="}}]}


@FEW
@given(odd(OKE).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60) | st.just(b"[" * 5000))
def test_the_kubeconfig_that_oke_makes(content: bytes) -> None:
    with contextlib.suppress(Refused):
        _server, authority = cluster_access._server_of(content, "ocid1.cluster.a")
        cluster_access._certificates(authority)


@FEW
@given(st.text(max_size=40) | st.just("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----"))
def test_the_authority_of_a_cluster(pem: str) -> None:
    with contextlib.suppress(Refused):
        cluster_access._certificates(base64.b64encode(pem.encode(errors="replace")).decode())


STORAGE = oci.file_storage.models
TARGET = odd_model(STORAGE.MountTarget, export_set_id="e", private_ip_ids=["p"], requested_throughput=1)
EXPORTS = st.lists(odd_model(STORAGE.ExportSummary, path="/a", lifecycle_state="ACTIVE"), max_size=2)


@FEW
@given(TARGET, EXPORTS)
def test_file_storage(target: Any, exports: list[Any]) -> None:
    connection: Any = Connection(
        file_storage=answering(get_mount_target=target, list_exports=exports),
        virtual_network=answering(get_private_ip=oci.core.models.PrivateIp(ip_address=None)),
    )
    with contextlib.suppress(Refused):
        read_exports(connection, [{"file_system_ocid": "f", "mount_target_ocid": "m"}])
        as_data(target, "id")


@FEW
@given(JSON, st.integers(-(10**6), 10**6))
def test_what_is_left_of_a_deployment(record: Any, days: int) -> None:
    end = (datetime.now(timezone.utc) + timedelta(days=days / 1000)).isoformat()
    for until in (record, end):
        status({"status": {"deployments": [row(endpoint={"until": until, "tls": record})]}})
        status({"status": {"deployments": [row(source_request={"time_expires": until})]}})


@FEW
@given(JSON)
def test_a_parameter(value: Any) -> None:
    findings: Any = SimpleNamespace(fault=lambda *_: None, warn=lambda *_: None, faults=[], warnings=[])
    read_known({"x": value}, (), findings)
