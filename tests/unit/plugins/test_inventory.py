# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of deployments: hosts, groups, cache, and text of strangers that stays text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused

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
        self._monkeypatch.setattr(module, "list_deployments", lambda kubernetes: self._answer())
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
