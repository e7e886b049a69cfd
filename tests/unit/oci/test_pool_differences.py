# SPDX-License-Identifier: GPL-3.0-or-later
"""A diff of a node pool names its fields as a person does."""

from __future__ import annotations

from ansible_collections.multinode.inference.plugins.module_utils.oci.node_pool import (
    created_text,
    diff_text,
    differences,
)

POOL = {
    "name": "llama",
    "node_shape": "VM.GPU.A10.2",
    "node_source_details": {"image_id": "ocid1.image.a", "boot_volume_size_in_gbs": 100},
    "node_config_details": {"size": 2},
    "node_metadata": {"user_data": "Y2xvdWQ="},
}


def test_a_change_says_from_what_to_what_and_for_whom() -> None:
    asked = {
        **POOL,
        "node_source_details": {"image_id": "ocid1.image.b", "boot_volume_size_in_gbs": 200},
        "node_config_details": {"size": 3},
        "node_metadata": {"user_data": "b3RoZXI="},
    }
    assert diff_text("llama", differences(asked, POOL)).splitlines() == [
        "node pool llama",
        "  node image: ocid1.image.a -> ocid1.image.b (new nodes only)",
        "  boot volume (GB): 100 -> 200 (new nodes only)",
        "  number of nodes: 2 -> 3",
        "  cloud-init of the nodes: (not shown) -> (another value, or another order) (new nodes only)",
    ]


def test_a_new_pool_is_told_by_its_fields() -> None:
    lines = created_text(POOL).splitlines()
    assert lines[0] == "node pool llama: created"
    assert "  node shape: VM.GPU.A10.2" in lines and "  number of nodes: 2" in lines
    assert "Y2xvdWQ" not in created_text(POOL)
