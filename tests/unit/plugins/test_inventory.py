# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of deployments: hosts, groups, cache, and text of strangers that stays text."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from hypothesis import HealthCheck, given, settings

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.kube.deployment import list_deployments
from tests.unit.odd_cluster import ODD, OddCluster

PLUGIN = "multinode.inference.deployments"
FOUND = [
    {"name": "llama", "namespace": "llm", "state": "Ready", "ready": True, "usd_per_hour": 160.0, "hash": "not shown"},
    {"name": "qwen", "namespace": "qwen", "state": "Failed", "ready": False, "deployment_name": "{{ 7 * 7 }}"},
]


class Source:
    """An inventory file, and a plugin that reads what the test says of the cluster."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "prod.multinode.yml"
        self.asked = 0
        self.found: Any = FOUND
        self._monkeypatch = monkeypatch

    def read(self, text: str = "", cache: bool = True) -> InventoryData:
        self.path.write_text(f"plugin: {PLUGIN}\noke_cluster_id: ocid1.cluster.oc1.iad.x\n{text}")
        plugin = inventory_loader.get(PLUGIN)
        module = __import__(type(plugin).__module__, fromlist=["_"])
        self._monkeypatch.setattr(module, "Cluster", lambda settings: self)
        self._monkeypatch.setattr(module, "list_deployments", lambda kubernetes, with_endpoint: self._answer())
        inventory = InventoryData()
        assert plugin.verify_file(str(self.path))
        plugin.parse(inventory, DataLoader(), str(self.path), cache=cache)
        if plugin.get_option("cache"):
            plugin.update_cache_if_changed()
        return inventory

    def connect(self) -> None:
        self.asked += 1

    def _answer(self) -> list[dict[str, Any]]:
        if isinstance(self.found, Exception):
            raise self.found
        return list(self.found)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(tmp_path, monkeypatch)


def test_each_deployment_is_a_host_with_what_it_tells(source: Source) -> None:
    inventory = source.read()
    assert sorted(inventory.hosts) == ["llama", "qwen"]
    variables = inventory.get_host("llama").get_vars()
    assert (variables["multinode_state"], variables["multinode_usd_per_hour"]) == ("Ready", 160.0)
    assert "multinode_hash" not in variables


def test_groups_are_constructed(source: Source) -> None:
    inventory = source.read(
        "keyed_groups: [{key: multinode_state | lower, prefix: state}]\n"
        "groups: {expensive: multinode_usd_per_hour | default(0) > 50}\n"
    )
    assert [host.name for host in inventory.groups["state_failed"].get_hosts()] == ["qwen"]
    assert [host.name for host in inventory.groups["expensive"].get_hosts()] == ["llama"]


def test_text_of_the_cluster_is_no_template(source: Source) -> None:
    inventory = source.read("compose: {shown: multinode_deployment_name}\n")
    assert inventory.get_host("qwen").get_vars()["shown"] == "{{ 7 * 7 }}"


def test_the_cache_spares_the_cluster(source: Source, tmp_path: Path) -> None:
    cached = f"cache: true\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: {tmp_path / 'cache'}\n"
    source.read(cached)
    source.found = []
    assert sorted(source.read(cached).hosts) == ["llama", "qwen"]
    assert source.asked == 1
    assert not source.read(cached, cache=False).hosts


def test_a_cluster_that_refuses_is_told_in_its_words(source: Source) -> None:
    source.found = Refused([Fault("unauthorized", "API server", "refused the token", "", "check the clock")])
    with pytest.raises(AnsibleError, match="API server: refused the token; check the clock"):
        source.read()


def test_other_files_are_left_to_other_plugins(tmp_path: Path) -> None:
    other = tmp_path / "hosts.yml"
    other.write_text("all: {}\n")
    assert not inventory_loader.get(PLUGIN).verify_file(str(other))


def variables(source: Source, host: str) -> dict[str, Any]:
    found: dict[str, Any] = source.read().get_host(host).get_vars()
    return found


@pytest.mark.parametrize(
    ("endpoint", "url", "host"),
    [
        (
            {"exposure": "ingress", "tls": "issuer", "hosts": {"api": "a.example.com"}},
            "https://a.example.com",
            "a.example.com",
        ),
        (
            {"exposure": "gateway", "tls": "none", "hosts": {"api": "a.example.com"}},
            "http://a.example.com",
            "a.example.com",
        ),
        ({"exposure": "load_balancer", "tls": "none", "hosts": {"api": "192.0.2.1.nip.io"}}, "", "192.0.2.1.nip.io"),
        ({"exposure": "none", "hosts": {}}, "", ""),
        ({"hosts": {"api": "a/../b"}}, "", ""),
        ({"hosts": ["x"]}, "", ""),
    ],
)
def test_endpoint_and_model_are_told(source: Source, endpoint: dict[str, Any], url: str, host: str) -> None:
    source.found = [{**FOUND[0], "endpoint": endpoint, "values": {"model.served_names": ["m", "other"]}}]
    found = variables(source, "llama")
    assert (found["multinode_endpoint"], found["multinode_endpoint_host"], found["multinode_model"]) == (url, host, "m")


def test_nobody_takes_the_place_of_a_host(source: Source) -> None:
    source.found = [FOUND[0], {**FOUND[0], "namespace": "zz", "state": "Forged"}, {**FOUND[1], "name": "localhost"}]
    assert sorted(source.read().hosts) == ["llama.llm", "llama.zz", "localhost.qwen"]
    assert variables(source, "llama.llm")["multinode_state"] == "Ready"


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(ODD)
def test_an_odd_object_hides_no_deployment(odd: tuple[str, Any]) -> None:
    shown = sys.modules[type(inventory_loader.get(PLUGIN)).__module__]._shown
    with contextlib.suppress(Refused):
        assert all(json.dumps(shown(entry)) for entry in list_deployments(OddCluster(*odd), with_endpoint=True))
